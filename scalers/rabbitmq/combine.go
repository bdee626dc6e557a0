package main

import (
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// queueAnswer is what the management API says of one queue. Statistics are
// sampled; what is absent has not happened lately, and is 0.
type queueAnswer struct {
	Name     string     `json:"name"`
	State    string     `json:"state"`
	Messages *int64     `json:"messages"`
	Ready    *int64     `json:"messages_ready"`
	Stats    statistics `json:"message_stats"`
}

type statistics struct {
	Publish    rate `json:"publish_details"`
	DeliverGet rate `json:"deliver_get_details"`
}

type rate struct {
	Rate float64 `json:"rate"`
}

// counts are the numbers of one queue. A queue that is down, or has lost its
// majority, has none: it is an error, not empty.
func (a queueAnswer) counts() (counts, error) {
	if a.Messages == nil && a.State != "" && a.State != "running" {
		return counts{}, scaler.Errorf(codes.Unavailable, "is not running")
	}
	seen := counts{published: a.Stats.Publish.Rate, delivered: a.Stats.DeliverGet.Rate}
	if a.Messages != nil {
		seen.messages = *a.Messages
	}
	if a.Ready != nil {
		seen.ready = *a.Ready
	}
	return seen, nil
}

// combine makes one of several queues, each number by itself. No queue at all
// is empty.
func combine(answers []queueAnswer, operation string) (counts, error) {
	var sum, highest counts
	for _, answer := range answers {
		one, err := answer.counts()
		if err != nil {
			return counts{}, scaler.Errorf(codes.Unavailable, "queue %s is not running", answer.Name)
		}
		sum.messages += one.messages
		sum.ready += one.ready
		sum.published += one.published
		sum.delivered += one.delivered
		highest.messages = max(highest.messages, one.messages)
		highest.ready = max(highest.ready, one.ready)
		highest.published = max(highest.published, one.published)
		highest.delivered = max(highest.delivered, one.delivered)
	}
	if len(answers) == 0 {
		return counts{}, nil
	}
	switch operation {
	case "sum":
		return sum, nil
	case "max":
		return highest, nil
	case "avg":
		n := int64(len(answers))
		return counts{
			messages: sum.messages / n, ready: sum.ready / n,
			published: sum.published / float64(n), delivered: sum.delivered / float64(n),
		}, nil
	default:
		return counts{}, scaler.Errorf(codes.InvalidArgument, "operation: %q is none of sum, avg, max", operation)
	}
}
