package main

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers/gcloud"
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

// TestStackdriver has what a filter may come to.
func TestStackdriver(t *testing.T) {
	c := newCloud(t)
	at := func(name string, ago time.Duration, value *monitoringpb.TypedValue) gcloud.Series {
		return gcloud.Series{Project: "shop", Metric: "custom/" + name, Resource: "global", Points: []gcloud.Point{{Ago: ago, Value: value}}}
	}
	elsewhere := at("whole", 0, gcloud.Int(99))
	elsewhere.Project = "other"
	first, second := at("several", 0, gcloud.Int(4)), at("several", 0, gcloud.Int(6))
	first.Labels, second.Labels = map[string]string{"region": "eu"}, map[string]string{"region": "us"}
	newestFirst := at("points", 0, gcloud.Int(8))
	newestFirst.Points = append(newestFirst.Points, gcloud.Point{Ago: time.Minute, Value: gcloud.Int(80)})
	c.Set(elsewhere, at("whole", 0, gcloud.Int(7)), at("fraction", 0, gcloud.Double(2.5)), at("below", 0, gcloud.Int(-3)), at("zero", 0, gcloud.Int(0)),
		at("late", 6*time.Minute, gcloud.Int(5)), at("text", 0, gcloud.Text("much")), at("sizes", 0, gcloud.Distribution(2, 6)), first, second, newestFirst)
	const none = `gcp-stackdriver: metrics of project shop: no metric was found within 2m0s by the filter (metric.type="custom/late") AND resource.labels.project_id="shop" (a longer filterDuration finds more): no data`
	for name, tt := range map[string]struct {
		metric   string
		metadata map[string]string
		value    float64
		active   bool
		code     codes.Code
		message  string
	}{
		"a whole number":               {metric: "whole", value: 7, active: true},
		"a fraction":                   {metric: "fraction", value: 2.5, active: true},
		"below zero":                   {metric: "below", value: 0},
		"zero":                         {metric: "zero", value: 0},
		"the newest point":             {metric: "points", value: 8, active: true},
		"the first of several":         {metric: "several", value: 4, active: true},
		"a threshold that is reached":  {metric: "whole", metadata: map[string]string{"activationTargetValue": "7"}, value: 7},
		"a threshold that is exceeded": {metric: "whole", metadata: map[string]string{"activationTargetValue": "6.9"}, value: 7, active: true},
		"several made one":             {metric: "several", metadata: map[string]string{"alignmentPeriodSeconds": "60", "alignmentAligner": "sum", "alignmentReducer": "sum"}, value: 10, active: true},
		"nothing within":               {metric: "late", code: codes.NotFound, message: none},
		"a longer window":              {metric: "late", metadata: map[string]string{"filterDuration": "7"}, value: 5, active: true},
		"a window of nothing":          {metric: "whole", metadata: map[string]string{"filterDuration": "0"}, value: 7, active: true},
		"a window below nothing":       {metric: "whole", metadata: map[string]string{"filterDuration": "-5"}, value: 7, active: true},
		"a value in its place":         {metric: "late", metadata: map[string]string{"valueIfNull": "1.5"}, value: 1.5, active: true},
		"zero in its place":            {metric: "late", metadata: map[string]string{"valueIfNull": "0"}},
		"a text":                       {metric: "text", metadata: map[string]string{"valueIfNull": "1"}, code: codes.FailedPrecondition, message: "gcp-stackdriver: metrics of project shop: could not extract value: the metric is not a number"},
		"a distribution":               {metric: "sizes", code: codes.FailedPrecondition, message: "gcp-stackdriver: metrics of project shop: could not extract value: the metric is a distribution, which needs an aggregation"},
		"what never existed":           {metric: "nothing", metadata: map[string]string{"valueIfNull": "1"}, code: codes.NotFound, message: `gcp-stackdriver: metrics of project shop: Google Cloud Monitoring: NotFound: Cannot find metric(s) that match type = "custom/nothing".`},
		"no target":                    {metric: "whole", metadata: map[string]string{"targetValue": "0"}, code: codes.InvalidArgument},
		"words":                        {metric: "whole", metadata: map[string]string{"filterDuration": "5m", "targetValue": "five"}, code: codes.InvalidArgument},
	} {
		metadata := with(map[string]string{"projectId": "shop", "filter": `metric.type="custom/` + tt.metric + `"`}, tt.metadata)
		got, err := scalertest.Serve(t, triggers...).WithAuth(c.auth()).Observe(within(t), "gcp-stackdriver", metadata)
		if status.Code(err) != tt.code || err == nil && (got.Value != tt.value || got.Active != tt.active) {
			t.Errorf("%s: %+v, %v, want %v, %v, %v", name, got, err, tt.value, tt.active, tt.code)
		}
		if tt.message != "" && status.Convert(err).Message() != tt.message {
			t.Errorf("%s: %v, want %s", name, err, tt.message)
		}
	}
	for _, missing := range []map[string]string{{"filter": "x"}, {"projectId": "shop"}, {"projectId": "shop", "filter": " "}} {
		_, err := scalertest.Serve(t, triggers...).WithAuth(c.auth()).Observe(within(t), "gcp-stackdriver", missing)
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", missing, err)
		}
	}
	specs, err := scalertest.Serve(t, triggers...).WithAuth(c.auth()).Specs(within(t), "gcp-stackdriver", map[string]string{"projectId": "example.com:shop", "filter": "x"})
	if err != nil || specs[0].GetMetricName() != "gcp-stackdriver-example-com-shop" || specs[0].GetTargetSizeFloat() != 5 {
		t.Errorf("%v, %v", specs, err)
	}
}

