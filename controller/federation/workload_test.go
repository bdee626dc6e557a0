package federation

import (
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/kept"
)

func TestStripWorkload(t *testing.T) {
	meta := metav1.ObjectMeta{
		Name: "worker", Namespace: "shop", UID: "1", ResourceVersion: "5", Generation: 2,
		Labels:        map[string]string{"app": "worker"},
		Annotations:   map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
	}
	container := corev1.Container{
		Name:    "app",
		Env:     []corev1.EnvVar{{Name: "URL", Value: "amqp://localhost"}},
		EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
		},
	}
	full := container
	full.Image, full.Args, full.ReadinessProbe = "worker:1", []string{"--serve"}, &corev1.Probe{}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "worker"}}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "worker"}},
		Spec: corev1.PodSpec{
			ServiceAccountName: "worker", Containers: []corev1.Container{full}, Volumes: []corev1.Volume{{Name: "data"}},
		},
	}
	keptMeta := metav1.ObjectMeta{Name: "worker", Namespace: "shop", UID: "1", ResourceVersion: "5", Generation: 2}
	kept := corev1.PodTemplateSpec{Spec: corev1.PodSpec{ServiceAccountName: "worker", Containers: []corev1.Container{container}}}
	for name, tt := range map[string]struct{ whole, want client.Object }{
		"Deployment": {
			&appsv1.Deployment{
				ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](3), Selector: selector, Template: template},
				Status: appsv1.DeploymentStatus{Replicas: 3},
			},
			&appsv1.Deployment{ObjectMeta: keptMeta, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](3), Template: kept}, Status: appsv1.DeploymentStatus{Replicas: 3}},
		},
		"StatefulSet": {
			&appsv1.StatefulSet{
				ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template, ServiceName: "worker"},
				Status: appsv1.StatefulSetStatus{Replicas: 3},
			},
			&appsv1.StatefulSet{ObjectMeta: keptMeta, Spec: appsv1.StatefulSetSpec{Template: kept}, Status: appsv1.StatefulSetStatus{Replicas: 3}},
		},
		"ReplicaSet": {
			&appsv1.ReplicaSet{
				ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](0), Selector: selector, Template: template},
				Status: appsv1.ReplicaSetStatus{Replicas: 3},
			},
			&appsv1.ReplicaSet{ObjectMeta: keptMeta, Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](0), Template: kept}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := NewWorkloads().Strip(tt.whole)
			if err != nil || !apiequality.Semantic.DeepEqual(got, tt.want) {
				t.Errorf("kept %+v, %v", got, err)
			}
		})
	}
	last := cache.DeletedFinalStateUnknown{Key: "shop/worker"}
	if got, err := NewWorkloads().Strip(last); err != nil || got != last {
		t.Errorf("of one deleted unseen: %v, %v", got, err)
	}
}

var secretVariable = corev1.EnvVar{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{}}}

