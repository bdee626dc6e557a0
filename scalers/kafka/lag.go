package main

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// position is what was seen of one partition.
type position struct {
	// Committed is the group's offset, or none.
	Committed int64
	// End is the log-end offset; it counts only with HasEnd. Azure Event Hubs
	// now and then leaves partitions out of its answer.
	End    int64
	HasEnd bool
	// Unchanged is for how long the committed offset has been the same; 0 on
	// first sight and after each change.
	Unchanged time.Duration
}

// none is the committed offset of a partition that the group never committed.
const none = -1

// Policies for partitions without a committed offset.
const (
	latest   = "latest"
	earliest = "earliest"
)

// lagParams is how lag becomes a metric, the same for both trigger types. None
// of it is part of the question: triggers that differ here share one read.
type lagParams struct {
	// LagThreshold is the target: messages of lag one replica is expected to
	// carry.
	LagThreshold int64 `param:"lagThreshold" default:"10" role:"target" unit:"messages"`
	// ActivationLagThreshold is the lag above which the workload leaves zero.
	// It is held against the whole lag, before any cap or exclusion.
	ActivationLagThreshold int64 `param:"activationLagThreshold" default:"0" role:"activation" unit:"messages"`
	// OffsetResetPolicy says how a partition counts that the group never
	// committed: latest as one message, earliest as its log-end offset.
	OffsetResetPolicy string `param:"offsetResetPolicy" default:"latest" enum:"latest,earliest" question:"false"`
	// ScaleToZeroOnInvalidOffset counts partitions without a committed offset
	// as empty.
	ScaleToZeroOnInvalidOffset bool `param:"scaleToZeroOnInvalidOffset" default:"false" question:"false"`
	// AllowIdleConsumers removes the cap at one replica per partition.
	AllowIdleConsumers bool `param:"allowIdleConsumers" default:"false" question:"false"`
	// ExcludePersistentLag leaves partitions out of the metric whose committed
	// offset did not move for a whole polling interval. They still activate.
	ExcludePersistentLag bool `param:"excludePersistentLag" default:"false" question:"false"`
	// LimitToPartitionsWithLag caps at one replica per partition that has lag.
	LimitToPartitionsWithLag bool `param:"limitToPartitionsWithLag" default:"false" question:"false"`
	// EnsureEvenDistributionOfPartitions raises the metric so that the number
	// of replicas divides the number of partitions.
	EnsureEvenDistributionOfPartitions bool `param:"ensureEvenDistributionOfPartitions" default:"false" question:"false"`
}

// Validate checks the rules that both trigger types have.
func (p lagParams) Validate() error {
	var problems []error
	if p.LagThreshold <= 0 {
		problems = append(problems, fmt.Errorf("lagThreshold: target %d is not greater than 0", p.LagThreshold))
	}
	if p.ActivationLagThreshold < 0 {
		problems = append(problems, errors.New("activationLagThreshold: must not be negative"))
	}
	if p.AllowIdleConsumers && p.LimitToPartitionsWithLag {
		problems = append(problems, errors.New("allowIdleConsumers: cannot be combined with limitToPartitionsWithLag"))
	}
	return errors.Join(problems...)
}

// backlog adds the partitions up. total is the metric in messages, waiting is
// what is held against the activation threshold: neither capped, nor without
// persistent lag, nor rounded.
//
// The cap cuts whenever total exceeds bound × threshold, so that there is never
// one replica too many.
func (p lagParams) backlog(positions []position, interval time.Duration) (total, waiting int64) {
	var partitions, lagging int64
	for _, at := range positions {
		counted, seen := p.lag(at, interval)
		total = add(total, counted)
		waiting = add(waiting, seen)
		if at.HasEnd {
			partitions++
		}
		if counted > 0 {
			lagging++
		}
	}
	return p.limit(total, partitions, lagging), waiting
}

// lag returns one partition's part of the metric and of the activity, in
// messages. The order of the cases is KEDA's.
func (p lagParams) lag(at position, interval time.Duration) (counted, seen int64) {
	uncommitted := at.Committed == none
	switch {
	case uncommitted && p.ScaleToZeroOnInvalidOffset:
		return 0, 0
	case uncommitted && p.OffsetResetPolicy == latest:
		return 1, 1
	case !at.HasEnd:
		return 0, 0
	case uncommitted:
		return max(at.End, 0), max(at.End, 0)
	}
	// Negative after a topic was created anew: it must not hide the lag of
	// other partitions.
	seen = max(at.End-at.Committed, 0)
	if p.ExcludePersistentLag && persistent(at, interval) {
		return 0, seen
	}
	return seen, seen
}

// persistent is true when the committed offset stood still for a polling
// interval. Reads that are made together may come a tenth of it early.
func persistent(at position, interval time.Duration) bool {
	return at.Unchanged > 0 && at.Unchanged >= interval-interval/10
}

// limit rounds and caps the sum.
func (p lagParams) limit(total, partitions, lagging int64) int64 {
	if p.AllowIdleConsumers && !p.LimitToPartitionsWithLag && !p.EnsureEvenDistributionOfPartitions {
		return total
	}
	if p.EnsureEvenDistributionOfPartitions {
		total = times(evenShare(total, partitions, p.LagThreshold), p.LagThreshold)
	}
	bound := partitions
	if p.LimitToPartitionsWithLag {
		bound = lagging
	}
	return min(total, times(bound, p.LagThreshold))
}

// evenShare is the smallest divisor of partitions that carries total with
// threshold each, or partitions when none does.
func evenShare(total, partitions, threshold int64) int64 {
	for replicas := int64(1); replicas < partitions; replicas++ {
		if partitions%replicas == 0 && times(replicas, threshold) >= total {
			return replicas
		}
	}
	return partitions
}

// add and times stay at the largest number instead of wrapping; neither
// operand is negative.
func add(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func times(a, b int64) int64 {
	if a != 0 && b > math.MaxInt64/a {
		return math.MaxInt64
	}
	return a * b
}
