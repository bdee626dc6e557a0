package provider

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// keptFormulas is how many bytes of formulas are kept compiled, which takes a
// few hundred times as much. Beyond it they are compiled again.
const keptFormulas = 256 << 10

// formulas are compiled once for each generation of an object.
type formulas struct {
	mu    sync.Mutex
	kept  map[types.UID]keptFormula
	bytes int
}

type keptFormula struct {
	generation int64
	compiled   *scaling.Formula
	err        error
	bytes      int
}

// of is the formula of an object that has one. It compiles without the lock.
func (f *formulas) of(so *v1alpha1.ScaledObject) (*scaling.Formula, error) {
	f.mu.Lock()
	known, ok := f.kept[so.UID]
	f.mu.Unlock()
	if ok && known.generation == so.Generation {
		return known.compiled, known.err
	}
	next := keptFormula{generation: so.Generation, bytes: len(so.Modifiers().Formula)}
	next.compiled, next.err = scaling.FormulaOf(so)
	f.keep(so.UID, next)
	return next.compiled, next.err
}

func (f *formulas) keep(uid types.UID, next keptFormula) {
	if next.bytes > keptFormulas {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes += next.bytes - f.kept[uid].bytes
	if f.kept == nil || f.bytes > keptFormulas {
		f.kept, f.bytes = map[types.UID]keptFormula{}, next.bytes
	}
	f.kept[uid] = next
}
