package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// explorer is what tests of all queries know of azure-data-explorer.
var explorer = queryKinds[3]

var _ = cases.Add("azure-data-explorer", func(t testing.TB) scalertest.Case { return explorer.contract(t) })

func TestDataExplorerCells(t *testing.T) {
	s := newQueryStub(t, nil)
	family := scalertest.Serve(t, azureDataExplorer).WithAuth(explorer.application(stubSecret))
	for name, tt := range cellTests {
		t.Run(name, func(t *testing.T) {
			columns := strings.ReplaceAll(tt.columns, `"type"`, `"ColumnType"`)
			s.answers(saying(200, kustoAnswer(columns, tt.rows)))
			got, err := family.Observe(t.Context(), "azure-data-explorer", explorer.metadata(s.URL))
			checkCell(t, explorer.what, got, err, tt.want, tt.message)
		})
	}
	const header = `{"FrameType":"DataSetHeader","IsProgressive":true,"Version":"v2.0"},`
	const end = `{"FrameType":"DataSetCompletion","HasErrors":false,"Cancelled":false}`
	const head = `{"FrameType":"TableHeader","TableId":1,"TableKind":"PrimaryResult","Columns":[{"ColumnName":"n","ColumnType":"double"}]},`
	fragment := func(kind, rows string) string {
		return `{"FrameType":"TableFragment","TableId":1,"FieldCount":1,"TableFragmentType":"` + kind + `","Rows":[` + rows + `]},`
	}
	seven := scalertest.Observation{Value: 7, Active: true}
	for name, tt := range map[string]struct {
		answer  string
		want    scalertest.Observation
		message string
	}{
		"fragments":            {"[" + header + head + fragment("DataAppend", ``) + fragment("DataAppend", `[7]`) + `{"FrameType":"TableCompletion","TableId":1,"RowCount":1},` + end + "]", seven, ""},
		"lines of fragments":   {"[" + strings.ReplaceAll(header+head+fragment("DataAppend", `[7]`), "},{", "}\n,{") + end + "\n]", seven, ""},
		"a replaced fragment":  {"[" + header + head + fragment("DataAppend", `[1],[2]`) + fragment("DataReplace", `[7]`) + end + "]", seven, ""},
		"rows in fragments":    {"[" + header + head + fragment("DataAppend", `[1]`) + fragment("DataAppend", `[2]`) + end + "]", seven, "the query returns 2 rows"},
		"another's fragment":   {"[" + header + head + strings.ReplaceAll(fragment("DataAppend", `[1]`), `"TableId":1`, `"TableId":2`) + fragment("DataAppend", `[7]`) + end + "]", seven, ""},
		"further tables":       {strings.Replace(kustoAnswer(`{"ColumnType":"long"}`, `[7]`), end, `{"FrameType":"DataTable","TableId":2,"TableKind":"PrimaryResult","Columns":[{"ColumnType":"string"}],"Rows":[["x"],["y"]]},`+end, 1), seven, ""},
		"no table":             {"[" + header + end + "]", seven, "the query returns no table"},
		"no end":               {"[" + header + head + strings.TrimSuffix(fragment("DataAppend", `[7]`), ",") + "]", seven, "the answer has no end"},
		"errors":               {strings.Replace(kustoAnswer(`{"ColumnType":"long"}`, `[7]`), `"HasErrors":false`, `"HasErrors":true,"OneApiErrors":[{"error":{"message":"hush-hush"}}]`, 1), seven, "the service reports an error beside the result"},
		"cancelled":            {strings.Replace(kustoAnswer(`{"ColumnType":"long"}`, `[7]`), `"Cancelled":false`, `"Cancelled":true`, 1), seven, "the service reports an error beside the result"},
		"errors of a table":    {"[" + header + head + fragment("DataAppend", `[7]`) + `{"FrameType":"TableCompletion","TableId":1,"RowCount":1,"OneApiErrors":[{"error":{}}]},` + end + "]", seven, "the service reports an error beside the result"},
		"an error frame":       {"[" + header + `{"FrameType":"Error"},` + end + "]", seven, "the service reports an error beside the result"},
		"an object":            {`{"Tables":[]}`, seven, "the answer is not one of the API"},
		"an answer without it": {"[" + header + head + fragment("DataAppend", `[7]`), seven, "the answer is not one of the API"},
	} {
		t.Run(name, func(t *testing.T) {
			s.answers(saying(200, tt.answer))
			got, err := family.Observe(t.Context(), "azure-data-explorer", explorer.metadata(s.URL))
			checkCell(t, explorer.what, got, err, tt.want, tt.message)
		})
	}
}

