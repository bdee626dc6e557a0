package main

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// ReadBatch reads all sources of a cluster with a request per broker, not per
// source: one for the topics, one for committed offsets to each group
// coordinator, one for log ends to each partition leader. What different
// brokers are asked goes on side by side, and a member is answered as soon as
// those it needs have answered. Its problem, such as a missing topic, is its
// own; so nothing fails a whole batch.
//
// Brokers older than 3.0 are asked for committed offsets group by group.
func (c *cluster) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	r := &round{cluster: c, ctx: ctx, answer: answer}
	var named, open []*member
	for i, source := range sources {
		m := &member{index: i, source: source.(*lagSource)}
		if m.topics = m.source.topics; len(m.topics) > 0 {
			named = append(named, m)
		} else {
			open = append(open, m)
		}
	}
	var all sync.WaitGroup
	for members := range waves(named, r.discover(open)) {
		all.Go(func() { r.measure(members) })
	}
	all.Wait()
	return nil
}

// waves yields the members whose topics are known: all of them together where
// brokers answer soon, else those that are known so far, and the others later.
func waves(named []*member, found <-chan *member) iter.Seq[[]*member] {
	return func(yield func([]*member) bool) {
		ready, more := named, true
		for more {
			ready, more = comeSoon(ready, found)
			if len(ready) > 0 && !yield(ready) {
				return
			}
			ready = nil
		}
	}
}

// comeSoon adds the members that are found soon, and tells whether there may be
// more of them.
func comeSoon(ready []*member, found <-chan *member) (all []*member, more bool) {
	late := time.NewTimer(soon)
	defer late.Stop()
	for {
		select {
		case m, ok := <-found:
			if !ok {
				return ready, false
			}
			ready = append(ready, m)
		case <-late.C:
			return ready, true
		}
	}
}

// round is one reading of a batch.
type round struct {
	cluster *cluster
	ctx     context.Context //nolint:containedctx // of this one call
	answer  func(int, scaler.Result)

	mu sync.Mutex // guards the members
}

// member is one source of a round.
type member struct {
	index  int
	source *lagSource
	topics []string
	places map[partition]place
	// missing is how many parts of its reading are still to come.
	missing int
	offsets groupOffsets
	done    bool // it is answered
}

// fail answers a member that cannot be read.
func (r *round) fail(m *member, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failLocked(m, err)
}

func (r *round) failLocked(m *member, err error) {
	if !m.done {
		m.done = true
		r.answer(m.index, scaler.Result{Err: err})
	}
}

// discover sends the members on whose topics the brokers know: those that the
// group has committed offsets for and, for apache-kafka, those that its members
// are assigned to.
func (r *round) discover(open []*member) <-chan *member {
	found := make(chan *member, len(open))
	groups, assigned := make(map[string][]*member), make(map[string][]*member)
	for _, m := range open {
		groups[m.source.group] = append(groups[m.source.group], m)
		m.missing = 1
		if m.source.apache {
			assigned[m.source.group] = append(assigned[m.source.group], m)
			m.missing = 2
		}
	}
	add := func(members []*member, topics []string, err error) {
		for _, m := range members {
			if r.learned(m, topics, err) {
				found <- m
			}
		}
	}
	var both sync.WaitGroup
	both.Go(func() {
		r.fetchOffsets(wantAll(groups), func(group string, said groupAnswer[groupOffsets]) {
			add(groups[group], topicsOf(said.answer.offsets), said.err)
		})
	})
	both.Go(func() {
		inquiry[[]string]{
			at: r.cluster.coordinators, ask: r.cluster.brokers.assignments,
			tell: func(group string, said groupAnswer[[]string]) { add(assigned[group], said.answer, said.err) },
		}.about(r.ctx, slices.Collect(maps.Keys(assigned)), tries)
	})
	go func() {
		both.Wait()
		close(found)
	}()
	return found
}

// learned adds topics of a member and tells whether all are known.
func (r *round) learned(m *member, topics []string, err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failLocked(m, failure("consumer group "+m.source.group, err))
	}
	m.topics = append(m.topics, topics...)
	m.missing--
	if m.done || m.missing > 0 {
		return false
	}
	slices.Sort(m.topics)
	m.topics = slices.Compact(m.topics)
	return true
}

