package activation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus/testutil"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/metrics"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// lines decides with a log and returns its lines.
func (f *fixture) lines() []string {
	f.t.Helper()
	var out bytes.Buffer
	log := funcr.NewJSON(func(line string) { out.WriteString(line + "\n") }, funcr.Options{})
	if _, err := f.tryDecideIn(logr.NewContext(f.t.Context(), log)); err != nil {
		f.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n")
}

func TestEachChangeIsToldOnce(t *testing.T) {
	f := newFixture(t, 0, func(so *v1alpha1.ScaledObject) { so.Spec.CooldownPeriod = new(int32) })
	f.says(42)
	var line map[string]any
	if lines := f.lines(); len(lines) != 1 || json.Unmarshal([]byte(lines[0]), &line) != nil {
		t.Fatalf("log: %v", lines)
	}
	because := "0 to 9 replicas: s0-m 42 at 5 asks for 9; next: the HPA, at its next sync"
	for field, want := range map[string]any{
		"msg": "scaled", "target": "Deployment/worker", "from": 0.0, "to": 9.0, "by": "controller", "because": because,
	} {
		if line[field] != want {
			t.Errorf("%s is %v, want %v", field, line[field], want)
		}
	}
	if told := f.object().Status.Decisions; len(told) != 1 || told[0].Message != because || !told[0].Time.Time.Equal(start) {
		t.Errorf("status tells %+v", told)
	}
	if lines := f.lines(); !slices.Equal(lines, []string{""}) {
		t.Errorf("steady state is not silent: %v", lines)
	}
}

func TestChangesOfOthersAreTold(t *testing.T) {
	f := newFixture(t, 3, nil)
	f.says(42)
	f.decide()
	f.scaleByHand(5)
	lines := f.lines()
	if len(lines) != 1 || !strings.Contains(lines[0], `"from":3,"to":5,"by":"HPA or user"`) {
		t.Errorf("log: %v", lines)
	}
	if told := f.object().Status.Decisions; len(told) != 0 {
		t.Errorf("status tells %+v", told)
	}
}

func TestStatusTellsOfTheLastDecisions(t *testing.T) {
	f := newFixture(t, 0, func(so *v1alpha1.ScaledObject) { so.Spec.CooldownPeriod = new(int32) })
	for range 2 {
		for _, value := range []float64{42, 0} {
			f.clock.Step(time.Second)
			f.says(value)
			f.decide()
		}
	}
	told := f.object().Status.Decisions
	if len(told) != toldDecisions {
		t.Fatalf("status tells %+v", told)
	}
	for i, from := range []string{"9 to 0", "0 to 9", "9 to 0"} {
		if !strings.HasPrefix(told[i].Message, from) {
			t.Errorf("decision %d: %s, want %s", i, told[i].Message, from)
		}
	}
	// Whoever takes over goes on with what was told.
	f.Loop = f.process()
	f.clock.Step(time.Second)
	f.says(5)
	f.decide()
	if now := f.object().Status.Decisions; len(now) != toldDecisions || !strings.HasPrefix(now[0].Message, "0 to 1") || now[1] != told[0] {
		t.Errorf("status tells %+v", now)
	}
}

func TestAccount(t *testing.T) {
	f := newFixture(t, 0, nil)
	f.Room = kept.New(1<<20, 1<<30)
	if _, ok := f.Account(key); ok {
		t.Error("an account before any decision")
	}
	f.says(0)
	f.decide()
	f.says(42)
	f.decide()
	told, ok := f.Account(key)
	if !ok || told.Last.String() != "9 replicas stay: s0-m 42 at 5 asks for 9; next: the HPA, at its next sync" || len(told.Changes) != 1 {
		t.Errorf("%+v", told)
	}
	if len(told.Earlier) != 2 || told.Earlier[0].Last.String() != "0 to 9 replicas: s0-m 42 at 5 asks for 9; next: the HPA, at its next sync" ||
		told.Earlier[1].Last.String() != "0 replicas stay: s0-m 0 at 5 asks for 0; next: the controller, when a trigger turns active" {
		t.Errorf("before is told %+v", told.Earlier)
	}
	if f.Room.Used(key.Namespace) == 0 {
		t.Error("what is kept is not counted")
	}
	f.Forget()
	if _, ok := f.Account(key); ok {
		t.Error("an account after another process led")
	}
}

func TestFormulaIsRemembered(t *testing.T) {
	f := newFixture(t, 0, func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers[0].Name = "lag"
		so.Spec.Advanced = &v1alpha1.AdvancedConfig{ScalingModifiers: &v1alpha1.ScalingModifiers{Formula: "lag * 2", Target: "5"}}
	})
	f.says(42)
	f.decide()
	if formula := f.Formula(key); formula == nil || formula.Value != 84 || !formula.Active {
		t.Errorf("formula %+v", formula)
	}
	if f.Formula(types.NamespacedName{Name: "another"}) != nil {
		t.Error("a formula of nobody")
	}
}

