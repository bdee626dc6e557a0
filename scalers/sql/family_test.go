package main

import (
	"maps"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// server is one of the real databases, with a trigger that logs in to it.
type server struct {
	triggerType string
	metadata    map[string]string // less the query
	auth        map[string]string
	what        string // as errors name it
}

// databases starts the real ones, with a table work of 7 rows.
func databases(t testing.TB) []server {
	t.Helper()
	p, m := servers.SharedPostgreSQL(t), servers.SharedMariaDB(t)
	for _, e := range []executor{p, m} {
		run(t, e, "DROP TABLE IF EXISTS work; CREATE TABLE work (id int PRIMARY KEY, name varchar(20));"+
			"INSERT INTO work VALUES (1,'a'),(2,'b'),(3,'c'),(4,'d'),(5,'e'),(6,'f'),(7,'g');")
	}
	host, port := split(t, p.Addr())
	mHost, mPort := split(t, m.Addr())
	password := map[string]string{"password": servers.SQLPassword}
	return []server{
		{"postgresql", map[string]string{"targetQueryValue": "5", "host": host, "port": port, "userName": servers.SQLUser,
			"dbName": servers.SQLDatabase, "sslmode": "disable"}, password, "postgresql " + p.Addr()},
		{"mysql", map[string]string{"queryValue": "5", "host": mHost, "port": mPort, "username": servers.SQLUser,
			"dbName": servers.SQLDatabase}, password, "mysql " + m.Addr()},
	}
}

func TestFamily(t *testing.T) {
	family := scalertest.Serve(t, triggers...)
	for _, s := range databases(t) {
		tests := map[string]struct {
			query   string
			auth    map[string]string
			want    float64
			code    codes.Code
			message string // behind the type
		}{
			"an integer":         {query: "SELECT count(*) FROM work", want: 7},
			"a decimal":          {query: "SELECT 2.5", want: 2.5},
			"a text of a number": {query: "SELECT '12'", want: 12},
			"further rows":       {query: "SELECT id FROM work ORDER BY id DESC", want: 7},
			"zero":               {query: "SELECT 0", want: 0},
			"no rows":            {query: "SELECT id FROM work WHERE id > 99", code: codes.NotFound, message: "query: returned no rows: no data"},
			"NULL":               {query: "SELECT SUM(id) FROM work WHERE id > 99", code: codes.NotFound, message: "query: returned NULL, which COALESCE can turn into a number: no data"},
			"a text":             {query: "SELECT name FROM work", code: codes.FailedPrecondition, message: "query: returned a text that is not a number"},
			"two columns":        {query: "SELECT 1, 2", code: codes.FailedPrecondition, message: "query: returns 2 columns, not one"},
			"a table that is not there": {query: "SELECT id FROM nowhere", code: codes.NotFound,
				message: s.what + ": query: a table does not exist " + s.number("(SQLSTATE 42P01)", "(error 1146)")},
			"nonsense": {query: "SELECT FROM WHERE", code: codes.InvalidArgument,
				message: s.what + ": query: is not valid " + s.number("(SQLSTATE 42601)", "(error 1064)")},
			"a wrong password": {query: "SELECT 1", auth: map[string]string{"password": "wrong-password"}, code: codes.Unauthenticated,
				message: s.what + ": login refused " + s.number("(SQLSTATE 28P01)", "(error 1045)")},
			"a database that is not there": {query: "SELECT 1", auth: map[string]string{"password": servers.SQLPassword, "dbName": "nowhere"}, code: codes.NotFound,
				message: s.what + ": the database does not exist " + s.number("(SQLSTATE 3D000)", "(error 1049)")},
		}
		for name, tt := range tests {
			t.Run(s.triggerType+"/"+name, func(t *testing.T) {
				metadata := maps.Clone(s.metadata)
				metadata["query"] = tt.query
				auth := maps.Clone(s.auth)
				if tt.auth != nil {
					auth = tt.auth
					delete(metadata, "dbName")
					if auth["dbName"] == "" {
						metadata["dbName"] = servers.SQLDatabase
					}
				}
				got, err := family.WithAuth(auth).Observe(t.Context(), s.triggerType, metadata)
				if want := s.triggerType + ": " + tt.message; status.Code(err) != tt.code || err != nil && status.Convert(err).Message() != want {
					t.Fatalf("error = %v, want %v %q", err, tt.code, want)
				}
				if want := (scalertest.Observation{Value: tt.want, Active: tt.want > 0}); got != want {
					t.Errorf("observation = %+v, want %+v", got, want)
				}
			})
		}
	}
}

// number is what the type's server calls an error.
func (s server) number(postgresql, mysql string) string {
	if s.triggerType == "mysql" {
		return mysql
	}
	return postgresql
}

func TestConnectionStrings(t *testing.T) {
	databases(t)
	p, m := servers.SharedPostgreSQL(t), servers.SharedMariaDB(t)
	host, port := split(t, p.Addr())
	tests := map[string]struct {
		triggerType string
		metadata    map[string]string
		auth, env   map[string]string
		code        codes.Code
		message     string
	}{
		"a URL of PostgreSQL":      {triggerType: "postgresql", auth: map[string]string{"connection": p.URL()}},
		"keywords of PostgreSQL":   {triggerType: "postgresql", auth: map[string]string{"connection": "host=" + host + " port=" + port + " user=sluice password=sluice dbname=sluice sslmode=disable"}},
		"from the environment":     {triggerType: "postgresql", metadata: map[string]string{"connectionFromEnv": "PG"}, env: map[string]string{"PG": p.URL()}},
		"the driver's form":        {triggerType: "mysql", auth: map[string]string{"connectionString": m.DSN()}},
		"nonsense for PostgreSQL":  {triggerType: "postgresql", auth: map[string]string{"connection": "postgres://u:secretly@[h"}, code: codes.InvalidArgument, message: "postgresql: connection: is not a connection string that PostgreSQL's clients understand"},
		"nonsense for MySQL":       {triggerType: "mysql", auth: map[string]string{"connectionString": "u:secretly@nowhere"}, code: codes.InvalidArgument, message: "mysql: connectionString: is not user:password@tcp(host:port)/database?options"},
		"a socket of the family's": {triggerType: "mysql", auth: map[string]string{"connectionString": "u:p@unix(/run/x.sock)/db"}, code: codes.InvalidArgument, message: "mysql: connectionString: only tcp(host:port) can be connected to"},
		"a file of the family's": {triggerType: "postgresql", auth: map[string]string{"connection": p.URL() + "&%73slkey=/var/run/secrets/key"}, code: codes.PermissionDenied,
			message: `postgresql: connection: sslkey: file "***": the family's --readable-files does not list it`},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			metadata := map[string]string{"query": "SELECT 3", "targetQueryValue": "1", "queryValue": "1"}
			maps.Copy(metadata, tt.metadata)
			got, err := family.WithAuth(tt.auth).WithEnv(tt.env).Observe(t.Context(), tt.triggerType, metadata)
			if status.Code(err) != tt.code || status.Convert(err).Message() != tt.message {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if err == nil && got.Value != 3 {
				t.Errorf("observation = %+v", got)
			}
		})
	}
}

