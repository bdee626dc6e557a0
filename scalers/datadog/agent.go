package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/document"
)

// agent is a Cluster Agent as one identity. What it writes with a refusal is for
// the user, so that its answers are read here.
type agent struct {
	client  *http.Client
	account *client.Account
	timeout time.Duration
}

// agentSource asks for one DatadogMetric.
type agentSource struct {
	agent   *agent
	address string
	datadogParams
}

func (p datadogParams) openAgent(ctx context.Context) (scaler.Source, error) {
	a, err := client.Shared(ctx, []any{p.agentHost(), p.UnsafeSSL, p.AuthMode, p.Token, p.Timeout}, p.connectAgent)
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("https://%s/apis/external.metrics.k8s.io/v1beta1/namespaces/%s/%s",
		p.agentHost(), url.PathEscape(p.MetricNamespace), url.PathEscape(p.agentMetric()))
	return &agentSource{agent: a, address: address, datadogParams: p}, nil
}

func (p datadogParams) connectAgent(ctx context.Context) (*agent, error) {
	account, err := client.AccountOf(ctx, []any{"cluster agent", p.agentHost(), p.Token})
	if err != nil {
		return nil, err
	}
	options := p.options(account)
	options.UnsafeSSL = p.UnsafeSSL
	if p.AuthMode == "bearer" {
		options.Authorize = func(request *http.Request) error {
			request.Header.Set("Authorization", "Bearer "+p.Token)
			return nil
		}
	}
	plain, err := client.HTTP(ctx, options)
	if err != nil {
		return nil, err
	}
	options.Timeout = plain.Timeout() // the process's where the trigger has none
	c, err := client.HTTPForLibrary(ctx, options)
	return &agent{client: c, account: account, timeout: options.Timeout}, err
}

// Read asks for the metric's value.
func (s *agentSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	ctx, release := client.Held(ctx)
	defer release()
	ctx, turn := client.InTurn(ctx) // that of the answer, until it is closed
	defer turn.Rest()
	return s.filled(s.value(ctx))
}

func (s *agentSource) value(ctx context.Context) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.address, nil)
	if err != nil {
		return 0, errors.New("datadogMetricsService: is not a host name")
	}
	request.Header.Set("Accept", "application/json")
	began := time.Now()
	response, err := s.agent.client.Do(request)
	if err != nil {
		return 0, timed(ctx, s.unanswered(err), s.agent.timeout, began)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body) // whole already, and bounded
	if err != nil {
		return 0, s.unanswered(err)
	}
	if response.StatusCode != http.StatusOK {
		return 0, s.refused(response, body)
	}
	return client.Understand(ctx, body, func(turn func() error) (float64, error) { return metricValue(turn, body) })
}

// name is what errors begin with. Where the Cluster Agent is comes from the
// authentication, which no error tells.
func (s *agentSource) name() string {
	return "DatadogMetric " + s.MetricNamespace + "/" + s.MetricName
}

// unanswered is the error of a request without an answer.
func (s *agentSource) unanswered(err error) error {
	var notMade *client.AccountError
	if errors.As(err, &notMade) {
		return scaler.Errorf(codes.ResourceExhausted, "%s: %w", s.name(), notMade)
	}
	code, text := client.Unanswered(err)
	return scaler.Errorf(code, "%s: %w", s.name(), scaler.Because(code, text, err))
}

// refused is the error of an answer other than 200, with what the agent says.
func (s *agentSource) refused(response *http.Response, body []byte) error {
	var failed struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &failed) // another's page has none
	var err error = &client.HTTPError{Request: s.name(), Status: response.StatusCode}
	if t := throttled(response.StatusCode, response.Header); t != nil {
		err = scaler.Errorf(codes.ResourceExhausted, "%s: %w", s.name(), s.agent.account.Throttled(t.Pause, t.Said))
	}
	code := status.Code(err)
	if message := said(failed.Message); message != "" {
		err = scaler.Errorf(code, "%w: the Cluster Agent says: %s", err, message)
	}
	switch response.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return scaler.Errorf(code, "%w: check authMode, token and what it may read", err)
	case http.StatusUnprocessableEntity:
		return unavailable(err)
	default:
		return err
	}
}

// errNotMetric is an answer that is none of the API for external metrics.
var errNotMetric = scaler.Errorf(codes.Unavailable, "the answer is not one of the Cluster Agent's external metrics")

// metricValue is the value of the first item: a number, or a quantity as text.
func metricValue(turn func() error, body []byte) (float64, error) {
	var answer struct {
		Items json.RawMessage `json:"items"` // may be null
	}
	if json.Unmarshal(body, &answer) != nil || answer.Items == nil {
		return 0, errNotMetric
	}
	var found items
	if client.EachElement(turn, answer.Items, item{}, found.add) != nil {
		return 0, errNotMetric
	}
	if found.count == 0 {
		return 0, fmt.Errorf("no metrics returned: %w", scaler.ErrNoData)
	}
	raw := found.first
	if raw == nil || string(raw) == "null" {
		return 0, fmt.Errorf("the metric has no value: %w", scaler.ErrNoData)
	}
	var number float64
	if json.Unmarshal(raw, &number) == nil {
		return number, nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if number, err := document.Quantity(text); err == nil {
			return number, nil
		}
	}
	return 0, scaler.Errorf(codes.FailedPrecondition, "the value of the metric is not a number or a quantity")
}

// items is the value of the first of several.
type items struct {
	count int
	first json.RawMessage
}

// item is one of them.
type item struct {
	Value json.RawMessage `json:"value"`
}

// add takes in one item.
func (i *items) add(one item) {
	if i.count == 0 {
		i.first = one.Value
	}
	i.count++
}
