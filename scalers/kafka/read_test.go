package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/params"
)

func TestRead(t *testing.T) {
	_, servers := fakeCluster(t, kfake.NumBrokers(3))
	o := operate(t, servers)
	o.create(3, "orders", "bills", "empty")
	for number := range int32(3) {
		o.produce("orders", number, 10)
		o.produce("bills", number, 4)
	}
	o.commit("workers", "orders", 10, 7, 5)
	o.commit("workers", "bills", 4, 4, 3)
	o.commit("beginners", "orders", 10)
	c := join(t, servers)
	tests := map[string]struct {
		question question
		params   lagParams
		value    float64
		activity float64
		code     codes.Code
		message  string
	}{
		"one topic": {
			question: question{group: "workers", topics: []string{"orders"}}, value: 8, activity: 8},
		"all topics of the group": {
			question: question{group: "workers"}, value: 9, activity: 9},
		"some partitions": {
			question: question{group: "workers", topics: []string{"orders"}, only: only(0, 2)}, value: 5, activity: 5},
		"a limitation without topic means nothing": {
			question: question{group: "workers", only: only(0)}, value: 9, activity: 9},
		"partitions without a commit count one each under latest": {
			question: question{group: "beginners", topics: []string{"orders"}}, value: 2, activity: 2},
		"and their end offset under earliest": {
			question: question{group: "beginners", topics: []string{"orders"}},
			params:   lagParams{OffsetResetPolicy: earliest}, value: 20, activity: 20},
		"all partitions of a topic count, committed or not": {
			question: question{group: "beginners"}, value: 2, activity: 2},
		"a group that never committed": {
			question: question{group: "nobody", topics: []string{"empty"}}, value: 3, activity: 3},
		"a group without topics": {question: question{group: "nobody"}},
		"a missing topic": {
			question: question{group: "workers", topics: []string{"none"}}, code: codes.NotFound,
			message: "topic none: UNKNOWN_TOPIC_OR_PARTITION: This server does not host this topic-partition."},
		"no such partition": {
			question: question{group: "workers", topics: []string{"orders"}, only: only(9)}, code: codes.NotFound,
			message: "topic orders: at least one active partition is expected, see partitionLimitation"},
		"apache-kafka: several topics": {
			question: question{group: "workers", topics: []string{"orders", "bills"}, apache: true}, value: 9, activity: 9},
		"apache-kafka: without topics and members the committed ones": {
			question: question{group: "workers", apache: true}, value: 9, activity: 9},
		"apache-kafka: a missing topic is no zero": {
			question: question{group: "workers", topics: []string{"orders", "none"}, apache: true}, code: codes.NotFound,
			message: "topic none: UNKNOWN_TOPIC_OR_PARTITION: This server does not host this topic-partition."},
		"apache-kafka: no such partition": {
			question: question{group: "workers", topics: []string{"orders"}, only: only(9), apache: true}, code: codes.NotFound,
			message: "at least one active partition is expected, see partitionLimitation"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			params := tt.params
			params.AllowIdleConsumers = true
			value, activity, err := lag(t.Context(), t, newLagSource(c, tt.question), params)
			if status.Code(err) != tt.code || message(err) != tt.message {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if value != tt.value || activity != tt.activity {
				t.Errorf("value, activity = %v, %v, want %v, %v", value, activity, tt.value, tt.activity)
			}
		})
	}
}

