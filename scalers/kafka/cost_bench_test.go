package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-autoscaler/sluice/test/servers"
)

// BenchmarkIdleTriggers measures what the doorbells of idle triggers, each with
// a topic of its own, cost a real broker, which has the topics anyway: its CPU
// and memory while nothing happens, and what a producer to another topic gets
// for the same CPU.
func BenchmarkIdleTriggers(b *testing.B) {
	k := servers.Kafka(b, servers.KafkaOptions{HeapMiB: 1024})
	o := operate(b, k.Bootstrap())
	o.create(1, "busy")
	p := &pressure{node: k.Nodes[0], servers: k.Bootstrap()}
	p.produce(b, 4*busyTime) // what is to be compiled and opened is
	topics := 0
	for _, triggers := range []int{1, 100, 1000, 5000} {
		for ; topics < triggers; topics += 100 {
			var names []string
			for i := range 100 {
				names = append(names, fmt.Sprintf("idle-%d", topics+i))
			}
			o.create(1, names...)
		}
		p.measure(b) // what new topics make it do is done
		b.Run(fmt.Sprint(triggers), func(b *testing.B) {
			var without, with cost
			for b.Loop() {
				without.add(p.measure(b))
				c := join(b, k.Bootstrap())
				stop := listenToAll(b, c, triggers)
				time.Sleep(parkedTime + time.Second) //nolint:forbidigo // they are one fetch then
				fetched := c.traffic.requests[fetchKey].Load()
				with.add(p.measure(b))
				with.fetches += c.traffic.requests[fetchKey].Load() - fetched
				stop()
			}
			with.report(b, without)
		})
	}
}

const (
	idleTime = 5 * time.Second
	busyTime = 3 * time.Second
)

// listenToAll has that many triggers listen, each to a topic of its own.
func listenToAll(b *testing.B, c *cluster, triggers int) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var all sync.WaitGroup
	ready := make(chan struct{}, triggers)
	for i := range triggers {
		s := newLagSource(c, question{group: fmt.Sprintf("crew-%d", i), topics: []string{fmt.Sprintf("idle-%d", i)}})
		all.Go(func() {
			once := sync.OnceFunc(func() { ready <- struct{}{} })
			for ctx.Err() == nil { // a topic that is new has its leader a little later
				_ = s.Listen(ctx, once, func() {})
			}
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

// cost is what was used and got.
type cost struct {
	idle, busy time.Duration // of the broker's CPU
	took       time.Duration // of the clock, for idle
	records    int64
	memory     int64
	fetches    int64
}

func (c *cost) add(more cost) {
	c.idle += more.idle
	c.busy += more.busy
	c.took += more.took
	c.records += more.records
	c.memory = max(c.memory, more.memory)
}

func (c cost) report(b *testing.B, without cost) {
	millicores := func(c cost) float64 { return 1000 * c.idle.Seconds() / c.took.Seconds() }
	rate := func(c cost) float64 { return float64(c.records) / c.busy.Seconds() }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(millicores(without), "millicores-without")
	b.ReportMetric(millicores(c), "millicores")
	b.ReportMetric(rate(without), "records/cpu-s-without")
	b.ReportMetric(rate(c), "records/cpu-s")
	b.ReportMetric(float64(without.memory>>20), "MiB-without")
	b.ReportMetric(float64(c.memory>>20), "MiB")
	b.ReportMetric(float64(c.fetches)/(c.took+time.Duration(float64(c.took)*busyTime.Seconds()/idleTime.Seconds())).Seconds(), "fetches/s")
}

// pressure is a producer's on a broker.
type pressure struct {
	node    *servers.Node
	servers string
}

// measure leaves the broker alone for a time and has it work for another.
func (p *pressure) measure(b *testing.B) cost {
	b.Helper()
	began, before := time.Now(), p.used(b)
	time.Sleep(idleTime) //nolint:forbidigo // a time in which nothing happens is what is measured
	took, rest := time.Since(began), p.used(b)
	records := p.produce(b, busyTime)
	end := p.used(b)
	return cost{idle: rest.CPU - before.CPU, took: took, busy: end.CPU - rest.CPU, records: records, memory: end.Memory}
}

func (p *pressure) used(b *testing.B) servers.Usage {
	b.Helper()
	u, err := p.node.Usage()
	if err != nil {
		b.Fatal(err)
	}
	return u
}

// produce appends records for a time and returns how many were acknowledged.
func (p *pressure) produce(b *testing.B, d time.Duration) int64 {
	b.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(p.servers), kgo.DefaultProduceTopic("busy"),
		kgo.MaxBufferedRecords(1000), kgo.ProducerBatchMaxBytes(16<<10), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(b.Context(), d)
	defer cancel()
	var acknowledged atomic.Int64
	value := make([]byte, 200)
	for ctx.Err() == nil {
		client.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err == nil {
				acknowledged.Add(1)
			}
		})
	}
	if err := client.Flush(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		b.Fatal(err)
	}
	return acknowledged.Load()
}
