package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// azureMonitor scales on a platform metric of one resource, as Azure Monitor has
// it.
var azureMonitor = scaler.Define("azure-monitor", openMonitor)

// monitorParams is the metadata of an azure-monitor trigger.
type monitorParams struct {
	identityParams

	// ResourceURI is the resource, as providerNamespace/resourceType/resourceName,
	// such as Microsoft.ServiceBus/namespaces/shop.
	ResourceURI string `param:"resourceURI,required"`
	// TenantID is the tenant of the application that asks.
	TenantID string `param:"tenantId,required"`
	// SubscriptionID is the subscription that the resource is in.
	SubscriptionID string `param:"subscriptionId,required"`
	// ResourceGroupName is the resource group that the resource is in.
	ResourceGroupName string `param:"resourceGroupName,required"`
	// MetricName is the metric, under the name that the API has for it.
	MetricName string `param:"metricName,required"`
	// MetricAggregationType is how values of a time grain become one.
	MetricAggregationType string `param:"metricAggregationType,required" enum:"Average,Count,Maximum,Minimum,None,Total"`
	// TargetValue is the target, in the unit of the metric.
	TargetValue float64 `param:"targetValue" role:"target"`
	// ActivationTargetValue is the activation threshold.
	ActivationTargetValue float64 `param:"activationTargetValue" default:"0" role:"activation"`
	// MetricNamespace is that of the metric, for a resource whose metrics are in
	// several.
	MetricNamespace string `param:"metricNamespace"`
	// MetricFilter is a filter by dimensions, such as EntityName eq 'orders'.
	MetricFilter string `param:"metricFilter" long:"true"`
	// MetricAggregationInterval is the length of the time that is looked at, as
	// hh:mm:ss. The grain of its values is the service's own.
	MetricAggregationInterval string `param:"metricAggregationInterval" default:"00:05:00"`
	// ClientID is the application that asks, where there is no pod identity.
	ClientID string `param:"activeDirectoryClientId" from:"trigger,env,auth"`
	// ClientPassword is a secret of that application.
	ClientPassword string `param:"activeDirectoryClientPassword" from:"trigger,env,auth" secret:"true"`
	// Cloud is the cloud of Azure: AzurePublicCloud, AzureUSGovernmentCloud,
	// AzureChinaCloud, or Private, whose addresses the trigger gives.
	Cloud string `param:"cloud" default:"AzurePublicCloud"`
	// ResourceManager is the address of the Resource Manager of cloud Private,
	// which needs it. Tokens are for it.
	ResourceManager string `param:"azureResourceManagerEndpoint"`
	// Authority is the address of Entra of cloud Private; the family's own when
	// absent.
	Authority string `param:"activeDirectoryEndpoint" from:"trigger,auth" together:"activeDirectoryClientPassword"`
}

// Validate checks what can be checked without asking anybody.
func (p monitorParams) Validate() error {
	_, err := p.resource()
	_, spanErr := p.span()
	return errors.Join(err, spanErr,
		checkAddresses(p.Cloud, monitorClouds, given{"azureResourceManagerEndpoint", p.ResourceManager}, given{"activeDirectoryEndpoint", p.Authority}, false),
		checkLogin(p.identityParams, given{"tenantId", p.TenantID}, given{"activeDirectoryClientId", p.ClientID}, given{"activeDirectoryClientPassword", p.ClientPassword}),
	)
}

// Warnings tell of what Azure Monitor has never a value for.
func (p monitorParams) Warnings() []string {
	var warnings []string
	if p.MetricAggregationType == "None" {
		warnings = append(warnings, "metricAggregationType: with None no value has an aggregation, so that every reading fails: choose Average, Count, Maximum, Minimum or Total")
	}
	if span, err := p.span(); err == nil && span == 0 {
		warnings = append(warnings, "metricAggregationInterval: is 0, so there is no time to look at")
	}
	return warnings
}

