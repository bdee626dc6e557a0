// Package authority makes certificate authorities and signs the certificates of
// package identity.
package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/sluice-autoscaler/sluice/identity"
)

// backdated is how far a certificate reaches back, for clocks that are behind.
const backdated = 5 * time.Minute

// Authority is a certificate authority with its key.
type Authority struct {
	Certificate *x509.Certificate
	key         crypto.Signer
}

// New makes an authority that signs itself. now is the present time.
func New(installation string, now time.Time, lifetime time.Duration) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Sluice " + installation, Organization: []string{"Sluice"}},
		NotBefore:             now.Add(-backdated),
		NotAfter:              now.Add(lifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	certificate, err := create(template, template, key.Public(), key)
	return &Authority{Certificate: certificate, key: key}, err
}

// Created is when the authority was made.
func (a *Authority) Created() time.Time { return a.Certificate.NotBefore.Add(backdated) }

// Load reads what PEM wrote.
func Load(certificate, key []byte) (*Authority, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("is not of a certificate authority")
	}
	return &Authority{Certificate: pair.Leaf, key: signer}, nil
}

// PEM encodes certificate and key.
func (a *Authority) PEM() (certificate, key []byte, err error) {
	key, err = encodeKey(a.key)
	return Encode(a.Certificate), key, err
}

// Encode returns certificates as PEM, one after the other.
func Encode(certificates ...*x509.Certificate) []byte {
	var bundle []byte
	for _, c := range certificates {
		bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return bundle
}

// Request is what a certificate is asked for.
type Request struct {
	// Identity and Installation make the first name of the certificate.
	Identity     identity.Identity
	Installation string
	// DNSNames are further names, those of Services for example.
	DNSNames []string
	Lifetime time.Duration
}

// Names are all names that the certificate must have.
func (r Request) Names() []string {
	return append([]string{r.Identity.In(r.Installation)}, r.DNSNames...)
}

// Usages are what the key is for: a family answers, a client calls, the core
// does both.
func (r Request) Usages() []x509.ExtKeyUsage {
	switch r.Identity.Role {
	case identity.Family:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case identity.Other:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	default:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	}
}

// Sign makes a new key and a certificate for it, which ends with the authority
// at the latest. Both are PEM.
func (a *Authority) Sign(r Request, now time.Time) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	ends := now.Add(r.Lifetime)
	if ends.After(a.Certificate.NotAfter) {
		ends = a.Certificate.NotAfter
	}
	signed, err := create(&x509.Certificate{
		Subject:     pkix.Name{CommonName: r.Identity.Name, Organization: []string{"Sluice"}},
		DNSNames:    r.Names(),
		NotBefore:   now.Add(-backdated),
		NotAfter:    ends,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: r.Usages(),
	}, a.Certificate, private.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	key, err = encodeKey(private)
	return Encode(signed), key, err
}

// Signed reports whether the certificate was signed by this authority.
func (a *Authority) Signed(c *x509.Certificate) bool {
	return c.CheckSignatureFrom(a.Certificate) == nil
}

func create(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %s: %w", template.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
