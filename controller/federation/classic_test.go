package federation

import (
	"context"
	"errors"
	"math"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// classic is a third party's scaler: externalscaler and nothing else, not even
// health.
type classic struct {
	externalscaler.UnimplementedExternalScalerServer
	scalerv1.UnimplementedScalerServiceServer

	events   *events
	listener net.Listener
	server   *grpc.Server

	mu          sync.Mutex
	description *scalerv1.DescribeResponse // makes it half a family
	specs       []*externalscaler.MetricSpec
	values      []*externalscaler.MetricValue
	active      bool
	err         error
	stuck       bool // GetMetrics never ends
	hung        int  // calls that did not end, as for objects named "stuck"
	polls       int  // calls of IsActive
	refs        []*externalscaler.ScaledObjectRef
	pushes      bool // offers the stream of activity
	pushesSpecs bool // offers that of specs, which few do
	hangsUp     bool // ends every stream of activity at once
	floods      bool // says true without end
	dammed      int  // floods that their client ended
	streamed    int  // streams of activity that were opened
	activity    map[string]chan bool
	specStreams map[string]chan []*externalscaler.MetricSpec
}

func newClassic(t *testing.T, e *events, change ...func(*classic)) *classic {
	t.Helper()
	c := &classic{
		events:      e,
		specs:       []*externalscaler.MetricSpec{{MetricName: "jobs", TargetSizeFloat: 2.5}},
		values:      []*externalscaler.MetricValue{{MetricName: "jobs", MetricValueFloat: 4}},
		active:      true,
		activity:    map[string]chan bool{},
		specStreams: map[string]chan []*externalscaler.MetricSpec{},
	}
	for _, one := range change {
		one(c)
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.listener, c.server = listener, grpc.NewServer()
	externalscaler.RegisterExternalScalerServer(c.server, c)
	scalerv1.RegisterScalerServiceServer(c.server, c)
	var serving sync.WaitGroup
	serving.Go(func() { _ = c.server.Serve(listener) })
	t.Cleanup(func() {
		c.server.Stop()
		serving.Wait()
	})
	return c
}

func (c *classic) address() string { return c.listener.Addr().String() }

func (c *classic) change(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
}

func (c *classic) Describe(context.Context, *scalerv1.DescribeRequest) (*scalerv1.DescribeResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.description == nil {
		return nil, status.Error(codes.Unimplemented, "unknown service")
	}
	return c.description, nil
}

func (c *classic) GetMetricSpec(_ context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refs = append(c.refs, ref)
	return proto.CloneOf(&externalscaler.GetMetricSpecResponse{MetricSpecs: c.specs}), c.err
}

func (c *classic) GetMetrics(ctx context.Context, r *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	if c.stuck || r.GetScaledObjectRef().GetName() == "stuck" {
		c.change(func() { c.hung++ })
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// What is sent later is what was true now.
	return proto.CloneOf(&externalscaler.GetMetricsResponse{MetricValues: c.values}), c.err
}

func (c *classic) IsActive(context.Context, *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	c.mu.Lock()
	defer c.events.happened()
	defer c.mu.Unlock()
	c.polls++
	return &externalscaler.IsActiveResponse{Result: c.active}, c.err
}

func (c *classic) StreamIsActive(ref *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
	if !c.pushes {
		return status.Error(codes.Unimplemented, "no push")
	}
	c.change(func() { c.streamed++ })
	if c.hangsUp {
		c.events.happened()
		return nil
	}
	for c.floods {
		if err := stream.Send(&externalscaler.IsActiveResponse{Result: true}); err != nil {
			c.change(func() { c.dammed++ })
			c.events.happened()
			return err
		}
	}
	in := make(chan bool, 1000)
	c.change(func() { c.activity[ref.GetName()] = in })
	c.events.happened()
	defer func() {
		c.change(func() { delete(c.activity, ref.GetName()) })
		c.events.happened()
	}()
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case active := <-in:
			if err := stream.Send(&externalscaler.IsActiveResponse{Result: active}); err != nil {
				return err
			}
		}
	}
}

func (c *classic) StreamMetricSpec(ref *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.GetMetricSpecResponse]) error {
	if !c.pushesSpecs {
		return status.Error(codes.Unimplemented, "no push")
	}
	in := make(chan []*externalscaler.MetricSpec, 10)
	c.change(func() { c.specStreams[ref.GetName()] = in })
	c.events.happened()
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case specs := <-in:
			if err := stream.Send(&externalscaler.GetMetricSpecResponse{MetricSpecs: specs}); err != nil {
				return err
			}
		}
	}
}

