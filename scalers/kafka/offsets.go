package main

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupOffsets are the committed offsets of a group.
type groupOffsets struct {
	offsets map[partition]committed
	// unknown is true when the brokers do not know the group, as some say
	// instead of answering that nothing is committed.
	unknown bool
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

// fetchOffsets asks each coordinator once for the offsets that its groups
// committed, for the partitions given or for all where a group has none, and
// tells of each group as soon as that is known.
func (r *round) fetchOffsets(wanted map[string]map[string][]int32, tell func(string, groupAnswer[groupOffsets])) {
	b := r.cluster.brokers
	ask := func(ctx context.Context, node int32, groups []string) (map[string]groupAnswer[groupOffsets], error) {
		return inRequests(groups, func(groups []string) (map[string]groupAnswer[groupOffsets], bool, error) {
			return b.committedOffsets(ctx, node, groups, wanted)
		})
	}
	inquiry[groupOffsets]{at: r.cluster.coordinators, ask: ask, tell: tell}.about(r.ctx, slices.Collect(maps.Keys(wanted)), tries)
}

// committedOffsets asks a coordinator for the offsets of its groups, and tells
// whether it takes several groups in one request.
func (b *brokers) committedOffsets(
	ctx context.Context, node int32, groups []string, wanted map[string]map[string][]int32,
) (map[string]groupAnswer[groupOffsets], bool, error) {
	const firstOfSeveral = 8
	answer, err := b.ask(ctx, node, offsetRequest(groups, wanted))
	if err != nil {
		return nil, false, err
	}
	resp := answer.(*kmsg.OffsetFetchResponse)
	if resp.Version < firstOfSeveral {
		return map[string]groupAnswer[groupOffsets]{groups[0]: readOffsets(onlyGroup(resp), wanted[groups[0]])}, false, nil
	}
	said := make(map[string]groupAnswer[groupOffsets], len(groups))
	for _, group := range resp.Groups {
		said[group.Group] = readOffsets(group, wanted[group.Group])
	}
	return said, true, nil
}

// offsetRequest asks for several groups as brokers since 3.0 know it, and for
// the first of them as those before do.
func offsetRequest(groups []string, wanted map[string]map[string][]int32) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	for _, name := range groups {
		group := kmsg.NewOffsetFetchRequestGroup()
		group.Group = name
		for topic, numbers := range wanted[name] {
			wanted := kmsg.NewOffsetFetchRequestGroupTopic()
			wanted.Topic, wanted.Partitions = topic, numbers
			group.Topics = append(group.Topics, wanted)
		}
		req.Groups = append(req.Groups, group)
	}
	req.Group = groups[0]
	for _, topic := range req.Groups[0].Topics {
		wanted := kmsg.NewOffsetFetchRequestTopic()
		wanted.Topic, wanted.Partitions = topic.Topic, topic.Partitions
		req.Topics = append(req.Topics, wanted)
	}
	return req
}

// onlyGroup is the answer of an older broker in the form of newer ones.
func onlyGroup(resp *kmsg.OffsetFetchResponse) kmsg.OffsetFetchResponseGroup {
	group := kmsg.NewOffsetFetchResponseGroup()
	group.ErrorCode = resp.ErrorCode
	for _, old := range resp.Topics {
		topic := kmsg.NewOffsetFetchResponseGroupTopic()
		topic.Topic = old.Topic
		for _, part := range old.Partitions {
			p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			p.Partition, p.Offset, p.ErrorCode = part.Partition, part.Offset, part.ErrorCode
			topic.Partitions = append(topic.Partitions, p)
		}
		group.Topics = append(group.Topics, topic)
	}
	return group
}

// readOffsets reads an answer about the partitions that were wanted, or all of
// the group where that is nil.
func readOffsets(group kmsg.OffsetFetchResponseGroup, wanted map[string][]int32) groupAnswer[groupOffsets] {
	err := kerr.ErrorForCode(group.ErrorCode)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return groupAnswer[groupOffsets]{answer: groupOffsets{unknown: true}}
	}
	if wanted == nil {
		if err := tooMany(partitionsOf(group)); err != nil {
			return groupAnswer[groupOffsets]{err: err}
		}
	}
	offsets := make(map[partition]committed)
	for _, topic := range group.Topics {
		for _, p := range topic.Partitions {
			one := committed{p.Offset, kerr.ErrorForCode(p.ErrorCode)}
			if hasMoved(one.err) { // as brokers before 0.10.2 say it
				err = one.err
			}
			offsets[partition{topic.Topic, p.Partition}] = one
		}
	}
	if err != nil {
		return groupAnswer[groupOffsets]{err: err}
	}
	return groupAnswer[groupOffsets]{answer: groupOffsets{offsets: offsets}}
}

func partitionsOf(group kmsg.OffsetFetchResponseGroup) (n int) {
	for _, topic := range group.Topics {
		n += len(topic.Partitions)
	}
	return n
}

// listEnds asks a leader for the log ends of its partitions. Those that it
// leaves out of its answer are missing in the result.
func (r *round) listEnds(leader int32, topics map[string][]int32) map[partition]end {
	ends := make(map[partition]end)
	answer, err := r.cluster.brokers.ask(r.ctx, leader, endRequest(topics))
	if err != nil {
		blame(ends, topics, err)
	} else {
		readEnds(ends, answer.(*kmsg.ListOffsetsResponse))
	}
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
