package main

import (
	"context"
	"errors"
	"strings"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// apacheKafka scales on how far a consumer group is behind in one or several
// topics, or in all topics it has committed offsets for or is assigned to.
var apacheKafka = scaler.Define("apache-kafka", openApacheKafka, scaler.RingsAt(doorbellCost))

// apacheKafkaParams is the metadata of an apache-kafka trigger.
type apacheKafkaParams struct {
	scaler.Object
	brokerParams
	groupParams
	lagParams
	apacheLogin

	// Topic lists the topics to look at; without it all topics that the group
	// has committed offsets for or whose partitions its members are assigned.
	Topic []string `param:"topic" from:"trigger,env"`
}

// Name is that of the topics, or of the group when it stands for its topics.
func (p apacheKafkaParams) Name() string { return p.nameOf(strings.Join(p.Topic, ",")) }

// Validate checks what parameters ask of each other.
func (p apacheKafkaParams) Validate() error {
	if p.LimitToPartitionsWithLag && len(p.topics()) == 0 {
		return errors.New("limitToPartitionsWithLag: needs topic")
	}
	return nil
}

// topics are the topics without blank elements.
func (p apacheKafkaParams) topics() []string {
	var topics []string
	for _, topic := range p.Topic {
		if topic != "" {
			topics = append(topics, topic)
		}
	}
	return topics
}

// Shape makes this trigger's numbers out of what all who share the read see.
func (p apacheKafkaParams) Shape(raw []scaler.Reading) []scaler.Reading {
	return p.shape(raw, p.PollingInterval)
}

// openApacheKafka connects to nothing yet: the first read does.
func openApacheKafka(ctx context.Context, p apacheKafkaParams) (scaler.Source, error) {
	c, err := share(ctx, p.BootstrapServers, "", p.apacheLogin)
	if err != nil {
		return nil, err
	}
	return openLag(ctx, c, question{
		group: p.ConsumerGroup, topics: p.topics(), only: p.PartitionLimitation, apache: true,
	}), nil
}
