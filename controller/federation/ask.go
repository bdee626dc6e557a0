package federation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// askTimeout bounds a question whose asker set no deadline.
const askTimeout = 10 * time.Second

// GetMetrics returns the current value of one metric of a trigger that need
// not be subscribed here: what the family answers, summed up if there are
// several values. It is finite and not negative.
//
// The instance that also has the controller's subscription is asked by the
// trigger's identity alone; when it does not know it, the next one, and at
// last by the full request. An instance that is gone is passed over. It all
// happens within ctx's deadline. ErrNoData when the family has nothing to say;
// other errors carry a gRPC code (status.Code) and the family's text, or name
// the Service that could not be asked.
func (f *Federation) GetMetrics(ctx context.Context, t Trigger, metric string) (float64, error) {
	t = f.withDefaults(t)
	return f.ask(ctx, t, func(ctx context.Context, c candidate, ref *externalscaler.ScaledObjectRef, options ...grpc.CallOption) (float64, error) {
		if !c.classic {
			ctx = withAge(ctx)
			return askMetric(ctx, c.client, ref, metric, options...)
		}
		if value, ok := f.recent.get(t, metric); ok {
			return value, nil
		}
		value, err := askMetric(ctx, c.client, ref, metric, options...)
		if errors.Is(err, ErrNoData) && t.NoData == scalerv1.NoDataZero {
			value, err = 0, nil // a family applies that rule by itself
		}
		if err == nil {
			f.recent.put(t, metric, value)
		}
		return value, err
	})
}

type ageKey struct{}

// AgeWanted is what NotOlderThan says.
func AgeWanted(ctx context.Context) (time.Duration, bool) {
	age, ok := ctx.Value(ageKey{}).(time.Duration)
	return age, ok
}

// NotOlderThan has GetMetrics ask for a reading that is no older than that, where
// the family can read its source at once.
func NotOlderThan(ctx context.Context, age time.Duration) context.Context {
	return context.WithValue(ctx, ageKey{}, max(age, time.Millisecond))
}

// withAge tells a family what NotOlderThan says.
func withAge(ctx context.Context) context.Context {
	age, ok := AgeWanted(ctx)
	if !ok {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, scalerv1.HeaderMaxAge, age.String())
}

// Check returns what a family says is wrong with a trigger, as far as that can
// be told without its source and its credentials. Nothing is wrong while there is
// no family to say so.
func (f *Federation) Check(ctx context.Context, t Trigger) ([]string, error) {
	candidates, refused, _, err := f.look(f.withDefaults(t))
	if err != nil || refused != nil {
		return nil, nil //nolint:nilerr // that is for Describe to say
	}
	ref, err := t.fullRef()
	if err != nil {
		return nil, err
	}
	for _, c := range candidates {
		if !c.classic {
			answer, err := scalerv1.NewScalerServiceClient(c.inst.conn).Check(ctx, &scalerv1.CheckRequest{Ref: ref})
			return problemsOf(answer.GetProblems()), err
		}
	}
	return nil, nil
}

// call asks one instance for a metric.
type call func(context.Context, candidate, *externalscaler.ScaledObjectRef, ...grpc.CallOption) (float64, error)

// candidate is an instance that may be asked.
type candidate struct {
	inst    *instance
	client  externalscaler.ExternalScalerClient
	classic bool
}

// ask puts a question until it is answered: to at most two instances by
// identity, since the winner has the subscription and, while it is moving, the
// next in rank most likely has; then by the full request to one after the
// other until one is there.
func (f *Federation) ask(ctx context.Context, t Trigger, do call) (float64, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askTimeout)
		defer cancel()
	}
	candidates, refused, err := f.candidates(ctx, t)
	if err != nil {
		return 0, err
	}
	r := round{fed: f, trigger: t, do: do, gone: map[*instance]bool{}}
	for n, c := range candidates[:min(len(candidates), 2)] {
		if c.classic {
			continue
		}
		answer, done, err := r.try(ctx, c, t.identityRef(), n+1 < len(candidates))
		if done && status.Code(err) != codes.FailedPrecondition {
			return answer, err
		}
	}
	for _, c := range candidates {
		if r.gone[c.inst] {
			continue
		}
		ref, err := c.request(t, refused)
		if err != nil {
			return 0, err
		}
		if answer, done, err := r.try(ctx, c, ref, false); done {
			return answer, err
		}
	}
	return 0, r.last
}

// request is the trigger as the candidate understands it without having it.
func (c candidate) request(t Trigger, refused error) (*externalscaler.ScaledObjectRef, error) {
	switch {
	case t.Unread != nil && (!c.classic || scalerv1.NameVariable(t.Metadata)):
		return nil, t.Unread
	case c.classic:
		ref, _ := t.plainRef()
		return ref, nil
	case refused != nil:
		return nil, refused
	}
	return t.fullRef()
}

