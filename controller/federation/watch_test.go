package federation

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

func TestATriggerIsObservedThroughItsService(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events)
	orders := trigger("kafka", 1)
	w.Subscribe(orders)
	w.service("kafka", f)
	w.until("the value is known", w.observed(orders, 7))

	s := w.state(orders)
	if s.Generation != 1 || s.Family != "kafka" || !s.Accepted || s.Detection != DetectionDoorbell || !s.Active() {
		t.Errorf("state = %+v", s)
	}
	if !s.HaveSpecs || s.Specs[0] != (MetricSpec{Name: "backlog", Target: 5}) {
		t.Errorf("specs = %v", s.Specs)
	}
	if s.HeardAt.IsZero() || s.ObservedAt.IsZero() || s.Unreachable != nil {
		t.Errorf("state = %+v", s)
	}
}

func TestObservations(t *testing.T) {
	refused := &scalerv1.Status{Code: int32(codes.PermissionDenied), Message: "kafka: login refused"}
	value := func(v float64) []*scalerv1.Value {
		return []*scalerv1.Value{{MetricName: "backlog", Value: v, Active: true}}
	}
	tests := map[string]struct {
		frame *scalerv1.Observation
		want  scaling.Outcome
		value float64
		code  codes.Code
	}{
		"a value":                 {frame: &scalerv1.Observation{Outcome: scalerv1.Outcome_OUTCOME_VALUE, Values: value(3)}, want: scaling.Value, value: 3},
		"zero is a value":         {frame: &scalerv1.Observation{Outcome: scalerv1.Outcome_OUTCOME_VALUE, Values: value(0)}, want: scaling.Value},
		"a negative value is 0":   {frame: &scalerv1.Observation{Outcome: scalerv1.Outcome_OUTCOME_VALUE, Values: value(-4)}, want: scaling.Value},
		"NaN is no data":          {frame: &scalerv1.Observation{Outcome: scalerv1.Outcome_OUTCOME_VALUE, Values: value(math.NaN())}, want: scaling.NoData},
		"infinity is no data":     {frame: &scalerv1.Observation{Outcome: scalerv1.Outcome_OUTCOME_VALUE, Values: value(math.Inf(1))}, want: scaling.NoData},
		"a value without numbers": {frame: &scalerv1.Observation{Outcome: scalerv1.Outcome_OUTCOME_VALUE}, want: scaling.NoData},
		"no data":                 {frame: &scalerv1.Observation{Outcome: scalerv1.Outcome_OUTCOME_NO_DATA}, want: scaling.NoData},
		"no data that counts as a failure": {
			frame: &scalerv1.Observation{Outcome: scalerv1.Outcome_OUTCOME_NO_DATA, Status: refused}, want: scaling.NoData, code: codes.PermissionDenied,
		},
		"an error":                {frame: &scalerv1.Observation{Outcome: scalerv1.Outcome_OUTCOME_ERROR, Status: refused}, want: scaling.Failed, code: codes.PermissionDenied},
		"an error without reason": {frame: &scalerv1.Observation{Outcome: scalerv1.Outcome_OUTCOME_ERROR}, want: scaling.Failed, code: codes.Unknown},
		"a value with an error is an error": {
			frame: &scalerv1.Observation{Outcome: scalerv1.Outcome_OUTCOME_VALUE, Values: value(3), Status: refused}, want: scaling.Failed, code: codes.PermissionDenied,
		},
		"nothing said is no data": {frame: &scalerv1.Observation{}, want: scaling.NoData},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			tt.frame.Age = durationpb.New(3 * time.Second)
			r := readingOf(tt.frame, now)
			if r.outcome != tt.want || status.Code(r.err) != tt.code || !r.at.Equal(now.Add(-3*time.Second)) || !r.heard.Equal(now) {
				t.Fatalf("reading = %+v", r)
			}
			if tt.want != scaling.Value {
				if len(r.values) != 0 {
					t.Errorf("values = %v, want none", r.values)
				}
				return
			}
			if r.values[0].Value != tt.value {
				t.Errorf("value = %v, want %v", r.values[0].Value, tt.value)
			}
		})
	}
}

