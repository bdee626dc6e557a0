package attacks

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
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
	address, err := instance.PortAddress("metrics")
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var limit float64
		if _, err := fmt.Sscanf(line, "go_gc_gomemlimit_bytes %g", &limit); err == nil {
			return limit, nil
		}
	}
	return 0, fmt.Errorf("its metrics, with status %d, do not tell", response.StatusCode)
}
