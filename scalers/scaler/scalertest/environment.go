package scalertest

import (
	"maps"
	"slices"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// FromEnv returns the parameters that a trigger of this type takes from a
// variable of its target: with <name>FromEnv it asks another question than
// without, or could not do without. Its metadata is valid.
func FromEnv(trigger scaler.Trigger, metadata map[string]string) []string {
	c := Case{Trigger: trigger, Env: map[string]string{"VARIABLE": "7"}}
	var heard []string
	for _, p := range trigger.Describe().GetParameters() {
		without := maps.Clone(metadata)
		delete(without, p.GetName())
		with := maps.Clone(without)
		with[p.GetName()+"FromEnv"] = "VARIABLE"
		before, missing := c.bind(without)
		after, err := c.bind(with)
		if err == nil && (missing != nil || before.Question != after.Question) {
			heard = append(heard, p.GetName())
		}
	}
	slices.Sort(heard)
	return heard
}