func TestDataExplorerRequest(t *testing.T) {
	s := newQueryStub(t, saying(200, explorer.value))
	metadata := joined(explorer.metadata(s.URL), map[string]string{"endpoint": "Data Source=" + s.URL + "/;Initial Catalog=other;Fed=True", "query": `T | where a == "b"`, "timeout": "2s"})
	if _, err := scalertest.Serve(t, azureDataExplorer).WithAuth(explorer.application(stubSecret)).Observe(t.Context(), "azure-data-explorer", metadata); err != nil {
		t.Fatal(err)
	}
	n, r := s.requests()
	var body struct {
		DB, CSL    string
		Properties struct{ Options map[string]string }
	}
	if err := json.Unmarshal(s.bodies[n-1], &body); err != nil {
		t.Fatal(err)
	}
	if n != 2 || s.asked[0].Method != http.MethodGet || s.asked[0].URL.Path != "/v1/rest/auth/metadata" || s.asked[0].Header.Get("Authorization") != "" {
		t.Errorf("asked first: %+v", s.asked[0])
	}
	if r.Method != http.MethodPost || r.URL.Path != "/v2/rest/query" || r.Header.Get("Content-Type") != "application/json; charset=utf-8" || r.Header.Get("Accept") != "application/json" ||
		r.Header.Get("x-ms-client-request-id") == "" || r.Header.Get("x-ms-app") == "" || r.Header.Get("x-ms-client-version") == "" {
		t.Errorf("asked: %+v", r)
	}
	if body.DB != "shop" || body.CSL != `T | where a == "b"` || !regexp.MustCompile(`^00:00:0[12]$`).MatchString(body.Properties.Options["servertimeout"]) {
		t.Errorf("asked: %+v", body)
	}
}

