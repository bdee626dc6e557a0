package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
)

// judgement is what Argo CD and Flux make of an object, as test/gitops tells.
type judgement struct{ ArgoCD, ArgoCDMessage, Flux, FluxMessage string }

// judged returns a function that has an object judged as it is now.
func judged(t *testing.T) func(t *testing.T, o *unstructured.Unstructured) judgement {
	t.Helper()
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, o *unstructured.Unstructured) judgement {
		t.Helper()
		if err := world.cluster.Client().Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			t.Fatal(err)
		}
		in, err := json.Marshal(map[string]any{"items": []any{o.Object}})
		if err != nil {
			t.Fatal(err)
		}
		command := exec.CommandContext(t.Context(), filepath.Join(repo, "bin/tools/gitops")) //nolint:gosec // a program of this repository
		command.Stdin = bytes.NewReader(in)
		out, err := command.Output()
		if err != nil {
			t.Fatalf("%v of %s", err, in)
		}
		var all []judgement
		if err := json.Unmarshal(out, &all); err != nil || len(all) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		return all[0]
	}
}

// TestGitOps has objects judged by Argo CD's own scripts and by the library that Flux
// asks, as the API server has them: ready, paused, failing, in fallback.
func TestGitOps(t *testing.T) {
	t.Parallel()
	ns, script, judge := namespace(t), startScript(t), judged(t)
	broken := brokers.Trigger{Type: "external-push", Metadata: map[string]string{"scalerAddress": script.address, "counter": "broken"}}
	script.fail("broken")
	script.set("work", 1)

	in := func(name string) row { return row{object: object{t, ns, name}, script: script} }
	in("ready").start(0, nil)
	paused := in("paused")
	paused.start(0, nil)
	paused.annotate("autoscaling.keda.sh/paused", "true")
	failing := in("failing")
	failing.deployment(1)
	failing.change(spec{"triggers": triggers(broken)})
	fallback := in("fallback")
	fallback.deployment(1)
	fallback.change(spec{"triggers": triggers(broken), "fallback": map[string]any{"failureThreshold": 1, "replicas": 2}})
	work := spec{"triggers": triggers(script.trigger("none", nil))}
	ready, halted := scaleJobs(t, ns, "jobs", work), scaleJobs(t, ns, "halted", work)
	ready.waitCondition("Ready", "True", "")
	halted.waitCondition("Ready", "True", "")
	stopped := halted.scaledJob()
	stop := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"autoscaling.keda.sh/paused":"true"}}}`))
	if err := world.cluster.Client().Patch(t.Context(), stopped, stop); err != nil {
		t.Fatal(err)
	}
	if err := world.cluster.ApplyYAML(t.Context(), manifest(t, "TriggerAuthentication", ns, "login", map[string]any{}, nil)); err != nil {
		t.Fatal(err)
	}
	login := &unstructured.Unstructured{}
	login.SetAPIVersion("keda.sh/v1alpha1")
	login.SetKind("TriggerAuthentication")
	login.SetNamespace(ns)
	login.SetName("login")

	for name, tt := range map[string]struct {
		object       *unstructured.Unstructured
		argoCD, flux string
	}{
		"ready":                {in("ready").scaledObject(), "Healthy", "Current"},
		"paused":               {paused.scaledObject(), "Suspended", "Current"},
		"failing":              {failing.scaledObject(), "Degraded", "InProgress"},
		"in fallback":          {fallback.scaledObject(), "Degraded", "Current"},
		"a ScaledJob":          {ready.scaledJob(), "Healthy", "Current"},
		"a paused ScaledJob":   {stopped, "Suspended", "Current"},
		"an authentication":    {login, "", "Current"},
		"the HPA of an object": {hpaAsItIs(ns, "ready"), "", "Current"},
	} {
		t.Run(name, func(t *testing.T) {
			wait(t, tt.argoCD+" and "+tt.flux, func() (bool, string) {
				h := judge(t, tt.object)
				return h.ArgoCD == tt.argoCD && h.Flux == tt.flux, fmt.Sprintf("%+v", h)
			})
		})
	}
}

func hpaAsItIs(ns, name string) *unstructured.Unstructured {
	hpa := &unstructured.Unstructured{}
	hpa.SetAPIVersion("autoscaling/v2")
	hpa.SetKind("HorizontalPodAutoscaler")
	hpa.SetNamespace(ns)
	hpa.SetName("keda-hpa-" + name)
	return hpa
}

// TestGitOpsLeavesReplicasAlone applies a Deployment again and again as Flux does, by
// server-side apply without replicas, while Sluice scales it.
func TestGitOpsLeavesReplicasAlone(t *testing.T) {
	t.Parallel()
	ns, script := namespace(t), startScript(t)
	r := row{object: object{t, ns, "worker"}, script: script}
	apply := func() {
		t.Helper()
		d := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": map[string]any{"namespace": ns, "name": r.name},
			"spec": map[string]any{
				"selector": map[string]any{"matchLabels": map[string]any{"app": r.name}},
				"template": map[string]any{
					"metadata": map[string]any{"labels": map[string]any{"app": r.name}},
					"spec":     map[string]any{"containers": []any{map[string]any{"name": "app", "image": "app.invalid/app"}}},
				},
			},
		}}
		err := world.cluster.Client().Apply(t.Context(), client.ApplyConfigurationFromUnstructured(d), client.FieldOwner("kustomize-controller"), client.ForceOwnership)
		if err != nil {
			t.Fatal(err)
		}
	}
	apply()
	r.set(20)
	r.change(nil)
	r.waitReplicas(4)
	var before appsv1.Deployment
	if err := world.cluster.Client().Get(t.Context(), r.key(), &before); err != nil {
		t.Fatal(err)
	}
	apply()
	var after appsv1.Deployment
	if err := world.cluster.Client().Get(t.Context(), r.key(), &after); err != nil {
		t.Fatal(err)
	}
	if *after.Spec.Replicas != 4 || after.Generation != before.Generation {
		t.Errorf("%d replicas, generation %d after %d", *after.Spec.Replicas, after.Generation, before.Generation)
	}
	r.set(0)
	r.waitReplicas(0)
	apply()
	if have := r.replicas(); have != 0 {
		t.Errorf("%d replicas at rest", have)
	}
}