// What is counted for the parts of a workload is what they take, whichever way the
// libraries change.
func TestPartsOfWorkloadsCostWhatTheyTake(t *testing.T) {
	optional := uintptr(8) // of a reference: a pointer's target
	for _, tt := range []struct {
		what  string
		cost  int
		takes uintptr
	}{
		{"a variable", costOfVariable, reflect.TypeFor[corev1.EnvVar]().Size()},
		{"where it is from", costOfSource, reflect.TypeFor[corev1.EnvVarSource]().Size()},
		{"a source", costOfSource, reflect.TypeFor[corev1.EnvFromSource]().Size()},
		{"a key of a Secret", costOfReference, reflect.TypeFor[corev1.SecretKeySelector]().Size() + optional},
		{"a key of a ConfigMap", costOfReference, reflect.TypeFor[corev1.ConfigMapKeySelector]().Size() + optional},
		{"a Secret", costOfReference, reflect.TypeFor[corev1.SecretEnvSource]().Size() + optional},
		{"a container", costOfContainer, reflect.TypeFor[corev1.Container]().Size()},
		{"a quantity", costOfQuantity, reflect.TypeFor[resource.Quantity]().Size() + 2*16},
	} {
		if tt.cost < int(tt.takes) {
			t.Errorf("%s takes %d bytes, and %d are counted", tt.what, tt.takes, tt.cost)
		}
	}
	// A variable from a Secret was counted as 64 bytes and took three times that.
	const n = 5000
	containers := []corev1.Container{{Env: make([]corev1.EnvVar, n)}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range n {
		v := secretVariable.DeepCopy()
		v.ValueFrom.SecretKeyRef.Optional = ptr.To(i == 0)
		containers[0].Env[i] = *v
	}
	kept, bytes, err := stripContainers(containers)
	runtime.ReadMemStats(&after)
	if took := int(after.TotalAlloc-before.TotalAlloc) / 2; err != nil || bytes < took/2 { // decoded and kept
		t.Errorf("%d variables are counted as %d bytes, and %d were allocated, %v", len(kept[0].Env), bytes, took, err)
	}
}

// Of where a variable is from is kept what somebody here reads.
func TestPlacesThatNobodyReadsAreNotKept(t *testing.T) {
	field := corev1.EnvVar{Name: "NODE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: strings.Repeat("x", 1000)}}}
	both := corev1.EnvVar{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "k"}, FieldRef: field.ValueFrom.FieldRef}}
	kept, bytes, err := stripContainers([]corev1.Container{{Env: []corev1.EnvVar{field, both}}})
	if err != nil || bytes > costOfContainer+2*costOfVariable+costOfSource+costOfReference+100 {
		t.Errorf("%d bytes are counted, %v", bytes, err)
	}
	if env := kept[0].Env; env[0].ValueFrom == nil || env[0].ValueFrom.FieldRef != nil || env[1].ValueFrom.SecretKeyRef == nil || env[1].ValueFrom.FieldRef != nil {
		t.Errorf("kept %+v", env)
	}
}

// What all workloads of a namespace take is bounded: those beyond it are without
// their containers, and say whose they are and how much that is.
func TestWorkloadsOfANamespaceAreBounded(t *testing.T) {
	w := NewWorkloads()
	var all []client.Object
	cut := func(namespace string, i int) error {
		t.Helper()
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint(i)}}
		d.Spec.Template.Spec.Containers = []corev1.Container{{Env: []corev1.EnvVar{{Value: strings.Repeat("x", 900<<10)}}}}
		if _, err := w.Strip(d); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
		return Cut(d)
	}
	const most = MostOfWorkloads / (900 << 10)
	for i := range 2 * most {
		if err := cut("flood", i); (err != nil) != (i >= most) {
			t.Fatalf("workload %d: %v", i, err)
		}
	}
	if err := Cut(all[most]); !strings.Contains(err.Error(), "namespace flood take 63 MiB of the 64 MiB") {
		t.Errorf("it is told %v", err)
	}
	if err := cut("shop", 0); err != nil {
		t.Errorf("another namespace: %v", err)
	}
	other := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"namespace": "flood", "name": "crew"},
		"spec":     map[string]any{"replicas": int64(3), "template": map[string]any{"x": strings.Repeat("x", 250<<10), "y": make([]any, 4000)}},
	}}
	if got, err := w.StripOthers(other); err != nil || Cut(got.(client.Object)) == nil {
		t.Errorf("an object of another kind: %v, %.200v", err, got)
	}
	runtime.KeepAlive(all)
}

// What is counted for a workload is so for as long as somebody has its containers,
// as one who reads a cache without copying does.
func TestWorkloadsCountWhileTheirContainersAreHeld(t *testing.T) {
	budget := kept.New(MostOfWorkloads, kept.Unbounded)
	read := func() corev1.PodTemplateSpec {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker"}}
		d.Spec.Template.Spec.Containers = []corev1.Container{{Env: []corev1.EnvVar{{Value: strings.Repeat("x", 100<<10)}}}}
		if _, err := WorkloadsIn(budget).Strip(d); err != nil {
			t.Fatal(err)
		}
		return d.Spec.Template
	}
	template := read()
	// Cleanups run one after the other: once that of a later object ran, that of the
	// workload itself would have.
	ran := make(chan struct{})
	runtime.AddCleanup(&corev1.Container{}, func(done chan struct{}) { close(done) }, ran)
	for waiting := true; waiting; {
		runtime.GC()
		select {
		case <-ran:
			waiting = false
		case <-time.After(time.Millisecond):
		}
	}
	runtime.GC()
	if got := budget.Used("shop"); got < 100<<10 {
		t.Errorf("%d bytes are counted of containers that are held", got)
	}
	runtime.KeepAlive(template)
	for late := time.Now().Add(30 * time.Second); budget.Used("shop") != 0; runtime.GC() {
		if time.Now().After(late) {
			t.Fatalf("%d bytes are counted of what is gone", budget.Used("shop"))
		}
	}
}

