package scaledjob

import (
	"maps"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/kept"
)

func TestNewJob(t *testing.T) {
	sj := newObject(func(sj *v1alpha1.ScaledJob) {
		sj.Generation = 3
		sj.Labels = map[string]string{
			"team": "orders", "secret": "x", "app.kubernetes.io/part-of": "shop", "app.kubernetes.io/version": "7", v1alpha1.LabelScaledJobName: "another",
		}
		sj.Annotations = map[string]string{
			"note": "ours", v1alpha1.AnnotationJobExcludedLabels: "secret,app.kubernetes.io/version", v1alpha1.AnnotationScaledJobGeneration: "99", lastApplied: "{}",
		}
		sj.Spec.JobTargetRef.Template.Labels = map[string]string{"app": "worker"}
	})
	job := newJob(sj, "batch-x", "1.2.3")
	labels := map[string]string{
		"app.kubernetes.io/name": "batch", "app.kubernetes.io/version": "1.2.3", "app.kubernetes.io/part-of": "shop",
		"app.kubernetes.io/managed-by": "keda-operator", "team": "orders", v1alpha1.LabelScaledJobName: "batch",
	}
	if !maps.Equal(job.Labels, labels) {
		t.Errorf("labels %v", job.Labels)
	}
	annotations := map[string]string{"note": "ours", v1alpha1.AnnotationJobExcludedLabels: "secret,app.kubernetes.io/version", v1alpha1.AnnotationScaledJobGeneration: "3"}
	if !maps.Equal(job.Annotations, annotations) {
		t.Errorf("annotations %v", job.Annotations)
	}
	if owner := metav1.GetControllerOf(job); owner == nil || owner.UID != "sj-1" || owner.Kind != "ScaledJob" {
		t.Errorf("owner %v", owner)
	}
	template := job.Spec.Template
	if !maps.Equal(template.Labels, map[string]string{"app": "worker", v1alpha1.LabelScaledJobName: "batch"}) ||
		template.GenerateName != "batch-" || template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		t.Errorf("template %+v", template)
	}
	if sj.Spec.JobTargetRef.Template.GenerateName != "" || len(sj.Spec.JobTargetRef.Template.Labels) != 1 {
		t.Error("the object itself was changed")
	}
	sj.Spec.JobTargetRef.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	if newJob(sj, "x", "").Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Error("the user's restart policy was changed")
	}
}

func TestNamesOfJobs(t *testing.T) {
	sj := newObject()
	name := jobName(sj, 1)
	if name != jobName(sj, 1) {
		t.Error("the same decision has two names")
	}
	seen := map[string]bool{name: true}
	for _, change := range []func(*v1alpha1.ScaledJob){
		func(sj *v1alpha1.ScaledJob) { sj.UID = "sj-2" },
		func(sj *v1alpha1.ScaledJob) { sj.Generation = 2 },
	} {
		other := newObject(change)
		if seen[jobName(other, 1)] {
			t.Errorf("%s is the name of two Jobs", jobName(other, 1))
		}
	}
	if jobName(sj, 2) == name {
		t.Error("two Jobs of one decision have one name")
	}
	sj.Name = strings.Repeat("a", 51) + ".b-tail-of-a-name"
	if name := jobName(sj, 1); len(name) > 63 || strings.Contains(name, ".-") || !strings.HasPrefix(name, strings.Repeat("a", 51)+"-") {
		t.Errorf("%q", name)
	}
}

func TestFinished(t *testing.T) {
	at := func(s int) metav1.Time { return metav1.NewTime(began.Add(time.Duration(s) * time.Second)) }
	completed := at(5)
	tests := map[string]struct {
		status batchv1.JobStatus
		how    batchv1.JobConditionType
		at     time.Time
	}{
		"running":   {batchv1.JobStatus{}, "", time.Time{}},
		"suspended": {batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionTrue}}}, "", time.Time{}},
		"about to fail": {batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailureTarget, Status: corev1.ConditionTrue}}},
			"", time.Time{}},
		"complete": {batchv1.JobStatus{CompletionTime: &completed, Conditions: []batchv1.JobCondition{
			{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastTransitionTime: at(6)},
		}}, batchv1.JobComplete, completed.Time},
		"failed": {batchv1.JobStatus{Conditions: []batchv1.JobCondition{
			{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, LastTransitionTime: at(7)},
		}}, batchv1.JobFailed, at(7).Time},
		"without a time": {batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}},
			batchv1.JobFailed, at(1).Time},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			how, when := finished(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(1)}, Status: tt.status})
			if how != tt.how || !when.Equal(tt.at) {
				t.Errorf("%q at %v, want %q at %v", how, when, tt.how, tt.at)
			}
		})
	}
}

