package federation

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	"github.com/sluice-autoscaler/sluice/identity/turns"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

const (
	// callTimeout bounds one call to a peer that is polled.
	callTimeout = 10 * time.Second
	// pollers is how many triggers of one instance are asked at once, of those
	// that are answered quickly and of the others each.
	pollers = 16
	// pollersOfOne is how many of these are of one namespace.
	pollersOfOne = pollers / 2
	// slowAfter is how long an answer takes until its trigger is slow. One that
	// comes too late, or not at all, is slow too.
	slowAfter = 500 * time.Millisecond
	// ringGap is the shortest time between two reads that a stream asks for.
	ringGap = 250 * time.Millisecond
)

// poller serves the subscriptions of an instance that speaks externalscaler
// alone, as third parties' do. One goroutine keeps the time; a bounded number
// of calls runs at once, and none while nothing is due. The streams that such
// a peer may offer are per trigger by contract, and so are their goroutines.
type poller struct {
	inst    *instance
	streams *streams

	mu    sync.Mutex
	polls map[string]*poll
	// quick and slow are apart, so that triggers which are not answered keep
	// none waiting that is.
	quick, slow lane
	wake        chan struct{}
}

// lane is the polls that are not due, and those that are: they wait for a place in
// the order of time, and namespaces take turns.
type lane struct {
	due  dueQueue
	line *turns.Line[*poll]
}

func newLane() lane { return lane{line: turns.NewLine[*poll](pollers, pollersOfOne)} }

// poll is one trigger that is polled. Its fields are guarded by the poller.
type poll struct {
	assignment *assignment
	at         time.Time          // when it is due
	index      int                // in the queue, -1 outside
	turn       *turns.Turn[*poll] // while it is due and waits for a place
	busy       bool               // being asked now
	slow       bool               // at the last read; changes only outside the queue
	ring       bool               // a stream asked for this read
	missed     bool               // something asked for another read during this one
	phased     bool               // its reads are spread over the interval
	rung       time.Time          // when a stream last got its read
	active     bool               // at the last read
	pushed     *announcement
	end        context.CancelFunc // of its streams; nil before they were opened
}

// announcement is a list of metrics that was streamed, or what is wrong with it.
type announcement struct {
	specs []MetricSpec
	err   error
}

func newPoller(i *instance) *poller {
	p := &poller{inst: i, polls: map[string]*poll{}, quick: newLane(), slow: newLane(), wake: make(chan struct{}, 1)}
	p.streams = newStreams(p)
	return p
}

// lane is where a poll waits for its next read; p.mu is held.
func (p *poller) lane(q *poll) *lane {
	if q.slow {
		return &p.slow
	}
	return &p.quick
}

func (p *poller) describes() bool { return false }

func (p *poller) silentSince() (time.Time, bool) { return time.Time{}, false }

func (p *poller) assign(s *assignment) {
	_, warnings := s.sub.snapshot().plainRef()
	p.mu.Lock()
	if before := p.polls[s.sub.id]; before != nil {
		p.remove(before)
	}
	q := &poll{assignment: s, at: p.inst.fed.clock.Now(), index: -1}
	p.polls[s.sub.id] = q
	heap.Push(&p.quick.due, q)
	p.mu.Unlock()
	s.apply(func(state *State) bool {
		s.accepted = true
		state.Accepted, state.Detection, state.Warnings = true, DetectionPolling, warningsOf(warnings)
		return true
	})
	signal(p.wake)
}

func (p *poller) unassign(s *assignment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.polls[s.sub.id]; q != nil && q.assignment == s {
		delete(p.polls, s.sub.id)
		p.remove(q)
	}
}

// remove takes a poll out of the queue and ends its streams; p.mu is held.
func (p *poller) remove(q *poll) {
	switch {
	case q.index >= 0:
		heap.Remove(&p.lane(q).due, q.index)
	case q.turn != nil:
		p.lane(q).line.GiveUp(q.turn)
		q.turn = nil
	}
	if q.end != nil {
		q.end()
	}
}

func (p *poller) updatePacing(s *assignment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.polls[s.sub.id]; q != nil && q.assignment == s {
		p.hurry(q, p.inst.fed.clock.Now().Add(s.sub.snapshot().interval()))
	}
}

// hurry makes a poll due at the latest at a time; p.mu is held.
func (p *poller) hurry(q *poll, at time.Time) {
	switch {
	case q.busy:
		q.missed = true
	case q.index >= 0 && at.Before(q.at): // else it is due and waits for its turn
		q.at = at
		heap.Fix(&p.lane(q).due, q.index)
		signal(p.wake)
	}
}

// ring is called when a stream says that there is work. A flood of rings is
// one read per ringGap.
func (p *poller) ring(q *poll) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.polls[q.assignment.sub.id] != q {
		return
	}
	q.ring = true
	now, next := p.inst.fed.clock.Now(), q.rung.Add(ringGap)
	if next.Before(now) {
		next = now
	}
	p.hurry(q, next)
}

