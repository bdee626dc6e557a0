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

// BenchmarkLengths reads a thousand triggers, each of a key of its own, and
// reports the connections and the keys per second.
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
	scalertest.ReadAll(b, sources, "keys/s")
	b.ReportMetric(float64(proxy.Stats().Accepted), "connections")
}
