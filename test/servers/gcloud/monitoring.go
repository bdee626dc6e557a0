package gcloud

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/api/distribution"
	"google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Series is a time series.
type Series struct {
	Project  string
	Metric   string
	Labels   map[string]string // of the metric
	Resource string            // its type
	ID       map[string]string // labels of the resource beside project_id
	Kind     metric.MetricDescriptor_MetricKind
	Points   []Point // newest first
}

// Point is a value, and how long ago it was.
type Point struct {
	Ago   time.Duration
	Value *monitoringpb.TypedValue
}

// Double is a number.
func Double(v float64) *monitoringpb.TypedValue {
	return &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DoubleValue{DoubleValue: v}}
}

// Int is a whole number.
func Int(v int64) *monitoringpb.TypedValue {
	return &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_Int64Value{Int64Value: v}}
}

// Text is no number.
func Text(v string) *monitoringpb.TypedValue {
	return &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_StringValue{StringValue: v}}
}

// Distribution is one of so many values with a mean.
func Distribution(count int64, mean float64) *monitoringpb.TypedValue {
	return &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DistributionValue{
		DistributionValue: &distribution.Distribution{Count: count, Mean: mean},
	}}
}

// Monitoring stands in for Cloud Monitoring: it takes filters and aggregations as
// far as they are known to it, and refuses others as Google refuses what is wrong.
type Monitoring struct {
	monitoringpb.UnimplementedMetricServiceServer
	monitoringpb.UnimplementedQueryServiceServer

	issuer  *Issuer
	address string

	mu       sync.Mutex
	server   *grpc.Server
	series   []Series
	readers  map[string][]string // projects, and who may read their metrics; everybody where there are none
	requests []*monitoringpb.ListTimeSeriesRequest
	queries  []string
	answers  map[string]*monitoringpb.QueryTimeSeriesResponse //nolint:staticcheck // deprecated, and what some aggregations are asked by
	before   func(context.Context, *monitoringpb.ListTimeSeriesRequest) error
	alter    func(*monitoringpb.ListTimeSeriesResponse)
	conns    int
}

// StartMonitoring starts one at an address without a port.
func StartMonitoring(address string, issuer *Issuer) (*Monitoring, error) {
	m := &Monitoring{issuer: issuer, address: net.JoinHostPort(address, "0"), readers: map[string][]string{}, answers: map[string]*monitoringpb.QueryTimeSeriesResponse{}} //nolint:staticcheck // deprecated, and what some aggregations are asked by
	return m, m.Start()
}

// Start starts one that was ended, at the same port.
func (m *Monitoring) Start() error {
	l, err := net.Listen("tcp", m.address)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.address = l.Addr().String()
	m.server = grpc.NewServer()
	monitoringpb.RegisterMetricServiceServer(m.server, m)
	monitoringpb.RegisterQueryServiceServer(m.server, m)
	go func(s *grpc.Server) { _ = s.Serve(counting{l, m}) }(m.server) // until Close
	return nil
}

type counting struct {
	net.Listener
	m *Monitoring
}

func (c counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.m.mu.Lock()
		c.m.conns++
		c.m.mu.Unlock()
	}
	return conn, err
}

// Close ends it.
func (m *Monitoring) Close() error {
	m.mu.Lock()
	server := m.server
	m.mu.Unlock()
	server.Stop()
	return nil
}

// Address is its host and port.
func (m *Monitoring) Address() string { return m.address }

// Set replaces the series.
func (m *Monitoring) Set(series ...Series) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.series = series
}

// Allow has these accounts alone read the metrics of a project.
func (m *Monitoring) Allow(project string, accounts ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readers[project] = accounts
}

// Before is called before a request is answered, and its error is the answer. Nil
// is for none.
func (m *Monitoring) Before(f func(context.Context, *monitoringpb.ListTimeSeriesRequest) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = f
}

// Alter changes answers. Nil is for none.
func (m *Monitoring) Alter(f func(*monitoringpb.ListTimeSeriesResponse)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.alter = f
}

// Answer is what a query in Monitoring Query Language comes to; others are refused.
func (m *Monitoring) Answer(query string, values ...*monitoringpb.TypedValue) {
	answer := &monitoringpb.QueryTimeSeriesResponse{} //nolint:staticcheck // deprecated, and what some aggregations are asked by
	if len(values) > 0 {
		answer.TimeSeriesData = []*monitoringpb.TimeSeriesData{{PointData: []*monitoringpb.TimeSeriesData_PointData{{Values: values}}}}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[query] = answer
}

// Requests are those for lists so far.
func (m *Monitoring) Requests() []*monitoringpb.ListTimeSeriesRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.requests)
}

