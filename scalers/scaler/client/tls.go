package client

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/sluice-autoscaler/sluice/identity"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/fingerprint"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/keycost"
)

// TLSParams is the client's side of a TLS connection to an event source. A
// params struct embeds it. All four come from the authentication object alone.
type TLSParams struct {
	// CA is a PEM bundle of certificate authorities to trust beside the
	// system's.
	CA string `param:"ca" from:"auth"`
	// Cert is the PEM client certificate; it needs key.
	Cert string `param:"cert" alias:"Cert" from:"auth"`
	// Key is the PEM private key of cert.
	Key string `param:"key" from:"auth"`
	// KeyPassword decrypts key, when key is an encrypted PKCS#8 block.
	KeyPassword string `param:"keyPassword" from:"auth"`
}

// CheckPair checks that certificate and key come together. It is not a Validate
// because they matter only where TLS is on.
func (p TLSParams) CheckPair() error {
	switch {
	case p.Cert != "" && p.Key == "":
		return errors.New("key: is required with cert")
	case p.Key != "" && p.Cert == "":
		return errors.New("cert: is required with key")
	}
	return nil
}

// Config returns the configuration of a client: minimum version and ciphers as
// the process was told, the authorities of the system, of the process's CA
// directories and of ca, and the client certificate. unsafe turns verification
// of the server off.
//
// The caller owns the result and may set ServerName. An error starts with the
// parameter at fault and holds nothing of its value.
func (p TLSParams) Config(unsafe bool) (*tls.Config, error) {
	if err := p.CheckPair(); err != nil {
		return nil, err
	}
	config, err := processTLS(os.Getenv)
	if err != nil {
		return nil, err
	}
	config.InsecureSkipVerify = unsafe
	keycost.BoundServers(config)
	if config.RootCAs, err = p.authorities(); err != nil {
		return nil, err
	}
	if p.Cert == "" {
		return config, nil
	}
	pair, err := p.pair()
	if err != nil {
		return nil, err
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// Fingerprint tells these parameters from others without keeping them.
func (p TLSParams) Fingerprint() string {
	return fingerprint.Of(p.CA, p.Cert, p.Key, p.KeyPassword)
}

func (p TLSParams) authorities() (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil { // no system store in the image: the others still count
		pool = x509.NewCertPool()
	}
	dirs := []string{"/custom/ca"}
	if configured := caDirs.Load(); configured != nil {
		dirs = *configured
	}
	if err := appendDirs(pool, dirs); err != nil {
		return nil, err
	}
	if err := keycost.CheckAuthorities([]byte(p.CA)); err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	if p.CA != "" && !pool.AppendCertsFromPEM([]byte(p.CA)) {
		return nil, errors.New("ca: holds no PEM certificate")
	}
	return pool, nil
}

// pair decodes the client certificate. The texts of crypto/tls name what is
// wrong with a block and never quote it.
func (p TLSParams) pair() (tls.Certificate, error) {
	key, err := decryptKey([]byte(p.Key), []byte(p.KeyPassword))
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := keycost.Pair([]byte(p.Cert), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cert and key: %s", strings.TrimPrefix(err.Error(), "tls: "))
	}
	return pair, nil
}

// decryptKey returns key as a PEM block that is not encrypted.
func decryptKey(key, password []byte) ([]byte, error) {
	block, _ := pem.Decode(key)
	switch {
	case block == nil:
		return nil, errors.New("key: is not PEM")
	case block.Headers["DEK-Info"] != "":
		return nil, errors.New("key: is encrypted in the old PEM way; convert it to PKCS#8")
	case block.Type != "ENCRYPTED PRIVATE KEY":
		return key, nil
	case len(password) == 0:
		return nil, errors.New("keyPassword: is required, because key is encrypted")
	}
	private, err := keycost.Decrypt(block.Bytes, password)
	if err != nil {
		return nil, errors.New("keyPassword: does not decrypt key")
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, errors.New("key: is of a kind that TLS does not use")
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// caDirs are the process's directories of certificate authorities; nil stands
// for the default.
var caDirs atomic.Pointer[[]string]

// setCADirs replaces the directories whose certificates are trusted by every
// client of the process, as the flag --ca-dir says.
func setCADirs(dirs []string) { caDirs.Store(&dirs) }

func appendDirs(pool *x509.CertPool, dirs []string) error {
	for _, dir := range dirs {
		if err := appendDir(pool, dir); err != nil {
			return err
		}
	}
	return nil
}

// appendDir adds every PEM certificate of the regular files in dir. Files
// without one, and a directory that does not exist, add nothing.
func appendDir(pool *x509.CertPool, dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("directory of certificate authorities: %w", err)
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		// Stat follows links: mounted ConfigMaps consist of them.
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("directory of certificate authorities: %w", err)
		}
		pool.AppendCertsFromPEM(text)
	}
	return nil
}

// processTLS returns what the process's environment says about TLS: the
// minimum version, TLS 1.2 by default, and the ciphers. The names are KEDA's.
func processTLS(getenv func(string) string) (*tls.Config, error) {
	policy, err := identity.ReadPolicy(getenv, "KEDA_HTTP", tls.VersionTLS12)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	policy.Apply(config) // below 1.2 only when the operator of the process asks for it
	return config, nil
}
