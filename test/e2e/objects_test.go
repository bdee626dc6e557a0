package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
)

// patience is many times what anything here takes.
const patience = 3 * time.Minute

// object is one scaled Deployment of a scenario.
type object struct {
	t               *testing.T
	namespace, name string
}

// spec is the spec of a ScaledObject as a user writes it, less the target.
type spec map[string]any

// namespace makes a namespace of the scenario's own.
func namespace(t *testing.T) string {
	t.Helper()
	world.scraper.watch(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}
	if err := world.cluster.Client().Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// What a scenario leaves behind is no burden for the next one.
		all := object{t, ns.Name, ""}.scaledObject()
		if err := world.cluster.Client().DeleteAllOf(context.WithoutCancel(t.Context()), all, client.InNamespace(ns.Name)); err != nil {
			t.Error(err)
		}
	})
	return ns.Name
}

// scale makes a Deployment with replicas and a ScaledObject on it.
func scale(t *testing.T, namespace, name string, replicas int32, s spec) object {
	t.Helper()
	o := object{t, namespace, name}
	o.deployment(replicas)
	o.apply(s)
	return o
}

// grant lets a family do in a namespace what a ClusterRole allows.
func grant(t *testing.T, namespace, family, role string) {
	t.Helper()
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "scaler-" + family, Namespace: "sluice-system"}},
	}
	if err := world.cluster.Client().Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
}

// deployment makes the target, with Pods that kwok plays.
func (o object) deployment(replicas int32) {
	o.t.Helper()
	labels := map[string]string{"app": o.name}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "app", Image: "app.invalid/app",
					Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m")}},
				}}},
			},
		},
	}
	if err := world.cluster.Client().Create(o.t.Context(), d); err != nil {
		o.t.Fatal(err)
	}
}

// apply creates or changes the ScaledObject.
func (o object) apply(s spec) {
	o.t.Helper()
	if err := o.tryApply(s); err != nil {
		o.t.Fatal(err)
	}
}

func (o object) tryApply(s spec) error {
	return o.applyWith(map[string]any{}, s)
}

// applyWith also sets annotations.
func (o object) applyWith(annotations map[string]any, s spec) error {
	return o.applyAs(map[string]any{"annotations": annotations}, s)
}

// applyAs also sets metadata.
func (o object) applyAs(metadata map[string]any, s spec) error {
	metadata["namespace"], metadata["name"] = o.namespace, o.name
	all := map[string]any{"scaleTargetRef": map[string]any{"name": o.name}}
	for key, value := range s {
		all[key] = value
	}
	so := map[string]any{
		"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
		"metadata": metadata, "spec": all,
	}
	// JSON is YAML, and makes plain values of ours.
	text, err := json.Marshal(so)
	if err != nil {
		return err
	}
	return world.cluster.ApplyYAML(o.t.Context(), string(text))
}

func (o object) scaledObject() *unstructured.Unstructured {
	so := &unstructured.Unstructured{}
	so.SetAPIVersion("keda.sh/v1alpha1")
	so.SetKind("ScaledObject")
	so.SetNamespace(o.namespace)
	so.SetName(o.name)
	return so
}

func (o object) key() client.ObjectKey { return client.ObjectKey{Namespace: o.namespace, Name: o.name} }

// target is "namespace/name", as the replica recorder knows it.
func (o object) target() string { return o.namespace + "/" + o.name }

// triggers is the spec entry of the same name.
func triggers(all ...brokers.Trigger) []map[string]any {
	var list []map[string]any
	for _, t := range all {
		list = append(list, map[string]any{"type": t.Type, "metadata": t.Metadata})
	}
	return list
}

// replicas is what the target's spec asks for.
func (o object) replicas() int32 {
	o.t.Helper()
	d := &appsv1.Deployment{}
	if err := world.cluster.Client().Get(o.t.Context(), o.key(), d); err != nil {
		o.t.Fatal(err)
	}
	return *d.Spec.Replicas
}

// waitReplicas waits until the target's spec asks for count.
func (o object) waitReplicas(count int32) {
	o.t.Helper()
	o.wait(fmt.Sprintf("%d replicas", count), func() (bool, string) {
		have := o.replicas()
		return have == count, fmt.Sprintf("%d replicas; %s", have, o.describe())
	})
}

// waitCondition waits until a condition has the status and its message holds
// the text.
func (o object) waitCondition(conditionType, status, text string) {
	o.t.Helper()
	o.wait(fmt.Sprintf("%s=%s with %q", conditionType, status, text), func() (bool, string) {
		c := o.condition(conditionType)
		return c["status"] == status && strings.Contains(c["message"], text), o.describe()
	})
}

// condition has the fields of a condition, none when it is absent.
func (o object) condition(conditionType string) map[string]string {
	o.t.Helper()
	return conditionOf(o.t, o.scaledObject(), conditionType)
}

func conditionOf(t *testing.T, so *unstructured.Unstructured, conditionType string) map[string]string {
	t.Helper()
	if err := world.cluster.Client().Get(t.Context(), client.ObjectKeyFromObject(so), so); err != nil {
		t.Fatal(err)
	}
	conditions, _, _ := unstructured.NestedSlice(so.Object, "status", "conditions")
	for _, c := range conditions {
		if fields, ok := c.(map[string]any); ok && fields["type"] == conditionType {
			found := map[string]string{}
			for key, value := range fields {
				found[key] = fmt.Sprint(value)
			}
			return found
		}
	}
	return nil
}

// describe says what the object is like, for a failure's message.
func (o object) describe() string {
	var all []string
	for _, t := range []string{"Ready", "Active", "Fallback", "HPAActive"} {
		if c := o.condition(t); c != nil {
			all = append(all, fmt.Sprintf("%s=%s %s %q", t, c["status"], c["reason"], c["message"]))
		}
	}
	return strings.Join(all, ", ")
}

// hpa is the object's HPA, nil when there is none.
func (o object) hpa() *autoscalingv2.HorizontalPodAutoscaler {
	o.t.Helper()
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	err := world.cluster.Client().Get(o.t.Context(), client.ObjectKey{Namespace: o.namespace, Name: "keda-hpa-" + o.name}, hpa)
	if client.IgnoreNotFound(err) != nil {
		o.t.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return hpa
}

// metricNames are the names of the HPA's external metrics.
func metricNames(hpa *autoscalingv2.HorizontalPodAutoscaler) []string {
	var names []string
	for _, m := range hpa.Spec.Metrics {
		if m.External != nil {
			names = append(names, m.External.Metric.Name)
		}
	}
	return names
}

// wait looks again and again until done, and fails with what it saw last.
func (o object) wait(what string, done func() (bool, string)) {
	o.t.Helper()
	wait(o.t, o.target()+": "+what, done)
}

func wait(t testing.TB, what string, done func() (bool, string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, saw := done()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited for %s, saw %s", what, saw)
		}
	}
}
