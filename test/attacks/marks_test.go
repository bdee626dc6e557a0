package attacks

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// TestMarks has a tenant write where the core's caches mark what they cut down.
// The API server keeps nothing there, of any kind and by any verb: what comes
// back to a cache has been marked by that cache alone.
func TestMarks(t *testing.T) {
	t.Parallel()
	enemy := tenant(t)
	pods := map[string]any{
		"selector": map[string]any{"matchLabels": map[string]any{"app": "x"}},
		"template": map[string]any{
			"metadata": map[string]any{"labels": map[string]any{"app": "x"}},
			"spec":     map[string]any{"containers": []any{map[string]any{"name": "x", "image": "x"}}},
		},
		"replicas": int64(0),
	}
	trigger := []any{map[string]any{"type": "cron", "metadata": map[string]any{"timezone": "UTC", "start": "0 1 * * *", "end": "0 2 * * *", "desiredReplicas": "1"}}}
	specs := map[string]map[string]any{
		"keda.sh/v1alpha1 ScaledObject": {"scaleTargetRef": map[string]any{"name": "nobody"}, "triggers": trigger},
		"keda.sh/v1alpha1 ScaledJob": {"triggers": trigger, "jobTargetRef": map[string]any{"template": map[string]any{"spec": map[string]any{
			"containers": []any{map[string]any{"name": "x", "image": "x"}}, "restartPolicy": "Never",
		}}}},
		"keda.sh/v1alpha1 TriggerAuthentication":     {"secretTargetRef": []any{map[string]any{"parameter": "x", "name": "x", "key": "x"}}},
		"eventing.keda.sh/v1alpha1 CloudEventSource": {"clusterName": "x", "destination": map[string]any{"http": map[string]any{"uri": "http://127.0.0.1:9"}}},
		"autoscaling/v2 HorizontalPodAutoscaler":     {"maxReplicas": int64(1), "scaleTargetRef": map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "nobody"}},
		"apps/v1 Deployment":                         pods,
		"apps/v1 StatefulSet":                        pods,
		"apps/v1 ReplicaSet":                         pods,
	}
	for name, spec := range specs {
		version, kind, _ := strings.Cut(name, " ")
		t.Run(kind, func(t *testing.T) {
			marked := func() *unstructured.Unstructured {
				o := enemy.object(kind, "marked")
				o.SetAPIVersion(version)
				o.SetSelfLink("sluice.dev/cut: x")
				o.Object["spec"] = spec
				return o
			}
			for verb, write := range map[string]func(o *unstructured.Unstructured) error{
				"create": func(o *unstructured.Unstructured) error { return enemy.client.Create(t.Context(), o) },
				"update": func(o *unstructured.Unstructured) error {
					live, err := stored(t, enemy, o)
					if err != nil {
						return err
					}
					o.SetResourceVersion(live.GetResourceVersion())
					o.SetUID(live.GetUID())
					o.SetLabels(map[string]string{"changed": "update"})
					return enemy.client.Update(t.Context(), o)
				},
				"patch": func(o *unstructured.Unstructured) error {
					text, err := json.Marshal(map[string]any{"metadata": map[string]any{"selfLink": o.GetSelfLink(), "labels": map[string]any{"changed": "patch"}}})
					if err != nil {
						return err
					}
					return enemy.client.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, text))
				},
				"apply": func(o *unstructured.Unstructured) error {
					o.SetLabels(map[string]string{"changed": "apply"})
					return enemy.client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o),
						client.FieldOwner(localcluster.FieldManager), client.ForceOwnership)
				},
			} {
				if verb != "create" {
					if err := client.IgnoreAlreadyExists(enemy.client.Create(t.Context(), marked())); err != nil {
						t.Fatal(err)
					}
				} else if err := client.IgnoreNotFound(enemy.client.Delete(t.Context(), marked())); err != nil {
					t.Fatal(err)
				}
				wait(t, verb, func() (bool, string) {
					err := write(marked())
					return err == nil, fmt.Sprint(err)
				})
				live, err := stored(t, enemy, marked())
				if err != nil || live.GetSelfLink() != "" || verb != "create" && live.GetLabels()["changed"] != verb {
					t.Errorf("%s: kept %q, labels %v, %v", verb, live.GetSelfLink(), live.GetLabels(), err)
				}
			}
		})
	}
}

// stored is an object as the API server has it.
func stored(t *testing.T, h house, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	t.Helper()
	live := o.DeepCopy()
	return live, h.client.Get(t.Context(), client.ObjectKeyFromObject(o), live)
}
