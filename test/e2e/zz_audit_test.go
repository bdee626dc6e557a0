package e2e

import "testing"

// TestIdentities runs last: from the API server's audit log, no process that
// we ship used a token but its own in all that happened before.
func TestIdentities(t *testing.T) {
	requests, err := world.cluster.CheckIdentities()
	if err != nil {
		t.Error(err)
	}
	for _, component := range []string{"controller", "metrics-adapter"} {
		user := "system:serviceaccount:sluice-system:" + component
		if requests[user] == 0 {
			t.Errorf("%s made no request", user)
		}
	}
}
