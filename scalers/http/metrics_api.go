package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/document"
)

// metricsAPI scales on a number in the answer of an HTTP server, or of all Pods
// behind a Service together.
var metricsAPI = scaler.Define("metrics-api", openMetricsAPI)

// metricsAPIParams is the metadata of a metrics-api trigger.
type metricsAPIParams struct {
	scaler.Object
	client.HTTPAuthParams

	// URL is what to GET.
	URL string `param:"url,required"`
	// ValueLocation is where in the answer the number stands. In json it is a
	// path such as jobs.0.waiting, jobs.# (how many there are),
	// jobs.#(name=="a").waiting (of the first that fits) or
	// jobs.#(state=="new")#|# (how many fit): GJSON's syntax with keys, * and ?,
	// #, queries, pipes, .. for lines and the modifiers @this, @keys, @values and
	// @flatten, in up to 32 steps and 512 bytes. In yaml and xml it is keys and
	// list positions with dots between them, in prometheus a metric with labels.
	ValueLocation string `param:"valueLocation,required"`
	// Format is the format of the answer.
	Format string `param:"format" default:"json" enum:"json,yaml,xml,prometheus"`
	// MaxDocumentBytes is how large an answer of yaml, xml or prometheus may be,
	// at most 4194304. One of json may have 16 MiB.
	MaxDocumentBytes int64 `param:"maxDocumentBytes" default:"1048576" unit:"bytes"`
	// TargetValue is the target.
	TargetValue float64 `param:"targetValue" role:"target"`
	// ActivationTargetValue is the activation threshold.
	ActivationTargetValue float64 `param:"activationTargetValue" default:"0" role:"activation"`
	// UnsafeSSL accepts any certificate of the server.
	UnsafeSSL bool `param:"unsafeSsl" default:"false"`
	// Timeout bounds one request.
	Timeout time.Duration `param:"timeout"`
	// Aggregate asks every Pod behind the Service that url names, as
	// service.namespace, instead of one of them.
	Aggregate bool `param:"aggregateFromKubeServiceEndpoints" default:"false"`
	// AggregationType makes one number of those of the Pods.
	AggregationType string `param:"aggregationType" default:"average" enum:"average,sum,max,min"`
}

// Validate checks what can be checked without asking anybody.
func (p metricsAPIParams) Validate() error {
	var problems []error
	if p.TargetValue <= 0 && !p.MetricSource {
		problems = append(problems, errors.New("targetValue: must be a positive number"))
	}
	address, err := parseURL(p.URL)
	switch {
	case err != nil:
		problems = append(problems, err)
	case p.Aggregate:
		_, err := serviceOf(address)
		problems = append(problems, err)
	}
	if _, err := document.ParsePlace(p.Format, p.ValueLocation); err != nil {
		problems = append(problems, fmt.Errorf("valueLocation: %w", err))
	}
	if p.MaxDocumentBytes < 1 || p.MaxDocumentBytes > document.MostBytes {
		problems = append(problems, fmt.Errorf("maxDocumentBytes: %d is not from 1 to %d", p.MaxDocumentBytes, document.MostBytes))
	}
	return errors.Join(problems...)
}

// parseURL never quotes the text: it may hold a password.
func parseURL(text string) (*url.URL, error) {
	address, err := url.Parse(text)
	if err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https" {
		return nil, errors.New("url: is not an absolute URL of http or https")
	}
	return address, nil
}

// Warnings names what is read in another way than it is written.
func (p metricsAPIParams) Warnings() []string {
	if p.Format != "prometheus" {
		return nil
	}
	selector, err := document.ParseSelector(p.ValueLocation)
	if err != nil {
		return nil
	}
	var warnings []string
	for _, matcher := range selector.Inexact {
		warnings = append(warnings, "valueLocation: "+matcher+" is read as equality")
	}
	return warnings
}

// ReadTimeout is the timeout, which would else end with a short interval.
func (p metricsAPIParams) ReadTimeout() time.Duration { return p.Timeout }

// Name is that of the place in the answer, not of the server.
func (p metricsAPIParams) Name() string { return scaler.MetricName("metric-api", p.ValueLocation) }

// apiSource reads one number of a page.
type apiSource struct {
	scaler.Member
	place   document.Place
	most    int64 // bytes of an answer
	combine func(*tally) float64
	looking atomic.Int64 // how long it looked the last time; 0 while that is not known
}

// neverLooked is what a place that was never looked for is taken to take: more
// than most.
const neverLooked = 10 * time.Millisecond

// took is how long the source looked for its place the last time.
func (s *apiSource) took() int64 { return cmp.Or(s.looking.Load(), int64(neverLooked)) }

func openMetricsAPI(ctx context.Context, p metricsAPIParams) (scaler.Source, error) {
	place, err := document.ParsePlace(p.Format, p.ValueLocation)
	if err != nil {
		return nil, fmt.Errorf("valueLocation: %w", err)
	}
	page, err := sharePage(ctx, p)
	if err != nil {
		return nil, err
	}
	return scaler.Join(page, &apiSource{place: place, most: p.MaxDocumentBytes, combine: combinations[p.AggregationType]}), nil
}

// find looks for the source's number in an answer. One that is no number says
// nothing.
func (s *apiSource) find(ctx context.Context, a *answer) (float64, error) {
	number, err := s.number(ctx, a)
	if err == nil && (math.IsNaN(number) || math.IsInf(number, 0)) {
		err = scaler.ErrNoData
	}
	if err != nil && a.err == nil {
		err = fmt.Errorf("the answer: %w", err)
	}
	return number, err
}

func (s *apiSource) number(ctx context.Context, a *answer) (float64, error) {
	parsed, err := a.within(s.most)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	value, err := parsed.Find(ctx, s.place)
	s.looking.Store(max(int64(time.Since(began)), 1))
	if err != nil {
		return 0, err
	}
	return value.Number()
}
