package e2e

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// TestJobsThatCannotBeCreated lets the API server refuse the Job for a message,
// each time for another reason: the reason is told, the controller waits longer
// and longer between two tries, and once the reason is gone the Job comes.
func TestJobsThatCannotBeCreated(t *testing.T) {
	t.Parallel()
	s := startScript(t)
	restart := func(policy string) string {
		return fmt.Sprintf(`{"spec":{"jobTargetRef":{"template":{"spec":{"restartPolicy":%q}}}}}`, policy)
	}
	tests := map[string]struct {
		// refuse makes the namespace, or the object's template, one in which no
		// Job can be created, and returns what ends it.
		refuse  func(o jobs) (end func())
		message string
		// gone is true where the object's end is the end of it.
		gone bool
	}{
		"a quota": {
			refuse: func(o jobs) func() {
				quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: "jobs"}, Spec: corev1.ResourceQuotaSpec{
					Hard: corev1.ResourceList{"count/jobs.batch": resource.MustParse("0")},
				}}
				o.create(quota)
				o.wait("the quota to be in force", func() (bool, string) {
					err := world.cluster.Client().Get(o.t.Context(), client.ObjectKeyFromObject(quota), quota)
					return err == nil && len(quota.Status.Hard) > 0, fmt.Sprint(err)
				})
				return func() { o.remove(quota) }
			},
			message: "exceeded quota: jobs, requested: count/jobs.batch=1, used: count/jobs.batch=0, limited: count/jobs.batch=0",
		},
		"a template that is invalid": {
			refuse: func(o jobs) func() {
				// A pause that is seen says that the template, which came with it, is.
				o.patch(`{"metadata":{"annotations":{"autoscaling.keda.sh/paused":"true"}},` + restart("Always")[1:])
				o.waitCondition("Paused", "True", "")
				o.patch(`{"metadata":{"annotations":{"autoscaling.keda.sh/paused":null}}}`)
				return func() { o.patch(restart("Never")) }
			},
			message: `spec.template.spec.restartPolicy: `,
		},
		"somebody's webhook": {
			refuse:  func(o jobs) func() { return refusingWebhook(o) },
			message: `admission webhook "images.example.com" denied the request: images come from our registry alone`,
		},
		"a namespace that is being deleted": {
			refuse: func(o jobs) func() {
				// Pods go first; what holds one holds all that is to follow.
				hold := &corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: "hold", Finalizers: []string{"test.sluice.dev/hold"}},
					Spec: corev1.PodSpec{
						SchedulerName: "nobody", Containers: []corev1.Container{{Name: "app", Image: "app.invalid/app"}},
					},
				}
				o.create(hold)
				o.remove(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.namespace}})
				return func() {
					free := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
					if err := world.cluster.Client().Patch(o.t.Context(), hold, free); err != nil {
						o.t.Fatal(err)
					}
				}
			},
			message: "because it is being terminated",
			gone:    true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t)
			queue := &counted{
				trigger: s.trigger(ns, map[string]string{"perReplica": "1"}),
				set:     func(value int) { s.set(ns, float64(value)) },
			}
			crew := newCrew(t, ns, queue)
			o := scaleJobs(t, ns, "batch", spec{
				"rollout": map[string]any{"strategy": "gradual"}, "triggers": triggers(queue.Trigger(1)),
			})
			o.waitCondition("Active", "False", "")
			end := tt.refuse(o)
			if err := queue.Produce(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			o.waitCondition("Ready", "False", tt.message)
			if c := o.condition("Ready"); c["reason"] != "KEDAJobCreateFailed" {
				t.Errorf("reason %q", c["reason"])
			}
			o.wantCalm()
			end()
			if tt.gone {
				o.wait("the namespace to be gone", func() (bool, string) {
					left := &corev1.Namespace{}
					err := world.cluster.Client().Get(t.Context(), client.ObjectKey{Name: ns}, left)
					return apierrors.IsNotFound(err), fmt.Sprint(left.Status, err)
				})
				return
			}
			crew.waitAllDone(o, 1, 100)
			o.waitCondition("Ready", "True", "")
		})
	}
}

