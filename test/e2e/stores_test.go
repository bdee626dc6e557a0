package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// store is a server that can be filled, emptied, killed and restarted.
type store struct {
	fill, empty func(ctx context.Context) error
	kill        func() error
	restart     func(ctx context.Context) error
}

// follow holds an object against a store: 0 -> 4 by 20 pieces of work, held
// while the server is dead, and back to 0.
func (s store) follow(t *testing.T, o object) {
	t.Helper()
	o.waitCondition("Ready", "True", "")
	step := func(do func(context.Context) error) {
		t.Helper()
		if err := do(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	step(s.fill)
	o.waitReplicas(4)
	step(func(context.Context) error { return s.kill() })
	o.waitCondition("Ready", "False", "trigger 0")
	if have := o.replicas(); have != 4 {
		t.Errorf("%d replicas while nobody can tell, want 4", have)
	}
	step(s.restart)
	step(s.fill) // in case the server forgot
	o.waitCondition("Ready", "True", "")
	step(s.empty)
	o.waitReplicas(0)
}

// TestRedisScales follows the length of a list.
func TestRedisScales(t *testing.T) {
	t.Parallel()
	r := servers.Redis(t, servers.RedisOptions{Address: world.cluster.Address()})
	command := func(parts ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := r.Do(ctx, parts...)
			return err
		}
	}
	push := []string{"RPUSH", "jobs"}
	for i := range 20 {
		push = append(push, fmt.Sprint(i))
	}
	fill := func(ctx context.Context) error {
		if err := command("DEL", "jobs")(ctx); err != nil {
			return err
		}
		return command(push...)(ctx)
	}
	s := quick(brokers.Trigger{Type: "redis", Metadata: map[string]string{"address": r.Addr(), "listName": "jobs", "listLength": "5"}})
	s["pollingInterval"] = 1
	o := scale(t, namespace(t), "worker", 0, s)
	store{fill, command("DEL", "jobs"), r.Kill, r.Restart}.follow(t, o)
}

// TestSQLScales follows the rows of a table, with a password from a Secret that
// the family is granted on the way.
func TestSQLScales(t *testing.T) {
	t.Parallel()
	p := servers.PostgreSQL(t, servers.PostgreSQLOptions{Address: world.cluster.Address()})
	statements := func(text string) func(context.Context) error {
		return func(ctx context.Context) error { return p.Exec(ctx, text) }
	}
	if err := p.Exec(t.Context(), "CREATE TABLE work (id int);"); err != nil {
		t.Fatal(err)
	}
	c := credentials{t, namespace(t)}
	c.secret("database", map[string]string{"connection": p.URL()})
	c.authentication("database", "connection")
	o := scale(t, c.namespace, "worker", 0, authenticated(brokers.Trigger{Type: "postgresql", Metadata: map[string]string{
		"query": "SELECT count(*) FROM work", "targetQueryValue": "5"}}, nil, authenticationRef("database")))
	o.grant()
	store{
		statements("TRUNCATE work; INSERT INTO work SELECT generate_series(1, 20);"),
		statements("TRUNCATE work;"), p.Kill, p.Restart,
	}.follow(t, o)
}
