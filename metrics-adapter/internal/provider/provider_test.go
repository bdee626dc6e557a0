package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 999_999_999, time.UTC)

// families answers by "<trigger index> <metric>"; what is not there fails.
type families struct {
	values map[string]float64
	stall  bool
	// forgot is set when no family has the triggers, and each must be asked for
	// in full.
	forgot bool

	mu    sync.Mutex
	asked []federation.Trigger
	ages  []time.Duration // of readings, that were asked for
}

func (f *families) GetMetrics(ctx context.Context, t federation.Trigger, metric string) (float64, error) {
	f.mu.Lock()
	f.asked = append(f.asked, t)
	if age, ok := federation.AgeWanted(ctx); ok {
		f.ages = append(f.ages, age.Truncate(time.Millisecond))
	}
	f.mu.Unlock()
	switch {
	case f.stall:
		<-ctx.Done()
		return 0, ctx.Err()
	case f.forgot && t.Unread != nil:
		return 0, t.Unread
	}
	if v, ok := f.values[fmt.Sprint(t.Index, " ", metric)]; ok {
		return v, nil
	}
	return 0, fmt.Errorf("%s: dial tcp: refused", t.Type)
}

// fixture is a provider over one ScaledObject with two kafka triggers a and b,
// target 5 each, and three pods of which one is ready and runs.
type fixture struct {
	*Provider
	families *families
	selector atomic.Value // of the pods, as the target's scale has it
	scaled   atomic.Int64 // replicas, as it has them
	unread   atomic.Bool  // it cannot be read
}

func newFixture(t testing.TB, values map[string]float64, change ...func(*v1alpha1.ScaledObject)) *fixture {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	so := &v1alpha1.ScaledObject{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker", Generation: 3},
		Spec: v1alpha1.ScaledObjectSpec{
			ScaleTargetRef: v1alpha1.ScaleTarget{Name: "worker"},
			Triggers:       []v1alpha1.ScaleTrigger{{Type: "kafka", Name: "a"}, {Type: "kafka", Name: "b"}},
		},
		Status: v1alpha1.ScaledObjectStatus{
			HpaName: "keda-hpa-worker", ExternalMetricNames: []string{"s0-a", "s1-b"},
			ScaleTargetGVKR: &v1alpha1.GroupVersionKindResource{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments"},
		},
	}
	for _, c := range change {
		c(so)
	}
	hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "keda-hpa-worker"}}
	for i, name := range so.Status.ExternalMetricNames {
		target := autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr.To(resource.MustParse("5"))}
		if so.Spec.Triggers[i].MetricType == autoscalingv2.ValueMetricType {
			target = autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: ptr.To(resource.MustParse("5"))}
		}
		if so.Modifiers() != nil {
			name = "composite-metric"
		}
		hpa.Spec.Metrics = append(hpa.Spec.Metrics, autoscalingv2.MetricSpec{
			Type:     autoscalingv2.ExternalMetricSourceType,
			External: &autoscalingv2.ExternalMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: name}, Target: target},
		})
	}
	template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Env: []corev1.EnvVar{{Name: "TOPIC", Value: "orders"}}}}}}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker"}, Spec: appsv1.DeploymentSpec{Template: template}}
	rollout := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": map[string]any{"namespace": "shop", "name": "rollout"},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
			"serviceAccountName": "shipper",
			"containers":         []any{map[string]any{"name": "app", "env": []any{map[string]any{"name": "TOPIC", "value": "bills"}}}},
		}}},
	}}
	ended := pod("three", true)
	ended.Status.Phase = corev1.PodFailed
	made := &fixture{}
	made.selector.Store("app=worker")
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(so, hpa, deployment, rollout, pod("one", true), pod("two", false), ended).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourceGet: func(_ context.Context, _ client.Client, _ string, _, body client.Object, _ ...client.SubResourceGetOption) error {
				// As the real client: of an object without a Go type it reads none.
				scale, ok := body.(*unstructured.Unstructured)
				if !ok {
					return fmt.Errorf("unstructured client did not understand object: %T", body)
				}
				if made.unread.Load() {
					return errors.New("forbidden")
				}
				scale.Object["spec"] = map[string]any{"replicas": made.scaled.Load()}
				scale.Object["status"] = map[string]any{"selector": made.selector.Load()}
				return nil
			},
		}).Build()
	made.families = &families{values: values}
	made.Provider = &Provider{Objects: c, Cluster: c, Families: made.families, Now: func() time.Time { return now }}
	made.Ready = &ReadyPods{Cluster: c, Pods: podsOf(c), Now: made.Now}
	made.keepWatches(t)
	return made
}

