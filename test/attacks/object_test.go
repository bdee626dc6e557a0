package attacks

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// wait looks again and again until done, and fails with what it saw last.
func wait(t *testing.T, what string, done func() (bool, string)) {
	t.Helper()
	waitIn(t.Context(), t, what, done)
}

// waitIn is wait for as long as ctx lasts, which is longer than the test where
// that is cleaned up.
func waitIn(ctx context.Context, t *testing.T, what string, done func() (bool, string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
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

// house is a namespace and who acts in it.
type house struct {
	t         *testing.T
	namespace string
	client    client.Client
}

// newHouse makes a namespace; what is in it acts as the administrator.
func newHouse(t *testing.T, labels map[string]string) house {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "house-", Labels: labels}}
	if err := world.cluster.Client().Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	h := house{t, ns.Name, world.cluster.Client()}
	t.Cleanup(func() {
		// What one attack leaves behind is no burden for the next one.
		ctx := context.WithoutCancel(t.Context())
		for _, kind := range []string{"ScaledObject", "CloudEventSource"} {
			waitIn(ctx, t, "the end of "+ns.Name, func() (bool, string) {
				err := world.cluster.Client().DeleteAllOf(ctx, h.object(kind, ""), client.InNamespace(ns.Name))
				return err == nil, fmt.Sprint(err)
			})
		}
	})
	return h
}

// grant lets a family read what objects of the namespace refer to.
func (h house) grant(families ...string) {
	h.t.Helper()
	for _, family := range families {
		h.bind("sluice-scaler-credentials", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: "scaler-" + family, Namespace: "sluice-system"})
	}
}

func (h house) bind(role string, subject rbacv1.Subject) {
	h.t.Helper()
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: h.namespace, GenerateName: role + "-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{subject},
	}
	if err := world.cluster.Client().Create(h.t.Context(), binding); err != nil {
		h.t.Fatal(err)
	}
}

// object is one without content.
func (h house) object(kind, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(map[string]string{"CloudEventSource": "eventing.keda.sh/v1alpha1", "Secret": "v1", "Deployment": "apps/v1", "Lease": "coordination.k8s.io/v1"}[kind])
	if o.GetAPIVersion() == "" {
		o.SetAPIVersion("keda.sh/v1alpha1")
	}
	o.SetKind(kind)
	if !strings.HasPrefix(kind, "Cluster") {
		o.SetNamespace(h.namespace)
	}
	o.SetName(name)
	return o
}

// try applies an object with these fields.
func (h house) try(kind, name string, fields map[string]any) error {
	o := h.object(kind, name)
	text, err := json.Marshal(fields) // plain values of ours
	if err != nil {
		return err
	}
	var plain map[string]any
	if err := json.Unmarshal(text, &plain); err != nil {
		return err
	}
	for key, value := range plain {
		o.Object[key] = value
	}
	return h.client.Apply(h.t.Context(), client.ApplyConfigurationFromUnstructured(o),
		client.FieldOwner(localcluster.FieldManager), client.ForceOwnership)
}

func (h house) apply(kind, name string, fields map[string]any) {
	h.t.Helper()
	if err := h.try(kind, name, fields); err != nil {
		h.t.Fatalf("%s %s/%s: %v", kind, h.namespace, name, err)
	}
}

func (h house) secret(name string, data map[string]string) {
	h.t.Helper()
	h.apply("Secret", name, map[string]any{"stringData": data})
}

// authentication makes a TriggerAuthentication whose parameters are those of
// the Secret that it makes with it.
func (h house) authentication(name string, data map[string]string) {
	h.t.Helper()
	h.secret(name, data)
	h.apply("TriggerAuthentication", name, map[string]any{"spec": map[string]any{"secretTargetRef": references(name, data)}})
}

func references(secret string, data map[string]string) (all []map[string]string) {
	for key := range data {
		all = append(all, map[string]string{"parameter": key, "name": secret, "key": key})
	}
	return all
}

// trigger is one of an object's.
type trigger map[string]any

func triggerOf(kind string, metadata map[string]string) trigger {
	return trigger{"type": kind, "metadata": metadata}
}

