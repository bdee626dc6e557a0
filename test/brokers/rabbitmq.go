package brokers

import (
	"context"
	"errors"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"
)

// RabbitMQQueue is one durable queue.
type RabbitMQQueue struct {
	url, host, name string
	conn            *amqp.Connection
	channel         *amqp.Channel
}

// NewRabbitMQQueue declares a queue at an AMQP URL. host is what a trigger is
// told: the same URL, or that of the management API.
func NewRabbitMQQueue(url, host, name string) (*RabbitMQQueue, error) {
	conn, err := amqp.Dial(url)
	if err != nil {
		return nil, err
	}
	q := &RabbitMQQueue{url: url, host: host, name: name, conn: conn}
	if q.channel, err = conn.Channel(); err == nil {
		_, err = q.channel.QueueDeclare(name, true, false, false, false, nil)
	}
	if err == nil {
		err = q.channel.Confirm(false)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return q, nil
}

// Produce implements Queue.
func (q *RabbitMQQueue) Produce(ctx context.Context, n int) error {
	confirms := make([]*amqp.DeferredConfirmation, n)
	for i := range confirms {
		var err error
		confirms[i], err = q.channel.PublishWithDeferredConfirmWithContext(ctx, "", q.name, false, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("message " + strconv.Itoa(i))})
		if err != nil {
			return err
		}
	}
	for _, c := range confirms {
		if _, err := c.WaitContext(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Consume implements Queue.
func (q *RabbitMQQueue) Consume(ctx context.Context, n int) error {
	for range n {
		_, ok, err := q.channel.Get(q.name, true)
		if err != nil || !ok {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// Backlog implements Queue.
func (q *RabbitMQQueue) Backlog(context.Context) (int64, error) {
	state, err := q.channel.QueueDeclarePassive(q.name, true, false, false, false, nil)
	return int64(state.Messages), err
}

// Trigger implements Queue.
func (q *RabbitMQQueue) Trigger(perReplica int) Trigger {
	return Trigger{Type: "rabbitmq", Metadata: map[string]string{
		"host":      q.host,
		"queueName": q.name,
		"mode":      "QueueLength",
		"value":     strconv.Itoa(perReplica),
	}}
}

// Close implements Queue.
func (q *RabbitMQQueue) Close() {
	// The broker may be gone, and the connection with it.
	_ = q.conn.Close()
}