// TestReadFaults breaks one thing at a time. The source beside it, on another
// topic and group, goes on.
func TestReadFaults(t *testing.T) {
	always := -1
	tests := map[string]struct {
		fault   kfake.Fault
		apache  bool
		code    codes.Code
		message string
	}{
		"group not authorized": {
			fault:   kfake.Fault{Keys: []kmsg.Key{offsetFetchKey}, Group: "workers", Err: kerr.GroupAuthorizationFailed},
			code:    codes.PermissionDenied,
			message: "consumer group workers: GROUP_AUTHORIZATION_FAILED: Not authorized to access group: Group authorization failed.",
		},
		"group coordinator cannot answer": {
			fault:   kfake.Fault{Keys: []kmsg.Key{offsetFetchKey}, Group: "workers", Err: kerr.CoordinatorNotAvailable},
			code:    codes.Unavailable,
			message: "consumer group workers: COORDINATOR_NOT_AVAILABLE: The coordinator is not available.",
		},
		"topic not authorized": {
			fault:   kfake.Fault{Keys: []kmsg.Key{metadataKey}, Topic: "orders", Err: kerr.TopicAuthorizationFailed},
			code:    codes.PermissionDenied,
			message: "topic orders: TOPIC_AUTHORIZATION_FAILED: Not authorized to access topics: [Topic authorization failed.]",
		},
		"log end of a partition": {
			fault:   kfake.Fault{Keys: []kmsg.Key{listOffsetsKey}, Topic: "orders", Partitions: []int32{1}, Err: kerr.NotLeaderForPartition},
			code:    codes.Unavailable,
			message: "topic orders partition 1: NOT_LEADER_FOR_PARTITION: This server is not the leader for that topic-partition.",
		},
		"a partition error is no zero for apache-kafka either": {
			fault:   kfake.Fault{Keys: []kmsg.Key{listOffsetsKey}, Topic: "orders", Partitions: []int32{1}, Err: kerr.NotLeaderForPartition},
			apache:  true,
			code:    codes.Unavailable,
			message: "topic orders partition 1: NOT_LEADER_FOR_PARTITION: This server is not the leader for that topic-partition.",
		},
		"committed offset of a partition": {
			fault:   kfake.Fault{Keys: []kmsg.Key{offsetFetchKey}, Topic: "orders", Partitions: []int32{0}, Err: kerr.TopicAuthorizationFailed},
			code:    codes.PermissionDenied,
			message: "topic orders partition 0: TOPIC_AUTHORIZATION_FAILED: Not authorized to access topics: [Topic authorization failed.]",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			fake, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(2, "orders", "bills"))
			o := operate(t, servers)
			o.produce("bills", 0, 5)
			o.commit("workers", "orders", 0, 0)
			o.commit("others", "bills", 0, 0)
			tt.fault.Count = always
			fake.Fault(tt.fault)

			c := join(t, servers)
			results := readAll(t, c,
				question{group: "workers", topics: []string{"orders"}, apache: tt.apache},
				question{group: "others", topics: []string{"bills"}})
			if err := results[0].Err; status.Code(err) != tt.code || message(err) != tt.message {
				t.Errorf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if value, _, err := result(results[1]); value != 5 || err != nil {
				t.Errorf("the other source: %v, %v, want 5", value, err)
			}
		})
	}
}

// readAll reads one source per question in one batch.
func readAll(t testing.TB, c *cluster, questions ...question) []scaler.Result {
	t.Helper()
	var sources []scaler.Source
	for _, q := range questions {
		sources = append(sources, newLagSource(c, q))
	}
	return scaler.ReadTogether(t.Context(), c, sources...)
}

func result(r scaler.Result) (value, activity float64, err error) {
	if r.Err != nil {
		return 0, 0, r.Err
	}
	return shaped(lagParams{AllowIdleConsumers: true}, r.Readings)
}

// TestPartitionsLeftOut proves that a log end which the broker says nothing
// about counts as nothing, and a committed offset as an error or as 0.
func TestPartitionsLeftOut(t *testing.T) {
	tests := map[string]struct {
		key     kmsg.Key
		apache  bool
		value   float64
		code    codes.Code
		message string
	}{
		"log end":               {key: listOffsetsKey, value: 3},
		"log end, apache-kafka": {key: listOffsetsKey, apache: true, value: 3},
		"committed offset": {key: offsetFetchKey, code: codes.Unavailable,
			message: "topic orders partition 1: committed offset: left out of the answer"},
		"committed offset, apache-kafka": {key: offsetFetchKey, apache: true, value: 8},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			fake, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"))
			o := operate(t, servers)
			o.produce("orders", 0, 3)
			o.produce("orders", 1, 5)
			o.commit("workers", "orders", 0, 2)
			fake.ControlKey(tt.key.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
				return firstPartitionOnly(req), nil, true
			})
			c := join(t, servers)
			q := question{group: "workers", topics: []string{"orders"}, apache: tt.apache}
			value, _, err := result(readAll(t, c, q)[0])
			if status.Code(err) != tt.code || message(err) != tt.message {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if value != tt.value {
				t.Errorf("value = %v, want %v", value, tt.value)
			}
		})
	}
}

// firstPartitionOnly answers as a broker that forgets all partitions but 0:
// its log ends at 3, and offset 0 is committed.
func firstPartitionOnly(req kmsg.Request) kmsg.Response {
	switch req := req.(type) {
	case *kmsg.ListOffsetsRequest:
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = "orders"
		part := kmsg.NewListOffsetsResponseTopicPartition()
		part.Offset = 3
		topic.Partitions = append(topic.Partitions, part)
		resp.Topics = append(resp.Topics, topic)
		return resp
	case *kmsg.OffsetFetchRequest:
		resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
		group := kmsg.NewOffsetFetchResponseGroup()
		group.Group = "workers"
		topic := kmsg.NewOffsetFetchResponseGroupTopic()
		topic.Topic = "orders"
		topic.TopicID = req.Groups[0].Topics[0].TopicID
		topic.Partitions = append(topic.Partitions, kmsg.NewOffsetFetchResponseGroupTopicPartition())
		group.Topics = append(group.Topics, topic)
		resp.Groups = append(resp.Groups, group)
		return resp
	}
	panic(fmt.Sprintf("unexpected request %T", req))
}

