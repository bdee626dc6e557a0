package servers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Authority is the certificate authority of one server: it signed the server's
// certificate and signs those of its clients.
type Authority struct {
	// CA is its certificate in PEM, which clients trust.
	CA []byte

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority returns an authority of its own.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate("Sluice test CA")
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{CA: encodeCertificate(der), certificate: certificate, key: key}, nil
}

// Client returns a client certificate and its key in PEM. commonName is the
// name a server knows the client by.
func (a *Authority) Client(commonName string) (certificate, key []byte, err error) {
	return a.sign(commonName, x509.ExtKeyUsageClientAuth, nil)
}

// ClientConfig returns what a Go client needs to be trusted as commonName; with
// an empty name it shows no certificate.
func (a *Authority) ClientConfig(commonName string) (*tls.Config, error) {
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	config.RootCAs.AddCert(a.certificate)
	if commonName == "" {
		return config, nil
	}
	certificate, key, err := a.Client(commonName)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// Server returns a server certificate for the hosts, names or IP addresses,
// and its key in PEM.
func (a *Authority) Server(hosts ...string) (certificate, key []byte, err error) {
	return a.sign(hosts[0], x509.ExtKeyUsageServerAuth, hosts)
}

func (a *Authority) sign(commonName string, usage x509.ExtKeyUsage, hosts []string) ([]byte, []byte, error) {
	template, err := newTemplate(commonName)
	if err != nil {
		return nil, nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return encodeCertificate(der), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

func newTemplate(commonName string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
	}, nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// tlsFiles are the files that a server reads its identity from.
type tlsFiles struct {
	ca, certificate, key string
	both                 string // key and certificate in one file
}

// write puts the identity of a server at address into dir.
func (a *Authority) write(dir, address string) (tlsFiles, error) {
	certificate, key, err := a.Server("localhost", "127.0.0.1", address)
	if err != nil {
		return tlsFiles{}, fmt.Errorf("server certificate: %w", err)
	}
	files := tlsFiles{
		ca:          filepath.Join(dir, "ca.pem"),
		certificate: filepath.Join(dir, "tls.crt"),
		key:         filepath.Join(dir, "tls.key"),
		both:        filepath.Join(dir, "tls.pem"),
	}
	for path, content := range map[string][]byte{
		files.ca:          a.CA,
		files.certificate: certificate,
		files.key:         key,
		files.both:        append(append([]byte{}, key...), certificate...),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return tlsFiles{}, err
		}
	}
	return files, nil
}