// A list that is streamed passes a transform twice. What the first pass has left out
// is not there for the second, which still says so.
func TestTransformsOfWorkloadsMayRunTwice(t *testing.T) {
	deployment := func(bytes int) *appsv1.Deployment {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker"}}
		d.Spec.Template.Spec.Containers = []corev1.Container{{Env: []corev1.EnvVar{{Value: strings.Repeat("x", bytes)}}}}
		return d
	}
	other := func(bytes int) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"metadata": map[string]any{"namespace": "shop", "name": "crew"},
			"spec": map[string]any{"replicas": int64(3), "template": map[string]any{
				"spec": map[string]any{"containers": []any{map[string]any{"name": "app", "image": strings.Repeat("x", bytes)}}}}},
		}}
	}
	for name, tt := range map[string]struct {
		budget, bytes int
		cut, noRoom   bool
	}{
		"whole":     {budget: 1 << 20, bytes: 1000},
		"too large": {budget: 8 << 20, bytes: 2 << 20, cut: true},
		"no room":   {budget: 2 << 10, bytes: 100 << 10, cut: true, noRoom: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := WorkloadsIn(kept.New(tt.budget, kept.Unbounded))
			for kind, strip := range map[string]func() (any, error){
				"Deployment": func() (any, error) {
					first, err := w.Strip(deployment(tt.bytes))
					if err != nil {
						return nil, err
					}
					return w.Strip(first)
				},
				"another kind": func() (any, error) {
					first, err := w.StripOthers(other(tt.bytes))
					if err != nil {
						return nil, err
					}
					return w.StripOthers(first)
				},
			} {
				twice, err := strip()
				if err != nil {
					t.Fatal(err)
				}
				o := twice.(client.Object)
				if (Cut(o) != nil) != tt.cut || NoRoom(o) != tt.noRoom {
					t.Errorf("%s: %v, no room %v", kind, Cut(o), NoRoom(o))
				}
			}
		})
	}
	marked := deployment(1000)
	marked.Annotations = map[string]string{"sluice.dev/cut": "by a user", "sluice.dev/no-room": ""}
	if got, err := NewWorkloads().Strip(marked); err != nil || Cut(got.(client.Object)) != nil {
		t.Errorf("a user says what is cut: %v", Cut(got.(client.Object)))
	}
}

// Empty values are 3 bytes of JSON, and much more once they are decoded.
func TestEmptyValuesOfOtherKindsAreNotKept(t *testing.T) {
	empty := make([]any, 50_000)
	for i := range empty {
		empty[i] = []any{}
	}
	got, err := NewWorkloads().StripOthers(&unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"replicas": int64(3), "template": map[string]any{"x": empty}}}})
	if err != nil || Cut(got.(client.Object)) == nil {
		t.Errorf("%d empty lists are kept, %v", len(empty), err)
	}
}

