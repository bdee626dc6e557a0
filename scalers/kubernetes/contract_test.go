package main

import (
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/kube/kubetest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

func TestContract(t *testing.T) {
	server := kubetest.Start(t)
	server.Put(newPod("a", "n1", "Running"), configMap("limits", "n", "7"))
	// Where the API server is, is no part of a trigger: what asks another one
	// differs in what it asks for as well.
	elsewhere := func(address func(testing.TB) string, metadata map[string]string) func(testing.TB) map[string]string {
		return func(t testing.TB) map[string]string {
			kubetest.Point(t, address(t))
			return metadata
		}
	}
	for name, c := range map[string]scalertest.Case{
		"kubernetes-workload": {
			Trigger:  kubernetesWorkload,
			Metadata: workload(nil),
			Dead:     elsewhere(scalertest.DeadAddress, workload(map[string]string{"podSelector": "app=dead"})),
			Stalled:  elsewhere(scalertest.StalledAddress, workload(map[string]string{"podSelector": "app=stalled"})),
		},
		"kubernetes-resource": {
			Trigger:  kubernetesResource,
			Metadata: resource(nil),
			Dead:     elsewhere(scalertest.DeadAddress, resource(map[string]string{"resourceName": "dead"})),
			Stalled:  elsewhere(scalertest.StalledAddress, resource(map[string]string{"resourceName": "stalled"})),
		},
	} {
		t.Run(name, func(t *testing.T) { scalertest.Contract(t, c) })
	}
}
