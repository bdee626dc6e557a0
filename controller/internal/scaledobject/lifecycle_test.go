package scaledobject

import (
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
)

func TestPause(t *testing.T) {
	tests := map[string]struct {
		annotations map[string]string
		ready       metav1.ConditionStatus
		message     string
		count       *int32
	}{
		"without a count": {
			annotations: map[string]string{v1alpha1.AnnotationPaused: "true"},
			ready:       metav1.ConditionTrue, message: "ScaledObject is paused",
		},
		"with a count, which wins": {
			annotations: map[string]string{v1alpha1.AnnotationPaused: "false", v1alpha1.AnnotationPausedReplicas: "2"},
			ready:       metav1.ConditionTrue, message: "ScaledObject is paused", count: ptr.To[int32](2),
		},
		"with a count that is none": {
			annotations: map[string]string{v1alpha1.AnnotationPausedReplicas: "two"},
			ready:       metav1.ConditionFalse, message: `annotation autoscaling.keda.sh/paused-replicas: "two" is not a replica count`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := settled(t, newObject())
			f.sawEvents("ScaledObjectReady")
			f.annotate(func(so *v1alpha1.ScaledObject) { so.Annotations = tt.annotations })
			f.reconcile()
			// The condition first, and again when the HPA is gone.
			f.wrote("update ScaledObject/status", "delete HPA", "update ScaledObject/status")
			f.wantReady(tt.ready, tt.message)
			s := f.object().Status
			if !s.Conditions.IsTrue(v1alpha1.ConditionPaused) || s.HpaName != "" || f.hpa() != nil {
				t.Errorf("status %+v", s)
			}
			if (s.PausedReplicaCount == nil) != (tt.count == nil) || tt.count != nil && *s.PausedReplicaCount != *tt.count {
				t.Errorf("paused replicas %v", s.PausedReplicaCount)
			}
			f.reconcile()
			f.wrote()

			f.annotate(func(so *v1alpha1.ScaledObject) {
				so.Annotations = map[string]string{v1alpha1.AnnotationPaused: "false"}
			})
			f.reconcile()
			f.observe()
			f.wantReady(metav1.ConditionTrue, "ScaledObject is ready for scaling")
			if s := f.object().Status; s.Conditions.IsTrue(v1alpha1.ConditionPaused) || s.PausedReplicaCount != nil || s.HpaName == "" {
				t.Errorf("status %+v", s)
			}
			f.wantTargets("s0-m 5")
		})
	}
	t.Run("leaves an HPA of somebody else", func(t *testing.T) {
		so := newObject(func(so *v1alpha1.ScaledObject) { so.Annotations = map[string]string{v1alpha1.AnnotationPaused: ""} })
		f := newFixture(t, so, foreign("keda-hpa-worker"))
		f.reconcile()
		if f.hpa() == nil {
			t.Error("deleted")
		}
	})
	t.Run("an HPA that cannot be deleted is named", func(t *testing.T) {
		f := settled(t, newObject())
		f.annotate(func(so *v1alpha1.ScaledObject) { so.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"} })
		f.cluster.Fail(func(write string) error {
			if write == "delete HPA" {
				return apierrors.NewTooManyRequests("later", 1)
			}
			return nil
		})
		if _, err := f.tryReconcile(); err == nil {
			t.Error("no retry")
		}
		f.wantReady(metav1.ConditionFalse, "HPA: later")
		if s := f.object().Status; s.HpaName != "keda-hpa-worker" {
			t.Errorf("status %+v", s)
		}
	})
}

func TestPartialPauseDisablesADirectionAndBack(t *testing.T) {
	f := settled(t, newObject())
	for range 2 {
		f.annotate(func(so *v1alpha1.ScaledObject) {
			so.Annotations = map[string]string{v1alpha1.AnnotationPausedScaleIn: "true", v1alpha1.AnnotationPausedScaleOut: "true"}
		})
		f.reconcile()
		b := f.hpa().Spec.Behavior
		if *b.ScaleDown.SelectPolicy != "Disabled" || *b.ScaleUp.SelectPolicy != "Disabled" {
			t.Errorf("behavior %+v", b)
		}
		f.annotate(func(so *v1alpha1.ScaledObject) { so.Annotations = nil })
		f.reconcile()
		if b := f.hpa().Spec.Behavior; b != nil {
			t.Errorf("behavior %+v after the pause", b)
		}
	}
}

// TestTheFinalizerIsThereWhileSomethingIsToBeRestored begins with that of KEDA.
func TestTheFinalizerIsThereWhileSomethingIsToBeRestored(t *testing.T) {
	f := newFixture(t, newObject(func(so *v1alpha1.ScaledObject) { so.Finalizers = []string{v1alpha1.Finalizer, "of.others/stays"} }))
	want := func(what string, finalizers ...string) {
		t.Helper()
		f.reconcile()
		if have := f.object().Finalizers; !slices.Equal(have, finalizers) {
			t.Errorf("%s: finalizers %q, want %q", what, have, finalizers)
		}
	}
	want("nothing to restore", "of.others/stays")
	f.edit(func(so *v1alpha1.ScaledObject) {
		so.Spec.Advanced = &v1alpha1.AdvancedConfig{RestoreToOriginalReplicaCount: true}
	})
	want("replicas to restore", "of.others/stays", v1alpha1.Finalizer)
	f.edit(func(so *v1alpha1.ScaledObject) { so.Spec.Advanced = nil })
	want("no longer", "of.others/stays")
}

func TestDeletion(t *testing.T) {
	restoring := func(so *v1alpha1.ScaledObject) {
		so.Spec.Advanced = &v1alpha1.AdvancedConfig{RestoreToOriginalReplicaCount: true}
	}
	remove := func(t *testing.T, f *fixture) {
		t.Helper()
		if err := f.cluster.Direct.Delete(t.Context(), f.object()); err != nil {
			t.Fatal(err)
		}
	}
	scaleTo := func(t *testing.T, f *fixture, n int32) {
		t.Helper()
		d := testcluster.Deployment("shop", "worker", &n)
		if err := f.cluster.Direct.Update(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	gone := func(t *testing.T, f *fixture) {
		t.Helper()
		if err := f.cluster.Direct.Get(t.Context(), key, &v1alpha1.ScaledObject{}); !apierrors.IsNotFound(err) {
			t.Errorf("the object is held: %v", err)
		}
		f.sawEvents("ScaledObjectReady", "KEDAScalersStopped", "ScaledObjectDeleted")
	}
	t.Run("leaves the replicas and the HPA to the garbage collector", func(t *testing.T) {
		f := settled(t, newObject())
		remove(t, f) // nothing holds it
		f.reconcile()
		f.wrote()
		gone(t, f)
		f.reconcile()
		f.wrote()
	})
	t.Run("restores after the HPA is gone", func(t *testing.T) {
		f := settled(t, newObject(restoring))
		scaleTo(t, f, 9)
		remove(t, f)
		f.reconcile()
		f.wrote("delete HPA", "scale 3", "patch ScaledObject")
		gone(t, f)
	})
	t.Run("does not wait for a target that is gone", func(t *testing.T) {
		f := settled(t, newObject(restoring))
		if err := f.cluster.Direct.Delete(t.Context(), testcluster.Deployment("shop", "worker", nil)); err != nil {
			t.Fatal(err)
		}
		remove(t, f)
		f.reconcile()
		gone(t, f)
	})
	busy, forbidden := apierrors.NewTooManyRequests("later", 1), apierrors.NewForbidden(schema.GroupResource{}, "worker", nil)
	for what, write := range map[string]string{"an HPA that cannot be deleted": "delete HPA", "a target that cannot be scaled": "scale 3"} {
		t.Run("waits a while for "+what, func(t *testing.T) {
			f := settled(t, newObject(restoring))
			scaleTo(t, f, 9)
			remove(t, f)
			f.cluster.Fail(func(w string) error {
				if w == write {
					return busy
				}
				return nil
			})
			f.clock.SetTime(f.object().DeletionTimestamp.Time)
			if _, err := f.tryReconcile(); !apierrors.IsTooManyRequests(err) {
				t.Errorf("error %v", err)
			}
			f.clock.Step(restorePatience)
			f.reconcile()
			gone(t, f)
		})
		t.Run("does not wait for "+what+" for want of permission", func(t *testing.T) {
			f := settled(t, newObject(restoring))
			scaleTo(t, f, 9)
			remove(t, f)
			f.cluster.Fail(func(w string) error {
				if w == write {
					return forbidden
				}
				return nil
			})
			f.clock.SetTime(f.object().DeletionTimestamp.Time)
			f.reconcile()
			gone(t, f)
		})
	}
	t.Run("does not wait for a kind that is gone from the cluster", func(t *testing.T) {
		f := settled(t, newObject(restoring))
		f.edit(func(so *v1alpha1.ScaledObject) { so.Spec.ScaleTargetRef.Kind = "Deploy" })
		remove(t, f)
		f.clock.SetTime(f.object().DeletionTimestamp.Time)
		f.reconcile()
		gone(t, f)
	})
	t.Run("restores again after a conflict", func(t *testing.T) {
		f := settled(t, newObject(restoring))
		scaleTo(t, f, 9)
		remove(t, f)
		f.cluster.Fail(func(write string) error {
			if strings.HasPrefix(write, "scale") {
				return testcluster.Conflict("worker")
			}
			return nil
		})
		if _, err := f.tryReconcile(); !apierrors.IsConflict(err) {
			t.Errorf("error %v", err)
		}
		f.cluster.Fail(nil)
		f.reconcile()
		gone(t, f)
	})
}
