package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// round is one reading of many consumers of an account. Each is answered by the
// server that leads it, as soon as that one has answered: what others say of it
// is old.
type round struct {
	account *account
	sources []scaler.Source
	answer  func(int, scaler.Result)
	wanted  map[place][]int // where they are among the sources

	mu      sync.Mutex
	open    map[place]bool     // whose answers are still to come
	seen    map[place]consumer // what servers say that do not lead
	early   map[place]bool     // whose leader may not have counted yet
	streams map[string]bool    // that any server has
	enabled bool               // any server has JetStream
	known   bool               // any server knows the account
	asked   map[string]bool    // servers that answered, by name
	failed  map[string]error   // those that did not
}

func newRound(a *account, sources []scaler.Source, answer func(int, scaler.Result)) *round {
	r := &round{
		account: a, sources: sources, answer: answer,
		wanted: map[place][]int{}, open: map[place]bool{}, seen: map[place]consumer{}, early: map[place]bool{}, streams: map[string]bool{}, asked: map[string]bool{}, failed: map[string]error{},
	}
	for i, source := range sources {
		p := source.(*consumerSource).place()
		r.wanted[p], r.open[p] = append(r.wanted[p], i), true
	}
	return r
}

// first asks the endpoint, of which nothing is known yet.
func (r *round) first(ctx context.Context) error {
	l, err := r.account.list(ctx, r.account.monitoring.base, r.wanted)
	if err != nil {
		return err
	}
	if l.servers > 1 {
		return r.everywhere(ctx)
	}
	r.take(l, "")
	r.giveUp()
	return nil
}

// everywhere looks for the servers of the cluster and asks those that have not
// answered yet.
func (r *round) everywhere(ctx context.Context) error {
	servers, err := r.account.monitoring.discover(ctx)
	if err != nil {
		return err
	}
	for _, s := range servers {
		delete(r.failed, s.name)
	}
	r.ask(ctx, servers, 1.2)
	r.giveUp()
	return nil
}

// leading are the servers that led what is wanted, all of them where that is
// not known of everything.
func (r *round) leading(servers []server) []server {
	led := map[string]bool{}
	for _, source := range r.sources {
		led[source.(*consumerSource).lastLeader()] = true
	}
	var some []server
	for _, s := range servers {
		if led[s.name] {
			some = append(some, s)
		}
	}
	if len(some) < len(led) {
		return servers
	}
	return some
}

// ask asks servers side by side, each of which has one share of the time that is
// left. Those that were asked before are not asked again.
func (r *round) ask(ctx context.Context, servers []server, shares float64) {
	if r.done() {
		return
	}
	ctx, cancel := part(ctx, shares)
	defer cancel()
	asking := scaler.NewGroup(serversAtOnce)
	for _, s := range r.unasked(servers) {
		asking.Go("reading "+s.name, func() {
			l, err := r.account.list(ctx, s.base, r.wanted)
			if err == nil && l.server != s.id && l.server != "" && s.id != "" {
				err = scaler.Errorf(codes.Unavailable, "has started anew, or moved")
			}
			if err != nil {
				r.fail(s, err)
				return
			}
			r.take(l, s.name)
		})
	}
	_ = asking.Wait() // who has not answered is silent
}

func (r *round) unasked(servers []server) []server {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(servers), func(s server) bool { return r.asked[s.name] || r.failed[s.name] != nil })
}

func (r *round) fail(s server, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed[s.name] = err
}

// take answers with what a server says of the consumers that it leads. One
// without a name leads all.
func (r *round) take(l *listing, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked[name] = true
	r.enabled = r.enabled || !l.disabled
	r.known = r.known || l.account
	maps.Copy(r.streams, l.streams)
	for p, c := range l.found {
		switch {
		case !r.open[p]:
		case name != "" && c.leader != name:
			r.seen[p] = c
		case r.isEarly(p, c, l.server):
			r.early[p] = true
		default:
			r.give(p, c)
		}
	}
}

// isEarly reports whether a number is not one yet. r.mu is held.
func (r *round) isEarly(p place, c consumer, server string) bool {
	now, early := time.Now(), false
	for _, i := range r.wanted[p] {
		early = r.sources[i].(*consumerSource).early(c, server, now) || early
	}
	return early
}

// give answers for one consumer. r.mu is held.
func (r *round) give(p place, c consumer) {
	delete(r.open, p)
	result := scaler.Result{Readings: scaler.One(c.lag)}
	if !c.counted {
		result = scaler.Result{Err: about(p, scaler.Errorf(codes.Unavailable, "the server does not say how many messages wait"))}
	}
	for _, i := range r.wanted[p] {
		r.sources[i].(*consumerSource).remember(c)
		r.answer(i, result)
	}
}

func (r *round) done() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.open) == 0
}

// settled is true when all servers have answered and none of them speaks of
// another one.
func (r *round) settled(servers []server) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.open {
		if r.seen[p].leader != "" {
			return false
		}
	}
	return len(r.failed) == 0 && len(r.asked) == len(servers)
}

// giveUp says of the others why they have no answer.
func (r *round) giveUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.open {
		err := about(p, r.why(p))
		for _, i := range r.wanted[p] {
			r.answer(i, scaler.Result{Err: err})
		}
	}
	clear(r.open)
}

// why is the reason that nobody answered for a consumer. Nothing is said to be
// missing while a server that may have it does not answer. r.mu is held.
func (r *round) why(p place) error {
	c, seen := r.seen[p]
	switch failed := r.failed[c.leader]; {
	case r.early[p]:
		return scaler.Errorf(codes.Unavailable, "its leader has just begun, and may not have counted yet")
	case failed != nil:
		return scaler.Errorf(status.Code(failed), "its leader %s: %w", c.leader, failed)
	case seen && c.leader == "":
		return scaler.Errorf(codes.Unavailable, "it has no leader")
	case seen:
		return scaler.Errorf(codes.Unavailable, "leader node not found: %s", c.leader)
	}
	for name, err := range r.failed {
		return scaler.Errorf(status.Code(err), "server %s: %w", name, err)
	}
	switch {
	case !r.enabled:
		return scaler.Errorf(codes.FailedPrecondition, "the server has no JetStream")
	case !r.known:
		return scaler.Errorf(codes.NotFound, "account %s not found, or it has no stream; an account whose id is not its name needs accountID", r.account.id)
	case !r.streams[p.stream]:
		return scaler.Errorf(codes.NotFound, "stream not found")
	default:
		return scaler.Errorf(codes.NotFound, "consumer not found")
	}
}

// about names the consumer that an error is about.
func about(p place, err error) error {
	return scaler.Errorf(status.Code(err), "consumer %s of stream %s: %w", p.consumer, p.stream, err)
}

// part is ctx with one share of the time that is left.
func part(ctx context.Context, shares float64) (context.Context, context.CancelFunc) {
	end, limited := ctx.Deadline()
	if !limited {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Duration(float64(time.Until(end))/shares))
}
