package scaledjob

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/kept"
)

const (
	// longestJobName is what the label with a Job's name on its Pods may hold.
	longestJobName = 63
	// hashLength is 50 bits: among ten thousand Jobs two alike are a matter of
	// one in a hundred million, and then a Job is late.
	hashLength = 10
)

var lowerBase32 = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// jobName is the name of the Job with a sequence number. Whoever comes to the
// same decision about the same object uses the same name, so that a creation
// that is repeated, because its answer was lost or its controller was, creates
// nothing twice.
func jobName(sj *v1alpha1.ScaledJob, sequence int64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d/%d", sj.UID, sj.Generation, sequence))
	base := sj.Name
	if most := longestJobName - hashLength - 1; len(base) > most {
		base = strings.TrimRight(base[:most], "-.")
	}
	return base + "-" + lowerBase32.EncodeToString(sum[:])[:hashLength]
}

// lastApplied is kubectl's own record of the ScaledJob.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// newJob is the Job with a name. What users put on the ScaledJob is copied; the
// keys that Jobs are found and told apart by cannot be overridden.
func newJob(sj *v1alpha1.ScaledJob, name, version string) *batchv1.Job {
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: sj.Namespace,
			Labels: map[string]string{
				"app.kubernetes.io/name":       sj.Name,
				"app.kubernetes.io/version":    version,
				"app.kubernetes.io/part-of":    sj.Name,
				"app.kubernetes.io/managed-by": "keda-operator",
			},
			Annotations:     map[string]string{},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(sj, v1alpha1.GroupVersion.WithKind("ScaledJob"))},
		},
		Spec: *sj.Spec.JobTargetRef.DeepCopy(),
	}
	excluded := sj.JobExcludedLabels()
	for key, value := range sj.Labels {
		if !excluded.Has(key) {
			job.Labels[key] = value
		}
	}
	job.Labels[v1alpha1.LabelScaledJobName] = sj.Name
	maps.Copy(job.Annotations, sj.Annotations)
	delete(job.Annotations, lastApplied)
	job.Annotations[v1alpha1.AnnotationScaledJobGeneration] = strconv.FormatInt(sj.Generation, 10)

	template := &job.Spec.Template
	template.GenerateName = sj.Name + "-"
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	template.Labels[v1alpha1.LabelScaledJobName] = sj.Name
	if template.Spec.RestartPolicy == "" {
		template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	}
	return job
}

// finished returns how a Job ended and when, "" while it runs. The time is the
// API server's, in whole seconds.
func finished(job *batchv1.Job) (batchv1.JobConditionType, time.Time) {
	for _, c := range job.Status.Conditions {
		if ends(c) {
			at := c.LastTransitionTime
			if job.Status.CompletionTime != nil {
				at = *job.Status.CompletionTime
			}
			if at.IsZero() {
				at = job.CreationTimestamp
			}
			return c.Type, at.Time
		}
	}
	return "", time.Time{}
}

// ends reports whether a condition is the end of its Job.
func ends(c batchv1.JobCondition) bool {
	return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
}

// HasEnded reports whether a Job is complete or failed.
func HasEnded(job *batchv1.Job) bool {
	how, _ := finished(job)
	return how != ""
}

// started reports whether a Pod is past pending: it runs or has run, or has all
// the conditions that the user names.
func started(pod *corev1.Pod, conditions []string) bool {
	if len(conditions) == 0 {
		return pod.Status.Phase == corev1.PodRunning || pod.Status.Phase == corev1.PodSucceeded
	}
	holds := map[string]bool{}
	for _, c := range pod.Status.Conditions {
		holds[string(c.Type)] = c.Status == corev1.ConditionTrue
	}
	for _, wanted := range conditions {
		if !holds[wanted] {
			return false
		}
	}
	return true
}

// Stripped is a transform for caches: of a Job or Pod it keeps what is looked at
// here, as far as a budget has room. Thousands of them may be kept as history, and
// whoever may write them may give them any owner, finalizer and condition.
func Stripped(budget *kept.Budget) func(any) (any, error) {
	jobs, pods := kept.Transform(budget, "Job", cutJob, stubJob), kept.Transform(budget, "Pod", cutPod, stubPod)
	return func(object any) (any, error) {
		switch object.(type) {
		case *batchv1.Job:
			return jobs(object)
		case *corev1.Pod:
			return pods(object)
		}
		return object, nil // the last state of one that was deleted unseen
	}
}

func cutJob(job *batchv1.Job) {
	meta := named(job)
	meta.CreationTimestamp, meta.DeletionTimestamp = job.CreationTimestamp, job.DeletionTimestamp
	meta.OwnerReferences = controllerOf(job, "ScaledJob")
	if generation := job.Annotations[v1alpha1.AnnotationScaledJobGeneration]; fits(generation) {
		meta.Annotations = map[string]string{v1alpha1.AnnotationScaledJobGeneration: generation}
	}
	var conditions []batchv1.JobCondition
	for _, c := range job.Status.Conditions {
		if ends(c) {
			conditions = []batchv1.JobCondition{{Type: c.Type, Status: c.Status, LastTransitionTime: c.LastTransitionTime}}
			break
		}
	}
	*job = batchv1.Job{ObjectMeta: meta, Status: batchv1.JobStatus{Conditions: conditions, CompletionTime: job.Status.CompletionTime}}
}

func cutPod(pod *corev1.Pod) {
	meta := named(pod)
	meta.OwnerReferences = controllerOf(pod, "Job")
	conditions := make([]corev1.PodCondition, len(pod.Status.Conditions))
	for i, c := range pod.Status.Conditions {
		conditions[i] = corev1.PodCondition{Type: c.Type, Status: c.Status}
	}
	*pod = corev1.Pod{ObjectMeta: meta, Status: corev1.PodStatus{Phase: pod.Status.Phase, Conditions: conditions}}
}

func stubJob(job *batchv1.Job, _ string) { *job = batchv1.Job{ObjectMeta: named(job)} }
func stubPod(pod *corev1.Pod, _ string)  { *pod = corev1.Pod{ObjectMeta: named(pod)} }

// named is which object it is, and whose.
func named(o metav1.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
		Labels: map[string]string{v1alpha1.LabelScaledJobName: o.GetLabels()[v1alpha1.LabelScaledJobName]},
	}
}

var controls = true

// controllerOf is the one owner that is looked at, by its UID. There may be any
// number, of any length.
func controllerOf(o metav1.Object, kind string) []metav1.OwnerReference {
	if owner := metav1.GetControllerOfNoCopy(o); owner != nil && owner.Kind == kind && fits(string(owner.UID)) {
		return []metav1.OwnerReference{{Kind: kind, UID: owner.UID, Controller: &controls}}
	}
	return nil
}

// fits reports whether a text may be a UID or a generation.
func fits(text string) bool { return text != "" && len(text) <= 64 }
