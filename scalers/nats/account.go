package main

import (
	"context"
	"sync"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// account is one account as a monitoring endpoint shows it. It is the batch of
// its consumers: a listing has all of them.
type account struct {
	monitoring *monitoring
	id, name   string
}

// shareAccount returns the one for an endpoint and an account.
func shareAccount(ctx context.Context, p monitoringParams) (*account, error) {
	base, err := p.base()
	if err != nil {
		return nil, err
	}
	return client.Shared(ctx, []any{base.String(), p.id(), p.Account}, func(ctx context.Context) (*account, error) {
		m, err := shareMonitoring(ctx, base)
		return &account{monitoring: m, id: p.id(), name: p.Account}, err
	})
}

// Part says that the connection is the endpoint's.
func (a *account) Part() {}

// Undivided says that to ask for one consumer is to ask for all. Each server of
// a cluster answers for those that it leads, beside the others.
func (a *account) Undivided() {}

// consumerSource is one consumer.
type consumerSource struct {
	scaler.Member
	account          *account
	doorbell         *doorbell // nil without a client port
	stream, consumer string

	mu       sync.Mutex
	leader   string    // as of the last read
	server   string    // by id, whose numbers were the last
	since    time.Time // when they were another's before; zero for never
	subjects subjects
	held     *client.Holding
	changed  func() // is called when they are others; nil for nobody
}

// heard is what may be remembered of subjects, which whoever runs a server has as
// many of as they like.
var heard = client.NewAllowance("bytes of subjects that are listened to", mostOfSubjects, 2*mostOfSubjects)

// mostOfSubjects is that of one namespace: 10,000 triggers with a subject or two
// stay below it.
const mostOfSubjects = 12 << 20

func (s *consumerSource) place() place { return place{s.stream, s.consumer} }

// lastLeader is where the consumer's numbers were the last time.
func (s *consumerSource) lastLeader() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leader
}

// settling is how long who begins to lead may take until it has counted what is
// pending. Until then it says 0, as one does that has started and does not know the
// leader yet.
const settling = 10 * time.Second

// early reports whether a server that says that nothing is pending may have begun
// too late to know. server is its id.
func (s *consumerSource) early(c consumer, server string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != server {
		if s.server != "" {
			s.since = now
		}
		s.server = server
	}
	began := c.led >= 0 && c.led < settling || !s.since.IsZero() && now.Sub(s.since) < settling
	return c.doubtful && (c.alone || began)
}

// remember notes what else a read has found. Subjects that nobody listens to are
// not kept.
func (s *consumerSource) remember(c consumer) {
	s.mu.Lock()
	s.leader = c.leader
	known := s.doorbell == nil || s.subjects == c.subjects
	s.mu.Unlock()
	if known {
		return
	}
	kept := c.subjects
	if err := s.held.Set(kept.size()); err != nil {
		_ = s.held.Set(0) // never refused
		kept = subjects{unheard: "is not listened to: " + err.Error()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subjects == kept {
		return
	}
	s.subjects = kept
	if s.changed != nil {
		s.changed()
	}
}

// Close gives back what its subjects hold.
func (s *consumerSource) Close() error { return s.held.Set(0) }

// ReadBatch asks the servers that led the consumers the last time, and then the
// others that are known. Only what is still open has the cluster looked at anew.
func (a *account) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	r := newRound(a, sources, answer)
	known, age := a.monitoring.known()
	if len(known) == 0 {
		return r.first(ctx)
	}
	r.ask(ctx, r.leading(known), 3)
	r.ask(ctx, known, 2)
	if r.done() || age < rediscover && r.settled(known) {
		r.giveUp()
		return nil
	}
	return r.everywhere(ctx)
}
