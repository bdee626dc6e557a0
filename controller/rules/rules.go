// Package rules is what there is to say of an object that a user wrote: what
// KEDA's webhook refuses is refused here, and what a family says about its
// triggers is held against their metadata. The admission webhook asks it, and so
// may whoever has the objects and no cluster.
//
// What is not known cannot be checked and is no refusal. All rules that an object
// breaks are told at once, always in the same order.
package rules

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Families is what is asked of the federation.
type Families interface {
	// Describe returns what the family says of a trigger type, and otherwise
	// why it says nothing.
	Describe(triggerType string) (*scalerv1.TriggerType, error)
	// Check returns what the family says is wrong with a trigger, by its
	// parameters alone.
	Check(context.Context, federation.Trigger) ([]string, error)
}

// Targets is what is asked about the kinds of targets.
type Targets interface {
	// Kind finds out which resource the target of an object is.
	Kind(*v1alpha1.ScaledObject) (v1alpha1.GroupVersionKindResource, error)
	// Granted returns what is missing when the controller may not scale objects
	// of a kind.
	Granted(ctx context.Context, kind v1alpha1.GroupVersionKindResource, namespace string) error
}

// Judge knows the rules. Its fields are set before it judges.
type Judge struct {
	// Objects has what objects are held against, with the indexes of Indexes.
	Objects client.Reader
	// Targets knows the kinds of targets.
	Targets Targets
	// Families know their triggers' parameters.
	Families Families
	// Limits bound what an object may ask for.
	Limits v1alpha1.Limits
	// Strict refuses what is wrong with a trigger's metadata, instead of
	// warning of it.
	Strict bool
	// Within is a context in which time may be taken to judge an object of a
	// namespace. Where there is none left it is done, and patient is false. nil
	// leaves it to the caller's.
	Within func(ctx context.Context, namespace string) (judging context.Context, end func(), patient bool)
}

// Review is one object that is judged.
type Review[T client.Object] struct {
	Object T
	// Old is the object as it is stored, and the zero value when it is created.
	Old    T
	Create bool
	DryRun bool
}

// Verdict is what there is to say about an object.
type Verdict struct {
	Refusals []Refusal
	Warnings []string
}

// Refusal is one rule that is broken.
type Refusal struct {
	// Reason is the label by which refusals are counted.
	Reason string
	// Text starts with the field that is wrong.
	Text string
}

// refuse adds one refusal for each of the problems joined in err that is not
// told yet.
func (v *Verdict) refuse(reason string, err error) {
	for _, text := range lines(err) {
		told := func(r Refusal) bool { return r.Text == text }
		if len(v.Refusals) < mostRefusals && !slices.ContainsFunc(v.Refusals, told) {
			v.Refusals = append(v.Refusals, Refusal{reason, text})
		}
	}
}

// mostWarnings is more than an API server passes on, and mostRefusals more than
// anybody reads.
const mostWarnings, mostRefusals = 100, 100

// warn adds a warning that is not there yet.
func (v *Verdict) warn(format string, args ...any) {
	if len(v.Warnings) >= mostWarnings {
		return
	}
	if text := fmt.Sprintf(format, args...); !slices.Contains(v.Warnings, text) {
		v.Warnings = append(v.Warnings, text)
	}
}

// lines are the problems joined in an error.
func lines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

// Unwaited is told where nothing was waited for.
const Unwaited = "too many objects are being applied at once: what takes time was not checked"

// within returns a context in which time may be taken to judge an object, as
// far as there is any.
func (j *Judge) within(ctx context.Context, namespace string, v *Verdict) (judging context.Context, end func()) {
	if j.Within == nil {
		return ctx, func() {}
	}
	judging, end, patient := j.Within(ctx, namespace)
	if !patient {
		v.warn("%s", Unwaited)
	}
	return judging, end
}

// clusterAuthentication is the kind whose Secrets are not of an object's
// namespace.
const clusterAuthentication = "ClusterTriggerAuthentication"
