package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
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

	// refused is true after CloudWatch found its query wrong. It fails every
	// request that it is in, so it is asked by itself until that changes.
	refused atomic.Bool
}

// what names the source in errors.
func (s *cloudWatchSource) what() string {
	if s.params.Expression != "" {
		return "expression"
	}
	return "metric " + s.params.Namespace + "/" + s.params.MetricName
}

// Read returns the newest datapoint of the window.
func (s *cloudWatchSource) Read(ctx context.Context) (readings []scaler.Reading, err error) {
	readWindow(ctx, s.service, s.params.window(time.Now()), []*cloudWatchSource{s}, func(_ int, r scaler.Result) {
		readings, err = r.Readings, r.Err
	})
	return readings, err
}

// cloudWatchMetric is a source that can be read together with others.
type cloudWatchMetric struct{ *cloudWatchSource }

// Batch implements scaler.Batched.
func (s cloudWatchMetric) Batch() scaler.Batch { return cloudWatchBatch{s.service} }

// cloudWatchBatch reads many metrics of one service.
type cloudWatchBatch struct {
	*service[*cloudwatch.Client]
}

// requestsAtOnce is how many requests of one batch are under way together.
const requestsAtOnce = 4

// request is what the metrics of one request have in common. Those of another
// account are apart, since a refused account is no other's matter.
type request struct {
	window  window
	account string
	alone   int // tells those apart that are asked by themselves
}

// ReadBatch asks once for all metrics that one request can ask for.
func (b cloudWatchBatch) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	now := time.Now()
	members := map[request][]int{}
	for i, source := range sources {
		s := source.(cloudWatchMetric)
		r := request{window: s.params.window(now), account: s.params.AWSAccountID}
		if s.refused.Load() {
			r.alone = i + 1
		}
		members[r] = append(members[r], i)
	}
	asking := scaler.NewGroup(requestsAtOnce)
	// Those that are asked alone are wrong, and may be many: they are not to keep
	// others waiting.
	requests := slices.Collect(maps.Keys(members))
	scaler.InTurns(ctx, requests, func(r request) []int { return members[r] })
	slices.SortStableFunc(requests, func(one, other request) int { return cmp.Compare(min(one.alone, 1), min(other.alone, 1)) })
	for _, r := range requests {
		of := members[r]
		asked := make([]*cloudWatchSource, len(of))
		for i, member := range of {
			asked[i] = sources[member].(cloudWatchMetric).cloudWatchSource
		}
		asking.Go("reading CloudWatch", func() {
			readWindow(scaler.ForMembers(ctx, of...), b.service, r.window, asked, func(i int, r scaler.Result) { answer(of[i], r) })
		})
	}
	return asking.Wait()
}

// readWindow asks for all sources in one request. A query that CloudWatch finds
// wrong fails the whole of it, so what is wrong is found by halves.
func readWindow(ctx context.Context, s *service[*cloudwatch.Client], w window, sources []*cloudWatchSource, answer func(int, scaler.Result)) {
	left, err := getMetricData(ctx, s.client, w, sources, answer)
	if err == nil {
		return
	}
	wrong := status.Code(s.failure("", err)) == codes.FailedPrecondition
	if wrong && len(left) > 1 {
		for _, part := range [][]int{left[:len(left)/2], left[len(left)/2:]} {
			asked := make([]*cloudWatchSource, len(part))
			for i, at := range part {
				asked[i] = sources[at]
			}
			readWindow(scaler.ForMembers(ctx, part...), s, w, asked, func(i int, r scaler.Result) { answer(part[i], r) })
		}
		return
	}
	for _, i := range left {
		sources[i].refused.Store(wrong)
		answer(i, scaler.Result{Err: s.failure(sources[i].what(), err)})
	}
}

// id is the name of the i-th query of a request.
func id(s *cloudWatchSource, i int) string {
	if s.params.Expression != "" {
		return "q1"
	}
	return "c" + strconv.Itoa(i+1)
}

// pageOfDatapoints is how many a page of an answer may have. CloudWatch would send
// 100,800, more values than an answer may have here.
const pageOfDatapoints = 20_000

// getMetricData answers each source with the first series of its query, as soon
// as a page has its newest value. It returns those that an error left without
// an answer.
func getMetricData(ctx context.Context, client *cloudwatch.Client, w window, sources []*cloudWatchSource, answer func(int, scaler.Result)) (left []int, _ error) {
	question := &cloudwatch.GetMetricDataInput{
		StartTime: &w.start, EndTime: &w.end, ScanBy: types.ScanByTimestampDescending,
		MaxDatapoints:     aws.Int32(pageOfDatapoints),
		MetricDataQueries: make([]types.MetricDataQuery, len(sources)),
	}
	for i, source := range sources {
		question.MetricDataQueries[i] = source.params.query()
		question.MetricDataQueries[i].Id = aws.String(id(source, i))
		left = append(left, i)
	}
	series := make(seen, len(sources))
	for i, source := range sources {
		series[id(source, i)] = nil
	}
	for {
		out, err := client.GetMetricData(ctx, question)
		if err != nil {
			return left, err
		}
		for i := range out.MetricDataResults {
			series.note(&out.MetricDataResults[i])
		}
		left = slices.DeleteFunc(left, func(i int) bool {
			var one types.MetricDataResult
			if held := series[id(sources[i], i)]; held != nil {
				one = *held
			}
			// Values come newest first, so no later page has one that counts.
			known := len(one.Values) > 0 || out.NextToken == nil
			if known {
				sources[i].refused.Store(false)
				readings, err := sources[i].judge(one)
				answer(i, scaler.Result{Readings: readings, Err: err})
			}
			return known
		})
		if len(left) == 0 {
			return nil, nil
		}
		question.NextToken = out.NextToken
	}
}

// seen is what is known of each query by its id, nil for nothing. Pages may come
// for as long as there is time, and what is not asked for is not kept.
type seen map[string]*types.MetricDataResult

// longestLabel is that of a label by which series are told apart, in bytes.
const longestLabel = 1 << 10

// note keeps what counts of a series: its newest value, of the first series of a
// query. Pages may begin with a series that goes on, or with none of its values.
func (s seen) note(result *types.MetricDataResult) {
	first, asked := s[aws.ToString(result.Id)]
	label := aws.ToString(result.Label)
	label = strings.Clone(label[:min(len(label), longestLabel)])
	if !asked || first != nil && (len(first.Values) > 0 || aws.ToString(first.Label) != label) {
		return
	}
	s[aws.ToString(result.Id)] = &types.MetricDataResult{
		Label: &label, StatusCode: result.StatusCode, Values: slices.Clone(result.Values[:min(len(result.Values), 1)]),
	}
}

// judge makes a reading of a series, which may be absent.
func (s *cloudWatchSource) judge(series types.MetricDataResult) ([]scaler.Reading, error) {
	switch {
	case series.StatusCode == types.StatusCodeInternalError:
		return nil, scaler.Errorf(codes.Unavailable, "%s: CloudWatch has an internal error", s.what())
	case series.StatusCode == types.StatusCodeForbidden:
		return nil, scaler.Errorf(codes.PermissionDenied, "%s: Forbidden", s.what())
	case len(series.Values) > 0:
		return scaler.One(series.Values[0]), nil
	case s.params.IgnoreNullValues:
		return scaler.One(s.params.MinMetricValue), nil
	default:
		return nil, fmt.Errorf("%s: the metric data is empty and ignoreNullValues is false: %w", s.what(), scaler.ErrNoData)
	}
}
