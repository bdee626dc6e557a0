package main

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// azureQueue scales on the messages of one Azure Storage queue.
var azureQueue = scaler.Define("azure-queue", openQueue)

// queueParams is the metadata of an azure-queue trigger.
type queueParams struct {
	storageParams

	// QueueName is the queue.
	QueueName string `param:"queueName,required"`
	// QueueLength is the target: messages one replica is expected to carry.
	QueueLength int64 `param:"queueLength" default:"5" role:"target" unit:"messages"`
	// ActivationQueueLength is the activation threshold.
	ActivationQueueLength int64 `param:"activationQueueLength" default:"0" role:"activation" unit:"messages"`
	// Connection is the connection string of the storage account, with a key or
	// a shared access signature. Pod identity azure-workload ignores it.
	Connection string `param:"connection" from:"auth,trigger,env" secret:"true"`
	// QueueLengthStrategy says what counts: all messages, those at work
	// included, or visibleonly, those that wait. Of these no more than 31 can be
	// told apart: where there are more, all count.
	QueueLengthStrategy string `param:"queueLengthStrategy" default:"all" enum:"all,visibleonly"`
}

// Validate checks that there is a way to the account.
func (p queueParams) Validate() error { return p.check(p.Connection, "queue") }

// Warnings are about what is given in vain.
func (p queueParams) Warnings() []string { return p.warnings(p.Connection) }

// Name is that of the queue.
func (p queueParams) Name() string { return scaler.MetricName("azure-queue", p.QueueName) }

// queueSource reads one queue.
type queueSource struct {
	*storage
	queue       string
	visibleOnly bool
}

func openQueue(ctx context.Context, p queueParams) (scaler.Source, error) {
	s, err := p.open(ctx, p.Connection, "queue")
	if err != nil {
		return nil, err
	}
	return &queueSource{storage: s, queue: p.QueueName, visibleOnly: p.QueueLengthStrategy == "visibleonly"}, nil
}

// mostPeeked is how many messages can be looked at.
const mostPeeked = 32

// Read returns the messages, as approximate as the service counts them.
func (s *queueSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	what := "queue " + s.queue
	if s.visibleOnly {
		visible, err := s.peek(ctx, what)
		if err != nil {
			return nil, err
		}
		if visible < mostPeeked {
			return scaler.One(float64(visible)), nil
		}
	}
	answer, err := s.get(ctx, url.PathEscape(s.queue), url.Values{"comp": {"metadata"}})
	if err != nil {
		return nil, s.failure(what, err)
	}
	n, err := countOf(answer.Header)
	if err != nil {
		return nil, scaler.Errorf(codes.Unavailable, "%s: %w", what, err)
	}
	return scaler.One(float64(n)), nil
}

// countOf is the number of messages that a header says.
func countOf(header http.Header) (uint64, error) {
	const name = "x-ms-approximate-messages-count"
	text := strings.TrimSpace(header.Get(name))
	if text == "" {
		return 0, scaler.Errorf(codes.Unavailable, "the answer lacks the header %s", name)
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, scaler.Errorf(codes.Unavailable, "the header %s of the answer is not a number of messages", name)
	}
	return n, nil
}

// peek is how many messages can be received now, 32 at most.
func (s *queueSource) peek(ctx context.Context, what string) (int, error) {
	held, release := client.Held(ctx)
	defer release()
	answer, err := s.get(held, url.PathEscape(s.queue)+"/messages", url.Values{"peekonly": {"true"}, "numofmessages": {strconv.Itoa(mostPeeked)}})
	if err != nil {
		return 0, s.failure(what, err)
	}
	visible := 0
	err = eachElement(held, answer.Body, "QueueMessagesList", func(e element) error {
		if e.path == "QueueMessagesList/QueueMessage" {
			visible++
		}
		return nil
	})
	if err != nil {
		return 0, misunderstood(what, err)
	}
	return visible, nil
}
