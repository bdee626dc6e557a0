package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

const doorbellGroup = "sluice"

// ringingHub is metadata of a hub that is listened to.
func ringingHub(hub string) map[string]string {
	return map[string]string{"eventHubName": hub, "blobContainer": "nothing", "doorbellConsumerGroup": doorbellGroup}
}

// hubsThatRing are hubs that have the doorbell's group.
func hubsThatRing(t testing.TB, hubs map[string][][2]int64) (*servers.EventHubsServer, servers.EventHubsState) {
	t.Helper()
	e := servers.EventHubs(t, servers.EventHubsOptions{Authority: trusted})
	state := servers.EventHubsState{Hubs: hubs, Groups: []string{"$Default", doorbellGroup}}
	answer(t, e, state)
	return e, state
}

func hubAuth(t testing.TB, e *servers.EventHubsServer) map[string]string {
	return map[string]string{"connection": hubConnection(e.Addr()), "storageConnection": servers.SharedAzurite(t).Connection()}
}

// hearing is one source that listens until the test ends.
type hearing struct {
	listening chan struct{}
	rung      chan struct{} // of which the first is an echo of the beginning
	failed    chan error
	stop      context.CancelFunc
}

func listen(t testing.TB, s scaler.Source) *hearing {
	t.Helper()
	if _, err := s.Read(within(t)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	h := &hearing{listening: make(chan struct{}), rung: make(chan struct{}, 1000), failed: make(chan error, 1), stop: stop}
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
func await[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-within(t).Done():
		t.Fatalf("%s does not come", what)
		panic("unreachable")
	}
}

// said waits until the server has said something so often.
func said(t testing.TB, e *servers.EventHubsServer, what string, want int) {
	t.Helper()
	saidAtLeast(t, e, what, want)
	if n, err := e.Said(what); err != nil || n != want {
		t.Errorf("%s: %d, want %d, %v", what, n, want, err)
	}
}

func saidAtLeast(t testing.TB, e *servers.EventHubsServer, what string, want int) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for end := within(t); ; {
		n, err := e.Said(what)
		if err != nil {
			t.Fatal(err)
		}
		if n >= want {
			return
		}
		select {
		case <-ticker.C:
		case <-end.Done():
			t.Fatalf("%s: %d, want %d", what, n, want)
		}
	}
}

// TestEventHubRings: an event is noticed as it arrives, long before the next
// reading. An event is sent once, and no checkpoint is needed.
func TestEventHubRings(t *testing.T) {
	e, state := hubsThatRing(t, map[string][][2]int64{"orders": {{0, -1}, {0, -1}}})
	family := scalertest.Serve(t, triggers...).WithAuth(hubAuth(t, e))
	w := family.Watch(t, "azure-eventhub", ringingHub("orders"), scalerv1.Mode_MODE_IDLE, time.Hour)
	if _, err := w.Until(within(t), "inactive", scalertest.Inactive); err != nil {
		t.Fatal(err)
	}
	said(t, e, "receiver orders/sluice/", 2)
	saidAtLeast(t, e, "asked", 3*3) // at first, once listening has begun, and for its echo
	state.Hubs["orders"] = [][2]int64{{0, -1}, {0, 0}}
	answer(t, e, state)
	o, err := w.Until(within(t), "active", scalertest.Active)
	if err != nil {
		t.Fatal(err)
	}
	if o.GetDetection() != scalerv1.Detection_DETECTION_DOORBELL {
		t.Errorf("noticed by %v", o.GetDetection())
	}
	if n, err := e.Said("event"); err != nil || n != 1 {
		t.Errorf("%d events were sent, %v", n, err)
	}
}

// TestEventHubIsPolledUnasked: nobody takes a reader of a group without being told
// which.
func TestEventHubIsPolledUnasked(t *testing.T) {
	e, _ := hubsThatRing(t, map[string][][2]int64{"orders": {{0, -1}}})
	family := scalertest.Serve(t, triggers...).WithAuth(hubAuth(t, e))
	metadata := ringingHub("orders")
	delete(metadata, "doorbellConsumerGroup")
	w := family.Watch(t, "azure-eventhub", metadata, scalerv1.Mode_MODE_IDLE, 100*time.Millisecond)
	if _, err := w.Until(within(t), "inactive", scalertest.Inactive); err != nil {
		t.Fatal(err)
	}
	saidAtLeast(t, e, "asked", 6) // three times
	if n, err := e.Said("receiver"); err != nil || n != 0 {
		t.Errorf("%d receivers, %v", n, err)
	}
	source := openAll(t, azureEventHub, hubAuth(t, e), metadata)[0]
	if err := await(t, "a refusal", listen(t, source).failed); !errors.Is(err, scaler.ErrDoorbellRefused) || !strings.Contains(err.Error(), "doorbellConsumerGroup is not set") {
		t.Errorf("error = %v", err)
	}
}

