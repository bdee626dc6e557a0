package scalertest

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
)

// ContractAt tries what an autoscaler relies on against a scaler of any make
// that serves externalscaler at an address, for a trigger that it answers. Dial
// options say how it is reached, credentials included.
func ContractAt(t *testing.T, address string, ref *externalscaler.ScaledObjectRef, options ...grpc.DialOption) {
	t.Helper()
	conn, err := grpc.NewClient(address, options...) //dials:administered a test
	if err != nil {
		t.Fatalf("connect to %s: %v", address, err)
	}
	t.Cleanup(func() { conn.Close() })
	w := &thirdParty{externalscaler.NewExternalScalerClient(conn), ref}
	for name, check := range map[string]func(context.Context) error{
		"metrics have names and targets":                         w.specs,
		"every metric has a value":                               w.values,
		"activity is known":                                      w.activity,
		"activity is streamed or plainly not offered":            w.streamsActivity,
		"changes of metrics are streamed or plainly not offered": w.streamsSpecs,
		"a cancelled call returns":                               w.cancelled,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := check(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// thirdParty is somebody's scaler and a trigger that it answers.
type thirdParty struct {
	client externalscaler.ExternalScalerClient
	ref    *externalscaler.ScaledObjectRef
}

func (w *thirdParty) metricSpecs(ctx context.Context) ([]*externalscaler.MetricSpec, error) {
	answer, err := w.client.GetMetricSpec(ctx, w.ref)
	return answer.GetMetricSpecs(), err
}

func (w *thirdParty) specs(ctx context.Context) error {
	specs, err := w.metricSpecs(ctx)
	if err != nil {
		return err
	}
	return checkSpecs(specs)
}

func checkSpecs(specs []*externalscaler.MetricSpec) error {
	if len(specs) == 0 {
		return fmt.Errorf("no metrics")
	}
	seen := map[string]bool{}
	for _, s := range specs {
		target := s.GetTargetSizeFloat()
		if target == 0 {
			target = float64(s.GetTargetSize()) //nolint:staticcheck // older scalers fill only this one
		}
		switch {
		case s.GetMetricName() == "":
			return fmt.Errorf("a metric has no name")
		case seen[s.GetMetricName()]:
			return fmt.Errorf("metric %s is there twice", s.GetMetricName())
		case !(target > 0) || math.IsInf(target, 0):
			return fmt.Errorf("metric %s has target %v", s.GetMetricName(), target)
		}
		seen[s.GetMetricName()] = true
	}
	return nil
}

func (w *thirdParty) values(ctx context.Context) error {
	specs, err := w.metricSpecs(ctx)
	if err != nil {
		return err
	}
	for _, s := range specs {
		answer, err := w.client.GetMetrics(ctx, &externalscaler.GetMetricsRequest{ScaledObjectRef: w.ref, MetricName: s.GetMetricName()})
		if err != nil {
			return fmt.Errorf("metric %s: %w", s.GetMetricName(), err)
		}
		if len(answer.GetMetricValues()) == 0 {
			return fmt.Errorf("metric %s has no value and no error", s.GetMetricName())
		}
		for _, v := range answer.GetMetricValues() {
			if n := v.GetMetricValueFloat(); math.IsNaN(n) || math.IsInf(n, 0) || n < 0 {
				return fmt.Errorf("metric %s is %v", s.GetMetricName(), n)
			}
		}
	}
	return nil
}

func (w *thirdParty) activity(ctx context.Context) error {
	_, err := w.client.IsActive(ctx, w.ref)
	return err
}

func (w *thirdParty) streamsActivity(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	stream, err := w.client.StreamIsActive(ctx, w.ref)
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return quietOrNotOffered(err)
}

func (w *thirdParty) streamsSpecs(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	stream, err := w.client.StreamMetricSpec(ctx, w.ref)
	if err != nil {
		return err
	}
	answer, err := stream.Recv()
	if err == nil && len(answer.GetMetricSpecs()) > 0 {
		return checkSpecs(answer.GetMetricSpecs())
	}
	return quietOrNotOffered(err)
}

// quietOrNotOffered accepts a stream that says something, one that has nothing
// to say yet, and one that is not there.
func quietOrNotOffered(err error) error {
	switch status.Code(err) {
	case codes.OK, codes.DeadlineExceeded, codes.Unimplemented:
		return nil
	default:
		return err
	}
}

func (w *thirdParty) cancelled(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return within(hanging, "a cancelled IsActive", func() error {
		if _, err := w.client.IsActive(ctx, w.ref); status.Code(err) != codes.Canceled {
			return fmt.Errorf("a cancelled call ends with %w", err)
		}
		return nil
	})
}
