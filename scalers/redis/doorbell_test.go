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
	"sync/atomic"
	"testing"
	"testing/synctest"
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
	s, err := scalertest.Open(t, open[listParams], p)
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
			fresh(t, k.operator, "arrivals", "arrivals-stream")
			for triggerType, tt := range map[string]struct {
				key     map[string]string
				command []any
			}{
				k.list:   {map[string]string{"listName": "arrivals"}, []any{"RPUSH", "arrivals", 1}},
				k.stream: {map[string]string{"stream": "arrivals-stream"}, []any{"XADD", "arrivals-stream", "*", "k", "v"}},
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

// sibling is a source of another key of the same server.
func sibling(s scaler.Source, key string) *source {
	other := *s.(*source)
	other.key, other.what = key, "key "+key
	other.first = func() *step { return other.server.length(key) }
	return scaler.Join(other.server, &other)
}

// TestKeysAreNoPrefixes: a key is heard for itself alone, whatever others begin
// with it, come and go.
func TestKeysAreNoPrefixes(t *testing.T) {
	r := servers.Redis(t)
	client := operator(t, &redis.UniversalOptions{Addrs: []string{r.Addr()}})
	short := hear(t, openAt(t, r.Addr(), "celery", ""))
	await(t, "the short key", short.listening)
	long := hear(t, sibling(openAt(t, r.Addr(), "celery", ""), "celery-high"))
	await(t, "the long key", long.listening)

	for i := range 100 {
		do(t, client, "SET", fmt.Sprintf("celery-task-meta-%d", i), "done")
	}
	push(t, client, "celery-high", 1)
	await(t, "a ring of the long key", long.rung)
	push(t, client, "celery", 1)
	await(t, "a ring of the short key", short.rung)

	short.stop()
	if err := await(t, "the end of the short key", short.failed); !errors.Is(err, context.Canceled) {
		t.Errorf("listening ended with %v", err)
	}
	push(t, client, "celery-high", 1)
	await(t, "a ring after the other key left", long.rung)
	if len(short.rung) > 0 || len(long.rung) > 0 {
		t.Errorf("rings too many: %d for the short key, %d for the long one", len(short.rung), len(long.rung))
	}
}

// TestEveryWriteIsHeard: the server tells once, and is asked again in time.
func TestEveryWriteIsHeard(t *testing.T) {
	r := servers.Redis(t)
	client := operator(t, &redis.UniversalOptions{Addrs: []string{r.Addr()}})
	e := hear(t, openAt(t, r.Addr(), "jobs", ""))
	await(t, "listening", e.listening)
	for i := range 3 {
		push(t, client, "jobs", 1)
		await(t, fmt.Sprintf("ring %d", i), e.rung)
		do(t, client, "FLUSHALL") // which tells of no key in particular
		await(t, fmt.Sprintf("ring %d of the flush", i), e.rung)
	}
}

// TestHotKeysAreHeldBack: what is written all the time rings ever less often.
func TestHotKeysAreHeldBack(t *testing.T) {
	var k tracked
	at := time.Unix(1e9, 0)
	for _, want := range []time.Duration{shortestHold, 2 * shortestHold, 4 * shortestHold, longestHold, longestHold} {
		k.ring(at)
		if k.hold != want {
			t.Errorf("held for %s, want %s", k.hold, want)
		}
		at = at.Add(k.hold)
	}
	if k.ring(at.Add(2 * longestHold)); k.hold != shortestHold {
		t.Errorf("held for %s after a while of silence, want %s", k.hold, shortestHold)
	}
}

// TestServersThatRememberFewKeys forget most of those that are listened to, and
// say so: rings come, and they end.
func TestServersThatRememberFewKeys(t *testing.T) {
	r := servers.Redis(t, servers.RedisOptions{Config: "tracking-table-max-keys 10"})
	client := operator(t, &redis.UniversalOptions{Addrs: []string{r.Addr()}})
	first := openAt(t, r.Addr(), "key-0", "")
	listeners := make([]*hearing, 100)
	for i := range listeners {
		listeners[i] = hear(t, sibling(first, fmt.Sprintf("key-%d", i)))
	}
	for i, e := range listeners {
		await(t, fmt.Sprintf("listener %d", i), e.listening)
	}
	for i, e := range listeners[:3] { // each is held back by now
		for len(e.rung) > 0 {
			<-e.rung
		}
		push(t, client, fmt.Sprintf("key-%d", i), 1)
		await(t, fmt.Sprintf("the ring of key %d", i), e.rung)
	}
}

// TestKeysThatMove end listening for themselves: it begins anew where they are.
// The key that moves does not exist, so that nothing else tells of it.
func TestKeysThatMove(t *testing.T) {
	c := servers.Cluster(t)
	client := operator(t, &redis.UniversalOptions{Addrs: c.Addrs()}).(*redis.ClusterClient)
	p := clusterListParams{keyParams: keyParams{connectionParams: connectionParams{Address: c.Addrs()}, ListName: "moves"}}
	s, err := scalertest.Open(t, open[clusterListParams], p)
	if err != nil {
		t.Fatal(err)
	}
	s.(*source).server.check = 10 * time.Millisecond
	old, err := client.MasterForKey(within(t), "moves")
	if err != nil {
		t.Fatal(err)
	}
	stays := "stays" // a key of the same node
	for client.ClusterKeySlot(within(t), stays).Val() == client.ClusterKeySlot(within(t), "moves").Val() || nodeOf(t, client, stays) != old.Options().Addr {
		stays += "s"
	}
	moving, staying := hear(t, s), hear(t, sibling(s, stays))
	await(t, "the key that moves", moving.listening)
	await(t, "the key that stays", staying.listening)

	slot := client.ClusterKeySlot(within(t), "moves").Val()
	next := c.Addrs()[(slices.Index(c.Addrs(), old.Options().Addr)+1)%len(c.Addrs())]
	id, err := operator(t, &redis.UniversalOptions{Addrs: []string{next}}).(*redis.Client).ClusterMyID(within(t)).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range c.Addrs() {
		one := operator(t, &redis.UniversalOptions{Addrs: []string{address}})
		do(t, one, "CLUSTER", "SETSLOT", slot, "NODE", id)
	}
	if err := await(t, "the end of listening", moving.failed); !errors.Is(err, errMoved) {
		t.Errorf("listening ended with %v, want %v", err, errMoved)
	}
	push(t, client, stays, 1)
	await(t, "the ring of the key that stayed", staying.rung)
}

func nodeOf(t *testing.T, client *redis.ClusterClient, key string) string {
	t.Helper()
	node, err := client.MasterForKey(within(t), key)
	if err != nil {
		t.Fatal(err)
	}
	return node.Options().Addr
}

// TestManyListenersFewConnections has a thousand keys in one place.
func TestManyListenersFewConnections(t *testing.T) {
	const keys = 1000
	r := servers.Redis(t)
	client := operator(t, &redis.UniversalOptions{Addrs: []string{r.Addr()}, PoolSize: 1})
	first := openAt(t, r.Addr(), "key-0", "").(*source)
	sources := make([]scaler.Source, keys)
	listeners := make([]*hearing, keys)
	for i := range keys {
		sources[i] = sibling(first, fmt.Sprintf("key-%d", i))
		listeners[i] = hear(t, sources[i])
	}
	for i, e := range listeners {
		await(t, fmt.Sprintf("listener %d", i), e.listening)
	}
	results := scaler.ReadTogether(within(t), first.server, sources...)
	if i := slices.IndexFunc(results, func(r scaler.Result) bool { return r.Err != nil }); i >= 0 {
		t.Errorf("key %d: %v", i, results[i].Err)
	}
	push(t, client, "key-777", 1)
	await(t, "the ring", listeners[777].rung)
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
	// A subscription, a reader, one for reads, and the operator's two.
	if connected > 5 {
		t.Errorf("%d connections for %d keys", connected, keys)
	}
}

// TestServersRememberKeysAndNothingElse: an entry for each key, no prefixes,
// and one CLIENT TRACKING, however many come and go.
func TestServersRememberKeysAndNothingElse(t *testing.T) {
	const keys = 100
	r := servers.Redis(t)
	client := operator(t, &redis.UniversalOptions{Addrs: []string{r.Addr()}})
	first := openAt(t, r.Addr(), "key-0", "")
	listeners := make([]*hearing, keys)
	for i := range listeners {
		listeners[i] = hear(t, sibling(first, fmt.Sprintf("key-%d", i)))
		await(t, fmt.Sprintf("listener %d", i), listeners[i].listening)
	}
	for i := range keys / 2 { // go, and come back
		listeners[i].stop()
		_ = await(t, "the end", listeners[i].failed)
		await(t, fmt.Sprintf("listener %d again", i), hear(t, sibling(first, fmt.Sprintf("key-%d", i))).listening)
	}
	info, err := client.Info(within(t), "stats", "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		fmt.Sprintf("tracking_total_keys:%d\r", keys), fmt.Sprintf("tracking_total_items:%d\r", keys),
		"tracking_total_prefixes:0\r", "cmdstat_client|tracking:calls=1,",
	} {
		if !strings.Contains(info, want) {
			t.Errorf("want %q in\n%s", want, info)
		}
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

// TestServersThatTrackNoKeys refuse in their own words. All triggers of one
// are one attempt, are told why, and are read as ever.
func TestServersThatTrackNoKeys(t *testing.T) {
	const crowd = 20
	noTracking := "the server does not track keys; that takes CLIENT TRACKING with REDIRECT, as Redis 6 and Valkey have it"
	lacks := "the user lacks one of the permissions that listening needs: " + permissions
	tests := map[string]struct{ command, answer, note string }{
		"Dragonfly, which does for RESP3 alone": {"CLIENT TRACKING", "-ERR Client tracking is currently not supported for RESP2. Please use RESP3.\r\n", noTracking},
		"ElastiCache":                           {"CLIENT TRACKING", "-ERR unknown subcommand 'tracking'. Try CLIENT HELP.\r\n", noTracking},
		"Redis Enterprise":                      {"CLIENT TRACKING", "-ERR command 'client|tracking' is not allowed\r\n", noTracking},
		"Redis 5":                               {"CLIENT TRACKING", "-ERR Unknown subcommand or wrong number of arguments for 'TRACKING'. Try CLIENT HELP\r\n", noTracking},
		"Redis 4":                               {"CLIENT ID", "-ERR Syntax error, try CLIENT (LIST | KILL | GETNAME | SETNAME | PAUSE | REPLY)\r\n", noTracking},
		"a proxy":                               {"CLIENT", "-ERR unknown command 'CLIENT'\r\n", noTracking},
		"a proxy without subscriptions":         {"SUBSCRIBE", "-ERR unsupported command\r\n", noTracking},
		"an ACL against the command":            {"CLIENT TRACKING", "-NOPERM this user has no permissions to run the 'client|tracking' command\r\n", lacks},
		"an ACL against the channel":            {"SUBSCRIBE", "-NOPERM this user has no permissions to access one of the channels used as arguments\r\n", lacks},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var attempts atomic.Int32
			address := standIn(t, func(command string) string {
				switch {
				case strings.HasPrefix(command, tt.command):
					attempts.Add(1)
					return tt.answer
				case strings.HasPrefix(command, "CLIENT ID"), strings.HasPrefix(command, "XLEN"):
					return ":3\r\n"
				case strings.HasPrefix(command, "SUBSCRIBE"):
					return fmt.Sprintf("*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:1\r\n", len(invalidations), invalidations)
				default:
					return "-ERR unknown command\r\n"
				}
			})
			family := scalertest.Serve(t, triggers...)
			for i := range crowd {
				w := family.Watch(t, "redis-streams", map[string]string{"address": address, "stream": fmt.Sprint(i)}, scalerv1.Mode_MODE_IDLE, time.Hour)
				o, err := w.Until(within(t), "the note", func(o *scalerv1.Observation) bool { return o.GetDetectionNote() != "" })
				if err != nil {
					t.Fatal(err)
				}
				if want := "polled: redis " + address + ": " + tt.note; o.GetDetectionNote() != want || o.GetValues()[0].GetValue() != 3 {
					t.Errorf("observation = %v, want 3 and %q", o, want)
				}
			}
			if n := attempts.Load(); n != 1 {
				t.Errorf("%d triggers were refused %d times, want once for all", crowd, n)
			}
		})
	}
}

// TestServersThatPassAreNoRefusal: what is over soon is tried again soon.
func TestServersThatPassAreNoRefusal(t *testing.T) {
	for _, answer := range []string{
		"LOADING Redis is loading the dataset in memory", "ERR max number of clients reached",
		"ERR The client ID you want redirect to does not exist", "WRONGPASS invalid username-password pair",
	} {
		if err := explainDoorbell("redis", said(answer)); errors.Is(err, scaler.ErrDoorbellRefused) {
			t.Errorf("%q is taken for a refusal: %v", answer, err)
		}
	}
}

// said is an error that a server answers with.
type said string

func (s said) Error() string { return string(s) }

func (said) RedisError() {}

// TestAFloodOfWritesIsGoneThroughNowAndThen has a server say at any rate that keys
// were written, or all of them: neither has all keys gone through each time.
func TestAFloodOfWritesIsGoneThroughNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		tr := &tracker{keys: map[string]*tracked{}, due: map[string]time.Time{}}
		for i := range n { // none is due, so that no server is asked
			tr.keys[fmt.Sprint(i)] = &tracked{rung: time.Now(), hold: time.Hour}
		}
		// written is how many are marked since the last time.
		written := func() (marked int) {
			for _, one := range tr.keys {
				if one.written {
					marked++
				}
				one.written = false
			}
			return marked
		}
		say := func(keys []string) time.Duration {
			tr.mark(keys)
			next, err := tr.turn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return next
		}
		say(nil)
		if got := written(); got != n {
			t.Errorf("the first time %d keys are written, want all", got)
		}
		turned := tr.turned
		for range 100 {
			if next := say(nil); next > soonestSweep {
				t.Errorf("it is looked at again after %v", next)
			}
			say([]string{"1"})
		}
		if got := written(); got != 1 || tr.turned != turned {
			t.Errorf("at once %d keys are written again, and looked at after %v", got, tr.turned.Sub(turned))
		}
		<-time.After(soonestSweep)
		say([]string{})
		if got := written(); got != n {
			t.Errorf("afterwards %d keys are written, want all", got)
		}
	})
}
