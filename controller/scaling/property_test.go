package scaling

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// anyInput draws an object that passes validation, with or without formula,
// fallback, bounds and annotations, and anything that can be known of it.
func anyInput(t *rapid.T) Input {
	flip := rapid.Bool()
	so := &v1alpha1.ScaledObject{ObjectMeta: metav1.ObjectMeta{
		Name: "o", Namespace: "n", Annotations: map[string]string{},
		CreationTimestamp: metav1.NewTime(t0.Add(-seconds(t, "age"))),
	}}
	so.Spec.ScaleTargetRef.Name = "o"
	lo, hi := rapid.Int32Range(0, 20).Draw(t, "min"), rapid.Int32Range(20, 50).Draw(t, "max")
	so.Spec.MinReplicaCount, so.Spec.MaxReplicaCount = &lo, &hi
	if flip.Draw(t, "has idle") {
		so.Spec.IdleReplicaCount = ptr(rapid.Int32Range(0, max(lo, 1)-1).Draw(t, "idle"))
	}
	if flip.Draw(t, "has fallback") {
		so.Spec.Fallback = &v1alpha1.Fallback{
			FailureThreshold: rapid.Int32Range(0, 4).Draw(t, "threshold"),
			Replicas:         rapid.Int32Range(0, 60).Draw(t, "fallback"),
			Behavior:         rapid.SampledFrom([]v1alpha1.FallbackBehavior{"", "static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"}).Draw(t, "behavior"),
		}
	}
	for _, key := range []string{v1alpha1.AnnotationPausedScaleIn, v1alpha1.AnnotationPausedScaleOut, v1alpha1.AnnotationForceActivation} {
		if rapid.IntRange(0, 4).Draw(t, key) == 0 {
			so.Annotations[key] = "true"
		}
	}
	if flip.Draw(t, "has policy") {
		so.Spec.Advanced = &v1alpha1.AdvancedConfig{HorizontalPodAutoscalerConfig: &v1alpha1.HorizontalPodAutoscalerConfig{
			Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{
				Policies: []autoscalingv2.HPAScalingPolicy{pods(rapid.Int32Range(1, 50).Draw(t, "pods"))},
			}},
		}}
	}
	in := Input{Object: so, Now: t0, Replicas: ptr(rapid.Int32Range(0, 60).Draw(t, "replicas"))}
	if flip.Draw(t, "was active") {
		in.LastActive = t0.Add(-seconds(t, "quiet for"))
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "triggers") {
		so.Spec.Triggers = append(so.Spec.Triggers, v1alpha1.ScaleTrigger{
			Type: rapid.SampledFrom([]string{"kafka", "kafka", "kafka", "cpu"}).Draw(t, "type"),
			Name: string(rune('a' + i)),
		})
		in.Triggers = append(in.Triggers, anyTrigger(t, i))
	}
	if rapid.IntRange(0, 3).Draw(t, "has formula") == 0 && !so.Spec.Triggers[0].Builtin() {
		if so.Spec.Advanced == nil {
			so.Spec.Advanced = &v1alpha1.AdvancedConfig{}
		}
		so.Spec.Advanced.ScalingModifiers = &v1alpha1.ScalingModifiers{Formula: "a / 2 - 1", Target: "2.5"}
	}
	return in
}

func seconds(t *rapid.T, what string) time.Duration {
	return time.Duration(rapid.IntRange(0, 900).Draw(t, what)) * time.Second
}

func anyTrigger(t *rapid.T, i int) Trigger {
	value := rapid.SampledFrom([]float64{0, 0, 1, 9.5, 120, 1e9}).Draw(t, "value")
	out := reads(i, value)
	out.Outcome = rapid.SampledFrom([]Outcome{Pending, Value, Value, Value, NoData, Failed}).Draw(t, "outcome")
	out.Metrics[0].Active = value > rapid.SampledFrom([]float64{0, 50}).Draw(t, "activation")
	out.Metrics[0].Type = rapid.SampledFrom([]autoscalingv2.MetricTargetType{"AverageValue", "Value"}).Draw(t, "metricType")
	out.Confirmed = t0.Add(-time.Duration(rapid.IntRange(0, 90).Draw(t, "age")) * time.Second)
	out.StaleAfter = rapid.SampledFrom([]time.Duration{time.Minute, time.Hour}).Draw(t, "stale after")
	out.Pulse = rapid.IntRange(0, 9).Draw(t, "pulse") == 0
	out.Failures = SeedFailures(rapid.Int32Range(0, 6).Draw(t, "failures"), t0.Add(-time.Hour), t0.Add(-time.Minute))
	if out.Outcome == Failed {
		out.Err = errors.New("broker is down")
		if rapid.Bool().Draw(t, "a doorbell's read") {
			out.CountsFrom = t0.Add(time.Duration(rapid.IntRange(-30, 30).Draw(t, "counts from")) * time.Second)
		}
	}
	return out
}