// TestDataExplorerAudience: what tokens are for is what the cluster says, as far as
// it may say so.
func TestDataExplorerAudience(t *testing.T) {
	for name, tt := range map[string]struct {
		metadata func(w http.ResponseWriter, r *http.Request)
		cloud    string
		scope    string
		code     codes.Code
	}{
		"what it says": {cloud: "Private", metadata: func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"AzureAD":{"KustoServiceResourceId":"https://kusto.example/"}}`)
		}, scope: "https://kusto.example/.default", code: codes.Unauthenticated},
		"nothing":      {cloud: "Private", metadata: func(http.ResponseWriter, *http.Request) {}, scope: "https://kusto.kusto.windows.net/.default", code: codes.Unauthenticated},
		"no such page": {cloud: "Private", metadata: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, scope: "https://kusto.kusto.windows.net/.default", code: codes.Unauthenticated},
		"an error":     {cloud: "Private", metadata: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, code: codes.Unavailable},
		"a page":       {cloud: "Private", metadata: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `<html>`) }, code: codes.Unavailable},
		"a token for the clouds": {cloud: "AzurePublicCloud", metadata: func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"AzureAD":{"KustoServiceResourceId":"https://management.azure.com"}}`)
		}, code: codes.PermissionDenied},
		"a token for all clusters": {cloud: "AzurePublicCloud", metadata: func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"AzureAD":{"KustoServiceResourceId":"https://kusto.kusto.windows.net"}}`)
		}, code: codes.PermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			s := newQueryStub(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/rest/auth/metadata" {
					tt.metadata(w, r)
				}
			})
			metadata := joined(explorer.metadata(s.URL), map[string]string{"cloud": tt.cloud})
			_, err := scalertest.Serve(t, azureDataExplorer).WithAuth(explorer.application(stubSecret)).Observe(t.Context(), "azure-data-explorer", metadata)
			s.mu.Lock()
			defer s.mu.Unlock()
			if status.Code(err) != tt.code || tt.scope != "" && (len(s.logins) == 0 || s.logins[0] != tt.scope) || tt.scope == "" && len(s.logins) > 0 {
				t.Errorf("error = %v, tokens for %v; want %v, %s", err, s.logins, tt.code, tt.scope)
			}
		})
	}
}

// TestWhoGetsTokensOfClusters: one that is good for all of them goes to Azure's own.
func TestWhoGetsTokensOfClusters(t *testing.T) {
	for _, tt := range []struct {
		hosts, base, audience string
		code                  codes.Code
	}{
		{"", "https://c.westeurope.kusto.windows.net", "https://kusto.kusto.windows.net", codes.OK},
		{"", "https://pool.shop.kusto.azuresynapse.net", "https://kusto.kusto.windows.net", codes.OK},
		{"", "https://adx.monitor.azure.com", "https://kusto.kusto.windows.net", codes.OK},
		{"", "https://evil.adx.monitor.azure.com", "https://kusto.kusto.windows.net", codes.PermissionDenied},
		{"", "https://c.westeurope.kusto.windows.net", "https://c.westeurope.kusto.windows.net", codes.OK},
		{"", "https://c.westeurope.kusto.windows.net", "https://management.azure.com", codes.PermissionDenied},
		{"", "http://c.westeurope.kusto.windows.net", "https://kusto.kusto.windows.net", codes.PermissionDenied},
		{"", "https://evil.example", "https://kusto.kusto.windows.net", codes.PermissionDenied},
		{"", "https://evil.example", "https://evil.example", codes.OK},
		{"", "https://evil.example", "kusto.kusto.windows.net", codes.PermissionDenied},
		{"", "https://kusto.windows.net.evil.example", "https://other.kusto.windows.net", codes.PermissionDenied},
		{"proxy.example", "https://proxy.example", "https://kusto.kusto.windows.net", codes.OK},
		{"proxy.example", "https://evil.example", "https://proxy.example", codes.PermissionDenied},
	} {
		scalertest.LendTo(t, tt.hosts)
		base, err := kustoEndpoint(tt.base)
		if err != nil {
			t.Fatal(err)
		}
		if err := belongs(tt.audience, base); status.Code(err) != tt.code {
			t.Errorf("%s asks for %s: %v, want %v", tt.base, tt.audience, err, tt.code)
		}
	}
}

func TestDataExplorerProblems(t *testing.T) {
	family := scalertest.Serve(t, azureDataExplorer).WithAuth(explorer.application(stubSecret))
	for name, tt := range map[string]struct {
		metadata map[string]string
		want     string
	}{
		"everything": {map[string]string{"endpoint": "", "databaseName": "", "query": "", "threshold": "", "activationThreshold": "x"},
			`endpoint: is required (looked in metadata); databaseName: is required (looked in metadata); query: is required (looked in metadata); threshold: is required (looked in metadata); activationThreshold: "x" is not a number`},
		"an empty part":     {map[string]string{"endpoint": "Data Source=https://c;hush-hush"}, "endpoint: is not a connection string: one of its parts"},
		"an unknown key":    {map[string]string{"endpoint": "Data Source=https://c;Hush=hush-hush"}, "endpoint: is not a connection string of Kusto: it has a key that is none of those"},
		"no source":         {map[string]string{"endpoint": "AppKey=hush-hush"}, "endpoint: is not a connection string of Kusto: it has no Data Source"},
		"no URL":            {map[string]string{"endpoint": "shop.kusto.windows.net"}, "endpoint: is not a URL of https or http"},
		"a threshold of 0":  {map[string]string{"threshold": "0"}, "threshold: target 0 is not greater than 0"},
		"an unknown cloud":  {map[string]string{"cloud": "Mars"}, `cloud: "Mars" is not one of AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, AzureGermanCloud, AzureStackCloud, Private`},
		"private, no Entra": {map[string]string{"activeDirectoryEndpoint": ""}, "activeDirectoryEndpoint: is required with cloud Private"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := family.Observe(t.Context(), "azure-data-explorer", joined(explorer.metadata("https://127.0.0.1:1"), tt.metadata))
			if status.Code(err) != codes.InvalidArgument || !strings.HasPrefix(status.Convert(err).Message(), "azure-data-explorer: "+tt.want) || strings.Contains(err.Error(), "hush-hush") {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
	// The secret comes from the authentication alone.
	_, err := scalertest.Serve(t, azureDataExplorer).WithEnv(map[string]string{"S": "hush-hush"}).
		Observe(t.Context(), "azure-data-explorer", joined(explorer.metadata("https://127.0.0.1:1"), explorer.application("hush-hush"), map[string]string{"clientSecretFromEnv": "S"}))
	if !strings.Contains(status.Convert(err).Message(), "clientSecret: is required without pod identity azure-workload") || strings.Contains(err.Error(), "hush-hush") {
		t.Errorf("a literal secret: %v", err)
	}
	specs, err := family.Specs(t.Context(), "azure-data-explorer", joined(explorer.metadata("https://127.0.0.1:1"), map[string]string{"databaseName": "a.b", "threshold": "2.5"}))
	if err != nil || specs[0].GetMetricName() != "azure-data-explorer-a-b" || specs[0].GetTargetSizeFloat() != 2.5 {
		t.Errorf("metric %v, %v", specs, err)
	}
}

func FuzzKusto(f *testing.F) {
	for _, tt := range cellTests {
		f.Add(kustoAnswer(tt.columns, tt.rows))
	}
	f.Fuzz(func(t *testing.T, body string) {
		if value, err := parseKusto(nil, []byte(body)); err == nil && (value < 0 || math.IsNaN(value) || math.IsInf(value, 0)) {
			t.Errorf("%v is no value", value)
		}
	})
}

func FuzzKustoEndpoint(f *testing.F) {
	for _, text := range []string{"https://c.kusto.windows.net", "Data Source=https://c;Fed=true", "a=b", ";;", "="} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if u, err := kustoEndpoint(text); err == nil && (u.Host == "" || u.User != nil || u.RawQuery != "") {
			t.Errorf("%q leads to %s", text, u)
		}
	})
}
