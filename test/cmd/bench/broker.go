package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-autoscaler/sluice/test/servers"
)

// broker is the Kafka cluster that all objects look at, with one client that
// plays all producers and consumers.
type broker struct {
	address netip.AddrPort
	client  *kgo.Client
	admin   *kadm.Client
	wire    *wire // nil where the broker is not in this process
	end     func()
}

func startBroker(ctx context.Context, o options, address string) (*broker, error) {
	b := &broker{}
	var err error
	switch o.Broker {
	case "", "kfake":
		err = b.startFake(ctx, address)
	case "kafka":
		err = b.startKafka(ctx, address)
	default:
		err = fmt.Errorf("BROKER=%s: choose kfake or kafka", o.Broker)
	}
	if err != nil {
		return nil, err
	}
	if b.client, err = kgo.NewClient(kgo.SeedBrokers(b.address.String())); err != nil {
		b.end()
		return nil, err
	}
	b.admin = kadm.NewClient(b.client)
	if err := b.makeTopics(ctx, o); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *broker) startFake(ctx context.Context, address string) error {
	b.wire = newWire()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(0), kfake.ListenFn(func(network, _ string) (net.Listener, error) {
		listener, err := new(net.ListenConfig).Listen(ctx, network, net.JoinHostPort(address, "0"))
		if err != nil {
			return nil, err
		}
		return b.wire.tap(listener), nil
	}))
	if err != nil {
		return err
	}
	b.end = cluster.Close
	b.address, err = netip.ParseAddrPort(cluster.ListenAddrs()[0])
	return err
}

func (b *broker) startKafka(ctx context.Context, address string) error {
	server, err := servers.StartKafka(ctx, servers.KafkaOptions{Address: address, HeapMiB: 512})
	if err != nil {
		return err
	}
	b.end = func() { _ = server.Close() }
	b.address, err = netip.ParseAddrPort(server.Bootstrap())
	return err
}

func (b *broker) close() {
	b.client.Close()
	b.end()
}

func topicName(n int) string { return fmt.Sprintf("topic-%d", n) }

// makeTopics makes all topics, and for each object a group that has consumed
// all of nothing.
func (b *broker) makeTopics(ctx context.Context, o options) error {
	names := make([]string, o.Topics)
	for i := range names {
		names[i] = topicName(i)
	}
	made, err := b.admin.CreateTopics(ctx, int32(o.Partitions), 1, nil, names...)
	if err = errors.Join(err, made.Error()); err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	return parallel(ctx, o.Objects, func(ctx context.Context, i int) error {
		start := kadm.Offsets{}
		for p := range int32(o.Partitions) {
			start.AddOffset(topicName(o.topicOf(i)), p, 0, -1)
		}
		return b.admin.CommitAllOffsets(ctx, objectName(i), start)
	})
}

// topicOf is the number of an object's topic: its own for the first objects,
// a shared one for the others.
func (o options) topicOf(object int) int {
	if object < o.alone() {
		return object
	}
	return o.alone() + (object-o.alone())%(o.Topics-o.alone())
}

// produce adds messages to a topic, in one batch, and returns when the broker
// has acknowledged them.
func (b *broker) produce(ctx context.Context, topic string, messages int) error {
	records := make([]*kgo.Record, messages)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Value: []byte("message")}
	}
	return b.client.ProduceSync(ctx, records...).FirstErr()
}

// consume commits the end of a topic for a group.
func (b *broker) consume(ctx context.Context, topic, group string) error {
	ends, err := b.admin.ListEndOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return err
	}
	return b.admin.CommitAllOffsets(ctx, group, ends.Offsets())
}

// workers is how many requests of the bench itself run at once.
const workers = 16

// parallel calls do for all numbers below n, and stops at the first error.
func parallel(ctx context.Context, n int, do func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	numbers := make(chan int)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range numbers {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range n {
		select {
		case numbers <- i:
		case <-ctx.Done():
		}
	}
	close(numbers)
	all.Wait()
	return context.Cause(ctx)
}
