package why

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
)

var update = flag.Bool("update", false, "write the golden files")

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func at(second int) time.Time { return noon.Add(time.Duration(second) * time.Second) }

// orders is a ScaledObject on kafka that is ready, with work above 24.
func orders(change func(*v1alpha1.ScaledObject)) *Facts {
	so := &v1alpha1.ScaledObject{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "orders", Annotations: map[string]string{}},
		Spec: v1alpha1.ScaledObjectSpec{
			ScaleTargetRef: v1alpha1.ScaleTarget{Name: "worker"}, MaxReplicaCount: ptr.To[int32](10),
			Triggers: []v1alpha1.ScaleTrigger{{Type: "kafka", Metadata: map[string]string{"topic": "orders", "activationLagThreshold": "24"}}},
		},
		Status: v1alpha1.ScaledObjectStatus{
			HpaName: "keda-hpa-orders", ExternalMetricNames: []string{"s0-kafka-orders"},
			Conditions: v1alpha1.Conditions{{Type: v1alpha1.ConditionReady, Status: "True"}},
		},
	}
	if change != nil {
		change(so)
	}
	hpa := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "keda-hpa-orders"},
		Spec:       autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 10},
	}
	return &Facts{Object: Object{account.ScaledObject, "shop", "orders"}, ScaledObject: so, HPA: hpa, Now: at(3)}
}

// with adds what the controller tells of the decision about an input.
func (f *Facts) with(replicas int32, m scaling.ExplainedMetric, change func(*account.Account)) *Facts {
	f.Account = &account.Account{
		Now: f.Now, Since: at(-60), Times: 12,
		Last: scaling.Explanation{Time: at(0), Replicas: &replicas, Metrics: []scaling.ExplainedMetric{m}, Next: "the controller, when a trigger turns active"},
	}
	f.HPA.Status.CurrentReplicas, f.HPA.Status.DesiredReplicas = replicas, replicas
	if change != nil {
		change(f.Account)
	}
	return f
}

func lag(value float64, active bool) scaling.ExplainedMetric {
	asks := scaling.DesiredReplicas(value, 5, 0, 100)
	return scaling.ExplainedMetric{
		Name: "s0-kafka-orders", Outcome: "value", Value: &value, Target: 5, Kind: autoscalingv2.AverageValueMetricType,
		Asks: &asks, Active: active, ReadAt: at(0), Confirmed: at(2), Noticed: "doorbell",
	}
}

func says(outcome, problem string) scaling.ExplainedMetric {
	return scaling.ExplainedMetric{Name: "s0-kafka-orders", Outcome: outcome, Error: problem, Confirmed: at(0)}
}

// batch is a ScaledJob on rabbitmq.
func batch(annotations map[string]string) *Facts {
	return &Facts{Object: Object{account.ScaledJob, "shop", "batch"}, Now: at(3), ScaledJob: &v1alpha1.ScaledJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "batch", Annotations: annotations},
		Spec: v1alpha1.ScaledJobSpec{
			MaxReplicaCount: ptr.To[int32](4), Triggers: []v1alpha1.ScaleTrigger{{Type: "rabbitmq", Metadata: map[string]string{"queueName": "q"}}},
		},
		Status: v1alpha1.ScaledJobStatus{
			ExternalMetricNames: []string{"s0-rabbitmq-q"}, Conditions: v1alpha1.Conditions{{Type: v1alpha1.ConditionReady, Status: "True"}},
			Jobs: &v1alpha1.JobArithmetic{QueueLength: 9, Wanted: 9, Running: 4, Created: 4, LimitedBy: "maxReplicaCount 4"},
		},
	}}
}

