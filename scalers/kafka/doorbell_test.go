package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// listened is a source that is being listened to.
type listened struct {
	t     testing.TB
	rings chan struct{}
	ended chan error
	stop  context.CancelFunc
}

// listenTo reads and then listens, as the sampler does.
func listenTo(t testing.TB, s *lagSource) *listened {
	t.Helper()
	read(t, s)
	return listen(t, s)
}

// listen starts listening and returns once an arrival would ring.
func listen(t testing.TB, s *lagSource) *listened {
	t.Helper()
	l, ready := begin(t, s)
	select {
	case <-ready:
	case err := <-l.ended:
		l.ended <- err
		t.Fatalf("listening ended: %v", err)
	case <-time.After(patience):
		t.Fatal("not listening")
	}
	return l
}

// begin starts listening; ready is closed once an arrival would ring.
func begin(t testing.TB, s *lagSource) (l *listened, ready chan struct{}) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l = &listened{t: t, rings: make(chan struct{}, 100), ended: make(chan error, 1), stop: stop}
	ready = make(chan struct{})
	go func() {
		l.ended <- s.Listen(ctx, func() { close(ready) }, func() { l.rings <- struct{}{} })
	}()
	t.Cleanup(func() { l.close() })
	return l, ready
}

func (l *listened) close() error {
	l.stop()
	select {
	case err := <-l.ended:
		l.ended <- err
		return err
	case <-time.After(patience):
		l.t.Fatal("listening does not end")
		return nil
	}
}

// heard waits for a ring.
func (l *listened) heard() {
	l.t.Helper()
	select {
	case <-l.rings:
	case err := <-l.ended:
		l.ended <- err
		l.t.Fatalf("listening ended: %v", err)
	case <-time.After(patience):
		l.t.Fatal("no ring")
	}
}

// quiet checks that nothing has rung so far.
func (l *listened) quiet() {
	l.t.Helper()
	select {
	case <-l.rings:
		l.t.Fatal("rang")
	default:
	}
}

// end waits for listening to end by itself.
func (l *listened) end() error {
	l.t.Helper()
	select {
	case err := <-l.ended:
		l.ended <- err
		return err
	case <-time.After(patience):
		l.t.Fatal("listening goes on")
		return nil
	}
}

func read(t testing.TB, s *lagSource) {
	t.Helper()
	if _, err := s.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestDoorbell(t *testing.T) {
	_, servers := fakeCluster(t, kfake.NumBrokers(2), kfake.SeedTopics(3, "orders", "bills"))
	o := operate(t, servers)
	c := join(t, servers)
	orders := newLagSource(c, question{group: "workers", topics: []string{"orders"}})
	others := newLagSource(c, question{group: "others", topics: []string{"orders"}})
	bills := newLagSource(c, question{group: "workers", topics: []string{"bills"}})
	first, second, third := listenTo(t, orders), listenTo(t, others), listenTo(t, bills)

	for number := range int32(3) {
		o.produce("orders", number, 1)
		first.heard()
		second.heard()
		read(t, orders) // parked again at the new end
		read(t, others)
	}
	third.quiet()
	o.produce("bills", 2, 1)
	third.heard()
	first.quiet()
	second.quiet()

	if err := first.close(); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v, want canceled", err)
	}
	o.produce("orders", 0, 1)
	second.heard()
	first.quiet()
}

// TestRungOnce proves that a busy topic is not fetched from until the trigger
// has been read.
func TestRungOnce(t *testing.T) {
	_, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders", "bills"))
	o := operate(t, servers)
	c := join(t, servers)
	orders := newLagSource(c, question{group: "workers", topics: []string{"orders"}})
	bills := newLagSource(c, question{group: "workers", topics: []string{"bills"}})
	busy, other := listenTo(t, orders), listenTo(t, bills)
	o.produce("orders", 0, 1)
	busy.heard()
	fetched := c.traffic.fetched.Load()
	for range 50 {
		o.produce("orders", 0, 100)
	}
	o.produce("bills", 0, 1) // fetches go on at the same broker
	other.heard()
	busy.quiet()
	if grown := c.traffic.fetched.Load() - fetched; grown > 1000 {
		t.Errorf("fetched %d bytes for one record", grown)
	}
}

