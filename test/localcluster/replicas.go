package localcluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// ReplicaChange is one change of an object's spec.replicas.
type ReplicaChange struct {
	Kind, Namespace, Name string
	From, To              int32
	At                    time.Time // when the watch event arrived
}

// Object is the changed one as "namespace/name".
func (r ReplicaChange) Object() string { return r.Namespace + "/" + r.Name }

func (r ReplicaChange) String() string {
	return fmt.Sprintf("%s %s: %d -> %d at %s", r.Kind, r.Object(), r.From, r.To, r.At.Format("15:04:05.000"))
}

// ReplicaRecorder watches spec.replicas of all Deployments and StatefulSets. It
// runs until Stop.
type ReplicaRecorder struct {
	cluster *Cluster
	cancel  context.CancelFunc
	factory informers.SharedInformerFactory

	mu       sync.Mutex
	changes  []ReplicaChange
	versions map[string]uint64 // resourceVersion last seen, by kind and object
	wake     chan struct{}     // closed and renewed at each event
}

// RecordReplicas starts a recorder; what happens after its return is recorded.
func (c *Cluster) RecordReplicas(ctx context.Context) (*ReplicaRecorder, error) {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &ReplicaRecorder{
		cluster: c, cancel: cancel,
		factory:  informers.NewSharedInformerFactory(c.clientset, 0),
		versions: map[string]uint64{}, wake: make(chan struct{}),
	}
	for _, informer := range []cache.SharedIndexInformer{
		r.factory.Apps().V1().Deployments().Informer(),
		r.factory.Apps().V1().StatefulSets().Informer(),
	} {
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { r.see(nil, object) },
			UpdateFunc: r.see,
		})
		if err != nil {
			cancel()
			return nil, err
		}
		r.factory.Start(running.Done())
		if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
			r.Stop()
			return nil, fmt.Errorf("watch scale targets: %w", ctx.Err())
		}
	}
	return r, nil
}

// scaleTarget is what the recorder sees of an object.
type scaleTarget struct {
	kind     string
	meta     *metav1.ObjectMeta
	replicas int32
}

func scaleTargetOf(object any) (scaleTarget, bool) {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return scaleTarget{"Deployment", &o.ObjectMeta, orOne(o.Spec.Replicas)}, true
	case *appsv1.StatefulSet:
		return scaleTarget{"StatefulSet", &o.ObjectMeta, orOne(o.Spec.Replicas)}, true
	default:
		return scaleTarget{}, false
	}
}

func orOne(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

func (t scaleTarget) key() string { return t.kind + " " + t.meta.Namespace + "/" + t.meta.Name }

func (t scaleTarget) version() uint64 {
	version, _ := strconv.ParseUint(t.meta.ResourceVersion, 10, 64) // comparable since Kubernetes 1.35
	return version
}

// see records an event; before is nil for a new object.
func (r *ReplicaRecorder) see(before, after any) {
	now, known := scaleTargetOf(after)
	if !known {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if was, known := scaleTargetOf(before); known && was.replicas != now.replicas {
		r.changes = append(r.changes, ReplicaChange{
			Kind: now.kind, Namespace: now.meta.Namespace, Name: now.meta.Name,
			From: was.replicas, To: now.replicas, At: time.Now(),
		})
	}
	r.versions[now.key()] = now.version()
	close(r.wake)
	r.wake = make(chan struct{})
}

// Changes returns what was recorded until now, in the order of arrival.
func (r *ReplicaRecorder) Changes() []ReplicaChange {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.changes)
}

// CheckOnly proves that, up to this moment, spec.replicas changed on no object
// but those named as "namespace/name". It first waits until the recorder has
// seen every object as it is now. The error lists the other changes.
func (r *ReplicaRecorder) CheckOnly(ctx context.Context, allowed ...string) error {
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	var others []error
	for _, change := range r.Changes() {
		if !slices.Contains(allowed, change.Object()) {
			others = append(others, errors.New(change.String()))
		}
	}
	return errors.Join(others...)
}

// catchUp waits until nothing that the API has is unseen.
func (r *ReplicaRecorder) catchUp(ctx context.Context) error {
	deployments, err := r.cluster.clientset.AppsV1().Deployments("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	statefulSets, err := r.cluster.clientset.AppsV1().StatefulSets("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var live []scaleTarget
	for i := range deployments.Items {
		target, _ := scaleTargetOf(&deployments.Items[i])
		live = append(live, target)
	}
	for i := range statefulSets.Items {
		target, _ := scaleTargetOf(&statefulSets.Items[i])
		live = append(live, target)
	}
	for _, target := range live {
		if err := r.waitSeen(ctx, target); err != nil {
			return err
		}
	}
	return nil
}

func (r *ReplicaRecorder) waitSeen(ctx context.Context, target scaleTarget) error {
	for {
		r.mu.Lock()
		seen, wake := r.versions[target.key()], r.wake
		r.mu.Unlock()
		if seen >= target.version() {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return fmt.Errorf("watch of %s is behind: %w", target.key(), ctx.Err())
		}
	}
}

// Stop ends the recorder and waits for its watches.
func (r *ReplicaRecorder) Stop() {
	r.cancel()
	r.factory.Shutdown()
}
