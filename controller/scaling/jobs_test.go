package scaling

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// jobObject is a ScaledJob with n triggers.
func jobObject(n int, change func(*v1alpha1.ScaledJobSpec)) *v1alpha1.ScaledJob {
	sj := &v1alpha1.ScaledJob{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "o"}}
	sj.Spec.JobTargetRef = &batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}}
	for range n {
		sj.Spec.Triggers = append(sj.Spec.Triggers, v1alpha1.ScaleTrigger{Type: "rabbitmq"})
	}
	if change != nil {
		change(&sj.Spec)
	}
	return sj
}

// queueOf is a trigger that was read at t0.
func queueOf(index int, length, target float64) Trigger {
	return Trigger{
		Index: index, Outcome: Value, Confirmed: t0, ReadAt: t0, StaleAfter: time.Minute,
		Metrics: []Metric{{Name: MetricName(index, "queue"), Target: target, Value: length, Active: length > 0}},
	}
}

// jobsBefore are Jobs that ran when the trigger was read; the first of them
// were pending.
func jobsBefore(running, pending int) []Job {
	jobs := make([]Job, running)
	for i := range jobs {
		jobs[i].Created = t0.Add(-time.Minute)
		if i >= pending {
			jobs[i].Started = t0.Add(-30 * time.Second)
		}
	}
	return jobs
}

func custom(deduction int32, percentage string) v1alpha1.JobScalingStrategy {
	return v1alpha1.JobScalingStrategy{
		Strategy: v1alpha1.StrategyCustom, CustomScalingQueueLengthDeduction: &deduction, CustomScalingRunningJobPercentage: percentage,
	}
}

func TestJobStrategies(t *testing.T) {
	of := func(s v1alpha1.JobStrategy) v1alpha1.JobScalingStrategy {
		return v1alpha1.JobScalingStrategy{Strategy: s}
	}
	tests := map[string]struct {
		strategy         v1alpha1.JobScalingStrategy
		queue, target    float64
		lo, hi           int32
		running, pending int
		want             int32
		limit            string
	}{
		"1 default":                      {of(""), 10, 1, 0, 100, 3, 0, 7, limitRunning},
		"2 default, five in a Job":       {of("default"), 12, 5, 0, 100, 1, 0, 2, limitRunning},
		"3 default, more than may run":   {of("default"), 500, 1, 0, 100, 40, 0, 60, "maxReplicaCount 100"},
		"4 default, more run than asked": {of("default"), 2, 1, 0, 100, 5, 0, 0, limitRunning},
		"5 custom":                       {custom(1, "0.5"), 10, 1, 0, 100, 4, 0, 7, limitRunning},
		"7 custom without a percentage":  {custom(1, ""), 3, 1, 0, 5, 2, 0, 1, limitRunning},
		"8 accurate":                     {of("accurate"), 5, 1, 0, 10, 3, 1, 4, limitRunning},
		"9 accurate, full":               {of("accurate"), 9, 1, 0, 10, 4, 2, 6, "maxReplicaCount 10"},
		"10 accurate, all pending":       {of("accurate"), 1, 1, 0, 10, 1, 1, 0, limitRunning},
		"11 eager":                       {of("eager"), 6, 1, 0, 10, 2, 0, 6, ""},
		"12 eager, pending twice":        {of("eager"), 6, 1, 0, 10, 5, 2, 3, "maxReplicaCount 10"},

		"the minimum first":           {of(""), 5, 1, 2, 10, 0, 0, 2, ""},
		"then the queue":              {of(""), 5, 1, 2, 10, 2, 0, 5, ""},
		"all places taken":            {of(""), 50, 1, 2, 10, 10, 0, 0, "maxReplicaCount 10"},
		"a target of 0":               {of(""), 5, 0, 0, 10, 0, 0, 0, ""},
		"a fraction as a target":      {of(""), 0.3, 0.1, 0, 10, 0, 0, 1, limitQueueLength},
		"only a minimum":              {of(""), 500, 1, 30, 100, 30, 0, 70, "maxReplicaCount 100"},
		"nothing waits":               {of(""), 0, 1, 0, 10, 0, 0, 0, ""},
		"a number beyond all measure": {of(""), 1e300, 1, 0, 10, 0, 0, 10, "maxReplicaCount 10"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sj := jobObject(1, func(s *v1alpha1.ScaledJobSpec) {
				s.ScalingStrategy, s.MinReplicaCount, s.MaxReplicaCount = tt.strategy, &tt.lo, &tt.hi
			})
			d := DecideJobs(JobsInput{
				Object: sj, Now: t0, Triggers: []Trigger{queueOf(0, tt.queue, tt.target)}, Jobs: jobsBefore(tt.running, tt.pending),
			})
			if d.Create != tt.want || d.Arithmetic.LimitedBy != tt.limit {
				t.Errorf("create %d limited by %q, want %d limited by %q", d.Create, d.Arithmetic.LimitedBy, tt.want, tt.limit)
			}
			if int(d.Arithmetic.Running) != tt.running {
				t.Errorf("%d running", d.Arithmetic.Running)
			}
		})
	}
}

