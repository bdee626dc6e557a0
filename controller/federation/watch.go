package federation

import (
	"context"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	"github.com/sluice-autoscaler/sluice/identity/turns"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// watcher carries the subscriptions of one instance over one Watch stream. It
// has two goroutines, one that sends and one that receives, however many
// subscriptions there are.
type watcher struct {
	inst *instance

	mu          sync.Mutex
	assignments map[string]*assignment
	// pending are the ids whose assignment the stream has yet to be told of, and line
	// whose turn it is: who edits very many delays nobody else's.
	pending map[string]bool
	line    *turns.Line[string]
	heard   time.Time // on the stream that is open; zero without one
	wake    chan struct{}

	pace      *rate.Limiter // of what is read, on this stream and the next
	delayed   bool          // somebody was told that it is read slower than it comes
	allowance int           // how many assignments pace is for
}

func newWatcher(i *instance) *watcher {
	return &watcher{
		inst:        i,
		assignments: map[string]*assignment{},
		pending:     map[string]bool{},
		line:        turns.NewLine[string](1, 1),
		wake:        make(chan struct{}, 1),
		pace:        rate.NewLimiter(framesBase, burstBase),
	}
}

func (w *watcher) describes() bool { return true }

func (w *watcher) assign(s *assignment) {
	w.mu.Lock()
	w.assignments[s.sub.id] = s
	w.enqueue(s.sub)
	w.mu.Unlock()
}

func (w *watcher) unassign(s *assignment) {
	w.mu.Lock()
	if w.assignments[s.sub.id] == s {
		delete(w.assignments, s.sub.id)
		w.enqueue(s.sub)
	}
	w.mu.Unlock()
}

func (w *watcher) updatePacing(s *assignment) { w.assign(s) }

// enqueue has the stream told of a subscription; w.mu is held. What is told is
// decided when it is sent, so that a stream that blocks gathers no queue.
func (w *watcher) enqueue(sub *subscription) {
	if !w.pending[sub.id] {
		w.pending[sub.id] = true
		w.line.Wait(sub.namespace, sub.id, false)
	}
	signal(w.wake)
}

func (w *watcher) silentSince() (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heard, !w.heard.IsZero() && len(w.assignments) > 0
}

// run keeps a stream open while there are subscriptions.
func (w *watcher) run(ctx context.Context) {
	retry := newBackoff(w.inst.fed.clock, 200*time.Millisecond, 5*time.Second)
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
		for w.occupied() && ctx.Err() == nil {
			began := w.inst.fed.clock.Now()
			err := w.stream(ctx)
			if ctx.Err() != nil {
				return
			}
			retry.ended(began)
			w.inst.fed.log.Log(ctx, levelOf(err), "watch stream ended", "family", w.inst.family, "address", w.inst.address, "reason", reasonOf(err))
			if status.Code(err) == codes.Unimplemented {
				w.rejectAll()
			}
			retry.wait(ctx)
		}
	}
}

// levelOf is how loudly the end of a stream is told of. Instances come and go, but
// none sends by itself what is refused.
func levelOf(err error) slog.Level {
	if code := status.Code(err); code == codes.Internal || code == codes.ResourceExhausted {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// rejectAll makes a family visible that describes itself but does not watch.
func (w *watcher) rejectAll() {
	w.mu.Lock()
	assignments := slices.Collect(maps.Values(w.assignments))
	w.mu.Unlock()
	for _, s := range assignments {
		s.reject(coded(codes.Unimplemented, "family %s serves Describe but not Watch", w.inst.family))
	}
}

func (w *watcher) occupied() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.assignments) > 0
}

// stream opens one stream, subscribes everything and serves until it breaks.
func (w *watcher) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := scalerv1.NewScalerServiceClient(w.inst.conn).Watch(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	w.begin()
	defer w.ended()
	received := make(chan error, 1)
	var receiver sync.WaitGroup // ends with the stream; its result is waited for
	guard.Go(&receiver, "a stream of observations", w.inst.address, func() {
		defer cancel() // the sender may be waiting
		received <- guard.Call("a stream of observations", w.inst.address, func() error { return w.receive(ctx, stream) })
	})
	w.send(ctx, stream)
	return <-received
}