// with adds a TriggerAuthentication.
func (t trigger) with(authentication string) trigger {
	t["authenticationRef"] = map[string]any{"name": authentication}
	return t
}

// scaled is a Deployment at rest and the ScaledObject on it.
type scaled struct {
	house
	name string
}

// scale makes both; more are further fields of the spec.
func (h house) scale(name string, more map[string]any, triggers ...trigger) scaled {
	h.t.Helper()
	s := scaled{h, name}
	s.deployment()
	if err := s.tryScale(more, triggers...); err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (s scaled) deployment() {
	s.t.Helper()
	labels := map[string]string{"app": s.name}
	s.apply("Deployment", s.name, map[string]any{"spec": map[string]any{
		"replicas": 0, "selector": map[string]any{"matchLabels": labels},
		"template": map[string]any{
			"metadata": map[string]any{"labels": labels},
			"spec":     map[string]any{"containers": []map[string]any{{"name": "app", "image": "app.invalid/app"}}},
		},
	}})
}

func (s scaled) tryScale(more map[string]any, triggers ...trigger) error {
	spec := map[string]any{
		"scaleTargetRef": map[string]any{"name": s.name}, "pollingInterval": 1, "cooldownPeriod": 1, "maxReplicaCount": 3, "triggers": triggers,
	}
	for key, value := range more {
		spec[key] = value
	}
	return s.try("ScaledObject", s.name, map[string]any{"spec": spec})
}

func (s scaled) replicas() int32 {
	s.t.Helper()
	d := &appsv1.Deployment{}
	if err := world.cluster.Client().Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: s.name}, d); err != nil {
		s.t.Fatal(err)
	}
	return *d.Spec.Replicas
}

func (s scaled) waitReplicas(what string, enough func(int32) bool) {
	s.t.Helper()
	wait(s.t, s.namespace+"/"+s.name+": "+what, func() (bool, string) {
		have := s.replicas()
		if enough(have) {
			return true, ""
		}
		return false, fmt.Sprintf("%d replicas; %s", have, s.status("ScaledObject", s.name))
	})
}

// waitReady waits until condition Ready has the status and its message holds
// the text.
func (s scaled) waitReady(status, text string) {
	s.t.Helper()
	s.waitCondition("ScaledObject", s.name, "Ready", status, text)
}

// waitTrigger waits until Ready is False and says something of one trigger that
// has the text.
func (s scaled) waitTrigger(index int, text string) {
	s.t.Helper()
	of := fmt.Sprintf("trigger %d (", index)
	wait(s.t, fmt.Sprintf("%s/%s: %s with %q", s.namespace, s.name, of, text), func() (bool, string) {
		status, message := s.condition("ScaledObject", s.name, "Ready")
		for _, part := range strings.Split(message, "; ") {
			if status == "False" && strings.HasPrefix(part, of) && strings.Contains(part, text) {
				s.t.Log(part)
				return true, ""
			}
		}
		return false, message
	})
}

func (h house) waitCondition(kind, name, condition, status, text string) {
	h.t.Helper()
	wait(h.t, fmt.Sprintf("%s %s/%s: %s=%s with %q", kind, h.namespace, name, condition, status, text), func() (bool, string) {
		have, message := h.condition(kind, name, condition)
		return have == status && strings.Contains(message, text), h.status(kind, name)
	})
}

func (h house) condition(kind, name, condition string) (status, message string) {
	h.t.Helper()
	all, _, _ := unstructured.NestedSlice(h.get(kind, name).Object, "status", "conditions")
	for _, entry := range all {
		if c, _ := entry.(map[string]any); c["type"] == condition {
			return fmt.Sprint(c["status"]), fmt.Sprint(c["message"])
		}
	}
	return "", ""
}

// status is all that an object says of itself.
func (h house) status(kind, name string) string {
	h.t.Helper()
	return fmt.Sprint(h.get(kind, name).Object["status"])
}

func (h house) get(kind, name string) *unstructured.Unstructured {
	h.t.Helper()
	o := h.object(kind, name)
	if err := world.cluster.Client().Get(h.t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		h.t.Fatal(err)
	}
	return o
}