// The custom strategy asks for more Jobs than may run at once. The
// formula is KEDA's; maxReplicaCount is a limit all the same.
func TestCustomStrategyKeepsToTheMaximum(t *testing.T) {
	sj := jobObject(1, func(s *v1alpha1.ScaledJobSpec) {
		s.ScalingStrategy, s.MaxReplicaCount = custom(-2, "0"), ptr(int32(4))
	})
	if got := need(sj, 3, jobCounts{running: 2, most: 4}); got != 4 {
		t.Errorf("the formula comes to %v, want 4", got)
	}
	d := DecideJobs(JobsInput{Object: sj, Now: t0, Triggers: []Trigger{queueOf(0, 3, 1)}, Jobs: jobsBefore(2, 0)})
	if d.Create != 2 || d.Arithmetic.LimitedBy != "maxReplicaCount 4" {
		t.Errorf("create %d limited by %q, want 2 up to the maximum of 4", d.Create, d.Arithmetic.LimitedBy)
	}
}

func TestSeveralTriggers(t *testing.T) {
	a, b := queueOf(0, 10, 5), queueOf(1, 3, 1)
	empty := func(index int) Trigger { // active all the same
		q := queueOf(index, 0, 1)
		q.Metrics[0].Active = true
		return q
	}
	asleep := queueOf(1, 1000, 1)
	asleep.Metrics[0].Active = false
	tests := map[string]struct {
		how           v1alpha1.ScalersCalculation
		triggers      []Trigger
		queue, wanted int64
		active        bool
	}{
		"max takes the longest queue":        {"max", []Trigger{a, b}, 10, 2, true},
		"max is the default":                 {"", []Trigger{b2(b, 0), b2(a, 1)}, 10, 2, true},
		"min takes the shortest":             {"min", []Trigger{a, b}, 3, 3, true},
		"avg":                                {"avg", []Trigger{a, b}, 7, 3, true},
		"sum":                                {"sum", []Trigger{a, b}, 13, 5, true},
		"max never chooses an empty queue":   {"max", []Trigger{empty(0)}, 0, 0, false},
		"min drops an empty queue":           {"min", []Trigger{empty(0), b}, 3, 3, true},
		"an empty queue counts for avg":      {"avg", []Trigger{a, empty(1)}, 5, 1, true},
		"what is below activation is no one": {"sum", []Trigger{a, asleep}, 10, 2, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sj := jobObject(len(tt.triggers), func(s *v1alpha1.ScaledJobSpec) { s.ScalingStrategy.MultipleScalersCalculation = tt.how })
			d := DecideJobs(JobsInput{Object: sj, Now: t0, Triggers: tt.triggers})
			if d.Arithmetic.QueueLength != tt.queue || d.Arithmetic.Wanted != tt.wanted {
				t.Errorf("queue %d asks for %d, want %d and %d", d.Arithmetic.QueueLength, d.Arithmetic.Wanted, tt.queue, tt.wanted)
			}
			if got := d.Active.Status == metav1.ConditionTrue; got != tt.active {
				t.Errorf("active %v", got)
			}
		})
	}
}

