package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

// pools has one pool of connections for all sources of a test.
var pools sync.Map

// opening is the ctx of Open, the same pool for all sources of a test.
func opening(t *testing.T) context.Context {
	t.Helper()
	if ctx, ok := pools.Load(t.Name()); ok {
		return ctx.(context.Context)
	}
	ctx, release := scaler.Opening(t.Context())
	pools.Store(t.Name(), ctx)
	t.Cleanup(func() {
		pools.Delete(t.Name())
		release()
	})
	return ctx
}

// TestNotificationsRing inserts a row and notifies: only a ring can have it
// read within the test's time.
func TestNotificationsRing(t *testing.T) {
	metadata := maps.Clone(databases(t)[0].metadata)
	p := servers.SharedPostgreSQL(t)
	run(t, p, "DROP TABLE IF EXISTS arrivals; CREATE TABLE arrivals (id int);")
	maps.Copy(metadata, map[string]string{"query": "SELECT count(*) FROM arrivals", "listenChannel": "Arrivals"})
	family := scalertest.Serve(t, triggers...).WithAuth(map[string]string{"password": servers.SQLPassword})
	w := family.Watch(t, "postgresql", metadata, scalerv1.Mode_MODE_IDLE, time.Hour)
	if _, err := w.Until(within(t), "inactive", scalertest.Inactive); err != nil {
		t.Fatal(err)
	}
	run(t, p, `INSERT INTO arrivals VALUES (1); NOTIFY "Arrivals";`)
	if _, err := w.Until(within(t), "active", scalertest.Active); err != nil {
		t.Error(err)
	}
}

// TestChannelsShareASession has channels that come and go, and a session that
// ends.
func TestChannelsShareASession(t *testing.T) {
	p := servers.SharedPostgreSQL(t)
	listeners := map[string]*hearing{}
	for _, channel := range []string{"first", "second"} {
		s, err := openPostgreSQL(opening(t), postgresqlParams{Connection: p.URL(), Query: "SELECT 1", ListenChannel: channel})
		if err != nil {
			t.Fatal(err)
		}
		listeners[channel] = listenTo(t, s)
		await(t, "listening", listeners[channel].listening)
	}
	run(t, p, "NOTIFY first;")
	await(t, "the first ring", listeners["first"].rung)
	listeners["first"].stop()
	if err := await(t, "the end of the first", listeners["first"].failed); !errors.Is(err, context.Canceled) {
		t.Errorf("listening ended with %v", err)
	}
	run(t, p, "NOTIFY first; NOTIFY second;")
	await(t, "the second ring", listeners["second"].rung)
	if len(listeners["first"].rung) > 0 {
		t.Error("the first channel rings although nobody listens")
	}
	run(t, p, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%LISTEN%' AND pid <> pg_backend_pid();")
	if err := await(t, "the end of the second", listeners["second"].failed); err == nil || errors.Is(err, scaler.ErrDoorbellRefused) ||
		!strings.Contains(err.Error(), p.Addr()) {
		t.Errorf("listening ended with %v, want an error that names the server", err)
	}
}

// TestListeningNeedsAChannel has names that no channel can have: they are
// refused by themselves, while the session listens for others.
func TestListeningNeedsAChannel(t *testing.T) {
	p := servers.SharedPostgreSQL(t)
	to := func(channel string) scaler.Source {
		s, err := openPostgreSQL(opening(t), postgresqlParams{Connection: p.URL(), Query: "SELECT 1", ListenChannel: channel})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	good := listenTo(t, to(strings.Repeat("n", longestChannel)))
	await(t, "listening", good.listening)
	for _, channel := range []string{"", strings.Repeat("n", longestChannel+1), "a\x00b", "\xff"} {
		if err := to(channel).(scaler.Ringer).Listen(within(t), func() {}, func() {}); !errors.Is(err, scaler.ErrDoorbellRefused) {
			t.Errorf("listening to %q: %v, want it to be refused", channel, err)
		}
	}
	run(t, p, "NOTIFY "+strings.Repeat("n", longestChannel)+";")
	await(t, "the ring", good.rung)
}

// TestManyChannelsInFewRequests listens to more channels than one request
// names, and hears each.
func TestManyChannelsInFewRequests(t *testing.T) {
	p := servers.SharedPostgreSQL(t)
	var all []*hearing
	for i := range 2*channelsAtOnce + 1 {
		s, err := openPostgreSQL(opening(t), postgresqlParams{Connection: p.URL(), Query: "SELECT 1", ListenChannel: fmt.Sprintf("many %d", i)})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, listenTo(t, s))
	}
	for i, h := range all {
		await(t, "listening", h.listening)
		run(t, p, fmt.Sprintf(`NOTIFY "many %d";`, i))
		await(t, "the ring", h.rung)
	}
}

// TestSwallowedSession has a network that swallows everything while nothing is
// said: the session is given up at its limits, and not when the kernel does.
func TestSwallowedSession(t *testing.T) {
	p := servers.SharedPostgreSQL(t)
	proxy, err := fault.Listen(p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Close() })
	config, err := pgx.ParseConfig(strings.Replace(p.URL(), p.Addr(), proxy.Addr(), 1))
	if err != nil {
		t.Fatal(err)
	}
	overTheirLines(config, (&net.Dialer{}).DialContext, nil)
	login := func(context.Context, *pgx.ConnConfig) error { return nil }
	for name, tt := range map[string]struct {
		silence time.Duration
		other   bool // another channel is wanted meanwhile
	}{
		"while it hears":                 {silence: 50 * time.Millisecond},
		"when another channel is wanted": {silence: time.Hour, other: true},
	} {
		t.Run(name, func(t *testing.T) {
			defer proxy.Heal()
			doorbell := client.NewSharedDoorbell(t.Context())
			defer doorbell.Close()
			run := subscriber{config, login, subscriberLimits{connect: patience, silence: tt.silence, answer: time.Second}}.listen
			listening, ended := make(chan struct{}), make(chan error, 1)
			go func() {
				ended <- doorbell.Listen(within(t), "", "swallowed", run, func() { close(listening) }, func() {})
			}()
			await(t, "listening", listening)
			proxy.Stall()
			if tt.other {
				go func() { _ = doorbell.Listen(t.Context(), "", "other", run, func() {}, func() {}) }()
			}
			if err := await(t, "the end of the session", ended); err == nil {
				t.Error("it ended without an error")
			}
		})
	}
}

// hearing is one source that listens until the test ends.
type hearing struct {
	listening, rung chan struct{}
	failed          chan error
	stop            context.CancelFunc
}

func listenTo(t *testing.T, s scaler.Source) *hearing {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	h := &hearing{listening: make(chan struct{}), rung: make(chan struct{}, 100), failed: make(chan error, 1), stop: stop}
	var done sync.WaitGroup
	done.Go(func() {
		h.failed <- s.(scaler.Ringer).Listen(ctx, func() { close(h.listening) }, func() { h.rung <- struct{}{} })
	})
	t.Cleanup(func() {
		stop()
		done.Wait()
	})
	return h
}

// await waits for what has to come.
func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-within(t).Done():
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}