// wantCalm waits for a third try to create the same Job and checks that neither
// tries nor other writes come in a hurry.
func (j jobs) wantCalm() {
	j.t.Helper()
	var writes, tries []localcluster.Request
	j.wait("a third try", func() (bool, string) {
		writes = j.writes()
		tries = slices.DeleteFunc(slices.Clone(writes), func(r localcluster.Request) bool { return r.Object.Resource != "jobs" })
		return len(tries) >= 3, fmt.Sprintf("%d tries", len(tries))
	})
	for _, r := range tries {
		if r.Verb != "create" || r.Response.Code < http.StatusBadRequest {
			j.t.Errorf("%s %s: %d", r.Verb, r.URI, r.Response.Code)
		}
	}
	// A second, two, four ...; a change of leader begins anew.
	took := tries[len(tries)-1].Received.Sub(tries[0].Received)
	if most := 3 + int(took/time.Second); len(tries) > most {
		j.t.Errorf("%d tries within %v", len(tries), took)
	}
	// With each try comes an event; what the object says is written once.
	if most := 3*len(tries) + 15; len(writes) > most {
		j.t.Errorf("%d writes for %d tries: %v", len(writes), len(tries), uris(writes))
	}
	j.t.Logf("%d tries within %v, %d writes in all", len(tries), took, len(writes))
}

// writes are what the controller has asked to be changed in the namespace.
func (j jobs) writes() []localcluster.Request {
	j.t.Helper()
	found, err := world.cluster.AuditAbout(j.namespace, func(r *localcluster.Request) bool {
		return r.Write() && r.Object.Namespace == j.namespace && r.User.Username == "system:serviceaccount:sluice-system:controller"
	})
	if err != nil {
		j.t.Fatal(err)
	}
	return found
}

func uris(requests []localcluster.Request) (all []string) {
	for _, r := range requests {
		all = append(all, r.Verb+" "+r.URI)
	}
	return all
}

func (j jobs) create(o client.Object) {
	j.t.Helper()
	if err := world.cluster.Client().Create(j.t.Context(), o); err != nil {
		j.t.Fatal(err)
	}
}

func (j jobs) remove(o client.Object) {
	j.t.Helper()
	if err := world.cluster.Client().Delete(j.t.Context(), o); err != nil {
		j.t.Fatal(err)
	}
}

// patch merges a patch into the ScaledJob.
func (j jobs) patch(text string) {
	j.t.Helper()
	if err := world.cluster.Client().Patch(j.t.Context(), j.scaledJob(), client.RawPatch(types.MergePatchType, []byte(text))); err != nil {
		j.t.Fatal(err)
	}
}

// refusingWebhook judges the Jobs of the object's namespace and admits none
// until end is called.
func refusingWebhook(o jobs) (end func()) {
	o.t.Helper()
	var admits atomic.Bool
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, "not a review", http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{
			UID: review.Request.UID, Allowed: admits.Load(), Result: &metav1.Status{Message: "images come from our registry alone"},
		}
		review.Request = nil
		_ = json.NewEncoder(w).Encode(review) // who no longer listens needs no answer
	}))
	o.t.Cleanup(server.Close)
	none, scope := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.NamespacedScope
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: o.namespace},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "images.example.com",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL:      &server.URL,
				CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"batch"}, APIVersions: []string{"v1"}, Resources: []string{"jobs"}, Scope: &scope},
			}},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: o.namespace}},
			SideEffects:       &none, AdmissionReviewVersions: []string{"v1"},
		}},
	}
	o.create(configuration)
	o.t.Cleanup(func() {
		if err := world.cluster.Client().Delete(context.WithoutCancel(o.t.Context()), configuration); err != nil {
			o.t.Error(err)
		}
	})
	o.wait("the webhook to judge", func() (bool, string) {
		trial := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: "trial"}, Spec: batchv1.JobSpec{
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "app", Image: "app.invalid/app"}},
			}},
		}}
		err := world.cluster.Client().Create(o.t.Context(), trial, client.DryRunAll)
		return err != nil, fmt.Sprint(err)
	})
	return func() { admits.Store(true) }
}

// TestJobsWithoutData: a scaler that has no number to tell starts nothing and
// costs no writes, however often it is asked.
func TestJobsWithoutData(t *testing.T) {
	t.Parallel()
	s := startScript(t)
	ns := namespace(t)
	queue := &counted{
		trigger: s.trigger(ns, map[string]string{"perReplica": "1"}),
		set:     func(value int) { s.set(ns, float64(value)) },
	}
	crew := newCrew(t, ns, queue)
	o := scaleJobs(t, ns, "batch", spec{"triggers": triggers(queue.Trigger(1))})
	o.waitCondition("Active", "False", "")
	s.set(ns, math.NaN())
	o.waitCondition("Ready", "False", "metric count: no data: NaN is not a finite number")
	before, read := len(o.writes()), s.reads(ns)
	o.wait("three more readings", func() (bool, string) {
		now := s.reads(ns)
		return now >= read+3, fmt.Sprintf("%d", now-read)
	})
	if writes := o.writes(); len(writes) > before+3 { // the object's words and events, on their way
		t.Errorf("%d writes in three readings: %v", len(writes)-before, uris(writes[before:]))
	}
	if err := queue.Produce(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	crew.waitAllDone(o, 2, 100)
	o.waitCondition("Ready", "True", "")
}
