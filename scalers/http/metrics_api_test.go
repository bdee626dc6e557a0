package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/document"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// trigger is a valid one for the server at address, with changes; an empty text
// takes a key away.
func trigger(address string, changes map[string]string) map[string]string {
	metadata := map[string]string{"url": address, "valueLocation": "n", "targetValue": "2"}
	maps.Copy(metadata, changes)
	return metadata
}

// serving answers every request with a handler, until the test ends.
func serving(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// saying answers every request with a text.
func saying(t testing.TB, text string) *httptest.Server {
	t.Helper()
	return serving(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
}

// cases has valid metadata of every type.
var cases = scalertest.Cases{}

func TestContract(t *testing.T) { cases.Contract(t, triggers) }

var _ = cases.Add("metrics-api", func(t testing.TB) scalertest.Case {
	return scalertest.Case{
		Address: strings.TrimPrefix(saying(t, `{"n": 3}`).URL, "http://"),
		At: func(address string) map[string]string {
			return trigger("http://"+address, map[string]string{"authMode": "basic"})
		},
		Auth:  map[string]string{"username": "somebody", "password": "hush-hush"},
		Value: 3,
	}
})

func TestFormats(t *testing.T) {
	in := func(format, location string) map[string]string {
		return map[string]string{"format": format, "valueLocation": location}
	}
	tests := map[string]struct {
		answer   string
		metadata map[string]string
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"JSON":                     {answer: `{"q":[{"n":1},{"n":7}]}`, metadata: in("json", "q.1.n"), want: scalertest.Observation{Value: 7, Active: true}},
		"JSON by default":          {answer: `{"n":7}`, want: scalertest.Observation{Value: 7, Active: true}},
		"a quantity":               {answer: `{"n":"500m"}`, want: scalertest.Observation{Value: 0.5, Active: true}},
		"at the threshold":         {answer: `{"n":7}`, metadata: map[string]string{"activationTargetValue": "7"}, want: scalertest.Observation{Value: 7}},
		"zero":                     {answer: `{"n":0}`},
		"YAML":                     {answer: "a:\n- n: 7", metadata: in("yaml", "a.0.n"), want: scalertest.Observation{Value: 7, Active: true}},
		"XML":                      {answer: "<stats><q><n>1</n></q><q><n>7</n></q></stats>", metadata: in("xml", "q.1.n"), want: scalertest.Observation{Value: 7, Active: true}},
		"Prometheus":               {answer: "# TYPE jobs gauge\r\njobs{q=\"a\"} 1\r\njobs{q=\"b\",s=\"x\"} 7", metadata: in("prometheus", `jobs{q="b"}`), want: scalertest.Observation{Value: 7, Active: true}},
		"missing":                  {answer: `{"m":"hush-hush"}`, code: codes.NotFound, message: "the answer: nothing stands at n"},
		"a text":                   {answer: `{"n":"hush-hush"}`, code: codes.FailedPrecondition, message: "the answer: what stands at n is neither a number nor a quantity"},
		"a bool":                   {answer: `{"n":true}`, code: codes.FailedPrecondition, message: "the answer: what stands at n is a bool"},
		"no JSON":                  {answer: `n: 7`, code: codes.Unavailable, message: "the answer: the text is not JSON"},
		"nothing":                  {answer: ``, code: codes.Unavailable, message: "the answer: the text is not JSON"},
		"NaN":                      {answer: "n NaN", metadata: in("prometheus", "n"), code: codes.NotFound, message: "the answer: no data"},
		"infinity":                 {answer: "n: .inf", metadata: in("yaml", "n"), code: codes.NotFound, message: "the answer: no data"},
		"a metric that is missing": {answer: "m 7", metadata: in("prometheus", "n"), code: codes.NotFound, message: "the answer: nothing stands at n"},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := family.Observe(t.Context(), "metrics-api", trigger(saying(t, tt.answer).URL, tt.metadata))
			if status.Code(err) != tt.code || err != nil && status.Convert(err).Message() != "metrics-api: "+tt.message {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestParameters(t *testing.T) {
	tests := map[string]struct {
		metadata map[string]string
		auth     map[string]string
		message  string
	}{
		"no URL":             {metadata: map[string]string{"url": ""}, message: "url: is required (looked in metadata)"},
		"no scheme":          {metadata: map[string]string{"url": "user:hush-hush@host/path"}, message: "url: is not an absolute URL of http or https"},
		"no place":           {metadata: map[string]string{"valueLocation": ""}, message: "valueLocation: is required (looked in metadata)"},
		"no target":          {metadata: map[string]string{"targetValue": ""}, message: "targetValue: must be a positive number"},
		"a target of zero":   {metadata: map[string]string{"targetValue": "0"}, message: "targetValue: must be a positive number"},
		"another format":     {metadata: map[string]string{"format": "toml"}, message: `format: "toml" is not one of json, yaml, xml, prometheus`},
		"no metric":          {metadata: map[string]string{"format": "prometheus", "valueLocation": "a{"}, message: "valueLocation: has something else than {...} after the name"},
		"no Service":         {metadata: map[string]string{"aggregateFromKubeServiceEndpoints": "true", "url": "http://api/x"}, message: "url: has no host like service.namespace, which aggregateFromKubeServiceEndpoints needs"},
		"an address":         {metadata: map[string]string{"aggregateFromKubeServiceEndpoints": "true", "url": "http://10.0.0.1/x"}, message: "url: has no host like service.namespace, which aggregateFromKubeServiceEndpoints needs"},
		"another median":     {metadata: map[string]string{"aggregationType": "median"}, message: `aggregationType: "median" is not one of average, sum, max, min`},
		"another mode":       {metadata: map[string]string{"authMode": "digest"}, message: `authMode: "digest" is not one of apiKey, basic, tls, bearer, custom, oauth`},
		"basic and bearer":   {metadata: map[string]string{"authModes": "basic,bearer"}, auth: map[string]string{"username": "u", "token": "t"}, message: `authModes: "basic,bearer" exclude each other`},
		"tls without a key":  {metadata: map[string]string{"authModes": "tls"}, auth: map[string]string{"cert": "hush-hush"}, message: "authModes: tls needs cert and key: cert is <present>, key is <empty>"},
		"no bearer":          {metadata: map[string]string{"authModes": "bearer"}, message: "authModes: bearer needs bearerToken: bearerToken is <empty>"},
		"everything at once": {metadata: map[string]string{"valueLocation": "", "targetValue": "x", "unsafeSsl": "perhaps", "timeout": "-1s"}, message: `valueLocation: is required (looked in metadata); targetValue: "x" is not a number; unsafeSsl: "perhaps" is neither true nor false; timeout: "-1s" is negative`},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			asked := family
			if tt.auth != nil {
				asked = family.WithAuth(tt.auth)
			}
			_, err := asked.Observe(t.Context(), "metrics-api", trigger("http://127.0.0.1:1/x", tt.metadata))
			if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "metrics-api: "+tt.message {
				t.Errorf("error = %v, want %q", err, "metrics-api: "+tt.message)
			}
		})
	}
	specs, err := family.Specs(t.Context(), "metrics-api", trigger("http://a", map[string]string{"valueLocation": "q.0(a/b)"}))
	if err != nil || specs[0].GetMetricName() != "metric-api-q-0-a-b-" || specs[0].GetTargetSizeFloat() != 2 {
		t.Errorf("specs = %v, %v", specs, err)
	}
	inFormula := family.WithReserved(map[string]string{scalerv1.KeyMetricSource: "true"})
	if _, err := inFormula.Specs(t.Context(), "metrics-api", trigger("http://a", map[string]string{"targetValue": ""})); err != nil {
		t.Errorf("in a formula: %v", err)
	}
	p := metricsAPIParams{Format: "prometheus", ValueLocation: `a{b!="c"}`}
	if got := p.Warnings(); len(got) != 1 || got[0] != `valueLocation: b!="c" is read as equality` {
		t.Errorf("warnings = %q", got)
	}
}

// TestFailures proves that whatever a server does instead of answering is an
// error, and that nothing it wrote and nothing secret of the URL is repeated.
func TestFailures(t *testing.T) {
	answering := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, `{"n": 7, "token": "hush-hush"}`)
		}
	}
	tests := map[string]struct {
		handler http.HandlerFunc
		code    codes.Code
		message string // with "URL" for the address without its query
	}{
		"unauthorized": {answering(401), codes.Unauthenticated, "GET URL: 401 Unauthorized"},
		"forbidden":    {answering(403), codes.PermissionDenied, "GET URL: 403 Forbidden"},
		"not found":    {answering(404), codes.NotFound, "GET URL: 404 Not Found"},
		"too many":     {answering(429), codes.Unavailable, "GET URL: 429 Too Many Requests"},
		"an error":     {answering(500), codes.Unavailable, "GET URL: 500 Internal Server Error"},
		"unavailable":  {answering(503), codes.Unavailable, "GET URL: 503 Service Unavailable"},
		"created":      {answering(201), codes.FailedPrecondition, "GET URL: 201 Created"},
		"part of it":   {answering(206), codes.FailedPrecondition, "GET URL: 206 Partial Content"},
		"half an answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"n": 7`)
		}, codes.Unavailable, "GET URL: the answer ends too early"},
		"a broken connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, codes.Unavailable, "GET URL: the connection was lost"},
		"an answer without end": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"n": 7`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, codes.DeadlineExceeded, "GET URL: no answer in time"},
		"no answer": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, codes.DeadlineExceeded, "GET URL: no answer in time"},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := serving(t, tt.handler)
			address := strings.Replace(server.URL, "http://", "http://me:hush-hush@", 1) + "/stats?key=hush-hush"
			_, err := family.Observe(t.Context(), "metrics-api", trigger(address, map[string]string{"timeout": "300ms"}))
			want := "metrics-api: " + strings.ReplaceAll(tt.message, "URL", server.URL+"/stats")
			if status.Code(err) != tt.code || status.Convert(err).Message() != want {
				t.Errorf("error = %v, want %v %q", err, tt.code, want)
			}
		})
	}
}

// TestStalledPagesStarveNoOther has more pages of one server that are not
// answered than it is asked for at once. All others are read in the same turn,
// the first.
func TestStalledPagesStarveNoOther(t *testing.T) {
	server := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/stalled") {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, `{"waiting":7}`)
	})
	family := scalertest.Serve(t, triggers...)
	watch := func(page string, i int) *scalertest.Watching {
		metadata := map[string]string{"url": fmt.Sprint(server.URL, page, i), "valueLocation": "waiting", "targetValue": "1", "timeout": "30s"}
		return family.Watch(t, "metrics-api", metadata, scalerv1.Mode_MODE_ACTIVE, time.Hour)
	}
	for i := range 50 {
		watch("/stalled", i)
	}
	for i := range 10 {
		if _, err := watch("/page", i).Until(t.Context(), "active", scalertest.Active); err != nil {
			t.Error(err)
		}
	}
}

// TestPageIsReadOnce has a thousand triggers that read places of one page: they
// share its requests and connections, however many batches they come in.
func TestPageIsReadOnce(t *testing.T) {
	const places, batches = 1000, 10
	var requests, connections atomic.Int64
	var text strings.Builder
	for i := range places {
		fmt.Fprintf(&text, "n%d %d\n", i, i)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		_, _ = io.WriteString(w, text.String())
	}))
	server.Config.ConnState = counting(&connections)
	server.Start()
	defer server.Close()

	ctx, release := scaler.Opening(t.Context())
	defer release()
	var sources []scaler.Source
	for i := range places {
		source, err := openMetricsAPI(ctx, metricsAPIParams{
			URL: server.URL, Format: "prometheus", ValueLocation: fmt.Sprintf("n%d", i), AggregationType: "average", MaxDocumentBytes: 1 << 20,
		})
		if err != nil {
			t.Fatal(err)
		}
		if sources = append(sources, source); source.(scaler.Batched).Batch() != sources[0].(scaler.Batched).Batch() {
			t.Fatal("places of one page are not read together")
		}
	}
	for range batches {
		results := scaler.ReadTogether(t.Context(), sources[0].(scaler.Batched).Batch(), sources...)
		for i, result := range results {
			if result.Err != nil || result.Readings[0].Value != float64(i) {
				t.Fatalf("place %d: %v, %v", i, result.Readings, result.Err)
			}
		}
	}
	// On a busy machine net/http gives up a connection now and then.
	if requests.Load() != batches || connections.Load() > batches/2 {
		t.Errorf("%d requests on %d connections for %d batches", requests.Load(), connections.Load(), batches)
	}
}

// TestOneAnswerIsUnderstoodOnce, however large it may be for those who look into
// it: each more would take its time and its share of the memory.
func TestOneAnswerIsUnderstoodOnce(t *testing.T) {
	a := newAnswer(t.Context(), "yaml", []byte("a: 1"), nil)
	first, err := a.within(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	for _, most := range []int64{4, 5, 2 << 20} {
		if next, err := a.within(most); err != nil || next != first {
			t.Errorf("another document for %d bytes, %v", most, err)
		}
	}
	if _, err := a.within(3); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("more bytes than there may be: %v", err)
	}
}

// TestMembersWithoutTimeAreNotLookedFor: whoever is left when the time of a
// batch is over costs nothing more.
func TestMembersWithoutTimeAreNotLookedFor(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	answered := newAnswer(ctx, "json", []byte(`{"a":1}`), nil)
	place, err := document.ParsePlace("json", "a")
	if err != nil {
		t.Fatal(err)
	}
	source := &apiSource{place: place, most: 1}
	if _, err := source.find(ctx, answered); err != nil {
		t.Fatal(err)
	}
	cancel()
	if n, err := source.find(ctx, answered); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("found = %v, %v", n, err)
	}
}

// TestPlacesAreLookedForInTurn: a text is neither read nor looked into while others
// compute.
func TestPlacesAreLookedForInTurn(t *testing.T) {
	for format, text := range map[string]string{"json": `{"a":1}`, "yaml": "a: 1", "xml": "<a>1</a>", "prometheus": "a 1"} {
		place, err := document.ParsePlace(format, "a")
		if err != nil {
			t.Fatal(err)
		}
		source := &apiSource{place: place, most: 100}
		find := func(ctx context.Context, a *answer) error {
			_, err := source.find(ctx, a)
			return err
		}
		scalertest.NobodyComputes(t, func(ctx context.Context) error { return find(ctx, newAnswer(ctx, format, []byte(text), nil)) })
		read := newAnswer(t.Context(), format, []byte(text), nil)
		if err := find(t.Context(), read); err != nil {
			t.Fatal(err)
		}
		scalertest.NobodyComputes(t, func(ctx context.Context) error { return find(ctx, read) })
	}
}

// TestPlacesThatTakeLongComeLast: who reads the same page has no other wait by
// what looking for a place of theirs takes.
func TestPlacesThatTakeLongComeLast(t *testing.T) {
	server := saying(t, `{"n":3,"jobs":[`+strings.Repeat(`{"name":"a","waiting":1},`, 20_000)+`{}]}`)
	ctx, release := scaler.Opening(t.Context())
	defer release()
	open := func(location string) scaler.Source {
		source, err := openMetricsAPI(ctx, metricsAPIParams{URL: server.URL, Format: "json", ValueLocation: location, AggregationType: "average"})
		if err != nil {
			t.Fatal(err)
		}
		return source
	}
	var sources []scaler.Source
	for i := range 4 {
		sources = append(sources, open(fmt.Sprintf(`jobs.#(name=="b%d")#|#`, i)))
	}
	sources = append(sources, open("n"))
	batch := sources[0].(scaler.Batched).Batch()
	for round, want := range []int{0, len(sources) - 1} {
		var order []int
		err := batch.ReadBatch(t.Context(), sources, func(i int, r scaler.Result) {
			order = append(order, i)
			if r.Err != nil {
				t.Error(r.Err)
			}
		})
		if err != nil || len(order) != len(sources) || order[0] != want {
			t.Errorf("round %d: told in the order %v, want %d first; %v", round, order, want, err)
		}
	}
}

// counting counts new connections.
func counting(n *atomic.Int64) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			n.Add(1)
		}
	}
}

// TestHostsShareNoLimit proves that a stalled server delays no other.
func TestHostsShareNoLimit(t *testing.T) {
	stalled, healthy := scalertest.StalledAddress(t), saying(t, `{"n": 3}`)
	family := scalertest.Serve(t, triggers...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := make(chan struct{}, 100)
	for i := range cap(asked) {
		go func() {
			_, _ = family.External.IsActive(ctx, family.Ref("metrics-api", trigger(fmt.Sprintf("http://%s/%d", stalled, i), nil)))
			asked <- struct{}{}
		}()
	}
	w := family.Watch(t, "metrics-api", trigger(healthy.URL, nil), scalerv1.Mode_MODE_ACTIVE, time.Hour)
	if _, err := w.Until(t.Context(), "active", scalertest.Active); err != nil {
		t.Errorf("beside a stalled server: %v", err)
	}
	cancel()
	for range cap(asked) {
		<-asked
	}
}