func TestAFrameOfAnotherGenerationIsDropped(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events)
	w.service("kafka", f)
	orders := trigger("kafka", 1)
	orders.Generation = 3
	w.Subscribe(orders)
	w.until("the value is known", w.observed(orders, 7))
	id := orders.String()

	f.push(observation(id, 2, 100))
	f.push(observation(id, 4, 100))
	f.push(observation("ScaledObject/shop/nobody/0", 3, 100))
	f.push(observation(id, 3, 8))
	w.until("the right one arrives", w.observed(orders, 8))
}

func TestActivationsOnlyGrow(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events, func(f *family) { f.quiet = true })
	w.service("kafka", f)
	orders := trigger("kafka", 1)
	w.Subscribe(orders)
	pulse := func(generation int64, count uint64, want uint64) {
		t.Helper()
		w.until("it is accepted", func() bool {
			s := f.sub(orders)
			return s != nil && s.GetGeneration() == generation && w.state(orders).Accepted
		})
		o := observation(orders.String(), generation, 0)
		o.GetObservation().Activations = count
		f.push(o)
		w.until("the pulse is counted", func() bool { return w.state(orders).Activations == want })
	}
	pulse(1, 1, 1)
	pulse(1, 1, 1) // nothing new
	pulse(1, 4, 4)
	orders.Generation = 2
	w.Subscribe(orders)
	pulse(2, 2, 6) // the family counts from its acceptance
}

func TestABeatConfirmsAndInventsNothing(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events, func(f *family) { f.quiet = true })
	w.service("kafka", f)
	silent, heard := trigger("kafka", 1), trigger("kafka", 2)
	w.Subscribe(silent)
	w.Subscribe(heard)
	w.until("both are accepted", func() bool { return w.state(silent).Accepted && w.state(heard).Accepted })
	f.push(observation(heard.String(), 1, 5))
	w.until("one is observed", w.observed(heard, 5))
	before := w.state(heard)

	f.push(&scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Beat{Beat: &scalerv1.Beat{
		Ids: []string{silent.String(), heard.String(), "ScaledObject/shop/nobody/0"},
	}}})
	w.until("the beat is heard", func() bool { return w.state(heard).HeardAt.After(before.HeardAt) })
	after := w.state(heard)
	if !after.ObservedAt.Equal(before.ObservedAt) || after.Values[0].Value != 5 {
		t.Errorf("state = %+v", after)
	}
	if s := w.state(silent); s.Outcome != scaling.Pending || !s.HeardAt.IsZero() {
		t.Errorf("a beat was taken for an observation: %+v", s)
	}
}