func (c *classic) polled() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.polls
}

// both is a value as third parties may send it, under a name of their own.
func both(integer int64, float float64) *externalscaler.MetricValue {
	return &externalscaler.MetricValue{MetricName: "theirs", MetricValue: integer, MetricValueFloat: float} //nolint:staticcheck // that they do is the point
}

func (w *world) classicService(triggerType string, c *classic) {
	w.t.Helper()
	w.put(plainService(triggerType))
	w.put(slice(triggerType, servicePrefix+triggerType+"-0", c.address()))
}

func TestAThirdPartyIsPolled(t *testing.T) {
	w, now := newSteppedWorld(t)
	c := newClassic(t, w.events)
	w.classicService("jobs", c)
	jobs := trigger("jobs", 1)
	jobs.Mode = Active
	w.Subscribe(jobs)
	w.until("the value is known", w.observed(jobs, 4))
	s := w.state(jobs)
	if !s.Active() || s.Specs[0] != (MetricSpec{Name: "jobs", Target: 2.5}) || !s.Accepted || s.Detection != DetectionPolling || s.Activations != 1 {
		t.Errorf("state = %+v", s)
	}
	if _, err := w.Describe("jobs"); !errors.Is(err, ErrNoDescription) {
		t.Errorf("Describe = %v", err)
	}
	c.change(func() { c.values[0].MetricValueFloat = 6 })
	began := now.Now()
	w.stepUntil(now, time.Second, "it is read again", w.observed(jobs, 6))
	if elapsed := now.Since(began); elapsed < 7*time.Second {
		t.Errorf("read again after %v", elapsed)
	}
}