// send tells the stream of every change until it breaks.
func (w *watcher) send(ctx context.Context, stream scalerv1.ScalerService_WatchClient) {
	told := map[string]*assignment{}
	for {
		for id, s, ok := w.next(); ok; id, s, ok = w.next() {
			var frames []*scalerv1.WatchRequest
			if err := guard.Do("a subscription", id, func() { frames = w.frames(id, s, told) }); err != nil {
				w.defective(id, err)
			}
			for _, frame := range frames {
				if stream.Send(frame) != nil {
					return // the receiver learns why
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
	}
}

// begin starts over: a new stream knows nothing.
func (w *watcher) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.pending)
	w.line = turns.NewLine[string](1, 1)
	w.heard = w.inst.fed.clock.Now()
	for _, s := range w.assignments {
		s.sub.mu.Lock()
		s.accepted, s.count = false, 0
		s.sub.mu.Unlock()
		w.enqueue(s.sub)
	}
}

func (w *watcher) ended() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = time.Time{}
}

// next takes one id that the stream has yet to be told of, with its assignment, nil
// when it has none any more. It is false when all is told.
func (w *watcher) next() (string, *assignment, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	turn, ok := w.line.Next()
	if !ok {
		return "", nil, false
	}
	w.line.Leave(turn.Of)
	delete(w.pending, turn.Value)
	return turn.Value, w.assignments[turn.Value], true
}

// frames are what brings the family from what it was told to the assignment.
func (w *watcher) frames(id string, s *assignment, told map[string]*assignment) []*scalerv1.WatchRequest {
	before := told[id]
	if s == nil {
		delete(told, id)
		if before == nil {
			return nil
		}
		return []*scalerv1.WatchRequest{unsubscribeFrame(id)}
	}
	frame, err := s.sub.snapshot().subscribe()
	if err == nil && proto.Size(frame) >= largestFrame {
		err = coded(codes.InvalidArgument, "metadata is larger than the %d bytes that a family takes", largestFrame)
	}
	if err != nil {
		s.reject(err)
		return nil
	}
	told[id] = s
	var frames []*scalerv1.WatchRequest
	if before != nil && before != s && s.generation <= before.generation {
		// Another trigger under a known name, such as an object that was
		// deleted and created again: a family would take it for the old one.
		frames = append(frames, unsubscribeFrame(id))
	}
	return append(frames, &scalerv1.WatchRequest{
		Request: &scalerv1.WatchRequest_Subscribe{Subscribe: frame},
	})
}

func unsubscribeFrame(id string) *scalerv1.WatchRequest {
	return &scalerv1.WatchRequest{
		Request: &scalerv1.WatchRequest_Unsubscribe{Unsubscribe: &scalerv1.Unsubscribe{Id: id}},
	}
}

// receive takes frames until the stream breaks.
func (w *watcher) receive(ctx context.Context, stream scalerv1.ScalerService_WatchClient) error {
	for {
		frame, err := stream.Recv()
		if err != nil {
			return err
		}
		now := w.inst.fed.clock.Now()
		w.mu.Lock()
		w.heard = now
		w.mu.Unlock()
		id := subjectOf(frame)
		if err := guard.Do("an observation", id, func() { w.handle(frame, now) }); err != nil {
			_ = guard.Do("an observation", id, func() { w.defective(id, err) }) // logged
		}
		w.slowDown(ctx, proto.Size(frame), now)
	}
}

// How fast a stream is read. A family sends an observation where a reading is news,
// once a second for a trigger at most but for what rings, and a beat every 5 s. It
// tells a client that reads slowly less often, and only the latest; one that was
// taken over and sends all that it can must not take a core of the leader.
const (
	framesBase    = 500    // a second, whatever is subscribed
	framesOfOne   = 2      // a second, for each trigger
	mostFrames    = 10_000 // a second, however many there are
	burstBase     = 4096
	burstOfOne    = 4 // accepted, its metrics, what was observed, and one more
	bytesOfAFrame = 512
)

// slowDown waits until another frame may be read after one of so many bytes. What
// is not read meanwhile stays with the family.
func (w *watcher) slowDown(ctx context.Context, bytes int, now time.Time) {
	w.mu.Lock()
	if n := len(w.assignments); n != w.allowance {
		w.allowance = n
		w.pace.SetLimitAt(now, rate.Limit(min(framesBase+framesOfOne*n, mostFrames)))
		w.pace.SetBurstAt(now, burstBase+burstOfOne*n)
	}
	w.mu.Unlock()
	frames := min(1+bytes/bytesOfAFrame, burstBase)
	delay := w.pace.ReserveN(now, frames).DelayFrom(now)
	if delay <= 0 {
		return
	}
	if !w.delayed {
		w.delayed = true
		w.inst.fed.log.Warn("the family sends more than its triggers can need and is read slower than it sends",
			"family", w.inst.family, "address", w.inst.address, "framesPerSecond", float64(w.pace.Limit()))
	}
	timer := w.inst.fed.clock.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}

