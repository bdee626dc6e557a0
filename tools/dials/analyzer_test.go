package main

import (
	"go/types"
	"slices"
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"
)

// TestNakedClients: each way around the rules is found, and what is none is let
// alone.
func TestNakedClients(t *testing.T) {
	found := analysistest.Run(t, analysistest.TestData(), analyzer, "naked", "clothed", rulesPath)
	var used []types.Object
	for _, result := range found {
		for _, object := range result.Pass.TypesInfo.Uses {
			if object.Pkg() != nil {
				used = append(used, object)
			}
		}
	}
	for _, r := range slices.Concat(functions, values) {
		if !slices.ContainsFunc(used, r.matches) {
			t.Errorf("no test of %s.%s", r.packages, r.names)
		}
	}
}
