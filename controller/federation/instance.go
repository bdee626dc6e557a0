package federation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"k8s.io/utils/clock"

	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

const (
	// describeTimeout bounds one Describe, probeTimeout one question whether
	// an instance is alive.
	describeTimeout = 5 * time.Second
	probeTimeout    = 2 * time.Second
	// silence is how long a stream with subscriptions may say nothing before
	// its instance is probed: two beats missed.
	silence      = 11 * time.Second
	silenceCheck = 5 * time.Second
)

// instanceKey tells connections apart: one for each.
type instanceKey struct {
	target, address, family string
	plaintext               bool
}

// readiness is whether an instance can be used, as far as that is known.
type readiness int

const (
	starting readiness = iota // not judged yet
	ready
	down
)

// instance is one process of a family and the one connection to it, shared by
// all trigger types that it serves.
type instance struct {
	instanceKey
	hash uint64
	fed  *Federation
	conn *grpc.ClientConn // written by run alone, under the Federation's lock
	// thirdParty is set, by run, once the instance turned out to be no family.
	thirdParty bool
	stop       context.CancelFunc
	suspicion  chan struct{} // one token: somebody waited in vain
	verdicts   *rate.Limiter // of what it says of its health

	// Guarded by the Federation.
	holders     map[*service]bool // to whether its address is terminating there
	readiness   readiness
	reason      string // why it is down
	draining    bool   // it said so
	description *scalerv1.DescribeResponse
	subscriber  subscriber // nil until the instance was described once
}

// subscriber serves the subscriptions of an instance.
type subscriber interface {
	// assign adds a subscription, or replaces that of the same id.
	assign(*assignment)
	// unassign removes it, unless it was replaced meanwhile.
	unassign(*assignment)
	// updatePacing is called after interval, mode or doorbell changed.
	updatePacing(*assignment)
	// run serves until ctx is done.
	run(ctx context.Context)
	// silentSince is when the peer was last heard, false when it has no reason
	// to speak.
	silentSince() (time.Time, bool)
	// describes reports whether it speaks sluice.scaler.v1.
	describes() bool
}

func (i *instance) scaler() externalscaler.ExternalScalerClient {
	return externalscaler.NewExternalScalerClient(i.conn)
}

// terminating reports whether the cluster says that the instance goes.
func (i *instance) terminating() bool {
	if len(i.holders) == 0 {
		return true
	}
	for _, going := range i.holders {
		if !going {
			return false
		}
	}
	return true
}

// leaving instances keep what they have for a while and get nothing new.
func (i *instance) leaving() bool { return i.draining || i.terminating() }

// suspect asks for a probe.
func (i *instance) suspect() { signal(i.suspicion) }

// run owns the connection and everything that uses it for long.
func (i *instance) run(ctx context.Context) {
	defer i.hangUp()
	subscribers := &subscriberRunner{}
	defer subscribers.stop()
	retry := newBackoff(i.fed.clock, 200*time.Millisecond, 5*time.Second)
	for ctx.Err() == nil {
		began := i.fed.clock.Now()
		err := i.session(ctx, subscribers)
		if ctx.Err() != nil {
			return
		}
		i.fed.setReadiness(i, down, reasonOf(err))
		retry.ended(began)
		i.waitToReconnect(ctx, retry)
	}
}

func (i *instance) hangUp() {
	if i.conn != nil {
		i.conn.Close()
	}
}

// waitToReconnect leaves the time of the next attempt to gRPC, which backs
// off by itself, while there is no connection.
func (i *instance) waitToReconnect(ctx context.Context, retry *backoffTimer) {
	if i.conn == nil {
		retry.wait(ctx)
		return
	}
	var watcher sync.WaitGroup
	defer watcher.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if i.conn.GetState() == connectivity.TransientFailure {
		guard.Go(&watcher, "the connection to an instance", i.address, func() {
			i.conn.WaitForStateChange(ctx, connectivity.TransientFailure)
			cancel()
		})
	}
	retry.wait(ctx)
	i.conn.Connect()
}

