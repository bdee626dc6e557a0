package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// azureAppInsights scales on one aggregated metric of Application Insights.
var azureAppInsights = scaler.Define("azure-app-insights", openAppInsights)

// appInsightsParams is the metadata of an azure-app-insights trigger.
type appInsightsParams struct {
	identityParams

	// ApplicationID is the id of the application, a GUID.
	ApplicationID string `param:"applicationInsightsId,required" from:"trigger,auth,env"`
	// MetricID is the metric, such as requests/duration or customMetrics/backlog.
	MetricID string `param:"metricId,required"`
	// MetricAggregationType is how values become one: avg, sum, count, min, max or
	// unique, as far as the metric has it.
	MetricAggregationType string `param:"metricAggregationType,required"`
	// MetricAggregationTimespan is the length of the time that is looked at, as
	// hh:mm. Metrics arrive minutes late: 0:5 rarely finds nothing.
	MetricAggregationTimespan string `param:"metricAggregationTimespan,required"`
	// MetricFilter is a filter by dimensions, such as
	// cloud/roleName eq 'orders'. It may be percent-encoded; a + is a space.
	MetricFilter string `param:"metricFilter" long:"true"`
	// TargetValue is the target, in the unit of the metric.
	TargetValue float64 `param:"targetValue" role:"target"`
	// ActivationTargetValue is the activation threshold.
	ActivationTargetValue float64 `param:"activationTargetValue" default:"0" role:"activation"`
	// IgnoreNullValues reads a metric without samples in the time as 0. It is for
	// metrics whose silence means that there is no work.
	IgnoreNullValues bool `param:"ignoreNullValues" default:"false" question:"false"`
	// TenantID is the tenant of the application that asks.
	TenantID string `param:"tenantId,required" from:"trigger,auth,env"`
	// ClientID is the application that asks, where there is no pod identity.
	ClientID string `param:"activeDirectoryClientId" from:"trigger,auth,env"`
	// ClientPassword is a secret of that application.
	ClientPassword string `param:"activeDirectoryClientPassword" from:"auth,env" secret:"true"`
	// Cloud is the cloud of Azure: AzurePublicCloud, AzureUSGovernmentCloud,
	// AzureChinaCloud, or Private, whose addresses the trigger gives.
	Cloud string `param:"cloud" default:"AzurePublicCloud"`
	// ResourceURL is the address of Application Insights in cloud Private, which
	// needs it. Tokens are for it.
	ResourceURL string `param:"appInsightsResourceURL"`
	// Authority is the address of Entra of cloud Private, which needs it.
	Authority string `param:"activeDirectoryEndpoint" from:"trigger,auth" together:"activeDirectoryClientPassword"`
	// MetricAggregationInterval is what some pages call the time.
	MetricAggregationInterval string `param:"metricAggregationInterval" deprecated:"it is not read: metricAggregationTimespan is" question:"false"`
}

// Validate checks what can be checked without asking anybody.
func (p appInsightsParams) Validate() error {
	var problems []error
	if _, err := p.timespan(); err != nil {
		problems = append(problems, err)
	}
	if _, err := url.QueryUnescape(p.MetricFilter); err != nil {
		problems = append(problems, errors.New("metricFilter: has a % that is not followed by two hexadecimal digits; it may be percent-encoded, and a % itself is written %25"))
	}
	if strings.ContainsAny(p.MetricID, "?#") || slices.ContainsFunc(strings.Split(p.MetricID, "/"), leadsElsewhere) {
		problems = append(problems, errors.New("metricId: is not the id of a metric, such as requests/duration"))
	}
	return errors.Join(append(problems,
		checkSegment("applicationInsightsId", p.ApplicationID),
		checkAddresses(p.Cloud, monitorClouds, given{"appInsightsResourceURL", p.ResourceURL}, given{"activeDirectoryEndpoint", p.Authority}, true),
		checkLogin(p.identityParams, given{"tenantId", p.TenantID}, given{"activeDirectoryClientId", p.ClientID}, given{"activeDirectoryClientPassword", p.ClientPassword}),
	)...)
}

// timespan is metricAggregationTimespan as the API has it.
func (p appInsightsParams) timespan() (string, error) {
	hours, minutes, found := strings.Cut(p.MetricAggregationTimespan, ":")
	h, errH := strconv.ParseUint(hours, 10, 16)
	m, errM := strconv.ParseUint(minutes, 10, 16)
	if !found || errH != nil || errM != nil {
		return "", fmt.Errorf("metricAggregationTimespan: %q is not of the form hh:mm: it should be hh:mm, such as 00:05", p.MetricAggregationTimespan)
	}
	return fmt.Sprintf("PT%02dH%02dM", h, m), nil
}

// NoData is KEDA's rule: nothing to say is an error unless the user chose 0.
func (p appInsightsParams) NoData() scaler.NoDataRule {
	if p.IgnoreNullValues {
		return scaler.NoDataZero
	}
	return scaler.NoDataError
}

// Name does not tell applications apart, as in KEDA.
func (p appInsightsParams) Name() string { return scaler.MetricName("azure-app-insights", p.MetricID) }

// appInsights are the addresses of Application Insights.
var appInsights = map[lending.Service]string{
	lending.AzureApplicationInsights:             "https://api.applicationinsights.io",
	lending.AzureApplicationInsightsUSGovernment: "https://api.applicationinsights.us",
	lending.AzureApplicationInsightsChina:        "https://api.applicationinsights.azure.cn",
}

// mostOfInsight is how much of an answer with one number is read, in bytes.
const mostOfInsight = 1 << 20

