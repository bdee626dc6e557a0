package externalscaler

import (
	"fmt"
	"strings"
	"testing"
)

// Whoever writes a server chooses the names, and every process keeps those of all
// triggers: what a trigger may have is bounded together.
func TestNamesOfATriggerAreBounded(t *testing.T) {
	named := func(n, length int) *GetMetricSpecResponse {
		answer := &GetMetricSpecResponse{}
		for i := range n {
			name := fmt.Sprintf("%0*d", length, i)
			answer.MetricSpecs = append(answer.MetricSpecs, &MetricSpec{MetricName: name, TargetSizeFloat: 1})
		}
		return answer
	}
	for _, usual := range []*GetMetricSpecResponse{named(1, maxMetricName), named(maxMetrics, 40)} {
		if _, err := usual.Metrics(false); err != nil {
			t.Error(err)
		}
	}
	if _, err := named(maxMetrics, maxMetricName).Metrics(false); err == nil || !strings.Contains(err.Error(), "bytes together") {
		t.Errorf("100 KiB of names: %v", err)
	}
}
