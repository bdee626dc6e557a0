package status

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/kinds"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

const (
	normal  = corev1.EventTypeNormal
	warning = corev1.EventTypeWarning
)

// reasonUpdateFailed is KEDA's for what keeps the status from being written, and
// for a target whose kind is no kind.
const reasonUpdateFailed = "ScaledObjectUpdateFailed"

// longestNote is what the Events API accepts.
const longestNote = 1024

// announce emits the events of the transitions between two states, and takes
// note of a start that is to be announced.
func (w *Writer) announce(r *record, before, after *v1alpha1.ScaledObject) {
	for _, now := range after.Status.Conditions {
		was, _ := before.Status.Conditions.Get(now.Type)
		if was == now {
			continue
		}
		switch now.Type {
		case v1alpha1.ConditionReady:
			w.announceReady(r, after, was, now)
		case v1alpha1.ConditionPaused:
			w.announcePaused(after, was, now)
		case v1alpha1.ConditionFallback:
			w.announceFallback(after, was, now)
		case v1alpha1.ConditionActive, v1alpha1.ConditionHPAActive:
			// Scaling itself has events, and the HPA has its own.
		}
	}
	w.announceFailing(r, before, after)
	was, is := &before.Status, &after.Status
	switch {
	case is.HpaName == "" && was.HpaName != "":
		r.starting = false
		w.announceStop(before)
	case is.HpaName != "" && (was.HpaName == "" || was.TriggersTypes != is.TriggersTypes):
		r.starting = true
	}
}

func (w *Writer) announceReady(r *record, so *v1alpha1.ScaledObject, was, now v1alpha1.Condition) {
	switch now.Status {
	case metav1.ConditionTrue:
		if was.Status != metav1.ConditionTrue {
			w.event(so, normal, v1alpha1.ReasonScaledObjectReady, "Ready", now.Message)
		}
	case metav1.ConditionFalse:
		reason := now.Reason
		if reason == v1alpha1.ReasonTriggerError || reason == v1alpha1.ReasonPartialTriggerError {
			reason = reasonFailed(so)
		}
		w.event(so, warning, reason, "Check", now.Message)
		var unparsable *kinds.UnparsableError
		if r.reconciled != nil && errors.As(r.reconciled.Err, &unparsable) {
			w.event(so, warning, reasonUpdateFailed, "Resolve", unparsable.Error())
		}
	case metav1.ConditionUnknown:
		if now.Reason == v1alpha1.ReasonPartialTriggerError {
			w.event(so, warning, reasonFailed(so), "Check", now.Message)
		}
	}
}

// announceFailing tells of a trigger that begins to fail while a fallback waits
// to stand in for it, when Ready does not.
func (w *Writer) announceFailing(r *record, before, after *v1alpha1.ScaledObject) {
	if r.observed == nil || !after.Status.Conditions.IsTrue(v1alpha1.ConditionReady) {
		return
	}
	for metric, health := range after.Status.Health {
		if health.Status != v1alpha1.HealthFailing || before.Status.Health[metric].Status == v1alpha1.HealthFailing {
			continue
		}
		var errs []error
		for _, v := range r.observed.Decision.Verdicts {
			errs = append(errs, v.Err)
		}
		if err := errors.Join(errs...); err != nil {
			w.event(after, warning, reasonFailed(after), "Check", Sentence(err))
		}
		return
	}
}

// reasonFailed is how the event about a failing trigger is called.
func reasonFailed(so *v1alpha1.ScaledObject) string {
	if so.Modifiers() != nil {
		return "KEDAMetricSourceFailed"
	}
	return "KEDAScalerFailed"
}

// announceRefused tells of a status that the API server will not take.
func (w *Writer) announceRefused(so *v1alpha1.ScaledObject, err error) {
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
		w.event(so, warning, reasonUpdateFailed, "UpdateStatus", "status: "+err.Error())
	}
}

func (w *Writer) announcePaused(so *v1alpha1.ScaledObject, was, now v1alpha1.Condition) {
	switch {
	case now.Status == metav1.ConditionTrue && was.Status != metav1.ConditionTrue:
		w.event(so, normal, v1alpha1.ReasonScaledObjectPaused, "Pause", now.Message)
	case now.Status == metav1.ConditionFalse && was.Status == metav1.ConditionTrue:
		w.event(so, normal, v1alpha1.ReasonScaledObjectUnpaused, "Unpause", now.Message)
	}
}

func (w *Writer) announceFallback(so *v1alpha1.ScaledObject, was, now v1alpha1.Condition) {
	switch {
	case now.Status == metav1.ConditionTrue && was.Status != metav1.ConditionTrue:
		w.event(so, normal, "ScaledObjectFallbackActivated", "Fallback", "fallback is in force: "+now.Message)
	case now.Status != metav1.ConditionTrue && was.Status == metav1.ConditionTrue:
		w.event(so, normal, "ScaledObjectFallbackDeactivated", "Fallback", "fallback is no longer in force")
	}
}

// announceStart says once that the triggers of an object are watched. It comes
// with the first verdict after the one that the object was made ready by, so
// that it delays no other object's start: one event for all triggers, and none
// when another process takes over.
func (w *Writer) announceStart(r *record, so *v1alpha1.ScaledObject) {
	if r.starting && r.observed.Decision.Active != nil {
		r.starting = false
		w.event(so, normal, "KEDAScalersStarted", "ScalersWatchStarted", "started watching "+so.TriggersTypes())
	}
}

// announceStop says that the triggers of an object are no longer watched, if
// they ever were.
func (w *Writer) announceStop(so *v1alpha1.ScaledObject) {
	if so.Status.HpaName != "" {
		w.event(so, normal, "KEDAScalersStopped", "ScalersWatchStopped", "stopped watching "+so.Status.TriggersTypes)
	}
}

// announceWarnings tells of what an object's owner should look at, once per
// text.
func (w *Writer) announceWarnings(r *record, so *v1alpha1.ScaledObject) {
	now := strings.Join(slices.Concat(r.reconciled.Warnings, r.reconciled.Notes), "; ")
	hash := sha256.Sum256([]byte(now))
	if now != "" && hash != r.warned {
		w.event(so, normal, "KEDAScalerInfo", "CheckTriggers", now)
	}
	r.warned = hash
}

// event records one event.
func (w *Writer) event(so *v1alpha1.ScaledObject, kind, reason, action, note string) {
	Emit(w.Events, so, kind, reason, action, note)
}

// Emit records one event about an object. The action is a constant word: the
// API limits it, and events of different actions are never taken for one
// series.
func Emit(recorder events.EventRecorder, object runtime.Object, kind, reason, action, note string) {
	recorder.Eventf(object, nil, kind, reason, action, "%s", v1alpha1.Shorten(note, longestNote))
}

// Announce emits an event that followed from a decision.
func (w *Writer) Announce(so *v1alpha1.ScaledObject, e scaling.Event) {
	w.event(so, e.Type, e.Reason, e.Action, e.Note)
}