// podsOf has a client's pods as the API server sends them. Watches do not tell of
// what was before them: the fake's do not know.
func podsOf(c client.WithWatch) PodReader {
	return func(ctx context.Context, namespace string, options metav1.ListOptions) (io.ReadCloser, error) {
		selected, err := labels.Parse(options.LabelSelector)
		if err != nil {
			return nil, err
		}
		only := &client.ListOptions{Namespace: namespace, LabelSelector: selected}
		if !options.Watch {
			pods := &corev1.PodList{}
			if err := c.List(ctx, pods, only); err != nil {
				return nil, err
			}
			text, err := json.Marshal(pods)
			return io.NopCloser(bytes.NewReader(text)), err
		}
		events, err := c.Watch(ctx, &corev1.PodList{}, only)
		if err != nil {
			return nil, err
		}
		r, w := io.Pipe()
		context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
		go func() {
			defer events.Stop()
			for {
				select {
				case event := <-events.ResultChan():
					text, err := json.Marshal(map[string]any{"type": event.Type, "object": event.Object})
					if err == nil {
						_, err = w.Write(text)
					}
					if err != nil {
						w.CloseWithError(err)
						return
					}
				case <-ctx.Done():
					return
				}
			}
		}()
		return r, nil
	}
}

// keepWatches has the pods of targets watched until the test ends.
func (f *fixture) keepWatches(t testing.TB) {
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Ready.Start(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func pod(name string, ready bool) *corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": "worker"}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}},
	}
}

// ask puts a question as the HPA controller does; the answer is "<name> <value>".
func (f *fixture) ask(ctx context.Context, selector, metric string) (string, error) {
	parsed, err := labels.Parse(selector)
	if err != nil {
		return "", err
	}
	list, err := f.GetExternalMetric(ctx, "shop", parsed, provider.ExternalMetricInfo{Metric: metric})
	if err != nil {
		return "", err
	}
	item := list.Items[0]
	if len(list.Items) != 1 || !item.Timestamp.Time.Equal(now.Truncate(time.Second)) {
		return "", fmt.Errorf("answer %+v", list)
	}
	return fmt.Sprint(item.MetricName, " ", item.Value.AsApproximateFloat64()), nil
}

const selector = "scaledobject.keda.sh/name=worker"

func TestSelectors(t *testing.T) {
	tests := map[string]struct {
		selector string
		code     int32
		message  string
	}{
		"the object":            {selector: selector},
		"further pairs":         {selector: selector + ",team=a"},
		"written with ==":       {selector: "scaledobject.keda.sh/name==worker,team==a"},
		"nothing":               {selector: "", code: 400, message: `label selector "" does not name a ScaledObject: scaledobject.keda.sh/name=<name> is required`},
		"another key":           {selector: "team=a", code: 400, message: `label selector "team=a" does not name a ScaledObject: scaledobject.keda.sh/name=<name> is required`},
		"an empty name":         {selector: "scaledobject.keda.sh/name=", code: 400, message: `label selector "scaledobject.keda.sh/name=" does not name a ScaledObject: scaledobject.keda.sh/name=<name> is required`},
		"a set":                 {selector: "scaledobject.keda.sh/name in (worker,other)", code: 400, message: `label selector "scaledobject.keda.sh/name in (other,worker)": only pairs of key=value can be answered`},
		"a negation":            {selector: selector + ",!team", code: 400, message: `label selector "scaledobject.keda.sh/name=worker,!team": only pairs of key=value can be answered`},
		"a set of one":          {selector: "scaledobject.keda.sh/name in (worker)", code: 400, message: `label selector "scaledobject.keda.sh/name in (worker)": only pairs of key=value can be answered`},
		"another than":          {selector: "scaledobject.keda.sh/name!=other", code: 400, message: `label selector "scaledobject.keda.sh/name!=other": only pairs of key=value can be answered`},
		"an object not there":   {selector: "scaledobject.keda.sh/name=absent", code: 404, message: `scaledobjects.keda.sh "absent" not found`},
		"an object not in view": {selector: "scaledobject.keda.sh/name=elsewhere", code: 404, message: `scaledobjects.keda.sh "elsewhere" not found`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := newFixture(t, map[string]float64{"0 a": 7}).ask(t.Context(), tt.selector, "s0-a")
			if tt.code == 0 {
				if err != nil || got != "s0-a 7" {
					t.Errorf("%s, %v", got, err)
				}
				return
			}
			var status apierrors.APIStatus
			if !errors.As(err, &status) || status.Status().Code != tt.code || err.Error() != tt.message {
				t.Errorf("error %v, want %d %q", err, tt.code, tt.message)
			}
		})
	}
}

