package brokers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// KafkaTopic is a topic and the group that consumes it.
type KafkaTopic struct {
	bootstrap, topic, group string
	client                  *kgo.Client
	admin                   *kadm.Client
}

// NewKafkaTopic makes a topic with partitions, and a group that has consumed
// all of nothing.
func NewKafkaTopic(ctx context.Context, bootstrap, topic, group string, partitions int32) (*KafkaTopic, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		return nil, err
	}
	k := &KafkaTopic{bootstrap: bootstrap, topic: topic, group: group, client: client, admin: kadm.NewClient(client)}
	if _, err := k.admin.CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		client.Close()
		return nil, fmt.Errorf("create topic %s: %w", topic, err)
	}
	start := kadm.Offsets{}
	for p := range partitions {
		start.AddOffset(topic, p, 0, -1)
	}
	if err := k.commitFirst(ctx, start); err != nil {
		client.Close()
		return nil, fmt.Errorf("commit offsets of group %s: %w", group, err)
	}
	if err := k.led(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("leaders of topic %s: %w", topic, err)
	}
	return k, nil
}

// led waits until each partition of a new topic has a leader that knows it.
func (k *KafkaTopic) led(ctx context.Context) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		offsets, err := k.admin.ListEndOffsets(ctx, k.topic)
		if err == nil {
			err = offsets.Error()
		}
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

// commitFirst commits the first offsets. Kafka answers the creation of a topic
// a moment before all of it knows the topic.
func (k *KafkaTopic) commitFirst(ctx context.Context, offsets kadm.Offsets) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := k.admin.CommitAllOffsets(ctx, k.group, offsets)
		if !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

// Produce implements Queue.
func (k *KafkaTopic) Produce(ctx context.Context, n int) error {
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{Topic: k.topic, Value: []byte("message " + strconv.Itoa(i))}
	}
	return k.client.ProduceSync(ctx, records...).FirstErr()
}

// Consume implements Queue: it moves the group's committed offsets as a
// consumer would that has done its work.
func (k *KafkaTopic) Consume(ctx context.Context, n int) error {
	lags, err := k.lag(ctx)
	if err != nil {
		return err
	}
	commit, left := kadm.Offsets{}, int64(n)
	for _, l := range lags.Sorted() {
		take := min(l.Lag, left)
		if take <= 0 {
			continue
		}
		left -= take
		commit.AddOffset(l.Topic, l.Partition, l.Commit.At+take, -1)
	}
	if len(commit) == 0 {
		return nil
	}
	return k.admin.CommitAllOffsets(ctx, k.group, commit)
}

// Backlog implements Queue.
func (k *KafkaTopic) Backlog(ctx context.Context) (int64, error) {
	lags, err := k.lag(ctx)
	if err != nil {
		return 0, err
	}
	return lags.Total(), nil
}

func (k *KafkaTopic) lag(ctx context.Context) (kadm.GroupLag, error) {
	commits, err := k.admin.FetchOffsets(ctx, k.group)
	if err != nil {
		return nil, err
	}
	ends, err := k.admin.ListEndOffsets(ctx, k.topic)
	if err != nil {
		return nil, err
	}
	return kadm.CalculateGroupLag(kadm.DescribedGroup{State: "Empty"}, commits, ends), nil
}

// Trigger implements Queue.
func (k *KafkaTopic) Trigger(perReplica int) Trigger {
	return Trigger{Type: "kafka", Metadata: map[string]string{
		"bootstrapServers": k.bootstrap,
		"consumerGroup":    k.group,
		"topic":            k.topic,
		"lagThreshold":     strconv.Itoa(perReplica),
	}}
}

// Close implements Queue.
func (k *KafkaTopic) Close() { k.client.Close() }
