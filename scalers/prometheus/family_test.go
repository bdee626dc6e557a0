package main

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// trigger is a valid one for the server at address, with changes; an empty text
// takes a key away.
func trigger(address string, changes map[string]string) map[string]string {
	metadata := map[string]string{"serverAddress": address, "query": "vector(3)", "threshold": "2"}
	maps.Copy(metadata, changes)
	return metadata
}

// cases has valid metadata of every type.
var cases = scalertest.Cases{}

func TestContract(t *testing.T) { cases.Contract(t, triggers) }

var _ = cases.Add("prometheus", func(t testing.TB) scalertest.Case {
	return scalertest.Case{
		Address: strings.TrimPrefix(servers.Prometheus(t, servers.PrometheusOptions{BasicAuth: true}).URL(), "http://"),
		At: func(address string) map[string]string {
			return trigger("http://"+address, map[string]string{"authModes": "basic"})
		},
		Auth:  map[string]string{"username": servers.PrometheusUser, "password": servers.PrometheusPassword},
		Value: 3,
	}
})

// TestQueries goes from metadata to observations, over real gRPC and to a real
// server.
func TestQueries(t *testing.T) {
	p := servers.SharedPrometheus(t)
	asking := func(query string) map[string]string { return map[string]string{"query": query} }
	strictly := func(query string) map[string]string {
		return map[string]string{"query": query, "ignoreNullValues": "false"}
	}
	const lost = "the result is empty, the target of the metrics may be lost: no data"
	const two = `label_replace(vector(1), "a", "1", "", "") or label_replace(vector(2), "a", "2", "", "")`
	tests := map[string]struct {
		metadata map[string]string
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"one element":              {asking("vector(7.5)"), scalertest.Observation{Value: 7.5, Active: true}, codes.OK, ""},
		"a scalar":                 {asking("scalar(vector(7))"), scalertest.Observation{Value: 7, Active: true}, codes.OK, ""},
		"a number":                 {asking("1e3"), scalertest.Observation{Value: 1000, Active: true}, codes.OK, ""},
		"zero":                     {asking("vector(0)"), scalertest.Observation{}, codes.OK, ""},
		"at the threshold":         {map[string]string{"activationThreshold": "3"}, scalertest.Observation{Value: 3}, codes.OK, ""},
		"nothing":                  {asking("missing"), scalertest.Observation{}, codes.OK, ""},
		"nothing, strictly":        {strictly("missing"), scalertest.Observation{}, codes.NotFound, lost},
		"no number":                {asking("vector(0)/0"), scalertest.Observation{}, codes.OK, ""},
		"no number, strictly":      {strictly("vector(0)/0"), scalertest.Observation{}, codes.NotFound, "the result is not a finite number: no data"},
		"infinity":                 {asking("vector(1)/0"), scalertest.Observation{}, codes.OK, ""},
		"less than infinity":       {strictly("-1/0"), scalertest.Observation{}, codes.NotFound, "the result is not a finite number: no data"},
		"several elements":         {asking(two), scalertest.Observation{}, codes.FailedPrecondition, "the query returns multiple elements (2), want one: aggregate them, for example with sum()"},
		"several, aggregated":      {asking("sum(" + two + ")"), scalertest.Observation{Value: 3, Active: true}, codes.OK, ""},
		"a range":                  {asking("missing[5m]"), scalertest.Observation{}, codes.FailedPrecondition, "the query returns a matrix, want one number"},
		"a text":                   {asking(`"text"`), scalertest.Observation{}, codes.FailedPrecondition, "the query returns a string, want one number"},
		"no PromQL":                {asking("sum("), scalertest.Observation{}, codes.FailedPrecondition, "GET URL/api/v1/query: 400 Bad Request"},
		"a slash at the end":       {map[string]string{"serverAddress": p.URL() + "/"}, scalertest.Observation{Value: 3, Active: true}, codes.OK, ""},
		"a path that is not there": {map[string]string{"serverAddress": p.URL() + "/prom"}, scalertest.Observation{}, codes.NotFound, "GET URL/prom/api/v1/query: 404 Not Found"},
		"the time of now":          {asking("time() > bool " + fmt.Sprint(time.Now().Add(-time.Hour).Unix())), scalertest.Observation{Value: 1, Active: true}, codes.OK, ""},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := family.Observe(t.Context(), "prometheus", trigger(p.URL(), tt.metadata))
			want := "prometheus: " + strings.ReplaceAll(tt.message, "URL", p.URL())
			if status.Code(err) != tt.code || err != nil && status.Convert(err).Message() != want {
				t.Fatalf("error = %v, want %v %q", err, tt.code, want)
			}
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestScraped follows a metric of the test's own, through the death of its
// target and of the server.
func TestScraped(t *testing.T) {
	var waiting atomic.Int64
	waiting.Store(4)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# TYPE jobs gauge\njobs{state=\"waiting\"} %d\njobs{state=\"done\"} 100\n", waiting.Load())
	}))
	defer target.Close()
	p := servers.Prometheus(t, servers.PrometheusOptions{Targets: []string{target.Listener.Addr().String()}})
	family := scalertest.Serve(t, triggers...)
	metadata := trigger(p.URL(), map[string]string{"query": `sum(jobs{state="waiting"})`, "ignoreNullValues": "false"})
	until := func(what string, satisfied func(scalertest.Observation, error) bool) {
		t.Helper()
		deadline := time.Now().Add(90 * time.Second)
		for {
			got, err := family.Observe(t.Context(), "prometheus", metadata)
			if satisfied(got, err) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("waited for %s, saw %+v, %v", what, got, err)
			}
		}
	}
	value := func(want float64) func(scalertest.Observation, error) bool {
		return func(got scalertest.Observation, err error) bool { return err == nil && got.Value == want }
	}
	failing := func(code codes.Code) func(scalertest.Observation, error) bool {
		return func(_ scalertest.Observation, err error) bool { return status.Code(err) == code }
	}
	until("4", value(4))
	waiting.Store(0)
	until("0", value(0))
	target.Close()
	until("no data", failing(codes.NotFound))
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	until("an error", failing(codes.Unavailable))
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	until("an answer", failing(codes.NotFound))
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	until("a deadline", failing(codes.DeadlineExceeded))
}

