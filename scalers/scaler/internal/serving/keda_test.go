package serving

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// lockedParams are those of a source behind a password.
type lockedParams struct {
	Name     string `param:"name" from:"trigger,env"`
	Password string `param:"password" from:"auth,env"`
}

func (p lockedParams) Metrics() []contract.Metric {
	return []contract.Metric{{Name: p.Name, Target: 1}}
}

// locked reads one where the password is right, and shows it where it is wrong.
type locked struct{ password, right string }

func (l locked) Read(context.Context) ([]contract.Reading, error) {
	if l.password != l.right {
		return nil, errors.New("wrong password: " + l.password)
	}
	return []contract.Reading{{Value: 1, Activity: 1}}, nil
}

// TestKEDASendsValuesOfVariables: KEDA's scalers external and external-push put
// the value of a variable in place of its name, and keep the key. It counts, to
// the letter, and is never shown. The core sends names.
func TestKEDASendsValuesOfVariables(t *testing.T) {
	const right = "s$$e-$(HOME)-cret$"
	conn := onLoopback(t, New(Config{Family: "safes", Triggers: []trigger.Trigger{
		trigger.Define("safe", func(_ context.Context, p lockedParams) (contract.Source, error) {
			return locked{p.Password, right}, nil
		}),
	}}))
	client := externalscaler.NewExternalScalerClient(conn)
	ref := func(metadata map[string]string) *externalscaler.ScaledObjectRef {
		return &externalscaler.ScaledObjectRef{Name: "app", Namespace: "shop", ScalerMetadata: metadata}
	}

	good := ref(map[string]string{"scalerAddress": "scaler-safe.sluice-system:9090", "nameFromEnv": "jewels", "passwordFromEnv": right})
	specs, err := client.GetMetricSpec(t.Context(), good)
	if err != nil || len(specs.GetMetricSpecs()) != 1 || specs.GetMetricSpecs()[0].GetMetricName() != "jewels" {
		t.Fatalf("specs = %v, %v", specs, err)
	}
	metrics, err := client.GetMetrics(t.Context(), &externalscaler.GetMetricsRequest{ScaledObjectRef: good, MetricName: "jewels"})
	if err != nil || metrics.GetMetricValues()[0].GetMetricValueFloat() != 1 {
		t.Errorf("metrics = %v, %v", metrics, err)
	}
	if active, err := client.IsActive(t.Context(), good); err != nil || !active.GetResult() {
		t.Errorf("active = %v, %v", active, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stream, err := client.StreamIsActive(ctx, good)
	if err != nil {
		t.Fatal(err)
	}
	if active, err := stream.Recv(); err != nil || !active.GetResult() {
		t.Errorf("told = %v, %v", active, err)
	}

	for what, metadata := range map[string]map[string]string{
		"wrong":           {"name": "a", "passwordFromEnv": "h4ndbag"},
		"for another":     {"name": "a", "passwordFromEnv": "", "secretFromEnv": "h4ndbag"},
		"without a name":  {"nameFromEnv": " ", "passwordFromEnv": "h4ndbag"},
		"longer than any": {"name": "a", "passwordFromEnv": strings.Repeat("h4ndbag", 20_000)},
	} {
		_, err := client.IsActive(t.Context(), ref(metadata))
		if err == nil || strings.Contains(status.Convert(err).Message(), "h4ndbag") {
			t.Errorf("%s: error = %.200v", what, err)
		}
	}
	// A variable of the core's that is nowhere has no value.
	_, err = client.IsActive(t.Context(), ref(map[string]string{"name": "a", "passwordFromEnv": "PASSWORD", scalerv1.KeyKind: scalerv1.KindScaledObject}))
	if status.Convert(err).Message() != "safe: wrong password: " {
		t.Errorf("error = %v", err)
	}
}
