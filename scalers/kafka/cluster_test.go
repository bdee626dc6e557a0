package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// fakeCluster speaks Kafka's protocol in this process and can fail one chosen
// request.
func fakeCluster(t testing.TB, options ...kfake.Opt) (*kfake.Cluster, string) {
	t.Helper()
	fake, err := kfake.NewCluster(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	return fake, strings.Join(fake.ListenAddrs(), ",")
}

// join connects as the family does.
func join(t testing.TB, servers string, secured ...security) *cluster {
	t.Helper()
	at := endpoint{servers: seeds(strings.Split(servers, ","))}
	if len(secured) > 0 {
		at.security = secured[0]
	}
	c, err := at.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// operator is who fills topics and commits offsets.
type operator struct {
	t      testing.TB
	client *kgo.Client
	admin  *kadm.Client
}

func operate(t testing.TB, servers string) operator {
	t.Helper()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(servers, ",")...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return operator{t, client, kadm.NewClient(client)}
}

// create makes topics, and returns when the broker leads all their partitions.
func (o operator) create(partitions int32, topics ...string) {
	o.t.Helper()
	made, err := o.admin.CreateTopics(o.t.Context(), partitions, 1, nil, topics...)
	if err == nil {
		err = made.Error()
	}
	if err != nil {
		o.t.Fatal(err)
	}
	until(o.t, func(ctx context.Context) error {
		ends, err := o.admin.ListEndOffsets(ctx, topics...)
		if err != nil {
			return err
		}
		return ends.Error()
	})
}

// used counts the names that fresh gave.
var used atomic.Int64

// fresh makes a name of a topic or group that no test used before on the
// broker they share.
func fresh(name string) string { return fmt.Sprintf("%s-%d", name, used.Add(1)) }

// produce appends records to one partition and returns when they are
// acknowledged.
func (o operator) produce(topic string, number int32, count int) {
	o.t.Helper()
	records := make([]*kgo.Record, count)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Partition: number, Value: []byte("work")}
	}
	if err := o.client.ProduceSync(o.t.Context(), records...).FirstErr(); err != nil {
		o.t.Fatal(err)
	}
}

// commit commits offsets for partitions 0 and up. A broker without groups yet
// creates their topic first, so it is tried until it works.
func (o operator) commit(group, topic string, offsets ...int64) {
	o.t.Helper()
	all := make(kadm.Offsets)
	for number, offset := range offsets {
		all.AddOffset(topic, int32(number), offset, -1)
	}
	until(o.t, func(ctx context.Context) error { return o.admin.CommitAllOffsets(ctx, group, all) })
}

// lag is what a trigger with these parameters makes of a source.
func lag(ctx context.Context, t testing.TB, s *lagSource, p lagParams) (value, activity float64, err error) {
	t.Helper()
	readings, err := s.Read(ctx)
	if err != nil {
		return 0, 0, err
	}
	return shaped(p, readings)
}

func shaped(p lagParams, readings []scaler.Reading) (value, activity float64, err error) {
	if p.LagThreshold == 0 {
		p.LagThreshold = 10
	}
	if p.OffsetResetPolicy == "" {
		p.OffsetResetPolicy = latest
	}
	made := p.shape(readings, interval)
	return made[0].Value, made[0].Activity, nil
}

// message is the text a user reads.
func message(err error) string {
	if err == nil {
		return ""
	}
	return status.Convert(err).Message()
}

// consume joins a group and commits nothing.
func consume(t testing.TB, servers, group, topic string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(servers, ",")...),
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
}
