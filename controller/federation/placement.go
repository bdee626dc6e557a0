package federation

import (
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// movePeriod and moveShare pace voluntary moves: a tenth of a Service's
// subscriptions per second, at least one. An instance that drains has moved
// all within the ten seconds that a family takes to stop.
const (
	movePeriod = time.Second
	moveShare  = 10
)

// service is one trigger type: its Service, if there is one, and its
// subscriptions. Everything is guarded by the Federation.
type service struct {
	triggerType string
	exists      bool
	absence     absence
	impossible  error // why it can have no Service, nil where it can
	view        view
	instances   map[instanceKey]*instance
	subs        map[string]*subscription
	// family is the last description heard, description its part for the
	// type. They outlive the instance that gave them.
	family      *scalerv1.DescribeResponse
	description *scalerv1.TriggerType
	news        *rate.Limiter // of descriptions that differ from the one before
	outdated    bool          // one that differs has to wait
	changed     chan struct{} // closed and replaced at each change
}

func newService(triggerType string) *service {
	s := &service{
		triggerType: triggerType,
		instances:   map[instanceKey]*instance{},
		subs:        map[string]*subscription{},
		news:        rate.NewLimiter(rate.Every(newsGap), newsBurst),
		changed:     make(chan struct{}),
	}
	if !canBeAType(triggerType) {
		s.impossible = whenRead(func() error { return impossible(triggerType) })
	}
	return s
}

// Another description of a type has each of its triggers looked at anew, and its
// objects reconciled. A family that is updated has a few; one that was taken over
// has another whenever it is asked.
const (
	newsBurst = 4
	newsGap   = time.Minute
)

func (s *service) anyReady() bool {
	for _, i := range s.instances {
		if i.readiness == ready {
			return true
		}
	}
	return false
}

func (s *service) holds(i *instance) bool { return s.instances[i.instanceKey] == i }

// best returns the ready instance that wins the question, one that is leaving
// only when all are, nil when there is none.
func (s *service) best(key uint64) *instance {
	ranked := s.ranked(key)
	if len(ranked) == 0 {
		return nil
	}
	return ranked[0]
}

// know is called once every Service that exists was seen: from now on a
// missing one is absent.
func (f *Federation) know() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.synced)
	for _, s := range f.services {
		f.update(s)
	}
}

func (f *Federation) knows() bool {
	select {
	case <-f.synced:
		return true
	default:
		return false
	}
}

// refresh takes over what the cluster says of a type's Service.
func (f *Federation) refresh(triggerType string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, exists := f.directory.look(triggerType)
	s := f.services[triggerType]
	if s == nil {
		if !exists {
			return
		}
		s = newService(triggerType)
		f.services[triggerType] = s
	}
	known := s.exists
	s.exists, s.view = exists, v
	if exists != known {
		f.noteInstalled()
	}
	if !exists {
		s.family, s.description = nil, nil
	}
	f.connect(s)
	f.update(s)
	f.forget(s)
}

// connect makes the instances of a Service those of its view.
func (f *Federation) connect(s *service) {
	wanted := map[instanceKey]bool{}
	for _, e := range s.view.endpoints {
		key := instanceKey{target: e.target, address: e.address, family: s.view.family, plaintext: s.view.plaintext}
		wanted[key] = true
		i := f.instances[key]
		if i == nil {
			i = f.newInstance(key)
			if i == nil {
				continue
			}
		}
		i.holders[s] = e.terminating
		s.instances[key] = i
	}
	for key, i := range s.instances {
		if !wanted[key] {
			f.release(s, i)
		}
	}
}

// newInstance returns nil when nothing may be started any more.
func (f *Federation) newInstance(key instanceKey) *instance {
	if f.spawn == nil {
		return nil
	}
	i := &instance{
		instanceKey: key,
		hash:        addressKey(key.address),
		fed:         f,
		suspicion:   make(chan struct{}, 1),
		verdicts:    rate.NewLimiter(rate.Every(verdictGap), verdictBurst),
		holders:     map[*service]bool{},
	}
	f.instances[key] = i
	i.stop = f.spawn(i.run)
	return i
}

func (f *Federation) release(s *service, i *instance) {
	delete(s.instances, i.instanceKey)
	delete(i.holders, s)
	if len(i.holders) == 0 {
		delete(f.instances, i.instanceKey)
		i.stop()
	}
}

