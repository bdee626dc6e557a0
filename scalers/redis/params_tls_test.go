package main

import "testing"

// TestCertificatesWithoutTLS: what would belong to TLS is no mistake where it is
// off.
func TestCertificatesWithoutTLS(t *testing.T) {
	p := connectionParams{Address: []string{"redis:6379"}}
	p.Cert = "PEM"
	if err := p.Validate(); err != nil {
		t.Errorf("a certificate that is not used is refused: %v", err)
	}
	p.TLS = "enable"
	if err := p.Validate(); err == nil || err.Error() != "key: is required with cert" {
		t.Errorf("with TLS: %v", err)
	}
}
