// Package admission judges objects of users when they are created or changed:
// what KEDA's webhook refuses is refused here, under its names, and what a
// family says about its triggers is held against their metadata.
//
// It reads caches, and what it asks somebody it waits for only so long that no
// family or slow API server holds up a kubectl apply; an event source is never
// asked. What is not known cannot be checked and is admitted; the reconcilers
// check it again.
//
// All rules that an object breaks are told at once, always in the same order.
package admission

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Families is what admission asks of the federation.
type Families interface {
	// Describe returns what the family says of a trigger type, and otherwise
	// why it says nothing.
	Describe(triggerType string) (*scalerv1.TriggerType, error)
	// Check returns what the family says is wrong with a trigger, by its
	// parameters alone.
	Check(context.Context, federation.Trigger) ([]string, error)
}

// Targets is what admission asks about the kinds of targets.
type Targets interface {
	// Resolve finds out which resource a reference means.
	Resolve(v1alpha1.ScaleTarget) (v1alpha1.GroupVersionKindResource, error)
	// Granted returns what is missing when the controller may not scale objects
	// of a kind.
	Granted(ctx context.Context, kind v1alpha1.GroupVersionKindResource, namespace string) error
}

// Webhook judges objects. Its fields are set before it serves.
type Webhook struct {
	// Objects reads from caches, with the indexes of Indexes.
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
	// Covers reports whether an object is this installation's. Others are
	// admitted as they are.
	Covers func(client.Object) bool
	// Counts are the webhook's own metrics.
	Counts *Counts
	// Log receives what is our own mistake.
	Log *slog.Logger

	waits waits
}

// Handlers returns what is served, by path. Paths are those of KEDA.
func (w *Webhook) Handlers(scheme *runtime.Scheme) map[string]http.Handler {
	decoder := admission.NewDecoder(scheme)
	return map[string]http.Handler{
		"/validate-keda-sh-v1alpha1-scaledobject": handler(w, decoder,
			func() *v1alpha1.ScaledObject { return &v1alpha1.ScaledObject{} }, sameScaledObject, w.scaledObject),
		"/validate-keda-sh-v1alpha1-scaledjob": handler(w, decoder,
			func() *v1alpha1.ScaledJob { return &v1alpha1.ScaledJob{} },
			func(a, b *v1alpha1.ScaledJob) bool { return apiequality.Semantic.DeepEqual(a.Spec, b.Spec) }, w.scaledJob),
		"/validate-keda-sh-v1alpha1-triggerauthentication": handler(w, decoder,
			func() *v1alpha1.TriggerAuthentication { return &v1alpha1.TriggerAuthentication{} },
			func(a, b *v1alpha1.TriggerAuthentication) bool {
				return sameAuthentication(a, b, a.Spec, b.Spec)
			},
			func(_ context.Context, r review[*v1alpha1.TriggerAuthentication]) verdict {
				return w.authentication(r.object, r.object.Spec)
			}),
		"/validate-keda-sh-v1alpha1-clustertriggerauthentication": handler(w, decoder,
			func() *v1alpha1.ClusterTriggerAuthentication { return &v1alpha1.ClusterTriggerAuthentication{} },
			func(a, b *v1alpha1.ClusterTriggerAuthentication) bool {
				return sameAuthentication(a, b, a.Spec, b.Spec)
			},
			func(_ context.Context, r review[*v1alpha1.ClusterTriggerAuthentication]) verdict {
				return w.authentication(r.object, r.object.Spec)
			}),
	}
}

// review is one question of the API server.
type review[T client.Object] struct {
	object T
	// old is the object as it is stored, and the zero value when it is created.
	old    T
	create bool
	dryRun bool
}

// action is the word that metrics have for the operation.
func (r review[T]) action() string {
	if r.create {
		return "create"
	}
	return "update"
}

// verdict is what there is to say about an object.
type verdict struct {
	refusals []refusal
	warnings []string
}

// refusal is one rule that is broken.
type refusal struct {
	// reason is the label by which refusals are counted.
	reason string
	// text starts with the field that is wrong.
	text string
}

// refuse adds one refusal for each of the problems joined in err that is not
// told yet.
func (v *verdict) refuse(reason string, err error) {
	for _, text := range lines(err) {
		told := func(r refusal) bool { return r.text == text }
		if !slices.ContainsFunc(v.refusals, told) {
			v.refusals = append(v.refusals, refusal{reason, text})
		}
	}
}

// warn adds a warning that is not there yet.
func (v *verdict) warn(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(v.warnings, text) {
		v.warnings = append(v.warnings, text)
	}
}

// lines are the problems joined in an error.
func lines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

// handler answers the API server's questions about one kind. An object that is
// being deleted, another installation's, or one whose spec stays as it is, is
// admitted unseen: what was let in once must not keep a finalizer, a label or a
// status from being written.
func handler[T client.Object](
	w *Webhook, decoder admission.Decoder, empty func() T, same func(a, b T) bool,
	judge func(context.Context, review[T]) verdict,
) http.Handler {
	return &admission.Webhook{LogConstructor: silent, Handler: admission.HandlerFunc(func(ctx context.Context, request admission.Request) (answer admission.Response) {
		defer w.recover(request, &answer)
		r := review[T]{
			object: empty(),
			create: request.Operation == admissionv1.Create,
			dryRun: request.DryRun != nil && *request.DryRun,
		}
		if !r.create && request.Operation != admissionv1.Update {
			return admission.Allowed("")
		}
		if err := decoder.Decode(request, r.object); err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
		r.object.SetNamespace(request.Namespace) // as it is going to be stored
		if r.object.GetDeletionTimestamp() != nil || !w.Covers(r.object) {
			return admission.Allowed("")
		}
		if !r.create {
			r.old = empty()
			if err := decoder.DecodeRaw(request.OldObject, r.old); err != nil {
				return admission.Errored(http.StatusBadRequest, err)
			}
			if same(r.object, r.old) {
				return admission.Allowed("")
			}
		}
		return judge(ctx, r).answer()
	})}
}

// silent logs nothing of a request that is none: who sent it was told.
func silent(logr.Logger, *admission.Request) logr.Logger { return logr.Discard() }

// patiently returns a context in which time may be taken to judge an object, as
// far as there is any.
func (w *Webhook) patiently(ctx context.Context, namespace string, v *verdict) (judging context.Context, end func()) {
	judging, end, patient := w.waits.within(ctx, namespace)
	if !patient {
		v.warn("%s", unwaited)
	}
	return judging, end
}

// answer is the verdict as the API server understands it.
func (v verdict) answer() admission.Response {
	if len(v.refusals) == 0 {
		return admission.Allowed("").WithWarnings(v.warnings...)
	}
	texts := make([]string, len(v.refusals))
	for i, r := range v.refusals {
		texts[i] = r.text
	}
	return admission.Denied(strings.Join(texts, "; ")).WithWarnings(v.warnings...)
}

// recover admits what a mistake of ours kept from being judged.
func (w *Webhook) recover(request admission.Request, answer *admission.Response) {
	if problem := recover(); problem != nil {
		w.Log.Error("admission panicked", "kind", request.Kind.Kind, "object", request.Namespace+"/"+request.Name, "panic", problem)
		*answer = admission.Allowed("").WithWarnings("an error inside of the admission webhook kept this object from being checked")
	}
}
