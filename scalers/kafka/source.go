package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/params"
)

// partition is one partition of one topic.
type partition struct {
	topic  string
	number int32
}

// place is where a partition's log is, and where it ended at the last read.
type place struct {
	leader  int32
	topicID [16]byte // zero where brokers have none
	end     int64
}

// facts is the Detail of a reading: what was seen of each partition. Each
// trigger makes its own numbers out of it.
type facts []position

// question is what is read: not how it counts.
type question struct {
	group string
	// topics are those to look at; none stands for those of the group.
	topics []string
	// only are the partitions to look at; none stands for all.
	only params.Ranges
	// apache follows the rules of trigger type apache-kafka where they differ.
	apache bool
}

// What is kept of each partition between two reads takes some hundred bytes, and
// the brokers say how many partitions there are.
const (
	// mostPartitions is how many one trigger may be about.
	mostPartitions = 10_000
	// mostOfNamespace and mostOfAll are how many those of one namespace, and of
	// the process, may be about together.
	mostOfNamespace = 100_000
	mostOfAll       = 250_000
)

var partitions = client.NewAllowance("partitions", mostOfNamespace, mostOfAll)

// lagSource reads how far one consumer group is behind.
type lagSource struct {
	scaler.Member
	question
	cluster *cluster
	log     *slog.Logger
	held    *client.Holding // of partitions

	mu       sync.Mutex // Listen runs beside Read
	since    map[partition]sighting
	places   map[partition]place // after the last good read
	listener *listener           // while somebody listens
	silent   bool                // the group has no topics, and that was logged
}

// sighting is a committed offset and when it was first seen.
type sighting struct {
	committed int64
	first     time.Time
}

// openLag opens the source for what is asked, and counts what it keeps.
func openLag(ctx context.Context, c *cluster, q question) *lagSource {
	s := newLagSource(c, q)
	s.held = partitions.Of(ctx)
	return s
}

func newLagSource(c *cluster, q question) *lagSource {
	return scaler.Join(c, &lagSource{question: q, cluster: c, log: slog.Default()})
}

// Close forgets what was kept for the source. The connection is shared.
func (s *lagSource) Close() error {
	s.cluster.coordinators.forget([]string{s.group})
	return s.held.Set(0)
}

// hold counts the partitions that a read is about to look at.
func (s *lagSource) hold(n int) error {
	err := tooMany(n)
	if err == nil {
		err = s.held.Set(n)
	}
	return failure("consumer group "+s.group, err)
}

// tooMany refuses what is too much for one trigger.
func tooMany(partitions int) error {
	if partitions <= mostPartitions {
		return nil
	}
	return scaler.Errorf(codes.ResourceExhausted, "%d partitions to look at, more than the %d of one trigger; see topic and partitionLimitation",
		partitions, mostPartitions)
}

// observed remembers a good read and turns it into a reading.
func (s *lagSource) observed(now time.Time, committed map[partition]int64, places map[partition]place) []scaler.Reading {
	s.mu.Lock()
	since := make(map[partition]sighting, len(committed)) // those gone are forgotten
	seen := make(facts, 0, len(committed))
	for at, offset := range committed {
		first := now
		if before, ok := s.since[at]; ok && before.committed == offset {
			first = before.first
		}
		since[at] = sighting{offset, first}
		log, ok := places[at]
		seen = append(seen, position{
			Committed: offset, End: log.end, HasEnd: ok && log.end >= 0, Unchanged: now.Sub(first),
		})
	}
	s.since, s.places = since, places
	l := s.listener
	s.mu.Unlock()

	s.note(len(committed) == 0)
	readings := seen.readings()
	if l != nil {
		readings[0].EventTime = s.cluster.watcher.arrivedAt(l)
		s.cluster.watcher.park(l, places)
	}
	return readings
}

// readings carry the facts, and the plain lag for triggers that do not shape them.
func (f facts) readings() []scaler.Reading {
	plain := lagParams{LagThreshold: 1, OffsetResetPolicy: latest, AllowIdleConsumers: true}
	total, _ := plain.backlog(f, 0)
	return []scaler.Reading{{Value: float64(total), Activity: float64(total), Detail: f}}
}

// shape makes the numbers of one trigger out of what all share.
func (p lagParams) shape(raw []scaler.Reading, interval time.Duration) []scaler.Reading {
	shaped := make([]scaler.Reading, len(raw))
	for i, reading := range raw {
		if seen, ok := reading.Detail.(facts); ok {
			total, waiting := p.backlog(seen, interval)
			reading.Value, reading.Activity = float64(total), float64(waiting)
		}
		shaped[i] = reading
	}
	return shaped
}

// note says once that a group gives nothing to look at: its consumers would
// never start.
func (s *lagSource) note(nothing bool) {
	s.mu.Lock()
	said := s.silent
	s.silent = nothing
	s.mu.Unlock()
	if nothing && !said {
		s.log.Info("consumer group has no committed offsets, so no topic to look at; name the topic to start from zero",
			"consumerGroup", s.group)
	}
}
