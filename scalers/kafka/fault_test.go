package main

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/test/servers"
)

// TestBrokenBrokers breaks real brokers one way after the other. No reading
// ever becomes a zero, and reading goes on by itself afterwards.
func TestBrokenBrokers(t *testing.T) {
	k := servers.Kafka(t, servers.KafkaOptions{Fault: true})
	o := operate(t, k.Bootstrap())
	o.create(2, "orders")
	o.produce("orders", 0, 6)
	o.commit("crew", "orders", 0, 0)

	orders := newLagSource(join(t, k.BootstrapFault()), question{group: "crew", topics: []string{"orders"}})
	healthy := func() {
		t.Helper()
		until(t, func(ctx context.Context) error {
			value, _, err := lag(ctx, t, orders, lagParams{})
			if err == nil && value != 6 {
				t.Fatalf("value = %v, want 6", value)
			}
			return err
		})
	}
	broken := func(limit time.Duration, want codes.Code) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		value, _, err := lag(ctx, t, orders, lagParams{})
		if status.Code(err) != want {
			t.Errorf("read = %v, %v, want %v", value, err, want)
		}
	}
	healthy()

	proxy := k.Faults()[0]
	proxy.Stall()
	broken(time.Second, codes.DeadlineExceeded)
	proxy.Heal()
	healthy()

	l := listenTo(t, orders)
	proxy.Cut()
	broken(patience, codes.Unavailable)
	if err := l.end(); err == nil {
		t.Error("listening ended without an error")
	}
	proxy.Heal()
	healthy()
	l = listenTo(t, orders)
	o.produce("orders", 1, 1)
	l.heard()
	if err := l.close(); err == nil {
		t.Error("listening ended without an error")
	}
}

// until tries again until it works.
func until(t testing.TB, try func(context.Context) error) {
	t.Helper()
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// TestRealDoorbell rings at a real broker, which keeps real fetch sessions.
func TestRealDoorbell(t *testing.T) {
	k := servers.SharedKafka(t)
	o := operate(t, k.Bootstrap())
	topicA, topicB := fresh("bell"), fresh("bell")
	o.create(3, topicA, topicB)
	c := join(t, k.Bootstrap())
	a := newLagSource(c, question{group: "g", topics: []string{topicA}})
	b := newLagSource(c, question{group: "g", topics: []string{topicB}})
	// A broker without groups yet creates their topic first, and a partition
	// that is new has its leader a little later.
	for _, source := range []*lagSource{a, b} {
		until(t, func(ctx context.Context) error {
			_, err := source.Read(ctx)
			return err
		})
	}
	first, second := listenTo(t, a), listenTo(t, b)
	for number := range int32(3) {
		o.produce(topicA, number, 5)
		first.heard()
		if readings, err := a.Read(t.Context()); err != nil || readings[0].EventTime.IsZero() {
			t.Errorf("read %+v, %v, want when the records were made", readings, err)
		}
		second.quiet()
	}
	o.produce(topicB, 0, 1)
	second.heard()

	if _, err := o.admin.DeleteTopics(t.Context(), topicB); err != nil {
		t.Fatal(err)
	}
	o.produce(topicA, 0, 1)
	first.heard()
}