func TestWhatAThirdPartySays(t *testing.T) {
	value := func(values ...*externalscaler.MetricValue) func(*classic) {
		return func(c *classic) { c.values = values }
	}
	naming := func(specs ...*externalscaler.MetricSpec) func(*classic) {
		return func(c *classic) { c.specs = specs }
	}
	float := func(name string, target float64) *externalscaler.MetricSpec {
		return &externalscaler.MetricSpec{MetricName: name, TargetSizeFloat: target}
	}
	const wrong = "Service scaler-jobs in namespace sluice-system: GetMetricSpec: "
	tests := map[string]struct {
		change func(*classic)
		noData string
		want   scaling.Outcome
		value  float64
		err    string
		code   codes.Code
	}{
		"the float":                  {change: value(both(3, 2.5)), want: scaling.Value, value: 2.5},
		"the integer without float":  {change: value(both(3, 0)), want: scaling.Value, value: 3},
		"zero":                       {change: value(&externalscaler.MetricValue{}), want: scaling.Value},
		"a negative float is passed": {change: value(both(3, -1)), want: scaling.Value, value: 3},
		"a negative integer is 0":    {change: value(both(-3, 0)), want: scaling.Value},
		"several, by any name, are added up": {
			change: value(&externalscaler.MetricValue{MetricName: "x", MetricValueFloat: 1}, both(2, 0)), want: scaling.Value, value: 3,
		},
		"a negative one takes nothing from others": {change: value(both(-3, 0), both(2, 0)), want: scaling.Value, value: 2},
		"a huge value is one":                      {change: value(both(0, 1e300)), want: scaling.Value, value: 1e300},
		"no value is no data": {
			change: value(), want: scaling.NoData, err: "metric jobs: no data: the answer is empty", code: codes.NotFound},
		"NaN is no data": {
			change: value(&externalscaler.MetricValue{MetricValueFloat: math.NaN()}), want: scaling.NoData,
			err: "metric jobs: no data: NaN is not a finite number", code: codes.NotFound},
		"infinity is no data": {
			change: value(&externalscaler.MetricValue{MetricValueFloat: math.Inf(1)}), want: scaling.NoData,
			err: "metric jobs: no data: +Inf is not a finite number", code: codes.NotFound},
		"a sum beyond all numbers": {
			change: value(both(0, math.MaxFloat64), both(0, math.MaxFloat64)), want: scaling.NoData,
			err: "metric jobs: no data: +Inf is not a finite number", code: codes.NotFound},
		"no value is zero where the user says so": {change: value(), noData: "zero", want: scaling.NoData},
		"no value is an error where the user says so": {
			change: value(), noData: "error", want: scaling.NoData, err: "metric jobs: no data: the answer is empty", code: codes.NotFound},
		"no value and nothing to hold": {
			change: value(), noData: "hold", want: scaling.NoData, err: "metric jobs: no data: the answer is empty", code: codes.NotFound},
		"an error keeps its words": {
			change: func(c *classic) { c.err = status.Error(codes.PermissionDenied, "jobs: login refused") },
			want:   scaling.Failed, err: "jobs: login refused", code: codes.PermissionDenied,
		},
		"a call that never ends": {
			change: func(c *classic) { c.stuck = true }, want: scaling.Failed,
			err: "Service scaler-jobs in namespace sluice-system did not answer in time", code: codes.DeadlineExceeded},
		"no specs":              {change: naming(), want: scaling.Failed, err: wrong + "names no metrics", code: codes.FailedPrecondition},
		"a metric without name": {change: naming(float("", 1)), want: scaling.Failed, err: wrong + "a metric has no name", code: codes.FailedPrecondition},
		"a target that is none": {
			change: naming(float("jobs", -2)), want: scaling.Failed, err: wrong + "metric jobs: target 0 is not greater than 0", code: codes.FailedPrecondition},
		"a target that is no number": {
			change: naming(float("jobs", 1), float("tasks", math.NaN())), want: scaling.Failed,
			err: wrong + "metric tasks: target 0 is not greater than 0", code: codes.FailedPrecondition},
		"two targets of one metric": {
			change: naming(float("jobs", 1), float("jobs", 2)), want: scaling.Failed, err: wrong + "metric jobs: has the targets 1 and 2", code: codes.FailedPrecondition},
		"a name that comes twice counts once": {change: naming(float("jobs", 2.5), float("jobs", 2.5)), want: scaling.Value, value: 4},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.classicService("jobs", newClassic(t, w.events, tt.change))
			jobs := trigger("jobs", 1)
			jobs.NoData, jobs.PollingInterval = tt.noData, time.Second
			w.Subscribe(jobs)
			w.until("it is read", func() bool { return w.state(jobs).Outcome != scaling.Pending })
			s := w.state(jobs)
			if s.Outcome != tt.want || status.Code(s.Err) != tt.code {
				t.Fatalf("state = %+v", s)
			}
			switch {
			case tt.err != "":
				if s.Err.Error() != tt.err || len(s.Values) > 0 {
					t.Errorf("Err = %v with %v, want %s", s.Err, s.Values, tt.err)
				}
			case len(s.Values) != 1 || s.Values[0] != Value{Metric: "jobs", Value: tt.value, Active: true}:
				t.Errorf("values = %v", s.Values)
			}
		})
	}
}

