package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/schemas"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// cloudWatch scales on the newest datapoint of one Amazon CloudWatch metric, or
// of an expression.
var cloudWatch = scaler.Define("aws-cloudwatch", openCloudWatch)

// cloudWatchParams is the metadata of an aws-cloudwatch trigger.
type cloudWatchParams struct {
	awsParams

	// Expression is metric math or a Metrics Insights query. With it, the
	// parameters that name one metric are not used.
	Expression string `param:"expression" long:"true"`
	// Namespace is the metric's.
	Namespace string `param:"namespace" without:"expression"`
	// MetricName is the metric's name in its namespace.
	MetricName string `param:"metricName" without:"expression"`
	// DimensionName lists the names of the metric's dimensions; a metric
	// without any has neither names nor values.
	DimensionName []string `param:"dimensionName" separator:";"`
	// DimensionValue lists the values of the dimensions, in the same order.
	DimensionValue []string `param:"dimensionValue" separator:";"`
	// TargetMetricValue is the target, in the unit of the metric.
	TargetMetricValue float64 `param:"targetMetricValue,required" role:"target"`
	// ActivationTargetMetricValue is the activation threshold.
	ActivationTargetMetricValue float64 `param:"activationTargetMetricValue" default:"0" role:"activation"`
	// MinMetricValue is the value while there is no data.
	MinMetricValue float64 `param:"minMetricValue,required"`
	// IgnoreNullValues replaces missing data by minMetricValue; when false,
	// missing data is an error.
	IgnoreNullValues bool `param:"ignoreNullValues" default:"true"`
	// MetricCollectionTime is the length of the window that is looked at, a
	// multiple of metricStatPeriod.
	MetricCollectionTime int64 `param:"metricCollectionTime" default:"300" unit:"seconds"`
	// MetricStat is the statistic, such as Average, Sum or p99.
	MetricStat string `param:"metricStat" default:"Average"`
	// MetricStatPeriod is the period of the datapoints: 1, 5, 10, 30 or a
	// multiple of 60.
	MetricStatPeriod int64 `param:"metricStatPeriod" default:"300" unit:"seconds"`
	// MetricUnit is a unit of CloudWatch, to look at datapoints of that unit
	// alone.
	MetricUnit string `param:"metricUnit"`
	// MetricEndTimeOffset moves the window into the past, for metrics whose
	// newest period is not complete yet.
	MetricEndTimeOffset int64 `param:"metricEndTimeOffset" default:"0" unit:"seconds"`
	// AWSAccountID is the account that the metric is of, in cross-account
	// observability.
	AWSAccountID string `param:"awsAccountId"`
}

// Validate checks the metric and the window.
func (p cloudWatchParams) Validate() error {
	problems := p.validateWindow()
	if p.Expression == "" {
		problems = append(problems, p.validateMetric()...)
	}
	return errors.Join(problems...)
}

func (p cloudWatchParams) validateMetric() []error {
	var problems []error
	names, values := len(p.DimensionName), len(p.DimensionValue)
	switch {
	case names == 0 && values > 0:
		problems = append(problems, errors.New("dimensionName: is required with dimensionValue"))
	case names > 0 && values == 0:
		problems = append(problems, errors.New("dimensionValue: is required with dimensionName"))
	case names != values:
		problems = append(problems, fmt.Errorf("dimensionName: has %d names for %d values of dimensionValue", names, values))
	}
	if units := types.StandardUnit("").Values(); p.MetricUnit != "" && !slices.Contains(units, types.StandardUnit(p.MetricUnit)) {
		problems = append(problems, fmt.Errorf("metricUnit: %q is not one of %s", p.MetricUnit, joined(units)))
	}
	return problems
}

func joined(units []types.StandardUnit) string {
	texts := make([]string, len(units))
	for i, unit := range units {
		texts[i] = string(unit)
	}
	return strings.Join(texts, ", ")
}

func (p cloudWatchParams) validateWindow() []error {
	var problems []error
	period := p.MetricStatPeriod
	switch {
	case period < 1:
		problems = append(problems, fmt.Errorf("metricStatPeriod: %d is less than 1", period))
	case period < 60 && !slices.Contains([]int64{1, 5, 10, 30}, period):
		problems = append(problems, fmt.Errorf("metricStatPeriod: %d is not one of 1, 5, 10, 30, 60 or a multiple of 60", period))
	case period > 60 && period%60 != 0:
		problems = append(problems, fmt.Errorf("metricStatPeriod: %d is not a multiple of 60", period))
	}
	switch window := p.MetricCollectionTime; {
	case window <= 0:
		problems = append(problems, fmt.Errorf("metricCollectionTime: %d is not greater than 0", window))
	case period >= 1 && window%period != 0:
		problems = append(problems, fmt.Errorf("metricCollectionTime: %d is not a multiple of metricStatPeriod %d", window, period))
	}
	return problems
}

// Name is one for all: the metric is not part of it, as in KEDA.
func (cloudWatchParams) Name() string { return "aws-cloudwatch" }

// query is what CloudWatch is asked, without an id.
func (p cloudWatchParams) query() types.MetricDataQuery {
	q := types.MetricDataQuery{ReturnData: aws.Bool(true), AccountId: given(p.AWSAccountID)}
	if p.Expression != "" {
		q.Expression, q.Period = &p.Expression, aws.Int32(int32(p.MetricStatPeriod))
		return q
	}
	dimensions := make([]types.Dimension, len(p.DimensionName))
	for i := range dimensions {
		dimensions[i] = types.Dimension{Name: &p.DimensionName[i], Value: &p.DimensionValue[i]}
	}
	q.MetricStat = &types.MetricStat{
		Metric: &types.Metric{Namespace: &p.Namespace, MetricName: &p.MetricName, Dimensions: dimensions},
		Period: aws.Int32(int32(p.MetricStatPeriod)),
		Stat:   &p.MetricStat,
		Unit:   types.StandardUnit(p.MetricUnit),
	}
	return q
}

// window is a span of time that one request can ask for.
type window struct{ start, end time.Time }

// window is the one that the trigger looks at.
func (p cloudWatchParams) window(now time.Time) window {
	end := now.Unix() - p.MetricEndTimeOffset
	end -= end % p.MetricStatPeriod
	return window{time.Unix(end-p.MetricCollectionTime, 0), time.Unix(end, 0)}
}

// newCloudWatch makes a client that speaks JSON: the library's own choice is
// CBOR, which what stands in for AWS at an awsEndpoint often cannot read.
func newCloudWatch(c aws.Config) *cloudwatch.Client {
	return cloudwatch.NewFromConfig(c, func(o *cloudwatch.Options) {
		o.Protocol = awsjson.New10(schemas.GraniteServiceVersion20100801)
	})
}

func openCloudWatch(ctx context.Context, p cloudWatchParams) (scaler.Source, error) {
	s, err := connect(ctx, p.awsParams, lending.AmazonCloudWatch, "", newCloudWatch)
	if err != nil {
		return nil, err
	}
	source := &cloudWatchSource{service: s, params: p}
	if p.Expression != "" {
		// A request holds one Metrics Insights query at most, and the names in
		// one expression could mean the queries of another.
		return source, nil
	}
	return cloudWatchMetric{source}, nil
}
