package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// TestOneGroupMakesTheAnswerTooLarge has a group whose committed offsets have more
// metadata than an answer may have, beside others of its coordinator. All that were
// asked for together fail by an error that says so to the sampler, which has them
// asked by parts; and by themselves the others are read.
func TestOneGroupMakesTheAnswerTooLarge(t *testing.T) {
	fake, servers := fakeCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "jobs"))
	operate(t, servers).produce("jobs", 0, 5)
	fake.ControlKey(offsetFetchKey, func(req kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		return manyCommitted(req.(*kmsg.OffsetFetchRequest)), nil, true
	})
	c := join(t, servers)
	var sources []scaler.Source
	for _, group := range []string{"large", "crew", "workers"} {
		sources = append(sources, newLagSource(c, question{group: group, topics: []string{"jobs"}}))
	}
	tooLarge := func(err error) bool {
		var peer *client.PeerError
		return errors.As(err, &peer) && !peer.OfAll() && strings.Contains(err.Error(), "announced an answer of ")
	}
	for i, r := range scaler.ReadTogether(t.Context(), c, sources...) {
		if !tooLarge(r.Err) {
			t.Errorf("source %d, together: %v, %v", i, r.Readings, r.Err)
		}
	}
	if r := scaler.ReadTogether(t.Context(), c, sources[:1]...)[0]; !tooLarge(r.Err) {
		t.Errorf("the large one alone: %v, %v", r.Readings, r.Err)
	}
	for i, r := range scaler.ReadTogether(t.Context(), c, sources[1:]...) {
		if value, _, err := result(r); err != nil || value != 5 {
			t.Errorf("source %d of the others: %v, %v, want 5", i, value, err)
		}
	}
}

// manyCommitted answers about groups; the one that is large has 2,100 offsets with
// 4 KiB of metadata.
func manyCommitted(req *kmsg.OffsetFetchRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	for _, asked := range req.Groups {
		n, metadata := 1, ""
		if asked.Group == "large" {
			n, metadata = 2100, strings.Repeat("x", 4<<10)
		}
		topic := kmsg.NewOffsetFetchResponseGroupTopic()
		topic.Topic = "jobs"
		for number := range n {
			p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			p.Partition, p.Metadata = int32(number), &metadata
			topic.Partitions = append(topic.Partitions, p)
		}
		group := kmsg.NewOffsetFetchResponseGroup()
		group.Group = asked.Group
		group.Topics = append(group.Topics, topic)
		resp.Groups = append(resp.Groups, group)
	}
	return resp
}
