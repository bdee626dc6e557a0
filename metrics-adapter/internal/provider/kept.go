package provider

import (
	"fmt"
	"runtime"
	"sync"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/federation"
)

// Kept counts what caches hold of workloads and HPAs, scaled by us or not, for as
// long as they do: whoever may write them decides how many there are.
type Kept struct {
	// OfOne and InAll are how many bytes there may be, of a namespace and in all.
	OfOne, InAll int

	mu      sync.Mutex
	objects map[types.UID]keptObject
	of      map[string]int // bytes by namespace
	all     int
	last    uint64
}

// keptObject is the newest state of an object.
type keptObject struct {
	namespace string
	bytes     int
	state     uint64
}

// perObject is what an object takes beside what is counted of it.
const perObject = 1 << 10

// Workload is a transform for caches: federation.StripWorkload, and of workloads
// for which there is no room the replicas alone.
func (k *Kept) Workload(object any) (any, error) {
	stripped, err := federation.StripWorkload(object)
	o, ok := stripped.(client.Object)
	if err != nil || !ok {
		return stripped, err
	}
	_, template := federation.ReadWorkload(o)
	if template == nil {
		return stripped, nil
	}
	state, ok := k.hold(o, readTarget{template: template}.size())
	if !ok {
		federation.CutWorkload(o, fmt.Sprintf("the variables of all workloads of the namespace have more than %d bytes, or those of all namespaces more than %d", k.OfOne, k.InAll))
		return stripped, nil
	}
	runtime.AddCleanup(template, k.free, stateOf{o.GetUID(), state})
	return stripped, nil
}

// HPA is a transform for caches: StripHPA, and of HPAs for which there is no room
// no metrics.
func (k *Kept) HPA(object any) (any, error) {
	stripped, err := StripHPA(object)
	hpa, ok := stripped.(*autoscalingv2.HorizontalPodAutoscaler)
	if err != nil || !ok {
		return stripped, err
	}
	bytes := 0
	for _, m := range hpa.Spec.Metrics {
		bytes += perTrigger + len(m.External.Metric.Name)
	}
	state, ok := k.hold(hpa, bytes)
	if !ok {
		hpa.Spec.Metrics = nil
		return hpa, nil
	}
	runtime.AddCleanup(hpa, k.free, stateOf{hpa.UID, state})
	return hpa, nil
}

// hold counts an object in place of its earlier states. It is false when there is
// no room for it.
func (k *Kept) hold(o client.Object, bytes int) (state uint64, ok bool) {
	bytes += perObject
	namespace := o.GetNamespace()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(o.GetUID())
	if k.of[namespace]+bytes > k.OfOne || k.all+bytes > k.InAll {
		return 0, false
	}
	if k.objects == nil {
		k.objects, k.of = map[types.UID]keptObject{}, map[string]int{}
	}
	k.last++
	k.objects[o.GetUID()] = keptObject{namespace, bytes, k.last}
	k.of[namespace] += bytes
	k.all += bytes
	return k.last, true
}

// stateOf is one state of an object.
type stateOf struct {
	object types.UID
	state  uint64
}

// free is called when nobody holds a state any more.
func (k *Kept) free(s stateOf) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.objects[s.object].state == s.state {
		k.drop(s.object)
	}
}

// drop counts an object no longer; k.mu is held.
func (k *Kept) drop(uid types.UID) {
	o, found := k.objects[uid]
	if !found {
		return
	}
	delete(k.objects, uid)
	k.all -= o.bytes
	if k.of[o.namespace] -= o.bytes; k.of[o.namespace] == 0 {
		delete(k.of, o.namespace)
	}
}