// Name does not tell resources apart, as in KEDA.
func (p monitorParams) Name() string { return scaler.MetricName("azure-monitor", p.MetricName) }

// resource is the path of the resource, escaped.
func (p monitorParams) resource() (string, error) {
	parts := strings.Split(p.ResourceURI, "/")
	var problems []error
	if len(parts) != 3 || slices.Contains(parts, "") {
		problems = append(problems, fmt.Errorf("resourceURI: %q is not of the form providerNamespace/resourceType/resourceName", p.ResourceURI))
	}
	for _, one := range []given{{"subscriptionId", p.SubscriptionID}, {"resourceGroupName", p.ResourceGroupName}} {
		if isDots(one.value) || strings.Contains(one.value, "/") {
			problems = append(problems, fmt.Errorf("%s: %q is not a name", one.name, one.value))
		}
	}
	if slices.ContainsFunc(parts, isDots) {
		problems = append(problems, fmt.Errorf("resourceURI: %q is not of the form providerNamespace/resourceType/resourceName", p.ResourceURI))
	}
	if err := errors.Join(problems...); err != nil {
		return "", err
	}
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return "subscriptions/" + url.PathEscape(p.SubscriptionID) + "/resourceGroups/" + url.PathEscape(p.ResourceGroupName) + "/providers/" + strings.Join(parts, "/"), nil
}

// isDots reports whether a segment of a path would lead elsewhere.
func isDots(segment string) bool { return segment == "." || segment == ".." }

// leadsElsewhere reports whether a segment of a path, which may be escaped, is one
// of dots where somebody unescapes it.
func leadsElsewhere(segment string) bool {
	plain, err := url.PathUnescape(segment)
	return err != nil || slices.ContainsFunc(strings.Split(plain, "/"), isDots)
}

// span is metricAggregationInterval.
func (p monitorParams) span() (time.Duration, error) {
	parts := strings.Split(p.MetricAggregationInterval, ":")
	wrong := fmt.Errorf("metricAggregationInterval: %q is not of the form hh:mm:ss", p.MetricAggregationInterval)
	if len(parts) != 3 {
		return 0, wrong
	}
	var span time.Duration
	for i, unit := range []time.Duration{time.Hour, time.Minute, time.Second} {
		n, err := strconv.ParseUint(parts[i], 10, 16)
		if err != nil {
			return 0, wrong
		}
		span += time.Duration(n) * unit
	}
	return span, nil
}

// mostOfMetrics is how much of an answer of Azure Monitor is read, in bytes: an hour
// of twenty metrics has a twentieth of it, and a month of one fits in.
const mostOfMetrics = 4 << 20

// resourceManagers are the addresses of Azure Resource Manager.
var resourceManagers = map[lending.Service]string{
	lending.AzureResourceManager:             "https://management.azure.com",
	lending.AzureResourceManagerUSGovernment: "https://management.usgovcloudapi.net",
	lending.AzureResourceManagerChina:        "https://management.chinacloudapi.cn",
}

func openMonitor(ctx context.Context, p monitorParams) (scaler.Source, error) {
	span, err := p.span()
	if err != nil {
		return nil, err
	}
	resource, err := p.resource()
	if err != nil {
		return nil, err
	}
	q, err := asker{
		PodIdentity: p.PodIdentity, application: principal{authority: p.Authority, tenant: p.TenantID, clientID: p.ClientID, secret: p.ClientPassword},
		cloud: p.Cloud, service: func(c cloud) lending.Service { return c.resourceManager }, address: resourceManagers,
		own: p.ResourceManager, addressOf: "azureResourceManagerEndpoint",
		counted: "subscription " + strings.ToLower(p.SubscriptionID), throttled: throttledReads, most: mostOfMetrics,
	}.queried(ctx)
	if err != nil {
		return nil, err
	}
	s := &metricSource{metric: p.MetricName, of: metricsOf{
		queried: q, resource: resource, namespace: p.MetricNamespace, filter: p.MetricFilter, aggregation: p.MetricAggregationType, span: span,
	}}
	if p.MetricFilter != "" || span > longestTogether || strings.ContainsAny(p.MetricName, ",%") {
		return s, nil
	}
	return batchedMetric{s}, nil
}