// TestDoorbellOfAHub rings for each event, whatever its size, and begins behind those
// that it was not told of.
func TestDoorbellOfAHub(t *testing.T) {
	for name, size := range map[string]int{"small events": 100, "events larger than what is taken": mostEvent + 1} {
		t.Run(name, func(t *testing.T) {
			e, state := hubsThatRing(t, map[string][][2]int64{"orders": {{0, 99}}})
			state.Event = size
			h := listen(t, openAll(t, azureEventHub, hubAuth(t, e), ringingHub("orders"))[0])
			await(t, "listening", h.listening)
			await(t, "the echo", h.rung)
			for last := int64(100); last < 130; last += 10 {
				state.Hubs["orders"] = [][2]int64{{0, last}}
				answer(t, e, state)
				await(t, "a ring", h.rung)
				await(t, "a ring for what came meanwhile", h.rung)
			}
			if n, err := e.Said("event"); err != nil || size < mostEvent && n != 3 || size > mostEvent && n != 0 {
				t.Errorf("%d events were sent, %v", n, err)
			}
			said(t, e, "receiver", 4)
			h.stop()
			_ = await(t, "the end", h.failed)
			said(t, e, "left", 4-map[bool]int{true: 3}[size > mostEvent])
		})
	}
}

// TestDoorbellsShareAConnection, a receiver for each partition, and let go of both.
func TestDoorbellsShareAConnection(t *testing.T) {
	hubs := map[string][][2]int64{}
	var all []map[string]string
	for i := range 20 {
		hub := fmt.Sprint("hub-", i)
		hubs[hub] = [][2]int64{{0, -1}, {0, -1}}
		for _, group := range []string{"$Default", "other"} { // two questions about each
			all = append(all, joined(ringingHub(hub), map[string]string{"consumerGroup": group}))
		}
	}
	e, state := hubsThatRing(t, hubs)
	heard := make([]*hearing, len(all))
	for i, source := range openAll(t, azureEventHub, hubAuth(t, e), all...) {
		heard[i] = listen(t, source)
	}
	for _, h := range heard {
		await(t, "listening", h.listening)
		await(t, "the echo", h.rung)
	}
	said(t, e, "receiver", 40)
	said(t, e, "connection", 2)
	state.Hubs["hub-7"] = [][2]int64{{0, -1}, {0, 0}}
	answer(t, e, state)
	for _, h := range heard[14:16] {
		await(t, "a ring", h.rung)
	}
	if len(heard[0].rung) > 0 {
		t.Error("another hub has rung")
	}
	heard[0].stop()
	_ = await(t, "the end", heard[0].failed)
	said(t, e, "receiver", 41) // of the partition that has rung
	for _, h := range heard[1:2] {
		h.stop()
		_ = await(t, "the end", h.failed)
	}
	said(t, e, "left", 1+2)
}

// TestDoorbellsOfHubsThatRefuse: listening is refused in words, and reading goes on.
func TestDoorbellsOfHubsThatRefuse(t *testing.T) {
	for name, tt := range map[string]struct {
		state    servers.EventHubsState
		metadata map[string]string
		code     codes.Code
		text     string
	}{
		"five readers":       {servers.EventHubsState{Readers: map[string]int{"orders/sluice/1": 5}}, nil, codes.ResourceExhausted, "consumer group sluice of event hub orders: partition 1 has as many readers of the group as it may have, which are five: give doorbellConsumerGroup one of its own"},
		"no such group":      {servers.EventHubsState{}, map[string]string{"doorbellConsumerGroup": "nothing"}, codes.NotFound, "consumer group nothing of event hub orders: does not exist"},
		"a group of another": {servers.EventHubsState{Stolen: []string{"orders"}}, nil, codes.FailedPrecondition, "consumer group sluice of event hub orders: somebody else reads partition "},
	} {
		t.Run(name, func(t *testing.T) {
			e := servers.EventHubs(t, servers.EventHubsOptions{Authority: trusted})
			tt.state.Hubs = map[string][][2]int64{"orders": {{0, -1}, {0, -1}}, "bills": {{0, -1}}}
			tt.state.Groups = []string{"$Default", doorbellGroup}
			answer(t, e, tt.state)
			sources := openAll(t, azureEventHub, hubAuth(t, e), ringingHub("bills"), joined(ringingHub("orders"), tt.metadata))
			other := listen(t, sources[0])
			await(t, "listening", other.listening)
			h := listen(t, sources[1])
			err := await(t, "a refusal", h.failed)
			if !errors.Is(err, scaler.ErrDoorbellRefused) || status.Code(err) != tt.code || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "hush-hush") {
				t.Errorf("error = %v, want %v %s", err, tt.code, tt.text)
			}
			if _, err := sources[1].Read(within(t)); err != nil {
				t.Errorf("it is not read any more: %v", err)
			}
			// Nothing is left of it, and the others are heard.
			await(t, "the echo", other.rung)
			tt.state.Hubs["bills"] = [][2]int64{{0, 0}}
			answer(t, e, tt.state)
			await(t, "a ring", other.rung)
			said(t, e, "connection", 2)
		})
	}
}

