package serving

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/sampling"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// well is what sources of type "well" read: the test changes it.
type well struct {
	level atomic.Int64
	err   atomic.Pointer[error]
	opens atomic.Int64
	alive atomic.Int64
	reads atomic.Int64
	doorbell
}

// doorbell rings when the test says so.
type doorbell struct {
	mu        sync.Mutex
	ringIt    func()
	listening atomic.Int32 // at once
}

func (d *doorbell) Listen(ctx context.Context, listening, ring func()) error {
	d.listening.Add(1)
	defer d.listening.Add(-1)
	d.mu.Lock()
	d.ringIt = ring
	d.mu.Unlock()
	listening()
	<-ctx.Done()
	return ctx.Err()
}

func (d *doorbell) ring() {
	d.mu.Lock()
	ring := d.ringIt
	d.mu.Unlock()
	ring()
}

// wait lets the bubble's clock go on.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

type wellParams struct {
	Name       string  `param:"name,required"`
	Password   string  `param:"password" from:"auth"`
	Target     float64 `param:"target" default:"5" role:"target"`
	Activation float64 `param:"activation" default:"0" role:"activation"`
}

func (p wellParams) Metrics() []contract.Metric {
	return []contract.Metric{{Name: "well-" + p.Name, Target: p.Target, Activation: p.Activation}}
}

type wellSource struct {
	*doorbell
	well *well
}

func (s *wellSource) Read(context.Context) ([]contract.Reading, error) {
	s.well.reads.Add(1)
	if err := s.well.err.Load(); err != nil {
		return nil, *err
	}
	return contract.One(float64(s.well.level.Load())), nil
}

func (s *wellSource) Close() error { s.well.alive.Add(-1); return nil }

func (w *well) trigger() trigger.Trigger {
	return trigger.Define("well", func(ctx context.Context, p wellParams) (contract.Source, error) {
		w.opens.Add(1)
		switch p.Password {
		case "wrong":
			return nil, status.Error(codes.Unauthenticated, "login refused")
		case "unanswered":
			<-ctx.Done()
			return nil, ctx.Err()
		}
		w.alive.Add(1)
		return &wellSource{&w.doorbell, w}, nil
	}, trigger.RingsAt("nothing"))
}

// passwords resolves references to a password that the test changes.
type passwords struct {
	mu       sync.Mutex
	password string
	err      error              // instead of it
	warnings []string           // beside it
	again    time.Duration      // when to read it again; 0 is never
	last     contract.Reference // that was resolved
	reads    int
}

func (p *passwords) Resolve(_ context.Context, ref contract.Reference) (*contract.Credentials, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = ref
	p.reads++
	switch {
	case p.err != nil:
		return nil, p.err
	case p.password == "":
		return nil, status.Error(codes.NotFound, "TriggerAuthentication/secret does not exist")
	}
	creds := &contract.Credentials{Parameters: map[string]string{"password": p.password}, Warnings: p.warnings}
	if p.again > 0 {
		creds.ReadAgain = time.Now().Add(p.again)
	}
	return creds, nil
}

// change is what the API server says from now on.
func (p *passwords) change(edit func(*passwords)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	edit(p)
}

func (p *passwords) set(password string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.password = password
}

// served is a family in a bubble.
type served struct {
	well      *well
	passwords *passwords
	server    *Server
	conn      *grpc.ClientConn
	external  externalscaler.ExternalScalerClient
	stop      func() // begins a graceful stop
	stopped   chan struct{}
}

func withFamily(t *testing.T, test func(t *testing.T, f *served)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &well{}
		p := &passwords{}
		server := New(Config{Family: "wells", Triggers: []trigger.Trigger{w.trigger()}, Resolver: p, ShutdownTimeout: 10 * time.Second})
		listener := bufconn.Listen(1 << 16)
		ctx, stop := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			if err := server.Serve(ctx, listener); err != nil {
				t.Errorf("serve: %v", err)
			}
		}()
		conn, err := grpc.NewClient("passthrough:///wells",
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		f := &served{
			well: w, passwords: p, server: server, conn: conn, stop: stop, stopped: stopped,
			external: externalscaler.NewExternalScalerClient(conn),
		}
		defer func() {
			conn.Close()
			stop()
			<-stopped
			if n := w.alive.Load(); n != 0 {
				t.Errorf("%d sources are left open", n)
			}
		}()
		test(t, f)
	})
}

