package main

import (
	"fmt"
	"sync"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/test/servers"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

const (
	benchTriggers = 1000
	// benchAtOnce is how many reads of one endpoint the sampler lets run.
	benchAtOnce = 32
)

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
	for b.Loop() {
		var reading sync.WaitGroup
		places := make(chan struct{}, benchAtOnce)
		for _, source := range sources {
			places <- struct{}{}
			reading.Go(func() {
				defer func() { <-places }()
				if _, err := source.Read(b.Context()); err != nil {
					b.Error(err)
				}
			})
		}
		reading.Wait()
	}
	b.ReportMetric(float64(proxy.Stats().Accepted), "connections")
	b.ReportMetric(float64(benchTriggers*b.N)/b.Elapsed().Seconds(), "queries/s")
}
