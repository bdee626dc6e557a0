package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// compared is what of the answer of a controller in shadow is looked at.
type compared struct {
	Mode, Leader string
	Objects      []comparedObject
}

type comparedObject struct {
	Kind, Name, Verdict, Active string
	Replicas, Would, Wants      *int32
	Differences                 []struct{ Reason, Text string }
	Metrics                     []struct {
		Name   string
		Value  *float64
		Theirs *struct{ Value float64 }
	}
}

// askShadow asks a controller what it compared, by kubectl port-forward.
func askShadow(t *testing.T, i *localcluster.Instance, namespace string) (d compared, text string) {
	t.Helper()
	address, stop, err := i.PortForward(t.Context(), "metrics")
	if err != nil {
		return d, err.Error()
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/shadow?namespace="+namespace, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return d, err.Error()
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close(), json.Unmarshal(body, &d)); err != nil {
		return compared{}, fmt.Sprint(response.Status, " ", string(body), " ", err)
	}
	return d, string(body)
}

// waitShadow waits for what a controller compares of a namespace.
func waitShadow(t *testing.T, i *localcluster.Instance, namespace string, done func(compared) bool) {
	t.Helper()
	wait(t, i.Name()+" in shadow", func() (bool, string) {
		d, text := askShadow(t, i, namespace)
		return d.Mode == "shadow" && done(d), text
	})
}

// kedas makes an object KEDA's: its label, its finalizer, its status and its HPA,
// by the name that KEDA gives the metric.
func (o object) kedas(metric, target string, active string) {
	o.t.Helper()
	so := o.scaledObject()
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil,
		`{"metadata":{"labels":{"scaledobject.keda.sh/name":%q},"finalizers":["finalizer.keda.sh"]}}`, o.name))
	if err := world.cluster.Client().Patch(o.t.Context(), so, patch); err != nil {
		o.t.Fatal(err)
	}
	status, err := json.Marshal(map[string]any{"status": map[string]any{
		"hpaName": "keda-hpa-" + o.name, "externalMetricNames": []string{metric}, "lastActiveTime": metav1.Now(),
		"scaleTargetKind": "apps/v1.Deployment",
		"scaleTargetGVKR": map[string]any{"group": "apps", "version": "v1", "kind": "Deployment", "resource": "deployments"},
		"conditions": []any{
			map[string]any{"type": "Ready", "status": "True", "reason": "ScaledObjectReady", "message": "ScaledObject is defined correctly and is ready for scaling"},
			map[string]any{"type": "Active", "status": active, "reason": "ScalerActive", "message": ""},
			map[string]any{"type": "Fallback", "status": "False", "reason": "NoFallbackFound", "message": ""},
			map[string]any{"type": "Paused", "status": "Unknown"},
		},
	}})
	if err != nil {
		o.t.Fatal(err)
	}
	if err := world.cluster.Client().Status().Patch(o.t.Context(), so, client.RawPatch(types.MergePatchType, status)); err != nil {
		o.t.Fatal(err)
	}
	hpa := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: o.namespace, Name: "keda-hpa-" + o.name,
			Labels: map[string]string{
				"app.kubernetes.io/name": "keda-hpa-" + o.name, "app.kubernetes.io/version": "2.20.1",
				"app.kubernetes.io/part-of": o.name, "app.kubernetes.io/managed-by": "keda-operator", "scaledobject.keda.sh/name": o.name,
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "keda.sh/v1alpha1", Kind: "ScaledObject", Name: o.name, UID: so.GetUID(), Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
			}},
		},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: o.name},
			MinReplicas:    ptr.To[int32](1), MaxReplicas: 20,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
				Metric: autoscalingv2.MetricIdentifier{Name: metric, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"scaledobject.keda.sh/name": o.name}}},
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr.To(resource.MustParse(target))},
			}}},
		},
	}
	if err := world.cluster.Client().Create(o.t.Context(), hpa); err != nil {
		o.t.Fatal(err)
	}
}

