package main

import (
	"context"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers/gcloud"
)

func TestMain(m *testing.M) {
	// The machine's own identity and settings have no part in tests.
	for _, name := range []string{"GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CORE_PROJECT", "GCE_METADATA_HOST", "SPANNER_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"} {
		os.Unsetenv(name)
	}
	os.Setenv("HOME", os.DevNull) // no application default credentials
	outbound.Allow(outbound.Loopback...)
	// What fake-gcs-server links starts it, for good.
	goleak.VerifyTestMain(scalertest.Beside(m), goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// reader is the account of the tests.
const reader = "reader@shop.iam.gserviceaccount.com"

// cloud is Google as far as a test needs it.
type cloud struct {
	*gcloud.Monitoring

	issuer *gcloud.Issuer
	key    string // of reader, whose project is shop
}

// newCloud starts one that ends with the test, and has the family ask it. Tests
// that use it do not run beside others.
func newCloud(t testing.TB) *cloud {
	t.Helper()
	issuer, err := gcloud.StartIssuer("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = issuer.Close() })
	m, err := gcloud.StartMonitoring("127.0.0.1", issuer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	c := &cloud{Monitoring: m, issuer: issuer}
	if c.key, err = issuer.Key(reader, "shop"); err != nil {
		t.Fatal(err)
	}
	scalertest.LendTo(t, "127.0.0.1")
	askAt(t, &monitoringAt, m.Address())
	return c
}

// askAt has the family ask a service at an address until the test ends.
func askAt(t testing.TB, service *endpoint, address string) {
	t.Helper()
	before := *service
	t.Cleanup(func() { *service = before })
	if err := service.set("http://" + address); err != nil {
		t.Fatal(err)
	}
}

// auth are the parameters of who asks with the key of reader.
func (c *cloud) auth() map[string]string {
	return map[string]string{"GoogleApplicationCredentials": c.key}
}

// opener opens sources with the key of reader that share what they can. They end
// with the test.
func (c *cloud) opener(t testing.TB) func(s subject) scaler.Source {
	t.Helper()
	opening, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	return func(s subject) scaler.Source {
		t.Helper()
		f := scalertest.Family{}
		bound, err := s.Bind(f.Ref(s.Type, s.metadata), &scaler.Credentials{Parameters: c.auth()})
		if err != nil {
			t.Fatal(err)
		}
		source, err := bound.Open(opening)
		if err != nil {
			t.Fatal(err)
		}
		return source
	}
}

// within bounds what is expected to happen soon.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
