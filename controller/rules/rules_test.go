package rules

import (
	"errors"
	"fmt"
	"testing"
)

// Of warnings and refusals there are as many as somebody reads: each is compared
// with the others.
func TestVerdictsAreShort(t *testing.T) {
	var v Verdict
	var problems []error
	for i := range 10_000 {
		v.warn("unknown key %d", i)
		problems = append(problems, fmt.Errorf("problem %d", i))
	}
	v.refuse("x", errors.Join(problems...))
	if len(v.Warnings) != mostWarnings || len(v.Refusals) != mostRefusals {
		t.Errorf("%d warnings, %d refusals", len(v.Warnings), len(v.Refusals))
	}
}
