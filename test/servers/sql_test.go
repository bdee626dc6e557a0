package servers_test

import (
	"context"
	"testing"

	"github.com/sluice-autoscaler/sluice/test/servers"
)

// database is what the two SQL servers have in common.
type database interface {
	Exec(ctx context.Context, statements string) error
	Addr() string
	Kill() error
	Restart(ctx context.Context) error
}

func TestDatabasesKeepWhatWasCommitted(t *testing.T) {
	for name, start := range map[string]func(*testing.T) database{
		"PostgreSQL": func(t *testing.T) database { return servers.PostgreSQL(t, servers.PostgreSQLOptions{TLS: true}) },
		"MariaDB":    func(t *testing.T) database { return servers.MariaDB(t, servers.MariaDBOptions{TLS: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			db := start(t)
			if err := db.Exec(within(t), "CREATE TABLE work (id int PRIMARY KEY);"); err != nil {
				t.Fatal(err)
			}
			if err := db.Exec(within(t), "SELECT nothing FROM nowhere;"); err == nil {
				t.Error("a wrong statement is no error")
			}
			if err := db.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := db.Exec(within(t), "SELECT 1;"); err == nil {
				t.Error("a killed server answers")
			}
			if err := db.Restart(within(t)); err != nil {
				t.Fatal(err)
			}
			if err := db.Exec(within(t), "INSERT INTO work VALUES (1);"); err != nil {
				t.Errorf("after a restart: %v", err)
			}
		})
	}
}

func TestDatabasesStoppedAcceptButDoNotAnswer(t *testing.T) {
	// PostgreSQL waits for the client's first words, MariaDB speaks first.
	p := servers.SharedPostgreSQL(t)
	acceptsInSilence(t, p.Node, p.Addr(), "\x00\x00\x00\x08\x04\xd2\x16\x2f")
	m := servers.SharedMariaDB(t)
	acceptsInSilence(t, m.Node, m.Addr(), "\x00")
}
