package federation

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// A type is a text of a user's, and whether it can be one is asked while everybody
// waits.
func TestLongTypesAreNoWork(t *testing.T) {
	long := strings.Repeat("kafka-", 10_000)
	var err error
	if n := testing.AllocsPerRun(1, func() { err = CheckType(long) }); n > 1000 {
		t.Errorf("%v allocations for a type of %d bytes", n, len(long))
	}
	if status.Code(err) != codes.InvalidArgument || len(err.Error()) > 1000 {
		t.Errorf("%.2000v", err)
	}
	if err := CheckType(strings.Repeat("cpu/", 10_000)); len(err.Error()) > 1000 {
		t.Errorf("%.2000v", err)
	}
}

// The description of a family is gone through for each of its triggers, while
// everybody waits. One that is too large leaves it without an instance.
func TestDescriptionsAreBounded(t *testing.T) {
	keys := func(n int, aliases ...string) (all []*scalerv1.Parameter) {
		for i := range n {
			all = append(all, &scalerv1.Parameter{Name: fmt.Sprint(i), Question: true, Aliases: aliases})
		}
		return all
	}
	for name, parameters := range map[string][]*scalerv1.Parameter{
		"parameters": keys(mostKeys + 1),
		"aliases":    keys(mostKeys/100+1, make([]string, 100)...),
		"bytes":      {{Name: "queue", Description: strings.Repeat("x", mostOfDescription)}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.service("kafka", newFamily(t, w.events, func(f *family) { f.types[0].Parameters = parameters }))
			one := trigger("kafka", 0)
			w.Subscribe(one)
			w.until("nobody serves it", func() bool { return status.Code(w.state(one).Unreachable) == codes.Unavailable })
			if d, err := w.Describe("kafka"); err == nil {
				t.Errorf("a description with %d parameters is kept", len(d.GetParameters()))
			}
		})
	}
}

// What a family says of a trigger is kept as long as the trigger is there. A
// family that was taken over says as much as a frame has.
func TestWhatAFamilySaysOfATriggerIsBounded(t *testing.T) {
	const n = 10_000
	var specs []*externalscaler.MetricSpec
	var values []*scalerv1.Value
	for i := range n {
		specs = append(specs, &externalscaler.MetricSpec{MetricName: fmt.Sprint(i), TargetSizeFloat: 1})
		values = append(values, &scalerv1.Value{MetricName: fmt.Sprint(i), Value: 1, Active: true})
	}
	long := strings.Repeat("x", 100_000)
	w := newWorld(t)
	f := newFamily(t, w.events)
	w.service("kafka", f)
	one := w.subscribeMany("kafka", 1)[0]
	id := one.String()

	f.push(&scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Accepted{Accepted: &scalerv1.Accepted{
		Id: id, Generation: 1, Warnings: []string{"queue: odd", long, long, long, long, long},
	}}})
	w.until("it is accepted again", func() bool { return len(w.state(one).Warnings) > 0 })
	warnings := w.state(one).Warnings
	if all := strings.Join(warnings, ""); len(all) > 5<<10 || warnings[0] != "queue: odd" || !strings.Contains(warnings[len(warnings)-1], "more") {
		t.Errorf("%d bytes of warnings are kept, %q and others", len(all), warnings[0])
	}
	f.push(&scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Observation{Observation: &scalerv1.Observation{
		Id: id, Generation: 1, Outcome: scalerv1.Outcome_OUTCOME_VALUE, DetectionNote: long, Traceparent: long, Values: values[:1],
	}}})
	w.until("it is observed", func() bool { return w.state(one).Note != "" })
	if s := w.state(one); len(s.Note) > 2<<10 || s.Traceparent != "" {
		t.Errorf("a note of %d bytes and a trace of %d are kept", len(s.Note), len(s.Traceparent))
	}
	for name, few := range map[string][]*scalerv1.Value{"many": values, "long": {{MetricName: long}}} {
		f.push(observation(id, 1, 5))
		w.until("it has a value", w.observed(one, 5))
		f.push(&scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Observation{Observation: &scalerv1.Observation{
			Id: id, Generation: 1, Outcome: scalerv1.Outcome_OUTCOME_VALUE, Values: few,
		}}})
		w.until(name+" values are a failure", func() bool { return w.state(one).Outcome == scaling.Failed })
		if s := w.state(one); len(s.Values) > 0 || status.Code(s.Err) != codes.Internal {
			t.Errorf("%s: %d values are kept, and %v", name, len(s.Values), s.Err)
		}
	}
	f.push(&scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Specs{Specs: &scalerv1.Specs{Id: id, Generation: 1, Specs: specs}}})
	w.until("too many metrics are refused", func() bool { return status.Code(w.state(one).Rejected) == codes.Internal })
	f.push(&scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Rejected{Rejected: &scalerv1.Rejected{
		Id: id, Generation: 1, Status: &scalerv1.Status{Code: int32(codes.InvalidArgument), Message: long}, Specs: specs,
	}}})
	w.until("it is rejected", func() bool { return status.Code(w.state(one).Rejected) == codes.InvalidArgument })
	if s := w.state(one); len(s.Specs) != 1 || len(s.Rejected.Error()) > 2<<10 {
		t.Errorf("%d metrics and a reason of %d bytes are kept", len(s.Specs), len(s.Rejected.Error()))
	}

	f.change(func() { f.problems = make([]string, n) })
	problems, err := w.Check(t.Context(), one)
	if err != nil || len(problems) == 0 || len(problems) > mostProblems {
		t.Errorf("%d problems are told, %v", len(problems), err)
	}
}

