package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
	"github.com/sluice-autoscaler/sluice/controller/kinds"
	"github.com/sluice-autoscaler/sluice/controller/rules"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

const (
	pathScaledObject   = "/validate-keda-sh-v1alpha1-scaledobject"
	pathAuthentication = "/validate-keda-sh-v1alpha1-triggerauthentication"
	pathCluster        = "/validate-keda-sh-v1alpha1-clustertriggerauthentication"
)

// fixture is a Webhook that is asked over HTTP, as the API server asks. Its
// caches are controller-runtime's fake client: the end-to-end tests have the
// real ones.
type fixture struct {
	*Webhook
	t        *testing.T
	handlers map[string]http.Handler
}

func newFixture(t *testing.T, objects ...client.Object) *fixture {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	b := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...)
	for _, i := range rules.Indexes() {
		b = b.WithIndex(i.Object, i.Field, i.Keys)
	}
	api := interceptor.NewClient(b.Build(), interceptor.Funcs{
		Create: func(ctx context.Context, api client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			review, ok := o.(*authorizationv1.SelfSubjectAccessReview)
			if !ok {
				return api.Create(ctx, o, opts...)
			}
			review.Status.Allowed = review.Spec.ResourceAttributes.Namespace != "forbidden"
			return nil
		},
	})
	targets := &target.Client{Reader: api, Discovery: &kinds.Discovery{API: testcluster.Resources, Now: time.Now}}
	f := &fixture{t: t, Webhook: &Webhook{
		Judge:  rules.Judge{Objects: api, Targets: targets, Families: described{}, Limits: v1alpha1.DefaultLimits},
		Covers: func(client.Object) bool { return true },
		Counts: NewCounts(api),
		Log:    slog.New(slog.DiscardHandler),
	}}
	f.handlers = f.Handlers(scheme)
	return f
}

// rollout is a kind that the mapper alone knows.
var rollout = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"}

// described are families in plain values.
type described struct{}

var source = map[string]scalerv1.ValueSource{
	"M": scalerv1.ValueSource_VALUE_SOURCE_TRIGGER,
	"E": scalerv1.ValueSource_VALUE_SOURCE_ENV,
	"A": scalerv1.ValueSource_VALUE_SOURCE_AUTHENTICATION,
}

