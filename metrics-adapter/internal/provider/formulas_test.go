package provider

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

func computed(uid, formula string, generation int64) *v1alpha1.ScaledObject {
	so := &v1alpha1.ScaledObject{Spec: v1alpha1.ScaledObjectSpec{
		Triggers: []v1alpha1.ScaleTrigger{{Type: "kafka", Name: "a"}},
		Advanced: &v1alpha1.AdvancedConfig{ScalingModifiers: &v1alpha1.ScalingModifiers{Formula: formula, Target: "5"}},
	}}
	so.UID, so.Generation = types.UID(uid), generation
	return so
}

func TestFormulaIsCompiledOncePerGeneration(t *testing.T) {
	var f formulas
	first, err := f.of(computed("one", "a + 1", 1))
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := f.of(computed("one", "a + 1", 1)); again != first {
		t.Error("compiled again")
	}
	if _, err := f.of(computed("one", "a +", 2)); err == nil {
		t.Error("the formula of an earlier generation")
	}
	_, refused := f.of(computed("one", "a +", 2))
	if _, again := f.of(computed("one", "a +", 2)); refused == nil || !errors.Is(again, refused) {
		t.Error("one that is refused is compiled again")
	}
}

func TestFormulasThatAreKeptAreBounded(t *testing.T) {
	var f formulas
	for i := range 100 {
		if _, err := f.of(computed(strconv.Itoa(i), "a"+strings.Repeat(" ", 8000), 1)); err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, kept := range f.kept {
			sum += kept.bytes
		}
		if sum != f.bytes || sum > keptFormulas {
			t.Fatalf("%d bytes are kept, counted as %d", sum, f.bytes)
		}
	}
	if _, err := f.of(computed("huge", "a"+strings.Repeat(" ", keptFormulas), 1)); err == nil {
		t.Error("a formula beyond all bounds")
	}
}