func TestAReplacedTriggerKeepsItsReadingUntilItIsAnswered(t *testing.T) {
	value := "tcp://b"
	around := map[string]func(*Trigger){
		"environment":     func(t *Trigger) { t.Env = map[string]scalerv1.EnvVar{"HOST": {Value: &value}} },
		"containers":      func(t *Trigger) { t.Containers = []scalerv1.Container{{Name: "app"}} },
		"service account": func(t *Trigger) { t.ServiceAccount = "robot" },
		"no-data rule":    func(t *Trigger) { t.NoData = scalerv1.NoDataHold },
		"formula":         func(t *Trigger) { t.MetricSource = true },
		"formula, by a new generation": func(t *Trigger) {
			t.MetricSource = true
			t.Generation++
		},
	}
	for name, change := range around {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f := newFamily(t, w.events)
			w.service("kafka", f)
			orders := trigger("kafka", 1)
			w.Subscribe(orders)
			w.until("it is observed", w.observed(orders, 7))
			before := w.state(orders)

			f.mu.Lock()
			f.quiet = true
			f.mu.Unlock()
			change(&orders)
			w.Subscribe(orders)
			w.until("it is accepted", func() bool { return w.state(orders).Accepted })
			f.push(&scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Beat{Beat: &scalerv1.Beat{Ids: []string{orders.String()}}}})
			f.push(&scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Specs{Specs: &scalerv1.Specs{
				Id: orders.String(), Generation: orders.Generation,
				Specs: []*externalscaler.MetricSpec{{MetricName: "backlog", TargetSizeFloat: 9}},
			}}})
			w.until("the beat has passed", func() bool { return w.state(orders).Specs[0].Target == 9 })
			now := w.state(orders)
			if !now.Earlier || now.Outcome != scaling.Value || now.Values[0].Value != 7 || !now.HeardAt.Equal(before.HeardAt) || !now.Since.After(before.HeardAt) {
				t.Errorf("replaced, it is %+v, was %+v", now, before)
			}
			f.push(observation(orders.String(), orders.Generation, 3))
			w.until("it is answered", w.observed(orders, 3))
			if w.state(orders).Earlier {
				t.Error("an answer is taken for one of before")
			}
		})
	}
	t.Run("but another trigger starts afresh", func(t *testing.T) {
		w := newWorld(t)
		f := newFamily(t, w.events)
		w.service("kafka", f)
		orders := trigger("kafka", 1)
		w.Subscribe(orders)
		w.until("it is observed", w.observed(orders, 7))
		f.mu.Lock()
		f.quiet = true
		f.mu.Unlock()
		orders.Generation, orders.Metadata = 2, map[string]string{"queue": "refunds"}
		w.Subscribe(orders)
		if s := w.state(orders); s.Outcome != scaling.Pending || s.Earlier {
			t.Errorf("state = %+v", s)
		}
	})
}

func TestBeatsAtRestAreToldOfNowAndThen(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	rest := State{Outcome: scaling.Value, HeardAt: now.Add(-5 * time.Second), Values: []Value{{Metric: "backlog"}}}
	work, missedOne, failed, empty := rest, rest, rest, rest
	work.Values = []Value{{Metric: "backlog", Value: 3, Active: true}}
	missedOne.HeardAt = now.Add(-10 * time.Second)
	failed.Outcome, failed.Err = scaling.Failed, errors.New("broken")
	empty.Outcome = scaling.NoData
	tests := map[string]struct {
		state State
		told  time.Duration // before now
		quiet bool
	}{
		"at rest":                 {rest, 10 * time.Second, true},
		"at rest, the third":      {rest, 15 * time.Second, false},
		"at rest, one was missed": {missedOne, 10 * time.Second, false},
		"at work":                 {work, 5 * time.Second, false},
		"failing":                 {failed, 5 * time.Second, false},
		"without data":            {empty, 5 * time.Second, false},
	}
	for name, tt := range tests {
		if got := uneventful(&tt.state, now.Add(-tt.told), now); got != tt.quiet {
			t.Errorf("%s: uneventful = %v, want %v", name, got, tt.quiet)
		}
	}
}

func TestARejectedTriggerSaysWhyUntilANewGeneration(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events, func(f *family) { f.quiet = true })
	w.service("kafka", f)
	orders := trigger("kafka", 1)
	w.Subscribe(orders)
	w.until("it is accepted", func() bool { return w.state(orders).Accepted })
	f.push(&scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Rejected{Rejected: &scalerv1.Rejected{
		Id: orders.String(), Generation: 1, Status: &scalerv1.Status{Code: int32(codes.InvalidArgument), Message: `kafka: queue: is required`},
		Specs: []*externalscaler.MetricSpec{{MetricName: "queue", TargetSizeFloat: 5}},
	}}})
	w.until("it is rejected", func() bool {
		err := w.state(orders).Rejected
		return status.Code(err) == codes.InvalidArgument && err.Error() == "kafka: queue: is required"
	})
	if s := w.state(orders); s.Accepted || !s.HaveSpecs || s.Specs[0] != (MetricSpec{Name: "queue", Target: 5}) {
		t.Errorf("state %+v", s)
	}
	orders.Generation = 2
	w.Subscribe(orders)
	w.until("the new generation is accepted", func() bool {
		s := w.state(orders)
		return s.Accepted && s.Rejected == nil && s.Generation == 2
	})
}

