package plan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/hpa"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Options say how the world around an object is.
type Options struct {
	// SyncPeriod is the HPA controller's.
	SyncPeriod time.Duration
	// StartTime is from a Pod's creation to its being ready.
	StartTime time.Duration
	// Replicas at the beginning, nil for what the object has at rest.
	Replicas *int32
	// DrainRate is how much of the value a ready replica takes away in a second,
	// 0 for values as they were recorded.
	DrainRate float64

	steps int // mostSteps, where that is not 0
}

// mostSteps is how many readings, syncs and decisions a replay may have.
const mostSteps = 1_000_000

// replay is one spec on the virtual clock.
type replay struct {
	Options
	so       *v1alpha1.ScaledObject
	formula  *scaling.Formula
	triggers []trigger
	hpa      hpa.Autoscaler
	pods     []time.Time // when each is ready
	work     *work       // what there is to do, nil for values as recorded

	start, end, now time.Time
	lastActive      time.Time
	decideAt        time.Time // when time alone changes the decision
	figures         figures
}

// trigger is one that is read.
type trigger struct {
	metrics []metric
	at      []int // of each metric, the point that holds
	scaling.Trigger
	readAt, next time.Time
}

// newReplay begins with the first value.
func newReplay(s *Side, r *Recording, o Options) (*replay, error) {
	so := s.Object.DeepCopy()
	so.Status = v1alpha1.ScaledObjectStatus{}
	p := &replay{Options: o, so: so}
	p.start, p.end = r.span()
	p.now = p.start
	if so.CreationTimestamp.IsZero() || so.CreationTimestamp.After(p.start) {
		so.CreationTimestamp = metav1.NewTime(p.start)
	}
	if so.Modifiers() != nil {
		formula, err := scaling.FormulaOf(so)
		if err != nil {
			return nil, err
		}
		p.formula = formula
	}
	p.triggers = make([]trigger, len(so.Spec.Triggers))
	for i, spec := range so.Spec.Triggers {
		t := &p.triggers[i]
		t.Index, t.metrics, t.at = i, s.metrics[i], make([]int, len(s.metrics[i]))
		for n := range t.at {
			t.at[n] = -1
		}
		for _, m := range t.metrics {
			t.Metrics = append(t.Metrics, scaling.Metric{Name: m.name, Target: m.Target, Type: spec.TargetType(), Value: math.NaN()})
			so.Status.ExternalMetricNames = append(so.Status.ExternalMetricNames, m.name)
		}
		t.next = p.start
	}
	if err := p.autoscaler(); err != nil {
		return nil, err
	}
	p.begin()
	return p, nil
}

// autoscaler is the HPA that the controller makes of the object.
func (p *replay) autoscaler() error {
	so := p.so
	p.hpa = hpa.Autoscaler{
		Min: so.HPAMinReplicas(), Max: so.MaxReplicas(), Behavior: scaling.Behavior(so),
		Tolerance: hpa.Tolerance, DownscaleWindow: hpa.DownscaleWindow,
	}
	if m := so.Modifiers(); m != nil {
		target, err := m.TargetValue()
		if err != nil {
			return err
		}
		p.hpa.Metrics = append(p.hpa.Metrics, scaling.External(so, scaling.CompositeMetric, target, m.TargetType()))
		return nil
	}
	for _, t := range p.triggers {
		for _, m := range t.metrics {
			p.hpa.Metrics = append(p.hpa.Metrics, scaling.External(so, m.name, m.Target, m.kind))
		}
	}
	return nil
}

// begin has the target as it is at the beginning.
func (p *replay) begin() {
	rest := p.so.MinReplicas()
	if idle := p.so.Spec.IdleReplicaCount; idle != nil {
		rest = *idle
	}
	replicas := rest
	if p.Replicas != nil {
		replicas = *p.Replicas
	}
	for range replicas {
		p.pods = append(p.pods, p.start)
	}
	if replicas > rest {
		p.lastActive = p.start // somebody brought it there
	}
	p.figures.begin(p.start, replicas)
}

