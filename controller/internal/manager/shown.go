package manager

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/internal/authentication"
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
		return inNamespaces{informer}
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
	return inNamespaces{informer}
}

// inNamespaces is an informer whose indexes are asked within a namespace alone. The
// library keeps each key of a field a second time, for whoever asks of all
// namespaces: a map and two texts for each object and index.
type inNamespaces struct{ toolscache.SharedIndexInformer }

// acrossNamespaces are indexes that are asked of all namespaces, too.
var acrossNamespaces = []string{authentication.ByReference}

// AddIndexers implements toolscache.SharedIndexInformer.
func (i inNamespaces) AddIndexers(indexers toolscache.Indexers) error {
	all := maps.Clone(indexers)
	for name, keys := range all {
		if field, ok := strings.CutPrefix(name, "field:"); ok && !slices.Contains(acrossNamespaces, field) {
			all[name] = withinNamespace(keys)
		}
	}
	return i.SharedIndexInformer.AddIndexers(all)
}

// withinNamespace leaves out what is for whoever asks of all namespaces, as the
// library writes it. That of an object without a namespace is all there is.
func withinNamespace(keys toolscache.IndexFunc) toolscache.IndexFunc {
	return func(o any) ([]string, error) {
		found, err := keys(o)
		if object, ok := o.(client.Object); ok && object.GetNamespace() != "" {
			found = slices.DeleteFunc(found, func(key string) bool { return strings.HasPrefix(key, "__all_namespaces/") })
		}
		return found, err
	}
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