// session learns what the instance is and follows its health. It returns why
// the instance can no longer be used.
func (i *instance) session(ctx context.Context, subscribers *subscriberRunner) error {
	if i.conn == nil {
		if err := i.dial(); err != nil {
			return err
		}
	}
	description, err := i.describe(ctx)
	if err != nil {
		return err
	}
	if description == nil && !i.thirdParty {
		i.thirdParty = true
		i.conn.Close()
		if err := i.dial(); err != nil {
			return err
		}
	}
	i.fed.described(i, description, subscribers.keep(ctx, i, description != nil))
	return i.followHealth(ctx)
}

func (i *instance) dial() error {
	conn, err := dial(i.fed.config, i.instanceKey, i.thirdParty)
	if err != nil {
		return err
	}
	i.fed.mu.Lock()
	defer i.fed.mu.Unlock()
	i.conn = conn
	return nil
}

// describe returns nil for an instance that does not serve sluice.scaler.v1.
func (i *instance) describe(ctx context.Context) (*scalerv1.DescribeResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	description, err := scalerv1.NewScalerServiceClient(i.conn).Describe(ctx, &scalerv1.DescribeRequest{})
	if status.Code(err) == codes.Unimplemented {
		return nil, nil
	}
	if err == nil {
		err = checkDescription(description)
	}
	return description, err
}

// followHealth judges the instance by gRPC health, and by the connection alone
// where health is not served, as by many third parties.
func (i *instance) followHealth(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var receiver sync.WaitGroup
	defer receiver.Wait()
	defer cancel()
	verdicts := make(chan bool, 1)
	ended := make(chan error, 1)
	guard.Go(&receiver, "the health of an instance", i.address, func() {
		ended <- guard.Call("the health of an instance", i.address, func() error { return i.receiveHealth(ctx, verdicts) })
	})

	check := i.fed.clock.NewTicker(silenceCheck)
	defer check.Stop()
	heard, serving, alive := false, false, true
	for {
		select {
		case err := <-ended:
			return err
		case serving = <-verdicts:
			heard = true
		case <-i.suspicion:
			alive = i.probe(ctx)
		case <-check.C():
			i.fed.catchUp(i)
			if !alive || i.tooSilent() {
				alive = i.probe(ctx)
			}
		}
		switch {
		case ctx.Err() != nil:
		case !alive:
			i.fed.setReadiness(i, down, "does not answer")
		case !heard: // nothing to judge by yet
		case !serving:
			i.fed.setReadiness(i, down, "says that it is not serving")
		default:
			i.fed.setReadiness(i, ready, "")
		}
	}
}

