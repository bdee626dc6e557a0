package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

// TestQueries goes from metadata to observations, over real gRPC and TLS, to a
// handler that answers as the API does.
func TestQueries(t *testing.T) {
	filler := map[string]string{"metricUnavailableValue": "7"}
	average, highest := map[string]string{"queryAggregator": "average"}, map[string]string{"queryAggregator": "max"}
	offset := func(n string) map[string]string { return map[string]string{"lastAvailablePointOffset": n} }
	const noValue = "the series has no point with a value: no data"
	tests := map[string]struct {
		answer   string
		metadata map[string]string
		value    float64
		code     codes.Code
		message  string
	}{
		"the newest point":                {answer: series("[1, 3], [2, 12.5]"), value: 12.5},
		"zero":                            {answer: series("[1, 3], [2, 0]")},
		"less than zero":                  {answer: series("[1, -3]")},
		"nulls at the end":                {answer: series("[1, 3], [2, 4], [3, null], [4, null]"), value: 4},
		"a point before":                  {answer: series("[1, 3], [2, 4], [3, null]"), metadata: offset("1"), value: 3},
		"a point before that has none":    {answer: series("[1, null], [2, 4]"), metadata: offset("1"), code: codes.NotFound, message: "the point at lastAvailablePointOffset has no value: no data"},
		"the filler for that":             {answer: series("[1, null], [2, 4]"), metadata: with(offset("1"), filler), value: 7},
		"too few points":                  {answer: series("[1, 3], [2, 4]"), metadata: with(offset("2"), filler), code: codes.FailedPrecondition, message: "lastAvailablePointOffset: there are 1 points before the last one with a value, want 2; a longer age has more"},
		"nulls alone":                     {answer: series("[1, null], [2, null]"), code: codes.NotFound, message: noValue},
		"the filler for nulls":            {answer: series("[1, null]"), metadata: filler, value: 7},
		"the filler for nulls and offset": {answer: series("[1, null]"), metadata: with(filler, offset("1")), value: 7},
		"no points":                       {answer: series(""), code: codes.NotFound, message: noValue},
		"the filler for no points":        {answer: series(""), metadata: filler, value: 7},
		"no list of points":               {answer: `{"status": "ok", "series": [{"metric": "x"}]}`, code: codes.NotFound, message: noValue},
		"no series":                       {answer: series(), code: codes.NotFound, message: "no metrics returned: no data"},
		"null for series":                 {answer: `{"status": "ok", "series": null}`, code: codes.NotFound, message: "no metrics returned: no data"},
		"the filler for no series":        {answer: series(), metadata: filler, value: 7},
		"a filler of zero":                {answer: series(), metadata: map[string]string{"metricUnavailableValue": "0"}},
		"several series":                  {answer: series("[1, 3]", "[1, 5]"), metadata: filler, code: codes.FailedPrecondition, message: "the query returns 2 series: have it return one, or give queryAggregator"},
		"the mean of several":             {answer: series("[1, 3]", "[1, 5]"), metadata: average, value: 4},
		"the highest of several":          {answer: series("[1, 3]", "[1, 5]", "[1, 4]"), metadata: highest, value: 5},
		"one of several has nothing":      {answer: series("[1, 3]", "[1, null]"), metadata: average, code: codes.NotFound, message: noValue},
		"a query error":                   {answer: `{"status": "error", "error": "Error parsing query:\n unable to parse"}`, metadata: filler, code: codes.FailedPrecondition, message: "Datadog cannot evaluate the query: Error parsing query:  unable to parse"},
		"an error beside values":          {answer: `{"status": "ok", "error": "partial", "series": [{"pointlist": [[1, 3]]}]}`, code: codes.FailedPrecondition, message: "Datadog cannot evaluate the query: partial"},
		"a text for a value":              {answer: series(`[1, "3"]`), metadata: filler, code: codes.Unavailable, message: "the answer is not one of Datadog's API"},
		"a point without value":           {answer: series(`[1]`), metadata: filler, code: codes.Unavailable, message: "the answer is not one of Datadog's API"},
		"no JSON":                         {answer: `<html>`, metadata: filler, code: codes.Unavailable, message: "the answer is not one of Datadog's API"},
		"another's JSON":                  {answer: `{}`, metadata: filler, code: codes.Unavailable, message: "the answer is not one of Datadog's API"},
		"a list":                          {answer: `[]`, metadata: filler, code: codes.Unavailable, message: "the answer is not one of Datadog's API"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := api200(t, tt.answer)
			got, err := scalertest.Serve(t, triggers...).WithAuth(s.auth()).Observe(t.Context(), "datadog", with(query, tt.metadata))
			if status.Code(err) != tt.code || err != nil && status.Convert(err).Message() != "datadog: "+tt.message {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if err == nil && (got.Value != tt.value || got.Active != (tt.value > 0)) {
				t.Errorf("observation = %+v, want %v", got, tt.value)
			}
		})
	}
}