// run asks whoever is due until ctx is done.
func (p *poller) run(ctx context.Context) {
	var calls sync.WaitGroup
	defer p.streams.stop()
	defer calls.Wait() // before: a call may open streams
	for {
		timer := p.inst.fed.clock.NewTimer(p.startDue(ctx, &calls))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-p.wake:
		case <-timer.C():
		}
		timer.Stop()
	}
}

// startDue starts what is due, as far as the bound allows, and returns how
// long nothing else is; what ends or is added meanwhile wakes by itself.
func (p *poller) startDue(ctx context.Context, calls *sync.WaitGroup) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return min(p.startLane(ctx, calls, &p.quick), p.startLane(ctx, calls, &p.slow))
}

// startLane is startDue for one lane; p.mu is held.
func (p *poller) startLane(ctx context.Context, calls *sync.WaitGroup, l *lane) time.Duration {
	now := p.inst.fed.clock.Now()
	for len(l.due) > 0 && !l.due[0].at.After(now) {
		q := heap.Pop(&l.due).(*poll)
		q.turn = l.line.Wait(q.assignment.sub.namespace, q, false)
	}
	for turn, ok := l.line.Next(); ok; turn, ok = l.line.Next() {
		q := turn.Value
		q.turn, q.busy = nil, true
		rung := q.ring
		if q.ring {
			q.ring, q.rung = false, now
		}
		guard.Go(calls, "a poll", q.assignment.sub.id, func() {
			slow := true
			if err := guard.Do("a poll", q.assignment.sub.id, func() { slow = p.ask(ctx, q, rung) }); err != nil {
				q.assignment.defective(err)
			}
			p.finish(q, l, slow)
		})
	}
	if len(l.due) > 0 {
		return l.due[0].at.Sub(now)
	}
	return time.Hour
}