// heard is the latest of each kind of frame.
type heard struct {
	accepted     map[string]*scalerv1.Accepted
	rejected     map[string]*scalerv1.Rejected
	specs        map[string]*scalerv1.Specs
	observations map[string]*scalerv1.Observation
	beats        map[string]int
	frames       int
	draining     bool
	ended        error
}

// watcher is a client of Watch that keeps what it hears.
type watcher struct {
	stream grpc.BidiStreamingClient[scalerv1.WatchRequest, scalerv1.WatchResponse]
	cancel context.CancelFunc

	mu    sync.Mutex
	heard heard
}

// now is what was heard until now.
func (w *watcher) now() heard {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.heard
	h.accepted, h.rejected, h.specs = maps.Clone(h.accepted), maps.Clone(h.rejected), maps.Clone(h.specs)
	h.observations, h.beats = maps.Clone(h.observations), maps.Clone(h.beats)
	return h
}

func (f *served) watch(t *testing.T) *watcher {
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := scalerv1.NewScalerServiceClient(f.conn).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{
		stream: stream, cancel: cancel,
		heard: heard{
			accepted: map[string]*scalerv1.Accepted{}, rejected: map[string]*scalerv1.Rejected{},
			specs: map[string]*scalerv1.Specs{}, observations: map[string]*scalerv1.Observation{}, beats: map[string]int{},
		},
	}
	go w.receive()
	return w
}

func (w *watcher) receive() {
	for {
		frame, err := w.stream.Recv()
		w.mu.Lock()
		if err != nil {
			w.heard.ended = err
			w.mu.Unlock()
			return
		}
		w.heard.frames++
		switch r := frame.GetResponse().(type) {
		case *scalerv1.WatchResponse_Accepted:
			w.heard.accepted[r.Accepted.GetId()] = r.Accepted
		case *scalerv1.WatchResponse_Rejected:
			w.heard.rejected[r.Rejected.GetId()] = r.Rejected
		case *scalerv1.WatchResponse_Specs:
			w.heard.specs[r.Specs.GetId()] = r.Specs
		case *scalerv1.WatchResponse_Observation:
			w.heard.observations[r.Observation.GetId()] = r.Observation
		case *scalerv1.WatchResponse_Beat:
			for _, id := range r.Beat.GetIds() {
				w.heard.beats[id]++
			}
		case *scalerv1.WatchResponse_Draining:
			w.heard.draining = true
		}
		w.mu.Unlock()
	}
}

func (w *watcher) observation(id string) *scalerv1.Observation { return w.now().observations[id] }

// subscription is a request that changes the defaults below.
type change func(*scalerv1.Subscribe)

func (w *watcher) subscribe(t *testing.T, name string, changes ...change) string {
	t.Helper()
	s := &scalerv1.Subscribe{
		Id: "ScaledObject/default/" + name + "/0", Generation: 1,
		Ref: &externalscaler.ScaledObjectRef{Name: name, Namespace: "default", ScalerMetadata: map[string]string{
			scalerv1.KeyTriggerType: "well", "name": "deep",
		}},
		Interval: durationpb.New(30 * time.Second), Mode: scalerv1.Mode_MODE_ACTIVE,
	}
	for _, c := range changes {
		c(s)
	}
	if err := w.stream.Send(&scalerv1.WatchRequest{Request: &scalerv1.WatchRequest_Subscribe{Subscribe: s}}); err != nil {
		t.Fatal(err)
	}
	return s.GetId()
}

func with(key, value string) change {
	return func(s *scalerv1.Subscribe) { s.Ref.ScalerMetadata[key] = value }
}