func TestFormulaIsCompiledOncePerGeneration(t *testing.T) {
	f := newFixture(t, 0, func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers[0].Name = "lag"
		so.Spec.Advanced = &v1alpha1.AdvancedConfig{ScalingModifiers: &v1alpha1.ScalingModifiers{Formula: "lag * 2", Target: "5"}}
	})
	so := f.object()
	first := f.memory(so).formula
	if again := f.memory(so).formula; first.compiled == nil || again != first {
		t.Error("compiled again")
	}
	so.Generation++
	so.Spec.Advanced.ScalingModifiers.Formula = "lag *"
	refused := f.memory(so).formula
	if again := f.memory(so).formula; refused.err == nil || refused.compiled != nil || again != refused {
		t.Errorf("%+v, then %+v", refused, again)
	}
}

// measured are the calls of Figures.
type measured struct {
	late, woken, started []time.Duration
	wakes, empty         []string
	forgotten            []int
	nudged               int
}

func (m *measured) Nudged() { m.nudged++ }

func (m *measured) Decided(_ *v1alpha1.ScaledObject, late time.Duration) {
	m.late = append(m.late, late)
}
func (m *measured) Woken(_ string, after time.Duration) { m.woken = append(m.woken, after) }
func (m *measured) Objective(*v1alpha1.ScaledObject)    {}
func (m *measured) Woke(_ *v1alpha1.ScaledObject, after time.Duration, told bool) {
	m.wakes = append(m.wakes, fmt.Sprint(after, " ", told))
}
func (m *measured) Started(_ *v1alpha1.ScaledObject, after time.Duration) {
	m.started = append(m.started, after)
}
func (m *measured) Read(_ *v1alpha1.ScaledObject, _ int, metrics []string, empty bool) {
	if empty {
		m.empty = append(m.empty, metrics...)
	}
}
func (m *measured) ForgetTrigger(_ types.NamespacedName, index int) {
	m.forgotten = append(m.forgotten, index)
}
func (m *measured) Forget(types.NamespacedName) { *m = measured{} }

func TestFigures(t *testing.T) {
	f := newFixture(t, 0, nil)
	m := &measured{}
	f.Figures = m
	f.says(42)
	f.state(func(s *federation.State) { s.SourceEventTime = start.Add(-3 * time.Second) })
	f.clock.Step(time.Second)
	f.decide()
	f.decide() // nothing new was read
	if !slices.Equal(m.late, []time.Duration{time.Second}) {
		t.Errorf("late by %v", m.late)
	}
	f.scaleByHand(0)
	f.decide() // the same work wakes it again
	f.scaled(9, 9)
	if !slices.Equal(m.woken, []time.Duration{4 * time.Second}) {
		t.Errorf("woken after %v", m.woken)
	}
	f.state(func(s *federation.State) {
		s.Outcome, s.Values, s.ObservedAt = scaling.NoData, nil, f.clock.Now()
	})
	f.decide()
	f.decide()
	if !slices.Equal(m.empty, []string{"s0-m"}) {
		t.Errorf("empty: %v", m.empty)
	}
	if err := f.cluster.Direct.Delete(t.Context(), f.object()); err != nil {
		t.Fatal(err)
	}
	f.decide()
	if m.late != nil {
		t.Error("figures outlive their object")
	}
}

