package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// monitor is what tests of all queries know of azure-monitor.
var monitor = queryKinds[0]

var _ = cases.Add("azure-monitor", func(t testing.TB) scalertest.Case { return monitor.contract(t) })

// monitorAnswers answers as Azure Monitor does: each metric that is asked for, and
// a refusal of the whole where it has none of that name.
func monitorAnswers(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	names := strings.Split(query.Get("metricnames"), ",")
	start, end, _ := strings.Cut(query.Get("timespan"), "/")
	from, errFrom := time.Parse(time.RFC3339, start)
	to, errTo := time.Parse(time.RFC3339, end)
	switch {
	case r.Method != http.MethodGet, r.URL.Path != monitor.path, query.Get("api-version") != "2018-01-01", len(names) > 20,
		errFrom != nil, errTo != nil, to.Sub(from) != 5*time.Minute, query.Get("aggregation") != "Average",
		slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, "bad") }):
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"code":"BadRequest","message":"Valid metrics: hush-hush"}`)
		return
	}
	var values []map[string]any
	for _, name := range names {
		values = append(values, map[string]any{"name": map[string]string{"value": name}, "timeseries": []any{
			map[string]any{"data": []any{map[string]any{"timeStamp": start, "average": 5}, map[string]any{"timeStamp": end}}},
		}})
	}
	w.Header().Set("X-Ms-Ratelimit-Remaining-Subscription-Reads", "11999")
	_ = json.NewEncoder(w).Encode(map[string]any{"interval": "PT1M", "value": values})
}

func series(points string) string {
	return `{"value":[{"name":{"value":"Messages"},"timeseries":[{"data":[` + points + `]}]}]}`
}

func TestMonitorAnswers(t *testing.T) {
	tests := map[string]struct {
		answer   string
		metadata map[string]string
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"the newest value":            {answer: series(`{"average":3},{"average":7.5}`), want: scalertest.Observation{Value: 7.5, Active: true}},
		"zero":                        {answer: series(`{"average":3},{"average":0}`)},
		"nothing for the last minute": {answer: series(`{"average":3},{"timeStamp":"t"},{"average":null}`), want: scalertest.Observation{Value: 3, Active: true}},
		"at the activation threshold": {answer: series(`{"average":3}`), metadata: map[string]string{"activationTargetValue": "3"}, want: scalertest.Observation{Value: 3}},
		"the first of many series":    {answer: `{"value":[{"timeseries":[{"data":[{"average":1}]},{"data":[{"average":2}]}]}]}`, want: scalertest.Observation{Value: 1, Active: true}},
		"a negative value":            {answer: series(`{"average":-3}`), want: scalertest.Observation{Value: 0}},
		"total":                       {answer: series(`{"average":1,"total":2,"count":3,"minimum":4,"maximum":5}`), metadata: map[string]string{"metricAggregationType": "Total"}, want: scalertest.Observation{Value: 2, Active: true}},
		"count":                       {answer: series(`{"average":1,"total":2,"count":3,"minimum":4,"maximum":5}`), metadata: map[string]string{"metricAggregationType": "Count"}, want: scalertest.Observation{Value: 3, Active: true}},
		"minimum":                     {answer: series(`{"average":1,"total":2,"count":3,"minimum":4,"maximum":5}`), metadata: map[string]string{"metricAggregationType": "Minimum"}, want: scalertest.Observation{Value: 4, Active: true}},
		"maximum":                     {answer: series(`{"average":1,"total":2,"count":3,"minimum":4,"maximum":5}`), metadata: map[string]string{"metricAggregationType": "Maximum"}, want: scalertest.Observation{Value: 5, Active: true}},
		"none":                        {answer: series(`{"average":1}`), metadata: map[string]string{"metricAggregationType": "None"}, code: codes.Unavailable, message: "unsupported aggregation type"},
		"no series":                   {answer: `{"value":[{"timeseries":[]}]}`, code: codes.Unavailable, message: "no time series"},
		"no points":                   {answer: series(``), code: codes.Unavailable, message: "no data points in the last 5m0s"},
		"another aggregation":         {answer: series(`{"total":1}`), code: codes.Unavailable, message: "unsupported aggregation type: none of the 1 data points in the last 5m0s has Average"},
		"no metric":                   {answer: `{"value":[]}`, code: codes.FailedPrecondition, message: "the answer has 0 metrics, want one"},
		"two metrics":                 {answer: `{"value":[{"timeseries":[]},{"timeseries":[]}]}`, code: codes.FailedPrecondition, message: "the answer has 2 metrics, want one"},
		"an error beside it":          {answer: `{"value":[{"errorCode":"InternalError","errorMessage":"hush-hush","timeseries":[]}]}`, code: codes.Unavailable, message: "Azure Monitor reports an error"},
		"a text for a number":         {answer: series(`{"average":"3"}`), code: codes.Unavailable, message: "the answer is not one of the API"},
		"a number too large":          {answer: series(`{"average":1e999}`), code: codes.Unavailable, message: "the answer is not one of the API"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newQueryStub(t, saying(200, tt.answer))
			got, err := scalertest.Serve(t, azureMonitor).WithAuth(monitor.application(stubSecret)).Observe(t.Context(), "azure-monitor", joined(monitor.metadata(s.URL), tt.metadata))
			if tt.code == codes.OK {
				if err != nil || got != tt.want {
					t.Errorf("observation = %+v, %v, want %+v", got, err, tt.want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), "metric Messages: "+tt.message) || strings.Contains(err.Error(), "hush-hush") {
				t.Errorf("error = %v, want %q", err, tt.message)
			}
		})
	}
}

// TestMonitorRequests has what is asked for, parameter by parameter.
func TestMonitorRequests(t *testing.T) {
	for name, tt := range map[string]struct {
		metadata map[string]string
		path     string
		want     url.Values
		span     time.Duration
	}{
		"by default": {nil, monitor.path, url.Values{"metricnames": {"Messages"}, "aggregation": {"Average"}}, 5 * time.Minute},
		"all": {map[string]string{"metricNamespace": "Custom/a b", "metricFilter": "EntityName eq 'a&b'", "metricAggregationInterval": "01:30:05", "metricAggregationType": "Total"},
			monitor.path, url.Values{"metricnames": {"Messages"}, "aggregation": {"Total"}, "metricnamespace": {"Custom/a b"}, "$filter": {"EntityName eq 'a&b'"}}, 90*time.Minute + 5*time.Second},
		"odd names": {map[string]string{"resourceURI": "a b/c?d/e%2Ff", "resourceGroupName": "r#g", "metricName": "a,b"},
			"/subscriptions/sub/resourceGroups/r#g/providers/a b/c?d/e%2Ff/providers/Microsoft.Insights/metrics", url.Values{"metricnames": {"a,b"}, "aggregation": {"Average"}}, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			s := newQueryStub(t, saying(200, monitor.value))
			family := scalertest.Serve(t, azureMonitor).WithAuth(monitor.application(stubSecret))
			_, _ = family.Observe(t.Context(), "azure-monitor", joined(monitor.metadata(s.URL), tt.metadata))
			n, r := s.requests()
			if n != 1 || r.Method != http.MethodGet || r.URL.Path != tt.path {
				t.Fatalf("%d requests, %+v", n, r)
			}
			query := r.URL.Query()
			start, end, _ := strings.Cut(query.Get("timespan"), "/")
			from, errFrom := time.Parse("2006-01-02T15:04:05Z", start)
			to, errTo := time.Parse("2006-01-02T15:04:05Z", end)
			if errFrom != nil || errTo != nil || to.Sub(from) != tt.span || time.Since(to).Abs() > time.Minute || query.Get("api-version") != "2018-01-01" {
				t.Errorf("asked for %v", query)
			}
			query.Del("timespan")
			query.Del("api-version")
			if query.Encode() != tt.want.Encode() {
				t.Errorf("asked for %v, want %v", query, tt.want)
			}
		})
	}
}

func TestMonitorProblems(t *testing.T) {
	family := scalertest.Serve(t, azureMonitor).WithAuth(monitor.application(stubSecret))
	for name, tt := range map[string]struct {
		metadata map[string]string
		want     string
	}{
		"everything": {map[string]string{"resourceURI": "", "tenantId": "", "subscriptionId": "", "resourceGroupName": "", "metricName": "", "metricAggregationType": "average", "targetValue": "x", "metricAggregationInterval": "5"},
			`resourceURI: is required (looked in metadata); tenantId: is required (looked in metadata); subscriptionId: is required (looked in metadata); resourceGroupName: is required (looked in metadata); ` +
				`metricName: is required (looked in metadata); metricAggregationType: "average" is not one of Average, Count, Maximum, Minimum, None, Total; targetValue: "x" is not a number; metricAggregationInterval: "5" is not of the form hh:mm:ss`},
		"two parts":             {map[string]string{"resourceURI": "namespaces/shop"}, `resourceURI: "namespaces/shop" is not of the form providerNamespace/resourceType/resourceName`},
		"an empty part":         {map[string]string{"resourceURI": "a//b"}, `resourceURI: "a//b" is not of the form providerNamespace/resourceType/resourceName`},
		"elsewhere":             {map[string]string{"resourceURI": "../a/b"}, `resourceURI: "../a/b" is not of the form providerNamespace/resourceType/resourceName`},
		"another group":         {map[string]string{"resourceGroupName": ".."}, `resourceGroupName: ".." is not a name`},
		"no aggregation":        {map[string]string{"metricAggregationType": ""}, `metricAggregationType: is required (looked in metadata)`},
		"an interval of words":  {map[string]string{"metricAggregationInterval": "00:aa:00"}, `metricAggregationInterval: "00:aa:00" is not of the form hh:mm:ss`},
		"a negative interval":   {map[string]string{"metricAggregationInterval": "00:-1:00"}, `metricAggregationInterval: "00:-1:00" is not of the form hh:mm:ss`},
		"no target":             {map[string]string{"targetValue": ""}, `targetValue: target 0 is not greater than 0`},
		"a target of 0":         {map[string]string{"targetValue": "0"}, `targetValue: target 0 is not greater than 0`},
		"an unknown cloud":      {map[string]string{"cloud": "AzureGermanCloud"}, `cloud: "AzureGermanCloud" is not one of AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, Private`},
		"private without place": {map[string]string{"azureResourceManagerEndpoint": ""}, `azureResourceManagerEndpoint: is required with cloud Private`},
	} {
		t.Run(name, func(t *testing.T) {
			family := family
			if name == "everything" { // of an authentication, more may be to come
				family = scalertest.Serve(t, azureMonitor)
			}
			_, err := family.Observe(t.Context(), "azure-monitor", joined(monitor.metadata("https://127.0.0.1:1"), tt.metadata))
			if status.Code(err) != codes.InvalidArgument || !strings.HasPrefix(status.Convert(err).Message(), "azure-monitor: "+tt.want) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
	specs, err := family.Specs(t.Context(), "azure-monitor", joined(monitor.metadata("https://127.0.0.1:1"), map[string]string{"metricName": "a/b.c", "targetValue": "2.5"}))
	if err != nil || specs[0].GetMetricName() != "azure-monitor-a-b-c" || specs[0].GetTargetSizeFloat() != 2.5 {
		t.Errorf("metric %v, %v", specs, err)
	}
}

// TestMonitorWarns of what KEDA accepts and never has a value.
func TestMonitorWarns(t *testing.T) {
	family := scalertest.Serve(t, azureMonitor)
	metadata := joined(monitor.metadata("https://127.0.0.1:1"), map[string]string{"metricAggregationType": "None", "metricAggregationInterval": "00:00:00"})
	bound, err := azureMonitor.Bind(family.WithAuth(monitor.application(stubSecret)).Ref("azure-monitor", metadata), &scaler.Credentials{Parameters: monitor.application(stubSecret)})
	if err != nil || len(bound.Warnings) != 2 || !strings.HasPrefix(bound.Warnings[0], "metricAggregationType: ") || !strings.HasPrefix(bound.Warnings[1], "metricAggregationInterval: ") {
		t.Errorf("warnings %v, %v", bound, err)
	}
}

// TestMonitorBatches asks for the metrics of a resource together, and for each by
// itself that Azure Monitor finds wrong.
func TestMonitorBatches(t *testing.T) {
	s := newQueryStub(t, monitorAnswers)
	ctx, release := scaler.Opening(t.Context())
	defer release()
	family := scalertest.Serve(t, azureMonitor).WithAuth(monitor.application(stubSecret))
	open := func(metadata map[string]string) scaler.Source {
		bound, err := azureMonitor.Bind(family.Ref("azure-monitor", joined(monitor.metadata(s.URL), metadata)), &scaler.Credentials{Parameters: monitor.application(stubSecret)})
		if err != nil {
			t.Fatal(err)
		}
		source, err := bound.Open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return source
	}
	var members []scaler.Source
	for i := range 18 {
		members = append(members, open(map[string]string{"metricName": fmt.Sprint("m", i)}))
	}
	members = append(members, open(map[string]string{"metricName": "bad"}), open(map[string]string{"metricName": "M0"}))
	batch := members[0].(scaler.Batched).Batch()
	for round, want := range []int{11, 2} { // halves find the one; then it is asked for by itself
		before, _ := s.requests()
		for i, result := range scaler.ReadTogether(within(t), batch, members...) {
			switch {
			case i == 18:
				if status.Code(result.Err) != codes.FailedPrecondition || !strings.Contains(result.Err.Error(), "metric bad: ") {
					t.Errorf("what is wrong: %v", result.Err)
				}
			case result.Err != nil || result.Readings[0].Value != 5:
				t.Errorf("metric %d: %v", i, result)
			}
		}
		if after, _ := s.requests(); after-before > want {
			t.Errorf("round %d: %d requests, want %d at most", round, after-before, want)
		}
	}
	// What would make another question of it is not asked together.
	for name, metadata := range map[string]map[string]string{
		"another resource":    {"resourceURI": "Microsoft.ServiceBus/namespaces/other"},
		"another namespace":   {"metricNamespace": "n"},
		"another aggregation": {"metricAggregationType": "Total"},
		"another time":        {"metricAggregationInterval": "00:10:00"},
	} {
		if other := open(metadata).(scaler.Batched); other.Batch() == batch {
			t.Errorf("%s is of the same batch", name)
		}
	}
	for name, metadata := range map[string]map[string]string{
		"a filter": {"metricFilter": "a eq 'b'"}, "a comma": {"metricName": "a,b"}, "a long time": {"metricAggregationInterval": "24:00:00"},
	} {
		if _, together := open(metadata).(scaler.Batched); together {
			t.Errorf("%s is read together with others", name)
		}
	}
}

// TestMonitorReadsLeft: an account rests that has no reads left.
func TestMonitorReadsLeft(t *testing.T) {
	s := newQueryStub(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Ms-Ratelimit-Remaining-Subscription-Reads", "0")
		monitorAnswers(w, r)
	})
	family := scalertest.Serve(t, azureMonitor).WithAuth(monitor.application(stubSecret))
	if got, err := family.Observe(t.Context(), "azure-monitor", monitor.metadata(s.URL)); err != nil || got.Value != 5 {
		t.Fatalf("observation = %+v, %v", got, err)
	}
	other := joined(monitor.metadata(s.URL), map[string]string{"subscriptionId": "another"})
	if _, err := family.Observe(t.Context(), "azure-monitor", other); status.Code(err) != codes.FailedPrecondition { // another path than that of the test
		t.Errorf("another subscription waits: %v", err)
	}
	if t1 := throttledReads(200, http.Header{"X-Ms-Ratelimit-Remaining-Subscription-Reads": {"0"}}); t1 == nil || t1.Pause != time.Second {
		t.Errorf("no reads left: %+v", t1)
	}
	if t1 := throttledReads(200, http.Header{"X-Ms-Ratelimit-Remaining-Subscription-Reads": {"1"}}); t1 != nil {
		t.Errorf("one read left: %+v", t1)
	}
}

func FuzzMetrics(f *testing.F) {
	f.Add(monitor.value)
	f.Add(series(`{"average":null},{"total":1e9}`))
	f.Add(`{"value":null}`)
	f.Fuzz(func(t *testing.T, body string) {
		answer, err := parseMetrics(nil, []byte(body))
		if err == nil && (len(answer.first) > metricsAtOnce || len(answer.first) > answer.count) {
			t.Errorf("%d of %d metrics are kept", len(answer.first), answer.count)
		}
	})
}
