package main

import (
	"fmt"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

const benchTriggers = 1000

// BenchmarkQueries evaluates a thousand queries of one organisation, as the sampler
// does, and reports the connections and the queries per second.
func BenchmarkQueries(b *testing.B) {
	s := api200(b, series("[1, 3], [2, 4], [3, null]"))
	ctx, release := scaler.Opening(b.Context())
	defer release()
	var sources []scaler.Source
	for i := range benchTriggers {
		source, err := openDatadog(ctx, datadogParams{apiParams: apiParams{
			Query: fmt.Sprintf("sum:m%d{*}", i), Age: 90, APIKey: keys["apiKey"], AppKey: keys["appKey"], Site: s.site,
		}})
		if err != nil {
			b.Fatal(err)
		}
		sources = append(sources, source)
	}
	scalertest.ReadAll(b, sources, "queries/s")
	b.ReportMetric(float64(s.connections.Load()), "connections")
}
