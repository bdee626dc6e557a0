package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// The Cluster Agent's address is for the authentication, too.
var _ = cases.Add("datadog by the Cluster Agent", func(t testing.TB) scalertest.Case {
	s := newAgent(t, "", say(200, metric(`"3"`)))
	return scalertest.Case{Metadata: agentMetadata, Value: 3, Auth: agentAt(s.Listener.Addr().String())}
})

// metric is an answer of the Cluster Agent.
func metric(value string) string {
	return `{"kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1", "metadata": {}, "items": [
		{"metricName": "datadogmetric@shop:orders", "metricLabels": null, "timestamp": "2026-01-01T00:00:00Z", "value": ` + value + `}]}`
}

// TestAgentMetrics goes to a handler behind TLS that answers as the Cluster Agent
// does, to the request that the contract's case checks.
func TestAgentMetrics(t *testing.T) {
	filler := map[string]string{"metricUnavailableValue": "7"}
	const wrong = "the value of the metric is not a number or a quantity"
	tests := map[string]struct {
		code     int
		answer   string
		metadata map[string]string
		value    float64
		want     codes.Code
		message  string
	}{
		"a quantity":                {answer: metric(`"2500m"`), value: 2.5},
		"a text with a number":      {answer: metric(`"12"`), value: 12},
		"a number":                  {answer: metric(`12.5`), value: 12.5},
		"zero":                      {answer: metric(`"0"`)},
		"the first of several":      {answer: `{"items": [{"value": "3"}, {"value": "4"}]}`, value: 3},
		"a truth":                   {answer: metric(`true`), metadata: filler, want: codes.FailedPrecondition, message: wrong},
		"a word":                    {answer: metric(`"many"`), metadata: filler, want: codes.FailedPrecondition, message: wrong},
		"null":                      {answer: metric(`null`), want: codes.NotFound, message: "the metric has no value: no data"},
		"null for items":            {answer: `{"items": null}`, want: codes.NotFound, message: "no metrics returned: no data"},
		"the filler for null":       {answer: `{"items": null}`, metadata: filler, value: 7},
		"no items":                  {answer: `{"items": []}`, want: codes.NotFound, message: "no metrics returned: no data"},
		"the filler for no items":   {answer: `{"items": []}`, metadata: filler, value: 7},
		"another's answer":          {answer: `{}`, metadata: filler, want: codes.Unavailable, message: errNotMetric.Error()},
		"no JSON":                   {answer: `<html>`, metadata: filler, want: codes.Unavailable, message: errNotMetric.Error()},
		"unprocessable":             {code: 422, answer: `{"message": "stale"}`, want: codes.FailedPrecondition, message: "DatadogMetric shop/orders: 422 Unprocessable Entity: the Cluster Agent says: stale: Datadog cannot compute the metric; metricUnavailableValue would stand for it"},
		"the filler for that":       {code: 422, answer: `{"message": "stale"}`, metadata: filler, value: 7},
		"an error":                  {code: 500, answer: `{"message": "DatadogMetric is invalid,\n no query"}`, metadata: filler, want: codes.Unavailable, message: "DatadogMetric shop/orders: 500 Internal Server Error: the Cluster Agent says: DatadogMetric is invalid,  no query"},
		"an error of somebody else": {code: 502, answer: `<html>`, metadata: filler, want: codes.Unavailable, message: "DatadogMetric shop/orders: 502 Bad Gateway"},
		"forbidden":                 {code: 403, answer: `{"message": "no"}`, want: codes.PermissionDenied, message: "DatadogMetric shop/orders: 403 Forbidden: the Cluster Agent says: no: check authMode, token and what it may read"},
		"another metric":            {metadata: map[string]string{"datadogMetricName": "mails"}, want: codes.NotFound, message: "DatadogMetric shop/mails: 404 Not Found: the Cluster Agent says: no such metric"},
		"a redirect":                {code: 302, answer: ``, want: codes.FailedPrecondition, message: "DatadogMetric shop/orders: 302 Found"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.code == 0 {
				tt.code = 200
			}
			s := newAgent(t, "", say(tt.code, tt.answer))
			got, err := scalertest.Serve(t, triggers...).WithAuth(agentAt(s.Listener.Addr().String())).Observe(t.Context(), "datadog", with(agentMetadata, tt.metadata))
			want := "datadog: " + tt.message
			if status.Code(err) != tt.want || err != nil && status.Convert(err).Message() != want {
				t.Fatalf("error = %v, want %v %q", err, tt.want, want)
			}
			if err == nil && (got.Value != tt.value || got.Active != (tt.value > 0)) {
				t.Errorf("observation = %+v, want %v", got, tt.value)
			}
		})
	}
}