// TestAThirdPartyWithoutDataIsHeld where the user says so, and is silent to who
// asks, so that the HPA holds, too.
func TestAThirdPartyWithoutDataIsHeld(t *testing.T) {
	w, now := newSteppedWorld(t)
	c := newClassic(t, w.events)
	w.classicService("jobs", c)
	jobs := trigger("jobs", 1)
	jobs.NoData = "hold"
	w.Subscribe(jobs)
	w.until("it is read", w.observed(jobs, 4))
	c.change(func() { c.values = nil })
	w.stepUntil(now, time.Second, "there is no data", func() bool { return w.state(jobs).Outcome == scaling.NoData })
	s := w.state(jobs)
	if s.Err != nil || len(s.Values) != 1 || s.Values[0] != (Value{Metric: "jobs", Value: 4, Active: true}) {
		t.Errorf("state = %+v", s)
	}
	if value, err := w.GetMetrics(t.Context(), jobs, "jobs"); !errors.Is(err, ErrNoData) {
		t.Errorf("GetMetrics = %v, %v", value, err)
	}
}

func TestAThirdPartyGetsNoReservedKeyAndNoReference(t *testing.T) {
	w := newWorld(t)
	c := newClassic(t, w.events)
	w.classicService("jobs", c)
	jobs, host := trigger("jobs", 1), "broker.example.com"
	jobs.Authentication = "TriggerAuthentication/login"
	jobs.Metadata = map[string]string{"hostFromEnv": "HOST", "passwordFromEnv": "PASSWORD", "sluice.dev/kind": "forged", "x": "y"}
	jobs.Env = map[string]scalerv1.EnvVar{
		"HOST":     {Value: &host},
		"PASSWORD": {SecretKeyRef: &scalerv1.KeyRef{Name: "login", Key: "password"}},
	}
	w.Subscribe(jobs)
	w.until("it is read", w.observed(jobs, 4))
	c.mu.Lock()
	got := c.refs[0].GetScalerMetadata()
	c.mu.Unlock()
	if len(got) != 2 || got["hostFromEnv"] != host || got["x"] != "y" {
		t.Errorf("metadata = %v", got)
	}
	want := []string{
		"authenticationRef: TriggerAuthentication/login is not sent to Service scaler-jobs, which does not serve sluice.scaler.v1",
		"passwordFromEnv: variable PASSWORD has no literal value and is not sent to Service scaler-jobs",
	}
	if got := w.state(jobs).Warnings; !slices.Equal(got, want) {
		t.Errorf("warnings = %q", got)
	}
}

func TestAPushIsARing(t *testing.T) {
	w, now := newSteppedWorld(t)
	c := newClassic(t, w.events, func(c *classic) { c.pushes, c.active, c.values[0].MetricValueFloat = true, false, 0 })
	w.classicService("jobs", c)
	jobs := trigger("jobs", 1)
	w.Subscribe(jobs)
	w.until("it is read", func() bool { return w.state(jobs).Outcome == scaling.Value && c.polled() == 1 })
	var push chan bool
	w.until("the stream stands", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		push = c.activity["worker-1"]
		return push != nil
	})

	push <- false
	w.until("it is known to push", func() bool { return w.state(jobs).Detection == DetectionDoorbell })
	if got := c.polled(); got != 1 {
		t.Errorf("a false was taken for a ring: %d reads", got)
	}
	push <- true
	w.until("it is read at once", func() bool { return c.polled() == 2 && w.state(jobs).Activations == 1 })

	for range 500 {
		push <- true
	}
	w.until("the flood is one more read, later", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(push) == 0
	})
	if got := c.polled(); got != 2 {
		t.Errorf("the flood was read %d times", got-2)
	}
	w.stepUntil(now, ringGap, "it is read again", func() bool { return c.polled() >= 3 })
	w.until("it is counted", func() bool { return w.state(jobs).Activations >= 2 })

	w.Unsubscribe(jobs.ID)
	w.until("the stream is closed", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.activity) == 0
	})
}

// TestStreamsThatEndAtOnceAreTriedEverLater: a clean end, or a message before it,
// is no reason to come back as soon as the first time.
func TestStreamsThatEndAtOnceAreTriedEverLater(t *testing.T) {
	w, now := newSteppedWorld(t)
	c := newClassic(t, w.events, func(c *classic) { c.pushes, c.hangsUp = true, true })
	w.classicService("jobs", c)
	jobs := trigger("jobs", 1)
	w.Subscribe(jobs)
	w.until("it is read", w.observed(jobs, 4))
	end := now.Now().Add(10 * time.Minute)
	w.stepUntil(now, streamRetry, "ten minutes pass", func() bool { return !now.Now().Before(end) })
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streamed < 3 || c.streamed > 25 {
		t.Errorf("%d streams in ten minutes", c.streamed)
	}
}