// b2 is a trigger under another index.
func b2(t Trigger, index int) Trigger {
	t.Index = index
	return t
}

// A reading is acted upon as of its own moment.
func TestOneReadingStartsEachJobOnce(t *testing.T) {
	sj := jobObject(1, func(s *v1alpha1.ScaledJobSpec) { s.MaxReplicaCount = ptr(int32(50)) })
	in := JobsInput{Object: sj, Now: t0, Triggers: []Trigger{queueOf(0, 120, 1)}}
	if d := DecideJobs(in); d.Create != 50 || !d.Reading.Equal(t0) {
		t.Fatalf("create %d for the reading of %v, want 50", d.Create, d.Reading)
	}
	start := func(n int) {
		in.Now = in.Now.Add(time.Second)
		for range n {
			in.Jobs = append(in.Jobs, Job{Created: in.Now})
		}
	}
	end := func(n int) {
		in.Now = in.Now.Add(time.Second)
		for i := range in.Jobs {
			if n > 0 && in.Jobs[i].Finished.IsZero() {
				in.Jobs[i].Finished = in.Now
				n--
			}
		}
	}
	start(50)
	if d := DecideJobs(in); d.Create != 0 {
		t.Errorf("%d more at the limit", d.Create)
	}
	end(30)
	if d := DecideJobs(in); d.Create != 30 {
		t.Errorf("%d start in 30 free places", d.Create)
	}
	start(30)
	end(50)
	if d := DecideJobs(in); d.Create != 40 || d.Arithmetic.Created != 80 {
		t.Errorf("%d start, want what is left of 120 after %d", d.Create, d.Arithmetic.Created)
	}
	start(40)
	end(20)
	if d := DecideJobs(in); d.Create != 0 || d.Arithmetic.LimitedBy != limitRunning {
		t.Errorf("%d start for work that was done, limited by %q", d.Create, d.Arithmetic.LimitedBy)
	}
	in.Triggers[0].ReadAt, in.Triggers[0].Confirmed = in.Now, in.Now
	in.Triggers[0].Metrics[0].Value = 21
	if d := DecideJobs(in); d.Create != 1 { // 20 still run
		t.Errorf("%d start for a new reading, want 1", d.Create)
	}
}

