package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// ReadBatch reads all sources of a cluster with a request per broker, not per
// source: one for the topics, one for committed offsets to each group
// coordinator, one for log ends to each partition leader. A member's problem,
// such as a missing topic, is its own; so nothing fails a whole batch.
//
// Brokers older than 3.0 are asked for committed offsets group by group.
//
// The client looks at no context while it greets a broker, so a read that lasts
// longer than ctx is left behind; it ends within answerLimit.
func (c *cluster) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	done := make(chan []scaler.Result, 1)
	c.running.Go(func() { done <- c.read(ctx, sources) })
	select {
	case results := <-done:
		for i, r := range results {
			answer(i, r)
		}
		return nil
	case <-ctx.Done():
		return failure("brokers", ctx.Err())
	}
}

// read is ReadBatch for as long as it takes.
func (c *cluster) read(ctx context.Context, sources []scaler.Source) []scaler.Result {
	r := &round{client: c.client, members: make([]*member, len(sources))}
	for i, source := range sources {
		r.members[i] = &member{source: source.(*lagSource)}
	}
	r.discover(ctx)
	r.locate(ctx)
	r.measure(ctx)
	results := make([]scaler.Result, len(r.members))
	for i, m := range r.members {
		results[i] = r.result(m)
	}
	return results
}

// round is one reading of a batch.
type round struct {
	client    *kgo.Client
	members   []*member
	committed map[string]groupOffsets // by group
	ends      map[partition]end
}

// member is one source of a round.
type member struct {
	source *lagSource
	topics []string
	places map[partition]place
	err    error
}

func (m *member) fail(asked string, err error) {
	if m.err == nil {
		m.err = failure(asked, err)
	}
}

// groupOffsets are the committed offsets of a group, or why there are none.
type groupOffsets struct {
	offsets map[partition]committed
	// unknown is true when the brokers do not know the group, as some say
	// instead of answering that nothing is committed.
	unknown bool
	err     error
}

type committed struct {
	offset int64
	err    error
}

// end is the log end of a partition.
type end struct {
	offset int64
	err    error
}

// alive are the members that nothing has gone wrong for yet.
func (r *round) alive(which func(*member) bool) []*member {
	var alive []*member
	for _, m := range r.members {
		if m.err == nil && which(m) {
			alive = append(alive, m)
		}
	}
	return alive
}

func anyMember(*member) bool { return true }

// discover finds the topics of the members: those the trigger names, else
// those the group has committed offsets for.
func (r *round) discover(ctx context.Context) {
	for _, m := range r.members {
		m.topics = m.source.topics
	}
	r.discoverByOffsets(ctx)
	r.discoverByMembers(ctx)
}

func (r *round) discoverByOffsets(ctx context.Context) {
	open := r.alive(func(m *member) bool { return len(m.source.topics) == 0 })
	wanted := make(map[string]map[string][]int32)
	for _, m := range open {
		wanted[m.source.group] = nil
	}
	offsets := r.fetchOffsets(ctx, wanted)
	for _, m := range open {
		answer := offsets[m.source.group]
		if answer.err != nil {
			m.fail("consumer group "+m.source.group, answer.err)
			continue
		}
		m.topics = topicsOf(answer.offsets)
	}
}

