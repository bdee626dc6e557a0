package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// monitoring is Cloud Monitoring for one account: the generated stubs over our own
// connection. The library around them tries again by itself, which hides that a
// project is over its quota.
type monitoring struct {
	*connection

	series  monitoringpb.MetricServiceClient
	queries monitoringpb.QueryServiceClient
}

// monitored returns the connection of the trigger's account. It is called with the
// ctx of Open and asks nothing yet.
func (p identityParams) monitored(ctx context.Context) (*monitoring, error) {
	at := monitoringAt
	who, err := p.who()
	if err != nil {
		return nil, err
	}
	return client.Shared(ctx, []any{at, who}, func(ctx context.Context) (*monitoring, error) {
		account, err := p.account(ctx, lending.GoogleMonitoring, at)
		if err != nil {
			return nil, err
		}
		c, err := connect(ctx, at, account, lending.GoogleMonitoring, p.own())
		if err != nil {
			return nil, err
		}
		//dials:through c
		return &monitoring{c, monitoringpb.NewMetricServiceClient(c), monitoringpb.NewQueryServiceClient(c)}, nil
	})
}

// quota is what Google counts the reads of a project for that one account makes.
// It is called with the ctx of Open.
func (p identityParams) quota(ctx context.Context, service, project string) (*client.Account, error) {
	who, err := p.who()
	if err != nil {
		return nil, err
	}
	return client.AccountOf(ctx, []any{service, project, who})
}

// project is one whose metrics are read by one account.
type project struct {
	*monitoring

	quota *client.Account
	name  string
}

// of returns a project for sources that are opened.
func (m *monitoring) of(ctx context.Context, p identityParams, name string) (project, error) {
	quota, err := p.quota(ctx, m.name, name)
	return project{m, quota, name}, err
}

// Cost says what it takes, before there is one.
func (*monitoring) Cost() int { return connectionCost }

// listing is a question for time series.
type listing struct {
	filter      string
	window      time.Duration
	aggregation *monitoringpb.Aggregation // nil for none
}

const (
	// fewPoints is the size of a page where the first series alone counts: enough
	// to see that there is another one.
	fewPoints = 100
	// manyPoints is that of a page with the series of many.
	manyPoints = 5000
	// mostPages bounds how many pages are asked for, empty ones included.
	mostPages = 20
)

// list calls use for every page of a listing, until that returns false. Pages may go
// on with a series that another one began.
func (p project) list(ctx context.Context, l listing, points int32, use func([]*monitoringpb.TimeSeries) (more bool)) error {
	now := time.Now().Truncate(time.Second)
	name := "projects/" + p.name
	request := &monitoringpb.ListTimeSeriesRequest{
		Name: name, Filter: l.filter, Aggregation: l.aggregation, PageSize: points,
		Interval: &monitoringpb.TimeInterval{StartTime: timestamppb.New(now.Add(-l.window)), EndTime: timestamppb.New(now)},
	}
	for range mostPages {
		var answer *monitoringpb.ListTimeSeriesResponse
		err := p.call(ctx, p.quota, func(ctx context.Context) (err error) {
			answer, err = p.series.ListTimeSeries(ctx, request)
			return err
		}, routing, "name="+url.QueryEscape(name))
		if err != nil {
			return err
		}
		request.PageToken = answer.GetNextPageToken()
		if !use(answer.GetTimeSeries()) || request.PageToken == "" {
			return nil
		}
	}
	return client.TooLarge(scaler.Errorf(codes.Unavailable, "%s: the answer has more than %d pages", p.monitoring.name, mostPages))
}

// routing is the header by which Google routes calls.
const routing = "x-goog-request-params"

// first returns the newest value of the first series of a listing, and whether its
// page has another one.
func (p project) first(ctx context.Context, l listing) (value float64, several bool, err error) {
	var found *monitoringpb.TimeSeries
	err = p.list(ctx, l, fewPoints, func(page []*monitoringpb.TimeSeries) bool {
		if len(page) == 0 {
			return true
		}
		found = page[0]
		several = slices.ContainsFunc(page[1:], func(other *monitoringpb.TimeSeries) bool { return !sameSeries(found, other) })
		return false
	})
	if err != nil && found == nil { // what comes after the first counts for nothing
		return 0, false, err
	}
	value, err = newest(found)
	return value, several, err
}