func TestActivation(t *testing.T) {
	s := api200(t, series("[1, 3]"))
	family := scalertest.Serve(t, triggers...).WithAuth(s.auth())
	for threshold, want := range map[string]bool{"2.9": true, "3": false, "-1": true} {
		got, err := family.Observe(t.Context(), "datadog", with(query, map[string]string{"activationQueryValue": threshold, "activationTargetValue": "100"}))
		if err != nil || got.Active != want {
			t.Errorf("activationQueryValue %s: %+v, %v", threshold, got, err)
		}
	}
	s.set(say(200, series()), nil)
	got, err := scalertest.Serve(t, triggers...).WithAuth(s.auth()).Observe(t.Context(), "datadog", with(query, map[string]string{"metricUnavailableValue": "4", "activationQueryValue": "3"}))
	if err != nil || !got.Active {
		t.Errorf("the filler takes no part in activation: %+v, %v", got, err)
	}
}

// TestRequest is about what the API is asked.
func TestRequest(t *testing.T) {
	s := api200(t, series("[1, 3]"))
	text := "avg:a.b{app:shop,\n!env:test} by {host}.rollup(sum, 60) + 1 & c"
	before := time.Now().Unix()
	_, err := scalertest.Serve(t, triggers...).WithAuth(s.auth()).Observe(t.Context(), "datadog",
		map[string]string{"query": text, "queryValue": "5", "age": "120", "timeWindowOffset": "30"})
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.last.URL.Query()
	from, _ := strconv.ParseInt(asked.Get("from"), 10, 64)
	to, _ := strconv.ParseInt(asked.Get("to"), 10, 64)
	if to < before-30 || to > time.Now().Unix()-30 || to-from != 120 {
		t.Errorf("window = %d to %d, %d seconds before now", from, to, before-to)
	}
	if want := (url.Values{"from": asked["from"], "to": asked["to"], "query": {text}}); asked.Encode() != want.Encode() {
		t.Errorf("asked %v", asked)
	}
	if got := s.last.Header.Get("Accept") + " " + s.last.Header.Get("User-Agent") + " " + s.last.Host; got != "application/json sluice-scaler-datadog api."+s.site {
		t.Errorf("headers: %s", got)
	}
}

