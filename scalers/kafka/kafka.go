package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/params"
)

// kafka scales on how far a consumer group is behind in one topic, or in all
// topics it has committed offsets for.
var kafka = scaler.Define("kafka", openKafka, scaler.RingsAt(doorbellCost))

// doorbellCost is what a doorbell asks of a cluster.
const doorbellCost = "one parked fetch per broker for all triggers, a second one for those that came while it is parked, " +
	"and one record batch per arrival; " +
	"needs the permission Read on the topic"

// kafkaParams is the metadata of a kafka trigger.
type kafkaParams struct {
	scaler.Object
	brokerParams
	groupParams
	lagParams
	kafkaLogin

	// Topic is the one topic to look at; without it all topics that the group
	// has committed offsets for.
	Topic string `param:"topic" from:"trigger,env"`
	// Version bounds the protocol to that of a Kafka release, such as 2.8.0.
	// Without it, client and broker agree on the newest that both know.
	Version string `param:"version"`
	// FullMetadata is accepted and changes nothing: only the topics that are
	// needed are ever kept.
	FullMetadata bool `param:"fullMetadata" default:"true" question:"false"`
}

// brokerParams say where the cluster is.
type brokerParams struct {
	// BootstrapServers are the brokers to begin with, each host:port.
	BootstrapServers []string `param:"bootstrapServers,required" from:"trigger,env"`
}

// groupParams say whose lag counts.
type groupParams struct {
	// ConsumerGroup is the group whose committed offsets are compared with the
	// log ends.
	ConsumerGroup string `param:"consumerGroup,required" from:"trigger,env"`
	// PartitionLimitation lists the partitions to look at, such as 1,2,5-9;
	// all when absent. It means nothing without topic.
	PartitionLimitation params.Ranges `param:"partitionLimitation"`
}

// Validate checks that there is a server among the elements.
func (p brokerParams) Validate() error {
	named := len(seeds(p.BootstrapServers))
	if named == 0 {
		return errors.New("bootstrapServers: names no server")
	}
	return client.CheckServers("bootstrapServers", named)
}

// Silent keeps the doorbell off where fetched bytes are billed, and at servers
// that only speak like Kafka.
func (p brokerParams) Silent() string {
	if host := metered(p.BootstrapServers); host != "" {
		return host + " may bill what a parked fetch reads"
	}
	return ""
}

// Name is that of the topic, or of the group when it stands for its topics.
func (p kafkaParams) Name() string { return p.nameOf(p.Topic) }

func (p groupParams) nameOf(topics string) string {
	if topics == "" {
		return scaler.MetricName("kafka", p.ConsumerGroup, "topics")
	}
	return scaler.MetricName("kafka", topics)
}

// Validate checks what parameters ask of each other.
func (p kafkaParams) Validate() error {
	var problems []error
	if p.LimitToPartitionsWithLag && p.EnsureEvenDistributionOfPartitions {
		problems = append(problems,
			errors.New("limitToPartitionsWithLag: cannot be combined with ensureEvenDistributionOfPartitions"))
	}
	for _, needy := range []struct {
		key string
		set bool
	}{
		{"limitToPartitionsWithLag", p.LimitToPartitionsWithLag},
		{"ensureEvenDistributionOfPartitions", p.EnsureEvenDistributionOfPartitions},
		{"fullMetadata", !p.FullMetadata},
	} {
		if needy.set && p.Topic == "" {
			problems = append(problems, fmt.Errorf("%s: needs topic", needy.key))
		}
	}
	if _, err := protocol(p.Version); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// Shape makes this trigger's numbers out of what all who share the read see.
func (p kafkaParams) Shape(raw []scaler.Reading) []scaler.Reading {
	return p.shape(raw, p.PollingInterval)
}

// openKafka connects to nothing yet: the first read does.
func openKafka(ctx context.Context, p kafkaParams) (scaler.Source, error) {
	c, err := share(ctx, p.BootstrapServers, p.Version, p.kafkaLogin)
	if err != nil {
		return nil, err
	}
	asked := question{group: p.ConsumerGroup, only: p.PartitionLimitation}
	if p.Topic != "" {
		asked.topics = []string{p.Topic}
	}
	return openLag(ctx, c, asked), nil
}

// share returns the one client for a cluster and a login.
func share(ctx context.Context, servers []string, version string, login interface {
	security(context.Context) (security, error)
}) (*cluster, error) {
	servers = seeds(servers)
	return client.Shared(ctx, []any{servers, version, login}, func(ctx context.Context) (*cluster, error) {
		secured, err := login.security(ctx)
		if err != nil {
			return nil, err
		}
		return endpoint{servers: servers, version: version, security: secured}.connect(ctx)
	})
}
