package ui

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

var kinds = map[schema.GroupVersionResource]string{
	{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"}:          "ScaledObjectList",
	{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledjobs"}:             "ScaledJobList",
	{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}: "HorizontalPodAutoscalerList",
}

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

// cluster is one in memory: of watches it does what an API server does.
func cluster(t *testing.T, objects ...string) (*fake.FakeDynamicClient, func(text string)) {
	t.Helper()
	var all []runtime.Object
	for _, text := range objects {
		all = append(all, parse(t, text))
	}
	c := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, all...)
	return c, func(text string) {
		t.Helper()
		o := parse(t, text)
		for resource, kind := range kinds {
			if kind == o.GetKind()+"List" {
				if _, err := c.Resource(resource).Namespace(o.GetNamespace()).Update(t.Context(), o, updateOptions); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func object(active string) string {
	return fmt.Sprintf(`
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: orders, namespace: shop, annotations: {secret: value}}
spec:
  scaleTargetRef: {name: worker}
  maxReplicaCount: 30
  triggers: [{type: kafka, metadata: {topic: orders}}, {type: cron, metadata: {}}]
status:
  hpaName: keda-hpa-orders
  conditions: [{type: Ready, status: "True"}, {type: Active, status: %q}]
`, active)
}

func hpa(replicas, desired int, average string) string {
	return fmt.Sprintf(`
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: keda-hpa-orders, namespace: shop}
spec:
  minReplicas: 1
  maxReplicas: 30
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: worker}
  metrics: [{type: External, external: {metric: {name: s0-kafka-orders}, target: {type: AverageValue, averageValue: "5"}}}]
status:
  currentReplicas: %d
  desiredReplicas: %d
  currentMetrics: [{type: External, external: {metric: {name: s0-kafka-orders}, current: {averageValue: %q}}}]
`, replicas, desired, average)
}

// start watches until the test ends.
func start(t *testing.T, c dynamic.Interface) *Rows {
	t.Helper()
	rows := NewRows()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Watch(ctx, c, "", rows)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return rows
}

// await waits until what is told of all rows is as it should be.
func await(t *testing.T, rows *Rows, done func(Changes) bool) Changes {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		c, _, more := rows.Since(0)
		if done(c) {
			return c
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("at the end: %+v", c)
		}
	}
}

func TestRowsFollowTheCluster(t *testing.T) {
	c, update := cluster(t, object("False"), hpa(0, 0, "0"))
	rows := start(t, c)
	got := await(t, rows, func(c Changes) bool { return c.Complete && len(c.Rows) == 1 && c.Rows[0].Replicas != nil })
	if r := got.Rows[0]; r.State != "idle" || *r.Replicas != 0 || r.Max != 30 || strings.Join(r.Types, " ") != "cron kafka" || strings.Join(r.Families, " ") != "cron kafka" {
		t.Errorf("at rest: %+v", r)
	}
	update(object("True"))
	update(hpa(2, 4, "10"))
	got = await(t, rows, func(c Changes) bool {
		return len(c.Rows) == 1 && c.Rows[0].State == "active" && c.Rows[0].Backlog != nil
	})
	if r := got.Rows[0]; *r.Backlog != 20 || *r.Load != 2 || *r.Replicas != 2 || *r.Desired != 4 || r.Wakes != 1 {
		t.Errorf("at work: %+v", r)
	}
	_, points, _ := rows.Points("ScaledObject/shop/orders", time.Time{})
	if last := points[len(points)-1]; *last.Backlog != 20 || *last.Target != 10 || *last.Replicas != 2 {
		t.Errorf("the last point: %+v", last)
	}
	if err := c.Resource(schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"}).
		Namespace("shop").Delete(t.Context(), "orders", deleteOptions); err != nil {
		t.Fatal(err)
	}
	await(t, rows, func(c Changes) bool { return len(c.Rows) == 0 })
}

// What cannot be read is said, and what can be is shown.
func TestWhatMayNotBeWatchedIsSaid(t *testing.T) {
	c, _ := cluster(t, object("True"))
	c.PrependReactor("list", "scaledjobs", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Group: "keda.sh", Resource: "scaledjobs"}, "", nil)
	})
	rows := start(t, c)
	got := await(t, rows, func(c Changes) bool { return len(c.Rows) == 1 && c.Trouble["scaledjobs"] != "" })
	if want := "you may not list and watch scaledjobs.keda.sh in all namespaces; -n shows one"; got.Trouble["scaledjobs"] != want || got.Complete {
		t.Errorf("trouble: %+v", got)
	}
}

// What makes no sense, or is too large, has a row with a name, and takes no room.
func TestObjectsThatMakeNoSenseHaveARow(t *testing.T) {
	odd := parse(t, object("True"))
	odd.SetName("odd")
	odd.Object["spec"] = "nothing"
	large := parse(t, object("True"))
	large.SetName("large")
	large.SetLabels(map[string]string{"a": strings.Repeat("x", largest)})
	c := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, odd, large)
	got := await(t, start(t, c), func(c Changes) bool { return c.Complete && len(c.Rows) == 2 })
	for _, r := range got.Rows {
		if r.Name == "" || r.State != "unknown" || len(r.Types) != 0 {
			t.Errorf("row %+v", r)
		}
	}
}

// TestWhatIsKeptIsBounded: of an object beyond the room there is the name, and beyond
// the number of them nothing; whoever looks is told, and what goes makes room.
func TestWhatIsKeptIsBounded(t *testing.T) {
	rows := NewRows()
	w := newWatcher(rows)
	w.bytes = mostBytes - 100<<10
	take := func(name string) *v1alpha1.ScaledObject {
		t.Helper()
		o := parse(t, object("True"))
		o.SetName(name)
		o.SetUID(types.UID(name))
		conditions := []any{map[string]any{"type": "Ready", "status": "False", "message": strings.Repeat("x", 60<<10)}}
		if err := unstructured.SetNestedSlice(o.Object, conditions, "status", "conditions"); err != nil {
			t.Fatal(err)
		}
		so := w.decode(o, &v1alpha1.ScaledObject{}).(*v1alpha1.ScaledObject)
		w.set(so)
		return so
	}
	trouble := func() string {
		c, _, _ := rows.Since(0)
		return c.Trouble["room"]
	}
	for range 3 { // the same is counted once
		if a := take("a"); len(a.Status.Conditions) != 1 || a.Spec.Triggers[0].Type != "kafka" || a.Spec.Triggers[0].Metadata != nil || a.Annotations != nil {
			t.Fatalf("kept is %+v", a.Spec)
		}
	}
	if trouble() != "" {
		t.Errorf("told of %s", trouble())
	}
	if b := take("b"); b.Name != "b" || len(b.Status.Conditions) != 0 || trouble() == "" {
		t.Errorf("beyond the room %+v is kept, told of %q", b.Status, trouble())
	}
	if row, _, there := rows.Points("ScaledObject/shop/a", time.Time{}); !there || len(row.Problem) > longestProblem+len("...") {
		t.Errorf("a problem of %d bytes is sent", len(row.Problem))
	}
	w.remove(w.scaled["ScaledObject/shop/a"])
	if b := take("b"); len(b.Status.Conditions) != 1 {
		t.Error("there is room, and b is not kept")
	}
	if w.full(mostObjects-1, false) || !w.full(mostObjects, false) || w.full(mostObjects, true) {
		t.Errorf("more, or less, than %d objects are kept", mostObjects)
	}
}

// TestColdStartsAreTold as the controller that leads tells them, and why not.
func TestColdStartsAreTold(t *testing.T) {
	rows := NewRows()
	w := newWatcher(rows)
	so := w.decode(parse(t, object("True")), &v1alpha1.ScaledObject{})
	w.set(so)
	_, before, _ := rows.Since(0)
	told := &account.ColdStarts{Objects: []account.ObjectColdStart{{Namespace: "shop", Name: "orders", ColdStart: account.ColdStart{Ready: noon, Seconds: 13}}}}
	rows.Measured(told)
	c, after, _ := rows.Since(before)
	if len(c.Rows) != 1 || c.Rows[0].ColdStart.Seconds == nil || *c.Rows[0].ColdStart.Seconds != 13 {
		t.Fatalf("told %+v", c)
	}
	rows.Measured(told)
	if c, _, _ := rows.Since(after); len(c.Rows) != 0 {
		t.Error("the same is told twice")
	}
	w.set(so) // which knows nothing of it
	if c, _, _ := rows.Since(after); len(c.Rows) != 1 || c.Rows[0].ColdStart.Seconds == nil {
		t.Errorf("after a change: %+v", c.Rows)
	}
	ctx, cancel := context.WithCancel(t.Context())
	Measure(ctx, func(context.Context) (*account.ColdStarts, error) { cancel(); return told, nil }, rows)
	ctx, cancel = context.WithCancel(t.Context())
	measuring := make(chan struct{})
	go func() {
		defer close(measuring)
		Measure(ctx, func(context.Context) (*account.ColdStarts, error) {
			return nil, errors.New("you may not forward ports")
		}, rows)
	}()
	await(t, rows, func(c Changes) bool { return strings.Contains(c.Trouble["cold starts"], "you may not forward ports") })
	cancel()
	<-measuring
}