// asked returns the newest value of the first series that a query in Monitoring
// Query Language finds.
func (p project) asked(ctx context.Context, query string) (float64, error) {
	name := "projects/" + p.name
	var answer *monitoringpb.QueryTimeSeriesResponse //nolint:staticcheck // deprecated, and some aggregations are nowhere else
	err := p.call(ctx, p.quota, func(ctx context.Context) (err error) {
		answer, err = p.queries.QueryTimeSeries(ctx, &monitoringpb.QueryTimeSeriesRequest{Name: name, Query: query, PageSize: 1}) //nolint:staticcheck // as above
		return err
	}, routing, "name="+url.QueryEscape(name))
	if err != nil {
		return 0, err
	}
	series := answer.GetTimeSeriesData()
	if len(series) == 0 || len(series[0].GetPointData()) == 0 || len(series[0].GetPointData()[0].GetValues()) == 0 {
		return 0, errNoSeries
	}
	return number(series[0].GetPointData()[0].GetValues()[0])
}

// errNoSeries says that nothing was found that has a value.
var errNoSeries = errors.New("no time series was found")

// newest is the newest value of a series, whose points come newest first.
func newest(series *monitoringpb.TimeSeries) (float64, error) {
	if len(series.GetPoints()) == 0 {
		return 0, errNoSeries
	}
	return number(series.GetPoints()[0].GetValue())
}

// number is the value of a point as a number.
func number(v *monitoringpb.TypedValue) (float64, error) {
	var n float64
	switch v := v.GetValue().(type) {
	case *monitoringpb.TypedValue_DoubleValue:
		n = v.DoubleValue
	case *monitoringpb.TypedValue_Int64Value:
		n = float64(v.Int64Value)
	case *monitoringpb.TypedValue_DistributionValue:
		return 0, errDistribution
	default:
		return 0, errNoNumber
	}
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return 0, errNoSeries
	}
	return n, nil
}

var (
	errDistribution = errors.New("could not extract value: the metric is a distribution, which needs an aggregation")
	errStillOne     = errors.New("could not extract value: the aggregation of distributions is a distribution; mean, median, stddev, variance, count and percentile<0-100> are numbers")
	errNoNumber     = errors.New("could not extract value: the metric is not a number")
)

// judge is the reading of what a query came to: the substitute where there is no
// series, and errors in words of the trigger.
func judge(what, hint string, value float64, err error, substitute *float64) ([]scaler.Reading, error) {
	switch {
	case err == nil:
		return scaler.One(value), nil
	case errors.Is(err, errNoSeries) && substitute != nil:
		return scaler.One(*substitute), nil
	case errors.Is(err, errNoSeries):
		return nil, fmt.Errorf("%s: no metric was found%s: %w", what, hint, scaler.ErrNoData)
	case errors.Is(err, errDistribution), errors.Is(err, errStillOne), errors.Is(err, errNoNumber):
		return nil, scaler.Errorf(codes.FailedPrecondition, "%s: %w", what, err)
	default:
		return nil, scaler.Errorf(status.Code(err), "%s: %w", what, err)
	}
}

// quoted is a text as a literal of a filter.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// anyOf is what a filter compares a label with for any of some values.
func anyOf(values []string) string {
	if len(values) == 1 {
		return quoted(values[0])
	}
	all := make([]string, len(values))
	for i, value := range values {
		all[i] = quoted(value)
	}
	return "one_of(" + strings.Join(all, ", ") + ")"
}

// sameSeries reports whether two series of a listing are one, which two pages have
// parts of.
func sameSeries(a, b *monitoringpb.TimeSeries) bool {
	return a.GetMetric().GetType() == b.GetMetric().GetType() && a.GetResource().GetType() == b.GetResource().GetType() &&
		equalLabels(a.GetMetric().GetLabels(), b.GetMetric().GetLabels()) && equalLabels(a.GetResource().GetLabels(), b.GetResource().GetLabels())
}

var equalLabels = maps.Equal[map[string]string, map[string]string]