func TestStreamsThatEndAtOnceLeavePolling(t *testing.T) {
	w, now := newSteppedWorld(t)
	c := newClassic(t, w.events, func(c *classic) { c.pushes, c.hangsUp = true, true })
	w.classicService("jobs", c)
	jobs := trigger("jobs", 1)
	w.Subscribe(jobs)
	w.until("it is read", w.observed(jobs, 4))
	w.stepUntil(now, streamRetry, "the stream is tried again, and it is read", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.streamed >= 3 && c.polls >= 3
	})
	if got := w.state(jobs).Activations; got != 1 {
		t.Errorf("%d activations, want that of the poll alone", got)
	}
}

// TestFlappingPushesOnlyRaise has pushes say true and false by turns while the
// polls say inactive: each true is a pulse, and what lowers is the poll.
func TestFlappingPushesOnlyRaise(t *testing.T) {
	w, now := newSteppedWorld(t)
	c := newClassic(t, w.events, func(c *classic) { c.pushes, c.active = true, false })
	w.classicService("jobs", c)
	jobs := trigger("jobs", 1)
	w.Subscribe(jobs)
	var push chan bool
	w.until("the stream stands", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		push = c.activity["worker-1"]
		return push != nil && c.polls == 1
	})
	for range 50 {
		push <- true
		push <- false
	}
	w.until("a pulse is counted", func() bool { return w.state(jobs).Activations >= 1 })
	w.stepUntil(now, ringGap, "the polls have the last word", func() bool {
		state := w.state(jobs)
		return c.polled() >= 3 && state.Outcome == scaling.Value && !state.Active()
	})
}

func TestRenamedMetricsReplaceTheOldOnes(t *testing.T) {
	w, now := newSteppedWorld(t)
	c := newClassic(t, w.events)
	w.classicService("jobs", c)
	jobs := trigger("jobs", 1)
	w.Subscribe(jobs)
	w.until("it is read", w.observed(jobs, 4))
	c.change(func() { c.specs = []*externalscaler.MetricSpec{{MetricName: "tasks", TargetSizeFloat: 3}} })
	w.stepUntil(now, time.Second, "the new name is known", func() bool {
		state := w.state(jobs)
		return state.Specs[0] == MetricSpec{Name: "tasks", Target: 3} && len(state.Values) == 1 && state.Values[0].Metric == "tasks"
	})
}

// TestStreamedSpecsReplaceTheAskedOnes; empty lists mean nothing, and what is
// wrong with another is said until a good one comes.
func TestStreamedSpecsReplaceTheAskedOnes(t *testing.T) {
	w, now := newSteppedWorld(t)
	c := newClassic(t, w.events, func(c *classic) { c.pushesSpecs = true })
	w.classicService("jobs", c)
	jobs := trigger("jobs", 1)
	w.Subscribe(jobs)
	var push chan []*externalscaler.MetricSpec
	w.until("the stream stands", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		push = c.specStreams["worker-1"]
		return push != nil && w.state(jobs).Outcome == scaling.Value
	})
	push <- nil // says nothing
	push <- []*externalscaler.MetricSpec{{MetricName: "jobs", TargetSize: 8}}
	w.until("the new target is known", func() bool { return w.state(jobs).Specs[0].Target == 8 })

	push <- []*externalscaler.MetricSpec{{MetricName: "jobs", TargetSizeFloat: -1}}
	w.stepUntil(now, time.Second, "what is wrong is said", func() bool { return w.state(jobs).Outcome == scaling.Failed })
	const wrong = "Service scaler-jobs in namespace sluice-system: StreamMetricSpec: metric jobs: target 0 is not greater than 0"
	if s := w.state(jobs); s.Err.Error() != wrong || s.Specs[0].Target != 8 {
		t.Errorf("state = %+v, want %s", s, wrong)
	}
	push <- []*externalscaler.MetricSpec{{MetricName: "jobs", TargetSizeFloat: 3}}
	w.stepUntil(now, time.Second, "it is good again", func() bool {
		s := w.state(jobs)
		return s.Outcome == scaling.Value && s.Specs[0].Target == 3
	})
}

