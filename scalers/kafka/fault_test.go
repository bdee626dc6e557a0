package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
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
	topicA, topicB := fresh("doorbell"), fresh("doorbell")
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

// TestThreeBrokers does to a real cluster what one broker alone cannot show.
func TestThreeBrokers(t *testing.T) {
	k := servers.Kafka(t, servers.KafkaOptions{Brokers: 3})
	t.Run("a leader moves", func(t *testing.T) { leaderMoves(t, k) })
	t.Run("a broker is frozen", func(t *testing.T) { brokerIsFrozen(t, k) })
}

// leaderMoves moves one partition to another broker, where it is heard after the
// read that the move rings for. Nobody stops listening.
func leaderMoves(t *testing.T, k *servers.KafkaServer) {
	o := operate(t, k.Bootstrap())
	const before, after = 1, 3
	topic, neighbour := o.topicOnEach(before)[before], o.topicOnEach(before)[before]
	c := join(t, k.Bootstrap())
	source := newLagSource(c, question{group: fresh("g"), topics: []string{topic}})
	beside := newLagSource(c, question{group: fresh("g"), topics: []string{neighbour}})
	until(t, func(ctx context.Context) error { return errors.Join(scan(ctx, source), scan(ctx, beside)) })
	moved, other := listenTo(t, source), listenTo(t, beside)
	o.move(topic, after)
	until(t, func(ctx context.Context) error {
		err := scan(ctx, source)
		if at := source.places[partition{topic, 0}].leader; err == nil && at != after {
			err = fmt.Errorf("the leader is still %d", at)
		}
		return err
	})
	for len(moved.rings) > 0 {
		<-moved.rings
	}
	o.client.ForceMetadataRefresh()
	o.produce(topic, 0, 1)
	moved.heard()
	o.produce(neighbour, 0, 1)
	other.heard()
	for _, l := range []*listened{moved, other} {
		if err := l.close(); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v, want it to go on", err)
		}
	}
}

// brokerIsFrozen stops the process of one broker. Triggers whose topic and group
// are at the others are read in the same batch as those at the frozen one, which
// fail alone and are read again once it runs.
func brokerIsFrozen(t *testing.T, k *servers.KafkaServer) {
	o := operate(t, k.Bootstrap())
	const frozen = 2
	topics := o.topicOnEach(1, frozen, 3)
	groups := o.groupOnEach(topics[1], 1, frozen, 3)
	c := join(t, k.Bootstrap())
	var sources []*lagSource
	var well, sick, lost []int
	for node, topic := range topics {
		for at, group := range groups {
			i := len(sources)
			if node == frozen {
				lost = append(lost, i)
			}
			if node == frozen || at == frozen {
				sick = append(sick, i)
			} else {
				well = append(well, i)
			}
			sources = append(sources, newLagSource(c, question{group: group, topics: []string{topic}}))
		}
	}
	expect(t, batch(t.Context(), c, sources), append(well, sick...)...)

	if err := k.Nodes[frozen-1].Stop(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		answers := batch(ctx, c, sources)
		expect(t, answers, well...)
		cancel()
		for a := range answers {
			if a.Err == nil && slices.Contains(lost, a.i) {
				t.Errorf("member %d was read without the broker it needs", a.i)
			}
		}
	}
	if err := k.Nodes[frozen-1].Continue(); err != nil {
		t.Fatal(err)
	}
	for _, i := range sick {
		until(t, func(ctx context.Context) error {
			_, err := sources[i].Read(ctx)
			return err
		})
	}
}

// scan reads a source.
func scan(ctx context.Context, s *lagSource) error {
	_, err := s.Read(ctx)
	return err
}

// move makes a broker the only one that keeps a topic's partition.
func (o operator) move(topic string, node int32) {
	o.t.Helper()
	var to kadm.AlterPartitionAssignmentsReq
	to.Assign(topic, 0, []int32{node})
	moved, err := o.admin.AlterPartitionAssignments(o.t.Context(), to)
	if err == nil {
		err = moved.Error()
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// topicOnEach creates a topic on each of these brokers, with no replica
// elsewhere.
func (o operator) topicOnEach(nodes ...int32) map[int32]string {
	o.t.Helper()
	topics := make(map[int32]string)
	req := kmsg.NewPtrCreateTopicsRequest()
	for _, node := range nodes {
		topics[node] = fresh("on")
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = topics[node], -1, -1
		place := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		place.Replicas = []int32{node}
		topic.ReplicaAssignment = append(topic.ReplicaAssignment, place)
		req.Topics = append(req.Topics, topic)
	}
	resp, err := req.RequestWith(o.t.Context(), o.client)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, made := range resp.Topics {
		if err := kerr.ErrorForCode(made.ErrorCode); err != nil {
			o.t.Fatal(err)
		}
	}
	return topics
}

// groupOnEach finds a group for each of these brokers that it coordinates, and
// commits its offset 0 of a topic.
func (o operator) groupOnEach(topic string, nodes ...int32) map[int32]string {
	o.t.Helper()
	groups := make(map[int32]string)
	for len(groups) < len(nodes) {
		group := fresh("group")
		o.commit(group, topic, 0)
		until(o.t, func(ctx context.Context) error {
			at := o.admin.FindGroupCoordinators(ctx, group)
			if at[group].Err == nil {
				groups[at[group].NodeID] = group
			}
			return at[group].Err
		})
	}
	return groups
}
