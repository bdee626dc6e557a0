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

// However short a formula is, it takes room, and it is that of its namespace.
func TestFormulasThatAreKeptAreBounded(t *testing.T) {
	for name, formula := range map[string]string{"long": "a" + strings.Repeat(" ", 8000), "short": "a"} {
		t.Run(name, func(t *testing.T) {
			var f formulas
			other := computed("other", "a", 1)
			other.Namespace = "shop"
			first, err := f.of(other)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 * formulasOfOne.count {
				if _, err := f.of(computed(strconv.Itoa(i), formula, 1)); err != nil {
					t.Fatal(err)
				}
				if formulasInAll.less(f.kept.all) || formulasOfOne.less(f.kept.of[""].has) {
					t.Fatalf("%+v are kept", f.kept.all)
				}
			}
			if again, _ := f.of(other); again != first {
				t.Error("the formula of another namespace had to go")
			}
		})
	}
	var f formulas
	if _, err := f.of(computed("huge", "a"+strings.Repeat(" ", formulasInAll.bytes), 1)); err == nil {
		t.Error("a formula beyond all bounds")
	}
}