func TestANewGeneration(t *testing.T) {
	tests := map[string]struct {
		change func(*Trigger)
		keeps  bool
	}{
		"of the same trigger keeps what was observed":  {change: func(t *Trigger) {}, keeps: true},
		"with another mode keeps what was observed":    {change: func(t *Trigger) { t.Mode = Active }, keeps: true},
		"of another trigger forgets what was observed": {change: func(t *Trigger) { t.Metadata = map[string]string{"queue": "other"} }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f := newFamily(t, w.events)
			w.service("kafka", f)
			orders := trigger("kafka", 1)
			w.Subscribe(orders)
			w.until("the value is known", w.observed(orders, 7))

			f.mu.Lock()
			f.quiet = true
			f.mu.Unlock()
			tt.change(&orders)
			orders.Generation = 2
			w.Subscribe(orders)
			s := w.state(orders)
			if kept := s.Outcome == scaling.Value && s.HaveSpecs; kept != tt.keeps || s.Generation != 2 {
				t.Errorf("state = %+v, want kept = %v", s, tt.keeps)
			}
			w.until("the family has it", func() bool { return f.sub(orders).GetGeneration() == 2 })
			f.push(observation(orders.String(), 2, 9))
			w.until("the new generation is observed", w.observed(orders, 9))
		})
	}
}

func TestModeAndIntervalsAreToldWithoutANewGeneration(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events)
	w.service("kafka", f)
	orders := trigger("kafka", 1)
	orders.IdlePollingInterval = 2 * time.Second
	w.Subscribe(orders)
	w.until("the value is known", w.observed(orders, 7))
	if s := f.sub(orders); s.GetInterval().AsDuration() != 2*time.Second || s.GetMode() != scalerv1.Mode_MODE_IDLE {
		t.Errorf("subscribe = %v", s)
	}
	orders.Mode, orders.Doorbell = Active, DoorbellOff
	w.Subscribe(orders)
	w.until("the mode is told", func() bool { return f.sub(orders).GetMode() == scalerv1.Mode_MODE_ACTIVE })
	if s := f.sub(orders); s.GetInterval().AsDuration() != 15*time.Second || s.GetDoorbell() != scalerv1.Doorbell_DOORBELL_OFF {
		t.Errorf("subscribe = %v", s)
	}
	w.Subscribe(orders) // nothing new
	other := trigger("kafka", 2)
	w.Subscribe(other)
	w.until("the other is subscribed", func() bool { return f.sub(other) != nil })
	id := "+" + orders.String()
	if got := f.history(); !slices.Equal(got, []string{id, id, "+" + other.String()}) {
		t.Errorf("told %v", got)
	}
}

