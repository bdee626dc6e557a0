// Package brokers puts work into a broker and takes it out again, for the demo,
// the end-to-end scenarios and the benchmarks.
package brokers

import "context"

// Queue is one queue of a broker: a Kafka topic with a consumer group, a
// RabbitMQ queue, a stream of NATS with a consumer, or a queue of Azure Storage.
type Queue interface {
	// Produce adds n messages and returns when the broker has acknowledged all.
	Produce(ctx context.Context, n int) error
	// Consume takes up to n messages out.
	Consume(ctx context.Context, n int) error
	// Backlog counts the messages that wait, as the broker does.
	Backlog(ctx context.Context) (int64, error)
	// Trigger is a trigger on the queue with a target of perReplica messages.
	Trigger(perReplica int) Trigger
	// Close ends the connections.
	Close()
}

// Trigger is one entry of spec.triggers.
type Trigger struct {
	Type     string
	Metadata map[string]string
}
