package scaling

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ExplainJobs says how DecideJobs came from in to d.
func ExplainJobs(in JobsInput, d JobsDecision) Explanation {
	jobs := d.Arithmetic
	e := Explanation{Time: in.Now, Jobs: &jobs, Create: d.Create}
	if !d.Next.IsZero() {
		e.NextAt = &d.Next
	}
	in.Triggers = in.rules().every(in.Triggers)
	for i, t := range in.Triggers {
		if i < len(d.Verdicts) && !in.Object.Spec.Triggers[i].Builtin() {
			e.Metrics = append(e.Metrics, explained(in.Object.Spec.Triggers, false, t, d.Verdicts[i])...)
		}
	}
	if jobs.LimitedBy != "" {
		e.Limits = append(e.Limits, "limited by "+jobs.LimitedBy)
	}
	if d.Fallback.Status == metav1.ConditionTrue {
		e.Limits = append(e.Limits, fmt.Sprintf("fallback keeps up %d Jobs", in.Object.Spec.Fallback.Replicas))
	}
	if d.Active != nil && d.Active.Message != "" {
		e.Limits = append(e.Limits, d.Active.Message)
	}
	e.Next = "the controller, at the next reading"
	if strings.HasPrefix(jobs.LimitedBy, limitMax) {
		e.Next = "the controller, when a Job ends"
	}
	return e
}

// started says how many Jobs a decision started, and how many ran before.
func (e Explanation) started() string {
	text := "no Job starts"
	switch {
	case e.Create == 1:
		text = "1 Job starts"
	case e.Create > 1:
		text = fmt.Sprintf("%d Jobs start", e.Create)
	}
	return fmt.Sprintf("%s, %d ran", text, e.Jobs.Running)
}
