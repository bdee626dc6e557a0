package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

func scaledJob() *v1alpha1.ScaledJob {
	return &v1alpha1.ScaledJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker"},
		Spec:       v1alpha1.ScaledJobSpec{Triggers: []v1alpha1.ScaleTrigger{{Type: "kafka"}, {Type: "cpu"}}},
	}
}

func TestSeriesOfAScaledJob(t *testing.T) {
	cluster := testcluster.New(t, "", nil, scaledJob())
	c := New(cluster.Client, states, "1", leading, func(types.NamespacedName) *scaling.ExplainedFormula { return nil }, nil)
	want := `
# HELP keda_resource_registered_total Objects by kind and namespace.
# TYPE keda_resource_registered_total gauge
keda_resource_registered_total{namespace="shop",type="scaled_job"} 1
# HELP keda_scaler_active 1 while the metric asks for at least one replica.
# TYPE keda_scaler_active gauge
keda_scaler_active{metric="s0-kafka-orders",namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledjob"} 1
keda_scaler_active{metric="s0-other",namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledjob"} 0
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "keda_resource_registered_total", "keda_scaler_active"); err != nil {
		t.Error(err)
	}
}

// A ScaledJob and a ScaledObject may have one name: neither ends the series of
// the other.
func TestMeasuresOfAScaledJob(t *testing.T) {
	errs, figures := NewErrors(nil), NewFigures(nil)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(errs, figures)
	jobs, key := Jobs{errs, figures}, types.NamespacedName{Namespace: "shop", Name: "worker"}
	jobs.Failed(scaledJob(), 0, []string{"s0-kafka-orders"}, 2)
	jobs.Read(scaledJob(), 0, []string{"s0-kafka-orders"}, true)
	jobs.Decided(scaledJob(), time.Second)
	jobs.Ended(scaledJob(), 3)
	errs.Failed(object(), 0, []string{"s0-kafka-orders"}, 3)
	figures.Decided(object(), 2*time.Second)
	count := func(what string, want int) {
		t.Helper()
		if n, err := testutil.GatherAndCount(registry); err != nil || n != want {
			t.Errorf("%s: %d series, %v; want %d", what, n, err, want)
		}
	}
	count("all", 9)
	failing := `
# HELP sluice_scaled_job_failures_in_a_row The newest of a ScaledJob's Jobs that have ended and are kept, as long as all of them failed.
# TYPE sluice_scaled_job_failures_in_a_row gauge
sluice_scaled_job_failures_in_a_row{namespace="shop",scaledJob="worker"} 3
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(failing), "sluice_scaled_job_failures_in_a_row"); err != nil {
		t.Error(err)
	}
	want := `
# HELP keda_scaled_job_errors_total Failures of a ScaledJob's triggers.
# TYPE keda_scaled_job_errors_total counter
keda_scaled_job_errors_total{namespace="shop",scaledJob="worker"} 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "keda_scaled_job_errors_total"); err != nil {
		t.Error(err)
	}
	jobs.ForgetTrigger(key, 0)
	count("a trigger less", 7)
	jobs.Forget(key)
	count("the ScaledObject's", 4)
}