// TestAgentAuthentication: the token of mode bearer is sent, and nothing without.
func TestAgentAuthentication(t *testing.T) {
	s := newAgent(t, "Bearer let-me-in", say(200, metric(`"3"`)))
	at := agentAt(s.Listener.Addr().String())
	family := scalertest.Serve(t, triggers...).WithAuth(with(at, map[string]string{"authMode": "bearer", "token": "hush"}))
	if _, err := family.Observe(t.Context(), "datadog", agentMetadata); status.Code(err) != codes.Unauthenticated || strings.Contains(err.Error(), "hush") {
		t.Errorf("a wrong token: %v", err)
	}
	family.Rotate(with(at, map[string]string{"authMode": "bearer", "token": "let-me-in"}))
	if got, err := family.Observe(t.Context(), "datadog", agentMetadata); err != nil || got.Value != 3 {
		t.Errorf("the right one: %+v, %v", got, err)
	}
	_, err := scalertest.Serve(t, triggers...).WithAuth(with(at, map[string]string{"authMode": " ", "token": "let-me-in"})).Observe(t.Context(), "datadog", agentMetadata)
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("a token without mode: %v", err)
	}
}

// TestAgentCertificates: an unknown one is refused unless unsafeSsl accepts it.
func TestAgentCertificates(t *testing.T) {
	s := newAgent(t, "", say(200, metric(`"3"`)))
	at := agentAt(s.Listener.Addr().String())
	at["datadogMetricsService"], at["datadogNamespace"] = "127.0.0", "2" // not what the certificate is for
	family := scalertest.Serve(t, triggers...)
	if _, err := family.WithAuth(at).Observe(t.Context(), "datadog", agentMetadata); err == nil {
		t.Error("a certificate of another host is accepted")
	}
}

// TestUnsafeAgent reaches a server with a certificate that nobody vouches for.
func TestUnsafeAgent(t *testing.T) {
	s := httptest.NewTLSServer(say(200, metric(`"3"`)))
	defer s.Close()
	at := agentAt(s.Listener.Addr().String())
	family := scalertest.Serve(t, triggers...)
	if _, err := family.WithAuth(at).Observe(t.Context(), "datadog", agentMetadata); status.Code(err) != codes.Unavailable {
		t.Errorf("error = %v", err)
	}
	at["unsafeSsl"] = "true"
	if got, err := family.WithAuth(at).Observe(t.Context(), "datadog", agentMetadata); err != nil || got.Value != 3 {
		t.Errorf("with unsafeSsl: %+v, %v", got, err)
	}
}