func generation(g int64) change { return func(s *scalerv1.Subscribe) { s.Generation = g } }

func idle(s *scalerv1.Subscribe) { s.Mode = scalerv1.Mode_MODE_IDLE }

func TestWatchTellsWhatChanges(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		f.well.level.Store(7)
		w := f.watch(t)
		id := w.subscribe(t, "app", with("nam", "typo"))
		wait(time.Second)
		if a := w.now().accepted[id]; a.GetGeneration() != 1 || len(a.GetWarnings()) != 1 {
			t.Errorf("accepted = %v", a)
		}
		if s := w.now().specs[id].GetSpecs(); len(s) != 1 || s[0].GetMetricName() != "well-deep" || s[0].GetTargetSizeFloat() != 5 {
			t.Errorf("specs = %v", s)
		}
		o := w.observation(id)
		if o.GetOutcome() != scalerv1.Outcome_OUTCOME_VALUE || o.GetValues()[0].GetValue() != 7 || !o.GetValues()[0].GetActive() || o.GetActivations() != 1 {
			t.Errorf("observation = %v", o)
		}
		frames := w.now().frames
		wait(10 * time.Minute)
		if beats := w.now().beats[id]; beats < 119 || w.now().frames-frames != beats {
			t.Errorf("%d beats in ten minutes and %d frames: equal readings are covered by beats", beats, w.now().frames-frames)
		}
		f.well.level.Store(8)
		wait(30 * time.Second)
		if v := w.observation(id).GetValues()[0].GetValue(); v != 8 {
			t.Errorf("value = %v, want 8", v)
		}
	})
}

func TestWatchTellsEveryReadForJobs(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		f.well.level.Store(7)
		w := f.watch(t)
		id := w.subscribe(t, "batch", with(scalerv1.KeyKind, scalerv1.KindScaledJob), idle)
		wait(time.Second)
		reads, frames, beats := f.well.reads.Load(), w.now().frames, w.now().beats[id]
		wait(10 * time.Minute)
		told := w.now().frames - frames - (w.now().beats[id] - beats)
		if n := f.well.reads.Load() - reads; int64(told) != n || n < 19 {
			t.Errorf("%d of %d equal readings were told", told, n)
		}
		if age := w.observation(id).GetAge().AsDuration(); age > time.Second {
			t.Errorf("a reading was told %v after it was made", age)
		}
	})
}

func TestWatchAppliesThresholdsPerSubscription(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		f.well.level.Store(7)
		w := f.watch(t)
		low := w.subscribe(t, "low", with("activation", "6"))
		at := w.subscribe(t, "at", with("activation", "7"))
		wait(time.Second)
		if !w.observation(low).GetValues()[0].GetActive() || w.observation(at).GetValues()[0].GetActive() {
			t.Errorf("observations = %v, %v", w.observation(low), w.observation(at))
		}
		if opens := f.well.opens.Load(); opens != 1 {
			t.Errorf("%d sources for one question", opens)
		}
	})
}

func TestWatchTellsFailuresAndRecovery(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		down := errors.New("well is dry")
		f.well.err.Store(&down)
		w := f.watch(t)
		id := w.subscribe(t, "app")
		wait(20 * time.Second)
		o := w.observation(id)
		if o.GetOutcome() != scalerv1.Outcome_OUTCOME_ERROR || o.GetStatus().GetMessage() != "well: well is dry" || len(o.GetValues()) != 0 {
			t.Errorf("observation = %v", o)
		}
		if w.now().beats[id] == 0 {
			t.Error("a failure that still holds has no beat")
		}
		f.well.err.Store(nil)
		wait(2 * time.Minute)
		if o := w.observation(id); o.GetOutcome() != scalerv1.Outcome_OUTCOME_VALUE {
			t.Errorf("observation = %v", o)
		}
	})
}

