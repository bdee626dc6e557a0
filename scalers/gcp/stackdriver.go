package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// stackdriver scales on any time series of Cloud Monitoring.
var stackdriver = scaler.Define("gcp-stackdriver", openStackdriver)

// stackdriverParams is the metadata of a gcp-stackdriver trigger.
type stackdriverParams struct {
	identityParams

	// ProjectID is the project whose metrics are looked at.
	ProjectID string `param:"projectId,required"`
	// Filter is a monitoring filter. Of several series that it finds, the first one
	// counts: an alignmentReducer makes one of them.
	Filter string `param:"filter,required" long:"true"`
	// TargetValue is the target, in the unit of the metric.
	TargetValue float64 `param:"targetValue" default:"5" role:"target"`
	// ActivationTargetValue is the activation threshold.
	ActivationTargetValue float64 `param:"activationTargetValue" default:"0" role:"activation"`
	// ValueIfNull is the value while there is no series; without it, that is an
	// error.
	ValueIfNull *float64 `param:"valueIfNull"`
	// FilterDuration is how far back a value is looked for; 0 and less is 2.
	FilterDuration int64 `param:"filterDuration" default:"2" unit:"minutes"`
	// AlignmentPeriodSeconds is the period of aligned values, 60 at least; 0 is for
	// none, with neither aligner nor reducer.
	AlignmentPeriodSeconds int64 `param:"alignmentPeriodSeconds" default:"0" unit:"seconds"`
	// AlignmentAligner makes one value of those of a series within a period: none,
	// delta, rate, interpolate, next_older, min, max, mean, count, sum, stddev,
	// count_true, count_false, fraction_true, percentile_99, percentile_95,
	// percentile_50, percentile_05 or percent_change.
	AlignmentAligner string `param:"alignmentAligner" default:"none"`
	// AlignmentReducer makes one series of all: none, mean, min, max, sum, stddev,
	// count, count_true, count_false, fraction_true, percentile_99, percentile_95,
	// percentile_50 or percentile_05.
	AlignmentReducer string `param:"alignmentReducer" default:"none"`
}

// aligners and reducers are those that a trigger may name, in small letters.
var (
	aligners = map[string]monitoringpb.Aggregation_Aligner{
		"none": monitoringpb.Aggregation_ALIGN_NONE, "delta": monitoringpb.Aggregation_ALIGN_DELTA, "rate": monitoringpb.Aggregation_ALIGN_RATE,
		"interpolate": monitoringpb.Aggregation_ALIGN_INTERPOLATE, "next_older": monitoringpb.Aggregation_ALIGN_NEXT_OLDER,
		"min": monitoringpb.Aggregation_ALIGN_MIN, "max": monitoringpb.Aggregation_ALIGN_MAX, "mean": monitoringpb.Aggregation_ALIGN_MEAN,
		"count": monitoringpb.Aggregation_ALIGN_COUNT, "sum": monitoringpb.Aggregation_ALIGN_SUM, "stddev": monitoringpb.Aggregation_ALIGN_STDDEV,
		"count_true": monitoringpb.Aggregation_ALIGN_COUNT_TRUE, "count_false": monitoringpb.Aggregation_ALIGN_COUNT_FALSE,
		"fraction_true": monitoringpb.Aggregation_ALIGN_FRACTION_TRUE,
		"percentile_99": monitoringpb.Aggregation_ALIGN_PERCENTILE_99, "percentile_95": monitoringpb.Aggregation_ALIGN_PERCENTILE_95,
		"percentile_50": monitoringpb.Aggregation_ALIGN_PERCENTILE_50, "percentile_05": monitoringpb.Aggregation_ALIGN_PERCENTILE_05,
		"percent_change": monitoringpb.Aggregation_ALIGN_PERCENT_CHANGE,
	}
	reducers = map[string]monitoringpb.Aggregation_Reducer{
		"none": monitoringpb.Aggregation_REDUCE_NONE, "mean": monitoringpb.Aggregation_REDUCE_MEAN, "min": monitoringpb.Aggregation_REDUCE_MIN,
		"max": monitoringpb.Aggregation_REDUCE_MAX, "sum": monitoringpb.Aggregation_REDUCE_SUM, "stddev": monitoringpb.Aggregation_REDUCE_STDDEV,
		"count": monitoringpb.Aggregation_REDUCE_COUNT, "count_true": monitoringpb.Aggregation_REDUCE_COUNT_TRUE,
		"count_false": monitoringpb.Aggregation_REDUCE_COUNT_FALSE, "fraction_true": monitoringpb.Aggregation_REDUCE_FRACTION_TRUE,
		"percentile_99": monitoringpb.Aggregation_REDUCE_PERCENTILE_99, "percentile_95": monitoringpb.Aggregation_REDUCE_PERCENTILE_95,
		"percentile_50": monitoringpb.Aggregation_REDUCE_PERCENTILE_50, "percentile_05": monitoringpb.Aggregation_REDUCE_PERCENTILE_05,
	}
)

