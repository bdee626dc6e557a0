package ui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/families"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/top"
)

const (
	// largest is the largest object that is shown, in bytes, and mostBytes what all
	// may have that is kept of them. Of those beyond it the name is shown.
	largest   = 256 << 10
	mostBytes = 256 << 20
	// mostObjects is how many objects, and how many HPAs, are kept.
	mostObjects = 100_000
	// measuredEvery is how often a controller is asked for cold starts: a way
	// through the API server is made for it each time.
	measuredEvery = 20 * time.Second
)

// watched are the resources that rows are made of.
var watched = map[schema.GroupVersionResource]func() client.Object{
	v1alpha1.GroupVersion.WithResource("scaledobjects"):                       func() client.Object { return &v1alpha1.ScaledObject{} },
	v1alpha1.GroupVersion.WithResource("scaledjobs"):                          func() client.Object { return &v1alpha1.ScaledJob{} },
	autoscalingv2.SchemeGroupVersion.WithResource("horizontalpodautoscalers"): func() client.Object { return &autoscalingv2.HorizontalPodAutoscaler{} },
}

// Watch keeps rows as a cluster has them, of one namespace or, with "", of all,
// until the context ends.
func Watch(ctx context.Context, cluster dynamic.Interface, namespace string, rows *Rows) {
	w := newWatcher(rows)
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(cluster, 0, namespace, nil)
	var synced []cache.InformerSynced
	for resource, empty := range watched {
		informer := factory.ForResource(resource).Informer()
		// Neither fails before the informer has started.
		_ = informer.SetTransform(func(object any) (any, error) { return w.decode(object, empty()), nil })
		_ = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
			rows.Trouble(resource.Resource, refusal(resource, namespace, err))
		})
		handled, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { w.set(object); rows.Trouble(resource.Resource, "") },
			UpdateFunc: func(_, object any) { w.set(object); rows.Trouble(resource.Resource, "") },
			DeleteFunc: w.remove,
		})
		if err == nil {
			synced = append(synced, handled.HasSynced)
		}
	}
	factory.Start(ctx.Done())
	if cache.WaitForCacheSync(ctx.Done(), synced...) {
		rows.Complete()
	}
	<-ctx.Done()
	factory.Shutdown()
}

// refusal says why a resource cannot be watched.
func refusal(resource schema.GroupVersionResource, namespace string, err error) string {
	name := resource.Resource
	if resource.Group != "" {
		name += "." + resource.Group
	}
	switch {
	case errors.Is(err, context.Canceled):
		return ""
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("this cluster has no %s: it has neither Sluice nor KEDA", name)
	case apierrors.IsForbidden(err) && namespace == "":
		return fmt.Sprintf("you may not list and watch %s in all namespaces; -n shows one", name)
	}
	return fmt.Sprintf("%s: %v", name, err)
}

// Measure has a controller tell of cold starts, again and again, until the context
// ends.
func Measure(ctx context.Context, ask func(context.Context) (*account.ColdStarts, error), rows *Rows) {
	for ctx.Err() == nil {
		asking, cancel := context.WithTimeout(ctx, readTime)
		told, err := ask(asking)
		cancel()
		switch {
		case err == nil:
			rows.Measured(told)
			rows.Trouble("cold starts", "")
		case ctx.Err() == nil:
			rows.Trouble("cold starts", "cold starts are not known: "+err.Error())
		}
		if wait(ctx, measuredEvery) != nil {
			return
		}
	}
}

// decode is an object without what nobody looks at. What makes no sense, is too
// large, or has no room is one of which only the name is known.
func (w *watcher) decode(from any, into client.Object) any {
	item, is := from.(*unstructured.Unstructured)
	if !is {
		return from
	}
	name := metav1.ObjectMeta{Namespace: item.GetNamespace(), Name: item.GetName(), ResourceVersion: item.GetResourceVersion(), UID: item.GetUID()}
	text, err := json.Marshal(item.Object)
	if err == nil && len(text) <= largest && json.Unmarshal(text, into) == nil && w.room(name.UID, trim(into)) {
		return into
	}
	w.room(name.UID, 0)
	switch o := into.(type) {
	case *v1alpha1.ScaledObject:
		*o = v1alpha1.ScaledObject{ObjectMeta: name}
	case *v1alpha1.ScaledJob:
		*o = v1alpha1.ScaledJob{ObjectMeta: name}
	case *autoscalingv2.HorizontalPodAutoscaler:
		*o = autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: name}
	}
	return into
}

// trim takes off what no row is made of, and returns how much there is left, in
// bytes.
func trim(object client.Object) int {
	object.SetAnnotations(nil)
	object.SetLabels(nil)
	object.SetManagedFields(nil)
	object.SetOwnerReferences(nil)
	object.SetFinalizers(nil)
	switch o := object.(type) {
	case *v1alpha1.ScaledObject:
		o.Spec.Triggers = typesOf(o.Spec.Triggers)
	case *v1alpha1.ScaledJob:
		o.Spec.Triggers = typesOf(o.Spec.Triggers)
		o.Spec.JobTargetRef = nil
	}
	text, err := json.Marshal(object)
	if err != nil {
		return mostBytes // it was decoded from such a text
	}
	return len(text)
}