func TestParameters(t *testing.T) {
	tests := map[string]struct {
		metadata map[string]string
		message  string
	}{
		"no address":            {map[string]string{"serverAddress": ""}, "serverAddress: is required (looked in metadata)"},
		"no scheme":             {map[string]string{"serverAddress": "me:hush-hush@prometheus:9090"}, "serverAddress: is not an absolute URL of http or https"},
		"no query":              {map[string]string{"query": ""}, "query: is required (looked in metadata)"},
		"no threshold":          {map[string]string{"threshold": ""}, "threshold: is required (looked in metadata)"},
		"a threshold of zero":   {map[string]string{"threshold": "0"}, "threshold: target 0 is not greater than 0"},
		"a negative timeout":    {map[string]string{"timeout": "-1"}, `timeout: "-1" is negative`},
		"a header without pair": {map[string]string{"customHeaders": "Authorization: hush-hush"}, `customHeaders: the value from metadata is not one "key=value"`},
		"the tenant of old":     {map[string]string{"cortexOrgID": "shop"}, "cortexOrgID: was removed: use customHeaders: X-Scope-OrgID=<tenant>"},
		"another mode":          {map[string]string{"authModes": "digest"}, `authModes: "digest" is not one of apiKey, basic, tls, bearer, custom, oauth`},
		"incomplete":            {map[string]string{"authModes": "basic"}, "authModes: basic needs username: username is <empty>"},
		"everything at once": {map[string]string{"serverAddress": "x", "query": "", "threshold": "many", "ignoreNullValues": "perhaps"},
			`query: is required (looked in metadata); threshold: "many" is not a number; ignoreNullValues: "perhaps" is neither true nor false; serverAddress: is not an absolute URL of http or https`},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := family.Specs(t.Context(), "prometheus", trigger("http://prometheus:9090", tt.metadata))
			if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "prometheus: "+tt.message {
				t.Errorf("error = %v, want %q", err, "prometheus: "+tt.message)
			}
		})
	}
	specs, err := family.Specs(t.Context(), "prometheus", trigger("http://prometheus:9090", map[string]string{"metricName": "old"}))
	if err != nil || specs[0].GetMetricName() != "prometheus" || specs[0].GetTargetSizeFloat() != 2 {
		t.Errorf("specs = %v, %v", specs, err)
	}
}

// TestRequest is about what the server is asked.
func TestRequest(t *testing.T) {
	asked := make(chan *http.Request, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"3"]}]}}`)
	}))
	defer server.Close()
	source, err := scalertest.Open(t, openPrometheus, prometheusParams{
		ServerAddress: server.URL + "/base/?dedup=true", Query: `sum(a{b="c&d"}) + 1`, OfNamespace: "a b&c",
		QueryParameters: map[string]string{"max_source_resolution": "5m", "x": "a=b&c"},
		CustomHeaders:   map[string]string{"X-Scope-OrgID": "MQ==", "host": "tenant.example"},
	})
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Second)
	if _, err := source.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := <-asked
	at, err := time.Parse(time.RFC3339, r.URL.Query().Get("time"))
	if err != nil || at.Before(before) || at.Location() != time.UTC {
		t.Errorf("time = %s, %v", at, err)
	}
	query := r.URL.Query()
	query.Del("time")
	want := url.Values{"dedup": {"true"}, "query": {`sum(a{b="c&d"}) + 1`}, "namespace": {"a b&c"}, "max_source_resolution": {"5m"}, "x": {"a=b&c"}}
	if r.Method != http.MethodGet || r.URL.Path != "/base/api/v1/query" || query.Encode() != want.Encode() {
		t.Errorf("asked %s %s with %v, want %v", r.Method, r.URL.Path, query, want)
	}
	if r.Header.Get("X-Scope-OrgID") != "MQ==" || r.Host != "tenant.example" {
		t.Errorf("headers = %v, host %s", r.Header, r.Host)
	}
}

// TestThousandTriggers has a thousand queries to one server, and a thousand
// triggers with one query.
func TestThousandTriggers(t *testing.T) {
	var requests, connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"scalar","result":[1,"3"]}}`)
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	ctx, release := scaler.Opening(t.Context())
	defer release()
	for i := range 1000 {
		source, err := openPrometheus(ctx, prometheusParams{ServerAddress: server.URL, Query: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := source.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// On a busy machine net/http gives up a connection now and then.
	if connections.Load() > 50 {
		t.Errorf("%d connections for a thousand reads one after the other", connections.Load())
	}
	before := requests.Load()
	family := scalertest.Serve(t, triggers...)
	for i := range 1000 {
		ref := family.Ref("prometheus", trigger(server.URL, map[string]string{"threshold": fmt.Sprint(i + 1), "ignoreNullValues": fmt.Sprint(i%2 == 0)}))
		ref.Name = fmt.Sprintf("app-%d", i)
		if got, err := family.External.IsActive(t.Context(), ref); err != nil || !got.GetResult() {
			t.Fatal(got, err)
		}
	}
	if got := requests.Load() - before; got > 20 {
		t.Errorf("%d requests for a thousand triggers with one query", got)
	}
}
