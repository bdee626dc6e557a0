package main

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// rabbitmq scales on the length or the rates of one queue, or of several
// queues that a regular expression selects.
var rabbitmq = scaler.Define("rabbitmq", openRabbitMQ)

// rabbitmqParams is the metadata of a rabbitmq trigger.
type rabbitmqParams struct {
	hostParams
	login
	targetParams

	// QueueName is the queue, or with useRegex a regular expression that
	// queues of the vhost match.
	QueueName string `param:"queueName,required"`
	// UseRegex makes queueName a regular expression. It needs HTTP.
	UseRegex bool `param:"useRegex" default:"false"`
	// Operation combines the queues that useRegex selects: sum, avg or max.
	Operation string `param:"operation" default:"sum"`
	// PageSize is the most queues that useRegex may select.
	PageSize int64 `param:"pageSize" default:"100" unit:"queues"`
	// Timeout bounds one request. It is for HTTP.
	Timeout time.Duration `param:"timeout"`
}

// longestName is the limit that AMQP sets to names, in bytes.
const longestName = 255

// Validate checks what parameters ask of each other.
func (p rabbitmqParams) Validate() error {
	var problems []error
	if p.PageSize < 1 {
		problems = append(problems, errors.New("pageSize: is less than 1"))
	}
	e, err := p.endpoint()
	switch {
	case err != nil:
		problems = append(problems, err)
	case e.protocol() == protocolAMQP:
		problems = append(problems, p.validateAMQP())
	}
	return errors.Join(problems...)
}

// validateAMQP refuses what the management API alone can do. With the old
// queueLength, or without any target, timeout is ignored as it always was.
func (p rabbitmqParams) validateAMQP() error {
	mode, _ := p.effective()
	explicit := p.Mode != "" && p.Value != 0
	checks := []struct {
		wrong bool
		text  string
	}{
		{p.UseRegex, "useRegex: needs protocol http"},
		{p.ExcludeUnacknowledged, "excludeUnacknowledged: needs protocol http; AMQP never counts unacknowledged messages"},
		{p.workloadIdentity(), "workloadIdentityResource: needs protocol http"},
		{p.oauth(), "oauthTokenURI: OAuth needs protocol http"},
		{explicit && mode != queueLength, "mode: " + p.Mode + " needs protocol http"},
		{explicit && p.Timeout != 0, "timeout: needs protocol http"},
		// Beyond the limit the client would end the connection, which others share.
		{len(p.QueueName) > longestName, "queueName: is longer than 255 bytes"},
	}
	var problems []error
	for _, check := range checks {
		if check.wrong {
			problems = append(problems, errors.New(check.text))
		}
	}
	return errors.Join(problems...)
}

// ReadTimeout is the timeout, which would else end with a short interval.
func (p rabbitmqParams) ReadTimeout() time.Duration { return p.Timeout }

// Metrics names the queue, or the pattern, as a URL would.
func (p rabbitmqParams) Metrics() []scaler.Metric {
	_, target := p.effective()
	return []scaler.Metric{{
		Name:       scaler.MetricName("rabbitmq", url.QueryEscape(p.QueueName)),
		Target:     target,
		Activation: p.ActivationValue,
	}}
}

// Warnings tell what may be a mistake and is none for sure.
func (p rabbitmqParams) Warnings() []string {
	e, err := p.endpoint()
	if err != nil {
		return nil
	}
	var warnings []string
	if e.base != "" && strings.HasSuffix(p.Host, "/") && p.VhostName == "" {
		warnings = append(warnings, "host: ends with a slash, so the vhost is / and what comes before the slash is the path of the management API")
	}
	if p.TLS == enable && !e.tls() {
		warnings = append(warnings, "tls: is enabled, but host begins with "+e.scheme+"://, so the connection is not encrypted")
	}
	return warnings
}

// Shape makes this trigger's numbers out of what all who share the read see.
func (p rabbitmqParams) Shape(raw []scaler.Reading) []scaler.Reading {
	shaped := make([]scaler.Reading, len(raw))
	for i, reading := range raw {
		if seen, ok := reading.Detail.(counts); ok {
			reading.Value, reading.Activity = p.measure(seen)
		}
		shaped[i] = reading
	}
	return shaped
}

// openRabbitMQ connects to nothing yet: the first read does.
func openRabbitMQ(ctx context.Context, p rabbitmqParams) (scaler.Source, error) {
	e, err := p.endpoint()
	if err != nil {
		return nil, err
	}
	if e.protocol() == protocolAMQP {
		b, err := shareBroker(ctx, e, p.login)
		if err != nil {
			return nil, err
		}
		return scaler.Join(b, &amqpSource{queue: p.QueueName}), nil
	}
	m, err := shareManagement(ctx, e, p.login, p.Timeout)
	if err != nil {
		return nil, err
	}
	if p.UseRegex {
		return &patternSource{management: m, pattern: p.QueueName, operation: p.Operation, pageSize: p.PageSize}, nil
	}
	return &queueSource{management: m, queue: p.QueueName}, nil
}