// TestApacheKafkaLooksAtAssignments proves that topics count which a member is
// assigned to and nobody has committed for.
func TestApacheKafkaLooksAtAssignments(t *testing.T) {
	fake, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(2, "orders", "bills"))
	o := operate(t, servers)
	o.produce("orders", 0, 5)
	o.commit("workers", "bills", 0, 0)
	consume(t, servers, "workers", "orders")
	if _, err := fake.WaitGroupStable(t.Context(), "workers", 1); err != nil {
		t.Fatal(err)
	}
	c := join(t, servers)
	// Two partitions of orders count one each, as nothing is committed there.
	if value, _, err := result(readAll(t, c, question{group: "workers", apache: true})[0]); value != 2 || err != nil {
		t.Errorf("apache-kafka: %v, %v, want 2", value, err)
	}
	if value, _, err := result(readAll(t, c, question{group: "workers"})[0]); value != 0 || err != nil {
		t.Errorf("kafka: %v, %v, want 0: only committed topics count", value, err)
	}
}

// TestRequestsPerBroker proves that a thousand triggers cost as many requests
// as there are brokers, and no more connections than one.
func TestRequestsPerBroker(t *testing.T) {
	const brokers, topics, triggers = 3, 50, 1000
	var names []string
	for i := range topics {
		names = append(names, fmt.Sprintf("topic-%d", i))
	}
	_, servers := fakeCluster(t, kfake.NumBrokers(brokers), kfake.SeedTopics(4, names...))
	c := join(t, servers)
	var sources []scaler.Source
	for i := range triggers {
		sources = append(sources, newLagSource(c, question{
			group: fmt.Sprintf("group-%d", i), topics: []string{names[i%topics]},
		}))
	}
	read := func() {
		results := scaler.ReadTogether(t.Context(), c, sources...)
		for i, r := range results {
			if value, _, err := result(r); value != 4 || err != nil {
				t.Fatalf("source %d: %v, %v, want 4", i, value, err)
			}
		}
	}
	read()
	connections := c.traffic.connections.Load()
	before := counts(c)
	read()
	for key, most := range map[int16]int64{metadataKey: 1, listOffsetsKey: brokers, offsetFetchKey: brokers, coordinatorsKey: 0} {
		if sent := c.traffic.requests[key].Load() - before[key]; sent > most {
			t.Errorf("%s: %d requests for %d triggers, want at most %d", kmsg.NameForKey(key), sent, triggers, most)
		}
	}
	if now := c.traffic.connections.Load(); now != connections || now > 3*brokers {
		t.Errorf("connections = %d, then %d, want the same and at most %d", connections, now, 3*brokers)
	}
}

func counts(c *cluster) map[int16]int64 {
	sent := make(map[int16]int64)
	for key := range c.traffic.requests {
		sent[int16(key)] = c.traffic.requests[key].Load()
	}
	return sent
}

// TestOldBrokers proves that brokers which know one group per request are
// asked group by group.
func TestOldBrokers(t *testing.T) {
	_, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"), kfake.MaxVersions(kversion.V2_4_0()))
	c := join(t, servers)
	results := readAll(t, c,
		question{group: "a", topics: []string{"orders"}},
		question{group: "b", topics: []string{"orders"}},
		question{group: "c"})
	for i, want := range []float64{2, 2, 0} {
		if value, _, err := result(results[i]); value != want || err != nil {
			t.Errorf("source %d: %v, %v, want %v", i, value, err, want)
		}
	}
}

// TestVersion proves that the parameter bounds what is spoken.
func TestVersion(t *testing.T) {
	fake, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	var spoken atomic.Int32
	fake.ControlKey(listOffsetsKey, func(req kmsg.Request) (kmsg.Response, error, bool) {
		spoken.Store(int32(req.GetVersion()))
		return nil, nil, false
	})
	c, err := endpoint{servers: seeds([]string{servers}), version: "2.1.0"}.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := lag(t.Context(), t, newLagSource(c, question{group: "g", topics: []string{"orders"}}), lagParams{}); err != nil {
		t.Fatal(err)
	}
	if want, _ := kversion.V2_1_0().LookupMaxKeyVersion(listOffsetsKey); int16(spoken.Load()) != want {
		t.Errorf("ListOffsets version = %d, want %d", spoken.Load(), want)
	}
}