// TestAFloodIsNotListenedTo has a peer that pushes without end: its stream is
// ended, and it is polled.
func TestAFloodIsNotListenedTo(t *testing.T) {
	w, now := newSteppedWorld(t)
	c := newClassic(t, w.events, func(c *classic) { c.pushes, c.floods = true, true })
	w.classicService("jobs", c)
	jobs := trigger("jobs", 1)
	w.Subscribe(jobs)
	w.until("it is read, and its stream has ended", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.polls >= 1 && c.dammed == 1
	})
	w.stepUntil(now, streamRetry, "the next one ends, too, and it is read", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.dammed >= 2 && c.polls >= 3
	})
}

func TestAStalledThirdPartyDelaysNobodyElse(t *testing.T) {
	w := newWorld(t)
	stuck, c := newClassic(t, w.events), newClassic(t, w.events)
	cable := newCable(t, stuck.address())
	w.put(plainService("stuck"))
	w.put(slice("stuck", "scaler-stuck-0", cable.address()))
	w.classicService("jobs", c)
	first := trigger("stuck", 0)
	w.Subscribe(first)
	w.until("it is read", w.observed(first, 4))
	cable.cut.Store(true)
	for n := range 100 {
		w.Subscribe(trigger("stuck", n+1))
	}
	jobs := trigger("jobs", 1000)
	w.Subscribe(jobs)
	w.until("the other is read", w.observed(jobs, 4))
}

// Triggers that a third party does not answer have places of their own: those
// that it answers are read as often as without them.
func TestStalledTriggersOfAThirdPartyDelayNoOther(t *testing.T) {
	const stalled = 6 * pollers
	w := newWorld(t)
	c := newClassic(t, w.events)
	w.classicService("jobs", c)
	often := func(n int, name string) Trigger {
		one := trigger("jobs", n)
		one.Name, one.Index, one.PollingInterval = name, n, scalerv1.ShortestInterval
		return one
	}
	var stuck []Trigger
	for n := range stalled {
		stuck = append(stuck, often(n, "stuck"))
		w.Subscribe(stuck[n])
	}
	jobs := often(stalled, "worker")
	w.Subscribe(jobs)
	counts := func() (hung, polls int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.hung, c.polls
	}
	w.until("all are known", func() bool {
		return w.state(jobs).Outcome == scaling.Value &&
			!slices.ContainsFunc(stuck, func(t Trigger) bool { return w.state(t).Outcome == scaling.Pending })
	})
	hung, polls := counts()
	w.until("each of those that hang was asked once more", func() bool {
		now, _ := counts()
		return now >= hung+stalled
	})
	// One turn for all would be one read beside each of theirs.
	if _, now := counts(); now-polls < 3 {
		t.Errorf("the one that is answered was read %d times meanwhile", now-polls)
	}
}

// A namespace with triggers that are not answered leaves places to others, and takes
// turns with them.
func TestNamespacesTakeTurnsAtAThirdParty(t *testing.T) {
	w := newWorld(t)
	c := newClassic(t, w.events)
	w.classicService("jobs", c)
	for n := range 6 * pollers {
		stuck := trigger("jobs", n)
		stuck.Name, stuck.Index = "stuck", n
		w.Subscribe(stuck)
	}
	w.until("one namespace has all the places that it may", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.hung >= pollersOfOne
	})
	other := trigger("jobs", 1000)
	other.Namespace = "bank"
	w.Subscribe(other)
	w.until("another one is read", w.observed(other, 4))
}
