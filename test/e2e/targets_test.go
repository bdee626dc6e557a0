package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// kinds are targets that nobody foresaw: one shaped like Argo Rollouts, one
// that keeps its replicas elsewhere, and one that cannot be scaled; with the
// permission that docs/scaledobject.md gives, and for one only to read it.
const kinds = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rollouts.argoproj.io}
spec:
  group: argoproj.io
  scope: Namespaced
  names: {kind: Rollout, plural: rollouts}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {kind: Widget, plural: widgets}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
    subresources: {scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: stones.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {kind: Stone, plural: stones}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: sluice-rollouts, labels: {sluice.dev/aggregate-to-controller: "true"}}
rules: [{apiGroups: [argoproj.io], resources: [rollouts], verbs: [get, list, watch]}, {apiGroups: [argoproj.io], resources: [rollouts/scale], verbs: [get, update]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: sluice-examples, labels: {sluice.dev/aggregate-to-controller: "true"}}
rules: [{apiGroups: [example.org], resources: [widgets, stones], verbs: [get]}, {apiGroups: [example.org], resources: [widgets/scale, stones/scale], verbs: [get, update]}]
`

// TestTargetsOfAnyKind scales what has a scale subresource, whatever it is.
func TestTargetsOfAnyKind(t *testing.T) {
	t.Parallel()
	if err := world.cluster.ApplyYAML(t.Context(), kinds); err != nil {
		t.Fatal(err)
	}
	script, ns := startScript(t), namespace(t)
	apply := func(t *testing.T, manifest string, names ...any) {
		t.Helper()
		if err := world.cluster.ApplyYAML(t.Context(), fmt.Sprintf(manifest, names...)); err != nil {
			t.Fatal(err)
		}
	}
	const rollout = `
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {namespace: %s, name: %s}
spec:
  replicas: 0
  template:
    spec:
      containers:
      - {name: app, image: app.invalid/app, env: [{name: COUNTER, value: rollout}]}
`
	t.Run("a Rollout, with the variables of its containers", func(t *testing.T) {
		t.Parallel()
		r := row{object: object{t, ns, "rollout"}, script: script}
		apply(t, rollout, ns, r.name)
		trigger := script.trigger("", map[string]string{"counterFromEnv": "COUNTER"})
		r.change(spec{
			"scaleTargetRef": map[string]any{"name": r.name, "kind": "Rollout", "apiVersion": "argoproj.io/v1alpha1"},
			"triggers":       triggers(trigger),
		})
		r.waitCondition("Ready", "True", "")
		r.waitStatus("argoproj.io/v1alpha1.Rollout", "scaleTargetKind")
		r.set(50)
		r.waitTarget("argoproj.io/v1alpha1", "Rollout", 10, "replicas")
		r.waitHPA("of the Rollout", func(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
			return hpa != nil && hpa.Spec.ScaleTargetRef == autoscalingv2.CrossVersionObjectReference{Kind: "Rollout", Name: r.name, APIVersion: "argoproj.io/v1alpha1"}
		})
		// By hand, which its watch tells of.
		apply(t, rollout, ns, r.name)
		r.waitTarget("argoproj.io/v1alpha1", "Rollout", 10, "replicas")
		r.set(0)
		r.waitTarget("argoproj.io/v1alpha1", "Rollout", 0, "replicas")
	})
	t.Run("a kind that may not be watched and has its replicas elsewhere", func(t *testing.T) {
		t.Parallel()
		r := row{object: object{t, ns, "widget"}, script: script}
		r.change(spec{"scaleTargetRef": map[string]any{"name": r.name, "kind": "Widget", "apiVersion": "example.org/v1"}})
		r.waitCondition("Ready", "False", "scaleTargetRef: example.org/v1.Widget "+ns+"/widget not found")
		apply(t, "{apiVersion: example.org/v1, kind: Widget, metadata: {namespace: %s, name: %s}, spec: {size: 0}}", ns, r.name)
		r.set(50)
		r.waitTarget("example.org/v1", "Widget", 10, "size")
		r.set(0)
		r.waitTarget("example.org/v1", "Widget", 0, "size")
	})
	t.Run("a kind that cannot be scaled", func(t *testing.T) {
		t.Parallel()
		r := row{object: object{t, ns, "stone"}, script: script}
		apply(t, "{apiVersion: example.org/v1, kind: Stone, metadata: {namespace: %s, name: %s}, spec: {}}", ns, r.name)
		r.change(spec{"scaleTargetRef": map[string]any{"name": r.name, "kind": "Stone", "apiVersion": "example.org/v1"}})
		r.waitCondition("Ready", "False", "scaleTargetRef: example.org/v1.Stone "+ns+"/stone has no scale subresource")
	})
	for _, kind := range []string{"StatefulSet", "ReplicaSet"} {
		t.Run("a "+kind+", with the variables of its containers", func(t *testing.T) {
			t.Parallel()
			r := row{object: object{t, ns, strings.ToLower(kind)}, script: script}
			const workload = `{apiVersion: apps/v1, kind: %s, metadata: {namespace: %s, name: %[3]s}, spec: {replicas: 0, selector: {matchLabels: {app: %[3]s}},
				template: {metadata: {labels: {app: %[3]s}}, spec: {containers: [{name: app, image: app.invalid/app, env: [{name: COUNTER, value: %[3]s}]}]}}}}`
			apply(t, workload, kind, ns, r.name)
			r.change(spec{
				"scaleTargetRef": map[string]any{"name": r.name, "kind": kind},
				"triggers":       triggers(script.trigger("", map[string]string{"counterFromEnv": "COUNTER"})),
			})
			r.waitStatus("apps/v1."+kind, "scaleTargetKind")
			r.set(50)
			r.waitTarget("apps/v1", kind, 10, "replicas")
			// By hand, which its watch tells of.
			apply(t, workload, kind, ns, r.name)
			r.waitTarget("apps/v1", kind, 10, "replicas")
			r.set(0)
			r.waitTarget("apps/v1", kind, 0, "replicas")
		})
	}
	t.Run("a Job", func(t *testing.T) {
		t.Parallel()
		r := row{object: object{t, ns, "job"}, script: script}
		apply(t, `{apiVersion: batch/v1, kind: Job, metadata: {namespace: %s, name: %s}, spec: {suspend: true,
			template: {spec: {restartPolicy: Never, containers: [{name: app, image: app.invalid/app}]}}}}`, ns, r.name)
		r.change(spec{"scaleTargetRef": map[string]any{"name": r.name, "kind": "Job", "apiVersion": "batch/v1"}})
		r.waitCondition("Ready", "False", "batch/v1.Job "+ns+"/job cannot be scaled: use a ScaledJob")
	})
}

// waitTarget waits until a field of the spec of the row's target is count.
func (r row) waitTarget(apiVersion, kind string, count int64, field string) {
	r.t.Helper()
	r.wait(fmt.Sprintf("%s with %s %d", kind, field, count), func() (bool, string) {
		target := &unstructured.Unstructured{}
		target.SetAPIVersion(apiVersion)
		target.SetKind(kind)
		if err := world.cluster.Client().Get(r.t.Context(), r.key(), target); err != nil {
			r.t.Fatal(err)
		}
		have, _, err := unstructured.NestedInt64(target.Object, "spec", field)
		return err == nil && have == count, fmt.Sprintf("%d, %v; %s", have, err, r.describe())
	})
}

// TestJumpHolds lets a backlog vanish a second after it made a target jump: the
// HPA must hold the size for its scale-down window, with its default flags.
func TestJumpHolds(t *testing.T) {
	t.Parallel()
	recorder, err := world.cluster.RecordReplicas(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(recorder.Stop)
	r := row{object: object{t, namespace(t), "jump"}, script: startScript(t)}
	r.start(0, spec{"cooldownPeriod": 600})
	r.set(50)
	r.waitReplicas(10)
	r.set(0)
	// The window holds the HPA only after it was told the true number, which
	// takes as long as the jump is reported.
	r.waitHPA("held by its scale-down window", func(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
		if hpa == nil {
			return false
		}
		for _, c := range hpa.Status.Conditions {
			if c.Type == autoscalingv2.AbleToScale && c.Status == corev1.ConditionTrue && c.Reason == "ScaleDownStabilized" {
				return true
			}
		}
		return false
	})
	for _, change := range recorder.Changes() {
		if change.Object() == r.target() && (change.From != 0 || change.To != 10) {
			t.Errorf("%s: the only change is the jump", change)
		}
	}
}

// TestPrinterColumns shows objects as kubectl does.
func TestPrinterColumns(t *testing.T) {
	t.Parallel()
	r := row{object: object{t, namespace(t), "columns"}, script: startScript(t)}
	r.start(0, spec{"minReplicaCount": 0})
	r.waitReason("Active", "False", "ScalerNotActive")
	out, err := exec.CommandContext(t.Context(), world.cluster.Kubectl(), //nolint:gosec // the cluster's own
		"--kubeconfig", world.cluster.Kubeconfig(), "get", "so", "-n", r.namespace).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	header, line, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	wantHeader := "NAME SCALETARGETKIND SCALETARGETNAME MIN MAX READY ACTIVE FALLBACK PAUSED TRIGGERS AUTHENTICATIONS AGE"
	if have := strings.Join(strings.Fields(header), " "); have != wantHeader {
		t.Errorf("columns %s\nwant %s", have, wantHeader)
	}
	if have := strings.Join(strings.Fields(line)[:10], " "); have != "columns apps/v1.Deployment columns 0 20 True False False False external-push" {
		t.Errorf("shown as %s", have)
	}
}
