package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// both has gRPC find servers at these addresses, whatever their name.
func both(addresses ...string) grpc.DialOption {
	r := manual.NewBuilderWithScheme("dns")
	var state resolver.State
	for _, address := range addresses {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: address})
	}
	r.InitialState(state)
	return grpc.WithResolvers(r)
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	var der []byte
	der, a.key = sign(t, template, nil)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

// issue returns the PEM certificate and key of name, good for 127.0.0.1.
func (a *authority) issue(t *testing.T, name string) (cert, key string) {
	t.Helper()
	der, private := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, a)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

func sign(t *testing.T, template *x509.Certificate, by *authority) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

// mutual is the configuration of a server that asks for certificates of a.
func (a *authority) mutual(t *testing.T, ask tls.ClientAuthType) *tls.Config {
	t.Helper()
	cert, key := a.issue(t, "server")
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: ask, MinVersion: tls.VersionTLS12}
}

func TestTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	cert, key := ours.issue(t, "client")
	foreignCert, foreignKey := theirs.issue(t, "client")
	tests := map[string]struct {
		plaintext bool // the server
		ask       tls.ClientAuthType
		metadata  map[string]string
		auth      map[string]string
		message   string // within the error
	}{
		"a CA turns TLS on":             {auth: map[string]string{"caCert": ours.pem}},
		"a CA and a client certificate": {ask: tls.RequireAndVerifyClientCert, auth: map[string]string{"caCert": ours.pem, "tlsClientCert": cert, "tlsClientKey": key}},
		"any server": {
			metadata: map[string]string{"enableTLS": "true", "unsafeSsl": "true"}},
		"any server, with a client certificate": {
			ask:      tls.RequireAndVerifyClientCert,
			metadata: map[string]string{"unsafeSsl": "true"}, auth: map[string]string{"tlsClientCert": cert, "tlsClientKey": key}},
		"unsafeSsl alone is plaintext": {plaintext: true, metadata: map[string]string{"unsafeSsl": "true"}},
		"the system knows no such authority": {
			metadata: map[string]string{"enableTLS": "true"}, message: "certificate signed by unknown authority"},
		"another CA": {
			auth: map[string]string{"caCert": theirs.pem}, message: "certificate signed by unknown authority"},
		"a missing client certificate": {
			ask: tls.RequireAndVerifyClientCert, auth: map[string]string{"caCert": ours.pem}, message: "server "},
		"a client certificate of others": {
			ask:     tls.RequireAndVerifyClientCert,
			auth:    map[string]string{"caCert": ours.pem, "tlsClientCert": foreignCert, "tlsClientKey": foreignKey},
			message: "server "},
		"plaintext to a server with TLS": {message: "server "},
		"TLS to a server without": {
			plaintext: true, metadata: map[string]string{"enableTLS": "true"}, message: "server "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := &userServer{}
			if tt.plaintext {
				startServer(t, s)
			} else {
				startServer(t, s, withTLS(ours.mutual(t, tt.ask)))
			}
			metadata := map[string]string{"scalerAddress": s.address}
			for k, v := range tt.metadata {
				metadata[k] = v
			}
			family := scalertest.Serve(t, triggers...)
			if tt.auth != nil {
				family = family.WithAuth(tt.auth)
			}
			got, err := family.Observe(t.Context(), "external", metadata)
			if tt.message == "" {
				if err != nil || got != (scalertest.Observation{Value: 7, Active: true}) {
					t.Errorf("observation = %+v, %v, want 7", got, err)
				}
				for _, ref := range s.refs {
					if len(ref.GetScalerMetadata()) != len(metadata) {
						t.Errorf("the server got %v", ref.GetScalerMetadata())
					}
				}
				return
			}
			if status.Code(err) != codes.Unavailable || !strings.Contains(status.Convert(err).Message(), tt.message) {
				t.Errorf("error = %v, want Unavailable with %q", err, tt.message)
			}
		})
	}
}

// TestConnectionsAreShared by triggers of equal address and TLS material, and
// by no others: one trigger's identity is not lent to another.
func TestConnectionsAreShared(t *testing.T) {
	ours := newAuthority(t)
	cert, key := ours.issue(t, "client")
	other, otherKey := ours.issue(t, "other")
	plain := startServer(t, &userServer{})
	secured := startServer(t, &userServer{}, withTLS(ours.mutual(t, tls.VerifyClientCertIfGiven)))

	octx, release := scaler.Opening(t.Context())
	defer release()
	read := func(s *userServer, tls tlsParams) {
		t.Helper()
		source, err := open(octx, externalParams{ScalerAddress: s.address, tlsParams: tls})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := source.Specs(context.WithoutCancel(octx)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		read(plain, tlsParams{})
		read(plain, tlsParams{UnsafeSSL: true})
		read(secured, tlsParams{CACert: ours.pem})
		read(secured, tlsParams{CACert: ours.pem, TLSClientCert: cert, TLSClientKey: key})
		read(secured, tlsParams{CACert: ours.pem, TLSClientCert: other, TLSClientKey: otherKey})
		read(secured, tlsParams{EnableTLS: true, UnsafeSSL: true})
	}
	if got := plain.conns.Load(); got != 2 {
		t.Errorf("%d connections without TLS, want 2", got)
	}
	if got := secured.conns.Load(); got != 4 {
		t.Errorf("%d connections with TLS, want 4: one for each material", got)
	}
}