// Queries are those in Monitoring Query Language so far.
func (m *Monitoring) Queries() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.queries)
}

// Connections is how many were made.
func (m *Monitoring) Connections() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.conns
}

// Exhausted is the error of a project over its quota, which is to be left alone for
// so long.
func Exhausted(pause time.Duration) error {
	s, err := status.New(codes.ResourceExhausted, "Quota exceeded for quota metric 'Time series queries'").WithDetails(
		&errdetails.ErrorInfo{Reason: "RATE_LIMIT_EXCEEDED", Domain: "googleapis.com"},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(pause)})
	if err != nil {
		return err
	}
	return s.Err()
}

// scopes are those with which metrics may be read.
var scopes = []string{
	"https://www.googleapis.com/auth/monitoring.read", "https://www.googleapis.com/auth/monitoring", "https://www.googleapis.com/auth/cloud-platform",
}

// admit checks who asks, and whether the request is routed to its project.
func (m *Monitoring) admit(ctx context.Context, name string) (project string, err error) {
	headers, _ := metadata.FromIncomingContext(ctx)
	token, good := m.issuer.Check(strings.Join(headers.Get("authorization"), ","))
	project, isProject := strings.CutPrefix(name, "projects/")
	m.mu.Lock()
	defer m.mu.Unlock()
	readers, restricted := m.readers[project]
	switch {
	case !good:
		return "", status.Error(codes.Unauthenticated, "Request had invalid authentication credentials.")
	case !slices.ContainsFunc(strings.Fields(strings.ReplaceAll(token.Scope, ",", " ")), func(s string) bool { return slices.Contains(scopes, s) }):
		return "", status.Error(codes.PermissionDenied, "Request had insufficient authentication scopes.")
	case !isProject || project == "":
		return "", status.Error(codes.InvalidArgument, "Name must begin with 'projects/', got: "+name)
	case !slices.Equal(headers.Get("x-goog-request-params"), []string{"name=" + url.QueryEscape(name)}):
		return "", status.Error(codes.InvalidArgument, "routing header is wrong")
	case restricted && !slices.Contains(readers, token.Account):
		return "", status.Error(codes.PermissionDenied, "Permission monitoring.timeSeries.list denied (or the resource may not exist).")
	}
	return project, nil
}

// QueryTimeSeries implements the service.
func (m *Monitoring) QueryTimeSeries(ctx context.Context, request *monitoringpb.QueryTimeSeriesRequest) (*monitoringpb.QueryTimeSeriesResponse, error) { //nolint:staticcheck // deprecated, and what some aggregations are asked by
	if _, err := m.admit(ctx, request.GetName()); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queries = append(m.queries, request.GetQuery())
	answer, known := m.answers[request.GetQuery()]
	if !known {
		return nil, status.Error(codes.InvalidArgument, "Query error: "+request.GetQuery())
	}
	return answer, nil
}

// ListTimeSeries implements the service.
func (m *Monitoring) ListTimeSeries(ctx context.Context, request *monitoringpb.ListTimeSeriesRequest) (*monitoringpb.ListTimeSeriesResponse, error) {
	m.mu.Lock()
	m.requests = append(m.requests, request)
	before, alter, all := m.before, m.alter, slices.Clone(m.series)
	m.mu.Unlock()
	if before != nil {
		if err := before(ctx, request); err != nil {
			return nil, err
		}
	}
	project, err := m.admit(ctx, request.GetName())
	if err != nil {
		return nil, err
	}
	wanted, err := parseFilter(request.GetFilter())
	if err != nil {
		return nil, err
	}
	known := slices.ContainsFunc(all, func(s Series) bool { return slices.Contains(wanted["metric.type"], s.Metric) })
	if !known && len(wanted["metric.type"]) > 0 {
		return nil, status.Error(codes.NotFound, "Cannot find metric(s) that match type = \""+wanted["metric.type"][0]+"\".")
	}
	all = slices.DeleteFunc(all, func(s Series) bool { return s.Project != project || !wanted.matches(s) })
	from, until := request.GetInterval().GetStartTime().AsTime(), request.GetInterval().GetEndTime().AsTime()
	if !from.Before(until) || until.After(time.Now().Add(time.Minute)) || until.Nanosecond() != 0 {
		return nil, status.Error(codes.InvalidArgument, "The start time must be before the end time.")
	}
	answer := &monitoringpb.ListTimeSeriesResponse{}
	for _, s := range all {
		if found := s.within(from, until); len(found.GetPoints()) > 0 {
			answer.TimeSeries = append(answer.TimeSeries, found)
		}
	}
	if a := request.GetAggregation(); a.GetPerSeriesAligner() != monitoringpb.Aggregation_ALIGN_NONE {
		if answer.TimeSeries, err = aggregate(answer.TimeSeries, a); err != nil {
			return nil, err
		}
	}
	if err := page(answer, request); err != nil {
		return nil, err
	}
	if alter != nil {
		alter(answer)
	}
	return answer, nil
}