// TestFaultShadowOfKEDA has a KEDA lead, with objects, HPAs and status as KEDA
// makes them, played by this test. Sluice reads and decides and writes nothing,
// by the API server's own log; says of each object whether both do the same; and
// takes over when KEDA goes without a replica that changes but by load. Then KEDA
// comes back, and Sluice only follows again.
func TestFaultShadowOfKEDA(t *testing.T) {
	ns := namespace(t)
	leave := holdLease(t, ns)
	waitShadow(t, leader(t), ns, func(compared) bool { return true })
	began := time.Now()

	source := func(name string, waiting int64, replicas int32, active string) object {
		a := &api{}
		a.waiting.Store(waiting)
		a.start(t)
		t.Cleanup(a.stop)
		s := quick(brokers.Trigger{Type: "metrics-api", Metadata: map[string]string{
			"url": "http://" + a.address, "valueLocation": "waiting", "targetValue": "5",
		}})
		s["pollingInterval"], s["cooldownPeriod"] = 1, 3600
		o := scale(t, ns, name, replicas, s)
		o.kedas("s0-metric-api-waiting", "5", active)
		return o
	}
	resting, working := source("resting", 0, 0, "False"), source("working", 15, 3, "True")
	late := source("late", 10, 0, "False") // KEDA does not wake it
	s := quick(brokers.Trigger{Type: "liiklus", Metadata: map[string]string{"topic": "any"}})
	unserved := scale(t, ns, "unserved", 2, s)
	unserved.kedas("s0-liiklus-any", "5", "True")

	for _, i := range instances(t, "controller") { // any of them answers
		want := map[string]string{"resting": "agrees", "working": "agrees", "late": "differs replicas activity", "unserved": "differs missing family"}
		waitShadow(t, i, ns, func(d compared) bool {
			for _, o := range d.Objects {
				reasons := o.Verdict
				for _, d := range o.Differences {
					reasons += " " + d.Reason
				}
				for _, word := range strings.Fields(want[o.Name]) {
					if !strings.Contains(reasons, word) {
						return false
					}
				}
				// The HPA was told the same, and wants what is there.
				if o.Name == "working" && (o.Metrics[0].Theirs == nil || o.Metrics[0].Theirs.Value != 15 || *o.Metrics[0].Value != 15 || *o.Wants != 3) {
					return false
				}
			}
			return len(d.Objects) == len(want)
		})
	}
	wrote := func() []localcluster.Request {
		t.Helper()
		writes, err := world.cluster.AuditAbout(ns, func(r *localcluster.Request) bool {
			return r.User.Username == "system:serviceaccount:sluice-system:controller" && r.Write() && r.Received.After(began)
		})
		if err != nil {
			t.Fatal(err)
		}
		return writes
	}
	for _, r := range wrote() {
		t.Errorf("in shadow: %s %s", r.Verb, r.URI)
	}

	check := onlyChanged(t, late)
	gone := time.Now()
	leave()
	late.waitReplicas(2)
	for _, o := range []object{resting, working} {
		o.wait("the status of Sluice", func() (bool, string) {
			return len(wrote()) > 0 && o.condition("Ready")["status"] == "True" && o.condition("Active") != nil, o.describe()
		})
	}
	working.wait("the HPA to ask three times", func() (bool, string) {
		asked, err := world.cluster.AuditAbout(ns, func(r *localcluster.Request) bool {
			return r.Object.APIGroup == "external.metrics.k8s.io" && strings.Contains(r.URI, "working") && r.Received.After(gone)
		})
		return err == nil && len(asked) >= 3, fmt.Sprint(len(asked), err)
	})
	check()
	working.unmoved(3)
	resting.unmoved(0)

	holdLease(t, namespace(t))
	waitShadow(t, leader(t), ns, func(d compared) bool { return len(d.Objects) == 4 })
}