func TestCheckAsksNobody(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		service := scalerv1.NewScalerServiceClient(f.conn)
		check := func(metadata map[string]string) []string {
			t.Helper()
			metadata[scalerv1.KeyTriggerType] = "well"
			answer, err := service.Check(t.Context(), &scalerv1.CheckRequest{Ref: &externalscaler.ScaledObjectRef{ScalerMetadata: metadata}})
			if err != nil {
				t.Fatal(err)
			}
			return answer.GetProblems()
		}
		if have := check(map[string]string{"name": "deep"}); len(have) > 0 {
			t.Errorf("%q of a good trigger", have)
		}
		want := []string{"name: is required (looked in metadata)", `activation: "x" is not a number`}
		if have := check(map[string]string{"activation": "x"}); !slices.Equal(have, want) {
			t.Errorf("%q, want %q", have, want)
		}
		if have := check(map[string]string{"name": "deep", "target": "0"}); !slices.Equal(have, []string{"target: target 0 is not greater than 0"}) {
			t.Errorf("%q", have)
		}
		if f.well.opens.Load() > 0 {
			t.Error("a source was opened")
		}
	})
}

func TestWatchRejectsWrongTriggers(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		w := f.watch(t)
		id := w.subscribe(t, "app", with("target", "many"))
		good := w.subscribe(t, "good")
		unknown := w.subscribe(t, "unknown", with(scalerv1.KeyTriggerType, "spring"))
		zero := w.subscribe(t, "zero", with("target", "0"))
		wait(time.Second)
		if r := w.now().rejected[id]; codes.Code(r.GetStatus().GetCode()) != codes.InvalidArgument || r.GetStatus().GetMessage() != `well: target: "many" is not a number` {
			t.Errorf("rejected = %v", r)
		} else if specs := r.GetSpecs(); len(specs) != 1 || specs[0].GetMetricName() != "well-deep" || specs[0].GetTargetSizeFloat() != 5 {
			t.Errorf("the metrics of a rejected trigger = %v", specs)
		}
		if r := w.now().rejected[zero]; len(r.GetSpecs()) != 0 || r.GetStatus().GetMessage() != "well: target: target 0 is not greater than 0" {
			t.Errorf("rejected = %v", r)
		}
		if r := w.now().rejected[unknown]; codes.Code(r.GetStatus().GetCode()) != codes.Unimplemented {
			t.Errorf("rejected = %v", r)
		}
		if w.observation(good) == nil {
			t.Error("a wrong trigger took another one with it")
		}
		w.subscribe(t, "app", generation(2))
		wait(time.Second)
		if w.now().accepted[id].GetGeneration() != 2 || w.observation(id).GetGeneration() != 2 {
			t.Errorf("accepted = %v, observation = %v", w.now().accepted[id], w.observation(id))
		}
	})
}

func TestWatchFollowsGenerations(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		w := f.watch(t)
		id := w.subscribe(t, "app", generation(5))
		wait(time.Second)
		w.subscribe(t, "app", generation(4), with("target", "9"))
		wait(time.Second)
		if got := w.now().specs[id]; got.GetGeneration() != 5 || got.GetSpecs()[0].GetTargetSizeFloat() != 5 {
			t.Errorf("specs = %v: a lower generation is ignored", got)
		}
		w.subscribe(t, "app", generation(6), with("target", "9"))
		wait(time.Second)
		if got := w.now().specs[id]; got.GetGeneration() != 6 || got.GetSpecs()[0].GetTargetSizeFloat() != 9 {
			t.Errorf("specs = %v", got)
		}
		if w.observation(id).GetGeneration() != 6 {
			t.Errorf("observation = %v", w.observation(id))
		}
	})
}

func TestPulseBetweenTwoFramesActivates(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		w := f.watch(t)
		id := w.subscribe(t, "app", idle)
		wait(time.Minute)
		if n := w.observation(id).GetActivations(); n != 0 {
			t.Fatalf("activations = %d before any work", n)
		}
		for range 3 {
			f.well.level.Store(1)
			f.well.ring()
			wait(time.Second)
			f.well.level.Store(0)
			f.well.ring()
			wait(time.Second)
		}
		o := w.observation(id)
		if o.GetActivations() != 3 || o.GetValues()[0].GetActive() {
			t.Errorf("observation = %v, want 3 activations and no activity", o)
		}
		if o.GetDetection() != scalerv1.Detection_DETECTION_DOORBELL {
			t.Errorf("detection = %v", o.GetDetection())
		}
	})
}