// TestRefusals has the API answer with something other than 200.
func TestRefusals(t *testing.T) {
	limits := func(w http.ResponseWriter, r *http.Request) {
		for name, text := range map[string]string{"Limit": "100", "Period": "3600", "Remaining": "0", "Reset": "90", "Name": "query_timeseries"} {
			w.Header().Set("X-RateLimit-"+name, text)
		}
		say(429, `{"errors": ["hush-hush"]}`)(w, r)
	}
	strange := func(w http.ResponseWriter, r *http.Request) {
		for name, text := range map[string]string{"Limit": "-1", "Period": "many", "Reset": "1e9", "Name": "hush hush"} {
			w.Header().Set("X-RateLimit-"+name, text)
		}
		say(429, ``)(w, r)
	}
	tests := map[string]struct {
		answer  http.HandlerFunc
		code    codes.Code
		message string
		filled  bool // where there is a filler
	}{
		"forbidden":      {say(403, `{"errors": ["hush-hush"]}`), codes.PermissionDenied, "403 Forbidden: check apiKey and appKey, that they are of the site, and that appKey may read metrics (timeseries_query)", false},
		"unprocessable":  {say(422, `{"errors": ["hush-hush"]}`), codes.FailedPrecondition, "422 Unprocessable Entity: Datadog cannot compute the metric; metricUnavailableValue would stand for it", true},
		"too many":       {limits, codes.ResourceExhausted, "the service throttles the account: 429 Too Many Requests, the rate limit of 100 requests in 3600 seconds is used up, it resets after 90 seconds (query_timeseries); it is not asked again before ", false},
		"too many, lies": {strange, codes.ResourceExhausted, "the service throttles the account: 429 Too Many Requests; it is not asked again before ", false},
		"a bad query":    {say(400, `{"errors": ["hush-hush"]}`), codes.FailedPrecondition, "400 Bad Request", false},
		"an error":       {say(500, `{"errors": ["hush-hush"]}`), codes.Unavailable, "500 Internal Server Error", false},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://api.elsewhere.test/", http.StatusFound)
		}, codes.Unavailable, "", false},
		"half an answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, series("[1, 3]"))
		}, codes.Unavailable, "the answer ends too early", false},
		"a broken connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, codes.Unavailable, "the connection was lost", false},
		"an endless answer": {func(w http.ResponseWriter, r *http.Request) {
			out := bufio.NewWriterSize(w, 1<<16)
			_, _ = out.WriteString(`{"status": "ok", "series": [{"pointlist": [`)
			for r.Context().Err() == nil {
				if _, err := out.WriteString(`[1, 3], `); err != nil {
					return
				}
			}
		}, codes.Unavailable, "the answer is larger than 4194304 bytes", false},
		"no answer": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, codes.DeadlineExceeded, "no answer in time: the timeout of 300ms ended after ", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			metadata := query
			if name == "no answer" {
				metadata = with(query, map[string]string{"timeout": "300ms"})
			}
			s := newAPI(t, tt.answer)
			_, err := scalertest.Serve(t, triggers...).WithAuth(s.auth()).Observe(t.Context(), "datadog", metadata)
			want := "datadog: GET https://api.***/api/v1/query: " + tt.message // the site is the authentication's
			if status.Code(err) != tt.code || !strings.HasPrefix(status.Convert(err).Message(), want) {
				t.Errorf("error = %v, want %v %q", err, tt.code, want)
			}
			if err != nil && strings.Contains(err.Error(), "hush") {
				t.Errorf("the error repeats what the server wrote: %v", err)
			}
			got, err := scalertest.Serve(t, triggers...).WithAuth(newAPI(t, tt.answer).auth()).Observe(t.Context(), "datadog", with(metadata, map[string]string{"metricUnavailableValue": "7"}))
			if filled := err == nil && got.Value == 7; filled != tt.filled {
				t.Errorf("with a filler: %+v, %v", got, err)
			}
		})
	}
}

// TestThrottlingIsOfOneOrganisation: its sources rest, those of another do not.
func TestThrottlingIsOfOneOrganisation(t *testing.T) {
	s := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-RateLimit-Reset", "60")
		say(429, ``)(w, r)
	})
	other := api200(t, series("[1, 3]"))
	family := scalertest.Serve(t, triggers...)
	for i := range 5 {
		_, err := family.WithAuth(s.auth()).Observe(t.Context(), "datadog", with(query, map[string]string{"query": fmt.Sprintf("sum:m%d{*}", i)}))
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "it resets after 60 seconds") {
			t.Fatalf("error = %v", err)
		}
	}
	if n := s.requests.Load(); n != 1 {
		t.Errorf("asked %d times while it throttles", n)
	}
	if got, err := family.WithAuth(other.auth()).Observe(t.Context(), "datadog", query); err != nil || got.Value != 3 {
		t.Errorf("another organisation: %+v, %v", got, err)
	}
}