func typesOf(triggers []v1alpha1.ScaleTrigger) []v1alpha1.ScaleTrigger {
	kept := make([]v1alpha1.ScaleTrigger, len(triggers))
	for i := range triggers {
		kept[i].Type = triggers[i].Type
	}
	return kept
}

// room says whether an object may have so many bytes, in place of those that it had.
func (w *watcher) room(uid types.UID, bytes int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := w.bytes - w.kept[uid]
	fits := rest+bytes <= mostBytes
	if !fits {
		bytes = 0
		w.short()
	}
	w.bytes, w.kept[uid] = rest+bytes, bytes
	return fits
}

// short says that not everything is shown.
func (w *watcher) short() {
	w.rows.Trouble("room", "there is more here than this page has room for; of some objects the name alone is shown, or nothing: -n shows one namespace")
}

// watcher puts objects and their HPAs together.
type watcher struct {
	rows *Rows

	mu     sync.Mutex
	bytes  int               // of all that is kept
	kept   map[types.UID]int // of each
	scaled map[string]client.Object
	hpas   map[[2]string]*autoscalingv2.HorizontalPodAutoscaler
	owners map[[2]string]string // of HPAs, by namespace and name: the object's key
}

func newWatcher(rows *Rows) *watcher {
	return &watcher{
		rows: rows, kept: map[types.UID]int{}, scaled: map[string]client.Object{},
		hpas: map[[2]string]*autoscalingv2.HorizontalPodAutoscaler{}, owners: map[[2]string]string{},
	}
}

func (w *watcher) set(object any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch o := object.(type) {
	case *v1alpha1.ScaledObject:
		key := keyOf(account.ScaledObject, o)
		if w.full(len(w.scaled), w.scaled[key] != nil) {
			return
		}
		if before, there := w.scaled[key].(*v1alpha1.ScaledObject); there && hpaOf(before) != hpaOf(o) {
			delete(w.owners, hpaOf(before))
		}
		w.scaled[key], w.owners[hpaOf(o)] = o, key
		w.tell(key)
	case *v1alpha1.ScaledJob:
		key := keyOf(account.ScaledJob, o)
		if w.full(len(w.scaled), w.scaled[key] != nil) {
			return
		}
		w.scaled[key] = o
		w.tell(key)
	case *autoscalingv2.HorizontalPodAutoscaler:
		id := [2]string{o.Namespace, o.Name}
		if w.full(len(w.hpas), w.hpas[id] != nil) {
			return
		}
		w.hpas[id] = o
		w.tell(w.owners[id])
	}
}

// full says whether there is no room for one more.
func (w *watcher) full(there int, has bool) bool {
	if has || there < mostObjects {
		return false
	}
	w.short()
	return true
}

func (w *watcher) remove(object any) {
	if last, is := object.(cache.DeletedFinalStateUnknown); is {
		object = last.Obj
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if o, is := object.(client.Object); is {
		w.bytes -= w.kept[o.GetUID()]
		delete(w.kept, o.GetUID())
	}
	switch o := object.(type) {
	case *v1alpha1.ScaledObject:
		key := keyOf(account.ScaledObject, o)
		delete(w.owners, hpaOf(o))
		delete(w.scaled, key)
		w.rows.Delete(key)
	case *v1alpha1.ScaledJob:
		key := keyOf(account.ScaledJob, o)
		delete(w.scaled, key)
		w.rows.Delete(key)
	case *autoscalingv2.HorizontalPodAutoscaler:
		id := [2]string{o.Namespace, o.Name}
		delete(w.hpas, id)
		w.tell(w.owners[id])
	}
}

// tell makes the row of an object anew.
func (w *watcher) tell(key string) {
	row, point := Row{Key: key}, Point{Time: time.Now()}
	var triggers []v1alpha1.ScaleTrigger
	scaled := &objects.Scaled{}
	switch o := w.scaled[key].(type) {
	case *v1alpha1.ScaledObject:
		scaled.ScaledObjects = []*v1alpha1.ScaledObject{o}
		if hpa := w.hpas[hpaOf(o)]; hpa != nil {
			scaled.HPAs = []*autoscalingv2.HorizontalPodAutoscaler{hpa}
		}
		triggers = o.Spec.Triggers
	case *v1alpha1.ScaledJob:
		scaled.ScaledJobs = []*v1alpha1.ScaledJob{o}
		triggers = o.Spec.Triggers
	default:
		return
	}
	row.Row = top.Rows(scaled)[0]
	named, served := map[string]bool{}, map[string]bool{}
	for _, t := range triggers {
		named[t.Type] = true
		if f := families.Of(t.Type); f != nil {
			served[f.Name] = true
		}
	}
	row.Types, row.Families = slices.Sorted(maps.Keys(named)), slices.Sorted(maps.Keys(served))
	point.Backlog, point.Replicas, point.Desired = row.Backlog, row.Replicas, row.Desired
	if row.Backlog != nil && row.Load != nil && *row.Load > 0 {
		target := *row.Backlog / *row.Load
		point.Target = &target
	}
	w.rows.Set(row, point)
}

func keyOf(kind string, o client.Object) string {
	return kind + "/" + o.GetNamespace() + "/" + o.GetName()
}

func hpaOf(so *v1alpha1.ScaledObject) [2]string {
	name := so.Status.HpaName
	if name == "" {
		name = so.HPAName()
	}
	return [2]string{so.Namespace, name}
}