func TestIntervals(t *testing.T) {
	tests := map[string]struct {
		trigger Trigger
		want    time.Duration
	}{
		"KEDA's default":              {Trigger{}, 30 * time.Second},
		"idle as the user asks":       {Trigger{PollingInterval: time.Minute}, time.Minute},
		"idle as the annotation asks": {Trigger{PollingInterval: time.Minute, IdlePollingInterval: 3 * time.Second}, 3 * time.Second},
		"active as the HPA asks":      {Trigger{PollingInterval: time.Minute, Mode: Active}, 15 * time.Second},
		"active and shorter":          {Trigger{PollingInterval: 5 * time.Second, Mode: Active}, 5 * time.Second},
		"cached metrics":              {Trigger{PollingInterval: time.Minute, Mode: Active, UseCachedMetrics: true}, time.Minute},
		"never under a second":        {Trigger{PollingInterval: time.Millisecond}, time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.trigger.interval(); got != tt.want {
				t.Errorf("interval = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAnObjectThatIsCreatedAgainIsNotTakenForTheOldOne(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events)
	w.service("kafka", f)
	orders := trigger("kafka", 1)
	orders.Generation = 5
	w.Subscribe(orders)
	w.until("the value is known", w.observed(orders, 7))

	f.mu.Lock()
	f.value = 2
	f.mu.Unlock()
	again := trigger("kafka", 1)
	again.Metadata = map[string]string{"queue": "other"}
	w.Unsubscribe(orders.ID)
	w.Subscribe(again)
	w.until("the new one is observed", w.observed(again, 2))
	if got := f.sub(again).GetRef().GetScalerMetadata()["queue"]; got != "other" {
		t.Errorf("queue = %q", got)
	}
}

func TestAnUnsubscribedTriggerIsForgotten(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events)
	w.service("kafka", f)
	orders := trigger("kafka", 1)
	w.Subscribe(orders)
	w.until("the value is known", w.observed(orders, 7))
	w.Unsubscribe(orders.ID)
	w.Unsubscribe(orders.ID)
	w.until("the family forgets", func() bool { return len(f.has()) == 0 })
	if _, ok := w.State(orders.ID); ok {
		t.Error("there is still a state")
	}
}

func TestAFrameTooLargeForAFamilyHurtsNobodyElse(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events)
	w.service("kafka", f)
	large, orders := trigger("kafka", 1), trigger("kafka", 2)
	large.Metadata = map[string]string{"queue": strings.Repeat("x", largestFrame)}
	w.Subscribe(large)
	w.Subscribe(orders)
	w.until("the other is observed", w.observed(orders, 7))
	w.until("the large one is rejected", func() bool { return status.Code(w.state(large).Rejected) == codes.InvalidArgument })
}

func TestReferencesDoNotCrossPlaintext(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events)
	w.service("kafka", f)
	secret := trigger("kafka", 1)
	secret.Authentication = "TriggerAuthentication/login"
	byEnv := trigger("kafka", 2)
	byEnv.Env = map[string]scalerv1.EnvVar{"PASSWORD": {SecretKeyRef: &scalerv1.KeyRef{Name: "login", Key: "password"}}}
	literal, host := trigger("kafka", 3), "broker"
	literal.Env = map[string]scalerv1.EnvVar{"HOST": {Value: &host}}
	for _, one := range []Trigger{secret, byEnv, literal} {
		w.Subscribe(one)
	}
	w.until("a literal is sent", w.observed(literal, 7))
	const refusal = "Service scaler-kafka in namespace sluice-system is plaintext (appProtocol kubernetes.io/h2c): " +
		"TriggerAuthentication/login is a reference to credentials and sent only over mTLS"
	w.until("the reference is refused", func() bool {
		err := w.state(secret).Unreachable
		return err != nil && err.Error() == refusal
	})
	if err := w.state(byEnv).Unreachable; err == nil || !strings.Contains(err.Error(), "variable PASSWORD") {
		t.Errorf("Unreachable = %v", err)
	}
	if _, err := w.GetMetrics(t.Context(), secret, "backlog"); err == nil || err.Error() != refusal {
		t.Errorf("GetMetrics = %v", err)
	}
	if got := f.has(); !slices.Equal(got, []string{literal.String()}) {
		t.Errorf("subscribed: %v", got)
	}
}

func TestReservedKeysAreTheCoresAlone(t *testing.T) {
	orders := trigger("kafka", 1)
	orders.Metadata = map[string]string{"queue": "orders", "sluice.dev/kind": "forged", "sluice.dev/other": "x"}
	orders.MetricSource, orders.UseCachedMetrics, orders.MetricType = true, true, "Value"
	orders.TriggerName, orders.ServiceAccount, orders.NoData = "first", "worker", "zero"
	orders.Authentication, orders.Mode = "ClusterTriggerAuthentication/login", Active
	ref, err := orders.fullRef()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"queue": "orders", "sluice.dev/kind": "ScaledObject", "sluice.dev/triggerIndex": "0", "sluice.dev/generation": "1",
		"sluice.dev/triggerType": "kafka", "sluice.dev/pollingInterval": "30s", "sluice.dev/mode": "active",
		"sluice.dev/noData": "zero", "sluice.dev/triggerName": "first", "sluice.dev/metricType": "Value", "sluice.dev/serviceAccount": "worker",
		"sluice.dev/authenticationRef": "ClusterTriggerAuthentication/login",
		"sluice.dev/metricSource":      "true", "sluice.dev/useCachedMetrics": "true",
	}
	if got := ref.GetScalerMetadata(); !maps.Equal(got, want) {
		t.Errorf("full request = %v", got)
	}
	plain, _ := orders.plainRef()
	if got := plain.GetScalerMetadata(); !maps.Equal(got, map[string]string{"queue": "orders"}) {
		t.Errorf("plain request = %v", got)
	}
}

