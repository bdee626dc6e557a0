package main

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

// everyDatabase is a trigger of PostgreSQL, MySQL and SQL Server each: two real
// databases and a stand-in. Its query is answered with 42.
func everyDatabase(t testing.TB) (all []server, tds *standIn) {
	t.Helper()
	tds = newStandIn(t, "secret")
	address := tds.listener.Addr().String()
	host, port := split(t, address)
	all = append(databases(t), server{"mssql",
		map[string]string{"targetValue": "5", "host": host, "port": port, "username": "sa"}, map[string]string{"password": "secret"}, "mssql " + address})
	for _, s := range all {
		s.metadata["query"] = "SELECT 42"
	}
	return all, tds
}

// proxied puts a proxy before what is at an address.
func proxied(t *testing.T, address string) *fault.Proxy {
	t.Helper()
	proxy, err := fault.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Close() })
	return proxy
}

// openCase opens a source of a case.
func openCase(t *testing.T, c scalertest.Case, metadata map[string]string) scaler.Source {
	t.Helper()
	source, err := c.OpenIn(opening(t), metadata)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// TestNetwork cuts, stalls and slows the network, for every type.
func TestNetwork(t *testing.T) {
	cases.Each(t, triggers, func(t *testing.T, c scalertest.Case) {
		proxy := proxied(t, c.Address)
		metadata := c.At(proxy.Addr())
		source := openCase(t, c, metadata)
		read := func(ctx context.Context, when string, want codes.Code) {
			t.Helper()
			got, err := source.Read(ctx)
			if status.Code(err) != want || err == nil && got[0].Value != c.Value {
				t.Fatalf("%s: read %v, %v, want %v or %v", when, got, err, c.Value, want)
			}
		}
		read(within(t), "at first", codes.OK)
		proxy.Cut()
		read(within(t), "cut", codes.Unavailable)
		proxy.Heal()
		read(within(t), "after the cut", codes.OK)
		proxy.Stall()
		impatient, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		// Drivers call it what they will; the sampler names the deadline.
		if got, err := source.Read(impatient); err == nil {
			t.Fatalf("stalled: read %v", got)
		}
		proxy.Heal()
		read(within(t), "after the stall", codes.OK)
		proxy.Delay(50 * time.Millisecond)
		read(within(t), "slow", codes.OK)
	})
}

// TestHalfAnswers cuts the connection at places spread over all that a
// database says, from the first byte of the login to the last of the answer.
// What comes of it is an error or the whole number, never another.
func TestHalfAnswers(t *testing.T) {
	const places = 25
	cases.Each(t, triggers, func(t *testing.T, c scalertest.Case) {
		proxy := proxied(t, c.Address)
		metadata := c.At(proxy.Addr())
		observe := func() (scalertest.Observation, error) {
			// A family of its own has no connection yet.
			return c.Serve(t).Observe(t.Context(), c.Trigger.Type, metadata)
		}
		if got, err := observe(); err != nil || got.Value != c.Value {
			t.Fatalf("the whole answer: %+v, %v", got, err)
		}
		whole := proxy.Stats().ToClient
		failures := 0
		for i := range int64(places) {
			after := 1 + i*(whole-1)/places
			proxy.CutAfter(after)
			got, err := observe()
			code := status.Code(err)
			if err != nil {
				failures++
			}
			if err == nil && got.Value != c.Value || err != nil && code != codes.Unavailable && code != codes.Unauthenticated {
				t.Errorf("%d bytes of %d: %+v, %v", after, whole, got, err)
			}
		}
		if failures < places/2 {
			t.Errorf("%d failures for %d cuts", failures, places)
		}
	})
}

// TestRefusals has what servers refuse for other reasons than the password.
func TestRefusals(t *testing.T) {
	all, _ := everyDatabase(t)
	p, m := servers.SharedPostgreSQL(t), servers.SharedMariaDB(t)
	run(t, p, "DROP ROLE IF EXISTS outcast; CREATE ROLE outcast LOGIN PASSWORD 'hush-hush' CONNECTION LIMIT 0;"+
		"DROP ROLE IF EXISTS sleeper; CREATE ROLE sleeper NOLOGIN PASSWORD 'hush-hush';"+
		"DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN PASSWORD 'hush-hush';")
	run(t, m, "CREATE OR REPLACE USER 'outcast'@'%' IDENTIFIED BY 'hush-hush' ACCOUNT LOCK;"+
		"CREATE OR REPLACE USER 'stranger'@'%' IDENTIFIED BY 'hush-hush'; CREATE TABLE IF NOT EXISTS nothing (id int); GRANT SELECT ON nothing TO 'stranger'@'%';")
	tests := map[string]struct {
		server      int
		user, query string
		code        codes.Code
		message     string
	}{
		"PostgreSQL has no connection left": {0, "outcast", "SELECT 1", codes.Unavailable, "has too little of a resource, such as connections (SQLSTATE 53300)"},
		"PostgreSQL lets nobody in":         {0, "sleeper", "SELECT 1", codes.Unauthenticated, "login refused (SQLSTATE 28000)"},
		"PostgreSQL's table is not his":     {0, "stranger", "SELECT id FROM work", codes.PermissionDenied, "query: the user lacks a permission that it needs (SQLSTATE 42501)"},
		"MariaDB has locked the account":    {1, "outcast", "SELECT 1", codes.Unauthenticated, "login refused: the account is locked (error 4151)"},
		"MariaDB's table is not his":        {1, "stranger", "SELECT id FROM work", codes.PermissionDenied, "query: the user lacks a permission that it needs (error 1142)"},
		"SQL Server's table is not his":     {2, "", "FAIL 229", codes.PermissionDenied, "query: the user lacks a permission that it needs (error 229)"},
		"SQL Server is not there yet":       {2, "", "FAIL 40613", codes.Unavailable, "the database is not available at present (error 40613)"},
		"SQL Server has an error of others": {2, "", "FAIL 8134", codes.Unavailable, "answered with error 8134"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := all[tt.server]
			metadata, auth := maps.Clone(s.metadata), s.auth
			metadata["query"] = tt.query
			if tt.user != "" {
				metadata["userName"], metadata["username"] = tt.user, tt.user
				auth = map[string]string{"password": "hush-hush"}
			}
			_, err := scalertest.Serve(t, triggers...).WithAuth(auth).Observe(t.Context(), s.triggerType, metadata)
			if want := s.triggerType + ": " + s.what + ": " + tt.message; status.Code(err) != tt.code || status.Convert(err).Message() != want {
				t.Errorf("error = %v, want %v %q", err, tt.code, want)
			}
			if err != nil && strings.Contains(err.Error(), "hush-hush") {
				t.Errorf("a secret is in %v", err)
			}
		})
	}
}

