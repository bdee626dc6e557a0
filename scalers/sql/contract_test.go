package main

import (
	"maps"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

func TestContract(t *testing.T) {
	all, _ := everyType(t)
	for i, s := range all {
		t.Run(s.triggerType, func(t *testing.T) {
			metadata := maps.Clone(s.metadata)
			if s.triggerType == "postgresql" {
				metadata["listenChannel"] = "contract"
			}
			elsewhere := func(address func(testing.TB) string) func(testing.TB) map[string]string {
				return func(t testing.TB) map[string]string {
					there := maps.Clone(metadata)
					there["host"], there["port"] = split(t, address(t))
					return there
				}
			}
			scalertest.Contract(t, scalertest.Case{
				Trigger: triggers[i], Metadata: metadata, Auth: s.auth,
				Dead: elsewhere(scalertest.DeadAddress), Stalled: elsewhere(scalertest.StalledAddress),
			})
		})
	}
}