// page leaves the points of one page: so many as were asked for, after those that
// the token says were there before.
func page(answer *monitoringpb.ListTimeSeriesResponse, request *monitoringpb.ListTimeSeriesRequest) error {
	skip := 0
	if token := request.GetPageToken(); token != "" {
		var err error
		if skip, err = strconv.Atoi(token); err != nil {
			return status.Error(codes.InvalidArgument, "page token")
		}
	}
	most := int(request.GetPageSize())
	if most == 0 {
		most = 100_000
	}
	var series []*monitoringpb.TimeSeries
	at := 0
	for _, one := range answer.GetTimeSeries() {
		var points []*monitoringpb.Point
		for _, p := range one.GetPoints() {
			if at >= skip && at < skip+most {
				points = append(points, p)
			}
			at++
		}
		if len(points) > 0 {
			one.Points = points
			series = append(series, one)
		}
	}
	answer.TimeSeries = series
	if at > skip+most {
		answer.NextPageToken = strconv.Itoa(skip + most)
	}
	return nil
}

// within is the series with its points in a time.
func (s Series) within(from, until time.Time) *monitoringpb.TimeSeries {
	labels := map[string]string{"project_id": s.Project}
	for k, v := range s.ID {
		labels[k] = v
	}
	found := &monitoringpb.TimeSeries{
		Metric: &metric.Metric{Type: s.Metric, Labels: s.Labels}, Resource: &monitoredres.MonitoredResource{Type: s.Resource, Labels: labels},
		MetricKind: s.Kind,
	}
	for _, p := range s.Points {
		at := until.Add(-p.Ago)
		if at.After(from) || at.Equal(from) {
			found.Points = append(found.Points, &monitoringpb.Point{
				Interval: &monitoringpb.TimeInterval{EndTime: timestamppb.New(at), StartTime: timestamppb.New(at)}, Value: p.Value,
			})
		}
	}
	return found
}

// filter is what a filter asks of each name, all of which has to hold.
type filter map[string][]string

var term = regexp.MustCompile(`^\s*([a-z_.]+)\s*=\s*(one_of\()?`)

// parseFilter reads terms of the form <name>="<value>" and <name>=one_of("<a>", ...)
// joined by AND, and braces around them.
func parseFilter(text string) (filter, error) {
	wrong := status.Error(codes.InvalidArgument, "Field filter had an invalid value: "+text)
	if len(text) > 2048 {
		return nil, status.Error(codes.InvalidArgument, "Field filter is too long")
	}
	f := filter{}
	rest := text
	for {
		rest = strings.TrimLeft(rest, " (")
		head := term.FindStringSubmatch(rest)
		if head == nil {
			return nil, wrong
		}
		rest = rest[len(head[0]):]
		for {
			literal, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, wrong
			}
			value, _ := strconv.Unquote(literal)
			f[head[1]] = append(f[head[1]], value)
			rest = rest[len(literal):]
			if head[2] == "" {
				break
			}
			if after, more := strings.CutPrefix(rest, ", "); more {
				rest = after
				continue
			}
			after, closed := strings.CutPrefix(rest, ")")
			if !closed {
				return nil, wrong
			}
			rest = after
			break
		}
		rest = strings.TrimLeft(rest, " )")
		if rest == "" {
			return f, nil
		}
		after, and := strings.CutPrefix(rest, "AND ")
		if !and {
			return nil, wrong
		}
		rest = after
	}
}

func (f filter) matches(s Series) bool {
	for name, values := range f {
		var have string
		kind, label, _ := strings.Cut(name, ".labels.")
		switch {
		case name == "metric.type":
			have = s.Metric
		case name == "resource.type":
			have = s.Resource
		case name == "resource.labels.project_id":
			have = s.Project
		case kind == "resource":
			have = s.ID[label]
		default:
			have = s.Labels[label]
		}
		if !slices.Contains(values, have) {
			return false
		}
	}
	return true
}