// fickle says without end that it serves, and that it does not.
type fickle struct {
	healthpb.UnimplementedHealthServer
}

func (fickle) Watch(_ *healthpb.HealthCheckRequest, s grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	for {
		for _, verdict := range []healthpb.HealthCheckResponse_ServingStatus{
			healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING,
		} {
			if err := s.Send(&healthpb.HealthCheckResponse{Status: verdict}); err != nil {
				return err
			}
		}
	}
}

// Whenever the health of an instance changes, all its triggers are gone through
// while everybody waits, and each of them is decided about anew.
func TestHealthThatFlapsIsHeardNowAndThen(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	var lost atomic.Int64
	w := newWorld(t, func(c *Config) {
		c.Clock = clock
		c.Log = slog.New(slog.NewTextHandler(counter{"is not ready\"", &lost}, nil))
	})
	w.service("kafka", newFamily(t, w.events, func(f *family) { f.judged = fickle{} }))
	const times = 20
	seconds := 0
	w.until("it was lost often enough", func() bool {
		clock.Step(verdictGap)
		seconds++
		return lost.Load() >= times
	})
	if heard := 2*int(lost.Load()) - 1; heard > verdictBurst+seconds+1 {
		t.Errorf("%d verdicts within %d s", heard, seconds)
	}
}

// counter counts the lines that have a text.
type counter struct {
	text string
	n    *atomic.Int64
}

func (c counter) Write(line []byte) (int, error) {
	if strings.Contains(string(line), c.text) {
		c.n.Add(1)
	}
	return len(line), nil
}

// Thousands that wait for a share of a family which nobody reaches are not gone
// through whenever another one goes.
func TestThoseWhoCannotBeServedAreNotLookedAt(t *testing.T) {
	const n = 2000
	w := newWorld(t, func(c *Config) { c.MostOfNamespace = 1 })
	w.service("kafka", newFamily(t, w.events))
	first := w.subscribeMany("kafka", 1)[0]
	for i := range n {
		w.Subscribe(trigger("kafka", i+1))
	}
	w.addresses("kafka")
	w.until("its instance is gone", func() bool { return status.Code(w.state(first).Unreachable) == codes.Unavailable })
	if allocs := testing.AllocsPerRun(1, func() {
		w.Unsubscribe(first.ID)
		w.Subscribe(first)
	}); allocs > n {
		t.Errorf("%v allocations, with %d who wait", allocs, n)
	}
}

