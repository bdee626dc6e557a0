package serving

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/sampling"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

const (
	// mostHeld is what the credentials of all triggers of a namespace may have, in
	// bytes; heldOfAll which part of the memory those of all namespaces.
	mostHeld  = 16 << 20
	heldOfAll = 8
	// mostAsking is what may be kept of all triggers of a namespace, in bytes; 10,000
	// of the usual ones have three quarters of it. askingOfAll is which part of the
	// memory is for those of all namespaces, of which none has more than it leaves.
	mostAsking  = 64 << 20
	askingOfAll = 2
)

const (
	// mostResolving is how many triggers read their credentials at once, and
	// mostResolvingOfOne how many of one namespace: what an attempt has in memory
	// is bounded, and many attempts are.
	mostResolving      = 128
	mostResolvingOfOne = 32
)

// subscription is one trigger of one object as one client sees it: its
// binding, its share in a question, and what the last snapshot means to it.
type subscription struct {
	core       *core
	id         string
	generation int64
	trigger    trigger.Trigger
	req        trigger.Request
	// changed is called, not under any lock, after anything that is told to
	// the client has changed.
	changed func()
	cancel  context.CancelFunc
	login   *login
	cached  bool // UseCachedMetrics
	// everyRead is set when each read is news to the client, equal ones
	// included: Jobs are started by the moment of a reading.
	everyRead bool
	payer     string // see payerOf
	room      []*pool.Holding

	mu      sync.Mutex
	binding *trigger.Binding // partial until credentials are known
	user    *sampling.User   // the share in a question; nil until then
	wish    sampling.Wish
	closed  bool
	ready   chan struct{} // closed when user or failure stands
	failure error         // why credentials cannot be had

	seq         uint64
	at          time.Time // when the last read was completed; zero before
	observation *observation
	specs       []contract.Metric
	activations uint64
	active      bool
}

// subscribe binds a trigger and starts sampling it. The error is that of its
// binding: nothing but another trigger can help. Credentials are read
// meanwhile, until ctx ends or the subscription is closed.
func (c *core) subscribe(ctx context.Context, t trigger.Trigger, req trigger.Request, w sampling.Wish, changed func()) (*subscription, error) {
	payer := payerOf(ctx, req)
	room, err := c.room(ctx, payer, req)
	if err != nil {
		return nil, err
	}
	b, err := c.bind(t, req, nil)
	if err != nil {
		giveBack(room)
		return nil, err
	}
	facts, _ := req.Facts() // bound, so without problems
	ctx, cancel := context.WithCancel(ctx)
	s := &subscription{
		core: c, trigger: t, req: req, changed: changed, binding: b, cancel: cancel,
		cached: facts.UseCachedMetrics, wish: w,
		ready: make(chan struct{}), specs: b.Metrics,
		everyRead: facts.Object.Kind == scalerv1.KindScaledJob, payer: payer, room: room,
	}
	s.login = &login{loginConfig: loginConfig{
		resolver: c.Resolver, refs: facts.References, held: c.held.For(s.payer),
		use: s.use, lost: s.lost,
		start: func(attempt func(context.Context)) { c.running.Go(func() { c.inTurn(ctx, payer, attempt) }) },
	}}
	if b.Question == "" {
		s.login.refresh()
	} else {
		s.join(b, nil)
	}
	return s, nil
}

// inTurn runs an attempt to read credentials when it is the namespace's turn.
func (c *core) inTurn(ctx context.Context, namespace string, attempt func(context.Context)) {
	leave, ok := c.resolving.Enter(ctx, namespace)
	if !ok {
		return // the subscription is closed
	}
	defer leave()
	attempt(ctx)
}

// room counts what is kept of a request, if there may be so much.
func (c *core) room(ctx context.Context, payer string, req trigger.Request) ([]*pool.Holding, error) {
	bytes, one := c.asking.For(payer), c.guests.For(allGuests)
	if err := bytes.Set(req.Weight()); err != nil {
		return nil, err
	}
	if isCore(ctx) {
		return []*pool.Holding{bytes}, nil
	}
	taken := []*pool.Holding{bytes, one}
	if err := one.Set(1); err != nil {
		giveBack(taken)
		return nil, err
	}
	return taken, nil
}

func giveBack(room []*pool.Holding) {
	for _, held := range room {
		_ = held.Set(0) // never refused
	}
}

