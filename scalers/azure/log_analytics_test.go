package main

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// logAnalyticsKind is what tests of all queries know of azure-log-analytics.
var logAnalyticsKind = queryKinds[1]

var _ = cases.Add("azure-log-analytics", func(t testing.TB) scalertest.Case { return logAnalyticsKind.contract(t) })

// logs is an answer with one table.
func logs(columns, rows string) string {
	return `{"tables":[{"name":"PrimaryResult","columns":[` + columns + `],"rows":[` + rows + `]}]}`
}

// cellTests are tables that both services may return: columns as Log Analytics has
// them.
var cellTests = map[string]struct {
	columns, rows string
	want          scalertest.Observation
	message       string // of an error
}{
	"long":              {`{"name":"n","type":"long"}`, `[7]`, scalertest.Observation{Value: 7, Active: true}, ""},
	"int":               {`{"name":"n","type":"int"}`, `[7]`, scalertest.Observation{Value: 7, Active: true}, ""},
	"real":              {`{"name":"n","type":"real"}`, `[0.5]`, scalertest.Observation{Value: 0.5, Active: true}, ""},
	"zero":              {`{"name":"n","type":"long"}`, `[0]`, scalertest.Observation{}, ""},
	"further columns":   {`{"name":"n","type":"long"},{"name":"threshold","type":"string"}`, `[7,"x"]`, scalertest.Observation{Value: 7, Active: true}, ""},
	"no rows":           {`{"name":"n","type":"long"}`, ``, scalertest.Observation{}, "the query returns no rows, want one"},
	"two rows":          {`{"name":"n","type":"long"}`, `[1],[2]`, scalertest.Observation{}, "the query returns 2 rows, want one"},
	"no columns":        {``, `[1]`, scalertest.Observation{}, "the query returns a table without columns"},
	"no cells":          {`{"name":"n","type":"long"}`, `[]`, scalertest.Observation{}, "the query returns a row without cells"},
	"null":              {`{"name":"n","type":"long"}`, `[null]`, scalertest.Observation{}, "the query returns null"},
	"not a number":      {`{"name":"n","type":"real"}`, `["NaN"]`, scalertest.Observation{}, "the query returns NaN, which is not a finite number"},
	"infinity":          {`{"name":"n","type":"real"}`, `["-Infinity"]`, scalertest.Observation{}, "the query returns -Infinity, which is not a finite number"},
	"a negative number": {`{"name":"n","type":"long"}`, `[-3]`, scalertest.Observation{}, "the query returns -3, which is negative"},
	"a text":            {`{"name":"n","type":"string"}`, `["7"]`, scalertest.Observation{}, "the first column of the query's result is of type string, want real, int or long"},
	"decimal":           {`{"name":"n","type":"decimal"}`, `["7"]`, scalertest.Observation{}, "the first column of the query's result is of type decimal, want real, int or long"},
	"a time":            {`{"name":"n","type":"datetime"}`, `["2026-01-01"]`, scalertest.Observation{}, "of type datetime"},
	"a type of nobody":  {`{"name":"n","type":"hush-hush"}`, `[7]`, scalertest.Observation{}, "of a type that is none of real, int and long"},
	"a text in a long":  {`{"name":"n","type":"long"}`, `["hush-hush"]`, scalertest.Observation{}, "the query returns a cell that is not a number"},
	"a list in a long":  {`{"name":"n","type":"long"}`, `[[7]]`, scalertest.Observation{}, "the query returns a cell that is not a number"},
	"too large":         {`{"name":"n","type":"real"}`, `[1e999]`, scalertest.Observation{}, "the query returns a cell that is not a number"},
	"an error in a row": {`{"name":"n","type":"long"}`, `[7],{"OneApiErrors":[{"error":{"message":"hush-hush"}}]}`, scalertest.Observation{}, "the service reports an error beside the result"},
}

