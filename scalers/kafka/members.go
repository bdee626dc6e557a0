package main

import (
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// assignments returns the topics that the members of each group are assigned
// to, and what went wrong by group. A group without members is assigned
// nothing, which is no error: its committed offsets still name topics.
func assignments(ctx context.Context, client *kgo.Client, groups []string) (topics map[string][]string, failed map[string]error) {
	topics, failed = make(map[string][]string), make(map[string]error)
	slices.Sort(groups)
	groups = slices.Compact(groups)
	described, err := kadm.NewClient(client).DescribeGroups(ctx, groups...)
	var parts *kadm.ShardErrors
	if err != nil && !errors.As(err, &parts) {
		for _, group := range groups {
			failed[group] = err
		}
		return topics, failed
	}
	var modern []string // groups of the protocol that brokers since 4.0 speak
	for _, group := range groups {
		answer, ok := described[group]
		switch {
		case !ok && err != nil:
			failed[group] = err
		case !ok:
			failed[group] = errOmitted
		case errors.Is(answer.Err, kerr.GroupIDNotFound), answer.Err == nil && answer.State == "Dead":
			modern = append(modern, group)
		case answer.Err != nil:
			failed[group] = answer.Err
		default:
			topics[group] = answer.AssignedPartitions().Topics()
		}
	}
	if len(modern) == 0 {
		return topics, failed
	}
	err = modernAssignments(ctx, client, modern, topics)
	for _, group := range modern {
		if err != nil {
			failed[group] = err
		}
	}
	return topics, failed
}

// modernAssignments looks among the groups of the newer protocol. Brokers that
// do not know it have none.
func modernAssignments(ctx context.Context, client *kgo.Client, groups []string, topics map[string][]string) error {
	known, err := knowsModernGroups(ctx, client)
	if err != nil || !known {
		return err
	}
	described, err := kadm.NewClient(client).DescribeConsumerGroups(ctx, groups...)
	if err != nil {
		return err
	}
	for name, group := range described {
		if group.Err != nil && !errors.Is(group.Err, kerr.GroupIDNotFound) {
			return group.Err
		}
		topics[name] = group.AssignedPartitions().Topics()
	}
	return nil
}

func knowsModernGroups(ctx context.Context, client *kgo.Client) (bool, error) {
	describe := kmsg.NewConsumerGroupDescribeRequest()
	answer, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, client)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(answer.ApiKeys, func(key kmsg.ApiVersionsResponseApiKey) bool {
		return key.ApiKey == describe.Key()
	}), nil
}