// leastPeriod is the shortest that Google aligns to, in seconds.
const leastPeriod = 60

// Validate checks how values are aligned.
func (p stackdriverParams) Validate() error {
	problems := []error{p.checkIdentity(), checkID("projectId", p.ProjectID)}
	if p.AlignmentPeriodSeconds != 0 && p.AlignmentPeriodSeconds < leastPeriod {
		problems = append(problems, fmt.Errorf("alignmentPeriodSeconds: %d is neither 0 nor %d or more", p.AlignmentPeriodSeconds, leastPeriod))
	}
	if p.AlignmentPeriodSeconds != 0 {
		problems = append(problems, oneOf("alignmentAligner", p.AlignmentAligner, aligners), oneOf("alignmentReducer", p.AlignmentReducer, reducers))
	}
	return errors.Join(problems...)
}

// oneOf refuses a name that is not known.
func oneOf[V any](parameter, name string, known map[string]V) error {
	if _, is := known[strings.ToLower(name)]; is {
		return nil
	}
	return fmt.Errorf("%s: %q is not one of %s", parameter, name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
}

// Warnings says what has no effect, and what Google will not understand.
func (p stackdriverParams) Warnings() []string {
	warnings := announced("filter")
	named := func(name string) bool { return !strings.EqualFold(name, "none") }
	if p.AlignmentPeriodSeconds == 0 && (named(p.AlignmentAligner) || named(p.AlignmentReducer)) {
		warnings = append(warnings, "alignmentPeriodSeconds: without it, alignmentAligner and alignmentReducer have no effect")
	}
	if !paired(p.Filter) {
		warnings = append(warnings, "filter: its parentheses or quotes are not in pairs, so Google will refuse it")
	}
	return warnings
}

// paired reports whether each parenthesis and quote of a filter has its other: what
// is in braces would else end where the filter wants.
func paired(filter string) bool {
	open, quote := 0, byte(0)
	for i := 0; i < len(filter); i++ {
		switch c := filter[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"', c == '\'':
			quote = c
		case c == '(':
			open++
		case c == ')':
			if open--; open < 0 {
				return false
			}
		}
	}
	return open == 0 && quote == 0
}

// Name is that of the project.
func (p stackdriverParams) Name() string { return scaler.MetricName("gcp-stackdriver", p.ProjectID) }

// listing is the question. The filter is in braces, so that an OR in it stays what
// it is; one that would end them is sent as it is, which nobody understands.
func (p stackdriverParams) listing() listing {
	filter := p.Filter
	if paired(filter) {
		filter = "(" + filter + ")"
	}
	l := listing{window: minutes(p.FilterDuration), filter: filter + " AND resource.labels.project_id=" + quoted(p.ProjectID)}
	if p.AlignmentPeriodSeconds > 0 {
		l.aggregation = &monitoringpb.Aggregation{
			AlignmentPeriod:    &durationpb.Duration{Seconds: p.AlignmentPeriodSeconds},
			PerSeriesAligner:   aligners[strings.ToLower(p.AlignmentAligner)],
			CrossSeriesReducer: reducers[strings.ToLower(p.AlignmentReducer)],
		}
	}
	return l
}

// stackdriverSource reads what one filter finds.
type stackdriverSource struct {
	project

	params stackdriverParams
	warned atomic.Bool
}

func openStackdriver(ctx context.Context, p stackdriverParams) (scaler.Source, error) {
	m, err := p.monitored(ctx)
	if err != nil {
		return nil, err
	}
	project, err := m.of(ctx, p.identityParams, p.ProjectID)
	if err != nil {
		return nil, err
	}
	return &stackdriverSource{project: project, params: p}, nil
}

// Read returns the newest value of the first series.
func (s *stackdriverSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	l := s.params.listing()
	what := "metrics of project " + s.name
	value, several, err := s.first(ctx, l)
	if several && !s.warned.Swap(true) {
		slog.Warn("several time series are found: the first one counts, or an alignmentReducer makes one of them", "project", s.name, "filter", l.filter)
	}
	hint := fmt.Sprintf(" within %s by the filter %s (a longer filterDuration finds more)", l.window, l.filter)
	return judge(what, hint, value, err, s.params.ValueIfNull)
}