// TestAgentFails has the agent throttle, stall, lie about its length and be gone.
func TestAgentFails(t *testing.T) {
	tests := map[string]struct {
		answer  http.HandlerFunc
		code    codes.Code
		message string
	}{
		"throttled": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "30")
			say(429, `{"message": "slow down"}`)(w, r)
		}, codes.ResourceExhausted, "the service throttles the account: 429 Too Many Requests; it is not asked again before "},
		"half an answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, metric(`"3"`))
		}, codes.Unavailable, ""},
		"a broken connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, codes.Unavailable, "the connection was lost"},
		"no answer":           {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, codes.DeadlineExceeded, "no answer in time: the timeout of 500ms ended after "},
		"too large an answer": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"items": [`+strings.Repeat(" ", mostAnswer)+`]}`)
		}, codes.Unavailable, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newAgent(t, "", tt.answer)
			timeout := "20s"
			if tt.code == codes.DeadlineExceeded {
				timeout = "500ms"
			}
			_, err := scalertest.Serve(t, triggers...).WithAuth(agentAt(s.Listener.Addr().String())).Observe(t.Context(), "datadog",
				with(agentMetadata, map[string]string{"timeout": timeout, "metricUnavailableValue": "7"}))
			if status.Code(err) != tt.code || !strings.Contains(err.Error(), ": "+tt.message) {
				t.Errorf("error = %v, want %v %q", err, tt.code, tt.message)
			}
		})
	}
	t.Run("dead", func(t *testing.T) {
		_, err := scalertest.Serve(t, triggers...).WithAuth(agentAt(scalertest.DeadAddress(t))).Observe(t.Context(), "datadog", agentMetadata)
		if status.Code(err) != codes.Unavailable {
			t.Errorf("error = %v", err)
		}
	})
	t.Run("stalled", func(t *testing.T) {
		_, err := scalertest.Serve(t, triggers...).WithAuth(agentAt(scalertest.StalledAddress(t))).Observe(t.Context(), "datadog", with(agentMetadata, map[string]string{"timeout": "300ms"}))
		if status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("error = %v", err)
		}
	})
}

func TestParameters(t *testing.T) {
	agent := agentAt("127.0.0.1:8443")
	tests := map[string]struct {
		metadata, auth map[string]string
		message        string
	}{
		"no query and no keys":       {map[string]string{"targetValue": "1"}, nil, "apiKey: is required; appKey: is required; query: is required"},
		"no target":                  {with(query, map[string]string{"targetValue": ""}), keys, "targetValue: is required"},
		"a target of -1":             {with(query, map[string]string{"targetValue": "-1"}), keys, "targetValue: is required"},
		"a target of 0":              {with(query, map[string]string{"targetValue": "0"}), keys, "targetValue: target 0 is not greater than 0"},
		"no scope":                   {with(query, map[string]string{"query": "sum:orders"}), keys, "query: has no scope in braces, such as {*} or {app:shop}"},
		"no scope, in agent mode":    {with(agentMetadata, map[string]string{"query": "sum:orders"}), agent, "query: has no scope in braces, such as {*} or {app:shop}"},
		"less than nothing":          {with(query, map[string]string{"age": "-1", "timeWindowOffset": "-2", "lastAvailablePointOffset": "-3"}), keys, "age: -1 is less than 0; timeWindowOffset: -2 is less than 0; lastAvailablePointOffset: -3 is less than 0"},
		"the same, in agent mode":    {with(agentMetadata, map[string]string{"age": "-1"}), agent, "age: -1 is less than 0"},
		"another aggregator":         {with(query, map[string]string{"queryAggregator": "sum"}), keys, `queryAggregator: "sum" is not one of average, max`},
		"another type":               {with(query, map[string]string{"type": "sum"}), keys, `type: "sum" is not one of average, global`},
		"a blank type":               {with(query, map[string]string{"type": " "}), keys, `type: " " is not one of average, global`},
		"a site with a port":         {query, with(keys, map[string]string{"datadogSite": "datadoghq.com:8443"}), "datadogSite: is not a site such as datadoghq.com: a host name without scheme, port and path"},
		"a site with a path":         {query, with(keys, map[string]string{"datadogSite": "evil.test/x?"}), "datadogSite: is not a site such as datadoghq.com: a host name without scheme, port and path"},
		"a site with a user":         {query, with(keys, map[string]string{"datadogSite": "@evil.test"}), "datadogSite: is not a site such as datadoghq.com: a host name without scheme, port and path"},
		"a site with a scheme":       {query, with(keys, map[string]string{"datadogSite": "https://datadoghq.com"}), "datadogSite: is not a site such as datadoghq.com: a host name without scheme, port and path"},
		"nothing, in agent mode":     {map[string]string{"useClusterAgentProxy": "true"}, nil, "targetValue: is required; datadogMetricName: is required; datadogMetricNamespace: is required; datadogMetricsService: is required; datadogNamespace: is required"},
		"a namespace with a path":    {with(agentMetadata, map[string]string{"datadogMetricNamespace": "../x"}), agent, "datadogMetricNamespace: is not the name of an object"},
		"a service with a path":      {agentMetadata, with(agent, map[string]string{"datadogMetricsService": "evil/"}), "datadogMetricsService: is not the name of an object"},
		"a port that is none":        {agentMetadata, with(agent, map[string]string{"datadogMetricsServicePort": "70000"}), "datadogMetricsServicePort: *** is not a port"},
		"bearer without token":       {agentMetadata, with(agent, map[string]string{"authMode": "bearer"}), "token: is required with authMode bearer"},
		"another mode":               {agentMetadata, with(agent, map[string]string{"authMode": "basic"}), "authMode: the value from authentication is not one of bearer"},
		"keys in the metadata":       {with(query, keys), nil, "apiKey: is required; appKey: is required"},
		"a filler that is no number": {with(query, map[string]string{"metricUnavailableValue": "none"}), keys, `metricUnavailableValue: "none" is not a number`},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := family.WithAuth(tt.auth).Observe(t.Context(), "datadog", tt.metadata)
			if status.Code(err) != codes.InvalidArgument || !strings.HasPrefix(status.Convert(err).Message(), "datadog: "+tt.message) {
				t.Errorf("error = %v, want %q", err, "datadog: "+tt.message)
			}
		})
	}
	for _, given := range []string{"Value", "AverageValue"} {
		for _, old := range []string{"Global", "average"} {
			_, err := family.WithAuth(keys).WithReserved(map[string]string{scalerv1.KeyMetricType: given}).Observe(t.Context(), "datadog", with(query, map[string]string{"type": old}))
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "type: is given beside metricType; remove it") {
				t.Errorf("type %s beside metricType %s: %v", old, given, err)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	family := scalertest.Serve(t, triggers...)
	tests := map[string]struct {
		auth, metadata map[string]string
		name           string
		target         float64
	}{
		"the API":             {keys, query, "datadog-sum-orders-waiting", 5},
		"an odd query":        {keys, map[string]string{"query": "top(a.b/c:%d{*}, 5)", "queryValue": "2.5"}, "datadog-top-a-b-c--d", 2.5},
		"targetValue first":   {keys, with(query, map[string]string{"queryValue": "9"}), "datadog-sum-orders-waiting", 5},
		"the type of old":     {keys, with(query, map[string]string{"type": "Average", "hpaMetricName": "x"}), "datadog-sum-orders-waiting", 5},
		"the Cluster Agent":   {agentAt("127.0.0.1:1"), agentMetadata, "datadogmetric@shop:orders", 5},
		"a name with a point": {agentAt("127.0.0.1:1"), with(agentMetadata, map[string]string{"datadogMetricName": "a.b"}), "datadogmetric@shop:a.b", 5},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			specs, err := family.WithAuth(tt.auth).Specs(t.Context(), "datadog", tt.metadata)
			if err != nil || len(specs) != 1 || specs[0].GetMetricName() != tt.name || specs[0].GetTargetSizeFloat() != tt.target {
				t.Errorf("specs = %v, %v", specs, err)
			}
		})
	}
	t.Run("a formula needs no target", func(t *testing.T) {
		_, err := family.WithReserved(map[string]string{scalerv1.KeyMetricSource: "true"}).Specs(t.Context(), "datadog", map[string]string{"query": "a{*}"})
		if err != nil && strings.Contains(err.Error(), "targetValue") {
			t.Error(err)
		}
	})
}

func TestWarnings(t *testing.T) {
	for age, want := range map[int]int{0: 1, 59: 1, 60: 0, 90: 0} {
		if got := (datadogParams{apiParams: apiParams{Age: age}}).Warnings(); len(got) != want {
			t.Errorf("age %d: %q", age, got)
		}
	}
	if got := (datadogParams{UseClusterAgentProxy: true}).Warnings(); len(got) != 0 {
		t.Errorf("in agent mode: %q", got)
	}
}

// TestTwoModes has triggers of both modes in one family.
func TestTwoModes(t *testing.T) {
	ctx, release := scaler.Opening(t.Context())
	defer release()
	for _, p := range []datadogParams{{}, {UseClusterAgentProxy: true}} {
		source, err := openDatadog(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		if _, agent := source.(*agentSource); agent != p.UseClusterAgentProxy {
			t.Errorf("useClusterAgentProxy %v opened %T", p.UseClusterAgentProxy, source)
		}
	}
}
