package main

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

func TestMetricNames(t *testing.T) {
	tests := map[string]struct {
		params mysqlParams
		want   string
	}{
		"the database":                 {mysqlParams{DBName: "a.b"}, "mysql-a-b"},
		"of a connection string":       {mysqlParams{ConnectionString: "u:p@tcp(h:1)/shop"}, "mysql-shop"},
		"without its options":          {mysqlParams{ConnectionString: "u:p@tcp(h:1)/shop?loc=Europe/Paris"}, "mysql-shop"},
		"whose password has a slash":   {mysqlParams{ConnectionString: "u:p/q?@tcp(h:1)/shop"}, "mysql-shop"},
		"of no database":               {mysqlParams{Host: "h", Port: "1", Username: "u"}, "mysql-"},
		"of a connection without one":  {mysqlParams{ConnectionString: "u:p@tcp(h:1)/"}, "mysql-"},
		"which wins over the database": {mysqlParams{ConnectionString: "u:p@tcp(h:1)/shop", DBName: "other", MetricName: "mine"}, "mysql-shop"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.params.Name(); got != tt.want {
				t.Errorf("name = %s, want %s", got, tt.want)
			}
		})
	}
	if name := (postgresqlParams{}).Name(); name != "postgresql" {
		t.Errorf("postgresql is named %s", name)
	}
	if name := (mssqlParams{}).Name(); name != "mssql" {
		t.Errorf("mssql is named %s", name)
	}
}

func TestRefusedMetadata(t *testing.T) {
	tests := map[string]struct {
		triggerType string
		metadata    map[string]string
		message     string
	}{
		"all that postgresql misses": {"postgresql", map[string]string{"query": "q", "targetQueryValue": "1", "host": "h"},
			"postgresql: port: is required without connection; userName: is required without connection; dbName: is required without connection; sslmode: is required without connection"},
		"all that mysql misses": {"mysql", map[string]string{"query": "q", "queryValue": "1"},
			"mysql: host: is required without connectionString; port: is required without connectionString; username: is required without connectionString"},
		"no host for mssql": {"mssql", map[string]string{"query": "q", "targetValue": "1"}, "mssql: host: is required without connectionString"},
		"no query":          {"mssql", map[string]string{"host": "h", "targetValue": "1"}, "mssql: query: is required (looked in metadata)"},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := family.Observe(t.Context(), tt.triggerType, tt.metadata)
			if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != tt.message {
				t.Errorf("error = %v\nwant %q", err, tt.message)
			}
		})
	}
	for _, triggerType := range []string{"postgresql", "mysql", "mssql"} {
		metadata := map[string]string{"query": "q", "host": "h", "port": "1", "userName": "u", "username": "u", "dbName": "d", "sslmode": "disable"}
		if _, err := family.Specs(t.Context(), triggerType, metadata); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s without a target: %v, want it refused", triggerType, err)
		}
	}
}

func TestURLOfMSSQL(t *testing.T) {
	tests := map[string]mssqlParams{
		"sqlserver://h": {Host: "h"},
		"sqlserver://u:p%2F%40%3A@h:1?database=a+b": {Host: "h", Port: 1, Username: "u", Password: "p/@:", Database: "a b"},
		"sqlserver://u@[::1]:1433":                  {Host: "::1", Port: 1433, Username: "u"},
		"Server=h;Database=d":                       {ConnectionString: "Server=h;Database=d", Host: "ignored"},
	}
	for want, p := range tests {
		if got := p.dsn(); got != want {
			t.Errorf("dsn = %s, want %s", got, want)
		}
	}
}

// TestEnvironment has every parameter of these types that can be taken from a
// variable.
func TestEnvironment(t *testing.T) {
	want := map[string][]string{
		"postgresql": {"connection", "password"},
		"mysql":      {"connectionString", "password", "username"},
		"mssql":      {"connectionString", "password"},
	}
	cases.Each(t, triggers, func(t *testing.T, c scalertest.Case) {
		want, listed := want[c.Trigger.Type]
		if got := scalertest.FromEnv(c.Trigger, c.Metadata); listed && !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

func TestTimeoutsOfConnectionStrings(t *testing.T) {
	tests := map[string]struct {
		params scaler.ReadTimeouter
		want   time.Duration
	}{
		"none":                   {mysqlParams{Host: "h"}, 0},
		"mysql":                  {mysqlParams{ConnectionString: "u:p@tcp(h:1)/d?timeout=20s&readTimeout=1m30s&loc=Europe%2FParis"}, 90 * time.Second},
		"mysql without":          {mysqlParams{ConnectionString: "u:timeout=9s@tcp(h:1)/d"}, 0},
		"postgresql as a URL":    {postgresqlParams{Connection: "postgres://u:p@h/d?connect_timeout=20&statement_timeout=25000"}, 25 * time.Second},
		"postgresql by keywords": {postgresqlParams{Connection: "host=h connect_timeout = '30' statement_timeout=15s"}, 30 * time.Second},
		"mssql by keywords":      {mssqlParams{ConnectionString: "Server=h;Connection Timeout=40;dial timeout=5"}, 40 * time.Second},
		"mssql as a URL":         {mssqlParams{ConnectionString: "sqlserver://u:p@h?dial+timeout=12"}, 12 * time.Second},
		"what is not a time":     {mssqlParams{ConnectionString: "Server=h;Connection Timeout=soon"}, 0},
		"none that is shorter":   {postgresqlParams{Connection: "host=h connect_timeout=-1"}, 0},
		"none that is no number": {postgresqlParams{Connection: "host=h connect_timeout=9x"}, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.params.ReadTimeout(); got != tt.want {
				t.Errorf("timeout = %v, want %v", got, tt.want)
			}
		})
	}
}
