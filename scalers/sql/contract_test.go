package main

import (
	"fmt"
	"maps"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

func TestContract(t *testing.T) {
	tds := newStandIn(t, "secret")
	host, port := split(t, tds.listener.Addr().String())
	all := append(databases(t), server{"mssql",
		map[string]string{"targetValue": "5", "host": host, "port": port, "username": "sa"}, map[string]string{"password": "secret"}, ""})
	for i, s := range all {
		t.Run(s.triggerType, func(t *testing.T) {
			metadata := maps.Clone(s.metadata)
			metadata["query"] = "SELECT 42"
			if s.triggerType == "postgresql" {
				metadata["listenChannel"] = "contract"
			}
			elsewhere := func(address func(testing.TB) string) func(testing.TB) map[string]string {
				return func(t testing.TB) map[string]string {
					there := maps.Clone(metadata)
					there["host"], there["port"] = split(t, address(t))
					return there
				}
			}
			scalertest.Contract(t, scalertest.Case{
				Trigger: triggers[i], Metadata: metadata, Auth: s.auth,
				Dead: elsewhere(scalertest.DeadAddress), Stalled: elsewhere(scalertest.StalledAddress),
			})
		})
	}
}

// TestManyQuestionsFewConnections has a thousand queries of one database.
func TestManyQuestionsFewConnections(t *testing.T) {
	databases(t)
	p := servers.SharedPostgreSQL(t)
	run(t, p, "DROP ROLE IF EXISTS many; CREATE ROLE many LOGIN PASSWORD 'many' ; GRANT SELECT ON work TO many;")
	host, port := split(t, p.Addr())
	var sources []scaler.Source
	for i := range 1000 {
		s, err := openPostgreSQL(opening(t), postgresqlParams{
			Query: fmt.Sprintf("SELECT %d FROM work LIMIT 1", i),
			Host:  host, Port: port, UserName: "many", Password: "many", DBName: servers.SQLDatabase, SSLMode: "disable",
		})
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, s)
	}
	for i, s := range sources {
		readings, err := s.Read(within(t))
		if err != nil || readings[0].Value != float64(i) {
			t.Fatalf("query %d: %v, %v", i, readings, err)
		}
	}
	count, err := openPostgreSQL(opening(t), postgresqlParams{
		Connection: p.URL(), Query: "SELECT count(*) FROM pg_stat_activity WHERE usename = 'many'"})
	if err != nil {
		t.Fatal(err)
	}
	if readings, err := count.Read(within(t)); err != nil || readings[0].Value > mostConnections {
		t.Errorf("connections: %v, %v, want at most %d", readings, err, mostConnections)
	}
}