// aggregate aligns by the change, or not at all, and reduces.
func aggregate(series []*monitoringpb.TimeSeries, a *monitoringpb.Aggregation) ([]*monitoringpb.TimeSeries, error) {
	if a.GetAlignmentPeriod().GetSeconds() < 60 {
		return nil, status.Error(codes.InvalidArgument, "Field aggregation.alignmentPeriod had an invalid value")
	}
	groups := map[string][]*monitoringpb.TimeSeries{}
	var order []string
	for _, s := range series {
		if s.GetMetricKind() == metric.MetricDescriptor_GAUGE && a.GetPerSeriesAligner() == monitoringpb.Aggregation_ALIGN_DELTA {
			return nil, status.Error(codes.InvalidArgument, "Field aggregation.perSeriesAligner had an invalid value of \"ALIGN_DELTA\": The aligner cannot be applied to metrics with kind GAUGE")
		}
		if a.GetCrossSeriesReducer() == monitoringpb.Aggregation_REDUCE_NONE {
			return series, nil
		}
		key := ""
		for _, field := range a.GetGroupByFields() {
			_, label, _ := strings.Cut(field, "resource.label.")
			key += s.GetResource().GetLabels()[label]
		}
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], s)
	}
	var reduced []*monitoringpb.TimeSeries
	for _, key := range order {
		one := &monitoringpb.TimeSeries{Metric: &metric.Metric{Type: groups[key][0].GetMetric().GetType()}, Resource: &monitoredres.MonitoredResource{
			Type: groups[key][0].GetResource().GetType(), Labels: map[string]string{},
		}}
		for _, field := range a.GetGroupByFields() {
			_, label, _ := strings.Cut(field, "resource.label.")
			one.Resource.Labels[label] = groups[key][0].GetResource().GetLabels()[label]
		}
		value, err := reduce(groups[key], a.GetCrossSeriesReducer())
		if err != nil {
			return nil, err
		}
		one.Points = []*monitoringpb.Point{{Interval: groups[key][0].GetPoints()[0].GetInterval(), Value: value}}
		reduced = append(reduced, one)
	}
	return reduced, nil
}

// reduce makes one value of the newest ones. A distribution counts as so many
// values at its mean.
func reduce(series []*monitoringpb.TimeSeries, by monitoringpb.Aggregation_Reducer) (*monitoringpb.TypedValue, error) {
	var values []float64
	distributions := false
	for _, s := range series {
		switch v := s.GetPoints()[0].GetValue().GetValue().(type) {
		case *monitoringpb.TypedValue_DistributionValue:
			distributions = true
			for range v.DistributionValue.GetCount() {
				values = append(values, v.DistributionValue.GetMean())
			}
		case *monitoringpb.TypedValue_Int64Value:
			values = append(values, float64(v.Int64Value))
		case *monitoringpb.TypedValue_DoubleValue:
			values = append(values, v.DoubleValue)
		default:
			return nil, status.Error(codes.InvalidArgument, "The reducer cannot be applied to this value type")
		}
	}
	slices.Sort(values)
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	mean := sum / float64(len(values))
	percentile := func(n float64) *monitoringpb.TypedValue {
		return Double(values[min(int(n/100*float64(len(values))), len(values)-1)])
	}
	switch by {
	case monitoringpb.Aggregation_REDUCE_MEAN:
		return Double(mean), nil
	case monitoringpb.Aggregation_REDUCE_SUM:
		if distributions {
			return Distribution(int64(len(values)), mean), nil
		}
		return Double(sum), nil
	case monitoringpb.Aggregation_REDUCE_COUNT:
		return Int(int64(len(series))), nil
	case monitoringpb.Aggregation_REDUCE_STDDEV:
		squares := 0.0
		for _, v := range values {
			squares += (v - mean) * (v - mean)
		}
		return Double(math.Sqrt(squares / float64(len(values)))), nil
	case monitoringpb.Aggregation_REDUCE_PERCENTILE_99:
		return percentile(99), nil
	case monitoringpb.Aggregation_REDUCE_PERCENTILE_95:
		return percentile(95), nil
	case monitoringpb.Aggregation_REDUCE_PERCENTILE_50:
		return percentile(50), nil
	case monitoringpb.Aggregation_REDUCE_PERCENTILE_05:
		return percentile(5), nil
	case monitoringpb.Aggregation_REDUCE_MAX:
		return Double(values[len(values)-1]), nil
	default:
		return nil, status.Error(codes.InvalidArgument, fmt.Sprintf("reducer %s is not known here", by))
	}
}
