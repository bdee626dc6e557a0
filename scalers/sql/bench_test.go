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
	scalertest.ReadAll(b, sources, "queries/s")
	b.ReportMetric(float64(proxy.Stats().Accepted), "connections")
}
