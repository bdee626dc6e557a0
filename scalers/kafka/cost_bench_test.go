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
// a topic of its own, cost a real broker: its CPU while nothing happens, and
// the records per second of its CPU that a producer to another topic gets
// acknowledged. One iteration is a time of each.
func BenchmarkIdleTriggers(b *testing.B) {
	k := servers.Kafka(b, servers.KafkaOptions{HeapMiB: 1024})
	o := operate(b, k.Bootstrap())
	o.create(1, "busy")
	p := &pressure{b: b, node: k.Nodes[0], servers: k.Bootstrap()}
	p.produce(10 * time.Second) // what is to be compiled and opened is
	topics := 0
	for _, triggers := range []int{0, 1, 100, 1000, 5000} {
		for ; topics < triggers; topics += 100 {
			var names []string
			for i := range 100 {
				names = append(names, fmt.Sprintf("idle-%d", topics+i))
			}
			o.create(1, names...)
		}
		b.Run(fmt.Sprint(triggers), func(b *testing.B) {
			p.b = b
			c := join(b, k.Bootstrap())
			stop := listenToAll(b, c, triggers)
			defer stop()
			p.measure(c)
		})
	}
}

// listenToAll has that many triggers listen, each to a topic of its own.
func listenToAll(b *testing.B, c *cluster, triggers int) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var all sync.WaitGroup
	ready := make(chan struct{}, triggers)
	for i := range triggers {
		s := newLagSource(c, question{group: fmt.Sprintf("crew-%d", i), topics: []string{fmt.Sprintf("idle-%d", i)}})
		all.Go(func() {
			for ctx.Err() == nil { // a topic that is new has its leader a little later
				err := s.Listen(ctx, sync.OnceFunc(func() { ready <- struct{}{} }), func() {})
				if ctx.Err() == nil {
					b.Log(err)
				}
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

// pressure is a producer's, and what it costs a broker.
type pressure struct {
	b       *testing.B
	node    *servers.Node
	servers string
}

func (p *pressure) measure(c *cluster) {
	const each = 5 * time.Second
	fetched := c.traffic.requests[fetchKey].Load()
	var idle, busy time.Duration
	var records int64
	var most int64
	var quiet time.Duration
	for p.b.Loop() {
		before := p.used()
		began := time.Now()
		time.Sleep(each)
		after := p.used()
		quiet += time.Since(began)
		idle += after.CPU - before.CPU
		records += p.produce(each)
		end := p.used()
		busy += end.CPU - after.CPU
		most = max(most, end.Memory)
	}
	p.b.ReportMetric(0, "ns/op")
	p.b.ReportMetric(1000*idle.Seconds()/quiet.Seconds(), "millicores")
	p.b.ReportMetric(float64(records)/busy.Seconds(), "records/cpu-s")
	p.b.ReportMetric(float64(most>>20), "MiB")
	p.b.ReportMetric(float64(c.traffic.requests[fetchKey].Load()-fetched)/p.b.Elapsed().Seconds(), "fetches/s")
}

func (p *pressure) used() servers.Usage {
	u, err := p.node.Usage()
	if err != nil {
		p.b.Fatal(err)
	}
	return u
}

// produce appends records for a time and returns how many were acknowledged.
func (p *pressure) produce(d time.Duration) int64 {
	p.b.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(p.servers), kgo.DefaultProduceTopic("busy"),
		kgo.MaxBufferedRecords(1000), kgo.ProducerBatchMaxBytes(16<<10), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		p.b.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(p.b.Context(), d)
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
		p.b.Fatal(err)
	}
	return acknowledged.Load()
}