// TestRotatedPassword changes the password on the running server.
func TestRotatedPassword(t *testing.T) {
	all, tds := everyDatabase(t)
	p, m := servers.SharedPostgreSQL(t), servers.SharedMariaDB(t)
	run(t, p, "DROP ROLE IF EXISTS turning; CREATE ROLE turning LOGIN PASSWORD 'before-it';")
	run(t, m, "CREATE OR REPLACE USER 'turning'@'%' IDENTIFIED BY 'before-it'; GRANT SELECT ON sluice.* TO 'turning'@'%';")
	tds.change("before-it")
	turn := []func(){
		func() {
			run(t, p, "ALTER ROLE turning PASSWORD 'after-it'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'turning';")
		},
		func() { run(t, m, "ALTER USER 'turning'@'%' IDENTIFIED BY 'after-it'; KILL USER 'turning'@'%';") },
		func() { tds.change("after-it") },
	}
	for i, s := range all {
		t.Run(s.triggerType, func(t *testing.T) {
			family := scalertest.Serve(t, triggers...).WithAuth(map[string]string{"password": "before-it"})
			metadata := maps.Clone(s.metadata)
			metadata["userName"], metadata["username"] = "turning", "turning"
			observe := func() error {
				_, err := family.Observe(t.Context(), s.triggerType, metadata)
				return err
			}
			if err := observe(); err != nil {
				t.Fatal(err)
			}
			turn[i]()
			// Sessions end a little after they were told to.
			for ctx := within(t); ; {
				err := observe()
				if status.Code(err) == codes.Unauthenticated {
					break
				}
				if ctx.Err() != nil {
					t.Fatalf("with the old password: %v, want %v", err, codes.Unauthenticated)
				}
			}
			family.Rotate(map[string]string{"password": "after-it"})
			if err := observe(); err != nil {
				t.Errorf("with the new password: %v", err)
			}
		})
	}
}

// TestThousandTriggersFewConnections has a thousand sources at one database as
// one identity, read as many at once as the sampler does.
func TestThousandTriggersFewConnections(t *testing.T) {
	cases.Each(t, triggers, func(t *testing.T, c scalertest.Case) {
		proxy := proxied(t, c.Address)
		metadata := c.At(proxy.Addr())
		var sources []scaler.Source
		for range 1000 {
			sources = append(sources, openCase(t, c, metadata))
		}
		for _, got := range scalertest.ReadAtOnce(t, sources) {
			if got[0].Value != c.Value {
				t.Errorf("read %v", got)
			}
		}
		if got := proxy.Stats().Accepted; got > mostConnections {
			t.Errorf("%d connections, want at most %d", got, mostConnections)
		}
	})
}

// hanging is a query of each type that is not answered in an hour.
var hanging = map[string]string{"postgresql": "SELECT count(*) FROM pg_sleep(3600)", "mysql": "SELECT SLEEP(3600)", "mssql": "HANG"}

// TestSlowQueriesStarveNoOther has more queries under way that are not answered
// than there may be connections. All others of the same database and identity
// are answered, from the first on.
func TestSlowQueriesStarveNoOther(t *testing.T) {
	all, _ := everyDatabase(t)
	for _, s := range all {
		t.Run(s.triggerType, func(t *testing.T) {
			proxy := proxied(t, s.metadata["host"]+":"+s.metadata["port"])
			metadata := maps.Clone(s.metadata)
			metadata["host"], metadata["port"] = split(t, proxy.Addr())
			family := scalertest.Serve(t, triggers...).WithAuth(s.auth)
			watch := func(query string, i int) *scalertest.Watching {
				own := maps.Clone(metadata)
				own["query"] = fmt.Sprint(query, " -- ", i) // each a question of its own
				return family.Watch(t, s.triggerType, own, scalerv1.Mode_MODE_ACTIVE, time.Hour)
			}
			for i := range 2 * mostConnections {
				watch(hanging[s.triggerType], i)
			}
			for ctx := within(t); proxy.Stats().Open < mostSlow; {
				select {
				case <-time.After(10 * time.Millisecond):
				case <-ctx.Done():
					t.Fatal("no query is under way")
				}
			}
			for i := range 10 {
				// The next reading is an hour away, so this is the first.
				if _, err := watch(metadata["query"], i).Until(within(t), "active", scalertest.Active); err != nil {
					t.Errorf("query %d: %v", i, err)
				}
			}
		})
	}
}
