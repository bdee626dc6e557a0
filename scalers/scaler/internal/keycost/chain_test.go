package keycost

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/boundtest"
)

// issued is a certificate of a server that trusts itself.
func issued(t *testing.T, alter func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(1, 0, 0), DNSNames: []string{"localhost"}}
	alter(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// many is a list of n of the same.
func many[T any](n int, one T) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = one
	}
	return all
}

// TestCertificatesThatTakeMuchMemoryAreRefused: they would be kept as long as
// the connection, with a hundred bytes for each few that came.
func TestCertificatesThatTakeMuchMemoryAreRefused(t *testing.T) {
	names := make([]string, 250)
	for i := range names {
		names[i] = fmt.Sprintf("service-%d.region.example.com", i)
	}
	policies := make([]x509.OID, 3000)
	for i := range policies {
		if err := policies[i].UnmarshalText(fmt.Appendf(nil, "1.2.%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	uri, network := &url.URL{Scheme: "a", Opaque: "b"}, &net.IPNet{IP: net.IPv4(10, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}
	tests := map[string]struct {
		alter   func(*x509.Certificate)
		refused bool
	}{
		"usual":              {func(*x509.Certificate) {}, false},
		"hundreds of names":  {func(c *x509.Certificate) { c.DNSNames = names }, false},
		"names":              {func(c *x509.Certificate) { c.DNSNames = many(6000, "a") }, true},
		"URIs":               {func(c *x509.Certificate) { c.URIs = many(3000, uri) }, true},
		"addresses":          {func(c *x509.Certificate) { c.IPAddresses = many(3000, net.IPv4(10, 0, 0, 1)) }, true},
		"networks":           {func(c *x509.Certificate) { c.PermittedIPRanges = many(1500, network) }, true},
		"a subject in parts": {func(c *x509.Certificate) { c.Subject = pkix.Name{OrganizationalUnit: many(1000, "a")} }, true},
		"policies":           {func(c *x509.Certificate) { c.Policies = policies }, true},
		"much of anything": {func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, longestChain)}}
		}, true},
	}
	for name, tt := range tests {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(fmt.Sprint(name, "/", tls.VersionName(version)), func(t *testing.T) {
				server := &tls.Config{Certificates: []tls.Certificate{issued(t, tt.alter)}, MaxVersion: version} //nolint:gosec // both are in use
				address := boundtest.Listen(t, func(c net.Conn) {
					_ = tls.Server(c, server).HandshakeContext(t.Context()) // the client tells
				})
				ours, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer ours.Close()
				asked := false
				config := &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { //nolint:gosec // of a test
					asked = true
					return nil
				}}
				BoundServers(config)
				err = tls.Client(ours, config).HandshakeContext(t.Context())
				if errors.Is(err, ErrChain) != tt.refused || asked == tt.refused || err != nil && !tt.refused {
					t.Errorf("error = %v, and what the configuration had was asked: %v", err, asked)
				}
			})
		}
	}
}