// An empty value is 2 bytes of a frame, and a hundred once it is decoded. A frame
// that is made of them is refused by what it is made of, and who sent it is named.
func TestFramesOfEmptyMessagesAreRefused(t *testing.T) {
	var refused atomic.Int64
	w := newWorld(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(counter{"sent a message sluice.scaler.v1.WatchResponse that has more than the 50000 fields", &refused}, nil))
	})
	f := newFamily(t, w.events)
	w.service("kafka", f)
	one := w.subscribeMany("kafka", 1)[0]
	f.push(&scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Observation{Observation: &scalerv1.Observation{
		Id: one.String(), Generation: 1, Outcome: scalerv1.Outcome_OUTCOME_VALUE, Values: empty(400_000),
	}}})
	w.until("it is told who sent what", func() bool { return refused.Load() == 1 })
	w.until("it is heard again", func() bool {
		f.push(observation(one.String(), 1, 5))
		return w.observed(one, 5)()
	})
}

// empty are so many values that say nothing.
func empty(n int) []*scalerv1.Value {
	values := make([]*scalerv1.Value, n)
	for i := range values {
		values[i] = &scalerv1.Value{}
	}
	return values
}

// A family that was taken over sends as fast as it can. It is read as fast as its
// triggers can need, and the rest waits with the family.
func TestAFamilyThatSendsWithoutEndIsReadSlowly(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	var told, sent atomic.Int64
	w := newWorld(t, func(c *Config) {
		c.Clock = clock
		c.Log = slog.New(slog.NewTextHandler(counter{"is read slower than it sends", &told}, nil))
	})
	const note = 8 << 10 // a frame of that counts for 17
	f := newFamily(t, w.events)
	f.watch = func(s scalerv1.ScalerService_WatchServer) error {
		first, err := s.Recv()
		if err != nil {
			return err
		}
		frame := observation(first.GetSubscribe().GetId(), 1, 1)
		frame.GetObservation().DetectionNote = strings.Repeat("x", note)
		for {
			if err := s.Send(frame); err != nil {
				return err
			}
			sent.Add(1)
		}
	}
	w.service("kafka", f)
	w.Subscribe(trigger("kafka", 0))
	const frames, weight = 2000, 1 + note/bytesOfAFrame
	seconds := 0
	w.until("all was sent", func() bool {
		if told.Load() > 0 { // before that nothing waits for the clock
			clock.Step(time.Second)
			seconds++
		}
		return sent.Load() >= frames
	})
	// What is on its way is as much as the windows and buffers of a connection take.
	onTheWay := 1 << 20 / note
	if most := (burstBase+burstOfOne+(seconds+1)*(framesBase+framesOfOne))/weight + onTheWay; int(sent.Load()) > most {
		t.Errorf("%d frames within %d s, more than %d", sent.Load(), seconds, most)
	}
	if told.Load() != 1 {
		t.Errorf("it is told %d times", told.Load())
	}
}

// Another description of a type has all its objects reconciled. A family that
// says something else each time it is asked is believed now and then.
func TestDescriptionsThatAlternateAreTakenOverNowAndThen(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	var told, lost atomic.Int64
	w := newWorld(t, func(c *Config) {
		c.Clock = clock
		c.Log = slog.New(slog.NewTextHandler(io.MultiWriter(
			counter{"describes a type anew too often", &told}, counter{"is not ready\"", &lost}), nil))
	})
	f := newFamily(t, w.events, func(f *family) { f.judged = leaving{} })
	f.changing = true
	w.service("kafka", f)
	purposes, last := 0, ""
	began := clock.Now()
	w.until("it was asked often enough", func() bool {
		if d, err := w.Describe("kafka"); err == nil && d.GetPurpose() != last {
			purposes, last = purposes+1, d.GetPurpose()
		}
		clock.Step(time.Second)
		return lost.Load() >= 60
	})
	if most := newsBurst + int(clock.Since(began)/newsGap) + 1; purposes > most {
		t.Errorf("%d descriptions count within %v, more than %d", purposes, clock.Since(began), most)
	}
	if told.Load() == 0 {
		t.Error("nobody is told")
	}
	// The last one counts in the end, though nothing happens any more.
	f.change(func() { f.changing = false })
	f.change(func() { f.types[0].Purpose = "the last" })
	w.until("it counts", func() bool {
		clock.Step(time.Second)
		d, err := w.Describe("kafka")
		return err == nil && d.GetPurpose() == "the last"
	})
}

// leaving says that it serves, and ends the stream.
type leaving struct {
	healthpb.UnimplementedHealthServer
}

func (leaving) Watch(_ *healthpb.HealthCheckRequest, s grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	return s.Send(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING})
}