// unknown reports whether a trigger of in gives no fresh value.
func unknown(in Input) bool {
	for i, t := range in.Triggers {
		if !in.Object.Spec.Triggers[i].Builtin() && (t.Outcome != Value || t0.Sub(t.Confirmed) > t.StaleAfter) {
			return true
		}
	}
	return false
}

func after(in Input, d Decision) int32 {
	if d.Write != nil {
		return *d.Write
	}
	return *in.Replicas
}

func TestPropertyNothingUnknownLeadsDown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyInput(t)
		if !unknown(in) {
			return
		}
		if d := Decide(in); after(in, d) < *in.Replicas {
			t.Fatalf("%d -> %d", *in.Replicas, after(in, d))
		}
	})
}

func TestPropertyBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyInput(t)
		d := Decide(in)
		if d.Write == nil {
			return
		}
		so := in.Object
		if *d.Write > so.MaxReplicas() {
			t.Fatalf("writes %d above max %d", *d.Write, so.MaxReplicas())
		}
		resting := int32(0)
		if so.Spec.IdleReplicaCount != nil {
			resting = *so.Spec.IdleReplicaCount
		} else if so.MinReplicas() > 0 {
			resting = so.MinReplicas()
		}
		if *d.Write < so.MinReplicas() && *d.Write != resting {
			t.Fatalf("writes %d: neither at least min %d nor at rest %d", *d.Write, so.MinReplicas(), resting)
		}
		if *d.Write == *in.Replicas {
			t.Fatal("writes what is there")
		}
		if *d.Write > *in.Replicas && so.ScaleOutPaused() || *d.Write < *in.Replicas && so.ScaleInPaused() {
			t.Fatalf("%d -> %d although paused", *in.Replicas, *d.Write)
		}
	})
}

func TestPropertyBetweenRestAndMaxIsTheHPAs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyInput(t)
		d := Decide(in)
		rise := d.Write != nil && *d.Write > *in.Replicas
		if rise && *in.Replicas >= in.Object.HPAMinReplicas() {
			t.Fatalf("%d -> %d", *in.Replicas, *d.Write)
		}
	})
}

func TestPropertyAFailingTriggerLowersNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyInput(t)
		if in.Object.Modifiers() != nil {
			return // a formula needs every trigger
		}
		if r := *in.Replicas; r > 0 && r < in.Object.MinReplicas() {
			return // below min: repaired here while quiet, by the HPA while active
		}
		before := Decide(in)
		in.Object.Spec.Triggers = append(in.Object.Spec.Triggers, v1alpha1.ScaleTrigger{Type: "kafka", Name: "z"})
		in.Triggers = append(in.Triggers, fails(len(in.Triggers), rapid.Int32Range(0, 6).Draw(t, "count")))
		with := Decide(in)
		if after(in, with) < after(in, before) && after(in, before) >= *in.Replicas && !onlyBuiltins(in) {
			t.Fatalf("%d without the failing trigger, %d with it", after(in, before), after(in, with))
		}
		if after(in, with) < *in.Replicas {
			t.Fatalf("%d -> %d", *in.Replicas, after(in, with))
		}
	})
}

// onlyBuiltins reports whether all triggers but the last are cpu and memory: an
// object of only these is always active, with another trigger it is not.
func onlyBuiltins(in Input) bool {
	for _, t := range in.Object.Spec.Triggers[:len(in.Object.Spec.Triggers)-1] {
		if !t.Builtin() {
			return false
		}
	}
	return true
}

func TestPropertySameInputSameDecision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyInput(t)
		object := in.Object.DeepCopy()
		first, second := Decide(in), Decide(in)
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("%+v\n%+v", first, second)
		}
		if !reflect.DeepEqual(object, in.Object) {
			t.Fatal("the object was changed")
		}
	})
}

func TestPropertyDecisionsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyInput(t)
		d := Decide(in)
		// The loop carries it out and decides again at the same moment.
		n := after(in, d)
		in.Replicas, in.LastActive = &n, d.LastActive
		for i := range in.Triggers {
			in.Triggers[i].Failures = d.Verdicts[i].Failures
		}
		if again := Decide(in); again.Write != nil {
			t.Fatalf("wrote %v, then %d", d.Write, *again.Write)
		}
	})
}

func TestPropertyNextIsAhead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyInput(t)
		if next := Decide(in).Next; !next.IsZero() && !next.After(in.Now) {
			t.Fatalf("next is %v, now %v", next, in.Now)
		}
	})
}

func TestPropertyNothingChangesBeforeNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyInput(t)
		d := Decide(in)
		in.Now = d.Next.Add(-time.Nanosecond)
		if d.Next.IsZero() {
			in.Now = t0.Add(24 * time.Hour)
		}
		later := Decide(in)
		if !reflect.DeepEqual(later.Write, d.Write) || !reflect.DeepEqual(later.Active, d.Active) || later.Ready != d.Ready {
			t.Fatalf("at once %+v\nlater   %+v", d, later)
		}
	})
}

