package main

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// TestRequestBudget: an organisation is not asked more often than the flag says,
// another has a budget of its own, and the Cluster Agent likewise.
func TestRequestBudget(t *testing.T) {
	limit := func(text string) {
		t.Helper()
		flags := flag.NewFlagSet("datadog", flag.ContinueOnError)
		client.BudgetFlags(flags)
		if err := flags.Parse([]string{"--requests-per-minute=" + text}); err != nil {
			t.Fatal(err)
		}
	}
	limit("1")
	defer limit("0")
	s, other := api200(t, series("[1, 3]")), api200(t, series("[1, 4]"))
	agent := newAgent(t, "", say(200, metric(`"5"`)))
	family := scalertest.Serve(t, triggers...)
	// The family answers from what it has read a moment ago, so each of these is one
	// request.
	for i := range 3 {
		_, err := family.WithAuth(s.auth()).Observe(t.Context(), "datadog", with(query, map[string]string{"query": fmt.Sprintf("sum:m%d{*}", i), "timeout": "1s"}))
		if refused := status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "the request budget of the account, 1 a minute (--requests-per-minute), is used up"); i > 0 && !refused {
			t.Errorf("query %d: %v", i, err)
		}
	}
	if n := s.requests.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	for name, auth := range map[string]map[string]string{"another organisation": other.auth(), "the Cluster Agent": agentAt(agent.Listener.Addr().String())} {
		metadata := query
		if name == "the Cluster Agent" {
			metadata = agentMetadata
		}
		if _, err := family.WithAuth(auth).Observe(t.Context(), "datadog", with(metadata, map[string]string{"timeout": "1s"})); err != nil && status.Code(err) != codes.ResourceExhausted {
			t.Errorf("%s: %v", name, err)
		}
	}
	if other.requests.Load() != 1 || agent.requests.Load() != 1 {
		t.Errorf("another organisation was asked %d times, the Cluster Agent %d times", other.requests.Load(), agent.requests.Load())
	}
}
