package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// insights is what tests of all queries know of azure-app-insights.
var insights = queryKinds[2]

var _ = cases.Add("azure-app-insights", func(t testing.TB) scalertest.Case { return insights.contract(t) })

func TestAppInsightsAnswers(t *testing.T) {
	value := func(metric string) string { return `{"value":{"start":"s","end":"e",` + metric + `}}` }
	ignoring := map[string]string{"ignoreNullValues": "true"}
	s := newQueryStub(t, nil)
	family := scalertest.Serve(t, azureAppInsights).WithAuth(insights.application(stubSecret))
	for name, tt := range map[string]struct {
		answer   string
		metadata map[string]string
		want     scalertest.Observation
		message  string
	}{
		"a number":                  {value(`"requests/count":{"sum":42.5}`), nil, scalertest.Observation{Value: 42.5, Active: true}, ""},
		"zero":                      {value(`"requests/count":{"sum":0}`), nil, scalertest.Observation{}, ""},
		"a negative number":         {value(`"requests/count":{"sum":-1}`), nil, scalertest.Observation{}, ""},
		"at the threshold":          {value(`"requests/count":{"sum":3}`), map[string]string{"activationTargetValue": "3"}, scalertest.Observation{Value: 3}, ""},
		"null":                      {value(`"requests/count":{"sum":null}`), nil, scalertest.Observation{}, "null: the service saw no sample"},
		"null, ignored":             {value(`"requests/count":{"sum":null}`), ignoring, scalertest.Observation{}, ""},
		"a null metric":             {value(`"requests/count":null`), nil, scalertest.Observation{}, "null: the service saw no sample"},
		"a null metric, ignored":    {value(`"requests/count":null`), ignoring, scalertest.Observation{}, ""},
		"another metric":            {value(`"requests/duration":{"sum":1}`), nil, scalertest.Observation{}, "the answer has no such metric: metricId is wrong"},
		"another metric, ignored":   {value(`"requests/duration":{"sum":1}`), ignoring, scalertest.Observation{}, "which ignoreNullValues does not excuse"},
		"no aggregation":            {value(`"requests/count":{"avg":1}`), nil, scalertest.Observation{}, "the answer has no aggregation sum of the metric"},
		"no aggregation, ignored":   {value(`"requests/count":{"avg":1}`), ignoring, scalertest.Observation{}, "which ignoreNullValues does not excuse"},
		"a metric that is a number": {value(`"requests/count":7`), ignoring, scalertest.Observation{}, "the metric in the answer is not an object"},
		"a value that is a text":    {value(`"requests/count":{"sum":"hush-hush"}`), ignoring, scalertest.Observation{}, "the value in the answer is not a number"},
		"a value that is a list":    {value(`"requests/count":{"sum":[1]}`), ignoring, scalertest.Observation{}, "the value in the answer is not a number"},
		"a value too large":         {value(`"requests/count":{"sum":1e999}`), ignoring, scalertest.Observation{}, "the value in the answer is not a number"},
		"no value":                  {`{}`, ignoring, scalertest.Observation{}, "the answer is not one of the API"},
		"a null value":              {`{"value":null}`, ignoring, scalertest.Observation{}, "the answer is not one of the API"},
	} {
		t.Run(name, func(t *testing.T) {
			s.answers(saying(200, tt.answer))
			got, err := family.Observe(t.Context(), "azure-app-insights", joined(insights.metadata(s.URL), tt.metadata))
			checkCell(t, insights.what, got, err, tt.want, tt.message)
		})
	}
}

func TestAppInsightsRequests(t *testing.T) {
	for name, tt := range map[string]struct {
		metadata map[string]string
		path     string
		want     url.Values
	}{
		"by default":        {nil, "/v1/apps/app-1/metrics/requests/count", url.Values{"aggregation": {"sum"}, "timespan": {"PT00H05M"}}},
		"a filter":          {map[string]string{"metricFilter": "cloud/roleName eq 'a b'", "metricAggregationTimespan": "12:34"}, "/v1/apps/app-1/metrics/requests/count", url.Values{"aggregation": {"sum"}, "timespan": {"PT12H34M"}, "filter": {"cloud/roleName eq 'a b'"}}},
		"an encoded filter": {map[string]string{"metricFilter": "cloud%2FroleName+eq%20'a%26b'"}, "/v1/apps/app-1/metrics/requests/count", url.Values{"aggregation": {"sum"}, "timespan": {"PT00H05M"}, "filter": {"cloud/roleName eq 'a&b'"}}},
		"odd names":         {map[string]string{"applicationInsightsId": "a/b", "metricId": "customMetrics/a%20b%2Fc", "metricAggregationType": "avg&x"}, "/v1/apps/a%2Fb/metrics/customMetrics/a%20b%2Fc", url.Values{"aggregation": {"avg&x"}, "timespan": {"PT00H05M"}}},
		"an encoded name":   {map[string]string{"metricId": "customMetrics/a%20b"}, "/v1/apps/app-1/metrics/customMetrics/a%20b", url.Values{"aggregation": {"sum"}, "timespan": {"PT00H05M"}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newQueryStub(t, saying(200, insights.value))
			_, _ = scalertest.Serve(t, azureAppInsights).WithAuth(insights.application(stubSecret)).Observe(t.Context(), "azure-app-insights", joined(insights.metadata(s.URL), tt.metadata))
			n, r := s.requests()
			if n != 1 || r.Method != http.MethodGet || r.URL.EscapedPath() != tt.path || r.URL.Query().Encode() != tt.want.Encode() {
				t.Errorf("%d requests, the last is %s %s?%s", n, r.Method, r.URL.EscapedPath(), r.URL.RawQuery)
			}
		})
	}
}

