package main

import (
	"cmp"

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

// combined is what queues that match a pattern have together.
type combined struct {
	sum, highest counts
	queues       int64
	err          error // of the first that cannot be counted
}

func (c *combined) add(answer queueAnswer) {
	one, err := answer.counts()
	if err != nil {
		c.err = cmp.Or(c.err, scaler.Errorf(codes.Unavailable, "queue %s is not running", answer.Name))
		return
	}
	c.queues++
	c.sum.messages += one.messages
	c.sum.ready += one.ready
	c.sum.published += one.published
	c.sum.delivered += one.delivered
	c.highest.messages = max(c.highest.messages, one.messages)
	c.highest.ready = max(c.highest.ready, one.ready)
	c.highest.published = max(c.highest.published, one.published)
	c.highest.delivered = max(c.highest.delivered, one.delivered)
}

// by makes one of them.
func (c *combined) by(operation string) (counts, error) {
	switch n := c.queues; {
	case c.err != nil:
		return counts{}, c.err
	case n == 0:
		return counts{}, nil
	case operation == "sum":
		return c.sum, nil
	case operation == "max":
		return c.highest, nil
	case operation == "avg":
		return counts{
			messages: c.sum.messages / n, ready: c.sum.ready / n,
			published: c.sum.published / float64(n), delivered: c.sum.delivered / float64(n),
		}, nil
	default:
		return counts{}, scaler.Errorf(codes.InvalidArgument, "operation: %q is none of sum, avg, max", operation)
	}
}
