package client

import (
	"net/http"
	"strconv"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/metrics"
)

// counted counts the requests that are made while a metric is read.
type counted struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (c counted) RoundTrip(request *http.Request) (*http.Response, error) {
	began := time.Now()
	response, err := c.RoundTripper.RoundTrip(request)
	code := "error"
	if err == nil {
		code = strconv.Itoa(response.StatusCode)
	}
	metrics.CountRequest(request.Context(), code, time.Since(began))
	return response, err
}
