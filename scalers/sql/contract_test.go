package main

import (
	"maps"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// cases has valid metadata of every type.
var cases = scalertest.Cases{}

func TestContract(t *testing.T) { cases.Contract(t, triggers) }

var _ = cases.Add("postgresql", asking(0, map[string]string{"listenChannel": "contract"}))
var _ = cases.Add("mysql", asking(1, nil))
var _ = cases.Add("mssql", asking(2, nil))

// asking is the case of a type that asks one of the databases, with more in its
// metadata.
func asking(database int, more map[string]string) func(testing.TB) scalertest.Case {
	return func(t testing.TB) scalertest.Case {
		all, _ := everyDatabase(t)
		s := all[database]
		return scalertest.Case{
			Address: s.metadata["host"] + ":" + s.metadata["port"],
			At: func(address string) map[string]string {
				there := maps.Clone(s.metadata)
				maps.Copy(there, more)
				there["host"], there["port"] = split(t, address)
				return there
			},
			Auth:  s.auth,
			Value: 42,
		}
	}
}
