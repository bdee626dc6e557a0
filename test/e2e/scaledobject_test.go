package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
)

// row is one object and the counter that it scales on, as one row of what a
// user can see of a ScaledObject.
type row struct {
	object
	script *script
}

// start makes the object with replicas; s is its spec less target and triggers.
func (r row) start(replicas int32, s spec) {
	r.t.Helper()
	r.deployment(replicas)
	r.change(s)
	r.waitCondition("Ready", "True", "")
}

// change applies a spec, with the counter as trigger unless it has its own.
func (r row) change(s spec) {
	r.t.Helper()
	all := spec{"pollingInterval": 1, "cooldownPeriod": 1, "maxReplicaCount": 20, "triggers": triggers(r.trigger())}
	maps.Copy(all, s)
	r.apply(all)
}

func (r row) trigger() brokers.Trigger { return r.script.trigger(r.name, nil) }

func (r row) set(value float64) { r.script.set(r.name, value) }

// annotate sets an annotation of the object; "" as value takes it away.
func (r row) annotate(key, value string) {
	r.t.Helper()
	var to any = value
	if value == "" {
		to = nil
	}
	r.patch(map[string]any{"metadata": map[string]any{"annotations": map[string]any{key: to}}})
}

// label sets labels of the object.
func (r row) label(labels map[string]any) {
	r.t.Helper()
	r.patch(map[string]any{"metadata": map[string]any{"labels": labels}})
}

func (r row) patch(change map[string]any) {
	r.t.Helper()
	patch, err := json.Marshal(change)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := world.cluster.Client().Patch(r.t.Context(), r.scaledObject(), client.RawPatch(types.MergePatchType, patch)); err != nil {
		r.t.Fatal(err)
	}
}

// scaleTarget writes the target's replicas as a user does.
func (r row) scaleTarget(replicas int32) {
	r.t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: r.name}}
	if err := world.cluster.Client().Patch(r.t.Context(), d, client.RawPatch(types.MergePatchType, patch)); err != nil {
		r.t.Fatal(err)
	}
}

// remove deletes the object and waits until it is gone.
func (r row) remove() {
	r.t.Helper()
	if err := world.cluster.Client().Delete(r.t.Context(), r.scaledObject()); err != nil {
		r.t.Fatal(err)
	}
	r.wait("the object to go", func() (bool, string) {
		err := world.cluster.Client().Get(r.t.Context(), r.key(), r.scaledObject())
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
}

// kedaHPA is the HPA that KEDA makes for an object, or made for one that is
// gone when so is nil.
func kedaHPA(o object, so *unstructured.Unstructured) *autoscalingv2.HorizontalPodAutoscaler {
	target := resource.MustParse("5")
	hpa := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: o.namespace, Name: "keda-hpa-" + o.name,
			Labels: map[string]string{
				"app.kubernetes.io/managed-by": "keda-operator", "app.kubernetes.io/name": "keda-hpa-" + o.name,
				"app.kubernetes.io/part-of": o.name, "app.kubernetes.io/version": "2.18.0", "scaledobject.keda.sh/name": o.name,
			},
		},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: o.name},
			MinReplicas:    ptr.To[int32](2), MaxReplicas: 9,
			Metrics: []autoscalingv2.MetricSpec{{
				Type: autoscalingv2.ExternalMetricSourceType,
				External: &autoscalingv2.ExternalMetricSource{
					Metric: autoscalingv2.MetricIdentifier{
						Name:     "s0-old",
						Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"scaledobject.keda.sh/name": o.name}},
					},
					Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: &target},
				},
			}},
		},
	}
	if so != nil {
		hpa.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(so, so.GroupVersionKind())}
	}
	return hpa
}