// round is one question on its way from instance to instance.
type round struct {
	fed     *Federation
	trigger Trigger
	do      call
	gone    map[*instance]bool // there was nobody to answer
	last    error              // why, of the last of them
}

// try puts the question to one instance. done is true when it is answered, be
// it with an error, or when time is up. With brief set the instance does not
// get all the time there is, so that a stalled one leaves some for another.
func (r *round) try(ctx context.Context, c candidate, ref *externalscaler.ScaledObjectRef, brief bool) (answer float64, done bool, err error) {
	own := ctx
	if deadline, ok := ctx.Deadline(); ok && brief {
		var cancel context.CancelFunc
		own, cancel = context.WithTimeout(ctx, time.Until(deadline)*3/5)
		defer cancel()
	}
	var said answered
	answer, err = r.do(own, c, ref, said.options()...)
	switch {
	case err == nil, errors.Is(err, ErrNoData):
		return answer, true, err
	case said.given() && !late(err):
		return answer, true, r.fed.peerError(r.trigger.Type, err, true)
	}
	c.inst.suspect()
	r.gone[c.inst] = true
	r.last = r.fed.peerError(r.trigger.Type, err, false)
	return answer, ctx.Err() != nil, r.last
}

// candidates are the ready instances of a trigger's Service, best first. It
// waits for instances that are being connected to. refused is set when the
// trigger may be asked for by identity only.
func (f *Federation) candidates(ctx context.Context, t Trigger) (found []candidate, refused, err error) {
	if err := CheckType(t.Type); err != nil {
		return nil, nil, err
	}
	select {
	case <-f.synced:
	case <-ctx.Done():
		return nil, nil, errUnknownYet(f.config.Namespace)
	}
	for {
		found, refused, changed, err := f.look(t)
		if err != nil || len(found) > 0 {
			return found, refused, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil, errNoInstance(t.Type, f.config.Namespace)
		}
	}
}

// look returns the candidates there are now and what to wait for when there
// are none yet.
func (f *Federation) look(t Trigger) (found []candidate, refused error, changed <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.services[t.Type]
	if s == nil {
		return nil, nil, nil, f.absent(t.Type)
	}
	if err := f.unreachable(s); err != nil {
		return nil, nil, nil, err
	}
	for _, i := range s.ranked(questionKey(t, s.description)) {
		found = append(found, candidate{inst: i, client: i.scaler(), classic: !i.subscriber.describes()})
	}
	return found, f.refuses(s, t), s.changed, nil
}

// ranked are the ready instances, best for a question first; those that are
// leaving come last.
func (s *service) ranked(key uint64) []*instance {
	var found []*instance
	for _, i := range s.instances {
		if i.readiness == ready {
			found = append(found, i)
		}
	}
	slices.SortFunc(found, func(a, b *instance) int {
		if a.leaving() != b.leaving() {
			if a.leaving() {
				return 1
			}
			return -1
		}
		if score(key, a.hash) > score(key, b.hash) {
			return -1
		}
		return 1
	})
	return found
}

// peerError is what a peer said, in its own words, or, when said is false, what
// kept the Service from answering.
func (f *Federation) peerError(triggerType string, err error, said bool) error {
	told := status.Convert(err)
	text := externalscaler.Message(told.Message())
	switch {
	case late(err):
		return coded(codes.DeadlineExceeded, "Service %s%s in namespace %s did not answer in time",
			servicePrefix, triggerType, f.config.Namespace)
	case said:
		return &codedError{code: told.Code(), text: text}
	}
	return coded(told.Code(), "Service %s%s in namespace %s: %s",
		servicePrefix, triggerType, f.config.Namespace, text)
}

// hungUp is how the message of our gRPC library begins when the peer ended the
// call without a word.
const hungUp = "stream terminated by RST_STREAM"

// late reports whether an error says that our own deadline has passed. The
// peer knows that deadline and may be the first to say so: in the words of its
// gRPC library, or by hanging up, which ours calls a deadline exceeded when it
// has passed by then. A family that waited in vain for its source says so in
// words of its own.
func late(err error) bool {
	told := status.Convert(err)
	switch told.Code() {
	case codes.DeadlineExceeded:
		return strings.Contains(told.Message(), context.DeadlineExceeded.Error()) ||
			strings.HasPrefix(told.Message(), hungUp)
	case codes.Canceled:
		return true
	default:
		return told.Message() == context.DeadlineExceeded.Error()
	}
}