func TestTwoControllersShareTheQuestion(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		f.well.level.Store(3)
		leader, standby := f.watch(t), f.watch(t)
		id := leader.subscribe(t, "app")
		standby.subscribe(t, "app")
		wait(time.Second)
		if leader.observation(id) == nil || standby.observation(id) == nil {
			t.Fatal("one of them was told nothing")
		}
		if n := f.well.opens.Load(); n != 1 {
			t.Errorf("%d sources", n)
		}
		leader.cancel()
		wait(time.Second)
		f.well.level.Store(4)
		wait(time.Minute)
		if v := standby.observation(id).GetValues()[0].GetValue(); v != 4 {
			t.Errorf("value = %v after the other left", v)
		}
	})
}

func TestRequestByReferenceIsAnsweredFromTheSubscription(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		f.well.level.Store(3)
		ref := func(generation string) *externalscaler.ScaledObjectRef {
			return &externalscaler.ScaledObjectRef{Name: "app", Namespace: "default", ScalerMetadata: map[string]string{
				scalerv1.KeyKind: "ScaledObject", scalerv1.KeyTriggerIndex: "0", scalerv1.KeyGeneration: generation,
			}}
		}
		get := func(generation string) (float64, error) {
			answer, err := f.external.GetMetrics(t.Context(), &externalscaler.GetMetricsRequest{ScaledObjectRef: ref(generation), MetricName: "well-deep"})
			if err != nil {
				return 0, err
			}
			return answer.GetMetricValues()[0].GetMetricValueFloat(), nil
		}
		if _, err := get("1"); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("err = %v without a subscription", err)
		}
		w := f.watch(t)
		w.subscribe(t, "app")
		wait(time.Second)
		if v, err := get("1"); v != 3 || err != nil {
			t.Errorf("value = %v, %v", v, err)
		}
		if _, err := get("2"); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("err = %v for another generation", err)
		}
		w.cancel()
		wait(time.Second)
		if _, err := get("1"); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("err = %v after the stream ended", err)
		}
	})
}

func TestCredentialsAreResolvedAfreshAfterARefusal(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		w := f.watch(t)
		id := w.subscribe(t, "app", with(scalerv1.KeyAuthenticationRef, "TriggerAuthentication/secret"))
		wait(time.Second)
		if w.now().accepted[id] == nil || w.now().specs[id] == nil {
			t.Error("a trigger is accepted, and its specs known, without credentials")
		}
		if o := w.observation(id); codes.Code(o.GetStatus().GetCode()) != codes.NotFound {
			t.Errorf("observation = %v", o)
		}
		f.passwords.set("wrong")
		wait(3 * time.Minute)
		if o := w.observation(id); codes.Code(o.GetStatus().GetCode()) != codes.Unauthenticated {
			t.Errorf("observation = %v", o)
		}
		f.passwords.set("right")
		wait(3 * time.Minute)
		if o := w.observation(id); o.GetOutcome() != scalerv1.Outcome_OUTCOME_VALUE {
			t.Errorf("observation = %v", o)
		}
	})
}

func TestDrainingIsSaidBeforeTheEnd(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		f.well.level.Store(3)
		w := f.watch(t)
		id := w.subscribe(t, "app")
		wait(time.Second)
		f.stop()
		wait(5 * time.Second)
		if !w.now().draining || w.now().ended != nil {
			t.Fatalf("draining = %v, ended = %v", w.now().draining, w.now().ended)
		}
		// A client that does not leave is served until the limit.
		if w.now().beats[id] == 0 {
			t.Error("no beat while draining")
		}
		wait(10 * time.Second)
		if w.now().ended == nil {
			t.Error("the stream outlives the limit")
		}
		<-f.stopped
	})
}

