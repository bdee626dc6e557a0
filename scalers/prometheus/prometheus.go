package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// prometheus scales on the result of a PromQL query: of Prometheus, of a server
// with its API such as Thanos, Mimir and VictoriaMetrics, or of the managed
// services of Azure, Google and AWS.
var prometheus = scaler.Define("prometheus", openPrometheus)

// prometheusParams is the metadata of a prometheus trigger.
type prometheusParams struct {
	scaler.Object
	client.HTTPAuthParams
	managedParams

	// ServerAddress is the base URL of the API; a path in it is kept.
	ServerAddress string `param:"serverAddress,required"`
	// Query is the PromQL to evaluate. It returns one element or none.
	Query string `param:"query,required" long:"true"`
	// Threshold is the target.
	Threshold float64 `param:"threshold,required" role:"target"`
	// ActivationThreshold is the activation threshold.
	ActivationThreshold float64 `param:"activationThreshold" default:"0" role:"activation"`
	// OfNamespace is sent as the query parameter of that name, as queriers with
	// tenants want it.
	OfNamespace string `param:"namespace"`
	// QueryParameters are further parameters of the request.
	QueryParameters map[string]string `param:"queryParameters" values:"any" secret:"true"`
	// CustomHeaders are further headers of the request, such as
	// X-Scope-OrgID=shop.
	CustomHeaders map[string]string `param:"customHeaders" values:"any" secret:"true"`
	// IgnoreNullValues reads an empty result, NaN and infinity as 0. The
	// metrics' target may as well be lost: with false they are an error, and
	// fallback holds the replicas.
	IgnoreNullValues bool `param:"ignoreNullValues" default:"true" question:"false"`
	// UnsafeSSL accepts any certificate of the server.
	UnsafeSSL bool `param:"unsafeSsl" default:"false"`
	// Timeout bounds one request.
	Timeout time.Duration `param:"timeout"`
	// CortexOrgID was the tenant.
	CortexOrgID string `param:"cortexOrgID" removed:"use customHeaders: X-Scope-OrgID=<tenant>"`
	// MetricName has no meaning any more.
	MetricName string `param:"metricName" deprecated:"it is ignored" question:"false"`
}

// Validate checks what can be checked without asking anybody.
func (p prometheusParams) Validate() error {
	_, err := p.address()
	problems := []error{err}
	switch {
	case len(p.AuthModes) == 0:
		problems = append(problems, p.check(), p.checkHeaders(p.CustomHeaders))
	case p.Provider != "" && p.Provider != "none":
		problems = append(problems, fmt.Errorf("authModes: cannot be combined with pod identity %s", p.Provider))
	}
	return errors.Join(problems...)
}

// address is the URL of the API's instant queries. Its errors never quote the
// text, which may hold a password.
func (p prometheusParams) address() (*url.URL, error) {
	base, err := url.Parse(p.ServerAddress)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, errors.New("serverAddress: is not an absolute URL of http or https")
	}
	return base.JoinPath("api/v1/query"), nil
}

// NoData is KEDA's rule: nothing to say is 0 unless the user wants to know.
func (p prometheusParams) NoData() scaler.NoDataRule {
	if p.IgnoreNullValues {
		return scaler.NoDataZero
	}
	return scaler.NoDataError
}

// ReadTimeout is the timeout, which would else end with a short interval.
func (p prometheusParams) ReadTimeout() time.Duration { return p.Timeout }

// Name does not tell queries apart, as in KEDA.
func (prometheusParams) Name() string { return "prometheus" }

// querySource evaluates one query.
type querySource struct {
	server  *server
	address *url.URL // with all parameters but the time
	headers map[string]string
}

// openPrometheus asks nothing yet: the first read does.
func openPrometheus(ctx context.Context, p prometheusParams) (scaler.Source, error) {
	address, err := p.address()
	if err != nil {
		return nil, err
	}
	host := address.Scheme + "://" + address.Host
	s, err := client.Shared(ctx, []any{host, p.HTTPAuthParams, p.managedParams, p.UnsafeSSL, p.Timeout}, func(ctx context.Context) (*server, error) {
		return p.connect(ctx, address)
	})
	if err != nil {
		return nil, err
	}
	query := address.Query()
	query.Set("query", p.Query)
	if p.OfNamespace != "" {
		query.Set("namespace", p.OfNamespace)
	}
	for name, value := range p.QueryParameters {
		query.Set(name, value)
	}
	address.RawQuery = query.Encode()
	return &querySource{server: s, address: address, headers: p.CustomHeaders}, nil
}

// Read evaluates the query at this moment.
func (s *querySource) Read(ctx context.Context) ([]scaler.Reading, error) {
	ctx, release := client.Held(ctx)
	defer release()
	request, err := s.request(ctx, time.Now())
	if err != nil {
		return nil, err
	}
	answer, err := s.server.client.Do(request)
	if err != nil {
		return nil, err
	}
	value, err := client.Understand(ctx, answer.Body, func(turn func() error) (float64, error) { return parseAnswer(turn, answer.Body) })
	if err != nil {
		return nil, err
	}
	return scaler.One(value), nil
}

// request is a GET, which every server and proxy lets through that lets KEDA's.
func (s *querySource) request(ctx context.Context, now time.Time) (*http.Request, error) {
	address := *s.address
	address.RawQuery += "&time=" + url.QueryEscape(now.UTC().Format(time.RFC3339))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, errors.New("serverAddress: is not a URL")
	}
	for name, value := range s.headers {
		if strings.EqualFold(name, "Host") {
			request.Host = value
			continue
		}
		request.Header.Set(name, value)
	}
	return request, nil
}

// server is one host as one identity. Its reads at once are limited together.
type server struct{ client *client.HTTPClient }

// connect makes a server that nobody uses yet.
func (p prometheusParams) connect(ctx context.Context, address *url.URL) (*server, error) {
	options := client.HTTPOptions{TLS: p.TLS(), UnsafeSSL: p.UnsafeSSL, Timeout: p.Timeout}
	s := &server{}
	var err error
	if len(p.AuthModes) > 0 {
		plain, plainErr := client.HTTP(ctx, options) // fetches tokens
		if plainErr != nil {
			return nil, plainErr
		}
		options.Authorize = p.Authorize(plain)
	} else if options.Authorize, options.Refused, err = p.authorize(ctx, address, p.UnsafeSSL); err != nil { //nolint:bodyclose // it returns who gets answers, and none
		return nil, err
	}
	s.client, err = client.HTTP(ctx, options)
	return s, err
}
