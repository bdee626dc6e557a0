package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
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
	only []int
	// apache follows the rules of trigger type apache-kafka where they differ.
	apache bool
}

// lagSource reads how far one consumer group is behind.
type lagSource struct {
	question
	cluster *cluster
	log     *slog.Logger

	mu     sync.Mutex // Listen runs beside Read
	since  map[partition]sighting
	places map[partition]place // after the last good read
	ear    *ear                // while somebody listens
	silent bool                // the group has no topics, and it was said
}

// sighting is a committed offset and when it was first seen.
type sighting struct {
	committed int64
	first     time.Time
}

func newLagSource(c *cluster, q question) *lagSource {
	return &lagSource{question: q, cluster: c, log: slog.Default()}
}

// Read asks for committed offsets and log ends now.
func (s *lagSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	return scaler.ReadAlone(ctx, s.cluster, s)
}

// Batch is the cluster: sources on it are read together.
func (s *lagSource) Batch() scaler.Batch { return s.cluster }

// Close has nothing of its own to release: the connection is shared.
func (s *lagSource) Close() error { return nil }

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
	ear := s.ear
	s.mu.Unlock()

	s.note(len(committed) == 0)
	readings := seen.readings()
	if ear != nil {
		readings[0].EventTime = s.cluster.bell.heard(ear)
		s.cluster.bell.park(ear, places)
	}
	return readings
}

// readings carry the facts, with the plain lag for who does not shape it.
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