func TestSlowClientGetsTheLatest(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := scalerv1.NewScalerServiceClient(f.conn).Watch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// It subscribes to much and reads nothing for two minutes.
		w := &watcher{stream: stream}
		for i := range 500 {
			w.subscribe(t, fmt.Sprint("app", i), with("name", fmt.Sprint("well", i)), func(s *scalerv1.Subscribe) {
				s.Interval = durationpb.New(time.Second)
			})
		}
		for i := range 120 {
			f.well.level.Store(int64(i + 1))
			wait(time.Second)
		}
		latest := map[string]float64{}
		frames := 0
		for len(latest) < 500 || frames < 1500 {
			frame, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if o := frame.GetObservation(); o != nil {
				latest[o.GetId()] = o.GetValues()[0].GetValue()
			}
			frames++
			done := len(latest) == 500
			for _, v := range latest {
				done = done && v == 120
			}
			if done {
				break
			}
			if frames > 20000 {
				t.Fatalf("%d frames were queued for a client that did not read", frames)
			}
		}
	})
}

func TestStreamIsActiveSendsEdges(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := f.external.StreamIsActive(ctx, &externalscaler.ScaledObjectRef{Name: "app", Namespace: "default", ScalerMetadata: map[string]string{"name": "deep"}})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []bool{false, true, false, true} {
			answer, err := stream.Recv()
			if err != nil || answer.GetResult() != want {
				t.Fatalf("answer %d = %v, %v; want %v", i, answer.GetResult(), err, want)
			}
			wait(time.Second)
			f.well.level.Store(int64((i + 1) % 2))
			f.well.ring()
		}
	})
}

func TestSpecsOfAnOrdinaryTriggerDoNotStream(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		stream, err := f.external.StreamMetricSpec(t.Context(), &externalscaler.ScaledObjectRef{Name: "app", ScalerMetadata: map[string]string{"name": "deep"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.Unimplemented {
			t.Errorf("err = %v, want Unimplemented", err)
		}
	})
}

func TestAskedTriggersAreForgotten(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		for i := range 100 {
			if _, err := f.external.IsActive(t.Context(), &externalscaler.ScaledObjectRef{Name: "app", ScalerMetadata: map[string]string{"name": fmt.Sprint(i)}}); err != nil {
				t.Fatal(err)
			}
		}
		if n := f.well.alive.Load(); n != 100 {
			t.Errorf("%d sources, want 100", n)
		}
		wait(2*sampling.KeepFor + time.Second)
		if n := f.well.alive.Load(); n != 0 {
			t.Errorf("%d sources are left", n)
		}
		if n := len(f.server.core.asked); n != 0 {
			t.Errorf("%d subscriptions are left", n)
		}
	})
}

func TestCreateAndDeleteLeaveNothing(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		w := f.watch(t)
		for round := range 20 {
			for i := range 50 {
				w.subscribe(t, fmt.Sprint("app", i), with("name", fmt.Sprint(round, "-", i)), idle)
			}
			wait(time.Second)
			for i := range 50 {
				id := fmt.Sprintf("ScaledObject/default/app%d/0", i)
				if err := w.stream.Send(&scalerv1.WatchRequest{Request: &scalerv1.WatchRequest_Unsubscribe{Unsubscribe: &scalerv1.Unsubscribe{Id: id}}}); err != nil {
					t.Fatal(err)
				}
			}
			wait(time.Second)
		}
		wait(sampling.KeepFor + time.Second)
		if n := f.well.alive.Load(); n != 0 {
			t.Errorf("%d sources are left", n)
		}
		s := f.server.core
		if len(s.byID) != 0 || s.sampler.Size() != 0 {
			t.Errorf("left: %d ids, %d questions and batches", len(s.byID), s.sampler.Size())
		}
		if n := f.well.listening.Load(); n != 0 {
			t.Errorf("%d still listen", n)
		}
	})
}
