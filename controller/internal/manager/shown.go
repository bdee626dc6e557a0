package manager

import (
	"context"
	"errors"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// shown are the Jobs and Pods of ScaledJobs as the cache has them. A client of the
// cache makes a copy of each that it lists.
type shown struct {
	mu         sync.Mutex
	jobs, pods []toolscache.SharedIndexInformer // one, or one for each namespace that is watched
}

// byScaledJob is the index of Jobs and Pods by their ScaledJob.
const byScaledJob = "sluice.dev/scaledJob"

// newInformer makes the informers of the cache.
func (s *shown) newInformer(
	from toolscache.ListerWatcher, of runtime.Object, resync time.Duration, indexers toolscache.Indexers,
) toolscache.SharedIndexInformer {
	informer := toolscache.NewSharedIndexInformer(from, of, resync, indexers)
	var into *[]toolscache.SharedIndexInformer
	switch of.(type) {
	case *batchv1.Job:
		into = &s.jobs
	case *corev1.Pod:
		into = &s.pods
	default:
		return informer
	}
	must(informer.AddIndexers(toolscache.Indexers{byScaledJob: func(o any) ([]string, error) {
		object, ok := o.(client.Object)
		if !ok {
			return nil, nil
		}
		return []string{ownerOf(object).String()}, nil
	}}))
	s.mu.Lock()
	defer s.mu.Unlock()
	*into = append(*into, informer)
	return informer
}

// Jobs implements scaledjob.Shown.
func (s *shown) Jobs(_ context.Context, of types.NamespacedName) ([]*batchv1.Job, error) {
	return ofScaledJob[batchv1.Job](s, &s.jobs, of)
}

// Pods implements scaledjob.Shown.
func (s *shown) Pods(_ context.Context, of types.NamespacedName) ([]*corev1.Pod, error) {
	return ofScaledJob[corev1.Pod](s, &s.pods, of)
}

var errNotShown = errors.New("the cache has not read them yet")

func ofScaledJob[T any](s *shown, from *[]toolscache.SharedIndexInformer, of types.NamespacedName) ([]*T, error) {
	s.mu.Lock()
	informers := *from
	s.mu.Unlock()
	if len(informers) == 0 {
		return nil, errNotShown
	}
	var all []*T
	for _, informer := range informers {
		if !informer.HasSynced() {
			return nil, errNotShown
		}
		found, err := informer.GetIndexer().ByIndex(byScaledJob, of.String())
		if err != nil {
			return nil, err
		}
		for _, object := range found {
			if one, ok := object.(*T); ok {
				all = append(all, one)
			}
		}
	}
	return all, nil
}