// TestDoorbellOfAHubGoesAndComes: a lost connection ends listening and nothing else.
func TestDoorbellOfAHubGoesAndComes(t *testing.T) {
	e, state := hubsThatRing(t, map[string][][2]int64{"orders": {{0, -1}}})
	source := openAll(t, azureEventHub, hubAuth(t, e), ringingHub("orders"))[0]
	h := listen(t, source)
	await(t, "listening", h.listening)
	if err := e.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := await(t, "the end", h.failed); err == nil || errors.Is(err, scaler.ErrDoorbellRefused) || strings.Contains(err.Error(), busKey) {
		t.Errorf("error = %v", err)
	}
	if err := e.Restart(within(t)); err != nil {
		t.Fatal(err)
	}
	answer(t, e, state)
	_, _ = source.Read(within(t)) // whose connection is lost, too
	h = listen(t, source)
	await(t, "listening", h.listening)
	await(t, "the echo", h.rung)
	state.Hubs["orders"] = [][2]int64{{0, 0}}
	answer(t, e, state)
	await(t, "a ring", h.rung)
}

// TestPartitionsThatAreOthers end listening, and the next attempt hears them.
func TestPartitionsThatAreOthers(t *testing.T) {
	e, state := hubsThatRing(t, map[string][][2]int64{"orders": {{0, -1}}})
	source := openAll(t, azureEventHub, hubAuth(t, e), ringingHub("orders"))[0]
	h := listen(t, source)
	await(t, "listening", h.listening)
	state.Hubs["orders"] = [][2]int64{{0, -1}, {0, -1}}
	answer(t, e, state)
	if _, err := source.Read(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := await(t, "the end", h.failed); !errors.Is(err, errOtherPartitions) {
		t.Errorf("error = %v", err)
	}
	h = listen(t, source)
	await(t, "listening", h.listening)
	await(t, "the echo", h.rung)
	state.Hubs["orders"] = [][2]int64{{0, -1}, {0, 0}}
	answer(t, e, state)
	await(t, "a ring", h.rung)
}

// TestListenedPartitionsAreBounded by hub and by namespace of the cluster.
func TestListenedPartitionsAreBounded(t *testing.T) {
	many := func(n int) (partitions [][2]int64) {
		for range n {
			partitions = append(partitions, [2]int64{0, -1})
		}
		return partitions
	}
	e, _ := hubsThatRing(t, map[string][][2]int64{"huge": many(mostHeardOfHub + 1), "large": many(100), "another": many(100)})
	sources := openAll(t, azureEventHub, hubAuth(t, e), ringingHub("huge"), ringingHub("large"), ringingHub("another"))
	if err := await(t, "a refusal", listen(t, sources[0]).failed); !errors.Is(err, scaler.ErrDoorbellRefused) || !strings.Contains(err.Error(), "event hub huge has more than 128 partitions, which are not listened to") {
		t.Errorf("error = %v", err)
	}
	h := listen(t, sources[1])
	await(t, "listening", h.listening)
	if err := await(t, "a refusal", listen(t, sources[2]).failed); !errors.Is(err, scaler.ErrDoorbellRefused) || !strings.Contains(err.Error(), "more than 128 partitions that are listened to") {
		t.Errorf("error = %v", err)
	}
	h.stop()
	_ = await(t, "the end", h.failed)
	await(t, "listening", listen(t, sources[2]).listening)
}

func TestDoorbellGroups(t *testing.T) {
	family := scalertest.Serve(t, azureEventHub).WithAuth(map[string]string{"connection": storageOfBus, "storageConnection": "UseDevelopmentStorage=true"})
	for group, want := range map[string]string{
		"$default": "doorbellConsumerGroup: is consumerGroup, whose five readers are for those who work",
		"a/b":      "doorbellConsumerGroup: is not the name of a consumer group",
		"..":       "doorbellConsumerGroup: is not the name of a consumer group",
		"a\nb":     "doorbellConsumerGroup: is not the name of a consumer group",
	} {
		_, err := family.Observe(t.Context(), "azure-eventhub", map[string]string{"eventHubName": "orders", "doorbellConsumerGroup": group})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", group, err, want)
		}
	}
}

// TestManyHubsInSessions: Azure has 256 links in a session, two for each hub, and
// what they take counts.
func TestManyHubsInSessions(t *testing.T) {
	hubs := map[string][][2]int64{}
	var all []map[string]string
	for i := range mostCallers + 20 {
		hub := fmt.Sprint("hub-", i)
		hubs[hub] = [][2]int64{{0, int64(i)}}
		all = append(all, map[string]string{"eventHubName": hub, "blobContainer": "nothing"})
	}
	e := hubsOf(t, maps.Clone(hubs))
	sources := openAll(t, azureEventHub, hubAuth(t, e), all...)
	for i, got := range scalertest.ReadAtOnce(t, sources) {
		if got[0].Value != float64(i+1) {
			t.Errorf("hub %d: %v", i, got)
		}
	}
	now := sources[0].(*eventHubSource).hubs.now
	now.mu.Lock()
	defer now.mu.Unlock()
	for _, s := range now.sessions {
		if s.callers > mostCallers {
			t.Errorf("%d callers in a session", s.callers)
		}
	}
	if len(now.sessions) < 2 {
		t.Errorf("%d sessions", len(now.sessions))
	}
	if err := now.held.Set(1 << 40); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("what links take is not counted: %v", err)
	}
}
