package main

import (
	"cmp"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// TestAlignment: names count with a period, and not without.
func TestAlignment(t *testing.T) {
	c := newCloud(t)
	family := scalertest.Serve(t, triggers...).WithAuth(c.auth())
	for name, tt := range map[string]struct {
		metadata map[string]string
		message  string
	}{
		"none":                      {},
		"all of it, in any letters": {metadata: map[string]string{"alignmentPeriodSeconds": "60", "alignmentAligner": "Percentile_99", "alignmentReducer": "SUM"}},
		"without a period":          {metadata: map[string]string{"alignmentAligner": "median", "alignmentReducer": "mode"}},
		"a short period":            {metadata: map[string]string{"alignmentPeriodSeconds": "59"}, message: "alignmentPeriodSeconds: 59 is neither 0 nor 60 or more"},
		"a negative period":         {metadata: map[string]string{"alignmentPeriodSeconds": "-1"}, message: "alignmentPeriodSeconds: -1 is neither 0 nor 60 or more"},
		"another aligner":           {metadata: map[string]string{"alignmentPeriodSeconds": "60", "alignmentAligner": "median"}, message: `alignmentAligner: "median" is not one of `},
		"a reducer that aligns":     {metadata: map[string]string{"alignmentPeriodSeconds": "60", "alignmentReducer": "delta"}, message: `alignmentReducer: "delta" is not one of `},
	} {
		_, err := family.Observe(within(t), "gcp-stackdriver", with(map[string]string{"projectId": "shop", "filter": `metric.type="x"`}, tt.metadata))
		if want := cmp.Or(tt.message, "Cannot find metric(s) that match"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestListingOfAFilter(t *testing.T) {
	p := stackdriverParams{ProjectID: `a"b`, Filter: `x OR y`, AlignmentPeriodSeconds: 60, AlignmentAligner: "Max", AlignmentReducer: "none"}
	l := p.listing()
	if want := `(x OR y) AND resource.labels.project_id="a\"b"`; l.filter != want {
		t.Errorf("filter %s, want %s", l.filter, want)
	}
	if l.window.Minutes() != 2 || l.aggregation.GetAlignmentPeriod().GetSeconds() != 60 || l.aggregation.GetPerSeriesAligner().String() != "ALIGN_MAX" || l.aggregation.GetCrossSeriesReducer().String() != "REDUCE_NONE" {
		t.Errorf("listing %+v", l)
	}
	if p.AlignmentPeriodSeconds = 0; p.listing().aggregation != nil {
		t.Error("values are aligned without a period")
	}
}
