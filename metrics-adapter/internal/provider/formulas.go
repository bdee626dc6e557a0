package provider

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// Formulas are kept compiled, which takes a few hundred times as much as they have
// bytes, and perFormula bytes more. Beyond that the oldest are compiled again.
const perFormula = 64

var (
	formulasOfOne = room{count: 1_000, bytes: 128 << 10}
	formulasInAll = room{count: 4_000, bytes: 256 << 10}
)

// formulas are compiled once for each generation of an object.
type formulas struct {
	mu   sync.Mutex
	kept shelf[objectID, keptFormula]
}

// objectID tells objects of one name apart, and says whose they are.
type objectID struct {
	of  string
	uid types.UID
}

func (o objectID) namespace() string { return o.of }

type keptFormula struct {
	generation int64
	compiled   *scaling.Formula
	err        error
}

// of is the formula of an object that has one. It compiles without the lock.
func (f *formulas) of(so *v1alpha1.ScaledObject) (*scaling.Formula, error) {
	id := objectID{so.Namespace, so.UID}
	f.mu.Lock()
	known, ok := f.kept.get(id)
	f.mu.Unlock()
	if ok && known.generation == so.Generation {
		return known.compiled, known.err
	}
	next := keptFormula{generation: so.Generation}
	next.compiled, next.err = scaling.FormulaOf(so)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept.put(id, next, len(so.Modifiers().Formula)+perFormula, formulasOfOne, formulasInAll)
	return next.compiled, next.err
}
