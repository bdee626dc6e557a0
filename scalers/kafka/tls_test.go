package main

import "testing"

// TestCertificatesWithoutTLS: what would belong to TLS is no mistake where it is
// off.
func TestCertificatesWithoutTLS(t *testing.T) {
	one, other := kafkaLogin{TLS: "disable"}, apacheLogin{TLS: "disable"}
	one.Cert, other.Cert = "PEM", "PEM"
	for _, rules := range []interface{ Validate() error }{one, other} {
		if err := rules.Validate(); err != nil {
			t.Errorf("a certificate that is not used is refused: %v", err)
		}
	}
	one.TLS, other.TLS = enable, enable
	for _, rules := range []interface{ Validate() error }{one, other} {
		if err := rules.Validate(); err == nil || err.Error() != "key: is required with cert" {
			t.Errorf("with TLS: %v", err)
		}
	}
}