// bind understands a trigger and adds what this process has to say about it.
func (c *core) bind(t trigger.Trigger, req trigger.Request, creds *contract.Credentials) (*trigger.Binding, error) {
	b, err := t.Bind(req.Ref, creds)
	if err != nil {
		return b, failure.Redact(err, t.Secrets(req, creds))
	}
	if b.Timeout > c.MaxReadTimeout {
		b.Warnings = append(b.Warnings, fmt.Sprintf("timeout: a read ends after %v, as --max-read-timeout has it, and not after %v",
			c.MaxReadTimeout, b.Timeout))
	}
	b.Warnings = words.Few(b.Warnings)
	return b, nil
}

// use understands the trigger with credentials, and returns what goes on with
// them.
func (s *subscription) use(creds *contract.Credentials) (func(), error) {
	b, err := s.core.bind(s.trigger, s.req, creds)
	if err != nil {
		return nil, err
	}
	return func() { s.join(b, creds) }, nil
}

// lost notes why there are no credentials, unless a source goes on with those
// that it has.
func (s *subscription) lost(err error, keep bool) {
	err = s.status(err) // what it is made of is as long as whoever wrote it wanted
	s.mu.Lock()
	old := s.user
	if s.closed || old != nil && keep {
		s.mu.Unlock()
		return
	}
	s.user, s.failure = nil, err
	s.at = time.Now()
	s.observation = &observation{outcome: scalerv1.Outcome_OUTCOME_ERROR, err: err, detection: scalerv1.Detection_DETECTION_POLLING}
	s.becomeReady()
	s.mu.Unlock()
	if old != nil {
		s.core.sampler.Leave(old)
	}
	s.changed()
}

// becomeReady releases those who wait for the first result; s.mu is held.
func (s *subscription) becomeReady() {
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// join moves the subscription to the question of b.
func (s *subscription) join(b *trigger.Binding, creds *contract.Credentials) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	renamed := b.Metrics != nil && s.specs != nil && !slices.Equal(s.specs, b.Metrics)
	if renamed {
		s.specs = b.Metrics
	}
	if s.user != nil && s.binding.Question == b.Question {
		s.binding = b // a target may have come from a variable
		s.mu.Unlock()
		if renamed {
			s.changed()
		}
		return
	}
	old := s.user
	u := sampling.NewUser(s.wish)
	u.Silent, u.Secrets = b.Silent, s.trigger.Secrets(s.req, creds)
	u.Payer = s.payer
	u.Deliver = func(snap *sampling.Snapshot) { s.deliver(u, snap) }
	s.binding, s.user, s.seq, s.failure = b, u, 0, nil
	if s.specs == nil {
		s.specs = b.Metrics
	}
	s.mu.Unlock()

	if old != nil {
		s.core.sampler.Leave(old)
	}
	s.core.sampler.Join(s.query(b), u)
	s.mu.Lock()
	s.becomeReady() // not before there is a question to ask
	gone := s.closed
	s.mu.Unlock()
	if gone {
		s.core.sampler.Leave(u)
	}
}

// query is what the sampler reads for b.
func (s *subscription) query(b *trigger.Binding) sampling.Query {
	return sampling.Query{ID: b.Question, Type: s.trigger.Type, Hosts: b.Hosts, Metrics: len(b.Metrics), Timeout: b.Timeout, Open: b.Open}
}

// deliver works out what a snapshot means to this subscription.
func (s *subscription) deliver(u *sampling.User, snap *sampling.Snapshot) {
	s.mu.Lock()
	if s.closed || s.user != u || snap.Seq <= s.seq {
		s.mu.Unlock()
		return
	}
	s.seq, s.at = snap.Seq, snap.At
	o := observe(s.binding, snap)
	if o.err == nil {
		if o.active() && !s.active {
			s.activations++
		}
		s.active = o.active()
	}
	news := s.everyRead || !o.equal(s.observation)
	s.observation = o
	if snap.Specs != nil && !slices.Equal(s.specs, snap.Specs) {
		s.specs, news = snap.Specs, true
	}
	s.login.answered(snap.Err, snap.At)
	s.mu.Unlock()
	if news {
		s.changed()
	}
}

// change applies another wish.
func (s *subscription) change(w sampling.Wish) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wish = w
	if s.user != nil {
		s.core.sampler.Change(s.user, w)
	}
}

// close ends the subscription. It may be called twice.
func (s *subscription) close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	u := s.user
	s.becomeReady()
	s.mu.Unlock()
	s.cancel()
	s.login.close()
	giveBack(s.room)
	if u != nil {
		s.core.sampler.Leave(u)
	}
}