// TestEveryAlignment has each name that KEDA takes, in its own letters and in large
// ones, lead to what Google calls so.
func TestEveryAlignment(t *testing.T) {
	family := scalertest.Serve(t, triggers...).WithAuth(map[string]string{"GoogleApplicationCredentials": "k"})
	check := func(parameter, google string, names []string, of func(stackdriverParams) string) {
		for _, name := range names {
			for _, spelt := range []string{name, strings.ToUpper(name)} {
				metadata := map[string]string{"projectId": "shop", "filter": "x", "alignmentPeriodSeconds": "60", parameter: spelt}
				if _, err := family.Specs(within(t), "gcp-stackdriver", metadata); err != nil {
					t.Errorf("%s %s: %v", parameter, spelt, err)
				}
				p := stackdriverParams{AlignmentPeriodSeconds: 60, AlignmentAligner: spelt, AlignmentReducer: spelt}
				if got := of(p); got != google+strings.ToUpper(name) {
					t.Errorf("%s %s is %s", parameter, spelt, got)
				}
			}
		}
	}
	both := []string{"none", "mean", "min", "max", "sum", "stddev", "count", "count_true", "count_false", "fraction_true", "percentile_99", "percentile_95", "percentile_50", "percentile_05"}
	check("alignmentReducer", "REDUCE_", both, func(p stackdriverParams) string { return p.listing().aggregation.GetCrossSeriesReducer().String() })
	check("alignmentAligner", "ALIGN_", append([]string{"delta", "rate", "interpolate", "next_older", "percent_change"}, both...),
		func(p stackdriverParams) string { return p.listing().aggregation.GetPerSeriesAligner().String() })
}

// TestFiltersThatEndTheirBraces are sent without any, so that they find nothing
// outside of the project, and are told.
func TestFiltersThatEndTheirBraces(t *testing.T) {
	for filter, pairs := range map[string]bool{
		`metric.type="a" OR metric.type="b"`: true, `(a) OR (b)`: true, `a=")" OR b='('`: true, `a="\")" AND b=monitoring.regex.full_match("x(y)\\")`: true,
		`a) OR (b`: false, `a)`: false, `(a`: false, `a="`: false, `a="x\"`: false, `a='x`: false, `)(`: false,
	} {
		p := stackdriverParams{ProjectID: "shop", Filter: filter, AlignmentAligner: "none", AlignmentReducer: "none"}
		want := filter + ` AND resource.labels.project_id="shop"`
		if pairs {
			want = "(" + filter + `) AND resource.labels.project_id="shop"`
		}
		if got := p.listing().filter; got != want {
			t.Errorf("%s: %s", filter, got)
		}
		if told := slices.ContainsFunc(p.Warnings(), func(w string) bool { return strings.HasPrefix(w, "filter: its parentheses") }); told == pairs {
			t.Errorf("%s: %q", filter, p.Warnings())
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