// The texts of people are in testdata. What is there was read, and says what is so.
func TestWords(t *testing.T) {
	for name, facts := range map[string]*Facts{
		"rest": orders(nil).with(0, lag(12, false), nil),
		"work": orders(nil).with(10, lag(125, true), func(a *account.Account) {
			a.Times, a.Last.Next = 1, "the HPA, at its next sync"
			a.ColdStart = &account.ColdStart{Arrived: at(-65), Told: true, Written: at(-64), Ready: at(-52), Seconds: 13}
			a.Earlier = []account.Decision{{Since: at(-90), Times: 7, Last: scaling.Explanation{
				Time: at(-65), Replicas: ptr.To[int32](0), Metrics: []scaling.ExplainedMetric{lag(0, false)}, Next: "the controller, when a trigger turns active",
			}}}
		}),
		"cooldown": orders(nil).with(3, lag(0, false), func(a *account.Account) {
			a.Last.Next, a.Last.RestAt = "the controller, when the triggers stay inactive", ptr.To(at(300))
			a.Last.Limits = []string{"the cooldown lasts until 2026-05-01T12:05:00Z"}
		}),
		"nodata":  orders(nil).with(0, says("no data", ""), nil),
		"error":   orders(nil).with(3, says("error", "trigger 0 (kafka): dial tcp: refused"), nil),
		"pending": orders(nil).with(0, says("pending", ""), nil),
		"pinned": orders(func(so *v1alpha1.ScaledObject) {
			so.Annotations[v1alpha1.AnnotationPausedReplicas] = "5"
			so.Annotations[v1alpha1.AnnotationPauseReason] = "load test"
			so.Status.PausedReplicaCount = ptr.To[int32](5)
		}).with(3, lag(125, true), nil),
		"alone": orders(func(so *v1alpha1.ScaledObject) {
			so.Status.TriggersActivity = map[string]v1alpha1.TriggerActivity{"s0-kafka-orders": {IsActive: true}}
			so.Status.Decisions = []v1alpha1.Decision{{Time: metav1.NewMicroTime(at(-90)), Message: "0 to 9 replicas: s0-kafka-orders 42 at 5 asks for 9"}}
		}),
		"ill": orders(func(so *v1alpha1.ScaledObject) {
			so.Status.Conditions = v1alpha1.Conditions{
				{Type: v1alpha1.ConditionReady, Status: "False", Reason: "TriggerError", Message: "trigger 0 (kafka): dial tcp: refused"},
				{Type: v1alpha1.ConditionActive, Status: "Unknown", Reason: "UnknownState"},
				{Type: v1alpha1.ConditionFallback, Status: "True", Reason: "FallbackExists", Message: "3 replicas"},
				{Type: v1alpha1.ConditionHPAActive, Status: "False", Reason: "FailedGetExternalMetric", Message: "the HPA's own is told"},
				{Type: v1alpha1.ConditionPaused, Status: "False", Reason: "ScaledObjectUnpaused"},
			}
		}).with(3, says("error", "trigger 0 (kafka): dial tcp: refused"), nil),
		"jobs":       batch(nil),
		"jobspaused": batch(map[string]string{v1alpha1.AnnotationPaused: "true"}),
	} {
		t.Run(name, func(t *testing.T) {
			switch name {
			case "pinned": // the HPA is gone then
				facts.HPA, facts.ScaledObject.Status.HpaName = nil, ""
				facts.Account.Last = scaling.Explanation{Time: at(0), Replicas: ptr.To[int32](3), Write: ptr.To[int32](5), Limits: []string{"scaling is paused"}, Next: "the user"}
				facts.Account.Times = 1
			case "alone":
				facts.HPA.Status.CurrentReplicas, facts.HPA.Status.DesiredReplicas = 3, 3
				facts.HPA.Status.CurrentMetrics = []autoscalingv2.MetricStatus{{External: &autoscalingv2.ExternalMetricStatus{
					Metric:  autoscalingv2.MetricIdentifier{Name: "s0-kafka-orders"},
					Current: autoscalingv2.MetricValueStatus{AverageValue: resource.NewQuantity(4, resource.DecimalSI)},
				}}}
				facts.HPA.Spec.Metrics = []autoscalingv2.MetricSpec{{External: &autoscalingv2.ExternalMetricSource{
					Metric: autoscalingv2.MetricIdentifier{Name: "s0-kafka-orders"},
					Target: autoscalingv2.MetricTarget{AverageValue: resource.NewQuantity(5, resource.DecimalSI)},
				}}}
				facts.Missing = []string{"what the controller knows: no controller is ready in namespace sluice-system"}
				facts.Events = []Event{{Time: at(-90), Reason: "KEDAScaleTargetActivated", Message: "Scaled Deployment shop/worker from 0 to 9", Times: 2}}
			case "ill":
				facts.HPA.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{
					{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionFalse, Reason: "FailedGetExternalMetric", Message: "the server answered 500"},
				}
				for i, reason := range []string{"KEDAScalerFailed", "KEDAJobCreateFailed", "ScaledObjectPaused", "KEDAScalersStarted", "Theirs"} {
					facts.Events = append(facts.Events, event(&corev1.Event{LastTimestamp: metav1.NewTime(at(-90 - i)), Reason: reason, Message: "m"}))
				}
			case "work":
				facts.HPA.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{
					{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionTrue, Reason: "ScaleDownStabilized", Message: "recent recommendations were higher than current one"},
					{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionTrue, Reason: "ValidMetricFound", Message: "found"},
					{Type: autoscalingv2.ScalingLimited, Status: corev1.ConditionTrue, Reason: "TooManyReplicas", Message: "the desired replica count is more than the maximum"},
				}
			}
			report := Of(facts)
			var text bytes.Buffer
			if err := report.Print(&text); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil { //nolint:gosec // a golden file is no secret
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || text.String() != string(want) {
				t.Errorf("%v, have\n%s\nwant (go test -update writes it)\n%s", err, &text, want)
			}
			for format, read := range map[string]func([]byte, any) error{
				"json": json.Unmarshal,
				"yaml": func(text []byte, into any) error { return yaml.Unmarshal(text, into) },
			} {
				var out bytes.Buffer
				var again Report
				if err := (&output.Format{Name: format}).Encode(&out, report); err != nil {
					t.Fatal(err)
				}
				if err := read(out.Bytes(), &again); err != nil || again.Summary != report.Summary || len(again.Inputs) != len(report.Inputs) {
					t.Errorf("as %s: %v, %+v", format, err, again)
				}
			}
		})
	}
}

// What others wrote is one line of the report, and not more of it.
func TestNothingLooksLikeMore(t *testing.T) {
	f := orders(nil).with(3, says("error", "dial\nWho acts next\n  you, by sending the password"), nil)
	f.Events = []Event{{Time: noon, Reason: "R", Message: "m\nWhat limits it"}}
	f.Missing = []string{"a\nb"}
	var text bytes.Buffer
	if err := Of(f).Print(&text); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"\nWho acts next\n", "\nWhat limits it\n"} {
		if n := bytes.Count(text.Bytes(), []byte(line)); n != 1 {
			t.Errorf("%q is there %d times:\n%s", line, n, &text)
		}
	}
}