// status is a field of the object's status, nil when it is absent.
func (r row) status(path ...string) any {
	r.t.Helper()
	so := r.scaledObject()
	if err := world.cluster.Client().Get(r.t.Context(), r.key(), so); err != nil {
		r.t.Fatal(err)
	}
	value, _, err := unstructured.NestedFieldNoCopy(so.Object, append([]string{"status"}, path...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	return value
}

func (r row) waitStatus(want any, path ...string) {
	r.t.Helper()
	r.wait(fmt.Sprintf("status.%s %v", strings.Join(path, "."), want), func() (bool, string) {
		have := r.status(path...)
		return fmt.Sprint(have) == fmt.Sprint(want), fmt.Sprint(have)
	})
}

// waitHPA waits until the object's HPA is as wanted; nil is none.
func (r row) waitHPA(what string, wanted func(*autoscalingv2.HorizontalPodAutoscaler) bool) {
	r.t.Helper()
	r.wait("HPA "+what, func() (bool, string) {
		hpa := r.hpa()
		return wanted(hpa), fmt.Sprintf("%+v; %s", hpa, r.describe())
	})
}

// waitEvents waits until the object has an event of each reason.
func (r row) waitEvents(reasons ...string) {
	r.t.Helper()
	r.wait("events "+strings.Join(reasons, ", "), func() (bool, string) {
		var list eventsv1.EventList
		if err := world.cluster.Client().List(r.t.Context(), &list, client.InNamespace(r.namespace)); err != nil {
			r.t.Fatal(err)
		}
		var saw []string
		for i := range list.Items {
			if e := &list.Items[i]; e.Regarding.Kind == "ScaledObject" && e.Regarding.Name == r.name {
				saw = append(saw, e.Reason)
			}
		}
		return !slices.ContainsFunc(reasons, func(reason string) bool { return !slices.Contains(saw, reason) }), fmt.Sprint(saw)
	})
}

// waitReason waits for a condition's status and reason.
func (r row) waitReason(conditionType, status, reason string) {
	r.t.Helper()
	r.wait(fmt.Sprintf("%s=%s %s", conditionType, status, reason), func() (bool, string) {
		c := r.condition(conditionType)
		return c["status"] == status && c["reason"] == reason, r.describe()
	})
}

func (o object) wantReplicas(want int32) {
	o.t.Helper()
	if have := o.replicas(); have != want {
		o.t.Errorf("%s: %d replicas, want %d", o.target(), have, want)
	}
}

// fallsBack is a row of one fallback behavior: the trigger fails while the
// target has what work comes to.
func fallsBack(behavior string, work float64, replicas, want int32) func(row) {
	return func(r row) {
		r.start(0, spec{
			"fallback": map[string]any{"failureThreshold": 0, "replicas": replicas, "behavior": behavior},
			"advanced": map[string]any{"horizontalPodAutoscalerConfig": map[string]any{
				"behavior": map[string]any{"scaleDown": map[string]any{"stabilizationWindowSeconds": 0}},
			}},
		})
		r.set(work)
		r.waitReplicas(int32(work / 5))
		r.script.fail(r.name)
		r.wait(fmt.Sprintf("a verdict of %d", want), func() (bool, string) {
			verdicts, _ := r.status("fallback").([]any)
			if len(verdicts) != 1 {
				return false, r.describe()
			}
			verdict, _ := verdicts[0].(map[string]any)
			return fmt.Sprint(verdict["behavior"], verdict["replicas"]) == fmt.Sprint(behavior, want), fmt.Sprint(verdict)
		})
		r.waitReplicas(want)
	}
}

func none(hpa *autoscalingv2.HorizontalPodAutoscaler) bool { return hpa == nil }

func some(hpa *autoscalingv2.HorizontalPodAutoscaler) bool { return hpa != nil }

// TestScaledObject has one row for each thing that a user of KEDA knows of a
// ScaledObject.
func TestScaledObject(t *testing.T) {
	t.Parallel()
	rows := map[string]func(row){
		"events tell of start, activation and deactivation": func(r row) {
			r.start(0, nil)
			r.waitEvents("ScaledObjectReady", "KEDAScalersStarted")
			r.set(50)
			r.waitReplicas(10)
			r.waitReason("Active", "True", "ScalerActive")
			r.waitStatus(true, "triggersActivity", "s0-count", "isActive")
			r.set(0)
			r.waitReplicas(0)
			r.waitReason("Active", "False", "ScalerNotActive")
			r.waitEvents("KEDAScaleTargetActivated", "KEDAScaleTargetDeactivated")
		},
		"paused freezes the target": func(r row) {
			r.start(0, nil)
			r.set(50)
			r.waitReplicas(10)
			r.annotate("autoscaling.keda.sh/paused", "true")
			r.waitReason("Paused", "True", "ScaledObjectPaused")
			r.waitHPA("gone", none)
			r.waitCondition("Ready", "True", "paused")
			r.set(0)
			r.wantReplicas(10)
			r.annotate("autoscaling.keda.sh/paused", "false")
			r.waitReason("Paused", "False", "ScaledObjectUnpaused")
			r.waitHPA("back", some)
			r.waitReplicas(0)
			r.waitEvents("ScaledObjectPaused", "KEDAScalersStopped", "ScaledObjectUnpaused")
		},
		"paused-replicas holds a number": func(r row) {
			r.start(0, nil)
			r.annotate("autoscaling.keda.sh/paused-replicas", "3")
			r.waitReplicas(3)
			r.waitStatus(3, "pausedReplicaCount")
			r.annotate("autoscaling.keda.sh/paused-replicas", "4")
			r.waitReplicas(4)
			r.annotate("autoscaling.keda.sh/paused-replicas", "many")
			r.waitCondition("Ready", "False", `annotation autoscaling.keda.sh/paused-replicas: "many" is not a replica count`)
			r.wantReplicas(4)
			r.annotate("autoscaling.keda.sh/paused-replicas", "")
			r.waitReplicas(0)
			r.waitStatus(nil, "pausedReplicaCount")
			r.waitCondition("Ready", "True", "")
		},
		"paused-scale-out wakes nothing": func(r row) {
			r.start(0, nil)
			r.annotate("autoscaling.keda.sh/paused-scale-out", "true")
			r.waitHPA("with scale-up disabled", func(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
				return hpa != nil && hpa.Spec.Behavior != nil && *hpa.Spec.Behavior.ScaleUp.SelectPolicy == autoscalingv2.DisabledPolicySelect
			})
			r.set(50)
			r.waitReason("Active", "True", "ScalerActive")
			r.wantReplicas(0)
			r.annotate("autoscaling.keda.sh/paused-scale-out", "")
			r.waitReplicas(10)
			r.waitHPA("without a behavior", func(hpa *autoscalingv2.HorizontalPodAutoscaler) bool { return hpa != nil && hpa.Spec.Behavior == nil })
		},
		"paused-scale-in puts nothing to rest": func(r row) {
			r.start(0, nil)
			r.set(50)
			r.waitReplicas(10)
			r.annotate("autoscaling.keda.sh/paused-scale-in", "true")
			r.waitHPA("with scale-down disabled", func(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
				return hpa != nil && hpa.Spec.Behavior != nil && *hpa.Spec.Behavior.ScaleDown.SelectPolicy == autoscalingv2.DisabledPolicySelect
			})
			r.set(0)
			r.waitReason("Active", "False", "ScalerNotActive")
			r.wantReplicas(10)
			r.annotate("autoscaling.keda.sh/paused-scale-in", "")
			r.waitReplicas(0)
		},
		"force-activation keeps the floor": func(r row) {
			r.start(0, nil)
			r.annotate("autoscaling.keda.sh/force-activation", "true")
			r.waitReplicas(1)
			r.waitReason("Active", "True", "ScalerActive")
			r.annotate("autoscaling.keda.sh/force-activation", "")
			r.waitReplicas(0)
		},
		"idle is left for min and gone back to": func(r row) {
			r.start(2, spec{"minReplicaCount": 2, "idleReplicaCount": 0})
			r.waitReplicas(0)
			r.set(1)
			r.waitReplicas(2)
			r.set(0)
			r.waitReplicas(0)
		},
		"a running target without work goes to rest at once": func(r row) {
			r.start(3, spec{"cooldownPeriod": 3600}) // which counts from activity
			r.waitReplicas(0)
			r.scaleTarget(4) // by hand, long after
			r.waitReplicas(0)
		},
		"the initial cooldown holds a new target": func(r row) {
			r.start(3, spec{"initialCooldownPeriod": 3600})
			r.waitReason("Active", "False", "ScalerCooldown")
			r.wantReplicas(3)
		},
		"min is kept without work": func(r row) {
			r.start(0, spec{"minReplicaCount": 2})
			r.waitReplicas(2)
		},
		"a manual zero while active is undone": func(r row) {
			r.start(0, nil)
			r.set(50)
			r.waitReplicas(10)
			r.scaleTarget(0)
			r.waitReplicas(10)
		},
		"activation one takes KEDA's step": func(r row) {
			recorder, err := world.cluster.RecordReplicas(r.t.Context())
			if err != nil {
				r.t.Fatal(err)
			}
			r.t.Cleanup(recorder.Stop)
			r.start(0, nil)
			r.annotate("sluice.dev/activation", "one")
			r.set(50)
			r.wait("the HPA goes on from one", func() (bool, string) {
				var steps []int32
				for _, change := range recorder.Changes() {
					if change.Object() == r.target() {
						steps = append(steps, change.To)
					}
				}
				return len(steps) > 1 && steps[0] == 1 && steps[1] > 1, fmt.Sprint(steps)
			})
		},
		"deletion restores the original replicas": func(r row) {
			r.start(3, spec{"minReplicaCount": 1, "advanced": map[string]any{"restoreToOriginalReplicaCount": true}})
			r.waitStatus(3, "originalReplicaCount")
			r.scaleTarget(6)
			r.remove()
			r.wantReplicas(3)
			if hpa := r.hpa(); hpa != nil {
				r.t.Errorf("HPA %s outlives the object", hpa.Name)
			}
			r.waitEvents("ScaledObjectDeleted")
		},
		"deletion does not wait for a target that is gone": func(r row) {
			r.start(3, spec{"minReplicaCount": 1, "advanced": map[string]any{"restoreToOriginalReplicaCount": true}})
			target := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: r.name}}
			if err := world.cluster.Client().Delete(r.t.Context(), target); err != nil {
				r.t.Fatal(err)
			}
			r.remove()
		},
		"a target that comes later is found": func(r row) {
			r.change(nil)
			r.waitCondition("Ready", "False", "scaleTargetRef: apps/v1.Deployment "+r.target()+" not found")
			r.waitReason("Ready", "False", "ScaledObjectCheckFailed")
			r.set(50)
			r.deployment(0)
			r.waitReplicas(10)
			r.waitCondition("Ready", "True", "")
		},
		"the HPA has name, labels and annotations of the object": func(r row) {
			named := func(name string) spec {
				return spec{"advanced": map[string]any{"horizontalPodAutoscalerConfig": map[string]any{"name": name}}}
			}
			r.start(0, named("keda-hpa-"+r.name))
			r.label(map[string]any{"team": "a", "secretive": "yes"})
			r.annotate("scaledobject.keda.sh/hpa-excluded-labels", "secretive,other")
			r.annotate("example.org/note", "kept")
			r.waitHPA("with labels and annotations", func(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
				return hpa != nil && hpa.Labels["team"] == "a" && hpa.Labels["secretive"] == "" && hpa.Annotations["example.org/note"] == "kept" &&
					hpa.Labels["app.kubernetes.io/managed-by"] == "keda-operator" && hpa.Labels["app.kubernetes.io/part-of"] == r.name &&
					hpa.Labels["app.kubernetes.io/name"] == hpa.Name && hpa.Labels["scaledobject.keda.sh/name"] == r.name
			})
			r.change(named("own-" + r.name))
			r.waitHPA("gone under its old name", none)
			r.waitStatus("own-"+r.name, "hpaName")
		},
		"an HPA that KEDA made is taken over": func(r row) {
			r.deployment(2)
			r.change(spec{"minReplicaCount": 1, "triggers": []map[string]any{{"type": "not-there-yet", "metadata": map[string]any{}}}})
			r.waitCondition("Ready", "False", "Service scaler-not-there-yet not found")
			so := r.scaledObject()
			if err := world.cluster.Client().Get(r.t.Context(), r.key(), so); err != nil {
				r.t.Fatal(err)
			}
			hpa := kedaHPA(r.object, so)
			if err := world.cluster.Client().Create(r.t.Context(), hpa); err != nil {
				r.t.Fatal(err)
			}
			r.change(spec{"minReplicaCount": 1})
			r.waitCondition("Ready", "True", "")
			r.waitHPA("of Sluice in place", func(now *autoscalingv2.HorizontalPodAutoscaler) bool {
				return now != nil && now.UID == hpa.UID && *now.Spec.MinReplicas == 1 && now.Labels["app.kubernetes.io/version"] != "2.18.0" &&
					slices.Equal(metricNames(now), []string{"s0-count"}) && len(now.OwnerReferences) == 1
			})
		},
		"an HPA of somebody else is taken over when asked": func(r row) {
			r.deployment(2)
			hpa := kedaHPA(r.object, nil)
			hpa.Name = "legacy"
			if err := world.cluster.Client().Create(r.t.Context(), hpa); err != nil {
				r.t.Fatal(err)
			}
			err := r.applyWith(map[string]any{"scaledobject.keda.sh/transfer-hpa-ownership": "true"}, spec{
				"pollingInterval": 1, "triggers": triggers(r.trigger()), "minReplicaCount": 1,
				"advanced": map[string]any{"horizontalPodAutoscalerConfig": map[string]any{"name": "legacy"}},
			})
			if err != nil {
				r.t.Fatal(err)
			}
			r.waitCondition("Ready", "True", "")
			r.waitStatus("legacy", "hpaName")
			now := &autoscalingv2.HorizontalPodAutoscaler{}
			if err := world.cluster.Client().Get(r.t.Context(), client.ObjectKeyFromObject(hpa), now); err != nil {
				r.t.Fatal(err)
			}
			if owner := metav1.GetControllerOf(now); owner == nil || owner.Name != r.name {
				r.t.Errorf("owner %+v", owner)
			}
		},
		"a formula makes one metric of several": func(r row) {
			two := triggers(r.script.trigger(r.name, nil), r.script.trigger(r.name+"-b", nil))
			two[0]["name"], two[1]["name"] = "a", "b"
			r.start(0, spec{"triggers": two, "advanced": map[string]any{"scalingModifiers": map[string]any{"formula": "a + b", "target": "5"}}})
			r.waitStatus("composite-metric", "compositeScalerName")
			r.set(5)
			r.script.set(r.name+"-b", 10)
			r.waitReplicas(3)
			r.waitStatus(true, "triggersActivity", "s1-count", "isActive")
			r.waitHPA("of one metric", func(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
				return hpa != nil && slices.Equal(metricNames(hpa), []string{"composite-metric"})
			})
			r.change(spec{"triggers": two})
			r.waitStatus(nil, "compositeScalerName")
		},
		"a fallback stands in for a trigger that keeps failing": func(r row) {
			r.start(0, spec{"fallback": map[string]any{"failureThreshold": 1, "replicas": 4}})
			r.script.fail(r.name)
			r.waitReason("Fallback", "True", "FallbackExists")
			r.waitCondition("Fallback", "True", "trigger 0 (external-push): ")
			r.waitStatus("Failing", "health", "s0-count", "status")
			r.waitReplicas(4)
			r.set(0)
			r.waitReason("Fallback", "False", "NoFallbackFound")
			r.waitStatus("Happy", "health", "s0-count", "status")
			r.waitStatus(0, "health", "s0-count", "numberOfFailures")
			r.waitReplicas(0)
			r.waitEvents("KEDAScalerFailed", "ScaledObjectFallbackActivated", "ScaledObjectFallbackDeactivated")
		},
		"fallback static":                              fallsBack("static", 20, 3, 3),
		"fallback currentReplicas":                     fallsBack("currentReplicas", 20, 3, 4),
		"fallback currentReplicasIfHigher, higher":     fallsBack("currentReplicasIfHigher", 20, 3, 4),
		"fallback currentReplicasIfHigher, not higher": fallsBack("currentReplicasIfHigher", 20, 6, 6),
		"fallback currentReplicasIfLower, lower":       fallsBack("currentReplicasIfLower", 20, 6, 4),
		"fallback currentReplicasIfLower, not lower":   fallsBack("currentReplicasIfLower", 20, 3, 3),
		"a metric of type Value falls back by its ready pods": func(r row) {
			one := triggers(r.trigger())
			one[0]["metricType"] = "Value"
			r.start(0, spec{"triggers": one, "fallback": map[string]any{"failureThreshold": 0, "replicas": 5}})
			r.script.fail(r.name)
			r.waitReplicas(5) // by one first, which is ready then
			// 5 x 5 / 5 pods that are ready: it stays.
			r.waitHPA("told the target", func(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
				current := hpa.Status.CurrentMetrics
				return len(current) == 1 && current[0].External != nil && current[0].External.Current.Value != nil &&
					current[0].External.Current.Value.Value() == 5
			})
			r.wantReplicas(5)
		},
		"a formula does without triggers that fail": func(r row) {
			two := triggers(r.script.trigger(r.name, nil), r.script.trigger(r.name+"-b", nil))
			two[0]["name"], two[1]["name"] = "a", "b"
			r.start(0, spec{
				"triggers": two, "fallback": map[string]any{"failureThreshold": 0, "replicas": 4, "behavior": "scalingModifiers"},
				"advanced": map[string]any{"scalingModifiers": map[string]any{"formula": "a ?? b", "target": "5"}},
			})
			r.set(5)
			r.script.set(r.name+"-b", 10)
			r.waitReplicas(1)
			r.script.fail(r.name)
			r.waitReplicas(2)
			r.waitEvents("KEDAMetricSourceFailed")
			r.script.fail(r.name + "-b")
			r.waitReplicas(4)
			r.waitReason("Active", "True", "ScalerActive")
		},
		"without a fallback a failing trigger holds": func(r row) {
			r.start(0, nil)
			r.set(50)
			r.waitReplicas(10)
			r.script.fail(r.name)
			r.waitReason("Ready", "False", "TriggerError")
			r.waitCondition("Ready", "False", "trigger 0 (external-push): ")
			r.wantReplicas(10)
			r.waitEvents("KEDAScalerFailed")
		},
		"a failing trigger beside a working one": func(r row) {
			other := r.script.trigger(r.name+"-b", nil)
			r.start(0, spec{"triggers": triggers(r.trigger(), other)})
			r.script.fail(r.name + "-b")
			r.set(50)
			r.waitReplicas(10)
			r.waitReason("Ready", "Unknown", "PartialTriggerError")
		},
		"keys that a trigger does not know are told": func(r row) {
			r.start(0, spec{"triggers": triggers(brokers.Trigger{Type: "cron", Metadata: map[string]string{
				"timezone": "UTC", "start": "0 8 * * *", "end": "0 18 * * *", "desiredReplicas": "1", "timezoen": "UTC",
			}})})
			r.waitCondition("Ready", "True", "trigger 0 (cron): timezoen: ")
			r.waitEvents("KEDAScalerInfo")
		},
		"cpu alone is always active": func(r row) {
			r.deployment(0)
			r.change(spec{"minReplicaCount": 1, "triggers": []map[string]any{{
				"type": "cpu", "metricType": "AverageValue", "metadata": map[string]any{"value": "500m"},
			}}})
			r.waitReplicas(1)
			r.waitReason("Active", "True", "ScalerActive")
			r.waitStatus("[cpu]", "resourceMetricNames")
		},
		"a metric of type Value": func(r row) {
			one := triggers(r.trigger())
			one[0]["metricType"] = "Value"
			r.start(0, spec{"triggers": one})
			r.set(5)
			r.waitReplicas(1)
			r.waitHPA("of type Value", func(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
				return hpa != nil && hpa.Spec.Metrics[0].External.Target.Type == autoscalingv2.ValueMetricType
			})
		},
		"useCachedMetrics reads at polls alone": func(r row) {
			polled := func(r row, cached bool) {
				r.set(10)
				one := triggers(brokers.Trigger{Type: "external", Metadata: r.trigger().Metadata})
				one[0]["useCachedMetrics"] = cached
				r.start(1, spec{"pollingInterval": 3600, "minReplicaCount": 1, "triggers": one})
				r.waitReplicas(2)
			}
			control := row{object: object{r.t, r.namespace, r.name + "-control"}, script: r.script}
			polled(control, false)
			polled(r, true)
			before := r.script.reads(r.name)
			r.set(100)
			control.set(100)
			control.waitReplicas(20) // for which the HPA had it read again
			r.wantReplicas(2)
			if now := r.script.reads(r.name); now != before {
				r.t.Errorf("read %d times, want %d", now, before)
			}
		},
		"HPAActive mirrors the HPA": func(r row) {
			r.start(0, nil)
			r.waitReason("HPAActive", "True", "ScalingDisabled")
			r.set(50)
			r.waitReason("HPAActive", "True", "HPAActive")
		},
		"status names what the printer columns show": func(r row) {
			r.start(0, nil)
			for field, want := range map[string]any{
				"scaleTargetKind": "apps/v1.Deployment", "triggersTypes": "external-push",
				"externalMetricNames": "[s0-count]", "hpaName": "keda-hpa-" + r.name,
			} {
				r.waitStatus(want, field)
			}
			r.waitReason("Fallback", "False", "NoFallbackFound")
		},
	}
	script, ns := startScript(t), namespace(t)
	number := 0
	for name, test := range rows {
		number++
		objectName := fmt.Sprintf("row-%d", number)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(row{object: object{t, ns, objectName}, script: script})
		})
	}
}
