package probe

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/apitest"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// family is a gRPC server in place of a family's.
type family struct {
	externalscaler.UnimplementedExternalScalerServer
	fails error
	hangs bool
	asked *externalscaler.ScaledObjectRef
}

func (f *family) GetMetricSpec(_ context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	f.asked = ref
	return &externalscaler.GetMetricSpecResponse{MetricSpecs: []*externalscaler.MetricSpec{{MetricName: "redis-jobs", TargetSizeFloat: 5}}}, nil
}

func (f *family) GetMetrics(ctx context.Context, _ *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	if f.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &externalscaler.GetMetricsResponse{MetricValues: []*externalscaler.MetricValue{{MetricName: "redis-jobs", MetricValueFloat: 12.5}}}, f.fails
}

func (f *family) IsActive(context.Context, *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	return &externalscaler.IsActiveResponse{Result: true}, f.fails
}

// serve starts the family on an address of this machine.
func serve(t *testing.T, f *family) string {
	t.Helper()
	return apitest.Serve(t, func(s *grpc.Server) { externalscaler.RegisterExternalScalerServer(s, f) })
}

// live is the cluster that an API server is of.
func live(t *testing.T, a *apitest.API) *Cluster {
	t.Helper()
	a.T, a.Port = t, "9091"
	live, err := Connect(a.Start(), "sluice-system")
	if err != nil {
		t.Fatal(err)
	}
	return live
}

const (
	object = "/apis/keda.sh/v1alpha1/namespaces/shop/scaledobjects/worker"
	job    = "/apis/keda.sh/v1alpha1/namespaces/shop/scaledjobs/import"
	svc    = "/api/v1/namespaces/sluice-system/services/scaler-redis"
	pods   = "/api/v1/namespaces/sluice-system/pods"
	metric = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/s0-redis-jobs"
	target = "/apis/apps/v1/namespaces/shop/deployments/worker"
)

// usual is a cluster in which all is there.
func usual() map[string]string {
	return map[string]string{
		object: `{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "worker", "namespace": "shop", "generation": 3},
			"spec": {"scaleTargetRef": {"name": "worker"}, "triggers": [
				{"type": "redis", "metadata": {"address": "redis:6379", "listName": "jobs", "listLength": "5"}},
				{"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}]},
			"status": {"externalMetricNames": ["s0-redis-jobs"]}}`,
		job: `{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "metadata": {"name": "import", "namespace": "shop"},
			"spec": {"jobTargetRef": {"template": {"spec": {"containers": [{"name": "a"}]}}}, "triggers": [
				{"type": "redis", "metadata": {"address": "redis:6379", "listName": "jobs"}}]}}`,
		svc: `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "scaler-redis"}, "spec": {"selector": {"app.kubernetes.io/name": "scaler-redis"}}}`,
		pods: `{"apiVersion": "v1", "kind": "PodList", "items": [
			{"metadata": {"name": "scaler-redis-b", "namespace": "sluice-system"}, "spec": {"containers": [{"ports": [{"name": "loopback", "containerPort": 9091}]}]}},
			{"metadata": {"name": "scaler-redis-a", "namespace": "sluice-system"}, "spec": {"containers": [{"ports": [{"name": "grpc", "containerPort": 9090}, {"name": "loopback", "containerPort": 9091}]}]},
				"status": {"conditions": [{"type": "Ready", "status": "True"}]}}]}`,
		metric: `{"apiVersion": "external.metrics.k8s.io/v1beta1", "kind": "ExternalMetricValueList", "metadata": {}, "items": [
			{"metricName": "s0-redis-jobs", "metricLabels": {}, "timestamp": "2020-01-01T00:00:00Z", "value": "12500m"}]}`,
		target: `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "worker", "namespace": "shop"}}`,
	}
}