// subjectOf is the trigger that a frame is about, "" for one about several.
func subjectOf(frame *scalerv1.WatchResponse) string {
	switch r := frame.GetResponse().(type) {
	case *scalerv1.WatchResponse_Accepted:
		return r.Accepted.GetId()
	case *scalerv1.WatchResponse_Rejected:
		return r.Rejected.GetId()
	case *scalerv1.WatchResponse_Observation:
		return r.Observation.GetId()
	case *scalerv1.WatchResponse_Specs:
		return r.Specs.GetId()
	}
	return ""
}

// defective has a trigger fail over what was said of it.
func (w *watcher) defective(id string, err error) {
	w.mu.Lock()
	s := w.assignments[id]
	w.mu.Unlock()
	if s != nil {
		s.defective(err)
	}
}

func (w *watcher) handle(frame *scalerv1.WatchResponse, now time.Time) {
	switch r := frame.GetResponse().(type) {
	case *scalerv1.WatchResponse_Accepted:
		w.accepted(r.Accepted)
	case *scalerv1.WatchResponse_Rejected:
		if s := w.find(r.Rejected.GetId(), r.Rejected.GetGeneration()); s != nil {
			specs, _ := specsOf(r.Rejected.GetSpecs()) // why it is rejected counts
			s.reject(statusError(r.Rejected.GetStatus()), specs...)
		}
	case *scalerv1.WatchResponse_Observation:
		w.observed(r.Observation, now)
	case *scalerv1.WatchResponse_Specs:
		w.specs(r.Specs)
	case *scalerv1.WatchResponse_Beat:
		for _, id := range r.Beat.GetIds() {
			w.beat(id, now)
		}
	case *scalerv1.WatchResponse_Draining:
		w.inst.fed.drains(w.inst)
	}
}

// find returns the assignment that a frame is for, nil when it is for another
// generation or for nobody.
func (w *watcher) find(id string, generation int64) *assignment {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.assignments[id]
	if s == nil || s.generation != generation {
		return nil
	}
	return s
}

func (w *watcher) accepted(frame *scalerv1.Accepted) {
	s := w.find(frame.GetId(), frame.GetGeneration())
	if s == nil {
		return
	}
	s.apply(func(state *State) bool {
		s.accepted = true
		state.Accepted, state.Rejected = true, nil
		state.Detection = detectionOf(frame.GetDetection())
		state.Warnings = warningsOf(frame.GetWarnings())
		state.ReadDeadline = frame.GetReadDeadline().AsDuration()
		return true
	})
}

func (w *watcher) observed(frame *scalerv1.Observation, now time.Time) {
	s := w.find(frame.GetId(), frame.GetGeneration())
	if s == nil {
		return
	}
	r := readingOf(frame, now)
	if s.apply(func(state *State) bool {
		if !s.accepted { // of what this id stood for before
			return false
		}
		turned := frame.GetActivations()
		if turned >= s.count {
			turned -= s.count
		}
		s.count = frame.GetActivations()
		state.observe(r, turned)
		return true
	}) {
		s.answer()
	}
}

func (w *watcher) specs(frame *scalerv1.Specs) {
	s := w.find(frame.GetId(), frame.GetGeneration())
	if s == nil {
		return
	}
	specs, err := specsOf(frame.GetSpecs())
	if err != nil {
		s.reject(err)
	}
	if len(specs) == 0 {
		return
	}
	s.apply(func(state *State) bool {
		if !s.accepted {
			return false
		}
		state.Specs, state.HaveSpecs = specs, true
		return true
	})
}

// uneventful reports whether a beat need not be told of, when the last one was
// at told. Thousands at rest beat every 5 s, and nothing follows from that: now
// and then is enough for them. Work, errors, and a beat after one was missed
// are told of each time.
func uneventful(state *State, told, now time.Time) bool {
	return state.Outcome == scaling.Value && !state.Active() && now.Sub(state.HeardAt) < missed && now.Sub(told) < restBeat
}

