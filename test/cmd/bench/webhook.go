package main

import (
	"context"
	"fmt"

	dto "github.com/prometheus/client_model/go"
)

// webhookFigures are what the API server saw of the admission webhook while
// ScaledObjects were created: time on the wire and ours.
type webhookFigures struct {
	Calls float64 `json:"calls"`
	// MeanSeconds is of all calls, Quick the share of those under quick.
	MeanSeconds float64 `json:"meanSeconds"`
	Quick       float64 `json:"within25ms"`
}

// quick is a bound of the API server's histogram, in seconds.
const quick = 0.025

func (f webhookFigures) String() string {
	return fmt.Sprintf("%.0f calls, %.1f ms on average, %.1f %% within %.0f ms", f.Calls, f.MeanSeconds*1000, f.Quick*100, quick*1000)
}

// webhook reads the figures of all calls until now.
func (b *bench) webhook(ctx context.Context) (webhookFigures, error) {
	metrics, err := b.apiServerMetrics(ctx)
	if err != nil {
		return webhookFigures{}, err
	}
	var calls, seconds, within float64
	for _, m := range metrics["apiserver_admission_webhook_admission_duration_seconds"].GetMetric() {
		if !ofScaledObjects(m) {
			continue
		}
		calls += float64(m.GetHistogram().GetSampleCount())
		seconds += m.GetHistogram().GetSampleSum()
		for _, bucket := range m.GetHistogram().GetBucket() {
			if bucket.GetUpperBound() == quick {
				within += float64(bucket.GetCumulativeCount())
			}
		}
	}
	if calls == 0 {
		return webhookFigures{}, nil
	}
	return webhookFigures{Calls: calls, MeanSeconds: seconds / calls, Quick: within / calls}, nil
}

func ofScaledObjects(m *dto.Metric) bool {
	for _, l := range m.GetLabel() {
		if l.GetName() == "name" && l.GetValue() == "vscaledobject.kb.io" {
			return true
		}
	}
	return false
}