// TestANudgedQuestionIsForTheReadingThatCausedIt has families asked for a reading no
// older than the one that an HPA was made to look for, soon after it was.
func TestANudgedQuestionIsForTheReadingThatCausedIt(t *testing.T) {
	for name, c := range map[string]struct {
		nudge string
		want  []time.Duration
	}{
		"none":                     {"", nil},
		"a moment ago":             {scaling.NudgeOf(now.Add(-300 * time.Millisecond)), []time.Duration{300 * time.Millisecond}},
		"by a clock that is ahead": {scaling.NudgeOf(now.Add(time.Hour)), []time.Duration{time.Millisecond}},
		"long ago":                 {scaling.NudgeOf(now.Add(-nudgeFor)), nil},
		"what is no nudge":         {"soon", nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, map[string]float64{"0 a": 7})
			asked := selector
			if c.nudge != "" {
				asked += ",sluice.dev/nudge=" + c.nudge
			}
			if got, err := f.ask(t.Context(), asked, "s0-a"); err != nil || got != "s0-a 7" {
				t.Errorf("%s, %v", got, err)
			}
			if !slices.Equal(f.families.ages, c.want) {
				t.Errorf("asked for readings of %v, want %v", f.families.ages, c.want)
			}
		})
	}
}

func TestNamespacesOfOthers(t *testing.T) {
	f := newFixture(t, map[string]float64{"0 a": 3})
	for name, tt := range map[string]struct {
		namespaces []string
		seen       bool
	}{
		"all": {seen: true}, "among others": {[]string{"other", "shop"}, true}, "not this one": {[]string{"other"}, false},
	} {
		f.Namespaces = tt.namespaces
		if got, err := f.ask(t.Context(), selector, "s0-a"); (err == nil) != tt.seen || !tt.seen && !apierrors.IsNotFound(err) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

func withFallback(behavior v1alpha1.FallbackBehavior) func(*v1alpha1.ScaledObject) {
	return func(so *v1alpha1.ScaledObject) {
		so.Spec.Fallback = &v1alpha1.Fallback{FailureThreshold: 3, Replicas: 6, Behavior: behavior}
	}
}

// verdict is the controller's: metric is in fallback and comes to replicas.
func verdict(metric string, replicas *int32) func(*v1alpha1.ScaledObject) {
	return func(so *v1alpha1.ScaledObject) {
		so.Status.Fallback = append(so.Status.Fallback, v1alpha1.FallbackVerdict{Metric: metric, Replicas: replicas})
	}
}

func activated(metric string, ago time.Duration) func(*v1alpha1.ScaledObject) {
	return func(so *v1alpha1.ScaledObject) {
		so.Status.Activation = &v1alpha1.Activation{Metric: metric, Replicas: 10, Time: metav1.NewMicroTime(now.Add(-ago))}
	}
}

// atMost gives the object a policy of so many Pods a minute.
func atMost(pods int32) func(*v1alpha1.ScaledObject) {
	return func(so *v1alpha1.ScaledObject) {
		if so.Spec.Advanced == nil {
			so.Spec.Advanced = &v1alpha1.AdvancedConfig{}
		}
		so.Spec.Advanced.HorizontalPodAutoscalerConfig = &v1alpha1.HorizontalPodAutoscalerConfig{
			Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{
				Policies: []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: pods, PeriodSeconds: 60}},
			}},
		}
	}
}

func formula(text string, kind autoscalingv2.MetricTargetType) func(*v1alpha1.ScaledObject) {
	return func(so *v1alpha1.ScaledObject) {
		so.Spec.Advanced = &v1alpha1.AdvancedConfig{ScalingModifiers: &v1alpha1.ScalingModifiers{Formula: text, Target: "2.5", MetricType: kind}}
	}
}

