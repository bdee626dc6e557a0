package e2e

import (
	"fmt"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// TestNudge has bursts find a replica at work. Kubernetes' own HPA controller is
// made to look at once, decides by the user's behavior, and is left alone by who
// wants that and by bursts that ask for no more than there is.
func TestNudge(t *testing.T) {
	t.Parallel()
	const nudge = "sluice.dev/nudge"
	label := func(o object) string {
		for _, m := range o.hpa().Spec.Metrics {
			if m.External != nil {
				return m.External.Metric.Selector.MatchLabels[nudge]
			}
		}
		return ""
	}
	// writes are those of the controller to the object's HPA, without the first.
	writes := func(o object) int {
		all, err := world.cluster.AuditAbout(o.namespace, func(r *localcluster.Request) bool {
			return r.User.Username == "system:serviceaccount:sluice-system:controller" && r.Object.Resource == "horizontalpodautoscalers" &&
				r.Object.Namespace == o.namespace && (r.Verb == "update" || r.Verb == "patch")
		})
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	// started is an object at one replica whose HPA has looked at it.
	started := func(t *testing.T, name string, annotations map[string]any, counters *script) row {
		o := object{t, namespace(t), name}
		r := row{object: o, script: counters}
		counters.set(name, 5)
		o.deployment(1)
		s := spec{"minReplicaCount": 1, "maxReplicaCount": 20, "pollingInterval": 1, "triggers": triggers(r.trigger())}
		if err := o.applyWith(annotations, s); err != nil {
			t.Fatal(err)
		}
		r.waitHPA("a look of the HPA controller", func(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
			return hpa != nil && hpa.Status.ObservedGeneration != nil && *hpa.Status.ObservedGeneration == hpa.Generation
		})
		return r
	}
	t.Run("a burst", func(t *testing.T) {
		t.Parallel()
		r := started(t, "burst", nil, startScript(t))
		generation := r.hpa().Generation
		// At most twice as many, or four: without a behavior that is all that one
		// look of the HPA controller adds.
		r.set(20)
		r.wait("a rise by a nudge", func() (bool, string) {
			hpa := r.hpa()
			return r.replicas() == 4 && hpa.Generation > generation && label(r.object) != "", fmt.Sprintf("%d replicas, HPA %v", r.replicas(), hpa.Spec.Metrics)
		})
		before := writes(r.object)
		r.set(15) // less, and as much as there was: for the HPA's own period and window
		r.wait("the HPA to have heard of less", func() (bool, string) {
			value, err := r.metricValue()
			return err == nil && value == 15, fmt.Sprint(value, err)
		})
		r.set(20)
		r.wait("as much as there was", func() (bool, string) {
			value, err := r.metricValue()
			return err == nil && value == 20, fmt.Sprint(value, err)
		})
		if after := writes(r.object); after != before {
			t.Errorf("%d writes to an HPA that has nothing to add", after-before)
		}
	})
	t.Run("left alone", func(t *testing.T) {
		t.Parallel()
		r := started(t, "alone", map[string]any{"sluice.dev/hpa-nudge": "off"}, startScript(t))
		before := r.hpa().Generation
		r.set(20)
		r.waitReplicas(4) // in the HPA controller's own time
		if hpa := r.hpa(); hpa.Generation != before || label(r.object) != "" || writes(r.object) > 0 {
			t.Errorf("HPA %+v, written %d times", hpa.Spec, writes(r.object))
		}
	})
}