func TestDeadBroker(t *testing.T) {
	fake, servers := fakeCluster(t, kfake.NumBrokers(1))
	fake.Close()
	_, _, err := lag(t.Context(), t, newLagSource(join(t, servers), question{group: "g", topics: []string{"orders"}}), lagParams{})
	if status.Code(err) != codes.Unavailable || !strings.HasPrefix(message(err), "topics: ") {
		t.Errorf("error = %v, want Unavailable", err)
	}
}

func TestCancelled(t *testing.T) {
	_, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	source := newLagSource(join(t, servers), question{group: "g", topics: []string{"orders"}})
	if _, err := source.Read(ctx); status.Code(err) != codes.Canceled {
		t.Errorf("error = %v, want Canceled", err)
	}
}

// TestPartitionsAreBounded: those of one trigger, those of a group, and those of
// all triggers of a namespace. What is held is given back.
func TestPartitionsAreBounded(t *testing.T) {
	before := partitions
	partitions = client.NewAllowance("partitions", mostPartitions+60, 0)
	t.Cleanup(func() { partitions = before })
	_, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(mostPartitions+1, "huge"), kfake.SeedTopics(mostPartitions, "large"), kfake.SeedTopics(61, "jobs"))
	c := join(t, servers)
	opening, release := scaler.Opening(t.Context())
	defer release()
	open := func(q question) *lagSource { return openLag(opening, c, q) }
	refused := func(s *lagSource, want string) {
		t.Helper()
		_, _, err := lag(t.Context(), t, s, lagParams{})
		if want == "" && err != nil || want != "" && (status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), want)) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
	const (
		ofTrigger   = "consumer group g: 10001 partitions to look at, more than the 10000 of one trigger; see topic and partitionLimitation"
		ofNamespace = "would have this family hold more than 10060 partitions"
	)
	refused(open(question{group: "g", topics: []string{"huge"}}), ofTrigger)
	refused(open(question{group: "g", topics: []string{"huge"}, only: only(0, 3)}), "")
	large, jobs := open(question{group: "g", topics: []string{"large"}}), open(question{group: "g", topics: []string{"jobs"}})
	refused(large, "")
	refused(jobs, ofNamespace)
	if err := large.Close(); err != nil {
		t.Fatal(err)
	}
	refused(jobs, "")
}

// TestGroupsOfTooManyPartitions are refused before anything is made of them.
func TestGroupsOfTooManyPartitions(t *testing.T) {
	topic := kmsg.NewOffsetFetchResponseGroupTopic()
	topic.Topic, topic.Partitions = "jobs", make([]kmsg.OffsetFetchResponseGroupTopicPartition, mostPartitions+1)
	group := kmsg.NewOffsetFetchResponseGroup()
	group.Topics = []kmsg.OffsetFetchResponseGroupTopic{topic}
	if said := readOffsets(group, nil); status.Code(said.err) != codes.ResourceExhausted {
		t.Errorf("error = %v", said.err)
	}
	if said := readOffsets(group, map[string][]int32{"jobs": {0}}); said.err != nil {
		t.Errorf("where some were asked for: %v", said.err)
	}
}

// TestGroupsAreForgotten with the last trigger: their names may be long.
func TestGroupsAreForgotten(t *testing.T) {
	_, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "jobs"))
	c := join(t, servers)
	for i := range 3 {
		s := newLagSource(c, question{group: fmt.Sprint("group-", i), topics: []string{"jobs"}})
		if _, _, err := lag(t.Context(), t, s, lagParams{}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.coordinators.node); n != 0 {
		t.Errorf("%d groups are remembered", n)
	}
}

// only are some partitions.
func only(numbers ...int64) (r params.Ranges) {
	for _, n := range numbers {
		r = append(r, params.Range{From: n, To: n})
	}
	return r
}

// TestBrokersOfAllClusters count together: each may be connected to.
func TestBrokersOfAllClusters(t *testing.T) {
	before := debug.SetMemoryLimit(4 * 5 * client.UsualCost) // a quarter is one namespace's
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	opening, release := scaler.Opening(t.Context())
	defer release()
	connect := func() *cluster {
		_, servers := fakeCluster(t, kfake.NumBrokers(4), kfake.SeedTopics(4, "jobs"))
		c, err := endpoint{servers: seeds(strings.Split(servers, ","))}.connect(opening)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	read := func(c *cluster) error {
		_, _, err := lag(t.Context(), t, newLagSource(c, question{group: "g", topics: []string{"jobs"}}), lagParams{})
		return err
	}
	first, second := connect(), connect()
	defer second.Close()
	if err := read(first); err != nil {
		t.Errorf("within the share: %v", err)
	}
	if err := read(second); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "see --connection-memory") {
		t.Errorf("beyond the share: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := read(second); err != nil {
		t.Errorf("there is room again: %v", err)
	}
}