// TestRecordsTellWhenTheyArrived has the read after a ring know when the record
// that rang was made, and one that nothing rang for know nothing.
func TestRecordsTellWhenTheyArrived(t *testing.T) {
	_, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"))
	o := operate(t, servers)
	orders := newLagSource(join(t, servers), question{group: "workers", topics: []string{"orders"}})
	l := listenTo(t, orders)
	arrived := func() time.Time {
		t.Helper()
		readings, err := orders.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return readings[0].EventTime
	}
	if at := arrived(); !at.IsZero() {
		t.Errorf("nothing arrived, at %s", at)
	}
	before := time.Now().Truncate(time.Millisecond)
	o.produce("orders", 1, 1)
	after := time.Now()
	l.heard()
	if at := arrived(); at.Before(before) || at.After(after) {
		t.Errorf("arrived at %s, want between %s and %s", at, before, after)
	}
	if at := arrived(); !at.IsZero() {
		t.Errorf("nothing new arrived, at %s", at)
	}
}

func TestArrival(t *testing.T) {
	now := time.Date(2026, time.May, 1, 12, 0, 0, 0, time.UTC)
	ms := func(ago time.Duration) int64 { return now.Add(-ago).UnixMilli() }
	tests := map[string]struct {
		batch kmsg.RecordBatch
		cut   int // bytes that are missing at the end
		want  time.Duration
		none  bool
	}{
		"the producer's time, of the first record": {batch: kmsg.RecordBatch{FirstTimestamp: ms(3 * time.Second), MaxTimestamp: ms(time.Second)}, want: 3 * time.Second},
		"the broker's time":                        {batch: kmsg.RecordBatch{Attributes: 1 << 3, FirstTimestamp: ms(30 * time.Second), MaxTimestamp: ms(time.Second)}, want: time.Second},
		"a time of long ago":                       {batch: kmsg.RecordBatch{FirstTimestamp: ms(24 * time.Hour)}, none: true},
		"a time to come":                           {batch: kmsg.RecordBatch{FirstTimestamp: ms(-time.Second)}, none: true},
		"no time":                                  {batch: kmsg.RecordBatch{FirstTimestamp: -1}, none: true},
		"records of before":                        {batch: kmsg.RecordBatch{FirstOffset: -2, FirstTimestamp: ms(time.Second)}, none: true},
		"an older format":                          {batch: kmsg.RecordBatch{Magic: -1, FirstTimestamp: ms(time.Second)}, none: true},
		"half a batch":                             {batch: kmsg.RecordBatch{FirstTimestamp: ms(time.Second)}, cut: 10, none: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			const parked = 7
			b := tt.batch
			b.FirstOffset, b.Magic = parked+b.FirstOffset, 2+b.Magic
			b.Length = int32(len(b.AppendTo(nil)) - 12)
			bytes := b.AppendTo(nil)
			got := arrival(bytes[:len(bytes)-tt.cut], parked, now)
			if want := now.Add(-tt.want); tt.none != got.IsZero() || !tt.none && !got.Equal(want) {
				t.Errorf("arrived at %s, want %s", got, want)
			}
		})
	}
	if at := arrival(nil, 0, now); !at.IsZero() {
		t.Errorf("nothing arrived at %s", at)
	}
}

// TestNothingIsMissed proves that what arrives between a read and listening
// rings.
func TestNothingIsMissed(t *testing.T) {
	_, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	o := operate(t, servers)
	orders := newLagSource(join(t, servers), question{group: "workers", topics: []string{"orders"}})
	read(t, orders)
	o.produce("orders", 0, 1)
	listen(t, orders).heard()
}

// TestNewPartitionsRing proves that partitions which a read finds are parked
// at as well.
func TestNewPartitionsRing(t *testing.T) {
	_, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	o := operate(t, servers)
	orders := newLagSource(join(t, servers), question{group: "workers", topics: []string{"orders"}})
	l := listenTo(t, orders)
	if _, err := o.admin.CreatePartitions(t.Context(), 2, "orders"); err != nil {
		t.Fatal(err)
	}
	read(t, orders)
	o.client.ForceMetadataRefresh()
	o.produce("orders", 2, 1)
	l.heard()
}