// forget drops a type that has neither Service nor subscriptions.
func (f *Federation) forget(s *service) {
	if !s.exists && len(s.subs) == 0 {
		delete(f.services, s.triggerType)
	}
}

// setReadiness records whether an instance can be used.
func (f *Federation) setReadiness(i *instance, verdict readiness, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i.readiness == verdict {
		i.reason = reason
		return
	}
	before := i.readiness
	i.readiness, i.reason = verdict, reason
	switch {
	case verdict == down:
		f.log.Info("family instance is not ready", "family", i.family, "address", i.address, "reason", reason)
	case before == down:
		f.log.Info("family instance is ready again", "family", i.family, "address", i.address)
	}
	f.updateHolders(i)
}

// described records what an instance is, at the start of each session.
func (f *Federation) described(i *instance, description *scalerv1.DescribeResponse, p subscriber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i.subscriber != p { // another kind now: nobody is assigned to the new one
		for s := range i.holders {
			for _, sub := range s.subs {
				sub.leaveInstance(i)
			}
		}
	}
	i.description, i.subscriber, i.draining = description, p, false
	f.updateHolders(i)
}

// drains records that an instance is about to go.
func (f *Federation) drains(i *instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !i.draining {
		i.draining = true
		f.updateHolders(i)
	}
}

func (f *Federation) updateHolders(i *instance) {
	for s := range i.holders {
		f.update(s)
	}
}