// topicsOf are the topics with a committed offset. Some brokers answer with
// partitions that have none.
func topicsOf(offsets map[partition]committed) []string {
	var topics []string
	for at, offset := range offsets {
		if offset.err != nil || offset.offset >= 0 {
			topics = append(topics, at.topic)
		}
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// discoverByMembers adds the topics that the members of the group are assigned
// to. Only apache-kafka looks at them.
func (r *round) discoverByMembers(ctx context.Context) {
	open := r.alive(func(m *member) bool { return m.source.apache && len(m.source.topics) == 0 })
	if len(open) == 0 {
		return
	}
	var groups []string
	for _, m := range open {
		groups = append(groups, m.source.group)
	}
	assigned, refused := assignments(ctx, r.client, groups)
	for _, m := range open {
		if err := refused[m.source.group]; err != nil {
			m.fail("consumer group "+m.source.group, err)
			continue
		}
		topics := slices.Concat(m.topics, assigned[m.source.group])
		slices.Sort(topics)
		m.topics = slices.Compact(topics)
	}
}

// locate asks once for the partitions and leaders of all topics.
func (r *round) locate(ctx context.Context) {
	var topics []string
	for _, m := range r.alive(anyMember) {
		topics = append(topics, m.topics...)
	}
	slices.Sort(topics)
	found, err := r.metadata(ctx, slices.Compact(topics))
	for _, m := range r.alive(anyMember) {
		if err != nil {
			m.fail("topics", err)
			continue
		}
		m.locate(found)
	}
}

// metadata describes topics by name. It never creates one.
func (r *round) metadata(ctx context.Context, topics []string) (map[string]kmsg.MetadataResponseTopic, error) {
	if len(topics) == 0 {
		return nil, nil
	}
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	for _, topic := range topics {
		wanted := kmsg.NewMetadataRequestTopic()
		wanted.Topic = kmsg.StringPtr(topic)
		req.Topics = append(req.Topics, wanted)
	}
	resp, err := req.RequestWith(ctx, r.client)
	if err != nil {
		return nil, err
	}
	found := make(map[string]kmsg.MetadataResponseTopic, len(resp.Topics))
	for _, topic := range resp.Topics {
		if topic.Topic != nil {
			found[*topic.Topic] = topic
		}
	}
	return found, nil
}

// locate picks the partitions this member is about.
func (m *member) locate(found map[string]kmsg.MetadataResponseTopic) {
	m.places = make(map[partition]place)
	for _, name := range m.topics {
		topic, ok := found[name]
		err := kerr.ErrorForCode(topic.ErrorCode)
		if !ok {
			err = kerr.UnknownTopicOrPartition
		}
		if err != nil {
			m.fail("topic "+name, err)
			return
		}
		if m.pick(name, topic) == 0 && !m.source.apache {
			m.err = status.Errorf(codes.NotFound,
				"topic %s: at least one active partition is expected, see partitionLimitation", name)
			return
		}
	}
	if len(m.places) == 0 && len(m.topics) > 0 {
		m.err = status.Error(codes.NotFound, "at least one active partition is expected, see partitionLimitation")
	}
}

// pick adds the partitions of one topic and returns how many.
func (m *member) pick(name string, topic kmsg.MetadataResponseTopic) int {
	picked := 0
	for _, p := range topic.Partitions {
		if m.source.limited() && !slices.Contains(m.source.only, int(p.Partition)) {
			continue
		}
		picked++
		if p.Leader < 0 {
			m.fail(fmt.Sprintf("topic %s partition %d", name, p.Partition), kerr.LeaderNotAvailable)
		}
		m.places[partition{name, p.Partition}] = place{leader: p.Leader, topicID: topic.TopicID, end: none}
	}
	return picked
}

// limited is false without topics: a limitation means nothing then.
func (q question) limited() bool { return len(q.topics) > 0 && len(q.only) > 0 }

// measure fetches committed offsets and log ends at the same time.
func (r *round) measure(ctx context.Context) {
	groups := make(map[string]map[string][]int32)
	leaders := make(map[int32]map[string][]int32)
	asked := make(map[partition]bool)
	for _, m := range r.alive(anyMember) {
		for at, where := range m.places {
			include(groups, m.source.group, at)
			if !asked[at] {
				asked[at] = true
				include(leaders, where.leader, at)
			}
		}
	}
	var both sync.WaitGroup
	both.Go(func() { r.committed = r.fetchOffsets(ctx, groups) })
	both.Go(func() { r.ends = r.listEnds(ctx, leaders) })
	both.Wait()
}

// include adds a partition to those asked of a group or a broker, once.
func include[K comparable](wanted map[K]map[string][]int32, from K, at partition) {
	topics := wanted[from]
	if topics == nil {
		topics = make(map[string][]int32)
		wanted[from] = topics
	}
	if !slices.Contains(topics[at.topic], at.number) {
		topics[at.topic] = append(topics[at.topic], at.number)
	}
}

// fetchOffsets asks each coordinator once for the offsets that its groups
// committed: for the partitions given, or for all where a group has none.
func (r *round) fetchOffsets(ctx context.Context, groups map[string]map[string][]int32) map[string]groupOffsets {
	answers := make(map[string]groupOffsets, len(groups))
	if len(groups) == 0 {
		return answers
	}
	for _, shard := range r.client.RequestSharded(ctx, offsetRequest(groups)) {
		if shard.Err != nil {
			for _, group := range groupsOf(shard.Req.(*kmsg.OffsetFetchRequest)) {
				answers[group] = groupOffsets{err: shard.Err}
			}
			continue
		}
		for _, group := range shard.Resp.(*kmsg.OffsetFetchResponse).Groups {
			answers[group.Group] = readOffsets(group)
		}
	}
	for group := range groups {
		if _, ok := answers[group]; !ok {
			answers[group] = groupOffsets{err: errOmitted}
		}
	}
	return answers
}

func offsetRequest(groups map[string]map[string][]int32) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	for name, topics := range groups {
		group := kmsg.NewOffsetFetchRequestGroup()
		group.Group = name
		for topic, numbers := range topics {
			wanted := kmsg.NewOffsetFetchRequestGroupTopic()
			wanted.Topic, wanted.Partitions = topic, numbers
			group.Topics = append(group.Topics, wanted)
		}
		req.Groups = append(req.Groups, group)
	}
	return req
}

// groupsOf names the groups of a part of a request, which old brokers are
// asked for one by one.
func groupsOf(req *kmsg.OffsetFetchRequest) []string {
	if len(req.Groups) == 0 {
		return []string{req.Group}
	}
	var names []string
	for _, group := range req.Groups {
		names = append(names, group.Group)
	}
	return names
}

func readOffsets(group kmsg.OffsetFetchResponseGroup) groupOffsets {
	err := kerr.ErrorForCode(group.ErrorCode)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return groupOffsets{unknown: true}
	}
	if err != nil {
		return groupOffsets{err: err}
	}
	offsets := make(map[partition]committed)
	for _, topic := range group.Topics {
		for _, p := range topic.Partitions {
			offsets[partition{topic.Topic, p.Partition}] = committed{p.Offset, kerr.ErrorForCode(p.ErrorCode)}
		}
	}
	return groupOffsets{offsets: offsets}
}

