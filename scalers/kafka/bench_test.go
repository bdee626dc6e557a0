package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// BenchmarkRead reads a thousand triggers of one cluster in batches as the
// sampler does, and reports what that costs the cluster.
func BenchmarkRead(b *testing.B) {
	c, sources := manyTriggers(b, 1000, 200)
	before := sent(c)
	moved := c.traffic.read.Load() + c.traffic.written.Load()
	scalertest.ReadAll(b, sources, "groups/s")
	b.ReportMetric(float64(c.traffic.connections.Load()), "connections")
	b.ReportMetric(float64(sent(c)-before)/float64(b.N), "requests/op")
	b.ReportMetric(float64(sent(c)-before)/b.Elapsed().Seconds(), "requests/s")
	b.ReportMetric(float64(c.traffic.read.Load()+c.traffic.written.Load()-moved)/float64(b.N), "bytes/op")
}

// BenchmarkRing measures the time from a record's acknowledgement to the ring,
// with a thousand triggers listening, and the bytes fetched for it.
func BenchmarkRing(b *testing.B) {
	const triggers, topics = 1000, 1000
	c, sources := manyTriggers(b, triggers, topics)
	rung := make(chan struct{}, triggers)
	ready := make(chan struct{}, triggers)
	ctx, stop := context.WithCancel(b.Context())
	var listening sync.WaitGroup
	defer listening.Wait()
	defer stop()
	for _, result := range scaler.ReadTogether(b.Context(), c, sources...) {
		if result.Err != nil {
			b.Fatal(result.Err)
		}
	}
	for _, source := range sources {
		listening.Go(func() {
			err := source.(*lagSource).Listen(ctx, func() { ready <- struct{}{} }, func() { rung <- struct{}{} })
			if !errors.Is(err, context.Canceled) {
				b.Error(err)
			}
		})
	}
	for range triggers {
		<-ready
	}
	producer, err := kgo.NewClient(kgo.SeedBrokers(c.client.OptValue(kgo.SeedBrokers).([]string)...))
	if err != nil {
		b.Fatal(err)
	}
	defer producer.Close()
	fetched := c.traffic.fetched.Load()
	var waited time.Duration
	for i := 0; b.Loop(); i++ {
		source := sources[i%triggers].(*lagSource)
		if err := producer.ProduceSync(b.Context(), &kgo.Record{Topic: source.topics[0], Value: []byte("work")}).FirstErr(); err != nil {
			b.Fatal(err)
		}
		acknowledged := time.Now()
		<-rung
		waited += time.Since(acknowledged)
		if _, err := source.Read(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(waited.Microseconds())/float64(b.N), "µs/ring")
	b.ReportMetric(float64(c.traffic.fetched.Load()-fetched)/float64(b.N), "fetched-bytes/op")
	b.ReportMetric(float64(c.traffic.connections.Load()), "connections")
}

func manyTriggers(b *testing.B, triggers, topics int) (*cluster, []scaler.Source) {
	b.Helper()
	var names []string
	for i := range topics {
		names = append(names, fmt.Sprintf("topic-%d", i))
	}
	_, servers := fakeCluster(b, kfake.NumBrokers(3), kfake.SeedTopics(1, names...))
	c := join(b, servers)
	var sources []scaler.Source
	for i := range triggers {
		sources = append(sources, newLagSource(c, question{
			group: fmt.Sprintf("group-%d", i), topics: []string{names[i%topics]},
		}))
	}
	return c, sources
}

// sent is the number of requests so far.
func sent(c *cluster) (all int64) {
	for key := range c.traffic.requests {
		all += c.traffic.requests[key].Load()
	}
	return all
}