const (
	// missed is the time without a word after which a beat is news. Families
	// beat every 5 s.
	missed = 7 * time.Second
	// restBeat is about how often a beat of a trigger at rest is told of.
	restBeat = 14 * time.Second
)

func (w *watcher) beat(id string, now time.Time) {
	w.mu.Lock()
	s := w.assignments[id]
	w.mu.Unlock()
	if s == nil {
		return
	}
	s.apply(func(state *State) bool {
		if !s.accepted || state.Outcome == scaling.Pending || state.Earlier {
			return false
		}
		quiet := uneventful(state, s.told, now)
		state.HeardAt = now
		if quiet {
			return false
		}
		s.told = now
		return true
	})
}

// readingOf understands an observation. What a family should not have sent is
// never taken for a number: a value that is not finite is no data, a negative
// one is 0.
func readingOf(frame *scalerv1.Observation, now time.Time) reading {
	r := reading{
		at:         now.Add(-max(frame.GetAge().AsDuration(), 0)),
		took:       max(frame.GetTook().AsDuration(), 0),
		heard:      now,
		detectedBy: detectionOf(frame.GetDetection()),
		note:       externalscaler.Message(frame.GetDetectionNote()),
		trace:      traceOf(frame.GetTraceparent()),
	}
	if frame.GetSourceEventTime() != nil {
		r.eventTime = frame.GetSourceEventTime().AsTime()
	}
	if frame.GetStatus() != nil {
		r.err = statusError(frame.GetStatus())
	}
	if err := checkMetrics(frame.GetValues()); err != nil {
		r.outcome, r.err = scaling.Failed, err
		return r
	}
	switch frame.GetOutcome() {
	case scalerv1.Outcome_OUTCOME_ERROR:
		r.outcome = scaling.Failed
		if r.err == nil {
			r.err = coded(codes.Unknown, "the family gave no reason")
		}
	case scalerv1.Outcome_OUTCOME_VALUE:
		r.outcome, r.values = valuesOf(frame.GetValues())
		if r.err != nil {
			r.outcome, r.values = scaling.Failed, nil
		}
	default:
		r.outcome = scaling.NoData
		if r.err == nil {
			// What stands in for the missing answer, by the trigger's rule.
			_, r.values = valuesOf(frame.GetValues())
		}
	}
	return r
}

func valuesOf(frames []*scalerv1.Value) (scaling.Outcome, []Value) {
	values := make([]Value, 0, len(frames))
	for _, v := range frames {
		if !finite(v.GetValue()) {
			return scaling.NoData, nil
		}
		values = append(values, Value{Metric: v.GetMetricName(), Value: max(v.GetValue(), 0), Active: v.GetActive()})
	}
	if len(values) == 0 {
		return scaling.NoData, nil
	}
	return scaling.Value, values
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// specsOf leaves out metrics without a name or with a target that is no
// number.
func specsOf(frames []*externalscaler.MetricSpec) ([]MetricSpec, error) {
	if err := checkMetrics(frames); err != nil {
		return nil, err
	}
	specs := make([]MetricSpec, 0, len(frames))
	for _, m := range frames {
		target := number(m.GetTargetSizeFloat(), m.GetTargetSize()) //nolint:staticcheck // third parties still send the integer
		if m.GetMetricName() != "" && finite(target) {
			specs = append(specs, MetricSpec{Name: m.GetMetricName(), Target: target})
		}
	}
	return specs, nil
}

// number is how the contract carries one: the float, or the integer where the
// float is not greater than 0.
func number(float float64, integer int64) float64 {
	if float > 0 || !finite(float) {
		return float
	}
	return float64(integer)
}

func detectionOf(d scalerv1.Detection) Detection {
	switch d {
	case scalerv1.Detection_DETECTION_POLLING:
		return DetectionPolling
	case scalerv1.Detection_DETECTION_DOORBELL:
		return DetectionDoorbell
	case scalerv1.Detection_DETECTION_TIMER:
		return DetectionTimer
	default:
		return DetectionUnknown
	}
}

func statusError(s *scalerv1.Status) error {
	code := codes.Code(s.GetCode()) //nolint:gosec // an unknown code stays one
	if code == codes.OK {
		code = codes.Unknown
	}
	return &codedError{code: code, text: externalscaler.Message(s.GetMessage())}
}
