package why

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// next says who acts, and when.
func (r *report) next(so *v1alpha1.ScaledObject, rests bool) {
	switch {
	case r.Account != nil:
		r.Next = append(r.Next, r.Account.Last.Next)
	case rests:
		r.Next = append(r.Next, "the controller, when a trigger turns active")
	default:
		r.Next = append(r.Next, "the HPA, at its next sync, every 15 s by default")
	}
	r.reads(func(t v1alpha1.ScaleTrigger) time.Duration { return scaling.SampleInterval(so, t, rests) })
}

// reads says when sources are read again at the latest.
func (r *report) reads(interval func(v1alpha1.ScaleTrigger) time.Duration) {
	if r.Account == nil {
		return
	}
	told := map[int]bool{}
	for _, in := range r.Inputs {
		index, ok := trigger(in.Metric)
		if !ok || index >= len(r.spec) || told[index] || in.ReadAt.IsZero() || in.Outcome == "pending" || in.Noticed == "timer" {
			continue
		}
		told[index] = true
		every := interval(r.spec[index])
		if at := in.ReadAt.Add(every); in.Value != nil && at.After(r.Now) {
			r.Next = append(r.Next, fmt.Sprintf("trigger %d (%s) is read again by %s, every %s", index, r.spec[index].Type, clock(at), every))
		} else {
			r.Next = append(r.Next, fmt.Sprintf("trigger %d (%s) is read every %s", index, r.spec[index].Type, every))
		}
	}
}

// wouldChange says what would.
func (r *report) wouldChange(so *v1alpha1.ScaledObject, now int32, rests bool) {
	rest := so.MinReplicas()
	if so.Spec.IdleReplicaCount != nil {
		rest = *so.Spec.IdleReplicaCount
	}
	composite := so.Modifiers() != nil
	switch {
	case so.ForceActivation():
		r.Changes = append(r.Changes, "nothing takes it to rest while activation is forced: remove annotation "+v1alpha1.AnnotationForceActivation)
	case rests && so.ScaleOutPaused():
		r.Changes = append(r.Changes, "nothing wakes it while scaling out is paused: remove annotation "+v1alpha1.AnnotationPausedScaleOut)
	case rests && composite:
		r.Changes = append(r.Changes, fmt.Sprintf("the formula wakes it above %s", cmp.Or(so.Modifiers().ActivationTarget, "0")))
	case rests:
		r.wakes("wakes it", "wake it")
	case so.MinReplicas() > 0 && so.Spec.IdleReplicaCount == nil:
		r.Changes = append(r.Changes, fmt.Sprintf("it never goes below minReplicaCount, %d", so.MinReplicas()))
	case so.OnlyBuiltins():
		r.Changes = append(r.Changes, "it never goes to rest: cpu and memory are its only triggers")
	case r.Account != nil && !r.allRead():
		r.Changes = append(r.Changes, fmt.Sprintf("back to %d only once all has a value, and no trigger was active for %s", rest, so.CooldownPeriod()))
	case r.Account != nil && r.Account.Last.RestAt != nil:
		r.Changes = append(r.Changes, fmt.Sprintf("back to %d at %s unless work arrives", rest, clock(*r.Account.Last.RestAt)))
	default:
		r.Changes = append(r.Changes, fmt.Sprintf("back to %d once no trigger was active for %s", rest, so.CooldownPeriod()))
	}
	if !rests && now >= so.MaxReplicas() {
		r.Changes = append(r.Changes, fmt.Sprintf("more replicas need a larger maxReplicaCount than %d", so.MaxReplicas()))
	}
	for _, in := range r.Inputs {
		if in.Outcome == "error" && !rests {
			r.Changes = append(r.Changes, in.Metric+" counts again once it can be read")
		}
	}
}

// wakes says of each input how far it is from work.
func (r *report) wakes(does, do string) {
	for _, in := range r.Inputs {
		switch {
		case in.Active:
			r.Changes = append(r.Changes, in.Metric+" is active already")
		case in.Outcome == "error":
			r.Changes = append(r.Changes, in.Metric+" cannot be read; once it can, its value says")
		case in.Above == nil:
			r.Changes = append(r.Changes, in.Metric+" "+does+" when it turns active")
		case in.Value == nil:
			r.Changes = append(r.Changes, fmt.Sprintf("%s has no value; one above %s %s", in.Metric, number(*in.Above), does))
		default:
			r.Changes = append(r.Changes, distance(in, does, do))
		}
	}
}

// distance is how far a value is from work.
func distance(in Input, does, do string) string {
	value, above := *in.Value, *in.Above
	has := fmt.Sprintf("it has %s, and has to exceed %s", number(value), number(above))
	if value != math.Trunc(value) || above != math.Trunc(above) || value > above {
		return fmt.Sprintf("%s %s when it exceeds %s: it has %s", in.Metric, does, number(above), number(value))
	}
	if more := above - value + 1; more != 1 {
		return fmt.Sprintf("%s more of %s %s: %s", number(more), in.Metric, do, has)
	}
	return fmt.Sprintf("1 more of %s %s: %s", in.Metric, does, has)
}