// update brings everything that follows from a Service up to date.
func (f *Federation) update(s *service) {
	if f.takeDescription(s) {
		for _, sub := range s.subs {
			sub.key = questionKey(sub.snapshot(), s.description)
		}
	}
	for _, sub := range s.subs {
		f.place(s, sub)
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// takeDescription takes the description over and reports whether the type's part
// of it changed. Of instances that differ, as during an update, the one with the
// lowest address counts, here as in every other process. One that comes too soon
// after others waits.
func (f *Federation) takeDescription(s *service) bool {
	var from *instance
	for _, i := range s.instances {
		if i.readiness == ready && i.description != nil && (from == nil || i.address < from.address) {
			from = i
		}
	}
	if from == nil {
		return false
	}
	var description *scalerv1.TriggerType
	for _, t := range from.description.GetTriggerTypes() {
		if t.GetType() == s.triggerType {
			description = t
		}
	}
	changed := !proto.Equal(s.description, description)
	if changed && s.description != nil && !s.news.AllowN(f.clock.Now(), 1) {
		if !s.outdated {
			f.log.Warn("the family describes a type anew too often; what it said before counts meanwhile",
				"family", from.family, "address", from.address, "type", s.triggerType)
		}
		s.outdated = true
		return false
	}
	s.outdated = false
	s.family, s.description = from.description, description
	return changed
}

// catchUp takes over a description that had to wait, and hears what there was no
// room for.
func (f *Federation) catchUp(i *instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range i.holders {
		if s.outdated && s.news.TokensAt(f.clock.Now()) >= 1 {
			f.update(s)
		}
	}
	f.hearAnew()
}

// unreachable returns why nobody can be asked, nil while that is not known.
func (f *Federation) unreachable(s *service) error {
	if s.impossible != nil {
		return s.impossible
	}
	if !f.knows() {
		return nil
	}
	if !s.exists {
		return f.absentService(s)
	}
	if s.view.problem != nil {
		return s.view.problem
	}
	for _, i := range s.instances {
		if i.readiness != down {
			return nil
		}
	}
	return errNoInstance(s.triggerType, f.config.Namespace)
}

// refuses returns why a trigger must not be sent to a Service although it
// could be.
func (f *Federation) refuses(s *service, t Trigger) error {
	if t.Unread != nil {
		return t.Unread
	}
	if !s.view.plaintext || s.family == nil {
		return nil // to a third party no reference is ever sent
	}
	if reference := t.reference(); reference != "" {
		return coded(codes.FailedPrecondition,
			"Service %s%s in namespace %s is plaintext (appProtocol %s): %s is a reference to credentials and sent only over mTLS",
			servicePrefix, s.triggerType, f.config.Namespace, plaintextHTTP, reference)
	}
	return nil
}

// replace gives a subscription a new trigger.
func (f *Federation) replace(sub *subscription, t Trigger) {
	s := f.services[t.Type]
	if s == nil {
		s = newService(t.Type)
		f.services[t.Type] = s
	}
	if sub.service != s {
		f.leave(sub)
		defer f.makeRoom(f.shares.leave(sub))
		sub.service = s
		s.subs[sub.id] = sub
	}
	sub.key = questionKey(t, s.description)
	sub.eachAssignment((*assignment).close)
	sub.replace(t, s.view.family, f.clock.Now())
	if f.refuses(s, t) != nil {
		sub.drop(&sub.current)
		sub.drop(&sub.next)
	}
	// Where it sits it stays: the peer replaces what it had.
	if sub.current != nil {
		sub.current = f.assign(sub.current.inst, sub, false)
	}
	if sub.next != nil {
		sub.next = f.assign(sub.next.inst, sub, true)
	}
	f.place(s, sub)
}

// leave takes a subscription away from its type.
func (f *Federation) leave(sub *subscription) {
	sub.drop(&sub.current)
	sub.drop(&sub.next)
	if sub.service != nil {
		delete(sub.service.subs, sub.id)
		f.forget(sub.service)
	}
}

// place puts a subscription where it belongs, as far as that cannot wait. An
// instance is kept as long as it is ready; leaving one that is takes its turn
// (see move).
func (f *Federation) place(s *service, sub *subscription) {
	unreachable := f.unreachable(s)
	if unreachable == nil {
		if unreachable = errors.Join(f.refuses(s, sub.snapshot()), f.shares.enter(s, sub)); unreachable != nil {
			sub.drop(&sub.current)
			sub.drop(&sub.next)
		}
	}
	sub.reach(s.view.family, unreachable)
	if sub.current != nil && !s.holds(sub.current.inst) {
		sub.drop(&sub.current)
	}
	if sub.next != nil && (!s.holds(sub.next.inst) || sub.next.inst.readiness != ready) {
		sub.drop(&sub.next)
	}
	best := s.best(sub.key)
	switch {
	case best == nil || unreachable != nil:
	case sub.current == nil && sub.next != nil:
		sub.arrive()
	case sub.current == nil:
		sub.current = f.assign(best, sub, false)
	case sub.current.inst.readiness != ready:
		if sub.next == nil {
			sub.next = f.assign(best, sub, true)
		}
	case sub.misplaced():
		signal(f.displaced)
	}
}

// misplaced reports whether a subscription should move when it is its turn:
// its instance is leaving, or another one wins its question.
func (sub *subscription) misplaced() bool {
	if sub.current == nil || sub.next != nil {
		return false
	}
	best := sub.service.best(sub.key)
	return best != nil && best != sub.current.inst
}

// assign gives a subscription a place at an instance that is, or was, ready.
func (f *Federation) assign(i *instance, sub *subscription, awaited bool) *assignment {
	sub.hear()
	s := &assignment{sub: sub, inst: i, subscriber: i.subscriber, generation: sub.snapshot().Generation}
	s.awaited.Store(awaited)
	s.subscriber.assign(s)
	return s
}

// arrived completes a move with the new instance's first answer.
func (f *Federation) arrived(s *assignment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.sub.next == s {
		s.sub.arrive()
	}
}

func (sub *subscription) arrive() {
	sub.drop(&sub.current)
	sub.current, sub.next = sub.next, nil
	sub.current.awaited.Store(false)
}

func (sub *subscription) drop(s **assignment) {
	if *s != nil {
		(*s).close()
		(*s).subscriber.unassign(*s)
		*s = nil
	}
}

func (sub *subscription) leaveInstance(i *instance) {
	for _, s := range []**assignment{&sub.current, &sub.next} {
		if *s != nil && (*s).inst == i {
			sub.drop(s)
		}
	}
}

func (sub *subscription) eachAssignment(do func(*assignment)) {
	for _, s := range []*assignment{sub.current, sub.next} {
		if s != nil {
			do(s)
		}
	}
}

// move lets misplaced subscriptions go where they belong, so many per second.
func (f *Federation) move(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.displaced:
		}
		if f.moveSome() {
			signal(f.displaced)
		}
		timer := f.clock.NewTimer(movePeriod)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
	}
}

// moveSome moves one period's share of each Service and reports whether any
// are left.
func (f *Federation) moveSome() (left bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.services {
		share := (len(s.subs) + moveShare - 1) / moveShare
		for _, sub := range s.subs {
			if !sub.misplaced() {
				continue
			}
			if share == 0 {
				left = true
				break
			}
			share--
			sub.next = f.assign(s.best(sub.key), sub, true)
		}
	}
	return left
}