func valueTargets(so *v1alpha1.ScaledObject) {
	for i := range so.Spec.Triggers {
		so.Spec.Triggers[i].MetricType = autoscalingv2.ValueMetricType
	}
}

func TestAnswers(t *testing.T) {
	type changes = []func(*v1alpha1.ScaledObject)
	both := map[string]float64{"0 a": 7, "1 b": 2.5}
	onlyB := map[string]float64{"1 b": 2.5}
	refused := "ScaledObject shop/worker, metric %s: trigger 0 (kafka): dial tcp: refused"
	tests := map[string]struct {
		object  changes
		values  map[string]float64
		metric  string
		want    string
		message string
	}{
		"a value":           {values: both, metric: "s1-b", want: "s1-b 2.5"},
		"in capitals":       {values: both, metric: "S1-B", want: "s1-b 2.5"},
		"no such trigger":   {values: both, metric: "s7-a", message: "ScaledObject shop/worker, metric s7-a: there is no trigger 7"},
		"no index":          {values: both, metric: "orders", message: "ScaledObject shop/worker, metric orders: the name has no s<trigger index>- prefix"},
		"a failed reading":  {values: onlyB, metric: "s0-a", message: fmt.Sprintf(refused, "s0-a")},
		"formula not there": {values: both, metric: "composite-metric", message: "ScaledObject shop/worker, metric composite-metric: the name has no s<trigger index>- prefix"},

		"after a jump":                    {object: changes{activated("s0-a", 44*time.Second)}, values: both, metric: "s0-a", want: "s0-a 50"},
		"after a jump, of another metric": {object: changes{activated("s0-a", 0)}, values: both, metric: "s1-b", want: "s1-b 2.5"},
		"after a jump, long ago":          {object: changes{activated("s0-a", 45*time.Second)}, values: both, metric: "s0-a", want: "s0-a 7"},
		"after a jump, more than it":      {object: changes{activated("s0-a", 0)}, values: map[string]float64{"0 a": 70}, metric: "s0-a", want: "s0-a 70"},
		"after a jump, a failed reading":  {object: changes{activated("s0-a", 0)}, values: onlyB, metric: "s0-a", message: fmt.Sprintf(refused, "s0-a")},
		"after a rise, held to the user's policy": {
			object: changes{activated("", 61*time.Second), atMost(4)}, values: map[string]float64{"0 a": 70}, metric: "s0-a", want: "s0-a 50",
		},
		"after a rise, less than the policy": {
			object: changes{activated("", 61*time.Second), atMost(4)}, values: both, metric: "s0-a", want: "s0-a 7",
		},
		"after a rise, a period later": {
			object: changes{activated("", 62*time.Second), atMost(4)}, values: map[string]float64{"0 a": 70}, metric: "s0-a", want: "s0-a 70",
		},
		"after a rise, held, divided by the pods": {
			object: changes{activated("", 0), atMost(4), valueTargets}, values: map[string]float64{"0 a": 70}, metric: "s0-a", want: "s0-a 50",
		},
		"after a rise, a formula is held": {
			object: changes{activated("", 0), formula("a * 10", ""), atMost(4)}, values: both, metric: "composite-metric", want: "composite-metric 50",
		},
		"after a rise, a fallback is held": {
			object: changes{activated("", 0), atMost(4), verdict("s0-a", ptr.To[int32](60))}, values: onlyB, metric: "s0-a", want: "s0-a 50",
		},
		"in fallback":                      {object: changes{verdict("s0-a", ptr.To[int32](6))}, values: onlyB, metric: "s0-a", want: "s0-a 30"},
		"in fallback, to zero":             {object: changes{verdict("s0-a", ptr.To[int32](0))}, values: onlyB, metric: "s0-a", want: "s0-a 0"},
		"in fallback, but it can be read":  {object: changes{verdict("s0-a", ptr.To[int32](6))}, values: both, metric: "s0-a", want: "s0-a 7"},
		"another metric in fallback":       {object: changes{verdict("s1-b", ptr.To[int32](6))}, values: onlyB, metric: "s0-a", message: fmt.Sprintf(refused, "s0-a")},
		"in fallback, divided by the pods": {object: changes{valueTargets, verdict("s0-a", ptr.To[int32](6))}, values: onlyB, metric: "s0-a", want: "s0-a 30"},

		"a formula":               {object: changes{formula("a + b", "")}, values: both, metric: "composite-metric", want: "composite-metric 9.5"},
		"a formula by any name":   {object: changes{formula("a + b", "")}, values: both, metric: "s0-a", want: "composite-metric 9.5"},
		"a formula in capitals":   {object: changes{formula("a + b", "")}, values: both, metric: "Composite-Metric", want: "composite-metric 9.5"},
		"a formula below zero":    {object: changes{formula("b - a", "")}, values: both, metric: "composite-metric", want: "composite-metric 0"},
		"a formula that fails":    {object: changes{formula("a / (b - 2.5)", "")}, values: both, metric: "composite-metric", message: "ScaledObject shop/worker, metric composite-metric: scalingModifiers.formula: the result is not a finite number"},
		"a formula, one fails":    {object: changes{formula("a + b", "")}, values: onlyB, metric: "composite-metric", message: fmt.Sprintf(refused, "composite-metric")},
		"a formula with ?? fails": {object: changes{formula("a ?? b", "")}, values: onlyB, metric: "composite-metric", message: fmt.Sprintf(refused, "composite-metric")},
		"a formula, one in fallback": {
			object: changes{formula("a + b", ""), withFallback("static"), verdict("s0-a", ptr.To[int32](6))}, values: onlyB, metric: "composite-metric", want: "composite-metric 15",
		},
		"a formula, one in fallback to what it has": {
			object: changes{formula("a + b", ""), withFallback("currentReplicas"), verdict("s0-a", ptr.To[int32](4))}, values: onlyB, metric: "composite-metric", want: "composite-metric 10",
		},
		"a formula, one in fallback, the other fails": {
			object: changes{formula("a + b", ""), withFallback("static"), verdict("s1-b", ptr.To[int32](6))}, values: nil, metric: "composite-metric", message: fmt.Sprintf(refused, "composite-metric"),
		},
		"a formula that fills in": {
			object: changes{formula("a ?? b", ""), withFallback("scalingModifiers"), verdict("s0-a", nil)}, values: onlyB, metric: "composite-metric", want: "composite-metric 2.5",
		},
		"a formula that cannot do without": {
			object: changes{formula("a + b", ""), withFallback("scalingModifiers"), verdict("s0-a", nil)}, values: onlyB, metric: "composite-metric",
			message: "ScaledObject shop/worker, metric composite-metric: scalingModifiers.formula: ",
		},
		"a formula of nothing": {
			object: changes{formula("a ?? b", ""), withFallback("scalingModifiers"), verdict("s0-a", nil), verdict("s1-b", nil)}, values: nil, metric: "composite-metric", want: "composite-metric 15",
		},
		"a formula of nothing, divided by the pods": {
			object: changes{formula("a ?? b", autoscalingv2.ValueMetricType), withFallback("scalingModifiers"), verdict("s0-a", nil), verdict("s1-b", nil)},
			values: nil, metric: "composite-metric", want: "composite-metric 15",
		},
		"a formula of nothing without fallback": {
			object: changes{formula("a > 1 ? nil : nil", "")}, values: both, metric: "composite-metric",
			message: "ScaledObject shop/worker, metric composite-metric: scalingModifiers.formula: the result is nil and there is no fallback",
		},
		"a formula whose metrics nobody knows yet": {
			object: changes{formula("a + b", ""), func(so *v1alpha1.ScaledObject) { so.Status.ExternalMetricNames = nil }}, values: both, metric: "composite-metric",
			message: "ScaledObject shop/worker, metric composite-metric: trigger 0 (kafka): its metrics are not known yet",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := newFixture(t, tt.values, tt.object...).ask(t.Context(), selector, tt.metric)
			if tt.message == "" {
				if err != nil || got != tt.want {
					t.Errorf("%s, %v, want %s", got, err, tt.want)
				}
				return
			}
			var status apierrors.APIStatus
			if !errors.As(err, &status) || status.Status().Code != 500 || !strings.HasPrefix(err.Error(), tt.message) {
				t.Errorf("error %v, want %q", err, tt.message)
			}
		})
	}
}

