package plan

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// prometheus stands in for one: it checks a request as the HTTP API does and
// answers for each step, but for those that are left out.
type prometheus struct {
	t     *testing.T
	pages int
	token string
	value func(at float64) (text string, has bool)
}

func (p *prometheus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.pages++
	number := func(key string) float64 {
		v, err := strconv.ParseFloat(r.FormValue(key), 64)
		if err != nil {
			p.t.Errorf("%s: %v", key, err)
		}
		return v
	}
	start, end, step := number("start"), number("end"), number("step")
	switch {
	case r.Header.Get("Authorization") != "Bearer "+p.token && p.token != "":
		http.Error(w, "no", http.StatusUnauthorized)
		return
	case r.Method != http.MethodPost, r.URL.Path != "/prefix/api/v1/query_range", r.Header.Get("Content-Type") != "application/x-www-form-urlencoded":
		p.t.Errorf("%s %s", r.Method, r.URL)
	case (end-start)/step > 11_000:
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"status":"error","errorType":"bad_data","error":"exceeded maximum resolution of 11,000 points per timeseries."}`)
		return
	case !strings.Contains(r.FormValue("query"), `keda_scaler_metrics_value{scaledObject="orders",exported_namespace="shop",`):
		p.t.Error(r.FormValue("query"))
	}
	var values []string
	for at := start; at <= end; at += step {
		if text, has := p.value(at); has {
			values = append(values, fmt.Sprintf("[%.3f,%q]", at, text))
		}
	}
	fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"triggerIndex":"0","metric":"s0-rabbitmq-orders"},"values":[%s]}]}}`, strings.Join(values, ","))
}

func (p *prometheus) serve() (*Prometheus, func()) {
	server := httptest.NewServer(p)
	client := server.Client()
	return &Prometheus{URL: server.URL + "/prefix/", Token: p.token, Client: client}, func() { client.CloseIdleConnections(); server.Close() }
}

// TestPrometheus reads over several pages, and has no data where there is none.
func TestPrometheus(t *testing.T) {
	const step, steps = 30, 20_005
	p := &prometheus{t: t, token: "swordfish", value: func(at float64) (string, bool) {
		switch i := (int64(at) - began.Unix()) / step; i {
		case 5, 6, 9_999, 10_000:
			return "", false
		case 8:
			return "NaN", true
		default:
			return fmt.Sprint(i), true
		}
	}}
	client, done := p.serve()
	defer done()
	r, err := client.Read(t.Context(), Range{Namespace: "shop", Name: "orders", From: began, To: began.Add(steps * step * time.Second), Step: step * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	points := r.Series["s0-rabbitmq-orders"]
	at := func(i int) time.Time { return began.Add(time.Duration(i) * step * time.Second) }
	want := []Point{{at(4), scaling.Value, 4}, {at(5), scaling.NoData, 0}, {at(7), scaling.Value, 7}, {at(8), scaling.NoData, 0}, {at(9), scaling.Value, 9}}
	if p.pages != 3 || !reflect.DeepEqual(points[4:9], want) {
		t.Errorf("%d pages, %+v\nwant %+v", p.pages, points[4:9], want)
	}
	if have := len(points); have != steps+1-4+2 || points[have-1] != (Point{at(steps), scaling.Value, steps}) || points[9_998] != (Point{at(9_999), scaling.NoData, 0}) {
		t.Errorf("%d points, %+v, %+v", have, points[9_998], points[have-1])
	}
}

// TestPrometheusThatDoesNotAnswer: what is wrong is told with the host, and without
// a password.
func TestPrometheusThatDoesNotAnswer(t *testing.T) {
	answer := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) }))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	hour := Range{Namespace: "shop", Name: "orders", From: began, To: began.Add(time.Hour), Step: time.Minute}
	for name, tt := range map[string]struct {
		url, answer, want string
		change            func(*Range)
	}{
		"another server": {url: "http://me:swordfish@" + host, answer: "<html>", want: "Prometheus at " + host + ": HTTP 200: the answer is not that of a Prometheus"},
		"an error":       {url: server.URL, answer: `{"status":"error","error":"parse error"}`, want: "it says: parse error"},
		"nothing":        {url: server.URL, answer: `{"status":"success","data":{"resultType":"matrix","result":[]}}`, want: "has no keda_scaler_metrics_value of ScaledObject shop/orders"},
		"a vector":       {url: server.URL, answer: `{"status":"success","data":{"resultType":"vector","result":[]}}`, want: "is no matrix"},
		"odd samples":    {url: server.URL, answer: `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[["now","5"]]}]}}`, want: "a sample is no time and number"},
		"nobody":         {url: strings.Replace(gone.URL, "//", "//me:swordfish@", 1), want: "refused"},
		"no URL":         {url: "me:swordfish@localhost", want: "is no URL such as"},
		"a step":         {url: server.URL, change: func(r *Range) { r.Step = time.Millisecond }, want: "step 1ms: is less than a second"},
		"a long time":    {url: server.URL, change: func(r *Range) { r.From = r.From.AddDate(-1, 0, 0) }, want: "more than the 744h0m0s that can be replayed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := hour
			if tt.change != nil {
				tt.change(&r)
			}
			answer = tt.answer
			p := Prometheus{URL: tt.url, Client: server.Client()}
			defer p.Client.CloseIdleConnections()
			_, err := p.Read(t.Context(), r)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "swordfish") {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}
