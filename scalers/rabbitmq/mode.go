package main

import (
	"errors"
	"math"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// Values of mode.
const (
	queueLength                  = "QueueLength"
	messageRate                  = "MessageRate"
	deliverGetRate               = "DeliverGetRate"
	publishedToDeliveredRatio    = "PublishedToDeliveredRatio"
	expectedQueueConsumptionTime = "ExpectedQueueConsumptionTime"
)

// defaultLength is the target of a trigger that names none, in messages.
const defaultLength = 20

// targetParams say what is measured and what one replica is to carry. None of
// them changes what is asked of the broker.
type targetParams struct {
	// Mode is what is measured: messages in the queue, messages published or
	// delivered per second, publishing divided by delivery, or the seconds it
	// takes to empty the queue. All but QueueLength need HTTP.
	Mode string `param:"mode" enum:"QueueLength,MessageRate,DeliverGetRate,PublishedToDeliveredRatio,ExpectedQueueConsumptionTime" question:"false"`
	// Value is the target, in the unit of mode. Without mode, value and
	// queueLength it is 20 messages.
	Value float64 `param:"value" role:"target"`
	// QueueLength is the old way to write mode QueueLength and its value.
	QueueLength float64 `param:"queueLength" role:"target" unit:"messages"`
	// ActivationValue is the activation threshold, in the unit of mode.
	ActivationValue float64 `param:"activationValue" default:"0" role:"activation"`
	// ExcludeUnacknowledged counts only messages that no consumer has taken.
	// It needs HTTP.
	ExcludeUnacknowledged bool `param:"excludeUnacknowledged" default:"false" question:"false"`
}

// Validate checks that the target is given in one way, and completely. A 0
// counts as not given.
func (p targetParams) Validate() error {
	switch {
	case p.QueueLength != 0 && (p.Mode != "" || p.Value != 0):
		return errors.New("queueLength: cannot be combined with mode and value; use mode QueueLength with value instead")
	case p.Mode == "" && p.Value != 0:
		return errors.New("mode: is required with value")
	case p.Mode != "" && p.Value == 0:
		return errors.New("value: is required with mode, and is not 0")
	}
	return nil
}

// effective is the mode with its target after defaults.
func (p targetParams) effective() (mode string, target float64) {
	switch {
	case p.Mode != "" || p.Value != 0:
		return p.Mode, p.Value
	case p.QueueLength != 0:
		return queueLength, p.QueueLength
	default:
		return queueLength, defaultLength
	}
}

// counts is what is known of one queue, or of several combined.
type counts struct {
	messages, ready      int64   // ready are those that no consumer has taken
	published, delivered float64 // messages per second
}

// readings carry the counts, with the length for who does not shape it.
func (c counts) readings() []scaler.Reading {
	length := float64(c.messages)
	return []scaler.Reading{{Value: length, Activity: length, Detail: c}}
}

// measure returns the metric of this trigger and what is held against its
// activation threshold.
//
// Without any delivery a ratio and a time have no value. They are the
// threshold itself then, and active: odd, and kept for KEDA's sake, since
// formulas and fallbacks are built on it.
func (p targetParams) measure(c counts) (value, activity float64) {
	backlog := float64(c.messages)
	if p.ExcludeUnacknowledged {
		backlog = float64(c.ready)
	}
	switch mode, _ := p.effective(); mode {
	case messageRate:
		// What came while nobody published any more is worked off, too.
		return c.published, max(c.published, backlog)
	case deliverGetRate:
		return c.delivered, c.delivered
	case publishedToDeliveredRatio:
		if c.published == 0 {
			return 0, 0
		}
		return p.unlessStuck(c, c.published/c.delivered)
	case expectedQueueConsumptionTime:
		if backlog == 0 {
			return 0, 0
		}
		return p.unlessStuck(c, (c.published-c.delivered)/c.delivered+backlog/c.delivered)
	default:
		return backlog, backlog
	}
}

// unlessStuck is value, or when nothing is delivered the threshold with an
// activity just above it.
func (p targetParams) unlessStuck(c counts, value float64) (float64, float64) {
	if c.delivered == 0 {
		return p.ActivationValue, math.Nextafter(p.ActivationValue, math.Inf(1))
	}
	return value, value
}
