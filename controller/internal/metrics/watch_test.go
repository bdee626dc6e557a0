package metrics

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// TestOverdue: what is not heard of for twice its interval is late, and what is not
// known is not said to be fresh.
func TestOverdue(t *testing.T) {
	heard := func(ago time.Duration) federation.State { return federation.State{HeardAt: noon.Add(-ago)} }
	every := func(seconds int32) *v1alpha1.ScaledObject {
		return object(func(so *v1alpha1.ScaledObject) { so.Spec.PollingInterval = ptr.To(seconds) })
	}
	resting := every(30)
	resting.Annotations = map[string]string{v1alpha1.AnnotationIdlePollingInterval: "10m"}
	for name, tt := range map[string]struct {
		object *v1alpha1.ScaledObject
		state  federation.State
		want   string // "" for no series
	}{
		"fresh":                      {every(30), heard(29 * time.Second), "0"},
		"once over":                  {every(30), heard(59 * time.Second), "0"},
		"late":                       {every(30), heard(90 * time.Second), "30"},
		"a family tells every 5 s":   {every(1), heard(20 * time.Second), "0"},
		"late, by a short interval":  {every(1), heard(40 * time.Second), "10"},
		"at rest it is asked seldom": {resting, heard(19 * time.Minute), "0"},
		"never heard of":             {every(30), federation.State{Since: noon.Add(-2 * time.Minute)}, "60"},
		"nothing known":              {every(30), federation.State{}, ""},
		"refused, which is no delay": {every(30), federation.State{Since: noon.Add(-time.Hour), Rejected: errors.New("no")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			states := func(id federation.ID) (federation.State, bool) { return tt.state, id.Index == 0 }
			c := New(testcluster.New(t, "", nil, tt.object).Client, states, "v1", leading, noFormula, nil)
			c.now = func() time.Time { return noon }
			want := ""
			if tt.want != "" {
				want = `
# HELP sluice_trigger_overdue_seconds For how long nothing was heard of a trigger, beyond twice its polling interval; 0 while it is fresh.
# TYPE sluice_trigger_overdue_seconds gauge
sluice_trigger_overdue_seconds{namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledobject"} ` + tt.want + "\n"
			}
			if err := testutil.CollectAndCompare(c, strings.NewReader(want), "sluice_trigger_overdue_seconds"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAtMaximum is about what the object's own HPA wants.
func TestAtMaximum(t *testing.T) {
	for name, tt := range map[string]struct {
		hpa            string
		wish, min, max int32
		want           string // "" for no series
	}{
		"below":             {"keda-hpa-worker", 9, 0, 10, "0"},
		"at it":             {"keda-hpa-worker", 10, 0, 10, "1"},
		"one number alone":  {"keda-hpa-worker", 3, 3, 3, "0"},
		"another's HPA":     {"keda-hpa-other", 10, 0, 10, ""},
		"the maximum fell":  {"keda-hpa-worker", 10, 0, 5, "1"},
		"nothing to do yet": {"keda-hpa-worker", 0, 0, 10, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			so := object(func(so *v1alpha1.ScaledObject) {
				so.Spec.MinReplicaCount, so.Spec.MaxReplicaCount = &tt.min, &tt.max
				so.Status.HpaName = "keda-hpa-worker"
			})
			hpa := &autoscalingv2.HorizontalPodAutoscaler{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: tt.hpa},
				Status:     autoscalingv2.HorizontalPodAutoscalerStatus{DesiredReplicas: tt.wish},
			}
			c := New(testcluster.New(t, "", nil, so, hpa).Client, states, "v1", leading, noFormula, nil)
			want := ""
			if tt.want != "" {
				want = fmt.Sprintf(`
# HELP sluice_scaled_object_at_maximum 1 while the HPA wants as many replicas as there may be.
# TYPE sluice_scaled_object_at_maximum gauge
sluice_scaled_object_at_maximum{namespace="shop",scaledObject="worker"} %s
`, tt.want)
			}
			if err := testutil.CollectAndCompare(c, strings.NewReader(want), "sluice_scaled_object_at_maximum"); err != nil {
				t.Error(err)
			}
		})
	}
}