// throttledReads is what Resource Manager says of requests that are too many, or
// would be from now on: some become possible again within a second.
//
// Source: https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
func throttledReads(answered int, header http.Header) *client.Throttling {
	if answered < 300 && header.Get("X-Ms-Ratelimit-Remaining-Subscription-Reads") == "0" {
		return &client.Throttling{Pause: time.Second, Said: "none of the reads that a subscription may make are left"}
	}
	return client.ThrottledHTTP(answered, header)
}

// metricsOf is what metrics that one request can ask for have in common.
type metricsOf struct {
	*queried

	resource, namespace, filter, aggregation string
	span                                     time.Duration
}

const (
	// metricsAtOnce is how many metrics one request may ask for.
	metricsAtOnce = 20
	// longestTogether bounds the time of metrics that are asked for together: a
	// longer one has many values.
	longestTogether = time.Hour
	// requestsAtOnce is how many requests of one batch are under way together.
	requestsAtOnce = 4
)

// metricSource reads one metric.
type metricSource struct {
	metric string
	of     metricsOf

	// refused is true after Azure Monitor found a request wrong that the metric was
	// in. It is asked for by itself until that changes.
	refused atomic.Bool
}

// what names the source in errors.
func (s *metricSource) what() string { return "metric " + s.metric }

// Read returns the newest value.
func (s *metricSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	found, err := s.of.ask(ctx, s.metric)
	s.refused.Store(isRefusal(err))
	if err != nil {
		return nil, explained(s.what(), err, monitorHints)
	}
	if found.count != 1 {
		return nil, scaler.Errorf(codes.FailedPrecondition, "%s: the answer has %d metrics, want one: metricName is the name of one metric, whose commas are written %%2", s.what(), found.count)
	}
	return s.judge(&found.first[0])
}

// judge makes a reading of a metric's values.
func (s *metricSource) judge(m *metricValues) ([]scaler.Reading, error) {
	value := m.Series.newest.of(s.of.aggregation)
	switch {
	case m.ErrorCode != "" && !strings.EqualFold(m.ErrorCode, "Success"):
		return nil, scaler.Errorf(codes.Unavailable, "%s: Azure Monitor reports an error in the place of values", s.what())
	case m.Series.count == 0:
		return nil, fmt.Errorf("%s: no time series: nothing was measured in the last %v, or nothing fits metricFilter: %w", s.what(), s.of.span, scaler.ErrNoData)
	case m.Series.points == 0:
		return nil, fmt.Errorf("%s: no data points in the last %v: %w", s.what(), s.of.span, scaler.ErrNoData)
	case value == nil:
		return nil, fmt.Errorf("%s: unsupported aggregation type: none of the %d data points in the last %v has %s, so the metric has no such aggregation or nothing was measured yet: %w",
			s.what(), m.Series.points, s.of.span, s.of.aggregation, scaler.ErrNoData)
	}
	return scaler.One(*value), nil
}

// monitorHints say what to look at after a refusal.
var monitorHints = map[int]string{
	http.StatusBadRequest:   "look at metricName, metricNamespace, metricAggregationType and metricFilter: the resource has to have them",
	http.StatusUnauthorized: "the token is not accepted: look at tenantId, cloud and the identity",
	http.StatusForbidden:    "the identity needs the role Monitoring Reader on the resource",
	http.StatusNotFound:     "no such resource: look at subscriptionId, resourceGroupName and resourceURI",
}

// isRefusal reports whether a request was found wrong.
func isRefusal(err error) bool {
	var refused *client.HTTPError
	return errors.As(err, &refused) && refused.Status == http.StatusBadRequest
}

