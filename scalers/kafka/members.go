package main

import (
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// assignments returns the topics that the members of each group are assigned
// to, as their coordinator knows. A group without members is assigned nothing,
// which is no error: its committed offsets still name topics.
func (b *brokers) assignments(ctx context.Context, node int32, groups []string) (map[string]groupAnswer[[]string], error) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = groups
	answer, err := b.ask(ctx, node, req)
	if err != nil {
		return nil, err
	}
	assigned := make(map[string]groupAnswer[[]string], len(groups))
	var modern []string // groups of the protocol that brokers since 4.0 speak
	for _, group := range answer.(*kmsg.DescribeGroupsResponse).Groups {
		err := kerr.ErrorForCode(group.ErrorCode)
		if errors.Is(err, kerr.GroupIDNotFound) || err == nil && group.State == "Dead" {
			modern = append(modern, group.Group)
			continue
		}
		assigned[group.Group] = groupAnswer[[]string]{assignedTopics(group), err}
	}
	if len(modern) > 0 {
		b.modernAssignments(ctx, node, modern, assigned)
	}
	return assigned, nil
}

// assignedTopics are those of a group's members, some of them perhaps more than
// once. Members of other protocols than consumers' have none.
func assignedTopics(group kmsg.DescribeGroupsResponseGroup) (topics []string) {
	if group.ProtocolType != "consumer" {
		return nil
	}
	for _, member := range group.Members {
		assigned, ok := assignedOf(member)
		if !ok {
			continue // it has not been assigned anything yet
		}
		for _, topic := range assigned.Topics {
			topics = append(topics, topic.Topic)
		}
	}
	return topics
}

// modernAssignments looks among the groups of the newer protocol. A broker that
// does not know it has none.
func (b *brokers) modernAssignments(ctx context.Context, node int32, groups []string, assigned map[string]groupAnswer[[]string]) {
	described, err := b.describeModern(ctx, node, groups)
	for _, name := range groups {
		assigned[name] = groupAnswer[[]string]{err: err}
	}
	for _, group := range described {
		one := groupAnswer[[]string]{err: kerr.ErrorForCode(group.ErrorCode)}
		if errors.Is(one.err, kerr.GroupIDNotFound) {
			one.err = nil
		}
		for _, member := range group.Members {
			for _, topic := range member.Assignment.TopicPartitions {
				one.answer = append(one.answer, topic.Topic)
			}
		}
		assigned[group.Group] = one
	}
}

func (b *brokers) describeModern(ctx context.Context, node int32, groups []string) ([]kmsg.ConsumerGroupDescribeResponseGroup, error) {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = groups
	known, err := b.takes(ctx, node, req.Key())
	if err != nil || !known {
		return nil, err
	}
	answer, err := b.ask(ctx, node, req)
	if err != nil {
		return nil, err
	}
	return answer.(*kmsg.ConsumerGroupDescribeResponse).Groups, nil
}

// takes tells whether a broker knows a request.
func (b *brokers) takes(ctx context.Context, node int32, key int16) (bool, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = clientID, "1"
	answer, err := b.ask(ctx, node, req)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(answer.(*kmsg.ApiVersionsResponse).ApiKeys, func(one kmsg.ApiVersionsResponseApiKey) bool {
		return one.ApiKey == key
	}), nil
}