func (p *replay) replicas() int32 { return int32(len(p.pods)) } //nolint:gosec // at most what a spec has

// ready is how many Pods are.
func (p *replay) ready() (n int32) {
	for _, at := range p.pods {
		if at.After(p.now) {
			break // the older ones come first
		}
		n++
	}
	return n
}

// write has the target at a number of replicas. As a ReplicaSet does it, those that
// are not ready go first, and then the youngest.
func (p *replay) write(replicas int32, by, why string) {
	from := p.replicas()
	for p.replicas() < replicas {
		p.pods = append(p.pods, p.now.Add(p.StartTime))
	}
	p.pods = p.pods[:replicas]
	p.figures.change(p.now, from, replicas, by, why)
}

// run goes from moment to moment until the end.
func (p *replay) run(ctx context.Context) error {
	sync, most := p.start, cmp.Or(p.steps, mostSteps)
	for step := 0; ; step++ {
		if step > most {
			return fmt.Errorf("%s to %s has more than %d readings and syncs; replay a shorter time, or with a longer pollingInterval",
				p.start.Format(time.RFC3339), p.end.Format(time.RFC3339), most)
		}
		if step%1000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		next := p.next(sync)
		if next.After(p.end) {
			break
		}
		p.advance(next)
		if p.read() || !p.decideAt.IsZero() && !p.now.Before(p.decideAt) {
			p.decide()
		}
		if !p.now.Before(sync) {
			p.sync()
			sync = sync.Add(p.SyncPeriod)
		}
		p.figures.look(p.now, p.asksForWork(), p.ready())
	}
	p.advance(p.end)
	p.figures.look(p.now, p.asksForWork(), p.ready())
	p.figures.finish(p.now, p.work)
	return nil
}