// listEnds asks each leader once for the log ends of its partitions, all
// leaders at the same time. Partitions that a broker leaves out of its answer
// are missing in the result.
func (r *round) listEnds(ctx context.Context, leaders map[int32]map[string][]int32) map[partition]end {
	ends := make(map[partition]end)
	var mu sync.Mutex
	var brokers sync.WaitGroup
	for leader, topics := range leaders {
		brokers.Go(func() {
			req := endRequest(topics)
			resp, err := r.client.Broker(int(leader)).RetriableRequest(ctx, req)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				blame(ends, topics, fmt.Errorf("broker %d: %w", leader, err))
				return
			}
			readEnds(ends, resp.(*kmsg.ListOffsetsResponse))
		})
	}
	brokers.Wait()
	return ends
}

func endRequest(topics map[string][]int32) *kmsg.ListOffsetsRequest {
	const logEnd = -1
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1 // a consumer
	for name, numbers := range topics {
		topic := kmsg.NewListOffsetsRequestTopic()
		topic.Topic = name
		for _, number := range numbers {
			wanted := kmsg.NewListOffsetsRequestTopicPartition()
			wanted.Partition, wanted.Timestamp = number, logEnd
			topic.Partitions = append(topic.Partitions, wanted)
		}
		req.Topics = append(req.Topics, topic)
	}
	return req
}

func readEnds(ends map[partition]end, resp *kmsg.ListOffsetsResponse) {
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			offset := p.Offset
			if resp.Version == 0 && len(p.OldStyleOffsets) > 0 {
				offset = p.OldStyleOffsets[0]
			}
			ends[partition{topic.Topic, p.Partition}] = end{offset, kerr.ErrorForCode(p.ErrorCode)}
		}
	}
}

func blame(ends map[partition]end, topics map[string][]int32, err error) {
	for topic, numbers := range topics {
		for _, number := range numbers {
			ends[partition{topic, number}] = end{err: err}
		}
	}
}

// result puts a member's answer together.
func (r *round) result(m *member) scaler.Result {
	if m.err == nil {
		r.fill(m)
	}
	if m.err != nil {
		return scaler.Result{Err: m.err}
	}
	offsets := make(map[partition]int64, len(m.places))
	for at := range m.places {
		offset, err := m.committed(r.committed[m.source.group], at)
		if err != nil {
			return scaler.Result{Err: failure(describe(at), err)}
		}
		offsets[at] = offset
	}
	return scaler.Result{Readings: m.source.observed(time.Now(), offsets, m.places)}
}

// fill takes over the log ends. One that a broker left out stays unknown and
// counts as nothing, which Azure Event Hubs needs.
func (r *round) fill(m *member) {
	if len(m.places) == 0 { // the group has no topics
		return
	}
	if err := r.committed[m.source.group].err; err != nil {
		m.fail("consumer group "+m.source.group, err)
		return
	}
	answered := make(map[string]bool)
	for at, where := range m.places {
		log, ok := r.ends[at]
		if !ok {
			continue
		}
		if log.err != nil {
			m.fail(describe(at), log.err)
			return
		}
		answered[at.topic] = true
		where.end = log.offset
		m.places[at] = where
	}
	for at := range m.places {
		if m.source.apache && !answered[at.topic] {
			m.fail("topic "+at.topic+": log ends", errOmitted)
			return
		}
	}
}

// committed is the group's offset in a partition. What is absent from the
// answer is an error for kafka and offset 0 for apache-kafka, which needs an
// answer about some partition.
func (m *member) committed(answer groupOffsets, at partition) (int64, error) {
	offset, ok := answer.offsets[at]
	switch {
	case ok:
		return max(offset.offset, none), offset.err
	case answer.unknown:
		return none, nil
	case m.source.apache && len(answer.offsets) > 0:
		return 0, nil
	default:
		return 0, fmt.Errorf("committed offset: %w", errOmitted)
	}
}

func describe(at partition) string {
	return fmt.Sprintf("topic %s partition %d", at.topic, at.number)
}