// insight is one metric of an application.
type insight struct {
	service             *queried
	app                 string // the path of the application
	path                string
	query               url.Values
	metric, aggregation string

	// alone is until when the metric is asked for by itself, in Unix seconds, after a
	// request that it was in had no answer for it.
	alone atomic.Int64
}

func openAppInsights(ctx context.Context, p appInsightsParams) (scaler.Source, error) {
	timespan, err := p.timespan()
	if err != nil {
		return nil, err
	}
	filter, err := url.QueryUnescape(p.MetricFilter)
	if err != nil {
		return nil, scaler.Errorf(codes.InvalidArgument, "metricFilter: is not percent-encoded")
	}
	q, err := asker{
		PodIdentity: p.PodIdentity, application: principal{authority: p.Authority, tenant: p.TenantID, clientID: p.ClientID, secret: p.ClientPassword},
		cloud: p.Cloud, service: func(c cloud) lending.Service { return c.insights }, address: appInsights,
		own: p.ResourceURL, addressOf: "appInsightsResourceURL", most: mostOfInsight,
	}.queried(ctx)
	if err != nil {
		return nil, err
	}
	query := url.Values{"aggregation": {p.MetricAggregationType}, "timespan": {timespan}}
	if filter != "" {
		query.Set("filter", filter)
	}
	metric := url.URL{Path: p.MetricID} // what KEDA sends as it stands
	if unescaped, err := url.PathUnescape(p.MetricID); err == nil {
		metric = url.URL{Path: unescaped, RawPath: p.MetricID}
	}
	app := "v1/apps/" + url.PathEscape(p.ApplicationID) + "/metrics"
	s := &insight{service: q, app: app, path: app + "/" + strings.TrimPrefix(metric.EscapedPath(), "/"), query: query, metric: p.MetricID, aggregation: p.MetricAggregationType}
	if strings.Contains(p.MetricID, "%") || strings.Contains(p.MetricAggregationType, ",") {
		return s, nil // which a path spells otherwise than a list
	}
	return batchedInsight{s}, nil
}

// insightHints say what to look at after a refusal.
var insightHints = map[int]string{
	http.StatusBadRequest:   "look at metricId, metricAggregationType and metricFilter: the metric has to be there and to have them",
	http.StatusUnauthorized: "the token is not accepted: look at tenantId, cloud and the identity",
	http.StatusForbidden:    "the identity needs the role Monitoring Reader on the application",
	http.StatusNotFound:     "no such application: look at applicationInsightsId, which is the id of API Access and not the instrumentation key, and at cloud",
}

// Read asks for the metric.
func (s *insight) Read(ctx context.Context) ([]scaler.Reading, error) {
	ctx, release := client.Held(ctx)
	defer release()
	body, err := s.service.get(ctx, s.path, s.query)
	if err != nil {
		return nil, explained("metric "+s.metric, err, insightHints)
	}
	r := s.judge(ctx, body)
	return r.Readings, r.Err
}

// judge makes a result of an answer.
func (s *insight) judge(ctx context.Context, body []byte) scaler.Result {
	value, err := client.Understand(ctx, body, func(turn func() error) (float64, error) {
		return parseInsight(turn, body, s.metric, s.aggregation)
	})
	if err != nil {
		return scaler.Result{Err: explained("metric "+s.metric, err, nil)}
	}
	return scaler.Result{Readings: scaler.One(value)}
}

// parseInsight returns the number at value.<metric>.<aggregation>, keys taken as
// they stand.
//
// Source: https://learn.microsoft.com/rest/api/application-insights/metrics/get
func parseInsight(turn func() error, body []byte, metric, aggregation string) (float64, error) {
	var a struct {
		Value json.RawMessage `json:"value"`
	}
	if json.Unmarshal(body, &a) != nil {
		return 0, errNotOfAPI
	}
	values, there, isObject := memberOf(turn, a.Value, metric)
	switch {
	case !isObject:
		return 0, errNotOfAPI
	case !there:
		return 0, scaler.Errorf(codes.FailedPrecondition, "the answer has no such metric: metricId is wrong, which ignoreNullValues does not excuse, other than in KEDA")
	case isNull(values):
		return 0, errNoSample
	}
	value, there, isObject := memberOf(turn, values, aggregation)
	switch {
	case !isObject:
		return 0, scaler.Errorf(codes.Unavailable, "the metric in the answer is not an object")
	case !there:
		return 0, scaler.Errorf(codes.FailedPrecondition, "the answer has no aggregation %s of the metric: metricAggregationType is wrong, which ignoreNullValues does not excuse, other than in KEDA", aggregation)
	case isNull(value):
		return 0, errNoSample
	}
	var number float64
	if json.Unmarshal(value, &number) != nil || math.IsNaN(number) || math.IsInf(number, 0) {
		return 0, scaler.Errorf(codes.Unavailable, "the value in the answer is not a number")
	}
	return number, nil
}

// errNoSample is what null means.
var errNoSample = fmt.Errorf("null: the service saw no sample in the time span, and metrics arrive minutes late: %w", scaler.ErrNoData)

func isNull(text json.RawMessage) bool { return string(text) == "null" }

// memberOf finds a member of an object in JSON, and makes nothing of the others.
func memberOf(turn func() error, text json.RawMessage, key string) (value json.RawMessage, there, isObject bool) {
	decoder := json.NewDecoder(client.InPieces(turn, text))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil, false, false
	}
	for decoder.More() {
		name, err := decoder.Token()
		var next json.RawMessage
		if err != nil || decoder.Decode(&next) != nil {
			return nil, false, false
		}
		if name == key {
			value, there = next, true
		}
	}
	return value, there, true
}