// next is the next moment at which anything happens.
func (p *replay) next(sync time.Time) time.Time {
	next := sync
	sooner := func(at time.Time) {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	sooner(p.decideAt)
	for i := range p.triggers {
		t := &p.triggers[i]
		if len(t.metrics) == 0 {
			continue
		}
		sooner(t.next)
		for n, m := range t.metrics { // when a value changes, for who waits
			if at := t.at[n] + 1; at < len(m.points) {
				sooner(m.points[at].At)
			}
		}
	}
	for _, at := range p.pods[p.ready():] {
		sooner(at)
		break
	}
	if next.Before(p.now) {
		return p.now
	}
	return next
}

// advance goes to a moment: work arrives and is done, and values change.
func (p *replay) advance(to time.Time) {
	p.figures.pass(to.Sub(p.now), p.replicas(), p.so.MaxReplicas())
	if p.work != nil {
		p.work.pass(p.now, to, p.ready())
	}
	p.now = to
	for i := range p.triggers {
		t := &p.triggers[i]
		for n, m := range t.metrics {
			for t.at[n]+1 < len(m.points) && !m.points[t.at[n]+1].At.After(p.now) {
				t.at[n]++
			}
		}
	}
}

// holds is what a metric is now.
func (p *replay) holds(t *trigger, n int) Point {
	at := t.at[n]
	if at < 0 {
		return Point{Outcome: scaling.NoData}
	}
	now := t.metrics[n].points[at]
	if p.work != nil && now.Outcome == scaling.Value {
		now.Value = p.work.left
	}
	return now
}

// read has every trigger read that is due, and reports whether one was.
func (p *replay) read() (some bool) {
	for i := range p.triggers {
		t := &p.triggers[i]
		if len(t.metrics) == 0 || p.now.Before(t.next) {
			continue
		}
		p.readOne(t)
		some = true
	}
	return some
}

var (
	errRecorded = errors.New("the source could not be read")
	errNoData   = errors.New("the source had no data")
)

// readOne reads a trigger.
func (p *replay) readOne(t *trigger) {
	spec := p.so.Spec.Triggers[t.Index]
	t.Interval = scaling.SampleInterval(p.so, spec, scaling.AtRest(p.so, p.replicas()))
	t.readAt, t.next = p.now, p.now.Add(max(t.Interval, time.Second))
	t.StaleAfter = scaling.StaleAfter(t.Interval, scalerv1.ReadDeadline)
	t.Confirmed, t.ReadAt = p.now, p.now
	t.Outcome, t.Err = scaling.Value, nil
	for n := range t.metrics {
		switch point := p.holds(t, n); point.Outcome {
		case scaling.Value:
			t.value(n, point.Value)
		case scaling.NoData:
			p.noData(t, n)
		default:
			t.Outcome, t.Err = scaling.Failed, errRecorded
		}
	}
}

// value is a number as a family tells it: activity is decided on the number itself,
// and a negative one is emitted as 0.
func (t *trigger) value(n int, v float64) {
	t.Metrics[n].Value, t.Metrics[n].Active = max(v, 0), v > t.metrics[n].Activation
}

// noData follows the object's rule. Without one it is an error, as for most types.
func (p *replay) noData(t *trigger, n int) {
	rule, _ := p.so.NoData() // validated
	switch {
	case rule == "zero":
		t.value(n, 0)
	case rule == "hold" && !math.IsNaN(t.Metrics[n].Value):
		// What was read last stands.
	default:
		t.Outcome, t.Err = scaling.Failed, errNoData
	}
}

// decide is the controller's part, until it has nothing more to write.
func (p *replay) decide() {
	for range 4 { // a write is followed by a decision of its own
		replicas := p.replicas()
		in := scaling.Input{Object: p.so, Now: p.now, Replicas: &replicas, LastActive: p.lastActive, Formula: p.formula}
		for i := range p.triggers {
			if len(p.triggers[i].metrics) > 0 {
				in.Triggers = append(in.Triggers, p.triggers[i].Trigger)
			}
		}
		d := scaling.Decide(in)
		p.keep(d)
		if d.Write != nil || scaling.AtRest(p.so, replicas) {
			p.so.Status.Activation = d.Activation
		}
		if d.Write == nil || *d.Write == replicas {
			return
		}
		p.write(*d.Write, byController, scaling.Explain(in, d).String())
		p.hasten()
	}
}

// keep remembers what the next decision starts from.
func (p *replay) keep(d scaling.Decision) {
	p.lastActive, p.decideAt = d.LastActive, d.Next
	for i, v := range d.Verdicts {
		p.triggers[i].Failures = v.Failures
	}
	if d.Fallback != nil {
		p.so.Status.Fallback = d.Replaced
	}
	if !p.decideAt.IsZero() && !p.decideAt.After(p.now) {
		p.decideAt = p.now.Add(time.Millisecond)
	}
}

// hasten reads triggers as often as a target is read that woke or went to rest.
func (p *replay) hasten() {
	atRest := scaling.AtRest(p.so, p.replicas())
	for i := range p.triggers {
		t := &p.triggers[i]
		interval := max(scaling.SampleInterval(p.so, p.so.Spec.Triggers[i], atRest), time.Second)
		if at := t.readAt.Add(interval); at.Before(t.next) && at.After(p.now) {
			t.next = at
		}
	}
}

// sync is the HPA's part.
func (p *replay) sync() {
	if p.so.Paused() { // there is no HPA
		return
	}
	before := p.replicas()
	r := p.hpa.Sync(p.now, hpa.Scale{Replicas: before, Pods: before, Ready: p.ready()}, func(m autoscalingv2.MetricSpec) (resource.Quantity, error) {
		v, err := p.told(m)
		return scaling.Quantity(v), err
	})
	if r.Replicas == before {
		return
	}
	p.write(r.Replicas, byHPA, reason(r))
	p.decide()
	p.hasten()
}

// reason says how an HPA came to a number.
func reason(r hpa.Result) string {
	limits := map[hpa.Limit]string{
		hpa.Bounds: "the bounds", hpa.Window: "a stabilization window", hpa.Rate: "the behavior's policies",
	}
	if why, limited := limits[r.Limit]; limited && r.Wants > 0 {
		return fmt.Sprintf("the metrics ask for %d, held at %d by %s", r.Wants, r.Replicas, why)
	}
	if why, limited := limits[r.Limit]; limited {
		return "it is out of " + why
	}
	return fmt.Sprintf("the metrics ask for %d", r.Wants)
}

// told is what the metrics adapter answers.
func (p *replay) told(spec autoscalingv2.MetricSpec) (float64, error) {
	target, kind := targetOf(spec)
	standIn := func(replicas int32, cause error) (float64, error) {
		v, err := scaling.FallbackValue(target, kind, replicas, p.ready())
		return v, errors.Join(cause, err)
	}
	value, replicas, err := p.answer(spec.External.Metric.Name, target)
	if replicas != nil {
		if value, err = scaling.FallbackValue(target, kind, *replicas, p.ready()); err != nil {
			return 0, err
		}
	}
	if err != nil {
		return 0, err
	}
	if ceiling, held := scaling.Ceiling(p.so, p.now); held {
		if most, err := standIn(ceiling, nil); err == nil {
			value = min(value, most)
		}
	}
	return value, nil
}

// answer is the value of a metric, or the replicas that stand in for it.
func (p *replay) answer(name string, target float64) (value float64, standIn *int32, err error) {
	if p.so.Modifiers() != nil {
		var good []scaling.Trigger
		var failures []*scaling.TriggerError
		for i := range p.triggers {
			t := &p.triggers[i]
			switch {
			case len(t.metrics) == 0:
			case t.Outcome == scaling.Value:
				good = append(good, t.Trigger)
			default:
				failures = append(failures, &scaling.TriggerError{Index: i, Type: p.so.Spec.Triggers[i].Type, Err: t.Err})
			}
		}
		return scaling.Composite(p.so, p.formula, good, failures)
	}
	index, _, _ := scaling.SplitMetricName(name)
	t := &p.triggers[index]
	if t.Outcome != scaling.Value {
		for _, verdict := range p.so.Status.Fallback {
			if verdict.Metric == name && verdict.Replicas != nil {
				return 0, verdict.Replicas, nil
			}
		}
		return 0, nil, t.Err
	}
	n := slices.IndexFunc(t.Metrics, func(m scaling.Metric) bool { return m.Name == name })
	return scaling.ActivationValue(t.Metrics[n].Value, target, name, p.so.Status.Activation, p.now), nil, nil
}

func targetOf(spec autoscalingv2.MetricSpec) (float64, autoscalingv2.MetricTargetType) {
	if q := spec.External.Target.Value; q != nil {
		return q.AsApproximateFloat64(), autoscalingv2.ValueMetricType
	}
	return spec.External.Target.AverageValue.AsApproximateFloat64(), autoscalingv2.AverageValueMetricType
}

// asksForWork reports whether there is work now, noticed or not.
func (p *replay) asksForWork() bool {
	if m := p.so.Modifiers(); m != nil {
		return p.formulaAsks(m)
	}
	for i := range p.triggers {
		t := &p.triggers[i]
		for n, m := range t.metrics {
			if v := p.holds(t, n); v.Outcome == scaling.Value && v.Value > m.Activation {
				return true
			}
		}
	}
	return false
}

func (p *replay) formulaAsks(m *v1alpha1.ScalingModifiers) bool {
	var now []scaling.Trigger
	for i := range p.triggers {
		t := &p.triggers[i]
		for n := range t.metrics {
			if v := p.holds(t, n); v.Outcome == scaling.Value {
				now = append(now, scaling.Trigger{Index: i, Metrics: []scaling.Metric{{Value: max(v.Value, 0)}}})
			}
		}
	}
	threshold, err := m.ActivationValue()
	if err != nil {
		return false
	}
	value, some, err := p.formula.Eval(scaling.FormulaValues(p.so, now))
	return err == nil && some && value > threshold
}
