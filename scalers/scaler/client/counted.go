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
	code := failed
	if err == nil {
		code = codeOf(response.StatusCode)
	}
	metrics.CountRequest(request.Context(), code, time.Since(began))
	return response, err
}

// failed is the code of a request without an answer, or with one that is none of
// HTTP's.
const failed = "error"

// codeOf is the label of a status. A server may answer with any number: one that
// nobody knows counts as the first of its class, as HTTP has clients take it.
func codeOf(status int) string {
	switch {
	case status < 100 || status > 599:
		return failed
	case http.StatusText(status) == "":
		status -= status % 100
	}
	return strconv.Itoa(status)
}
