package scaledjob

import (
	"context"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/kept"
)

// readAtOnce is how many Jobs and Pods one reconcile reads that the cache had no
// room for.
const readAtOnce = 100

// reread is a Job or Pod that the cache had no room for when it was of a version.
type reread struct {
	uid     types.UID
	version string
	object  client.Object
}

// whole puts in place of those Jobs or Pods that the cache had no room for what
// is read of them once there is. It fails while there are others: unknown ones are
// not none.
func whole[T any, O interface {
	*T
	client.Object
}](ctx context.Context, r *Reconciler, l *ledger, kind string, items []O, get func(context.Context, O) error) error {
	read, left := map[string]reread{}, readAtOnce
	var unknown int
	var why string
	for i := range items {
		stub := items[i]
		if kept.Why(stub) == "" {
			continue
		}
		name := kind + "/" + stub.GetName()
		known := l.read[name]
		if known.uid != stub.GetUID() || known.version != stub.GetResourceVersion() {
			known = reread{uid: stub.GetUID(), version: stub.GetResourceVersion()}
			if left > 0 && r.Room != nil && r.Room(stub.GetNamespace()) {
				left--
				known.object = readOne(ctx, r, stub, get)
			}
		}
		object, ok := known.object.(O)
		if !ok || object == nil {
			unknown, why = unknown+1, kept.Why(stub)
			continue
		}
		read[name], items[i] = known, object
	}
	for name, of := range l.read {
		if !strings.HasPrefix(name, kind+"/") {
			read[name] = of
		}
	}
	l.read = read
	if unknown > 0 {
		return fmt.Errorf("%d of its %ss are not known, and none is started: %s", unknown, kind, why)
	}
	return nil
}

// readOne reads an object from the API server, nil where that fails or there is no
// room for it, either.
func readOne[T any, O interface {
	*T
	client.Object
}](ctx context.Context, r *Reconciler, stub O, get func(context.Context, O) error) client.Object {
	object := O(new(T))
	object.SetNamespace(stub.GetNamespace())
	object.SetName(stub.GetName())
	if get(ctx, object) != nil || object.GetUID() != stub.GetUID() {
		return nil
	}
	if _, err := r.Strip(object); err != nil || kept.Why(object) != "" {
		return nil
	}
	return object
}

func (r *Reconciler) getJob(ctx context.Context, job *batchv1.Job) error {
	return r.Direct.Get(ctx, client.ObjectKeyFromObject(job), job)
}

// getPod reads a Pod: the controller has the right to list them alone.
func (r *Reconciler) getPod(ctx context.Context, pod *corev1.Pod) error {
	var one corev1.PodList
	err := r.Direct.List(ctx, &one, client.InNamespace(pod.Namespace), client.MatchingFields{byName: pod.Name})
	if err == nil && len(one.Items) == 1 {
		*pod = one.Items[0]
	}
	return err
}

const byName = "metadata.name"
