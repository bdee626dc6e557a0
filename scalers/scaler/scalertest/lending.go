package scalertest

import (
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// LendTo makes the family's own identity good for these hosts until the test
// ends, as --identity-hosts does. Tests that use it do not run beside others.
func LendTo(t testing.TB, hosts string) {
	t.Helper()
	parsed, err := lending.ParseHosts(hosts)
	if err != nil {
		t.Fatal(err)
	}
	lending.SetHosts(parsed)
	t.Cleanup(func() { lending.SetHosts(nil) })
}

// LendOnlyTo makes it good for objects of these namespaces alone, as
// --identity-namespaces does.
func LendOnlyTo(t testing.TB, namespaces ...string) {
	lending.SetNamespaces(append([]string{}, namespaces...))
	t.Cleanup(func() { lending.SetNamespaces(nil) })
}
