package main

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/kube/kubetest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// workload is a valid trigger with changes; an empty text takes a key away.
func workload(changes map[string]string) map[string]string {
	metadata := map[string]string{"podSelector": "app=orders", "value": "2"}
	maps.Copy(metadata, changes)
	return metadata
}

// newPod is a Pod of the app "orders" in the namespace that tests ask for.
func newPod(name, node, phase string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "orders", "pod": name}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "app", Image: "app"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodPhase(phase)},
	}
}

func TestWorkload(t *testing.T) {
	server := kubetest.Start(t)
	leaving := newPod("leaving", "n2", "Running")
	leaving.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	other := newPod("elsewhere", "n9", "Running")
	other.Namespace = "bank"
	server.Put(newPod("a", "n1", "Running"), newPod("b", "n1", "Unknown"), newPod("c", "", "Pending"),
		newPod("d", "n3", "Succeeded"), newPod("e", "n4", "Failed"), leaving, other)
	tests := map[string]struct {
		metadata map[string]string
		want     scalertest.Observation
	}{
		"Pods that have not ended": {nil, scalertest.Observation{Value: 4, Active: true}},
		"at the threshold":         {map[string]string{"activationValue": "4"}, scalertest.Observation{Value: 4}},
		"above the threshold":      {map[string]string{"activationValue": "3.9"}, scalertest.Observation{Value: 4, Active: true}},
		"their nodes":              {map[string]string{"groupByNode": "true"}, scalertest.Observation{Value: 2, Active: true}},
		"a set of values":          {map[string]string{"podSelector": "app in (orders, bills), pod notin (a)"}, scalertest.Observation{Value: 3, Active: true}},
		"ended Pods alone":         {map[string]string{"podSelector": "pod in (d,e)"}, scalertest.Observation{}},
		"nobody":                   {map[string]string{"podSelector": "app=nobody"}, scalertest.Observation{}},
		"a Pod without a node is on none of them": {map[string]string{"podSelector": "pod=c", "groupByNode": "true"}, scalertest.Observation{}},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := family.Observe(t.Context(), "kubernetes-workload", workload(tt.metadata))
			if err != nil || got != tt.want {
				t.Errorf("observation = %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

func TestWorkloadParameters(t *testing.T) {
	tests := map[string]struct {
		metadata map[string]string
		message  string
	}{
		"many requirements": {map[string]string{"podSelector": strings.Repeat("!a,", 64) + "b"}, "podSelector: has more than 64 requirements, or 256 values"},
		"many values":       {map[string]string{"podSelector": "app in (" + manyValues() + ")"}, "podSelector: has more than 64 requirements, or 256 values"},
		"a list for hours":  {map[string]string{"podSelector": "app in (" + strings.Repeat("a,", 30_000) + "a)"}, "podSelector: is longer than 4096 bytes"},
		"no selector":       {map[string]string{"podSelector": ""}, "podSelector: is required (looked in metadata)"},
		"no value":          {map[string]string{"value": ""}, "value: must be a positive number"},
		"zero":              {map[string]string{"value": "0"}, "value: must be a positive number"},
		"negative":          {map[string]string{"value": "-1"}, "value: must be a positive number"},
		"no number":         {map[string]string{"value": "two"}, `value: "two" is not a number`},
		"neither true":      {map[string]string{"groupByNode": "yes"}, `groupByNode: "yes" is neither true nor false`},
		"everything at all": {map[string]string{"podSelector": "", "value": "0", "activationValue": "x"}, `podSelector: is required (looked in metadata); activationValue: "x" is not a number; value: must be a positive number`},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := family.Specs(t.Context(), "kubernetes-workload", workload(tt.metadata))
			if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "kubernetes-workload: "+tt.message {
				t.Errorf("error = %v, want %q", err, "kubernetes-workload: "+tt.message)
			}
		})
	}
	_, err := family.Specs(t.Context(), "kubernetes-workload", workload(map[string]string{"podSelector": "app in"}))
	if !strings.HasPrefix(status.Convert(err).Message(), "kubernetes-workload: podSelector: is not a label selector: ") {
		t.Errorf("error = %v", err)
	}
	specs, err := family.WithReserved(map[string]string{scalerv1.KeyMetricSource: "true"}).
		Specs(t.Context(), "kubernetes-workload", workload(map[string]string{"value": ""}))
	if err != nil || specs[0].GetMetricName() != "workload-default" {
		t.Errorf("in a formula: %v, %v", specs, err)
	}
	if got := (workloadParams{PodSelector: " "}).Warnings(); len(got) != 1 {
		t.Errorf("warnings for everything = %q", got)
	}
}

// TestPodsRing: the interval is an hour, so only the watch can tell.
func TestPodsRing(t *testing.T) {
	server := kubetest.Start(t)
	family := scalertest.Serve(t, triggers...)
	watching := family.Watch(t, "kubernetes-workload", workload(map[string]string{"activationValue": "1"}), scalerv1.Mode_MODE_IDLE, time.Hour)
	expect := func(what string, satisfied func(*scalerv1.Observation) bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := watching.Until(ctx, what, satisfied); err != nil {
			t.Fatal(err)
		}
	}
	expect("no Pod", scalertest.Inactive)
	server.Put(newPod("a", "n1", "Pending"), newPod("b", "n1", "Pending"))
	expect("two Pods", scalertest.Active)
	server.Delete(newPod("a", "", ""))
	expect("one Pod", scalertest.Inactive)
}

// TestThousandTriggersShareOneWatch has a thousand selectors of one namespace.
func TestThousandTriggersShareOneWatch(t *testing.T) {
	server := kubetest.Start(t)
	for i := range 100 {
		server.Put(newPod(fmt.Sprintf("p%d", i), "n", "Running"))
	}
	family := scalertest.Serve(t, triggers...)
	for i := range 1000 {
		got, err := family.External.IsActive(t.Context(), family.Ref("kubernetes-workload",
			workload(map[string]string{"podSelector": fmt.Sprintf("pod=p%d,app!=x%d", i%200, i)})))
		if err != nil || got.GetResult() != (i%200 < 100) {
			t.Fatalf("trigger %d: %v, %v", i, got, err)
		}
	}
	if got := server.Requests("pods"); got > 2 {
		t.Errorf("%d requests, want at most a list and a watch", got)
	}
}

// TestWithoutThePermission says by name what is missing, and goes on when it is
// granted. What was read before is not told any more.
func TestWithoutThePermission(t *testing.T) {
	server := kubetest.Start(t)
	server.Put(newPod("a", "n1", "Running"), configMap("limits", "n", "7"))
	server.Forbid("pods", "default", true)
	server.Forbid("configmaps", "default", true)
	family := scalertest.Serve(t, triggers...)
	grant := "ServiceAccount scaler-test of namespace sluice-system may not read them; grant it with: " +
		"kubectl create rolebinding sluice-scaler-kubernetes --namespace=default --clusterrole=sluice-scaler-kubernetes --serviceaccount=sluice-system:scaler-test"
	for triggerType, tt := range map[string]struct {
		metadata map[string]string
		what     string
	}{
		"kubernetes-workload": {workload(nil), "pods of namespace default"},
		"kubernetes-resource": {resource(nil), "configmaps default/limits"},
	} {
		_, err := family.Observe(t.Context(), triggerType, tt.metadata)
		want := triggerType + ": " + tt.what + ": " + grant
		if status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != want {
			t.Errorf("error = %v, want PermissionDenied %q", err, want)
		}
	}
	server.Forbid("pods", "default", false)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		got, err := family.Observe(ctx, "kubernetes-workload", workload(nil))
		if err == nil && got == (scalertest.Observation{Value: 1, Active: true}) {
			return
		}
		if status.Code(err) != codes.PermissionDenied {
			t.Fatalf("after the grant: %+v, %v", got, err)
		}
	}
}

// manyValues are 257 values of a list.
func manyValues() string {
	var values []string
	for i := range mostValues + 1 {
		values = append(values, fmt.Sprint(i))
	}
	return strings.Join(values, ",")
}