func TestAppInsightsProblems(t *testing.T) {
	family := scalertest.Serve(t, azureAppInsights).WithAuth(insights.application(stubSecret))
	for name, tt := range map[string]struct {
		metadata map[string]string
		want     string
	}{
		"everything": {map[string]string{"applicationInsightsId": "", "metricId": "", "metricAggregationType": "", "metricAggregationTimespan": "", "tenantId": "", "targetValue": ""},
			"applicationInsightsId: is required (looked in metadata, authentication, applicationInsightsIdFromEnv); metricId: is required (looked in metadata); metricAggregationType: is required (looked in metadata); " +
				"metricAggregationTimespan: is required (looked in metadata); tenantId: is required (looked in metadata, authentication, tenantIdFromEnv)"},
		"no colon":               {map[string]string{"metricAggregationTimespan": "5"}, `metricAggregationTimespan: "5" is not of the form hh:mm: it should be hh:mm, such as 00:05`},
		"two colons":             {map[string]string{"metricAggregationTimespan": "0:5:0"}, `metricAggregationTimespan: "0:5:0" is not of the form hh:mm`},
		"words":                  {map[string]string{"metricAggregationTimespan": "aa:bb"}, `metricAggregationTimespan: "aa:bb" is not of the form hh:mm`},
		"no target":              {map[string]string{"targetValue": ""}, `targetValue: target 0 is not greater than 0`},
		"a stray percent":        {map[string]string{"metricFilter": "a eq '100%'"}, "metricFilter: has a % that is not followed by two hexadecimal digits"},
		"elsewhere, escaped":     {map[string]string{"metricId": "%2e%2e/%2E%2E/other/metrics/x"}, "metricId: is not the id of a metric"},
		"elsewhere, in one":      {map[string]string{"metricId": "a/..%2f..%2fother"}, "metricId: is not the id of a metric"},
		"elsewhere":              {map[string]string{"metricId": "../../x"}, "metricId: is not the id of a metric"},
		"an unknown cloud":       {map[string]string{"cloud": "AzureCloud"}, `cloud: "AzureCloud" is not one of AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, Private`},
		"private, no place":      {map[string]string{"appInsightsResourceURL": ""}, "appInsightsResourceURL: is required with cloud Private"},
		"private, no Entra":      {map[string]string{"activeDirectoryEndpoint": ""}, "activeDirectoryEndpoint: is required with cloud Private"},
		"the secret as metadata": {map[string]string{"metricAggregationTimespan": "1", "activeDirectoryClientPassword": "hush-hush"}, `metricAggregationTimespan: "1" is not`},
	} {
		t.Run(name, func(t *testing.T) {
			family := family
			if name == "everything" { // of an authentication, more may be to come
				family = scalertest.Serve(t, azureAppInsights)
			}
			_, err := family.Observe(t.Context(), "azure-app-insights", joined(insights.metadata("https://127.0.0.1:1"), tt.metadata))
			if status.Code(err) != codes.InvalidArgument || !strings.HasPrefix(status.Convert(err).Message(), "azure-app-insights: "+tt.want) || strings.Contains(err.Error(), "hush-hush") {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
	// The secret is never literal metadata.
	_, err := scalertest.Serve(t, azureAppInsights).Observe(t.Context(), "azure-app-insights", joined(insights.metadata("https://127.0.0.1:1"), insights.application("hush-hush")))
	if !strings.Contains(status.Convert(err).Message(), "activeDirectoryClientPassword: is required without pod identity azure-workload") {
		t.Errorf("a literal secret: %v", err)
	}
	specs, err := family.Specs(t.Context(), "azure-app-insights", joined(insights.metadata("https://127.0.0.1:1"), map[string]string{"metricId": "customMetrics/back.log", "targetValue": "2.5"}))
	if err != nil || specs[0].GetMetricName() != "azure-app-insights-customMetrics-back-log" || specs[0].GetTargetSizeFloat() != 2.5 {
		t.Errorf("metric %v, %v", specs, err)
	}
}

// insightsAnswers answers as Application Insights does to requests for one metric and
// for many: the number 5, or a refusal of its own for a metric whose name begins
// with bad. It is silent about one that begins with lost.
func insightsAnswers(w http.ResponseWriter, r *http.Request) {
	const app = "/v1/apps/app-1/metrics"
	if r.Method == http.MethodGet {
		metric := strings.TrimPrefix(r.URL.Path, app+"/")
		if strings.HasPrefix(metric, "bad") {
			saying(400, `{"error":{"code":"BadArgumentError","message":"hush-hush"}}`)(w, r)
			return
		}
		saying(200, `{"value":{"`+metric+`":{"`+r.URL.Query().Get("aggregation")+`":5}}}`)(w, r)
		return
	}
	type item struct {
		ID     string `json:"id"`
		Status int    `json:"status"`
		Body   any    `json:"body"`
	}
	var questions []struct {
		ID         string
		Parameters struct {
			MetricID, Timespan, Filter string
			Aggregation                []string
		}
	}
	decoder := json.NewDecoder(r.Body)
	if r.URL.Path != app || r.Method != http.MethodPost || r.URL.RawQuery != "" || decoder.Decode(&questions) != nil || len(questions) > 20 {
		saying(400, `{"error":{"code":"BadArgumentError","message":"hush-hush"}}`)(w, r)
		return
	}
	answers := []item{}
	for _, q := range slices.Backward(questions) { // in no order that counts
		switch metric := q.Parameters.MetricID; {
		case strings.HasPrefix(metric, "lost"):
		case strings.HasPrefix(metric, "bad"), q.Parameters.Timespan != "PT00H05M", len(q.Parameters.Aggregation) != 1:
			answers = append(answers, item{q.ID, 400, map[string]any{"error": map[string]string{"code": "BadArgumentError", "message": "hush-hush"}}})
		case strings.HasPrefix(metric, "null"):
			answers = append(answers, item{q.ID, 200, map[string]any{"value": map[string]any{metric: map[string]any{q.Parameters.Aggregation[0]: nil}}}})
		default:
			answers = append(answers, item{q.ID, 200, map[string]any{"value": map[string]any{metric: map[string]any{q.Parameters.Aggregation[0]: 5}}}})
		}
	}
	_ = json.NewEncoder(w).Encode(answers)
}

// openInsights opens a source for each metric of one application.
func openInsights(t testing.TB, address string, metrics ...string) []scaler.Source {
	t.Helper()
	var all []map[string]string
	for _, metric := range metrics {
		all = append(all, joined(insights.metadata(address), map[string]string{"metricId": metric}))
	}
	return openAll(t, azureAppInsights, insights.application(stubSecret), all...)
}

// TestInsightsAreReadTogether: metrics of one application are one request. What is
// wrong with one is its own, and does not cost the others a second request again.
func TestInsightsAreReadTogether(t *testing.T) {
	s := newQueryStub(t, insightsAnswers)
	sources := openInsights(t, s.URL, "requests/count", "bad/metric", "customMetrics/a", "null/metric", "lost/metric")
	want := []codes.Code{codes.OK, codes.FailedPrecondition, codes.OK, codes.Unavailable, codes.OK}
	for round, requests := range []int{3, 6} { // of many, and of bad and lost by themselves
		for i, r := range scaler.ReadTogether(within(t), sources[0].(scaler.Batched).Batch(), sources...) {
			code := status.Code(r.Err)
			if errors.Is(r.Err, scaler.ErrNoData) {
				code = codes.Unavailable
			}
			if code != want[i] || r.Err == nil && r.Readings[0].Value != 5 || r.Err != nil && strings.Contains(r.Err.Error(), "hush-hush") {
				t.Errorf("round %d, metric %d: %v, %v, want %v", round, i, r.Readings, r.Err, want[i])
			}
		}
		if n, _ := s.requests(); n != requests {
			t.Errorf("%d requests after round %d, want %d", n, round, requests)
		}
	}
	// Another application, another address and another login are read apart.
	others := openAll(t, azureAppInsights, insights.application(stubSecret), joined(insights.metadata(s.URL), map[string]string{"applicationInsightsId": "app-2"}))
	if others[0].(scaler.Batched).Batch() == sources[0].(scaler.Batched).Batch() {
		t.Error("metrics of two applications are read together")
	}
	// What a path and a list spell differently is asked for by itself.
	for _, metric := range []map[string]string{{"metricId": "customMetrics/a%20b"}, {"metricAggregationType": "sum,avg"}} {
		if _, together := openAll(t, azureAppInsights, insights.application(stubSecret), joined(insights.metadata(s.URL), metric))[0].(scaler.Batched); together {
			t.Errorf("%v is read together with others", metric)
		}
	}
}

// TestInsightsOneByOne: a service that takes no requests for many is not asked so
// again for a while, and what concerns all of them is said once.
func TestInsightsOneByOne(t *testing.T) {
	for name, tt := range map[string]struct {
		many        http.HandlerFunc
		code        codes.Code
		first, next int // requests
	}{
		"no such path":    {saying(404, ""), codes.OK, 4, 3},
		"no such method":  {saying(405, ""), codes.OK, 4, 3},
		"an object":       {saying(200, insights.value), codes.OK, 4, 3},
		"an answer twice": {saying(200, `[`+strings.Repeat(`{"id":"0","status":200,"body":{"value":{"requests/count":{"sum":7}}}},`, 2)+`{"id":"9","status":200},{"id":"x"}]`), codes.OK, 4, 3},
		"unauthorized":    {saying(401, ""), codes.Unauthenticated, 1, 1},
		"an error":        {saying(500, ""), codes.Unavailable, 1, 1},
		"throttled":       {saying(429, ""), codes.ResourceExhausted, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newQueryStub(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					tt.many(w, r)
					return
				}
				insightsAnswers(w, r)
			})
			sources := openInsights(t, s.URL, "requests/count", "customMetrics/a", "customMetrics/b")
			had := 0
			for _, want := range []int{tt.first, tt.next} {
				answers := make([]scaler.Result, len(sources))
				var mu sync.Mutex
				err := sources[0].(scaler.Batched).Batch().ReadBatch(within(t), sources, func(i int, r scaler.Result) {
					mu.Lock()
					defer mu.Unlock()
					answers[i] = r
				})
				for i, r := range answers {
					if err != nil || status.Code(r.Err) != tt.code || r.Err == nil && r.Readings[0].Value != 5 {
						t.Errorf("metric %d: %v, %v, %v, want %v", i, r.Readings, r.Err, err, tt.code)
					}
				}
				n, _ := s.requests()
				if n-had != want {
					t.Errorf("%d requests, want %d", n-had, want)
				}
				had = n
			}
		})
	}
}

// TestInsightsThatStall: one metric that is not answered keeps no other waiting, and
// is asked for by itself from then on.
func TestInsightsThatStall(t *testing.T) {
	s := newQueryStub(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body)+r.URL.Path, "stalled") {
			<-r.Context().Done()
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		insightsAnswers(w, r)
	})
	sources := openInsights(t, s.URL, "requests/count", "customMetrics/a", "stalled/metric")
	for round, requests := range []int{1 + 3, 1 + 3 + 1 + 1} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		for i, r := range scaler.ReadTogether(ctx, sources[0].(scaler.Batched).Batch(), sources...) {
			if i < 2 && (r.Err != nil || r.Readings[0].Value != 5) || i == 2 && r.Err == nil {
				t.Errorf("round %d, metric %d: %v, %v", round, i, r.Readings, r.Err)
			}
		}
		cancel()
		if n, _ := s.requests(); n != requests {
			t.Errorf("%d requests after round %d, want %d", n, round, requests)
		}
	}
}

func FuzzInsights(f *testing.F) {
	f.Add(`[{"id":"0","status":200,"body":{}},{"id":"1","status":400,"body":{"error":{}}}]`, 2)
	f.Add(`[{"id":"00","status":200,"body":{}},{"id":"-1","status":"x"}]`, 1)
	f.Fuzz(func(t *testing.T, text string, n int) {
		n = max(0, min(n, metricsAtOnce))
		if found, err := parseInsights(nil, []byte(text), n); err == nil && len(found) > n {
			t.Errorf("%d answers to %d", len(found), n)
		}
	})
}

func FuzzInsight(f *testing.F) {
	f.Add(insights.value, "requests/count", "sum")
	f.Add(`{"value":{"a":{"b":null}}}`, "a", "b")
	f.Fuzz(func(t *testing.T, body, metric, aggregation string) {
		if value, err := parseInsight(nil, []byte(body), metric, aggregation); err == nil && (math.IsNaN(value) || math.IsInf(value, 0)) {
			t.Errorf("%v is no value", value)
		}
	})
}
