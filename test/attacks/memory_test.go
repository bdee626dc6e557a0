package attacks

import (
	"cmp"
	"context"
	"errors"
	"testing"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// TestMemoryLimits reads from every process what its garbage collector keeps to,
// on which bounds of bytes are built: 90% of what its container may have. Where
// nothing holds it to that, it is the same for all that this machine runs.
func TestMemoryLimits(t *testing.T) {
	t.Parallel()
	const page = 4096 // the runtime rounds a little
	ofAll := 0.0
	for _, instance := range world.cluster.Instances("") {
		limit, err := collectorLimit(t.Context(), instance)
		want := 0.9 * float64(instance.MemoryLimit())
		if !instance.MemoryLimited() {
			ofAll = cmp.Or(ofAll, limit)
			want = ofAll
		}
		if err != nil || limit < want-page || limit > want {
			t.Errorf("%s: the garbage collector keeps to %.0f bytes, want %.0f, %v", instance.Name(), limit, want, err)
		}
	}
}

// collectorLimit is GOMEMLIMIT as the process itself tells it.
func collectorLimit(ctx context.Context, instance *localcluster.Instance) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	metrics, err := world.cluster.InstanceMetrics(ctx, instance, "metrics")
	if err != nil {
		return 0, err
	}
	limit := metrics["go_gc_gomemlimit_bytes"].GetMetric()
	if len(limit) != 1 {
		return 0, errors.New("its metrics do not tell")
	}
	return limit[0].GetGauge().GetValue(), nil
}
