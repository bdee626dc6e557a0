package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// BenchmarkIdleTriggers measures what the doorbells of idle triggers, each with
// a topic of its own, cost a real broker: the CPU of the one fetch in which all
// are parked, and thereby of one such fetch every parkedTime, in thousandths of
// a core and so of what a broker on one core can do; and the broker's memory.
// One iteration is a hundred fetches, since the CPU for one is little beside
// what a broker does at rest.
func BenchmarkIdleTriggers(b *testing.B) {
	k := servers.Kafka(b, servers.KafkaOptions{HeapMiB: 1024})
	o := operate(b, k.Bootstrap())
	topics := 0
	for _, triggers := range []int{1, 100, 1000, 5000} {
		for ; topics < triggers; topics += 100 {
			var names []string
			for i := range 100 {
				names = append(names, fmt.Sprintf("idle-%d", topics+i))
			}
			o.create(1, names...)
		}
		b.Run(fmt.Sprint(triggers), func(b *testing.B) {
			c := join(b, k.Bootstrap())
			stop := listenToAll(b, c, triggers)
			defer stop()
			measureFetches(b, c, k.Nodes[0])
		})
	}
}

// measureFetches repeats the fetch of all that is parked at a broker.
func measureFetches(b *testing.B, c *cluster, node *servers.Node) {
	b.Helper()
	const broker, times = 1, 100
	c.watcher.mu.Lock()
	parked, _ := c.watcher.parkedAt(broker)
	c.watcher.mu.Unlock()
	client, err := c.watcher.connect(broker) // the other one's fetch is being held
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	p := newParker(c.watcher, broker)
	l := &lane{wait: time.Millisecond, send: func(ctx context.Context, req *kmsg.FetchRequest) (kmsg.Response, error) {
		return client.SeedBrokers()[0].Request(ctx, req)
	}}
	fetch := func() {
		if err := p.fetch(b.Context(), l, parked); err != nil {
			b.Fatal(err)
		}
	}
	for range times { // the session is there, and the broker's code compiled
		fetch()
	}
	var spent time.Duration
	for b.Loop() {
		before := usedBy(b, node)
		for range times {
			fetch()
		}
		spent += usedBy(b, node).CPU - before.CPU
	}
	one := spent / time.Duration(times*b.N)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(one.Seconds()*1000, "cpu-ms/fetch")
	b.ReportMetric(1000*one.Seconds()/parkedTime.Seconds(), "millicores")
	b.ReportMetric(float64(usedBy(b, node).Memory>>20), "MiB")
}

func usedBy(b *testing.B, node *servers.Node) servers.Usage {
	b.Helper()
	u, err := node.Usage()
	if err != nil {
		b.Fatal(err)
	}
	return u
}

// listenToAll has that many triggers listen, each to a topic of its own.
func listenToAll(b *testing.B, c *cluster, triggers int) (stop func()) {
	b.Helper()
	sources := make([]scaler.Source, triggers)
	for i := range sources {
		sources[i] = newLagSource(c, question{group: fmt.Sprintf("crew-%d", i), topics: []string{fmt.Sprintf("idle-%d", i)}})
	}
	for some := range slices.Chunk(sources, 500) {
		until(b, func(ctx context.Context) error { // a topic that is new has its leader a little later
			var errs []error
			for _, result := range scaler.ReadTogether(ctx, c, some...) {
				errs = append(errs, result.Err)
			}
			return errors.Join(errs...)
		})
	}
	ctx, cancel := context.WithCancel(b.Context())
	var all sync.WaitGroup
	ready := make(chan struct{}, triggers)
	for _, source := range sources {
		all.Go(func() {
			_ = source.(*lagSource).Listen(ctx, func() { ready <- struct{}{} }, func() {})
		})
	}
	for range triggers {
		<-ready
	}
	return func() {
		cancel()
		all.Wait()
	}
}
