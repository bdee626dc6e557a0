package main

import (
	"maps"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/kube/kubetest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// cases has valid metadata of every type.
var cases = scalertest.Cases{}

func TestContract(t *testing.T) { cases.Contract(t, triggers) }

var _ = cases.Add("kubernetes-workload", func(t testing.TB) scalertest.Case {
	kubetest.Start(t).Put(newPod("a", "n1", "Running"))
	return asking(workload(nil), "podSelector", "app=dead", "app=stalled")
})

var _ = cases.Add("kubernetes-resource", func(t testing.TB) scalertest.Case {
	kubetest.Start(t).Put(configMap("limits", "n", "7"))
	return asking(resource(nil), "resourceName", "dead", "stalled")
})

// asking is the case of a type that asks the API server. Where that is, is no
// part of a trigger: what asks another one differs in a parameter as well.
func asking(metadata map[string]string, parameter, ofDead, ofStalled string) scalertest.Case {
	elsewhere := func(address func(testing.TB) string, value string) func(testing.TB) map[string]string {
		return func(t testing.TB) map[string]string {
			kubetest.Point(t, address(t))
			there := maps.Clone(metadata)
			there[parameter] = value
			return there
		}
	}
	return scalertest.Case{Metadata: metadata, Dead: elsewhere(scalertest.DeadAddress, ofDead), Stalled: elsewhere(scalertest.StalledAddress, ofStalled)}
}