// Objects of tenants in the cache are many times as large as the API server's
// bound of them. What nobody has is not kept, and triggers that need it say so.
func TestLargeWorkloadsAreNotKept(t *testing.T) {
	for name, template := range map[string]corev1.PodSpec{
		"containers": {Containers: make([]corev1.Container, mostContainers+1)},
		"variables":  {Containers: []corev1.Container{{Env: make([]corev1.EnvVar, mostOfContainers/costOfVariable)}}},
		"sources":    {Containers: []corev1.Container{{EnvFrom: make([]corev1.EnvFromSource, mostOfContainers/costOfSource)}}},
		"references": {Containers: []corev1.Container{{Env: slices.Repeat([]corev1.EnvVar{secretVariable}, 7000)}}},
		"texts":      {Containers: []corev1.Container{{Env: []corev1.EnvVar{{Value: strings.Repeat("x", mostOfContainers)}}}}},
	} {
		deployment := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](3), Template: corev1.PodTemplateSpec{Spec: template}}}
		if _, err := NewWorkloads().Strip(deployment); err != nil {
			t.Fatal(err)
		}
		replicas, kept := ReadWorkload(deployment)
		if replicas != 3 || len(kept.Spec.Containers) > 0 || Cut(deployment) == nil {
			t.Errorf("%s: %d replicas, %d containers, %v", name, replicas, len(kept.Spec.Containers), Cut(deployment))
		}
	}
	resources := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	for i := range 1000 {
		resources[corev1.ResourceName(fmt.Sprintf("example.org/%d", i))] = resource.MustParse("1")
	}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"sluice.dev/cut": ""}}}
	deployment.Spec.Template.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: resources}}}
	if _, err := NewWorkloads().Strip(deployment); err != nil || Cut(deployment) != nil || len(deployment.Spec.Template.Spec.Containers[0].Resources.Requests) != 1 {
		t.Errorf("of a container's resources is kept %v, %v", deployment.Spec.Template.Spec.Containers, Cut(deployment))
	}
}

func TestOfOtherKindsOnlyTheWorkloadIsKept(t *testing.T) {
	of := func(image string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.org/v1", "kind": "Crew",
			"metadata": map[string]any{"name": "worker", "namespace": "shop", "uid": "1", "resourceVersion": "5", "generation": int64(2),
				"annotations": map[string]any{"note": strings.Repeat("x", 1000)}},
			"spec": map[string]any{"replicas": int64(3), "other": strings.Repeat("x", 1000),
				"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "app", "image": image}}}}},
			"status": map[string]any{"other": strings.Repeat("x", 1000)},
		}}
	}
	for image, fits := range map[string]bool{"worker:1": true, strings.Repeat("x", mostOfOthers): false} {
		whole := of(image)
		got, err := NewWorkloads().StripOthers(whole)
		if err != nil {
			t.Fatal(err)
		}
		kept := got.(*unstructured.Unstructured)
		replicas, _, _ := unstructured.NestedInt64(kept.Object, "spec", "replicas")
		if replicas != 3 || kept.GetResourceVersion() != "5" || kept.GetGeneration() != 2 || kept.GetKind() != "Crew" || kept.GetUID() != "1" {
			t.Errorf("kept %.300v", kept)
		}
		if text, err := json.Marshal(kept); err != nil || len(text) > 500 {
			t.Errorf("%d bytes are kept, %v", len(text), err)
		}
		if (TemplateOf(kept) != nil) != fits || (Cut(kept) == nil) != fits {
			t.Errorf("fits %v: template %v, %v", fits, TemplateOf(kept) != nil, Cut(kept))
		}
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{}}}}
	if got, err := NewWorkloads().StripOthers(service); err != nil || len(got.(*corev1.Service).ManagedFields) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// What is watched only because somebody named one of its kind takes no room of
// Deployments and StatefulSets, however much there is of it.
func TestOtherKindsHaveABudgetOfTheirOwn(t *testing.T) {
	usual, others := kept.New(kept.Unbounded, 8<<10), kept.New(kept.Unbounded, 8<<10)
	w := WorkloadsIn(usual).OthersIn(others)
	template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
	var old []any // ReplicaSets of a Deployment
	for i := range 100 {
		meta := metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("worker-", i)}
		other := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"replicas": int64(1)}}}
		other.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: "Crew"})
		other.SetNamespace(meta.Namespace)
		other.SetName(meta.Name)
		set, err := w.Strip(&appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Template: *template.DeepCopy()}})
		crew, err2 := w.StripOthers(other)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		old = append(old, set, crew)
	}
	if last := old[len(old)-2].(client.Object); !NoRoom(last) {
		t.Error("ReplicaSets have no bound")
	}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "bank", Name: "worker"}, Spec: appsv1.DeploymentSpec{Template: template}}
	if !w.Room(deployment) || usual.Used("shop") != 0 {
		t.Errorf("they take %d bytes of the room of Deployments", usual.Used("shop"))
	}
	if _, err := w.Strip(deployment); err != nil || NoRoom(deployment) {
		t.Errorf("a Deployment has no room beside them: %v, %v", Cut(deployment), err)
	}
	runtime.KeepAlive(old)
}

