package e2e

import (
	"fmt"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// policy is one of a user's scaleUp policies; its period is in seconds.
type policy struct {
	kind          string
	value, period int32
}

// rise is how high the policy lets replicas go from so many.
func (p policy) rise(from int32) int32 {
	if p.kind == "Percent" {
		from = max(from, 1) // of nothing there is no percentage
		return from + (from*p.value+99)/100
	}
	return max(from+p.value, 1)
}

// TestARiseFromZeroCountsIntoPolicies has an endless backlog come to objects with
// scaleUp policies. The first write is the controller's, all others are the real
// HPA controller's, and no rise may be above what the policies allow when both
// count.
func TestARiseFromZeroCountsIntoPolicies(t *testing.T) {
	t.Parallel()
	script, ns := startScript(t), namespace(t)
	recorder, err := world.cluster.RecordReplicas(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(recorder.Stop)
	pods, percent := policy{"Pods", 4, 25}, policy{"Percent", 100, 25}
	for name, tt := range map[string]struct {
		policies []policy
		selects  string
		first    int32
	}{
		"pods":    {[]policy{pods}, "Max", 4},
		"percent": {[]policy{percent}, "Max", 2},
		"larger":  {[]policy{pods, percent}, "Max", 4},
		"smaller": {[]policy{pods, percent}, "Min", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := row{object: object{t, ns, name}, script: script}
			r.start(0, spec{"maxReplicaCount": 50, "advanced": map[string]any{"horizontalPodAutoscalerConfig": map[string]any{
				"behavior": map[string]any{"scaleUp": map[string]any{"selectPolicy": tt.selects, "policies": asWritten(tt.policies)}},
			}}})
			r.set(10000)
			var changes []localcluster.ReplicaChange
			r.wait("three rises", func() (bool, string) {
				changes = changesOf(recorder, r.target())
				return len(changes) >= 3, fmt.Sprint(changes)
			})
			if changes[0].To != tt.first {
				t.Errorf("from zero to %d, want %d", changes[0].To, tt.first)
			}
			for i, c := range changes {
				if most := mostAllowed(changes[:i], c.At, tt.policies, tt.selects); c.To > most {
					t.Errorf("%v: allowed are %d, after %v", c, most, changes[:i])
				}
			}
		})
	}
}

func asWritten(policies []policy) (all []any) {
	for _, p := range policies {
		all = append(all, map[string]any{"type": p.kind, "value": p.value, "periodSeconds": p.period})
	}
	return all
}

func changesOf(recorder *localcluster.ReplicaRecorder, target string) (changes []localcluster.ReplicaChange) {
	for _, c := range recorder.Changes() {
		if c.Object() == target {
			changes = append(changes, c)
		}
	}
	return changes
}

// mostAllowed is how high a rise may go at a moment, after others.
func mostAllowed(before []localcluster.ReplicaChange, at time.Time, policies []policy, selects string) int32 {
	most := int32(-1)
	for _, p := range policies {
		var start int32 // when the period began; events come a little late
		for _, c := range before {
			if at.Sub(c.At) > time.Duration(p.period)*time.Second-500*time.Millisecond {
				start = c.To
			}
		}
		switch limit := p.rise(start); {
		case most < 0:
			most = limit
		case selects == "Min":
			most = min(most, limit)
		default:
			most = max(most, limit)
		}
	}
	return most
}

// TestAnObjectThatIsMadeAgainKeepsItsHPA deletes an object and makes it again at
// once, as tools do that replace: the HPA that it had is its own, and replicas
// stay.
func TestAnObjectThatIsMadeAgainKeepsItsHPA(t *testing.T) {
	t.Parallel()
	script, ns := startScript(t), namespace(t)
	recorder, err := world.cluster.RecordReplicas(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(recorder.Stop)
	r := row{object: object{t, ns, "again"}, script: script}
	r.set(20)
	r.start(0, nil)
	r.waitReplicas(4)
	moved := len(changesOf(recorder, r.target()))
	for range 5 {
		r.remove()
		r.change(nil)
		so := r.scaledObject()
		if err := world.cluster.Client().Get(t.Context(), r.key(), so); err != nil {
			t.Fatal(err)
		}
		r.waitHPA("of the new object", func(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
			owner := ownerOf(hpa)
			return owner != nil && owner.UID == so.GetUID()
		})
		r.waitCondition("Ready", "True", "")
	}
	if now := changesOf(recorder, r.target()); len(now) != moved {
		t.Errorf("replicas moved: %v", now[moved:])
	}
}

func ownerOf(hpa *autoscalingv2.HorizontalPodAutoscaler) *metav1.OwnerReference {
	if hpa == nil {
		return nil
	}
	return metav1.GetControllerOf(hpa)
}