// TestRecreatedTopicRings proves that a topic created anew under its name is
// heard, though it ends before where it was parked.
func TestRecreatedTopicRings(t *testing.T) {
	fake, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	o := operate(t, servers)
	o.produce("orders", 0, 10)
	orders := newLagSource(join(t, servers), question{group: "workers", topics: []string{"orders"}})
	l := listenTo(t, orders)
	if err := fake.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	if err := fake.CreateTopic("orders", 1, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-l.rings:
		read(t, orders)
	case err := <-l.ended: // or the broker says that it is gone: listening starts anew
		l.ended <- err
		l = listenTo(t, orders)
	case <-time.After(patience):
		t.Fatal("nothing noticed")
	}
	operate(t, servers).produce("orders", 0, 1)
	l.heard()
}

func TestListeningEnds(t *testing.T) {
	tests := map[string]struct {
		err     *kerr.Error
		refused bool
		message string
	}{
		"without the permission to read": {
			err: kerr.TopicAuthorizationFailed, refused: true,
			message: "doorbell refused: fetching from topic orders needs the permission Read on it"},
		"with a partition that cannot be fetched from": {
			err:     kerr.UnsupportedForMessageFormat,
			message: "topic orders partition 0: UNSUPPORTED_FOR_MESSAGE_FORMAT: The message format version on the broker does not support the request."},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			fake, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders", "bills"))
			o := operate(t, servers)
			c := join(t, servers)
			bills := listenTo(t, newLagSource(c, question{group: "g", topics: []string{"bills"}}))
			fault := fake.Fault(kfake.Fault{Keys: []kmsg.Key{fetchKey}, Topic: "orders", Err: tt.err, Count: -1})
			orders := newLagSource(c, question{group: "g", topics: []string{"orders"}})
			read(t, orders)
			refused, _ := begin(t, orders) // the refusal may come before anything else
			err := refused.end()
			if errors.Is(err, scaler.ErrDoorbellRefused) != tt.refused || message(err) != tt.message && err.Error() != tt.message {
				t.Errorf("ended with %v, want %q", err, tt.message)
			}
			o.produce("bills", 0, 1)
			bills.heard() // the others go on

			fault.Remove()
			again := listenTo(t, orders)
			o.produce("orders", 0, 1)
			again.heard()
		})
	}
}

// TestMovedLeader moves one partition to another broker, where it is heard after
// the read that the move rings for. Nobody stops listening: neither to the other
// partitions of its topic, nor to other topics of its broker.
func TestMovedLeader(t *testing.T) {
	fake, servers := fakeCluster(t, kfake.NumBrokers(2), kfake.SeedTopics(2, "orders", "bills"))
	o := operate(t, servers)
	c := join(t, servers)
	const before, after = 0, 1
	for _, topic := range []string{"orders", "bills"} {
		for number := range int32(2) {
			if err := fake.MoveTopicPartition(topic, number, before); err != nil {
				t.Fatal(err)
			}
		}
	}
	orders := newLagSource(c, question{group: "g", topics: []string{"orders"}})
	bills := newLagSource(c, question{group: "g", topics: []string{"bills"}})
	moved, other := listenTo(t, orders), listenTo(t, bills)
	if err := fake.MoveTopicPartition("orders", 0, after); err != nil {
		t.Fatal(err)
	}
	moved.heard()
	read(t, orders)
	o.client.ForceMetadataRefresh()
	for number := range int32(2) {
		o.produce("orders", number, 1)
		moved.heard()
		read(t, orders)
	}
	other.quiet()
	o.produce("bills", 0, 1)
	other.heard()
	for _, l := range []*listened{moved, other} {
		if err := l.close(); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v, want it to go on", err)
		}
	}
}

// TestBrokerLost proves that who listens at a broker that goes hears of it, and
// goes on at the new leader.
func TestBrokerLost(t *testing.T) {
	fake, servers := fakeCluster(t, kfake.NumBrokers(3), kfake.SeedTopics(1, "orders"))
	c := join(t, servers)
	orders := newLagSource(c, question{group: "g", topics: []string{"orders"}})
	l := listenTo(t, orders)
	if err := fake.RemoveNode(fake.LeaderFor("orders", 0)); err != nil {
		t.Fatal(err)
	}
	// A connection that stood is told that the partition has moved, one that
	// is made now is refused.
	select {
	case <-l.rings:
		read(t, orders)
	case err := <-l.ended:
		l.ended <- err
		if err == nil {
			t.Error("ended without an error")
		}
		l = listenTo(t, orders)
	case <-time.After(patience):
		t.Fatal("neither rings nor ends")
	}
	operate(t, servers).produce("orders", 0, 1)
	l.heard()
}