// TestNamesThatChangeLeaveNoSeries has families that call their metrics otherwise
// at each reading, and objects whose status names any number of them.
func TestNamesThatChangeLeaveNoSeries(t *testing.T) {
	f := newFixture(t, 1, func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers = append(so.Spec.Triggers, v1alpha1.ScaleTrigger{Type: "external", Metadata: map[string]string{"scalerAddress": "mine:1"}})
	})
	errs, figures := metrics.NewErrors(nil), metrics.NewFigures(nil)
	f.Errors, f.Figures = errs, figures
	so := f.object()
	for i := range 1000 {
		f.clock.Step(30 * time.Second)
		name := fmt.Sprint("m", i)
		for index := range 2 {
			s := federation.State{
				Generation: so.Generation, Outcome: scaling.Value, ObservedAt: f.clock.Now(), HeardAt: f.clock.Now(),
				Specs: []federation.MetricSpec{{Name: name, Target: 5}}, Values: []federation.Value{{Metric: name, Value: 1}},
			}
			switch i % 3 {
			case 1:
				s.Outcome, s.Values = scaling.NoData, nil
			case 2:
				s.Outcome, s.Values, s.Err = scaling.Failed, nil, errors.New("down")
			}
			f.states[index] = s
		}
		m := f.memory(so) // a decision, without what is written
		in, read, _ := f.input(so, m, target.Target{Replicas: 1}, nil)
		decision := scaling.Decide(in)
		f.count(so, m, read, decision)
		f.measure(so, m, read, in.Now)
		m.keep(decision)
	}
	f.decide()
	series := func() int {
		return testutil.CollectAndCount(errs, "keda_scaler_detail_errors_total") +
			testutil.CollectAndCount(figures, "keda_scaler_empty_upstream_responses_total")
	}
	if n := series(); n != 2 {
		t.Errorf("%d series of two triggers that fail", n)
	}
	// A trigger that goes takes its series along, one that nobody can ask has
	// no more than a family could name.
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprint("s0-", i))
	}
	f.store(func(s *v1alpha1.ScaledObjectStatus) { s.ExternalMetricNames = names })
	so = f.object()
	so.Spec.Triggers[0].Metadata["topic"] = "others"
	so.Spec.Triggers = so.Spec.Triggers[:1]
	so.Generation++
	if err := f.cluster.Direct.Update(t.Context(), so); err != nil {
		t.Fatal(err)
	}
	f.states = map[int]federation.State{0: {Generation: f.object().Generation, Unreachable: errors.New("gone")}}
	f.clock.Step(time.Minute)
	f.decide()
	if n := series(); n > 100 {
		t.Errorf("%d series of one trigger that was never read", n)
	}
	if err := f.cluster.Direct.Delete(t.Context(), f.object()); err != nil {
		t.Fatal(err)
	}
	f.decide()
	if n := series(); n != 0 {
		t.Errorf("%d series of an object that is gone", n)
	}
}

// TestADecisionIsToldByItsOwnReadings has a newer reading come in between a
// decision and what is told of it.
func TestADecisionIsToldByItsOwnReadings(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	f := newFixture(t, 0, nil)
	m := &measured{}
	f.Figures, f.Traces = m, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	f.says(42)
	f.state(func(s *federation.State) {
		s.SourceEventTime = start.Add(-3 * time.Second)
		s.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	})
	f.clock.Step(time.Second)
	states := f.States
	f.States = func(id federation.ID) (federation.State, bool) {
		defer f.state(func(s *federation.State) {
			s.ObservedAt, s.SourceEventTime = f.clock.Now(), f.clock.Now()
			s.Traceparent = "00-11111111111111111111111111111111-2222222222222222-01"
		})
		return states(id)
	}
	if _, err := f.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.late, []time.Duration{time.Second}) || !slices.Equal(m.woken, []time.Duration{4 * time.Second}) {
		t.Errorf("late by %v, woken after %v", m.late, m.woken)
	}
	if ended := spans.Ended(); len(ended) != 2 || ended[1].Parent().SpanID().String() != "b7ad6b7169203331" {
		t.Errorf("spans %v", ended)
	}
}

func TestChangeIsTracedFromTheReading(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	f := newFixture(t, 0, nil)
	f.Traces = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	f.says(42)
	const read = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	f.state(func(s *federation.State) { s.Traceparent = read })
	f.decide()
	f.decide() // changes nothing
	ended := spans.Ended()
	if len(ended) != 2 || ended[0].Name() != "write replicas" || ended[1].Name() != "decide" {
		t.Fatalf("spans %v", ended)
	}
	write, decide := ended[0], ended[1]
	if decide.Parent().SpanID().String() != "b7ad6b7169203331" || decide.SpanContext().TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("the decision follows from %s", decide.Parent().SpanID())
	}
	if write.Parent().SpanID() != decide.SpanContext().SpanID() {
		t.Errorf("the write follows from %s", write.Parent().SpanID())
	}
}