func TestAPodIsPastPending(t *testing.T) {
	pod := func(phase corev1.PodPhase, conditions ...corev1.PodConditionType) *corev1.Pod {
		p := &corev1.Pod{Status: corev1.PodStatus{Phase: phase}}
		for _, c := range conditions {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: c, Status: corev1.ConditionTrue})
		}
		return p
	}
	tests := map[string]struct {
		pod        *corev1.Pod
		conditions []string
		want       bool
	}{
		"runs":                  {pod(corev1.PodRunning), nil, true},
		"has run":               {pod(corev1.PodSucceeded), nil, true},
		"waits":                 {pod(corev1.PodPending), nil, false},
		"failed and is retried": {pod(corev1.PodFailed), nil, false},
		"all conditions":        {pod(corev1.PodPending, "Ready", "Booked"), []string{"Ready", "Booked"}, true},
		"some conditions":       {pod(corev1.PodRunning, "Ready"), []string{"Ready", "Booked"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := started(tt.pod, tt.conditions); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestStripped(t *testing.T) {
	job := newJob(newObject(), "x", "v")
	job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, Message: "long"}}
	keep := Stripped(kept.New(kept.Unbounded, kept.Unbounded))
	stripped, err := keep(job)
	if err != nil {
		t.Fatal(err)
	}
	left := stripped.(*batchv1.Job)
	if len(left.Spec.Template.Spec.Containers) != 0 || !HasEnded(left) || !owned(left, "sj-1") ||
		left.Annotations[v1alpha1.AnnotationScaledJobGeneration] != "1" || left.Labels[v1alpha1.LabelScaledJobName] != "batch" {
		t.Errorf("%+v", left)
	}
	job.UID = "job-1"
	pod, err := keep(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{v1alpha1.LabelScaledJobName: "batch", "other": "y"},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job"))}},
		Spec:   corev1.PodSpec{Containers: []corev1.Container{{Env: []corev1.EnvVar{{Name: "PASSWORD", Value: "secret"}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	})
	if err != nil {
		t.Fatal(err)
	}
	if p := pod.(*corev1.Pod); len(p.Spec.Containers) != 0 || !started(p, nil) || metav1.GetControllerOf(p) == nil {
		t.Errorf("%+v", p)
	}
}

// Of a Job or Pod of whatever size some hundred bytes are kept, beside names and
// conditions, which are counted.
func TestLargeJobsAndPodsAreNotKept(t *testing.T) {
	long := strings.Repeat("a", 1<<20)
	controller := true
	meta := func(kind string) metav1.ObjectMeta {
		return metav1.ObjectMeta{
			Namespace: "shop", Name: "x", GenerateName: long, UID: "u", Finalizers: []string{long},
			Labels:          map[string]string{v1alpha1.LabelScaledJobName: "batch", "other": long},
			Annotations:     map[string]string{v1alpha1.AnnotationScaledJobGeneration: long},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: long, Kind: kind, Name: long, UID: types.UID(long), Controller: &controller}},
		}
	}
	for _, kind := range []string{"ScaledJob", "Job", long} {
		job := &batchv1.Job{ObjectMeta: meta(kind), Status: batchv1.JobStatus{
			CompletedIndexes: long, UncountedTerminatedPods: &batchv1.UncountedTerminatedPods{Failed: make([]types.UID, 1000)},
			Conditions: []batchv1.JobCondition{
				{Type: batchv1.JobConditionType(long)}, {Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: long, Message: long},
			},
		}}
		pod := &corev1.Pod{ObjectMeta: meta(kind), Status: corev1.PodStatus{
			Message: long, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Reason: long, Message: long}},
		}}
		for _, o := range []client.Object{job, pod} {
			budget := kept.New(kept.Unbounded, kept.Unbounded)
			if _, err := Stripped(budget)(o); err != nil {
				t.Fatal(err)
			}
			if got := kept.Size(o); got > 4<<10 || budget.Used("shop") < got {
				t.Errorf("%T of %.9s: %d bytes are kept, %d are counted", o, kind, got, budget.Used("shop"))
			}
			if kept.Why(o) != "" || o.GetLabels()[v1alpha1.LabelScaledJobName] != "batch" {
				t.Errorf("%T of %.9s: kept is %+v", o, kind, o)
			}
		}
		if !HasEnded(job) {
			t.Errorf("of %.9s: that it ended is not kept", kind)
		}
	}
}
