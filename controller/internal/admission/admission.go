// Package admission judges objects of users when they are created or changed,
// by package rules, under the names of KEDA's webhook.
//
// It reads caches, and what it asks somebody it waits for only so long that no
// family or slow API server holds up a kubectl apply; an event source is never
// asked. What is not known cannot be checked and is admitted; the reconcilers
// check it again.
package admission

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/rules"
)

// Webhook judges objects. Its fields are set before it serves.
type Webhook struct {
	// Judge knows the rules. Its Objects are caches.
	rules.Judge
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
	w.Within = w.waits.within
	return map[string]http.Handler{
		"/validate-keda-sh-v1alpha1-scaledobject": handler(w, decoder,
			func() *v1alpha1.ScaledObject { return &v1alpha1.ScaledObject{} }, rules.SameScaledObject, w.scaledObject),
		"/validate-keda-sh-v1alpha1-scaledjob": handler(w, decoder,
			func() *v1alpha1.ScaledJob { return &v1alpha1.ScaledJob{} },
			func(a, b *v1alpha1.ScaledJob) bool { return apiequality.Semantic.DeepEqual(a.Spec, b.Spec) }, w.scaledJob),
		"/validate-keda-sh-v1alpha1-triggerauthentication": handler(w, decoder,
			func() *v1alpha1.TriggerAuthentication { return &v1alpha1.TriggerAuthentication{} },
			func(a, b *v1alpha1.TriggerAuthentication) bool {
				return rules.SameAuthentication(a, b, a.Spec, b.Spec)
			},
			func(_ context.Context, r rules.Review[*v1alpha1.TriggerAuthentication]) rules.Verdict {
				return w.Authentication(r.Object, r.Object.Spec)
			}),
		"/validate-keda-sh-v1alpha1-clustertriggerauthentication": handler(w, decoder,
			func() *v1alpha1.ClusterTriggerAuthentication { return &v1alpha1.ClusterTriggerAuthentication{} },
			func(a, b *v1alpha1.ClusterTriggerAuthentication) bool {
				return rules.SameAuthentication(a, b, a.Spec, b.Spec)
			},
			func(_ context.Context, r rules.Review[*v1alpha1.ClusterTriggerAuthentication]) rules.Verdict {
				return w.Authentication(r.Object, r.Object.Spec)
			}),
	}
}

// action is the word that metrics have for an operation.
func action(create bool) string {
	if create {
		return "create"
	}
	return "update"
}

// scaledObject judges, and counts what came of it.
func (w *Webhook) scaledObject(ctx context.Context, r rules.Review[*v1alpha1.ScaledObject]) rules.Verdict {
	v := w.ScaledObject(ctx, r)
	w.Counts.judged(r.Object.Namespace, action(r.Create), v.Refusals)
	return v
}

// scaledJob judges. As in KEDA, refusals are counted with those of
// ScaledObjects, and validations are not.
func (w *Webhook) scaledJob(ctx context.Context, r rules.Review[*v1alpha1.ScaledJob]) rules.Verdict {
	v := w.ScaledJob(ctx, r)
	w.Counts.refused(r.Object.Namespace, action(r.Create), v.Refusals)
	return v
}

// handler answers the API server's questions about one kind. An object that is
// being deleted, another installation's, or one whose spec stays as it is, is
// admitted unseen: what was let in once must not keep a finalizer, a label or a
// status from being written.
func handler[T client.Object](
	w *Webhook, decoder admission.Decoder, empty func() T, same func(a, b T) bool,
	judge func(context.Context, rules.Review[T]) rules.Verdict,
) http.Handler {
	return &admission.Webhook{LogConstructor: silent, Handler: admission.HandlerFunc(func(ctx context.Context, request admission.Request) (answer admission.Response) {
		defer w.recover(request, &answer)
		r := rules.Review[T]{
			Object: empty(),
			Create: request.Operation == admissionv1.Create,
			DryRun: request.DryRun != nil && *request.DryRun,
		}
		if !r.Create && request.Operation != admissionv1.Update {
			return admission.Allowed("")
		}
		if err := decoder.Decode(request, r.Object); err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
		r.Object.SetNamespace(request.Namespace) // as it is going to be stored
		if r.Object.GetDeletionTimestamp() != nil || !w.Covers(r.Object) {
			return admission.Allowed("")
		}
		if !r.Create {
			r.Old = empty()
			if err := decoder.DecodeRaw(request.OldObject, r.Old); err != nil {
				return admission.Errored(http.StatusBadRequest, err)
			}
			if same(r.Object, r.Old) {
				return admission.Allowed("")
			}
		}
		return answered(judge(ctx, r))
	})}
}

// silent logs nothing of a request that is none: who sent it was told.
func silent(logr.Logger, *admission.Request) logr.Logger { return logr.Discard() }

// answered is the verdict as the API server understands it.
func answered(v rules.Verdict) admission.Response {
	if len(v.Refusals) == 0 {
		return admission.Allowed("").WithWarnings(v.Warnings...)
	}
	texts := make([]string, len(v.Refusals))
	for i, r := range v.Refusals {
		texts[i] = r.Text
	}
	return admission.Denied(strings.Join(texts, "; ")).WithWarnings(v.Warnings...)
}

// recover admits what a mistake of ours kept from being judged.
func (w *Webhook) recover(request admission.Request, answer *admission.Response) {
	if problem := recover(); problem != nil {
		w.Log.Error("admission panicked", "kind", request.Kind.Kind, "object", request.Namespace+"/"+request.Name, "panic", problem)
		*answer = admission.Allowed("").WithWarnings("an error inside of the admission webhook kept this object from being checked")
	}
}