// TestValuesThatNeedQuotes logs in with a password of all that connection
// strings quote.
func TestValuesThatNeedQuotes(t *testing.T) {
	const name, password = `odd user`, `p' \ "&?/@:% w`
	p, m := servers.SharedPostgreSQL(t), servers.SharedMariaDB(t)
	run(t, p, `DROP ROLE IF EXISTS "odd user"; CREATE ROLE "odd user" LOGIN PASSWORD 'p'' \ "&?/@:% w';`)
	run(t, m, `CREATE OR REPLACE USER 'odd user'@'%' IDENTIFIED BY 'p\' \\ "&?/@:% w'; GRANT SELECT ON *.* TO 'odd user'@'%';`)
	family := scalertest.Serve(t, triggers...).WithAuth(map[string]string{"password": password})
	for _, s := range databases(t) {
		metadata := maps.Clone(s.metadata)
		metadata["query"], metadata["userName"], metadata["username"] = "SELECT 3", name, name
		if got, err := family.Observe(t.Context(), s.triggerType, metadata); err != nil || got.Value != 3 {
			t.Errorf("%s: %+v, %v", s.triggerType, got, err)
		}
	}
}

// TestStatementsAreBounded asks MariaDB how long it lets a statement last that
// nobody waits for any more.
func TestStatementsAreBounded(t *testing.T) {
	s := databases(t)[1]
	metadata := maps.Clone(s.metadata)
	metadata["query"] = "SELECT @@max_statement_time"
	got, err := scalertest.Serve(t, triggers...).WithAuth(s.auth).Observe(t.Context(), s.triggerType, metadata)
	if err != nil || got.Value != 120 {
		t.Errorf("seconds = %+v, %v, want 120", got, err)
	}
}
