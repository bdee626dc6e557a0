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

// BenchmarkPostgreSQL runs a thousand queries of one database, as the sampler
// does, and reports the connections and the queries per second.
func BenchmarkPostgreSQL(b *testing.B) {
	p := servers.SharedPostgreSQL(b)
	proxy, err := fault.Listen(p.Addr())
	if err != nil {
		b.Fatal(err)
	}
	defer proxy.Close()
	host, port := split(b, proxy.Addr())
	ctx, release := scaler.Opening(b.Context())
	defer release()
	var sources []scaler.Source
	for i := range benchTriggers {
		s, err := openPostgreSQL(ctx, postgresqlParams{
			Host: host, Port: port, UserName: servers.SQLUser, Password: servers.SQLPassword, DBName: servers.SQLDatabase,
			SSLMode: "disable", Query: fmt.Sprintf("SELECT %d", i),
		})
		if err != nil {
			b.Fatal(err)
		}
		sources = append(sources, s)
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
