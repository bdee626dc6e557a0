package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// datadog scales on a metric query of Datadog, which its API evaluates, or on a
// DatadogMetric, which the Cluster Agent has at hand.
var datadog = scaler.Define("datadog", openDatadog)

// datadogParams is the metadata of a datadog trigger.
type datadogParams struct {
	scaler.Object
	apiParams
	agentParams

	// UseClusterAgentProxy asks the Cluster Agent for a DatadogMetric, which costs
	// nothing of the organisation's rate limit; else the API evaluates query.
	UseClusterAgentProxy bool `param:"useClusterAgentProxy" default:"false"`
	// TargetValue is the target.
	TargetValue *float64 `param:"targetValue" alias:"queryValue" role:"target"`
	// MetricUnavailableValue is the value while Datadog has no data, or cannot
	// compute the metric; without it, that is an error.
	MetricUnavailableValue *float64 `param:"metricUnavailableValue"`
	// Timeout bounds one request.
	Timeout time.Duration `param:"timeout"`
	// Type was the metric type: average for AverageValue, global for Value.
	Type string `param:"type" deprecated:"give the trigger metricType: AverageValue instead of average, Value instead of global" question:"false"`
	// HPAMetricName has no meaning.
	HPAMetricName string `param:"hpaMetricName" deprecated:"it is ignored" question:"false"`
}

// apiParams are for the API.
type apiParams struct {
	// Query is the metric query. It returns one series, unless queryAggregator says
	// what becomes of several.
	Query string `param:"query" long:"true"`
	// QueryAggregator makes one value of several series.
	QueryAggregator string `param:"queryAggregator" enum:"average,max"`
	// ActivationQueryValue is the activation threshold.
	ActivationQueryValue float64 `param:"activationQueryValue" default:"0" role:"activation"`
	// Age is the length of the window that is looked at.
	Age int `param:"age" default:"90" unit:"seconds"`
	// TimeWindowOffset moves the window into the past.
	TimeWindowOffset int `param:"timeWindowOffset" default:"0" unit:"seconds"`
	// LastAvailablePointOffset takes an earlier point than the last that has a
	// value, which may be a part of its interval alone.
	LastAvailablePointOffset int `param:"lastAvailablePointOffset" default:"0"`
	// APIKey is the API key.
	APIKey string `param:"apiKey" from:"auth"`
	// AppKey is the application key.
	AppKey string `param:"appKey" from:"auth"`
	// Site is the organisation's, such as datadoghq.eu.
	Site string `param:"datadogSite" from:"auth" default:"datadoghq.com"`
}

// agentParams are for the Cluster Agent.
type agentParams struct {
	// MetricName is the DatadogMetric's name.
	MetricName string `param:"datadogMetricName"`
	// MetricNamespace is the DatadogMetric's namespace.
	MetricNamespace string `param:"datadogMetricNamespace"`
	// ActivationTargetValue is the activation threshold.
	ActivationTargetValue float64 `param:"activationTargetValue" default:"0" role:"activation"`
	// AgentNamespace is where the Cluster Agent runs.
	AgentNamespace string `param:"datadogNamespace" from:"auth"`
	// AgentService is the Service of the Cluster Agent's metrics.
	AgentService string `param:"datadogMetricsService" from:"auth"`
	// AgentPort is the port of that Service.
	AgentPort int `param:"datadogMetricsServicePort" from:"auth" default:"8443"`
	// UnsafeSSL accepts any certificate of the Cluster Agent.
	UnsafeSSL bool `param:"unsafeSsl" from:"auth" default:"false"`
	// AuthMode is bearer where the Cluster Agent wants a token.
	AuthMode string `param:"authMode" from:"auth" enum:"bearer"`
	// Token is the bearer token.
	Token string `param:"token" from:"auth"`
}

// scoped is a query with a scope, which may have several lines.
var scoped = regexp.MustCompile(`(?s)\{.*\}`)