func TestMetricOfAnHPAThatHasNotHeardOfTheFormula(t *testing.T) {
	f := newFixture(t, map[string]float64{"0 a": 7, "1 b": 2}, formula("a * 1000", ""))
	c := f.Cluster.(client.Client)
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "keda-hpa-worker"}, hpa); err != nil {
		t.Fatal(err)
	}
	hpa.Spec.Metrics[0].External.Metric.Name = "s0-a"
	if err := c.Update(t.Context(), hpa); err != nil {
		t.Fatal(err)
	}
	if got, err := f.ask(t.Context(), selector, "s0-a"); err != nil || got != "s0-a 7" {
		t.Errorf("%s, %v", got, err)
	}
}

// TestEnvironmentIsPassedOnWhereATriggerNeedsIt reads the target only where a
// trigger names its variables or its authentication object may, and there, unless
// the cache has it, only when no family has the trigger.
func TestEnvironmentIsPassedOnWhereATriggerNeedsIt(t *testing.T) {
	named := func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers[0].Metadata = map[string]string{"topicFromEnv": "TOPIC"}
	}
	login := func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers[0].AuthenticationRef = &v1alpha1.AuthenticationRef{Name: "login"}
	}
	rollout := func(so *v1alpha1.ScaledObject) {
		so.Spec.ScaleTargetRef = v1alpha1.ScaleTarget{Name: "rollout", Kind: "Rollout", APIVersion: "argoproj.io/v1alpha1"}
	}
	for name, tt := range map[string]struct {
		change          []func(*v1alpha1.ScaledObject)
		forgot          bool
		env, containers int // of the last request
		account         string
		asked, read     int // how often, the target by the API server
	}{
		"named":                               {change: []func(*v1alpha1.ScaledObject){named}, env: 1, account: "default", asked: 1},
		"named, forgotten":                    {change: []func(*v1alpha1.ScaledObject){named}, forgot: true, env: 1, account: "default", asked: 1},
		"not named":                           {asked: 1},
		"not named, forgotten":                {forgot: true, asked: 1},
		"of another kind":                     {change: []func(*v1alpha1.ScaledObject){named, rollout}, asked: 1},
		"of another kind, forgotten":          {change: []func(*v1alpha1.ScaledObject){named, rollout}, forgot: true, env: 1, account: "shipper", asked: 2, read: 1},
		"named by authentication":             {change: []func(*v1alpha1.ScaledObject){login}, asked: 1},
		"named by authentication, forgotten":  {change: []func(*v1alpha1.ScaledObject){login}, forgot: true, containers: 1, account: "default", asked: 2, read: 1},
		"authentication, other, forgotten":    {change: []func(*v1alpha1.ScaledObject){login, rollout}, forgot: true, containers: 1, account: "shipper", asked: 2, read: 1},
		"named in both, of the cache's kinds": {change: []func(*v1alpha1.ScaledObject){named, login}, env: 1, containers: 1, account: "default", asked: 1},
		"a formula reads it once": {
			change: []func(*v1alpha1.ScaledObject){rollout, login, formula("a + b", ""), func(so *v1alpha1.ScaledObject) {
				so.Spec.Triggers[1].AuthenticationRef = so.Spec.Triggers[0].AuthenticationRef
			}}, forgot: true, containers: 1, account: "shipper", asked: 4, read: 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, map[string]float64{"0 a": 7, "1 b": 2}, tt.change...)
			f.families.forgot = tt.forgot
			var read atomic.Int64
			f.Cluster = interceptor.NewClient(f.Cluster.(client.WithWatch), interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
					if _, hpa := o.(*autoscalingv2.HorizontalPodAutoscaler); !hpa {
						read.Add(1)
					}
					return c.Get(ctx, key, o)
				},
			})
			if _, err := f.ask(t.Context(), selector, "s0-a"); err != nil {
				t.Fatal(err)
			}
			asked := f.families.asked[len(f.families.asked)-1]
			if len(asked.Env) != tt.env || len(asked.Containers) != tt.containers || asked.ServiceAccount != tt.account ||
				asked.Mode != federation.Active || asked.Generation != 3 {
				t.Errorf("asked %+v", asked)
			}
			if len(f.families.asked) != tt.asked || int(read.Load()) != tt.read {
				t.Errorf("asked %d times, the target was read %d times, want %d and %d", len(f.families.asked), read.Load(), tt.asked, tt.read)
			}
		})
	}
	t.Run("of a target that is gone", func(t *testing.T) {
		f := newFixture(t, map[string]float64{"0 a": 7}, named)
		gone := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker"}}
		if err := f.Cluster.(client.Client).Delete(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ask(t.Context(), selector, "s0-a"); err != nil {
			t.Fatal(err)
		}
		if err := f.families.asked[0].Unread; err == nil || !strings.HasPrefix(err.Error(), "scale target, whose variables the trigger names: ") {
			t.Errorf("unread: %v", err)
		}
	})
}

