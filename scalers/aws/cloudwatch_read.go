package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// cloudWatchSource reads one metric or expression.
type cloudWatchSource struct {
	*service[*cloudwatch.Client]
	params cloudWatchParams
}

// what names the source in errors.
func (s *cloudWatchSource) what() string {
	if s.params.Expression != "" {
		return "expression"
	}
	return "metric " + s.params.Namespace + "/" + s.params.MetricName
}

// Read returns the newest datapoint of the window.
func (s *cloudWatchSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	result := readWindow(ctx, s.service, s.params.window(time.Now()), []*cloudWatchSource{s})[0]
	return result.Readings, result.Err
}

// cloudWatchMetric is a source that can be read together with others.
type cloudWatchMetric struct{ *cloudWatchSource }

// Batch implements scaler.Batched.
func (s cloudWatchMetric) Batch() scaler.Batch { return cloudWatchBatch{s.service} }

// cloudWatchBatch reads many metrics of one service.
type cloudWatchBatch struct {
	*service[*cloudwatch.Client]
}

// ReadBatch asks once for all metrics whose windows are the same.
func (b cloudWatchBatch) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	now := time.Now()
	members := map[window][]int{}
	var order []window
	for i, source := range sources {
		w := source.(cloudWatchMetric).params.window(now)
		if members[w] == nil {
			order = append(order, w)
		}
		members[w] = append(members[w], i)
	}
	for _, w := range order {
		asked := make([]*cloudWatchSource, len(members[w]))
		for i, member := range members[w] {
			asked[i] = sources[member].(cloudWatchMetric).cloudWatchSource
		}
		for i, result := range readWindow(ctx, b.service, w, asked) {
			answer(members[w][i], result)
		}
	}
	return nil
}

// readWindow asks for all sources in one request. A query that CloudWatch finds
// wrong fails the whole of it, so what is wrong is found by halves.
func readWindow(ctx context.Context, s *service[*cloudwatch.Client], w window, sources []*cloudWatchSource) []scaler.Result {
	series, err := getMetricData(ctx, s.client, w, sources)
	if err != nil && len(sources) > 1 {
		if code := status.Code(s.failure("", err)); code == codes.FailedPrecondition {
			half := len(sources) / 2
			return append(readWindow(ctx, s, w, sources[:half]), readWindow(ctx, s, w, sources[half:])...)
		}
	}
	results := make([]scaler.Result, len(sources))
	for i, source := range sources {
		if err != nil {
			results[i].Err = s.failure(source.what(), err)
			continue
		}
		results[i].Readings, results[i].Err = source.judge(series[id(source, i)])
	}
	return results
}

// id is the name of the i-th query of a request.
func id(s *cloudWatchSource, i int) string {
	if s.params.Expression != "" {
		return "q1"
	}
	return "c" + strconv.Itoa(i+1)
}

// getMetricData returns the first series of each query, by its id.
func getMetricData(ctx context.Context, client *cloudwatch.Client, w window, sources []*cloudWatchSource) (map[string]types.MetricDataResult, error) {
	question := &cloudwatch.GetMetricDataInput{
		StartTime: &w.start, EndTime: &w.end, ScanBy: types.ScanByTimestampDescending,
		MetricDataQueries: make([]types.MetricDataQuery, len(sources)),
	}
	for i, source := range sources {
		question.MetricDataQueries[i] = source.params.query()
		question.MetricDataQueries[i].Id = aws.String(id(source, i))
	}
	series := make(map[string]types.MetricDataResult, len(sources))
	for {
		out, err := client.GetMetricData(ctx, question)
		if err != nil {
			return nil, err
		}
		for _, result := range out.MetricDataResults {
			first, known := series[aws.ToString(result.Id)]
			// Pages may begin with a series that goes on, or with none of its values.
			if !known || len(first.Values) == 0 && aws.ToString(first.Label) == aws.ToString(result.Label) {
				series[aws.ToString(result.Id)] = result
			}
		}
		if out.NextToken == nil || complete(series, len(sources)) {
			return series, nil
		}
		question.NextToken = out.NextToken
	}
}

// complete is true when no later page could change anything: values come
// newest first.
func complete(series map[string]types.MetricDataResult, asked int) bool {
	for _, one := range series {
		if len(one.Values) == 0 {
			return false
		}
	}
	return len(series) == asked
}

// judge makes a reading of a series, which may be absent.
func (s *cloudWatchSource) judge(series types.MetricDataResult) ([]scaler.Reading, error) {
	switch {
	case series.StatusCode == types.StatusCodeInternalError:
		return nil, status.Errorf(codes.Unavailable, "%s: CloudWatch has an internal error", s.what())
	case series.StatusCode == types.StatusCodeForbidden:
		return nil, status.Errorf(codes.PermissionDenied, "%s: Forbidden", s.what())
	case len(series.Values) > 0:
		return scaler.One(series.Values[0]), nil
	case s.params.IgnoreNullValues:
		return scaler.One(s.params.MinMetricValue), nil
	default:
		return nil, fmt.Errorf("%s: the metric data is empty and ignoreNullValues is false: %w", s.what(), scaler.ErrNoData)
	}
}