// Validate checks what a mode needs, and what is never right in both of them.
func (p datadogParams) Validate() error {
	var problems []error
	add := func(wrong bool, format string, args ...any) {
		if wrong {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	add(p.noTarget(), "targetValue: is required")
	add(p.Age < 0, "age: %d is less than 0", p.Age)
	add(p.TimeWindowOffset < 0, "timeWindowOffset: %d is less than 0", p.TimeWindowOffset)
	add(p.LastAvailablePointOffset < 0, "lastAvailablePointOffset: %d is less than 0", p.LastAvailablePointOffset)
	add(p.Query != "" && !scoped.MatchString(p.Query), "query: has no scope in braces, such as {*} or {app:shop}")
	problems = append(problems, p.checkType())
	if p.UseClusterAgentProxy {
		return errors.Join(append(problems, p.agentParams.check())...)
	}
	return errors.Join(append(problems, p.apiParams.check())...)
}

// noTarget is true without a target where one is needed; -1 is none, as in KEDA.
func (p datadogParams) noTarget() bool {
	return !p.MetricSource && (p.TargetValue == nil || *p.TargetValue == -1)
}

// checkType checks a parameter that the trigger's own metricType has replaced, as
// KEDA does. What it means for the target is the core's matter.
func (p datadogParams) checkType() error {
	given, there := p.Metadata["type"]
	if !there {
		return nil
	}
	var problems []error
	if kind := strings.ToLower(strings.TrimSpace(given)); kind != "average" && kind != "global" {
		problems = append(problems, fmt.Errorf("type: %q is not one of average, global", given))
	}
	if p.MetricTypeGiven {
		problems = append(problems, errors.New("type: is given beside metricType; remove it"))
	}
	return errors.Join(problems...)
}

// missing are errors about parameters without a value.
func missing(parameters map[string]string) []error {
	var problems []error
	for name, text := range parameters {
		if text == "" {
			problems = append(problems, fmt.Errorf("%s: is required", name))
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return problems
}

func (p apiParams) check() error {
	problems := missing(map[string]string{"query": p.Query, "apiKey": p.APIKey, "appKey": p.AppKey})
	if !isHost(p.Site) {
		problems = append(problems, errors.New("datadogSite: is not a site such as datadoghq.com: a host name without scheme, port and path"))
	}
	return errors.Join(problems...)
}

func (p agentParams) check() error {
	problems := missing(map[string]string{
		"datadogMetricName": p.MetricName, "datadogMetricNamespace": p.MetricNamespace,
		"datadogNamespace": p.AgentNamespace, "datadogMetricsService": p.AgentService,
	})
	for _, name := range []struct{ key, text string }{
		{"datadogMetricName", p.MetricName}, {"datadogMetricNamespace", p.MetricNamespace},
		{"datadogNamespace", p.AgentNamespace}, {"datadogMetricsService", p.AgentService},
	} {
		if name.text != "" && !isHost(name.text) {
			problems = append(problems, fmt.Errorf("%s: is not the name of an object", name.key))
		}
	}
	if p.AgentPort < 1 || p.AgentPort > 65535 {
		problems = append(problems, fmt.Errorf("datadogMetricsServicePort: %d is not a port", p.AgentPort))
	}
	if p.AuthMode == "bearer" && p.Token == "" {
		problems = append(problems, errors.New("token: is required with authMode bearer"))
	}
	return errors.Join(problems...)
}

// hostName is what names of hosts and objects are made of: nothing in it leads to
// another host, port or path.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*$`)

func isHost(text string) bool { return len(text) <= 253 && hostName.MatchString(text) }

// Warnings are about windows in which there may be nothing.
func (p datadogParams) Warnings() []string {
	if !p.UseClusterAgentProxy && p.Age < 60 {
		return []string{"age: is less than 60 seconds: most metrics have no point in so short a window"}
	}
	return nil
}

// ReadTimeout is the timeout, which would else end with a short interval.
func (p datadogParams) ReadTimeout() time.Duration { return p.Timeout }

// Metrics has one metric, whose threshold of activation is that of the mode. It has
// none where Validate has something to say about what it is made of.
func (p datadogParams) Metrics() []scaler.Metric {
	if p.noTarget() || !p.UseClusterAgentProxy && p.Query == "" || p.UseClusterAgentProxy && (p.MetricName == "" || p.MetricNamespace == "") {
		return nil
	}
	m := scaler.Metric{Activation: p.ActivationQueryValue}
	if p.TargetValue != nil {
		m.Target = *p.TargetValue
	}
	if p.UseClusterAgentProxy {
		m.Name, m.Activation = p.agentMetric(), p.ActivationTargetValue
		return []scaler.Metric{m}
	}
	metric, _, _ := strings.Cut(p.Query, "{")
	m.Name = scaler.MetricName("datadog-" + metric)
	return []scaler.Metric{m}
}

// agentMetric is how the Cluster Agent calls a DatadogMetric.
func (p agentParams) agentMetric() string {
	return "datadogmetric@" + p.MetricNamespace + ":" + p.MetricName
}

// openDatadog asks nothing yet: the first read does.
func openDatadog(ctx context.Context, p datadogParams) (scaler.Source, error) {
	if p.UseClusterAgentProxy {
		return p.openAgent(ctx)
	}
	return p.openAPI(ctx)
}

// filled is the reading of a value or, where there is none, of what the user wants
// it to be.
func (p datadogParams) filled(value float64, err error) ([]scaler.Reading, error) {
	var unavailable *unavailableError
	if err != nil && p.MetricUnavailableValue != nil && (errors.Is(err, scaler.ErrNoData) || errors.As(err, &unavailable)) {
		return scaler.One(*p.MetricUnavailableValue), nil
	}
	if err != nil {
		return nil, err
	}
	return scaler.One(value), nil
}

// unavailableError is a metric that Datadog has no value of, 422.
type unavailableError struct{ error }

func (e *unavailableError) Unwrap() error { return e.error }

// unavailable says so of a request.
func unavailable(err error) error {
	return &unavailableError{scaler.Errorf(codes.FailedPrecondition,
		"%w: Datadog cannot compute the metric; metricUnavailableValue would stand for it", err)}
}

// timed says how long an answer was waited for, and who did not wait longer.
func timed(ctx context.Context, err error, timeout time.Duration, began time.Time) error {
	if status.Code(err) != codes.DeadlineExceeded {
		return err
	}
	took := time.Since(began).Round(100 * time.Millisecond)
	if ctx.Err() != nil {
		return scaler.Errorf(codes.DeadlineExceeded, "%w: the deadline of the read ended after %v, before the timeout of %v", err, took, timeout)
	}
	return scaler.Errorf(codes.DeadlineExceeded, "%w: the timeout of %v ended after %v", err, timeout, took)
}

// said is what a server wrote about a failure, without what would spoil a line.
func said(text string) string {
	const most = 300
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return strings.TrimSpace(text)
}

// agentHost is where the Cluster Agent listens.
func (p agentParams) agentHost() string {
	return net.JoinHostPort(p.AgentService+"."+p.AgentNamespace, strconv.Itoa(p.AgentPort))
}

// options are those of requests in both modes.
func (p datadogParams) options(account *client.Account) client.HTTPOptions {
	return client.HTTPOptions{Timeout: p.Timeout, MaxAnswer: mostAnswer, Account: account, Throttled: throttled}
}

// mostAnswer is more than the points of a day in a hundred series.
const mostAnswer = 4 << 20