// TestTargetThatMayNotBeRead has triggers that need a target which the adapter
// may not read. A family that has them answers all the same. Otherwise one that
// names variables cannot be asked for, which is said; one with an authentication
// object is asked for without.
func TestTargetThatMayNotBeRead(t *testing.T) {
	f := newFixture(t, map[string]float64{"0 a": 7, "1 b": 2}, func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers[0].Metadata = map[string]string{"topicFromEnv": "TOPIC"}
		so.Spec.Triggers[1].AuthenticationRef = &v1alpha1.AuthenticationRef{Name: "login"}
		so.Spec.ScaleTargetRef = v1alpha1.ScaleTarget{Name: "rollout", Kind: "Rollout", APIVersion: "argoproj.io/v1alpha1"}
	})
	f.Cluster = interceptor.NewClient(f.Cluster.(client.WithWatch), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
			if o.GetObjectKind().GroupVersionKind().Kind == "Rollout" {
				return apierrors.NewForbidden(schema.GroupResource{Group: "argoproj.io", Resource: "rollouts"}, key.Name, errors.New("no rule"))
			}
			return c.Get(ctx, key, o)
		},
	})
	const unread = "ScaledObject shop/worker, metric s0-a: trigger 0 (kafka): " +
		`scale target, whose variables the trigger names: rollouts.argoproj.io "rollout" is forbidden: no rule`
	for _, tt := range []struct {
		metric, want, message string
		forgot                bool
	}{
		{metric: "s0-a", want: "s0-a 7"},
		{metric: "s1-b", want: "s1-b 2"},
		{metric: "s0-a", forgot: true, message: unread},
		{metric: "s1-b", forgot: true, want: "s1-b 2"},
	} {
		f.families.forgot = tt.forgot
		got, err := f.ask(t.Context(), selector, tt.metric)
		if got != tt.want || (err != nil) != (tt.message != "") || err != nil && err.Error() != tt.message {
			t.Errorf("%s, %v, want %s %s", got, err, tt.want, tt.message)
		}
	}
}