// checkCell holds what was read against what is expected.
func checkCell(t *testing.T, what string, got scalertest.Observation, err error, want scalertest.Observation, message string) {
	t.Helper()
	if message == "" {
		if err != nil || got != want {
			t.Errorf("observation = %+v, %v, want %+v", got, err, want)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), message) || strings.Contains(err.Error(), "hush-hush") {
		t.Errorf("error = %v, want %q", err, what+message)
	}
}

func TestLogAnalyticsCells(t *testing.T) {
	s := newQueryStub(t, nil)
	family := scalertest.Serve(t, azureLogAnalytics).WithAuth(logAnalyticsKind.application(stubSecret))
	for name, tt := range cellTests {
		t.Run(name, func(t *testing.T) {
			s.answers(saying(200, logs(tt.columns, tt.rows)))
			got, err := family.Observe(t.Context(), "azure-log-analytics", logAnalyticsKind.metadata(s.URL))
			checkCell(t, logAnalyticsKind.what, got, err, tt.want, tt.message)
		})
	}
	for name, tt := range map[string]struct{ answer, message string }{
		"no table":        {`{"tables":[]}`, "the query returns no table"},
		"two tables":      {`{"tables":[{"columns":[{"type":"long"}],"rows":[[1]]},{"columns":[{"type":"long"}],"rows":[[1]]}]}`, "the query returns 2 tables, want one"},
		"a partial error": {`{"tables":[{"columns":[{"type":"long"}],"rows":[[1]]}],"error":{"code":"PartialError","message":"hush-hush"}}`, "the service reports an error beside the result, which may not be complete"},
		"a null error":    {`{"tables":[{"columns":[{"type":"long"}],"rows":[[7]]}],"error":null}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s.answers(saying(200, tt.answer))
			got, err := family.Observe(t.Context(), "azure-log-analytics", logAnalyticsKind.metadata(s.URL))
			checkCell(t, logAnalyticsKind.what, got, err, scalertest.Observation{Value: 7, Active: true}, tt.message)
		})
	}
	s.answers(saying(200, logs(`{"type":"long"}`, `[7]`)))
	got, err := family.Observe(t.Context(), "azure-log-analytics", joined(logAnalyticsKind.metadata(s.URL), map[string]string{"activationThreshold": "7"}))
	checkCell(t, "", got, err, scalertest.Observation{Value: 7}, "")
}

func TestLogAnalyticsRequest(t *testing.T) {
	s := newQueryStub(t, saying(200, logAnalyticsKind.value))
	metadata := joined(logAnalyticsKind.metadata(s.URL), map[string]string{"workspaceId": "", "query": `T | where a == "b" | count`, "timeout": "5000", "unsafeSsl": "true"})
	auth := joined(logAnalyticsKind.application(stubSecret), map[string]string{"workspaceId": "w/1"})
	if _, err := scalertest.Serve(t, azureLogAnalytics).WithAuth(auth).Observe(t.Context(), "azure-log-analytics", metadata); err != nil {
		t.Fatal(err)
	}
	_, r := s.requests()
	if r.Method != http.MethodPost || r.URL.EscapedPath() != "/v1/workspaces/w%2F1/query" || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") ||
		string(s.bodies[0]) != `{"query":"T | where a == \"b\" | count"}` {
		t.Errorf("%s %s: %s", r.Method, r.URL.EscapedPath(), s.bodies[0])
	}
}

func TestLogAnalyticsProblems(t *testing.T) {
	family := scalertest.Serve(t, azureLogAnalytics)
	for name, tt := range map[string]struct {
		metadata map[string]string
		want     string
	}{
		"everything": {map[string]string{"workspaceId": "", "query": "", "threshold": "", "timeout": "soon"},
			`workspaceId: is required (looked in authentication, metadata, workspaceIdFromEnv); query: is required (looked in metadata); threshold: is required (looked in metadata)`},
		"no login":          {map[string]string{"tenantId": ""}, "tenantId: is required without pod identity azure-workload; clientId: is required without pod identity azure-workload; clientSecret: is required without pod identity azure-workload (ScaledObject app in namespace default)"},
		"a negative time":   {map[string]string{"timeout": "-1"}, "timeout: "},
		"a threshold of 0":  {map[string]string{"threshold": "0", "clientId": "c", "clientSecret": "s"}, "threshold: target 0 is not greater than 0"},
		"an unknown cloud":  {map[string]string{"cloud": "AzureCloud", "clientId": "c", "clientSecret": "s"}, `cloud: "AzureCloud" is not one of AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, Private`},
		"private, no place": {map[string]string{"logAnalyticsResourceURL": "", "clientId": "c", "clientSecret": "s"}, "logAnalyticsResourceURL: is required with cloud Private"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := family.Observe(t.Context(), "azure-log-analytics", joined(logAnalyticsKind.metadata("https://127.0.0.1:1"), tt.metadata))
			if status.Code(err) != codes.InvalidArgument || !strings.HasPrefix(status.Convert(err).Message(), "azure-log-analytics: "+tt.want) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
	specs, err := family.WithAuth(joined(logAnalyticsKind.application(stubSecret), map[string]string{"workspaceId": "a.b"})).
		Specs(t.Context(), "azure-log-analytics", joined(logAnalyticsKind.metadata("https://127.0.0.1:1"), map[string]string{"threshold": "2.5", "workspaceId": ""}))
	if err != nil || specs[0].GetMetricName() != "azure-log-analytics-a-b" || specs[0].GetTargetSizeFloat() != 2.5 {
		t.Errorf("metric %v, %v", specs, err)
	}
}

// TestQueriesFromTheEnvironment has every parameter that can be taken from a
// variable of the target.
func TestQueriesFromTheEnvironment(t *testing.T) {
	want := map[string]string{
		"azure-monitor":       "[activeDirectoryClientId activeDirectoryClientPassword]",
		"azure-log-analytics": "[clientId clientSecret tenantId workspaceId]",
		"azure-app-insights":  "[activeDirectoryClientId activeDirectoryClientPassword applicationInsightsId tenantId]",
		"azure-data-explorer": "[clientId tenantId]",
	}
	for _, k := range queryKinds {
		metadata := k.metadata("https://127.0.0.1:1")
		// With pod identity no part of a login is missing.
		if got := fmt.Sprint(fromEnv(k, metadata)); got != want[k.trigger.Type] {
			t.Errorf("%s: %v, want %v", k.trigger.Type, got, want[k.trigger.Type])
		}
	}
}

// fromEnv is scalertest.FromEnv for types that need a whole login: each part of it
// is tried beside the others.
func fromEnv(k queryKind, metadata map[string]string) (heard []string) {
	family := scalertest.Family{}
	for _, p := range k.trigger.Describe().GetParameters() {
		name := p.GetName()
		auth := k.application(stubSecret)
		own := joined(metadata)
		delete(auth, name)
		delete(own, name)
		question := func(env map[string]string, extra map[string]string) (string, error) {
			bound, err := k.trigger.Bind(family.Ref(k.trigger.Type, joined(own, extra)), &scaler.Credentials{Parameters: auth, Env: env})
			if err != nil {
				return "", err
			}
			return bound.Question, nil
		}
		before, missing := question(nil, nil)
		after, err := question(map[string]string{"VARIABLE": "7"}, map[string]string{name + "FromEnv": "VARIABLE"})
		if err == nil && (missing != nil || before != after) {
			heard = append(heard, name)
		}
	}
	slices.Sort(heard)
	return heard
}

func FuzzLogs(f *testing.F) {
	for _, tt := range cellTests {
		f.Add(logs(tt.columns, tt.rows))
	}
	f.Fuzz(func(t *testing.T, body string) {
		if value, err := parseLogs(nil, []byte(body)); err == nil && (value < 0 || math.IsNaN(value) || math.IsInf(value, 0)) {
			t.Errorf("%v is no value", value)
		}
	})
}
