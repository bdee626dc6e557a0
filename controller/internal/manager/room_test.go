package manager

import (
	"fmt"
	"runtime"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/kept/kepttest"
)

// defaultMemory is what the garbage collector keeps to by the manifests: nine of
// ten parts of 512 MiB.
const defaultMemory = 512 << 20 / 10 * 9

// tenth is which part of the objects, and of the memory, the test has.
const tenth = 10

// A budget refuses nobody who means no harm: a namespace of 10,000 ordinary
// objects, with their HPAs and Deployments, is kept whole by the memory that the
// manifests give, with what their triggers tell of variables, and there is room for
// others, of which one has a ScaledJob with 5,000 Jobs.
func TestTenThousandOrdinaryObjectsAreKept(t *testing.T) {
	workloads, objects, told := ofWorkloads(defaultMemory/tenth), ofUsers(defaultMemory/tenth), ofTold(defaultMemory/tenth)
	byObject := options(Options{Selector: labels.Everything(), AuthenticationSelector: labels.Everything(), Limits: v1alpha1.DefaultLimits}, federation.WorkloadsIn(workloads), objects).Cache.ByObject
	transform := map[string]func(any) (any, error){}
	for o, by := range byObject {
		transform[fmt.Sprintf("%T", o)] = by.Transform
	}
	var all []any
	keep := func(o client.Object) {
		t.Helper()
		got, err := transform[fmt.Sprintf("%T", o)](o)
		if err != nil || kept.Why(o) != "" {
			t.Fatalf("%s: %v, %s", o.GetName(), err, kept.Why(o))
		}
		all = append(all, got)
	}
	for namespace, n := range map[string]int{"other": 1_000 / tenth, "shop": 10_000 / tenth} {
		for i := range n {
			so, hpa := kepttest.Ordinary(t, namespace, i)
			keep(so)
			keep(hpa)
			deployment := kepttest.Deployment(namespace, i)
			keep(deployment)
			triggers := federation.TriggersOf(so, federation.Workload{Template: &deployment.Spec.Template})
			for j := range triggers {
				if !triggers[j].Hold(told) {
					t.Fatalf("%s: %v", so.Name, triggers[j].Unread)
				}
			}
			all = append(all, triggers)
		}
	}
	controls := true
	for i := range 5_000 / tenth {
		meta := metav1.ObjectMeta{
			Namespace: "batch", Name: fmt.Sprint("batch-0123456789-", i), UID: types.UID(fmt.Sprintf("%036d", i)), ResourceVersion: fmt.Sprintf("%010d", i),
			Labels:          map[string]string{v1alpha1.LabelScaledJobName: "batch"},
			Annotations:     map[string]string{v1alpha1.AnnotationScaledJobGeneration: "1"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ScaledJob", UID: types.UID(fmt.Sprintf("%036d", 0)), Controller: &controls}},
		}
		keep(&batchv1.Job{ObjectMeta: meta, Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}}})
		meta.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", UID: meta.UID, Controller: &controls}}
		keep(&corev1.Pod{ObjectMeta: meta, Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: make([]corev1.PodCondition, 5)}})
	}
	if got := workloads.Used("shop") * tenth; got > federation.MostOfWorkloads {
		t.Errorf("10,000 Deployments take %d MiB", got>>20)
	}
	t.Logf("%d MiB are told by 10,000 objects, and 5,000 Jobs and their Pods take %d MiB", told.Used("shop")*tenth>>20, objects.Used("batch")*tenth>>20)
	runtime.KeepAlive(all)
}

// All budgets together leave what the process needs beside them, and one namespace
// has 10,000 ordinary triggers: the sizes are those of the manifests.
func TestBudgetsLeaveAReserve(t *testing.T) {
	const ofProcess = 64 << 20
	sum := 0
	for _, part := range []part{partOfSubscriptions, partOfUsers, partOfWorkloads, partOfOtherKinds, partOfTold, partOfAccounts} {
		sum += part.of(defaultMemory)
	}
	if left := defaultMemory - sum; left < ofProcess {
		t.Errorf("all budgets together leave %d MiB of %d", left>>20, defaultMemory>>20)
	}
	const ordinary = federation.SubscriptionBytes + 400 // with its parameters
	if most := 10_000; kept.Left(ofSubscriptions(defaultMemory), 0, 0) < most*ordinary {
		t.Errorf("%d MiB have no room for the %d triggers of a namespace", ofSubscriptions(defaultMemory)>>20, most)
	}
}

// BenchmarkKept is what an event of an object costs beside decoding it.
func BenchmarkKept(b *testing.B) {
	unbounded := kept.New(kept.Unbounded, kept.Unbounded)
	transform := keptObject(Options{Limits: v1alpha1.DefaultLimits}, unbounded, "ScaledObject", (*v1alpha1.ScaledObject).Stub)
	so, _ := kepttest.Ordinary(b, "shop", 1)
	b.Run("copy", func(b *testing.B) {
		for b.Loop() {
			so.DeepCopy()
		}
	})
	b.Run("size", func(b *testing.B) {
		for b.Loop() {
			kept.Size(so)
		}
	})
	b.Run("transform", func(b *testing.B) {
		for b.Loop() {
			if _, err := transform(so.DeepCopy()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