// TestNoDataOfTheInstallation has the installation say what no data means, for
// objects that do not; the adapter's full request says the same.
func TestNoDataOfTheInstallation(t *testing.T) {
	tests := map[string]struct{ installation, object, want string }{
		"nobody says, so the trigger does": {},
		"the installation":                 {installation: "hold", want: "hold"},
		"the object":                       {object: "error", want: "error"},
		"the object before it":             {installation: "hold", object: "zero", want: "zero"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.NoData = tt.installation })
			asked := make(chan string, 10)
			f := newFamily(t, w.events, func(f *family) {
				f.metrics = func(_ context.Context, r *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
					asked <- r.GetScaledObjectRef().GetScalerMetadata()[scalerv1.KeyNoData]
					return &externalscaler.GetMetricsResponse{MetricValues: []*externalscaler.MetricValue{both(0, 1)}}, nil
				}
			})
			w.service("kafka", f)
			w.known("kafka")
			orders := trigger("kafka", 1)
			orders.NoData = tt.object
			if _, err := w.GetMetrics(t.Context(), orders, "backlog"); err != nil {
				t.Fatal(err)
			}
			if got := <-asked; got != tt.want {
				t.Errorf("asked with %q, want %q", got, tt.want)
			}
			w.Subscribe(orders)
			w.until("it is subscribed", func() bool { return f.sub(orders) != nil })
			if got := f.sub(orders).GetRef().GetScalerMetadata()[scalerv1.KeyNoData]; got != tt.want {
				t.Errorf("subscribed with %q, want %q", got, tt.want)
			}
		})
	}
}

// Who edits very many triggers at once, or has them when a stream opens, delays by
// one frame what a family is told of others.
func TestFramesOfNamespacesTakeTurns(t *testing.T) {
	w := newWatcher(&instance{fed: New(Config{Namespace: namespace})})
	sub := func(namespace string, n int) *assignment {
		id := ID{Kind: "ScaledObject", Namespace: namespace, Name: "worker", Index: n}
		return &assignment{sub: &subscription{id: id.String(), namespace: namespace}}
	}
	for n := range 1000 {
		w.assign(sub("shop", n))
	}
	w.assign(sub("bank", 0))
	for _, when := range []string{"of an edit", "of a new stream"} {
		told := 0
		for id, _, ok := w.next(); ok && id != "ScaledObject/bank/worker/0"; id, _, ok = w.next() {
			told++
		}
		if told > 1 {
			t.Errorf("%s, %d frames of another namespace come first", when, told)
		}
		w.begin()
	}
	told := 0
	for _, s, ok := w.next(); ok; _, s, ok = w.next() {
		if told++; s == nil {
			t.Error("a trigger has no assignment")
		}
	}
	if told != 1001 || len(w.pending) != 0 || !w.line.Idle() {
		t.Errorf("%d are told, %d are pending", told, len(w.pending))
	}
}
