package activation

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// lines decides with a log and returns its lines.
func (f *fixture) lines() []string {
	f.t.Helper()
	var out bytes.Buffer
	log := funcr.NewJSON(func(line string) { out.WriteString(line + "\n") }, funcr.Options{})
	if _, err := f.Reconcile(logr.NewContext(f.t.Context(), log), reconcile.Request{NamespacedName: key}); err != nil {
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

func TestRecord(t *testing.T) {
	f := newFixture(t, 0, nil)
	if _, ok := f.Record(key); ok {
		t.Error("a record before any decision")
	}
	f.says(42)
	f.decide()
	record, ok := f.Record(key)
	if !ok || record.Last.String() != "0 to 9 replicas: s0-m 42 at 5 asks for 9; next: the HPA, at its next sync" || len(record.Changes) != 1 {
		t.Errorf("%+v", record)
	}
	f.Forget()
	if _, ok := f.Record(key); ok {
		t.Error("a record after another process led")
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
	late, woken []time.Duration
	empty       []string
}

func (m *measured) Decided(_ *v1alpha1.ScaledObject, late time.Duration) {
	m.late = append(m.late, late)
}
func (m *measured) Woken(_ string, after time.Duration) { m.woken = append(m.woken, after) }
func (m *measured) Empty(_ *v1alpha1.ScaledObject, _ int, metrics []string) {
	m.empty = append(m.empty, metrics...)
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
	f.decide()
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
