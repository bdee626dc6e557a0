package target

import (
	"context"
	"fmt"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
)

const (
	// askAgain is how often it is asked whether a kind may be watched by now.
	askAgain = time.Minute
	// keptFor is how long a kind is watched after it was last asked for. Every
	// object that has such a target asks several times a minute.
	keptFor = 10 * time.Minute
)

// Kinds watches the kinds of targets that few objects have, such as Rollout:
// each from the first time that it is asked for, where the controller may list
// and watch it, until nothing has such a target any more.
type Kinds struct {
	Cache cache.Cache
	// Client asks what the controller may do.
	Client client.Client
	// Namespaces limits where targets are; empty is everywhere.
	Namespaces []string
	// Changed is called when a target came, went or changed. It must not block.
	Changed func(types.NamespacedName)
	Now     func() time.Time

	mu    sync.Mutex
	kinds map[schema.GroupVersionKind]*kind
}

// kind is one that was asked for.
type kind struct {
	informer cache.Informer // nil while it may not be watched
	asked    time.Time      // when it was last asked whether it may be
	used     time.Time
}

// get reads a target from the cache. found is false when its kind is not
// watched or not yet read.
func (k *Kinds) get(ctx context.Context, t Target) (object client.Object, found bool, err error) {
	informer := k.informer(ctx, t.GVKR)
	if informer == nil || !informer.HasSynced() {
		return nil, false, nil
	}
	object = ofKind(t.gvk())
	return object, true, k.Cache.Get(ctx, t.Key, object)
}

// informer is the one of a kind, nil while it may not be watched.
func (k *Kinds) informer(ctx context.Context, resource v1alpha1.GroupVersionKindResource) cache.Informer {
	gvk, now := resource.GVK(), k.Now()
	k.mu.Lock()
	known := k.kinds[gvk]
	if known == nil {
		known = &kind{}
		if k.kinds == nil {
			k.kinds = map[schema.GroupVersionKind]*kind{}
		}
		k.kinds[gvk] = known
	}
	known.used = now
	informer, due := known.informer, known.informer == nil && (known.asked.IsZero() || now.Sub(known.asked) >= askAgain)
	if due {
		known.asked = now
	}
	k.mu.Unlock()
	if !due || !k.allowed(ctx, resource) {
		return informer
	}
	informer, err := k.watch(ctx, gvk)
	if err != nil {
		return nil // read directly, and tried again
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	known.informer = informer
	return informer
}

// allowed reports whether the controller may list and watch a resource
// wherever there are targets.
func (k *Kinds) allowed(ctx context.Context, resource v1alpha1.GroupVersionKindResource) bool {
	namespaces := k.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, namespace := range namespaces {
		for _, verb := range []string{"list", "watch"} {
			ok, err := allowed(ctx, k.Client, resource, authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb})
			if err != nil || !ok {
				return false
			}
		}
	}
	return true
}

func (k *Kinds) watch(ctx context.Context, gvk schema.GroupVersionKind) (cache.Informer, error) {
	informer, err := k.Cache.GetInformer(ctx, ofKind(gvk), cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: k.tell,
		UpdateFunc: func(before, after any) {
			if specChanged(before, after) {
				k.tell(after)
			}
		},
		DeleteFunc: k.tell,
	})
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", gvk.Kind, err)
	}
	return informer, nil
}

// tell passes on that an object came, went or changed.
func (k *Kinds) tell(o any) {
	if last, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = last.Obj
	}
	if object, ok := o.(client.Object); ok {
		k.Changed(client.ObjectKeyFromObject(object))
	}
}

// specChanged reports whether more than the status changed, as far as the
// generation tells.
func specChanged(before, after any) bool {
	a, ok := before.(client.Object)
	b, ok2 := after.(client.Object)
	return !ok || !ok2 || a.GetGeneration() != b.GetGeneration() || b.GetGeneration() == 0
}

// Start ends the watches that nobody needs any more, until ctx is done. The
// cache ends the others.
func (k *Kinds) Start(ctx context.Context) error {
	tick := time.NewTicker(keptFor)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := k.sweep(ctx); err != nil {
				return err
			}
		}
	}
}

// NeedLeaderElection tells controller-runtime that standbys watch, too.
func (k *Kinds) NeedLeaderElection() bool { return false }

func (k *Kinds) sweep(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for gvk, known := range k.kinds {
		if k.Now().Sub(known.used) < keptFor {
			continue
		}
		delete(k.kinds, gvk)
		if known.informer == nil {
			continue
		}
		if err := k.Cache.RemoveInformer(ctx, ofKind(gvk)); err != nil {
			return fmt.Errorf("stop watching %s: %w", gvk, err)
		}
	}
	return nil
}

// ofKind is an empty object of a kind, with a Go type where it has one.
func ofKind(gvk schema.GroupVersionKind) client.Object {
	if object := federation.NewWorkload(gvk); object != nil {
		object.GetObjectKind().SetGroupVersionKind(gvk)
		return object
	}
	return untyped(gvk)
}

func untyped(gvk schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u
}