// Nobody reads a quantity of gigabytes of digits: of a template of another kind that
// is decoded which somebody here looks at, and quantities that are read at once.
func TestQuantitiesOfOtherKindsAreReadAtOnce(t *testing.T) {
	const dear = "1111111111111111111e99999" // as long as one likes with more nines
	container := func() map[string]any {
		return map[string]any{
			"name": "worker", "image": "x", "resources": map[string]any{
				"limits": map[string]any{"cpu": dear, "memory": "1Gi", "example.org/dear": dear}, "requests": map[string]any{"cpu": int64(2), "memory": dear},
			},
			"env": []any{
				map[string]any{"name": "A", "value": "x"},
				map[string]any{"name": "B", "valueFrom": map[string]any{"resourceFieldRef": map[string]any{"resource": "limits.cpu", "divisor": dear}}},
				map[string]any{"name": "C", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "login", "key": "password"}}},
			},
			"envFrom": []any{map[string]any{"configMapRef": map[string]any{"name": "all"}}},
		}
	}
	object := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
		"serviceAccountName": "worker", "initContainers": []any{container()}, "containers": []any{container()},
		"volumes":  []any{map[string]any{"name": "x", "emptyDir": map[string]any{"sizeLimit": dear}}},
		"overhead": map[string]any{"cpu": dear},
	}}}}}
	template := TemplateOf(object)
	if template == nil || len(template.Spec.Containers) != 1 || len(template.Spec.InitContainers) != 0 || len(template.Spec.Volumes) != 0 || template.Spec.Overhead != nil {
		t.Fatalf("read %+v", template)
	}
	c := template.Spec.Containers[0]
	if _, ok := c.Resources.Limits[corev1.ResourceCPU]; ok || len(c.Resources.Limits) != 1 || len(c.Resources.Requests) != 1 {
		t.Errorf("its resources are %+v", c.Resources)
	}
	if template.Spec.ServiceAccountName != "worker" || c.Name != "worker" || len(c.Env) != 3 || c.Env[0].Value != "x" || c.Env[1].ValueFrom == nil ||
		c.Env[1].ValueFrom.ResourceFieldRef != nil || c.Env[2].ValueFrom.SecretKeyRef.Key != "password" || c.EnvFrom[0].ConfigMapRef.Name != "all" {
		t.Errorf("read %+v", c)
	}
	for _, odd := range []any{nil, "x", []any{}, map[string]any{"containers": "x"}, map[string]any{"containers": []any{"x", nil}}, map[string]any{"containers": []any{map[string]any{"env": []any{7}, "resources": 7}}}} {
		object.Object["spec"] = map[string]any{"template": map[string]any{"spec": odd}}
		_ = TemplateOf(object) // and does not panic
	}
}

// A cache that lists anew has no workload twice that is as it was.
func TestWorkloadsThatAreReadAgainAreThereOnce(t *testing.T) {
	w := WorkloadsIn(kept.New(kept.Unbounded, 10<<20))
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "worker", UID: "1", ResourceVersion: "5"}
	rollout := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "spec": map[string]any{"replicas": int64(1)}}}
	rollout.SetNamespace("shop")
	rollout.SetName("worker")
	rollout.SetUID("1")
	rollout.SetResourceVersion("5")
	for _, one := range []client.Object{
		&appsv1.Deployment{ObjectMeta: meta}, &appsv1.StatefulSet{ObjectMeta: meta}, &appsv1.ReplicaSet{ObjectMeta: meta}, rollout,
	} {
		strip := w.Strip
		if one == client.Object(rollout) {
			strip = w.StripOthers
		}
		read := func(version string) any {
			next := one.DeepCopyObject().(client.Object)
			next.SetResourceVersion(version)
			got, err := strip(next)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		first := read("5")
		if read("5") != first {
			t.Errorf("%T: it is there twice", one)
		}
		if read("6") == first {
			t.Errorf("%T: a later one is taken for the same", one)
		}
	}
}
