package main

import (
	"fmt"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/test/servers"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

// A thousand triggers, each of a key of its own, read in batches as the sampler
// does.
const (
	benchTriggers = 1000
	benchBatch    = 500
)

// BenchmarkLengths reports the connections and the keys per second.
func BenchmarkLengths(b *testing.B) {
	r := servers.SharedRedis(b)
	proxy, err := fault.Listen(r.Addr())
	if err != nil {
		b.Fatal(err)
	}
	defer proxy.Close()
	ctx, release := scaler.Opening(b.Context())
	defer release()
	var sources []scaler.Source
	for i := range benchTriggers {
		s, err := openList(ctx, listParams{keyParams: keyParams{
			connectionParams: connectionParams{Address: []string{proxy.Addr()}}, ListName: fmt.Sprintf("bench-%d", i),
		}})
		if err != nil {
			b.Fatal(err)
		}
		sources = append(sources, s)
	}
	batch := sources[0].(scaler.Batched).Batch()
	for b.Loop() {
		for first := 0; first < len(sources); first += benchBatch {
			results, err := batch.ReadBatch(b.Context(), sources[first:first+benchBatch])
			if err != nil {
				b.Fatal(err)
			}
			for _, result := range results {
				if result.Err != nil {
					b.Fatal(result.Err)
				}
			}
		}
	}
	b.ReportMetric(float64(proxy.Stats().Accepted), "connections")
	b.ReportMetric(float64(benchTriggers*b.N)/b.Elapsed().Seconds(), "keys/s")
}