// TestSessions proves that a broker without sessions, and one that forgets
// them, are heard all the same.
func TestSessions(t *testing.T) {
	t.Run("none", func(t *testing.T) {
		_, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"),
			kfake.BrokerConfigs(map[string]string{"max.incremental.fetch.session.cache.slots": "0"}))
		ringTwice(t, servers)
	})
	t.Run("lost", func(t *testing.T) {
		fake, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
		fake.Fault(kfake.Fault{Keys: []kmsg.Key{fetchKey}, TopLevel: true, Err: kerr.FetchSessionIDNotFound, Count: 1,
			When: func(req kmsg.Request) bool { return req.(*kmsg.FetchRequest).SessionEpoch > 0 }})
		ringTwice(t, servers)
	})
}

func ringTwice(t *testing.T, servers string) {
	t.Helper()
	o := operate(t, servers)
	orders := newLagSource(join(t, servers), question{group: "g", topics: []string{"orders"}})
	l := listenTo(t, orders)
	for range 2 {
		o.produce("orders", 0, 1)
		l.heard()
		read(t, orders)
	}
}

// TestNewcomersAreHeard has the fetch in which all are parked be held for ever.
// Who comes while it is out is heard by another.
func TestNewcomersAreHeard(t *testing.T) {
	fake, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders", "bills"))
	held := make(chan struct{}, 1)
	fake.ControlKey(fetchKey, func(req kmsg.Request) (kmsg.Response, error, bool) {
		if int64(req.(*kmsg.FetchRequest).MaxWaitMillis) != parkedTime.Milliseconds() {
			return nil, nil, false
		}
		fake.KeepControl()
		held <- struct{}{}
		return nil, nil, true
	})
	c := join(t, servers)
	listenTo(t, newLagSource(c, question{group: "g", topics: []string{"orders"}}))
	<-held
	bills := newLagSource(c, question{group: "g", topics: []string{"bills"}})
	l := listenTo(t, bills)
	o := operate(t, servers)
	for range 2 {
		o.produce("bills", 0, 1)
		l.heard()
		read(t, bills)
	}
}

// TestManyListeners proves that the doorbells of a thousand triggers share
// two fetches per broker and their connections.
func TestManyListeners(t *testing.T) {
	const brokers, topics, triggers = 2, 100, 1000
	var names []string
	for i := range topics {
		names = append(names, fmt.Sprintf("topic-%d", i))
	}
	_, servers := fakeCluster(t, kfake.NumBrokers(brokers), kfake.SeedTopics(2, names...))
	c := join(t, servers)
	ctx, stop := context.WithCancel(t.Context())
	rung := make(chan int, triggers)
	ended := make(chan error, triggers)
	listening := make(chan struct{}, triggers)
	sources := make([]scaler.Source, triggers)
	for i := range sources {
		sources[i] = newLagSource(c, question{group: fmt.Sprintf("group-%d", i), topics: []string{names[i%topics]}})
	}
	for _, result := range scaler.ReadTogether(t.Context(), c, sources...) {
		if result.Err != nil {
			t.Fatal(result.Err)
		}
	}
	for i, source := range sources {
		go func() {
			ended <- source.(*lagSource).Listen(ctx, func() { listening <- struct{}{} }, func() { rung <- i })
		}()
	}
	for range triggers {
		select {
		case <-listening:
		case err := <-ended:
			t.Fatalf("listening ended: %v", err)
		case <-time.After(patience):
			t.Fatal("not all listen")
		}
	}
	operate(t, servers).produce(names[7], 1, 1)
	for range triggers / topics {
		select {
		case i := <-rung:
			if i%topics != 7 {
				t.Errorf("trigger %d was rung for another topic", i)
			}
		case <-time.After(patience):
			t.Fatal("not all were rung")
		}
	}
	if open := c.traffic.connections.Load(); open > 1+3*brokers {
		t.Errorf("%d connections for %d triggers, want at most %d", open, triggers, 1+3*brokers)
	}
	if asked := c.traffic.requests[metadataKey].Load(); asked > 10 {
		t.Errorf("%d requests for metadata, want a few: listening itself asks for none", asked)
	}
	stop()
	for range triggers {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("listening ended: %v", err)
		}
	}
	c.watcher.mu.Lock()
	defer c.watcher.mu.Unlock()
	if len(c.watcher.logs) != 0 {
		t.Errorf("%d partitions are still parked at", len(c.watcher.logs))
	}
}
