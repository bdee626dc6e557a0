package scaler

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// requestsKey is where the context of a read says who counts its requests.
type requestsKey struct{}

// requests counts the HTTP requests of reads of one trigger type.
type requests struct {
	metrics     *metrics
	triggerType string
}

// counting returns the context of a read whose HTTP requests are counted.
func (m *metrics) counting(ctx context.Context, triggerType string) context.Context {
	return context.WithValue(ctx, requestsKey{}, requests{m, triggerType})
}

// counted counts the requests that are made while a metric is read.
type counted struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (c counted) RoundTrip(request *http.Request) (*http.Response, error) {
	began := time.Now()
	response, err := c.RoundTripper.RoundTrip(request)
	if r, ok := request.Context().Value(requestsKey{}).(requests); ok {
		code := "error"
		if err == nil {
			code = strconv.Itoa(response.StatusCode)
		}
		r.metrics.requests.WithLabelValues(r.triggerType, code).Inc()
		r.metrics.requestDuration.WithLabelValues(r.triggerType, code).Observe(time.Since(began).Seconds())
	}
	return response, err
}
