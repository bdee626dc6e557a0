package manager

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/authentication"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	formulas "github.com/sluice-autoscaler/sluice/controller/scaling"
)

// part is a part of the memory that the garbage collector keeps to, in thousandths.
type part int

func (p part) of(memory int) int { return memory / whole * int(p) }

// What there is a budget for, each on its own, and what is left to all else: the
// process itself, its connections, what is being decoded, decided and scraped, and
// what a shadow keeps, which does nothing else of that. A namespace that is alone has
// seven of twelve parts of each, which is 10,000 ordinary objects by the manifests.
const (
	partOfUsers         part = 400 // all that tenants write, but workloads
	partOfWorkloads     part = 145 // Deployments and StatefulSets
	partOfOtherKinds    part = 45  // those that are watched for who names one
	partOfTold          part = 125 // variables that triggers tell their families
	partOfSubscriptions part = 125 // triggers, and what is said of them
	partOfAccounts      part = 16  // decisions before the last, which people are told
	reserved            part = 140

	whole = 1000
)

// More than there is is no program.
const _ = uint(whole - reserved - partOfUsers - partOfWorkloads - partOfOtherKinds - partOfTold - partOfSubscriptions - partOfAccounts)

func ofUsers(memory int) *kept.Budget {
	return kept.New(kept.Unbounded, partOfUsers.of(memory))
}

func ofWorkloads(memory int) *kept.Budget {
	return kept.New(federation.MostOfWorkloads, partOfWorkloads.of(memory))
}

func ofOtherKinds(memory int) *kept.Budget {
	return kept.New(federation.MostOfWorkloads, partOfOtherKinds.of(memory))
}

func ofTold(memory int) *kept.Budget { return kept.New(kept.Unbounded, partOfTold.of(memory)) }

func ofAccounts(memory int) *kept.Budget { return kept.New(kept.Unbounded, partOfAccounts.of(memory)) }

func ofSubscriptions(memory int) int { return partOfSubscriptions.of(memory) }

// keptObject is what the cache holds of an object of users: what is within its
// limits, as far as there is room.
func keptObject[T any, O interface {
	*T
	metav1.Object
	runtime.Object
}](o Options, budget *kept.Budget, kind string, stub func(O, string)) func(any) (any, error) {
	cut := func(object O) { _, _ = o.Limits.Transform(object) } // has no errors
	return kept.TransformBeside[T, O](budget, kind, cut, stub, func(object O) int { return keysOfReferences(object) + formulaOf(object) + decidedOf(object) })
}

// costOfName is what decisions keep of a metric beside its name: what was looked at
// and what came of it, which is told, and whether its trigger is active.
const costOfName = 250

// costOfTrigger is what decisions keep of a trigger, whether or not anybody serves
// it: PerObject has that of one.
const costOfTrigger = 1200

// decidedOf is what decisions keep of the triggers of an object, and of the metrics
// that its status names. Those that families name count where they are said.
func decidedOf(object client.Object) int {
	triggers, names := 0, 0
	switch o := object.(type) {
	case *v1alpha1.ScaledObject:
		triggers, names = len(o.Spec.Triggers), len(o.Status.ExternalMetricNames)
	case *v1alpha1.ScaledJob:
		triggers, names = len(o.Spec.Triggers), len(o.Status.ExternalMetricNames)
	}
	return max(triggers-1, 0)*costOfTrigger + names*costOfName
}

// formulaOf is what the formula of an object takes, which whoever decides about the
// object keeps compiled.
func formulaOf(object client.Object) int {
	so, ok := object.(*v1alpha1.ScaledObject)
	if !ok || so.Modifiers() == nil {
		return 0
	}
	return formulas.FormulaBytes(so.Modifiers().Formula)
}

// fewReferences is how many keys of an index PerObject has room for.
const fewReferences = 2

// keysOfReferences is what the index of objects takes by the authentications that
// they name.
func keysOfReferences(object client.Object) int {
	return max(len(authentication.ReferencesOf(object))-fewReferences, 0) * kept.CostOfKey
}

// keptSource is what the cache holds of a source. One that is too large, or that
// there is no room for, has nothing that it could send to.
func keptSource[T any, O interface {
	*T
	eventing.Source
}](budget *kept.Budget, kind string) func(any) (any, error) {
	return kept.Transform[T, O](budget, kind, func(source O) {
		source.SetManagedFields(nil)
		v1alpha1.CutForeign(source)
		if v1alpha1.CutMetadata(source) != nil || !v1alpha1.Fits(source.Wants(), mostOfSource) {
			*source.Wants() = eventing.CloudEventSourceSpec{}
		}
		if !v1alpha1.Fits(source.State(), mostOfSource) {
			*source.State() = eventing.CloudEventSourceStatus{}
		}
	}, func(source O, _ string) {
		v1alpha1.StubMetadata(source)
		*source.Wants() = eventing.CloudEventSourceSpec{}
		v1alpha1.StubPart(source.State())
	})
}

// mostOfSource is what the spec of a source may have, as JSON, and its status.
const mostOfSource = 16 << 10

// roomChanged passes objects that there is room for by now, or no longer is.
func roomChanged() predicate.Predicate {
	all := func(o client.Object) bool { return kept.Why(o) == "" }
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return all(e.ObjectOld) != all(e.ObjectNew) }}
}