// receiveHealth passes health on until the connection is lost.
func (i *instance) receiveHealth(ctx context.Context, verdicts chan<- bool) error {
	stream, err := healthpb.NewHealthClient(i.conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	for err == nil {
		var health *healthpb.HealthCheckResponse
		if health, err = stream.Recv(); err == nil {
			i.pace(ctx)
			tell(ctx, verdicts, health.GetStatus() == healthpb.HealthCheckResponse_SERVING)
		}
	}
	if status.Code(err) != codes.Unimplemented {
		return err
	}
	tell(ctx, verdicts, true)
	return i.followConnection(ctx)
}

// followConnection returns once the connection that just served a call is
// lost. It may be told of that call before it is told that it is ready.
func (i *instance) followConnection(ctx context.Context) error {
	for wasReady := false; ; {
		state := i.conn.GetState()
		switch {
		case state == connectivity.Ready:
			wasReady = true
		case wasReady, state == connectivity.TransientFailure, state == connectivity.Shutdown:
			return coded(codes.Unavailable, "connection lost")
		}
		if !i.conn.WaitForStateChange(ctx, state) {
			return ctx.Err()
		}
	}
}

// Each change of an instance's health is gone through for all triggers of its
// Services, while everybody else waits. So a few come at once, and then one a
// verdictGap.
const (
	verdictBurst = 5
	verdictGap   = time.Second
)

// pace waits until the next verdict may be heard.
func (i *instance) pace(ctx context.Context) {
	now := i.fed.clock.Now()
	delay := i.verdicts.ReserveN(now, 1).DelayFrom(now)
	if delay == 0 {
		return
	}
	timer := i.fed.clock.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}

func tell(ctx context.Context, verdicts chan<- bool, serving bool) {
	select {
	case verdicts <- serving:
	case <-ctx.Done():
	}
}

// probe asks the instance for a sign of life: any answer is one.
func (i *instance) probe(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var answer answered
	_, err := healthpb.NewHealthClient(i.conn).Check(ctx, &healthpb.HealthCheckRequest{}, answer.options()...)
	return err == nil || answer.given()
}

func (i *instance) tooSilent() bool {
	i.fed.mu.Lock()
	p := i.subscriber
	i.fed.mu.Unlock()
	if p == nil {
		return false
	}
	since, ok := p.silentSince()
	return ok && i.fed.clock.Since(since) > silence
}

// answered tells an error that the peer sent from one that our side made up
// because there was no peer to ask.
type answered struct{ header, trailer metadata.MD }

func (a *answered) options() []grpc.CallOption {
	return []grpc.CallOption{grpc.Header(&a.header), grpc.Trailer(&a.trailer)}
}

// given is true when anything came back: gRPC answers always carry at least
// their content type.
func (a *answered) given() bool { return len(a.header) > 0 || len(a.trailer) > 0 }

// reasonOf is an error's text without gRPC's wrapping.
func reasonOf(err error) string {
	if err == nil {
		return "connection lost"
	}
	return externalscaler.Message(status.Convert(err).Message())
}

// subscriberRunner keeps the subscriber of an instance running from one connection
// to the next, and changes it when the instance comes back as another kind.
type subscriberRunner struct {
	subscriber subscriber
	end        context.CancelFunc
	done       sync.WaitGroup
}

func (r *subscriberRunner) keep(ctx context.Context, i *instance, describes bool) subscriber {
	if r.subscriber != nil && r.subscriber.describes() == describes {
		return r.subscriber
	}
	r.stop()
	if describes {
		r.subscriber = newWatcher(i)
	} else {
		r.subscriber = newPoller(i)
	}
	ctx, r.end = context.WithCancel(ctx)
	running := r.subscriber
	guard.Go(&r.done, "the subscriptions of an instance", i.address, func() {
		guard.Loop(ctx, "the subscriptions of an instance", i.address, func() { running.run(ctx) })
	})
	return r.subscriber
}

func (r *subscriberRunner) stop() {
	if r.end != nil {
		r.end()
	}
	r.done.Wait()
}

// backoffTimer waits longer each time, never less than half of its step.
type backoffTimer struct {
	clock              clock.Clock
	first, last, delay time.Duration
}

func newBackoff(c clock.Clock, first, last time.Duration) *backoffTimer {
	return &backoffTimer{clock: c, first: first, last: last, delay: first}
}

// stood is how long an attempt must have held for the next delay to be the
// first again: what is dropped as soon as it connects must cost ever less.
const stood = 30 * time.Second

// ended is told of each attempt when it began.
func (b *backoffTimer) ended(began time.Time) {
	if b.clock.Since(began) >= stood {
		b.delay = b.first
	}
}

// wait returns after the next delay or when ctx is done.
func (b *backoffTimer) wait(ctx context.Context) {
	delay := b.delay/2 + rand.N(b.delay/2+1)
	b.delay = min(2*b.delay, b.last)
	timer := b.clock.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}

func (i *instance) String() string { return fmt.Sprintf("%s (%s)", i.address, i.family) }