// failingFor draws an object whose one trigger fails, with a fallback that asks
// for replicas.
func failingFor(t *rapid.T) Input {
	in := anyInput(t)
	in.Object.Spec.Triggers = []v1alpha1.ScaleTrigger{{Type: "kafka", Name: "a"}}
	in.Triggers = []Trigger{fails(0, 0)}
	in.Object.Spec.Fallback = &v1alpha1.Fallback{
		FailureThreshold: rapid.Int32Range(0, 4).Draw(t, "tolerated"), Replicas: rapid.Int32Range(1, 9).Draw(t, "fall back to"),
	}
	if in.Object.Spec.Advanced != nil {
		in.Object.Spec.Advanced.ScalingModifiers = nil
	}
	return in
}

func TestPropertyFallbackDoesNotOscillate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := failingFor(t)
		begun := false
		for range 60 {
			in.Now = in.Now.Add(time.Duration(rapid.IntRange(0, 40_000).Draw(t, "later by")) * time.Millisecond)
			in.Triggers[0].Confirmed = in.Now
			d := Decide(in)
			inForce := d.Verdicts[0].Fallback
			if begun && !inForce {
				t.Fatalf("fallback ended at %v although nothing was read", in.Now.Sub(t0))
			}
			if begun && d.Write != nil && *d.Write < *in.Replicas {
				t.Fatalf("%d -> %d in fallback", *in.Replicas, *d.Write)
			}
			begun = inForce
			n := after(in, d)
			in.Replicas, in.LastActive, in.Triggers[0].Failures = &n, d.LastActive, d.Verdicts[0].Failures
		}
		if !begun {
			return // too little time for the drawn threshold
		}
		read := reads(0, 3)
		read.Confirmed, read.Failures = in.Now, in.Triggers[0].Failures
		in.Triggers[0] = read
		if d := Decide(in); d.Verdicts[0].Fallback {
			t.Fatal("fallback outlives a good reading")
		}
	})
}

// TestPropertyFallbackSinksBelowNoHealthyTrigger plays the HPA over the verdicts:
// it asks for the larger of the failing trigger's fallback and the healthy one's
// demand, and what it wrote is what the next verdict starts from.
func TestPropertyFallbackSinksBelowNoHealthyTrigger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyInput(t)
		so := in.Object
		so.Annotations, so.Spec.Advanced = nil, nil
		so.Spec.Triggers = []v1alpha1.ScaleTrigger{{Type: "kafka", Name: "a"}, {Type: "kafka", Name: "b"}}
		so.Spec.Fallback = &v1alpha1.Fallback{
			Replicas: rapid.Int32Range(0, 60).Draw(t, "fall back to"),
			Behavior: rapid.SampledFrom([]v1alpha1.FallbackBehavior{"", "static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"}).Draw(t, "how"),
		}
		kind := rapid.SampledFrom([]autoscalingv2.MetricTargetType{"AverageValue", "Value"}).Draw(t, "of type")
		healthy := reads(1, rapid.Float64Range(1, 900).Draw(t, "backlog"))
		in.Triggers = []Trigger{fails(0, 1), healthy}
		lo, hi := so.HPAMinReplicas(), so.MaxReplicas()
		ask := DesiredReplicas(healthy.Metrics[0].Value, healthy.Metrics[0].Target, lo, hi)
		var seen []int32
		for range 5 {
			d := Decide(in)
			now := after(in, d)
			if now < min(*in.Replicas, ask) {
				t.Fatalf("%d -> %d, the healthy trigger asks for %d", *in.Replicas, now, ask)
			}
			if len(d.Replaced) != 1 || d.Replaced[0].Replicas == nil {
				t.Fatalf("replaced %+v", d.Replaced)
			}
			value, err := FallbackValue(10, kind, *d.Replaced[0].Replicas, max(now, 1))
			if err != nil {
				t.Fatal(err)
			}
			if kind == autoscalingv2.ValueMetricType {
				value *= float64(max(now, 1))
			}
			now = max(DesiredReplicas(value, 10, lo, hi), ask)
			in.Replicas, seen = &now, append(seen, now)
		}
		for _, n := range seen[1:] {
			if n != seen[1] {
				t.Fatalf("the replicas oscillate: %v", seen)
			}
		}
	})
}

func TestPropertyAGoodReadingBeatsAVerdict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyInput(t)
		d := Decide(in)
		for i, trigger := range in.Triggers {
			fresh := trigger.Outcome == Value && t0.Sub(trigger.Confirmed) <= trigger.StaleAfter
			if fresh && (d.Verdicts[i].Fallback || d.Verdicts[i].Failures.Count != 0) {
				t.Fatalf("trigger %d was read, its verdict is %+v", i, d.Verdicts[i])
			}
		}
	})
}

func TestPropertyFallbackWorksFromZero(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := failingFor(t)
		in.Replicas = ptr(int32(0))
		in.Triggers[0].Failures = SeedFailures(in.Object.Spec.Fallback.FailureThreshold+1, t0.Add(-time.Hour), t0)
		if in.Object.ScaleOutPaused() {
			return
		}
		if d := Decide(in); d.Write == nil || *d.Write < in.Object.HPAMinReplicas() {
			t.Fatalf("wrote %v", d.Write)
		}
	})
}