// wantAll asks for all offsets that groups have committed.
func wantAll(groups map[string][]*member) map[string]map[string][]int32 {
	wanted := make(map[string]map[string][]int32, len(groups))
	for group := range groups {
		wanted[group] = nil
	}
	return wanted
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

// measure reads members whose topics are known.
func (r *round) measure(members []*member) {
	found, err := r.metadata(topicsOfAll(members))
	var placed []*member
	for _, m := range members {
		problem := err
		if problem != nil {
			problem = failure("topics", problem)
		} else {
			problem = m.locate(found)
		}
		if problem != nil {
			r.fail(m, problem)
			continue
		}
		placed = append(placed, m)
	}
	r.compare(placed)
}

func topicsOfAll(members []*member) []string {
	var topics []string
	for _, m := range members {
		topics = append(topics, m.topics...)
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// metadata describes topics by name. It never creates one.
func (r *round) metadata(topics []string) (map[string]kmsg.MetadataResponseTopic, error) {
	if len(topics) == 0 {
		return nil, nil
	}
	answer, err := r.cluster.brokers.askAny(r.ctx, func() kmsg.Request {
		req := brokersOnly()
		for _, topic := range topics {
			wanted := kmsg.NewMetadataRequestTopic()
			wanted.Topic = kmsg.StringPtr(topic)
			req.Topics = append(req.Topics, wanted)
		}
		return req
	})
	if err != nil {
		return nil, err
	}
	resp := answer.(*kmsg.MetadataResponse)
	r.cluster.brokers.met(r.ctx, resp.Brokers)
	found := make(map[string]kmsg.MetadataResponseTopic, len(resp.Topics))
	for _, topic := range resp.Topics {
		if topic.Topic != nil {
			found[*topic.Topic] = topic
		}
	}
	return found, nil
}

// locate picks the partitions this member is about.
func (m *member) locate(found map[string]kmsg.MetadataResponseTopic) error {
	if err := m.source.hold(m.count(found)); err != nil {
		return err
	}
	m.places = make(map[partition]place)
	for _, name := range m.topics {
		topic, ok := found[name]
		err := kerr.ErrorForCode(topic.ErrorCode)
		if !ok {
			err = kerr.UnknownTopicOrPartition
		}
		if err != nil {
			return failure("topic "+name, err)
		}
		picked, err := m.pick(name, topic)
		if err != nil {
			return err
		}
		if picked == 0 && !m.source.apache {
			return scaler.Errorf(codes.NotFound,
				"topic %s: at least one active partition is expected, see partitionLimitation", name)
		}
	}
	if len(m.places) == 0 && len(m.topics) > 0 {
		return scaler.Errorf(codes.NotFound, "at least one active partition is expected, see partitionLimitation")
	}
	return nil
}

// count is how many partitions the member is about, before anything is made of
// them.
func (m *member) count(found map[string]kmsg.MetadataResponseTopic) (n int) {
	for _, name := range m.topics {
		for _, p := range found[name].Partitions {
			if m.wants(p.Partition) {
				n++
			}
		}
	}
	return n
}

// wants is false for what partitionLimitation leaves out.
func (m *member) wants(number int32) bool {
	return !m.source.limited() || m.source.only.Has(int64(number))
}

// pick adds the partitions of one topic and returns how many.
func (m *member) pick(name string, topic kmsg.MetadataResponseTopic) (picked int, err error) {
	for _, p := range topic.Partitions {
		if !m.wants(p.Partition) {
			continue
		}
		at := partition{name, p.Partition}
		if p.Leader < 0 {
			return 0, failure(describe(at), kerr.LeaderNotAvailable)
		}
		picked++
		m.places[at] = place{leader: p.Leader, topicID: topic.TopicID, end: none}
	}
	return picked, nil
}

// limited is false without topics: a limitation means nothing then.
func (q question) limited() bool { return len(q.topics) > 0 && len(q.only) > 0 }

// compare fetches committed offsets and log ends, of each broker its own and
// all side by side, and answers each member that has what it needs.
func (r *round) compare(members []*member) {
	groups, leaders := make(map[string]map[string][]int32), make(map[int32]map[string][]int32)
	ofGroup, ofLeader := make(map[string][]*member), make(map[int32][]*member)
	asked, compared := make(map[partition]bool), make(map[groupPartition]bool)
	for _, m := range members {
		if len(m.places) == 0 { // the group has no topics
			r.finish(m)
			continue
		}
		m.missing = 1
		ofGroup[m.source.group] = append(ofGroup[m.source.group], m)
		for _, leader := range m.leaders() {
			ofLeader[leader] = append(ofLeader[leader], m)
			m.missing++
		}
		for at, where := range m.places {
			if one := (groupPartition{m.source.group, at}); !compared[one] {
				compared[one] = true
				include(groups, m.source.group, at)
			}
			if !asked[at] {
				asked[at] = true
				include(leaders, where.leader, at)
			}
		}
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() {
		r.fetchOffsets(groups, func(group string, said groupAnswer[groupOffsets]) {
			r.took(ofGroup[group], func(m *member) error {
				m.offsets = said.answer
				return failure("consumer group "+group, said.err)
			})
		})
	})
	for leader, topics := range leaders {
		parts.Go(func() {
			ends := r.listEnds(leader, topics)
			r.took(ofLeader[leader], func(m *member) error { return m.fill(leader, ends) })
		})
	}
}

// groupPartition is a partition as a group reads it.
type groupPartition struct {
	group string
	partition
}

// leaders are the brokers that the partitions of a member are at.
func (m *member) leaders() []int32 {
	leaders := make(map[int32]bool)
	for _, where := range m.places {
		leaders[where.leader] = true
	}
	return slices.Collect(maps.Keys(leaders))
}

// took has members take a part of their reading, and answers those that have
// all of it or cannot get it.
func (r *round) took(members []*member, take func(*member) error) {
	for _, m := range members {
		r.mu.Lock()
		err := take(m)
		m.missing--
		whole := m.missing == 0
		r.mu.Unlock()
		switch {
		case err != nil:
			r.fail(m, err)
		case whole:
			r.finish(m)
		}
	}
}

// include adds a partition to those asked of a group or a broker.
func include[K comparable](wanted map[K]map[string][]int32, from K, at partition) {
	topics := wanted[from]
	if topics == nil {
		topics = make(map[string][]int32)
		wanted[from] = topics
	}
	topics[at.topic] = append(topics[at.topic], at.number)
}

// fill takes over the log ends at one leader. One that it left out stays unknown
// and counts as nothing, which Azure Event Hubs needs.
func (m *member) fill(leader int32, ends map[partition]end) error {
	for at, log := range ends {
		where, ok := m.places[at]
		if where.leader != leader || !ok {
			continue
		}
		if log.err != nil {
			return failure(describe(at), log.err)
		}
		where.end = log.offset
		m.places[at] = where
	}
	return nil
}

// finish answers a member that has all parts of its reading.
func (r *round) finish(m *member) {
	offsets, err := m.read()
	if err != nil {
		r.fail(m, err)
		return
	}
	r.mu.Lock()
	first := !m.done
	m.done = true
	r.mu.Unlock()
	if first {
		r.answer(m.index, scaler.Result{Readings: m.source.observed(time.Now(), offsets, m.places)})
	}
}

// read returns the committed offsets of a member's partitions.
func (m *member) read() (map[partition]int64, error) {
	answered := make(map[string]bool)
	for at, where := range m.places {
		answered[at.topic] = answered[at.topic] || where.end != none
	}
	offsets := make(map[partition]int64, len(m.places))
	for at := range m.places {
		if m.source.apache && !answered[at.topic] {
			return nil, failure("topic "+at.topic+": log ends", errOmitted)
		}
		offset, err := m.committed(at)
		if err != nil {
			return nil, failure(describe(at), err)
		}
		offsets[at] = offset
	}
	return offsets, nil
}

// committed is the group's offset in a partition. What is absent from the
// answer is an error for kafka and offset 0 for apache-kafka, which needs an
// answer about some partition.
func (m *member) committed(at partition) (int64, error) {
	offset, ok := m.offsets.offsets[at]
	switch {
	case ok:
		return max(offset.offset, none), offset.err
	case m.offsets.unknown:
		return none, nil
	case m.source.apache && len(m.offsets.offsets) > 0:
		return 0, nil
	default:
		return 0, fmt.Errorf("committed offset: %w", errOmitted)
	}
}

func describe(at partition) string {
	return fmt.Sprintf("topic %s partition %d", at.topic, at.number)
}
