package main

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// TestQueryAnswersWithoutMeasure reads answers with very much that does not count:
// what is made of them is some times their bytes, and free again at once. Others have
// their turns between pieces of them, and a reading ends with its time.
func TestQueryAnswersWithoutMeasure(t *testing.T) {
	const size = 256 << 10
	filled := func(head, part, tail string) []byte {
		return []byte(head + strings.Repeat(part+",", (size-len(head)-len(tail))/(len(part)+1)) + part + tail)
	}
	for name, tt := range map[string]struct {
		answer []byte
		parse  func(turn func() error, answer []byte) error
		times  uint64
	}{
		"rows":    {filled(`{"tables":[{"columns":[{"type":"long"}],"rows":[`, `[1]`, `]}]}`), func(turn func() error, b []byte) error { _, err := parseLogs(turn, b); return err }, 150},
		"columns": {filled(`{"tables":[{"rows":[[1]],"columns":[`, `{}`, `]}]}`), func(turn func() error, b []byte) error { _, err := parseLogs(turn, b); return err }, 150},
		"tables":  {filled(`{"tables":[`, `{}`, `]}`), func(turn func() error, b []byte) error { _, err := parseLogs(turn, b); return err }, 150},
		"frames":  {filled(`[`, `{}`, `]`), func(turn func() error, b []byte) error { _, err := parseKusto(turn, b); return err }, 150},
		"members": {filled(`{"value":{`, `"a":1`, `}}`), func(turn func() error, b []byte) error { _, err := parseInsight(turn, b, "m", "sum"); return err }, 150},
		"answers": {filled(`[`, `{}`, `]`), func(turn func() error, b []byte) error { _, err := parseInsights(turn, b, 20); return err }, 150},
		"points":  {filled(`{"value":[{"timeseries":[{"data":[`, `{}`, `]}]}]}`), func(turn func() error, b []byte) error { _, err := parseMetrics(turn, b); return err }, 150},
		"series":  {filled(`{"value":[{"timeseries":[`, `{}`, `]}]}`), func(turn func() error, b []byte) error { _, err := parseMetrics(turn, b); return err }, 150},
		"metrics": {filled(`{"value":[`, `{}`, `]}`), func(turn func() error, b []byte) error { _, err := parseMetrics(turn, b); return err }, 150},
	} {
		t.Run(name, func(t *testing.T) {
			before := scalertest.Allocated()
			turns := 0
			err := tt.parse(func() error { turns++; return nil }, tt.answer)
			if took := scalertest.Allocated() - before; took > tt.times*uint64(len(tt.answer)) {
				t.Errorf("%d MiB asked for, to read %d KiB: %v", took>>20, len(tt.answer)>>10, err)
			}
			if turns < size>>15 {
				t.Errorf("%d turns for %d KiB", turns, size>>10)
			}
			left := 3
			err = tt.parse(func() error {
				if left--; left > 0 {
					return nil
				}
				return errNoXML // of any kind
			}, tt.answer)
			if err == nil || left < -10 {
				t.Error("an answer that was not read to its end is one, or it is read on")
			}
		})
	}
}