// TestProbe: a family answers through a forwarded port, by gRPC; where it may not,
// the metrics adapter does, and why is said.
func TestProbe(t *testing.T) {
	refusal := status.Error(codes.PermissionDenied, `authenticationRef refers to credentials in namespace "shop": over loopback that is so with --loopback-credentials alone`)
	for name, tt := range map[string]struct {
		kind      string
		trigger   int
		fails     error
		failure   string
		forbidden string
		without   string
		by        string
		value     float64
		err, note string
	}{
		"the family": {by: ByFamily, value: 12.5},
		"of a job":   {kind: scalerv1.KindScaledJob, by: ByFamily, value: 12.5},
		"one that fails": {
			fails: status.Error(codes.Unavailable, "redis:6379: connection refused"), by: ByFamily, err: "redis:6379: connection refused",
		},
		"a login that is refused": {fails: status.Error(codes.PermissionDenied, "redis:6379: NOPERM"), by: ByFamily, err: "NOPERM"},
		"credentials":             {fails: refusal, by: ByAdapter, value: 12.5, note: "--loopback-credentials"},
		"credentials of a job":    {kind: scalerv1.KindScaledJob, fails: refusal, err: "a ScaledJob has no HPA"},
		"no right to forward": {
			forbidden: pods + "/scaler-redis-a/portforward", by: ByAdapter, value: 12.5, note: "portforward",
		},
		"no right to Pods":        {forbidden: pods, by: ByAdapter, value: 12.5, note: "you may not list Pods in namespace sluice-system"},
		"no right to the Service": {forbidden: svc, by: ByAdapter, value: 12.5, note: "you may not get Service scaler-redis"},
		"no family":               {without: svc, err: "family redis, which serves the type, is not installed"},
		"nobody listens":          {failure: "connection refused on port 9091", by: ByAdapter, value: 12.5, note: "port 9091"},
		"neither":                 {forbidden: pods, without: metric, by: ByAdapter, err: "metric s0-redis-jobs: ", note: "you may not list Pods"},
		"one of the HPA's own":    {trigger: 1, note: "kubectl describe hpa"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &family{fails: tt.fails}
			a := &apitest.API{Objects: usual(), Forbidden: map[string]bool{tt.forbidden: true}, Address: serve(t, f), Failure: tt.failure}
			delete(a.Objects, tt.without)
			o := Options{Kind: scalerv1.KindScaledObject, Namespace: "shop", Name: "worker", Trigger: &tt.trigger, Timeout: time.Minute}
			if tt.kind != "" {
				o.Kind, o.Name = tt.kind, "import"
			}
			r, err := Run(t.Context(), live(t, a), o)
			if err != nil || len(r.Answers) != 1 {
				t.Fatalf("%+v, %v", r, err)
			}
			have := r.Answers[0]
			if have.By != tt.by || !strings.Contains(have.Error, tt.err) || (have.Error == "") != (tt.err == "") ||
				!strings.Contains(have.Note, tt.note) || (have.Note == "") != (tt.note == "") || r.Failed() != (tt.err != "") {
				t.Errorf("%+v", have)
			}
			if tt.value != 0 && (len(have.Metrics) != 1 || have.Metrics[0].Value != tt.value) {
				t.Errorf("%+v", have.Metrics)
			}
			if tt.value == 0 && len(have.Metrics) > 0 {
				t.Errorf("a value beside an error: %+v", have.Metrics)
			}
			if tt.by == ByFamily && f.asked.GetScalerMetadata()[scalerv1.KeyTriggerType] != "redis" {
				t.Errorf("asked for %v", f.asked)
			}
			var text bytes.Buffer
			if err := r.Print(&text); err != nil || !strings.Contains(text.String(), tt.err) || !strings.Contains(text.String(), tt.note) {
				t.Errorf("%v: %s", err, &text)
			}
			if tt.by == ByFamily && tt.err == "" && !strings.Contains(text.String(), "redis-jobs   12.5   target 5\n  active: yes\n") {
				t.Error(text.String())
			}
		})
	}
}

// TestProbeOfNothing: what is wrong with the question.
func TestProbeOfNothing(t *testing.T) {
	cluster := live(t, &apitest.API{Objects: usual()})
	two := 2
	for want, o := range map[string]Options{
		"--trigger: ScaledObject shop/worker has triggers 0 to 1": {Kind: scalerv1.KindScaledObject, Namespace: "shop", Name: "worker", Trigger: &two},
		"NotFound": {Kind: scalerv1.KindScaledJob, Namespace: "shop", Name: "none"},
	} {
		if _, err := Run(t.Context(), cluster, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestProbeEnds: a family that never answers is left alone.
func TestProbeEnds(t *testing.T) {
	cluster := live(t, &apitest.API{Objects: usual(), Address: serve(t, &family{hangs: true})})
	first := 0
	r, err := Run(t.Context(), cluster, Options{Kind: scalerv1.KindScaledObject, Namespace: "shop", Name: "worker", Trigger: &first, Timeout: time.Second})
	if err != nil || r.Answers[0].Code != codes.DeadlineExceeded.String() || len(r.Answers[0].Metrics) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestNothingOfAPeerIsALineOfItsOwn: errors and names come from others.
func TestNothingOfAPeerIsALineOfItsOwn(t *testing.T) {
	r := &Report{Kind: "ScaledObject", Namespace: "shop", Name: "worker", Answers: []Answer{
		{Type: "a\nb", Note: "a\nb", By: ByFamily, Pod: "a", Metrics: []Metric{{Name: "a\nb\tc", Value: 1}}}, {Error: "a\nb"},
	}}
	var text bytes.Buffer
	if err := r.Print(&text); err != nil || strings.Contains(text.String(), "\nb") || strings.Contains(text.String(), "\t") {
		t.Errorf("%v: %q", err, text.String())
	}
}
