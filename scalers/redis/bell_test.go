package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// hearing is one source that listens until the test ends.
type hearing struct {
	listening, rung chan struct{}
	failed          chan error
	stop            context.CancelFunc
	done            sync.WaitGroup
}

func hear(t *testing.T, s scaler.Source) *hearing {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	h := &hearing{listening: make(chan struct{}), rung: make(chan struct{}, 1000), failed: make(chan error, 1), stop: stop}
	h.done.Go(func() {
		h.failed <- s.(scaler.Ringer).Listen(ctx, func() { close(h.listening) }, func() { h.rung <- struct{}{} })
	})
	t.Cleanup(func() {
		stop()
		h.done.Wait()
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

func openAt(t testing.TB, address, key, password string) scaler.Source {
	t.Helper()
	p := listParams{keyParams: keyParams{connectionParams: connectionParams{Address: []string{address}, Password: password}, ListName: key}}
	s, err := scalertest.Open(t, openList, p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRings hears writes to lists and streams, wherever they are.
func TestRings(t *testing.T) {
	for name, k := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			family := scalertest.Serve(t, triggers...)
			fresh(t, k.operator, "bell", "bell-stream")
			for triggerType, tt := range map[string]struct {
				key     map[string]string
				command []any
			}{
				k.list:   {map[string]string{"listName": "bell"}, []any{"RPUSH", "bell", 1}},
				k.stream: {map[string]string{"stream": "bell-stream"}, []any{"XADD", "bell-stream", "*", "k", "v"}},
			} {
				metadata := maps.Clone(k.metadata)
				maps.Copy(metadata, tt.key)
				// Only a ring can make it read within the test's time.
				w := family.Watch(t, triggerType, metadata, scalerv1.Mode_MODE_IDLE, time.Hour)
				if _, err := w.Until(within(t), "inactive", scalertest.Inactive); err != nil {
					t.Fatal(err)
				}
				do(t, k.operator, tt.command...)
				if _, err := w.Until(within(t), "active", scalertest.Active); err != nil {
					t.Errorf("%s: %v", triggerType, err)
				}
			}
		})
	}
}

// TestKeysThatOverlap has keys that begin with other keys, come and go, and
// are all heard for themselves alone.
func TestKeysThatOverlap(t *testing.T) {
	r := servers.Redis(t)
	client := operator(t, &redis.UniversalOptions{Addrs: []string{r.Addr()}})
	s := openAt(t, r.Addr(), "jobs:high", "").(*source)
	sibling := func(key string) scaler.Source {
		other := *s
		other.key = key
		return &other
	}
	long := hear(t, s)
	await(t, "the long key", long.listening)
	short := hear(t, sibling("jobs"))
	await(t, "the short key", short.listening)

	push(t, client, "jobs:high", 1)
	await(t, "a ring of the long key", long.rung)
	push(t, client, "jobs", 1)
	await(t, "a ring of the short key", short.rung)

	short.stop()
	if err := await(t, "the end of the short key", short.failed); !errors.Is(err, context.Canceled) {
		t.Errorf("listening ended with %v", err)
	}
	push(t, client, "jobs:high", 1)
	await(t, "a ring after the other key left", long.rung)
	if len(short.rung) > 0 || len(long.rung) > 1 {
		t.Errorf("rings too many: %d for the short key, %d for the long one", len(short.rung), len(long.rung))
	}
}

// TestManyListenersFewConnections has a thousand keys in one place.
func TestManyListenersFewConnections(t *testing.T) {
	const keys = 1000
	r := servers.Redis(t)
	client := operator(t, &redis.UniversalOptions{Addrs: []string{r.Addr()}, PoolSize: 1})
	first := openAt(t, r.Addr(), "key-0", "").(*source)
	sources := make([]scaler.Source, keys)
	ears := make([]*hearing, keys)
	for i := range keys {
		other := *first
		other.key = fmt.Sprintf("key-%d", i)
		other.first = func() *step { return other.server.length(other.key) }
		sources[i] = &other
		ears[i] = hear(t, &other)
	}
	for i, e := range ears {
		await(t, fmt.Sprintf("listener %d", i), e.listening)
	}
	results := scaler.ReadTogether(within(t), first.server, sources...)
	if i := slices.IndexFunc(results, func(r scaler.Result) bool { return r.Err != nil }); i >= 0 {
		t.Errorf("key %d: %v", i, results[i].Err)
	}
	push(t, client, "key-777", 1)
	await(t, "the ring", ears[777].rung)
	clients, err := client.Info(within(t), "clients").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(clients, "connected_clients:")
	count, _, _ := strings.Cut(after, "\r")
	connected, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	// A subscription, a tracker, one for reads, the operator's two, and room
	// for a tracker that is being replaced.
	if connected > 6 {
		t.Errorf("%d connections for %d keys", connected, keys)
	}
}

// TestListeningEndsWithTheServer tells the sampler to poll.
func TestListeningEndsWithTheServer(t *testing.T) {
	r := servers.Redis(t)
	e := hear(t, openAt(t, r.Addr(), "jobs", ""))
	await(t, "listening", e.listening)
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := await(t, "the end", e.failed); err == nil || errors.Is(err, scaler.ErrDoorbellRefused) {
		t.Errorf("listening ended with %v, want an error of the connection", err)
	}
}

func TestListeningNeedsPermissions(t *testing.T) {
	r := servers.Redis(t, servers.RedisOptions{Config: "user default on nopass ~* resetchannels +@read +auth +client|id +ping +select"})
	s := openAt(t, r.Addr(), "jobs", "")
	e := hear(t, s)
	if err := await(t, "the end", e.failed); !errors.Is(err, scaler.ErrDoorbellRefused) {
		t.Errorf("listening ended with %v, want it to be refused", err)
	}
	if readings, err := s.Read(within(t)); err != nil || readings[0].Value != 0 {
		t.Errorf("reading without the permission to listen: %v, %v", readings, err)
	}
}

func TestPrefixes(t *testing.T) {
	got := prefixes([]string{"a", "b", "job", "jobs", "jobs:high"})
	if want := []string{"a", "b", "job"}; !slices.Equal(got, want) {
		t.Errorf("prefixes = %v, want %v", got, want)
	}
}