// TestWrongAndRotatedKeys has one family know wrong keys, and then the right ones.
func TestWrongAndRotatedKeys(t *testing.T) {
	s := api200(t, series("[1, 3]"))
	for _, wrong := range []string{"apiKey", "appKey"} {
		family := scalertest.Serve(t, triggers...).WithAuth(with(s.auth(), map[string]string{wrong: "of-old-hush"}))
		_, err := family.Observe(t.Context(), "datadog", query)
		if status.Code(err) != codes.PermissionDenied || strings.Contains(err.Error(), "hush") {
			t.Fatalf("wrong %s: %v", wrong, err)
		}
		family.Rotate(s.auth())
		if got, err := family.Observe(t.Context(), "datadog", query); err != nil || got.Value != 3 {
			t.Errorf("rotated %s: %+v, %v", wrong, got, err)
		}
	}
	s.set(nil, map[string]string{"apiKey": "new-api", "appKey": "new-app"})
	family := scalertest.Serve(t, triggers...).WithAuth(s.auth())
	if _, err := family.Observe(t.Context(), "datadog", query); status.Code(err) != codes.PermissionDenied {
		t.Errorf("keys of old: %v", err)
	}
	family.Rotate(map[string]string{"apiKey": "new-api", "appKey": "new-app", "datadogSite": s.site})
	if got, err := family.Observe(t.Context(), "datadog", query); err != nil || got.Value != 3 {
		t.Errorf("new keys: %+v, %v", got, err)
	}
}

