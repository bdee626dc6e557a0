package main

import (
	"fmt"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

const benchTriggers = 1000

// BenchmarkQueries evaluates a thousand queries of one server, as the sampler
// does, and reports the connections and the queries per second.
func BenchmarkQueries(b *testing.B) {
	p := servers.SharedPrometheus(b)
	proxy, err := fault.Listen(p.Addr())
	if err != nil {
		b.Fatal(err)
	}
	defer proxy.Close()
	ctx, release := scaler.Opening(b.Context())
	defer release()
	var sources []scaler.Source
	for i := range benchTriggers {
		source, err := openPrometheus(ctx, prometheusParams{ServerAddress: "http://" + proxy.Addr(), Query: fmt.Sprintf("vector(%d)", i)})
		if err != nil {
			b.Fatal(err)
		}
		sources = append(sources, source)
	}
	scalertest.ReadAll(b, sources, "queries/s")
	b.ReportMetric(float64(proxy.Stats().Accepted), "connections")
}