// request is who asks, and for what.
type request struct {
	// periodic is true for the HPA controller, which asks again.
	periodic bool
	// maxAge is how old the reading should be at most, 0 for no matter.
	maxAge time.Duration
}

// ask returns what the trigger's source says, within the rules of freshness. Its
// error is a status for the user.
func (s *subscription) ask(ctx context.Context, r request) (*observation, error) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return nil, s.status(status.Error(codes.DeadlineExceeded, "credentials are not resolved yet"))
	}
	b, snap, ok, err := s.lookUp(ctx, r)
	switch {
	case err != nil:
		return nil, s.status(err)
	case !ok:
		return nil, s.status(status.Errorf(codes.Unavailable, "the source was last read %s ago", time.Since(snap.At).Round(time.Second)))
	}
	o := observe(b, snap)
	if o.err != nil {
		return nil, s.status(o.err)
	}
	if r.periodic {
		s.core.metrics.Answered(s.trigger.Type, time.Since(snap.At))
	}
	return o, nil
}

// lookUp returns the snapshot of the question that the subscription asks, and
// what it means by it. New credentials may move it to another question
// meanwhile, which is then the one to wait for.
func (s *subscription) lookUp(ctx context.Context, r request) (b *trigger.Binding, snap *sampling.Snapshot, ok bool, err error) {
	for {
		s.mu.Lock()
		u, b, failure, closed, interval := s.user, s.binding, s.failure, s.closed, s.wish.Interval
		s.mu.Unlock()
		switch {
		case closed:
			return nil, nil, false, errGone
		case u == nil:
			return nil, nil, false, failure
		}
		snap, ok = s.core.sampler.Ask(ctx, u, s.freshness(b, interval, r))
		if snap != nil {
			s.name(u, snap.Specs)
			return b, snap, ok, nil
		}
		if ctx.Err() != nil {
			return nil, nil, false, status.Error(codes.DeadlineExceeded, "the source does not answer in time")
		}
	}
}

// name notes the metrics of a source that names them itself, for a caller who
// has the snapshot before it is delivered.
func (s *subscription) name(u *sampling.User, specs []contract.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.user == u && s.specs == nil {
		s.specs = specs
	}
}

func (s *subscription) status(err error) error { return failure.Status(s.trigger.Type, err).Err() }

// freshness is how old a snapshot may be for who asks.
func (s *subscription) freshness(b *trigger.Binding, interval time.Duration, r request) sampling.Freshness {
	switch {
	case s.cached:
		return sampling.Freshness{Allowed: b.Object.PollingInterval + s.core.sampler.Deadline(b.Timeout, interval)}
	case r.maxAge > 0:
		// Out of turn: it says nothing of when the HPA controller asks next.
		return sampling.Freshness{Allowed: scalerv1.SyncPeriod, Pressing: r.maxAge}
	case r.periodic:
		return sampling.Freshness{Allowed: scalerv1.SyncPeriod, Who: s.asker()}
	default:
		return sampling.Freshness{Allowed: scalerv1.SyncPeriod}
	}
}

// asker is for whom the HPA controller asks: the object, to which several
// clients may have subscribed.
func (s *subscription) asker() any {
	if s.id == "" {
		return s
	}
	return s.id
}

// currentSpecs returns the metrics of the trigger, from its metadata where it
// names them and from its source where that does.
func (s *subscription) currentSpecs(ctx context.Context) ([]contract.Metric, error) {
	s.mu.Lock()
	specs := s.specs
	s.mu.Unlock()
	if specs != nil {
		return specs, nil
	}
	// The first read brings the specs along; whether it also has a value is
	// not what was asked.
	_, err := s.ask(ctx, request{})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.specs == nil {
		return nil, err
	}
	return s.specs, nil
}

// wireSpecs puts metrics on the wire, in both number fields.
func wireSpecs(metrics []contract.Metric) []*externalscaler.MetricSpec {
	specs := make([]*externalscaler.MetricSpec, len(metrics))
	for i, m := range metrics {
		specs[i] = &externalscaler.MetricSpec{
			MetricName:      m.Name,
			TargetSize:      whole(m.Target), //nolint:staticcheck // older clients read only this one
			TargetSizeFloat: m.Target,
		}
	}
	return specs
}

// whole is the nearest integer that a reader of the integer field alone can
// work with: a number above 0 does not become 0.
func whole(n float64) int64 {
	switch {
	case n <= 0:
		return 0
	case n < 1:
		return 1
	case n >= math.MaxInt64:
		return math.MaxInt64
	default:
		return int64(math.Round(n))
	}
}