func TestFailingTriggers(t *testing.T) {
	down := func(index int) Trigger {
		return Trigger{Index: index, Outcome: Failed, Confirmed: t0, Err: errors.New("connection refused"), Metrics: []Metric{{Name: MetricName(index, "queue")}}}
	}
	gone := func(index int) Trigger {
		t := down(index)
		t.Err = status.Error(codes.NotFound, "queue not found")
		return t
	}
	silent := Trigger{Index: 0, Outcome: NoData, Confirmed: t0}
	old := queueOf(0, 5, 1)
	old.Confirmed = t0.Add(-2 * time.Minute)
	tests := map[string]struct {
		triggers []Trigger
		lo       int32
		running  int
		fallback *v1alpha1.JobFallback
		create   int32
		ready    string
		active   string
		message  string // in condition Active or Ready
	}{
		"one of two":                {triggers: []Trigger{queueOf(0, 3, 1), down(1)}, running: 1, create: 2, ready: "Unknown PartialTriggerError", active: "True ScalerActive", message: "trigger 1 (rabbitmq): connection refused"},
		"both":                      {triggers: []Trigger{down(0), down(1)}, create: 0, ready: "False TriggerError", active: "Unknown UnknownState"},
		"both, with a minimum":      {triggers: []Trigger{down(0), down(1)}, lo: 2, create: 2, ready: "Unknown PartialTriggerError", active: "True ScalerActive"},
		"no data is no zero":        {triggers: []Trigger{silent}, ready: "True ScaledJobReady", active: "False ScalerNotActive", message: "trigger 0 (rabbitmq) has no data"},
		"no reading for too long":   {triggers: []Trigger{old}, ready: "False TriggerError", active: "Unknown UnknownState", message: "no reading for too long"},
		"nothing heard yet":         {triggers: nil, ready: "True ScaledJobReady"},
		"fallback waits":            {triggers: []Trigger{down(0)}, fallback: &v1alpha1.JobFallback{FailureThreshold: 1, Replicas: 4}, ready: "False TriggerError", active: "Unknown UnknownState"},
		"fallback":                  {triggers: []Trigger{down(0)}, fallback: &v1alpha1.JobFallback{Replicas: 4}, running: 1, create: 3, ready: "Unknown PartialTriggerError", active: "True ScalerActive"},
		"refused, one of two":       {triggers: []Trigger{queueOf(0, 3, 1), gone(1)}, running: 1, create: 2, ready: "False PartialTriggerError", active: "True ScalerActive"},
		"fallback is inherited":     {triggers: []Trigger{{Index: 0, Confirmed: t0, Failures: SeedFailures(2, time.Time{}, t0)}}, fallback: &v1alpha1.JobFallback{FailureThreshold: 1, Replicas: 4}, running: 1, create: 3, ready: "True ScaledJobReady", active: "True ScalerActive"},
		"fallback of 0 is a choice": {triggers: []Trigger{down(0)}, fallback: &v1alpha1.JobFallback{}, ready: "False TriggerError", active: "False ScalerNotActive"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sj := jobObject(max(len(tt.triggers), 1), func(s *v1alpha1.ScaledJobSpec) { s.MinReplicaCount, s.Fallback = &tt.lo, tt.fallback })
			d := DecideJobs(JobsInput{Object: sj, Now: t0, Triggers: tt.triggers, Jobs: jobsBefore(tt.running, 0)})
			active := ""
			if d.Active != nil {
				active = string(d.Active.Status) + " " + d.Active.Reason
			}
			if ready := string(d.Ready.Status) + " " + d.Ready.Reason; d.Create != tt.create || ready != tt.ready || active != tt.active {
				t.Errorf("create %d, ready %s, active %s; want %d, %s, %s", d.Create, ready, active, tt.create, tt.ready, tt.active)
			}
			said := d.Ready.Message
			if d.Active != nil {
				said += d.Active.Message
			}
			if !strings.Contains(said, tt.message) {
				t.Errorf("the conditions say %q, want %q", said, tt.message)
			}
		})
	}
}

func TestJobMetricsThatAreNoNumbers(t *testing.T) {
	q := queueOf(0, math.NaN(), 1)
	q.Metrics[0].Active = true
	d := DecideJobs(JobsInput{Object: jobObject(1, nil), Now: t0, Triggers: []Trigger{q}})
	if d.Create != 0 || d.Active.Message != "trigger 0 (rabbitmq) has no data" {
		t.Errorf("create %d, %q", d.Create, d.Active.Message)
	}
}

func TestJobsCreatedIsAnEventWithTheArithmetic(t *testing.T) {
	sj := jobObject(1, func(s *v1alpha1.ScaledJobSpec) { s.MaxReplicaCount = ptr(int32(5)) })
	d := DecideJobs(JobsInput{Object: sj, Now: t0, Triggers: []Trigger{queueOf(0, 12, 2)}, Jobs: jobsBefore(1, 0)})
	e := d.Announce(4)
	want := "created 4 Jobs: queue length 12 asks for 6, 1 were running, 0 of them pending, limited by maxReplicaCount 5"
	if e.Reason != "KEDAJobsCreated" || e.Note != want {
		t.Errorf("%s: %q, want %q", e.Reason, e.Note, want)
	}
}