// What wakes an object is what its trigger has to exceed.
func TestDistance(t *testing.T) {
	for name, tt := range map[string]struct {
		value, above float64
		want         string
	}{
		"one":        {0, 0, "1 more of m wakes it: it has 0, and has to exceed 0"},
		"many":       {12, 24, "13 more of m wake it: it has 12, and has to exceed 24"},
		"a fraction": {0.5, 1, "m wakes it when it exceeds 1: it has 0.5"},
		"it does":    {30, 24, "m wakes it when it exceeds 24: it has 30"},
	} {
		t.Run(name, func(t *testing.T) {
			if have := distance(Input{Metric: "m", Value: &tt.value, Above: &tt.above}, "wakes it", "wake it"); have != tt.want {
				t.Errorf("have %s\nwant %s", have, tt.want)
			}
		})
	}
}

func TestAbove(t *testing.T) {
	value := ptr.To[float64]
	for name, tt := range map[string]struct {
		kind     string
		metadata map[string]string
		want     *float64
	}{
		"given":             {"kafka", map[string]string{"activationLagThreshold": " 24 "}, value(24)},
		"not given":         {"kafka", nil, value(0)},
		"a fraction":        {"prometheus", map[string]string{"activationThreshold": "0.5"}, value(0.5)},
		"no number":         {"kafka", map[string]string{"activationLagThreshold": "many"}, nil},
		"not a number":      {"kafka", map[string]string{"activationLagThreshold": "NaN"}, nil},
		"two are given":     {"datadog", map[string]string{"activationQueryValue": "1", "activationTargetValue": "2"}, nil},
		"a type without it": {"cron", nil, nil},
		"an unknown type":   {"made-up", nil, nil},
	} {
		if have := above(v1alpha1.ScaleTrigger{Type: tt.kind, Metadata: tt.metadata}); !ptr.Equal(have, tt.want) {
			t.Errorf("%s: %v, want %v", name, have, tt.want)
		}
	}
}
