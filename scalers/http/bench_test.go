package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

const (
	benchTriggers = 1000
	benchPages    = 100
)

// BenchmarkPages reads a thousand numbers of a hundred pages of one server, and
// reports the connections and the requests per reading of all.
func BenchmarkPages(b *testing.B) {
	var requests, connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		fmt.Fprint(w, `{"queues": [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}, {"n": 5}, {"n": 6}, {"n": 7}, {"n": 8}, {"n": 9}, {"n": 10}]}`)
	}))
	server.Config.ConnState = counting(&connections)
	server.Start()
	defer server.Close()
	ctx, release := scaler.Opening(b.Context())
	defer release()
	var sources []scaler.Source
	for page := range benchPages {
		for place := range benchTriggers / benchPages {
			source, err := openMetricsAPI(ctx, metricsAPIParams{
				URL: fmt.Sprintf("%s/%d", server.URL, page), Format: "json", ValueLocation: fmt.Sprintf("queues.%d.n", place), AggregationType: "average",
			})
			if err != nil {
				b.Fatal(err)
			}
			sources = append(sources, source)
		}
	}
	scalertest.ReadAll(b, sources, "numbers/s")
	b.ReportMetric(float64(connections.Load()), "connections")
	b.ReportMetric(float64(requests.Load())/float64(b.N), "requests/op")
}