// TestNetwork cuts, stalls and slows the way to the API.
func TestNetwork(t *testing.T) {
	s := api200(t, series("[1, 3]"))
	way, err := fault.Listen(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer way.Close()
	routes.Store("api."+s.site, way.Addr())
	family := scalertest.Serve(t, triggers...).WithAuth(s.auth())
	observe := func(want codes.Code) {
		t.Helper()
		got, err := family.Observe(t.Context(), "datadog", with(query, map[string]string{"timeout": "2s"}))
		if status.Code(err) != want || err == nil && got.Value != 3 {
			t.Fatalf("observation = %+v, %v, want %v", got, err, want)
		}
	}
	observe(codes.OK)
	way.Cut()
	observe(codes.Unavailable)
	way.Heal()
	observe(codes.OK)
	way.Stall()
	observe(codes.DeadlineExceeded)
	way.Heal()
	observe(codes.OK)
	way.Delay(50 * time.Millisecond)
	observe(codes.OK)
}

// TestCertificatesAreVerified: no parameter turns that off for the API.
func TestCertificatesAreVerified(t *testing.T) {
	s := api200(t, series("[1, 3]"))
	elsewhere := siteAt(s.Listener.Addr().String()) // with the certificate of another host
	_, err := scalertest.Serve(t, triggers...).WithAuth(with(s.auth(), map[string]string{"datadogSite": elsewhere, "unsafeSsl": "true"})).Observe(t.Context(), "datadog", query)
	if err == nil || s.requests.Load() != 0 {
		t.Errorf("error = %v after %d requests", err, s.requests.Load())
	}
}

// TestThousandTriggers has a thousand queries of one organisation, and a thousand
// triggers with one query.
func TestThousandTriggers(t *testing.T) {
	s := api200(t, series("[1, 3]"))
	ctx, release := scaler.Opening(t.Context())
	defer release()
	var sources []scaler.Source
	for i := range 1000 {
		source, err := openDatadog(ctx, datadogParams{apiParams: apiParams{
			Query: fmt.Sprintf("sum:m%d{*}", i), Age: 90, APIKey: keys["apiKey"], AppKey: keys["appKey"], Site: s.site,
		}, Timeout: 30 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, source)
	}
	for _, got := range scalertest.ReadAtOnce(t, sources) {
		if got[0].Value != 3 {
			t.Errorf("read %v", got)
		}
	}
	// One for each read at once; net/http gives up one now and then.
	if n := s.connections.Load(); s.requests.Load() != 1000 || n > 300 {
		t.Errorf("%d requests over %d connections", s.requests.Load(), n)
	}
	before := s.requests.Load()
	family := scalertest.Serve(t, triggers...).WithAuth(s.auth())
	for i := range 1000 {
		ref := family.Ref("datadog", with(query, map[string]string{"targetValue": fmt.Sprint(i + 1), "activationQueryValue": fmt.Sprint(i % 3)}))
		ref.Name = fmt.Sprintf("app-%d", i)
		if got, err := family.External.IsActive(t.Context(), ref); err != nil || !got.GetResult() {
			t.Fatal(got, err)
		}
	}
	if got := s.requests.Load() - before; got > 20 {
		t.Errorf("%d requests for a thousand triggers with one query", got)
	}
}

// TestSeriesWithoutEnd: of series nothing is kept but what they come to, since a few
// bytes announce each.
func TestSeriesWithoutEnd(t *testing.T) {
	const many = 1_000_000
	text := []byte(`{"status": "ok", "series": [{}` + strings.Repeat(`,{}`, many-1) + `]}`)
	source := &apiSource{datadogParams: datadogParams{}}
	before := scalertest.Allocated()
	_, err := source.evaluate(nil, text)
	if grown := scalertest.Allocated() - before; grown > many*64 {
		t.Errorf("%d MiB were allocated for %d series", grown>>20, many)
	}
	if err == nil || !strings.Contains(err.Error(), "the query returns 1000000 series") {
		t.Errorf("error = %v", err)
	}
}

// FuzzAnswer: no answer of the API makes a value out of nothing, or ends the
// process.
func FuzzAnswer(f *testing.F) {
	for _, text := range []string{
		series("[1, 3], [2, null]"), series("[1, 3]", "[1, 5]"), series(), series(""), `{"status": "error", "error": "x"}`,
		`{"status": "ok", "series": [{"pointlist": [[1, 1e999]]}]}`, `{"status":"ok","series":[null]}`, `{"status":"ok","series":[{"pointlist":{}}]}`,
	} {
		f.Add([]byte(text), 0)
	}
	f.Fuzz(func(t *testing.T, text []byte, offset int) {
		if offset < 0 {
			return
		}
		source := &apiSource{datadogParams: datadogParams{apiParams: apiParams{LastAvailablePointOffset: offset, QueryAggregator: "max"}}}
		value, err := source.evaluate(nil, text)
		lower := strings.ToLower(string(text))
		if err == nil && !strings.Contains(lower, "pointlist") && !strings.Contains(lower, `\u`) {
			t.Errorf("%v of %s", value, text)
		}
		if value, err := metricValue(nil, text); err == nil && math.IsNaN(value) {
			t.Errorf("no number of %s", text)
		}
	})
}

// TestLongAnswersAreReadInTurn: others compute between pieces of an answer, of its
// series and of their points.
func TestLongAnswersAreReadInTurn(t *testing.T) {
	source := &apiSource{}
	many := func(text string) string { return strings.Repeat(text+",", 100_000) + text }
	for name, parse := range map[string]func(turn func() error) (int, error){
		"series": func(turn func() error) (int, error) {
			body := []byte(`{"status":"ok","series":[` + many("{}") + "]}")
			_, err := source.evaluate(turn, body)
			return len(body), err
		},
		"points": func(turn func() error) (int, error) {
			body := []byte(`{"status":"ok","series":[{"pointlist":[` + many("[1,null]") + "]}]}")
			_, err := source.evaluate(turn, body)
			return len(body), err
		},
		"items": func(turn func() error) (int, error) {
			body := []byte(`{"items":[` + many("{}") + "]}")
			_, err := metricValue(turn, body)
			return len(body), err
		},
	} {
		turns := 0
		size, err := parse(func() error { turns++; return nil })
		if turns < size>>15 || err == nil {
			t.Errorf("%s: %d turns for %d bytes, %v", name, turns, size, err)
		}
	}
}