func parameter(name string, kind scalerv1.ValueType, from string, change ...func(*scalerv1.Parameter)) *scalerv1.Parameter {
	p := &scalerv1.Parameter{Name: name, Type: kind}
	for _, letter := range strings.Split(from, "") {
		p.Sources = append(p.Sources, source[letter])
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func required(p *scalerv1.Parameter) { p.Required = true }

// kafkaType has a parameter of each sort.
var kafkaType = &scalerv1.TriggerType{Type: "kafka", Parameters: []*scalerv1.Parameter{
	parameter("bootstrapServers", scalerv1.ValueType_VALUE_TYPE_STRING_LIST, "MEA", required),
	parameter("topic", scalerv1.ValueType_VALUE_TYPE_STRING, "M", required),
	parameter("lagThreshold", scalerv1.ValueType_VALUE_TYPE_INTEGER, "M"),
	parameter("ratio", scalerv1.ValueType_VALUE_TYPE_FLOAT, "M"),
	parameter("allowIdleConsumers", scalerv1.ValueType_VALUE_TYPE_BOOL, "M"),
	parameter("timeout", scalerv1.ValueType_VALUE_TYPE_DURATION, "M"),
	parameter("endpointParams", scalerv1.ValueType_VALUE_TYPE_QUERY, "M"),
	parameter("sasl", scalerv1.ValueType_VALUE_TYPE_STRING, "AM", func(p *scalerv1.Parameter) { p.AllowedValues = []string{"none", "plaintext"} }),
	parameter("mode", scalerv1.ValueType_VALUE_TYPE_STRING, "M", func(p *scalerv1.Parameter) { p.Deprecated = "use sasl" }),
	parameter("legacy", scalerv1.ValueType_VALUE_TYPE_STRING, "M", func(p *scalerv1.Parameter) { p.Deprecated = "removed: use sasl" }),
	parameter("password", scalerv1.ValueType_VALUE_TYPE_STRING, "A"),
}}

// Check finds what descriptions cannot say: lags of 0, and names that are taken.
func (described) Check(_ context.Context, t federation.Trigger) ([]string, error) {
	switch {
	case t.Type != "kafka":
		return nil, nil
	case t.Metadata["topic"] == "stalled":
		return nil, context.DeadlineExceeded
	case t.Metadata["lagThreshold"] == "0":
		return []string{"lagThreshold: target 0 is not greater than 0"}, nil
	case t.Metadata["lagThreshold"] == "many":
		return []string{"lagThreshold: said in other words"}, nil
	}
	return nil, nil
}

func (described) Describe(triggerType string) (*scalerv1.TriggerType, error) {
	switch triggerType {
	case "kafka":
		return kafkaType, nil
	case "cron":
		return &scalerv1.TriggerType{Type: "cron", AcceptsOtherParameters: true}, nil
	case "house-queue":
		return &scalerv1.TriggerType{Type: "house-queue"}, nil
	case "third-party":
		return nil, federation.ErrNoDescription
	case "starting":
		return nil, status.Error(codes.Unavailable, "Service scaler-starting in namespace sluice-system has no ready instance")
	}
	if err := federation.CheckType(triggerType); err != nil {
		return nil, err
	}
	return nil, federation.Absent(triggerType, "sluice-system", []string{"kafka", "cron", "house-queue", "third-party", "starting"})
}

// ask puts one question as the API server does. old is nil for a creation.
func (f *fixture) ask(path string, object, old client.Object, change ...func(*admissionv1.AdmissionRequest)) *admissionv1.AdmissionResponse {
	f.t.Helper()
	request := &admissionv1.AdmissionRequest{UID: types.UID("1"), Operation: admissionv1.Create, Namespace: object.GetNamespace(), Object: f.raw(object)}
	if old != nil {
		request.Operation, request.OldObject = admissionv1.Update, f.raw(old)
	}
	for _, c := range change {
		c(request)
	}
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	question := httptest.NewRequestWithContext(f.t.Context(), http.MethodPost, path, bytes.NewReader(body))
	question.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	f.handlers[path].ServeHTTP(recorder, question)
	var answer admissionv1.AdmissionReview
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil || answer.Response == nil || answer.Response.UID != request.UID {
		f.t.Fatalf("answer %s, %v", recorder.Body, err)
	}
	return answer.Response
}

func (f *fixture) raw(object client.Object) runtime.RawExtension {
	f.t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		f.t.Fatal(err)
	}
	return runtime.RawExtension{Raw: text}
}

// want checks an answer against the refusals, one per line, and the warnings.
func (f *fixture) want(answer *admissionv1.AdmissionResponse, refusals, warnings []string) {
	f.t.Helper()
	have := ""
	if !answer.Allowed {
		have = answer.Result.Message
	}
	if want := strings.Join(refusals, "; "); have != want {
		f.t.Errorf("refused with\n  %s\nwant\n  %s", have, want)
	}
	if !slices.Equal(answer.Warnings, warnings) {
		f.t.Errorf("warnings\n  %s\nwant\n  %s", strings.Join(answer.Warnings, "\n  "), strings.Join(warnings, "\n  "))
	}
}

func dryRun(r *admissionv1.AdmissionRequest) { yes := true; r.DryRun = &yes }

const namespace = "shop"

// scaledObject is a valid one on Deployment worker.
func scaledObject(change ...func(*v1alpha1.ScaledObject)) *v1alpha1.ScaledObject {
	so := &v1alpha1.ScaledObject{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "orders"},
		Spec: v1alpha1.ScaledObjectSpec{
			ScaleTargetRef: v1alpha1.ScaleTarget{Name: "worker"},
			Triggers:       []v1alpha1.ScaleTrigger{kafka()},
		},
	}
	for _, c := range change {
		c(so)
	}
	return so
}

// kafka is a valid trigger; pairs are added to its metadata, "" takes a key
// away.
func kafka(pairs ...string) v1alpha1.ScaleTrigger {
	metadata := map[string]string{"bootstrapServers": "kafka:9092", "topic": "orders"}
	for i := 0; i < len(pairs); i += 2 {
		metadata[pairs[i]] = pairs[i+1]
		if pairs[i+1] == "" {
			delete(metadata, pairs[i])
		}
	}
	return v1alpha1.ScaleTrigger{Type: "kafka", Metadata: metadata}
}

func triggers(all ...v1alpha1.ScaleTrigger) func(*v1alpha1.ScaledObject) {
	return func(so *v1alpha1.ScaledObject) { so.Spec.Triggers = all }
}

// resourceTrigger is a cpu or memory trigger at 50 %.
func resourceTrigger(name string, pairs ...string) v1alpha1.ScaleTrigger {
	t := kafka(append([]string{"bootstrapServers", "", "topic", "", "value", "50"}, pairs...)...)
	t.Type, t.MetricType = name, "Utilization"
	return t
}

// deployment has one container per argument, which are the container's
// resources.
func deployment(name string, containers ...corev1.ResourceRequirements) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	for i, resources := range containers {
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{
			Name: fmt.Sprintf("app-%d", i), Resources: resources,
		})
	}
	return d
}