func TestStalledSourceTakesTheBudgetAndNoMore(t *testing.T) {
	for name, change := range map[string][]func(*v1alpha1.ScaledObject){
		"one metric": nil,
		"a formula":  {formula("a + b", "")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, nil, change...)
				f.families.stall = true
				began := time.Now()
				if _, err := f.ask(t.Context(), selector, "composite-metric"); name == "a formula" && err == nil {
					t.Error("an answer")
				}
				if _, err := f.ask(t.Context(), selector, "s0-a"); err == nil {
					t.Error("an answer")
				}
				if spent := time.Since(began); spent > 2*Budget {
					t.Errorf("%v for two answers", spent)
				}
			})
		})
	}
}

func TestDiscoveryNamesOneMetric(t *testing.T) {
	if all := newFixture(t, nil).ListAllExternalMetrics(); len(all) != 1 || all[0].Metric != "externalmetrics" {
		t.Errorf("%v", all)
	}
}

// TestQuestionsOfANamespaceHaveTheirShare has one namespace ask for very many
// metrics of sources that do not answer: another one is answered at once, and those
// whose turn does not come are told within their time.
func TestQuestionsOfANamespaceHaveTheirShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.families.stall = true
		named, err := labels.Parse(selector)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		var refused atomic.Int64
		began := time.Now()
		for range 4 * mostAnswersOfOne {
			all.Go(func() {
				_, err := f.GetExternalMetric(t.Context(), "shop", named, provider.ExternalMetricInfo{Metric: "s0-a"})
				if apierrors.IsTooManyRequests(err) {
					refused.Add(1)
				}
			})
		}
		synctest.Wait()
		if got := len(f.families.asked); got != mostAnswersOfOne {
			t.Errorf("%d are worked on at once", got)
		}
		if _, err := f.GetExternalMetric(t.Context(), "other", named, provider.ExternalMetricInfo{Metric: "s0-a"}); !apierrors.IsNotFound(err) {
			t.Errorf("another namespace: %v", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("another namespace waited for %v", took)
		}
		all.Wait()
		if took := time.Since(began); took > Budget || refused.Load() == 0 {
			t.Errorf("%d refused after %v", refused.Load(), took)
		}
	})
}