// TestQueryPlaces has the address, the audience and the Entra of each cloud.
func TestQueryPlaces(t *testing.T) {
	for _, tt := range []struct {
		service            func(cloud) lending.Service
		address            map[lending.Service]string
		cloud              string
		base, scope, entra string
	}{
		{func(c cloud) lending.Service { return c.resourceManager }, resourceManagers, "AzurePublicCloud", "https://management.azure.com", "https://management.azure.com/.default", "https://login.microsoftonline.com/"},
		{func(c cloud) lending.Service { return c.resourceManager }, resourceManagers, "azureUSGOVERNMENTcloud", "https://management.usgovcloudapi.net", "https://management.usgovcloudapi.net/.default", "https://login.microsoftonline.us/"},
		{func(c cloud) lending.Service { return c.resourceManager }, resourceManagers, "AzureChinaCloud", "https://management.chinacloudapi.cn", "https://management.chinacloudapi.cn/.default", "https://login.chinacloudapi.cn/"},
		{func(c cloud) lending.Service { return c.logs }, logAnalytics, "azurePublicCloud", "https://api.loganalytics.io", "https://api.loganalytics.io/.default", "https://login.microsoftonline.com/"},
		{func(c cloud) lending.Service { return c.logs }, logAnalytics, "AzureUSGovernmentCloud", "https://api.loganalytics.us", "https://api.loganalytics.us/.default", "https://login.microsoftonline.us/"},
		{func(c cloud) lending.Service { return c.logs }, logAnalytics, "AzureChinaCloud", "https://api.loganalytics.azure.cn", "https://api.loganalytics.azure.cn/.default", "https://login.chinacloudapi.cn/"},
		{func(c cloud) lending.Service { return c.insights }, appInsights, "AzurePublicCloud", "https://api.applicationinsights.io", "https://api.applicationinsights.io/.default", "https://login.microsoftonline.com/"},
		{func(c cloud) lending.Service { return c.insights }, appInsights, "AzureUSGovernmentCloud", "https://api.applicationinsights.us", "https://api.applicationinsights.us/.default", "https://login.microsoftonline.us/"},
		{func(c cloud) lending.Service { return c.insights }, appInsights, "AzureChinaCloud", "https://api.applicationinsights.azure.cn", "https://api.applicationinsights.azure.cn/.default", "https://login.chinacloudapi.cn/"},
	} {
		a := asker{cloud: tt.cloud, service: tt.service, address: tt.address, own: "https://ignored.example"}
		base, at, audience, err := a.place()
		if err != nil || base.String() != tt.base || audience != "" || tt.service(at).Scope() != tt.scope || a.authority(at) != tt.entra {
			t.Errorf("%s: %v, audience %q, scope %s, Entra %s; %v", tt.base, base, audience, tt.service(at).Scope(), a.authority(at), err)
		}
	}
	for host, want := range map[string]lending.Service{
		"c.westeurope.kusto.windows.net": lending.AzureDataExplorer, "c.usgovvirginia.kusto.usgovcloudapi.net": lending.AzureDataExplorerUSGovernment,
		"c.chinaeast2.kusto.chinacloudapi.cn": lending.AzureDataExplorerChina, "kusto.example": lending.AzureDataExplorer,
	} {
		if got := kustoOf(host, publicCloud); got != want {
			t.Errorf("%s is of %s, want %s", host, got, want)
		}
	}
}

// TestKustoAudiencesOfTheFamily: tokens of the family are for Data Explorer, or for
// what the family was started with.
func TestKustoAudiencesOfTheFamily(t *testing.T) {
	service := lending.AzureDataExplorer
	for name, tt := range map[string]struct {
		hosts, host, audience string
		code                  codes.Code
	}{
		"the usual one":           {"", "c.westeurope.kusto.windows.net", "https://kusto.kusto.windows.net", codes.OK},
		"its own":                 {"", "c.westeurope.kusto.windows.net", "https://c.westeurope.kusto.windows.net", codes.OK},
		"another service's":       {"", "c.westeurope.kusto.windows.net", "https://management.azure.com", codes.InvalidArgument},
		"another host":            {"", "kusto.example", "https://kusto.kusto.windows.net", codes.InvalidArgument},
		"a host that is known":    {"kusto.example", "kusto.example", "https://kusto.kusto.windows.net", codes.OK},
		"an audience of nobody's": {"kusto.example", "kusto.example", "https://management.azure.com", codes.InvalidArgument},
		"one that is known":       {"kusto.example=https://tokens.example", "kusto.example", "https://tokens.example", codes.OK},
	} {
		scalertest.LendTo(t, tt.hosts)
		loan, err := service.LendNamed("endpoint", true, tt.host, tt.audience)
		if status.Code(err) != tt.code || err == nil && loan.Scope() != tt.audience+"/.default" {
			t.Errorf("%s: %q, %v, want %v", name, loan.Scope(), err, tt.code)
		}
	}
	if _, err := service.LendNamed("endpoint", false, "c.westeurope.kusto.windows.net", "https://kusto.kusto.windows.net"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("without TLS: %v", err)
	}
}

// BenchmarkQueries reads a thousand questions of one service of each type, as the
// sampler does, and reports the connections.
func BenchmarkQueries(b *testing.B) {
	for _, k := range queryKinds {
		b.Run(k.trigger.Type, func(b *testing.B) {
			answer := saying(200, k.value)
			switch k.trigger.Type {
			case "azure-monitor":
				answer = monitorAnswers
			case "azure-app-insights":
				answer = insightsAnswers
			}
			s := newQueryStub(b, answer)
			ctx, release := scaler.Opening(b.Context())
			defer release()
			family := scalertest.Serve(b, k.trigger).WithAuth(k.application(stubSecret))
			var sources []scaler.Source
			for i := range 1000 {
				sources = append(sources, k.open(ctx, b, family, s.URL, i))
			}
			scalertest.ReadAll(b, sources, "queries/s")
			s.mu.Lock()
			b.ReportMetric(float64(s.connections), "connections")
			s.mu.Unlock()
		})
	}
}