// ask asks for metrics by their names.
func (m metricsOf) ask(ctx context.Context, names ...string) (*metricsAnswer, error) {
	ctx, release := client.Held(ctx)
	defer release()
	now := time.Now().UTC()
	query := url.Values{
		"api-version": {"2018-01-01"}, "metricnames": {strings.Join(names, ",")}, "aggregation": {m.aggregation},
		"timespan": {now.Add(-m.span).Format(time.RFC3339) + "/" + now.Format(time.RFC3339)},
	}
	if m.namespace != "" {
		query.Set("metricnamespace", m.namespace)
	}
	if m.filter != "" {
		query.Set("$filter", m.filter)
	}
	body, err := m.get(ctx, m.resource+"/providers/Microsoft.Insights/metrics", query)
	if err != nil {
		return nil, err
	}
	return client.Understand(ctx, body, func(turn func() error) (*metricsAnswer, error) { return parseMetrics(turn, body) })
}

// batchedMetric is a source that can be read together with others of its
// resource.
type batchedMetric struct{ *metricSource }

// Batch implements scaler.Batched.
func (s batchedMetric) Batch() scaler.Batch { return metricsBatch{s.of} }

// metricsBatch reads many metrics of one resource.
type metricsBatch struct{ metricsOf }

// ReadBatch asks for as many metrics at once as one request may ask for, and by
// itself for each that was refused.
func (b metricsBatch) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	var together, alone []member
	byName := map[string]int{} // where a metric is in together: case makes no other of it
	for i, source := range sources {
		s := source.(batchedMetric).metricSource
		at, known := byName[strings.ToLower(s.metric)]
		switch {
		case s.refused.Load():
			alone = append(alone, member{s, []int{i}})
		case known:
			together[at].places = append(together[at].places, i)
		default:
			byName[strings.ToLower(s.metric)] = len(together)
			together = append(together, member{s, []int{i}})
		}
	}
	scaler.InTurns(ctx, alone, func(m member) []int { return m.places })
	asking := scaler.NewGroup(requestsAtOnce)
	start := func(members []member) {
		asking.Go("reading "+members[0].what(), func() { b.readMembers(ctx, members, answer) })
	}
	for members := range slices.Chunk(together, metricsAtOnce) {
		start(members)
	}
	// Those that are asked for alone are wrong, and may be many: they are not to
	// keep others waiting.
	for i := range alone {
		start(alone[i : i+1])
	}
	return asking.Wait()
}

// member is a metric of a batch, and where in the batch it is.
type member struct {
	*metricSource

	places []int
}

// readMembers asks for all members in one request. One that Azure Monitor finds
// wrong fails the whole of it, so what is wrong is found by halves.
func (b metricsBatch) readMembers(ctx context.Context, members []member, answer func(int, scaler.Result)) {
	tell := func(m member, readings []scaler.Reading, err error) {
		for _, place := range m.places {
			answer(place, scaler.Result{Readings: readings, Err: err})
		}
	}
	var names []string
	var places []int
	for _, m := range members {
		names, places = append(names, m.metric), append(places, m.places...)
	}
	own := scaler.ForMembers(ctx, places...)
	if len(members) == 1 {
		readings, err := members[0].Read(own)
		tell(members[0], readings, err)
		return
	}
	found, err := b.ask(own, names...)
	if isRefusal(err) {
		b.readMembers(ctx, members[:len(members)/2], answer)
		b.readMembers(ctx, members[len(members)/2:], answer)
		return
	}
	for _, m := range members {
		if err != nil {
			tell(m, nil, explained(m.what(), err, monitorHints))
			continue
		}
		if values := found.named(m.metric); values != nil {
			readings, err := m.judge(values)
			tell(m, readings, err)
		} else {
			b.readMembers(ctx, []member{m}, answer)
		}
	}
}
