package main

import (
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// cases are the contract's.
var cases = scalertest.Cases{}

func TestContract(t *testing.T) { cases.Contract(t, triggers) }

// The API's address is that of a site, which is for the authentication: in its case
// nobody is dead or stalls, which TestNetwork of it makes up for.
var _ = cases.Add("datadog", func(t testing.TB) scalertest.Case {
	s := api200(t, series("[1, 3], [2, null]"))
	return scalertest.Case{Metadata: query, Value: 3, Auth: s.auth()}
})