// finish puts a poll that had a place in a lane back into the queue, unless it
// was removed meanwhile.
func (p *poller) finish(q *poll, had *lane, slow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	had.line.Leave(q.assignment.sub.namespace)
	q.busy, q.slow = false, slow
	if p.polls[q.assignment.sub.id] == q {
		now, interval := p.inst.fed.clock.Now(), q.assignment.sub.snapshot().interval()
		q.at = now.Add(interval)
		if !q.phased { // what was created together does not tick together
			q.phased = true
			q.at = now.Add(time.Duration(float64(interval) * fraction(q.assignment.sub.id)))
		}
		if q.missed {
			q.missed = false
			q.at = now
			if q.ring {
				q.at = laterOf(now, q.rung.Add(ringGap))
			}
		}
		heap.Push(&p.lane(q).due, q)
	}
	signal(p.wake)
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// fraction spreads ids evenly over [0.5, 1).
func fraction(id string) float64 {
	return 0.5 + float64(addressKey(id)>>11)/(1<<54)
}

// ask reads one trigger and records what it said. rung is true when a stream
// announced work: that counts as a turn to active by itself, since by the time
// of the read it may be done. It reports whether the peer was slow.
func (p *poller) ask(ctx context.Context, q *poll, rung bool) (slow bool) {
	trigger := q.assignment.sub.snapshot()
	ref, _ := trigger.plainRef()
	if rung {
		q.assignment.apply(func(state *State) bool {
			state.Activations++
			return true
		})
	}
	p.streams.open(ctx, q, ref)
	ctx, cancel := context.WithTimeout(ctx, min(callTimeout, trigger.interval()))
	defer cancel()
	var said answered
	began := p.inst.fed.clock.Now()
	specs, err := p.specs(ctx, q, trigger, ref, said.options()...)
	var r reading
	var active bool
	if err == nil {
		q.assignment.apply(func(state *State) bool {
			state.Specs, state.HaveSpecs = specs, true
			return true
		})
		r, active, err = p.read(ctx, q, trigger, ref, specs, said.options()...)
	}
	if err != nil {
		r = reading{outcome: scaling.Failed, err: p.problem(trigger, err, said.given())}
	}
	r.at = p.inst.fed.clock.Now()
	r.took = r.at.Sub(began)
	r.heard = r.at
	r.detectedBy = DetectionPolling
	if rung {
		r.detectedBy = DetectionDoorbell
	}
	slow = r.took >= slowAfter || ctx.Err() != nil
	p.record(q, r, active, rung)
	return slow
}

// problem is why a trigger could not be read: what is wrong with what the peer
// said or streamed, what it said, or that it said nothing.
func (p *poller) problem(t Trigger, err error, said bool) error {
	if own := (*codedError)(nil); errors.As(err, &own) {
		return own
	}
	if !said {
		p.inst.suspect()
	}
	return p.inst.fed.peerError(t.Type, err, said)
}

func (p *poller) record(q *poll, r reading, active, rung bool) {
	p.mu.Lock()
	var turned uint64
	if active && !q.active && !rung {
		turned = 1
	}
	if r.outcome != scaling.Failed {
		q.active = active
	}
	p.mu.Unlock()
	if q.assignment.apply(func(state *State) bool {
		if r.outcome == scaling.Value {
			state.last = r.values
		}
		state.observe(r, turned)
		return true
	}) {
		q.assignment.answer()
	}
}

// specs returns the trigger's metrics: the latest that were streamed, else
// what the peer answers now.
func (p *poller) specs(ctx context.Context, q *poll, t Trigger, ref *externalscaler.ScaledObjectRef, options ...grpc.CallOption) ([]MetricSpec, error) {
	p.mu.Lock()
	pushed := q.pushed
	p.mu.Unlock()
	if pushed != nil {
		return pushed.specs, pushed.err
	}
	return p.inst.fed.askSpecs(ctx, p.inst.scaler(), t, ref, options...)
}

// read returns the values of all metrics and whether the peer calls the
// trigger active. A metric without a value leaves the whole reading without
// data: zero is for the peer to say.
func (p *poller) read(ctx context.Context, q *poll, t Trigger, ref *externalscaler.ScaledObjectRef, specs []MetricSpec, options ...grpc.CallOption) (reading, bool, error) {
	client := p.inst.scaler()
	values, missing := make([]Value, 0, len(specs)), error(nil)
	for _, spec := range specs {
		value, err := askMetric(ctx, client, ref, spec.Name, options...)
		switch {
		case errors.Is(err, ErrNoData):
			missing = fmt.Errorf("metric %s: %w", spec.Name, err)
		case err != nil:
			return reading{}, false, err
		}
		values = append(values, Value{Metric: spec.Name, Value: value})
	}
	active, err := askActive(ctx, client, ref, options...)
	if err != nil {
		return reading{}, false, err
	}
	for i := range values {
		values[i].Active = active
	}
	if missing != nil {
		return p.instead(q, t, missing, values), active, nil
	}
	return reading{outcome: scaling.Value, values: values}, active, nil
}

// instead is a reading without data, by the rule of the object or of the
// installation. Without one it is a failure, as in family external. Under the
// rule zero the peer has said all the same whether the trigger is active.
func (p *poller) instead(q *poll, t Trigger, missing error, zeros []Value) reading {
	r := reading{outcome: scaling.NoData}
	switch t.NoData {
	case scalerv1.NoDataZero:
		for i := range zeros {
			zeros[i].Value = 0
		}
		r.values = zeros
	case scalerv1.NoDataHold:
		r.values = q.assignment.sub.last()
	}
	if r.values == nil {
		r.err = coded(codes.NotFound, "%v", missing)
	}
	return r
}

// askSpecs, askMetric and askActive are the calls of the common contract.
func (f *Federation) askSpecs(ctx context.Context, client externalscaler.ExternalScalerClient, t Trigger, ref *externalscaler.ScaledObjectRef, options ...grpc.CallOption) ([]MetricSpec, error) {
	answer, err := client.GetMetricSpec(ctx, ref, options...)
	if err != nil {
		return nil, err
	}
	return f.metricsOf("GetMetricSpec", t, answer)
}

// metricsOf are the metrics that a peer names by a call.
func (f *Federation) metricsOf(call string, t Trigger, answer *externalscaler.GetMetricSpecResponse) ([]MetricSpec, error) {
	named, err := answer.Metrics(t.MetricSource)
	if err != nil {
		return nil, coded(codes.FailedPrecondition, "Service %s%s in namespace %s: %s: %v", servicePrefix, t.Type, f.config.Namespace, call, err)
	}
	specs := make([]MetricSpec, len(named))
	for i, m := range named {
		specs[i] = MetricSpec{Name: m.Name, Target: m.Target}
	}
	return specs, nil
}

func askMetric(ctx context.Context, client externalscaler.ExternalScalerClient, ref *externalscaler.ScaledObjectRef, metric string, options ...grpc.CallOption) (float64, error) {
	answer, err := client.GetMetrics(ctx, &externalscaler.GetMetricsRequest{ScaledObjectRef: ref, MetricName: metric}, options...)
	if err != nil {
		return 0, err
	}
	value, err := answer.Sum()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoData, err)
	}
	return value, nil
}

func askActive(ctx context.Context, client externalscaler.ExternalScalerClient, ref *externalscaler.ScaledObjectRef, options ...grpc.CallOption) (bool, error) {
	answer, err := client.IsActive(ctx, ref, options...)
	return answer.GetResult(), err
}

// dueQueue is a heap of polls, the next one due first.
type dueQueue []*poll

func (d dueQueue) Len() int { return len(d) }
func (d dueQueue) Less(i, j int) bool {
	return cmp.Or(d[i].at.Compare(d[j].at), cmp.Compare(d[i].assignment.sub.id, d[j].assignment.sub.id)) < 0
}
func (d dueQueue) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

// Push and Pop are for container/heap alone.
func (d *dueQueue) Push(x any) {
	q := x.(*poll)
	q.index = len(*d)
	*d = append(*d, q)
}

func (d *dueQueue) Pop() any {
	last := len(*d) - 1
	q := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	q.index = -1
	return q
}