// TestLiveTargetsAreReadOneAtATime: how large targets are is a tenant's, and they
// are decoded whole. Of what is read, that is kept which the cache keeps.
func TestLiveTargetsAreReadOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, map[string]float64{"0 a": 7, "1 b": 2})
		var reading, most atomic.Int64
		f.Cluster = interceptor.NewClient(f.Cluster.(client.WithWatch), interceptor.Funcs{
			Get: func(_ context.Context, _ client.WithWatch, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
				most.Store(max(most.Load(), reading.Add(1)))
				<-time.After(time.Millisecond)
				reading.Add(-1)
				huge := o.(*appsv1.Deployment)
				huge.Name, huge.ResourceVersion = key.Name, "1"
				huge.Annotations = map[string]string{"a": strings.Repeat("a", 1<<20)}
				huge.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Image: strings.Repeat("a", 1<<20), Env: []corev1.EnvVar{{Name: "A", Value: "b"}}}}
				return nil
			},
		})
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				so := &v1alpha1.ScaledObject{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker"}}
				so.Spec.ScaleTargetRef.Name = fmt.Sprint("target-", i)
				so.Status.ScaleTargetGVKR = &v1alpha1.GroupVersionKindResource{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments"}
				read, err := f.liveTemplate(t.Context(), so)
				if err != nil || read.template.Spec.Containers[0].Image != "" || read.template.Spec.Containers[0].Env[0].Value != "b" || read.size() > 4<<10 {
					t.Errorf("%d bytes, %v", read.size(), err)
				}
			})
		}
		all.Wait()
		if most.Load() > mostReadsOfOne {
			t.Errorf("%d at once", most.Load())
		}
	})
}

// Of an object that there is no room for nobody is asked, and the HPA keeps what it
// has: there is an error that says why, and no value.
func TestAnObjectWithoutRoomHasNoMetrics(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*v1alpha1.ScaledObject)
		metric string
	}{
		"a metric":  {func(so *v1alpha1.ScaledObject) { so.Spec.Exceeds = "there is no room" }, "s0-a"},
		"a formula": {func(so *v1alpha1.ScaledObject) { so.Stub("there is no room") }, "composite-metric"},
	} {
		f := newFixture(t, map[string]float64{"0 a": 7})
		so := &v1alpha1.ScaledObject{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker"}}
		tt.change(so)
		if _, value, err := f.value(t.Context(), so, tt.metric); err == nil || !strings.Contains(err.Error(), "there is no room") {
			t.Errorf("%s: %v, %v", name, value, err)
		}
	}
	hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a"}}
	hpa.Spec.Metrics = []autoscalingv2.MetricSpec{{External: &autoscalingv2.ExternalMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: "s0-a"}}}}
	if _, err := StripHPA(kept.New(0, 0))(hpa); err != nil || len(hpa.Spec.Metrics) != 0 || !kept.WantsRoom(hpa) {
		t.Errorf("kept %+v, %v", hpa, err)
	}
}

// ofTheCache are reads of a cache, which watches all objects of a kind from the
// first of them on.
type ofTheCache struct {
	client.Reader
	t *testing.T
}

func (c ofTheCache) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	if _, ok := o.(*appsv1.ReplicaSet); ok {
		c.t.Error("all ReplicaSets of the cluster are watched")
	}
	return c.Reader.Get(ctx, key, o, options...)
}

// One object that names a ReplicaSet, which need not exist, has none watched.
func TestReplicaSetsAreReadLive(t *testing.T) {
	f := newFixture(t, map[string]float64{"0 a": 7, "1 b": 2}, func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers[0].Metadata = map[string]string{"topicFromEnv": "TOPIC"}
		so.Spec.ScaleTargetRef = v1alpha1.ScaleTarget{Name: "old", Kind: "ReplicaSet", APIVersion: "apps/v1"}
	})
	requests := f.counted()
	f.Objects = ofTheCache{f.Objects, t}
	f.families.forgot = true
	if got, err := f.ask(t.Context(), selector, "s0-a"); err == nil || !strings.Contains(err.Error(), "scale target") {
		t.Errorf("without its target it is %s, %v", got, err)
	}
	if n := requests.Load(); n == 0 {
		t.Error("the target was not read")
	}
}
