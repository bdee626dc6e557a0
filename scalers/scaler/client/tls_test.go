package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/youmark/pkcs8"
)

// keyPair makes a self-signed client certificate.
func keyPair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "client"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", text)
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// encrypted returns key under a password.
func encrypted(t *testing.T, key, password string) string {
	t.Helper()
	decoded, _ := pem.Decode([]byte(key))
	private, err := x509.ParsePKCS8PrivateKey(decoded.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	der, err := pkcs8.MarshalPrivateKey(private, []byte(password), nil)
	if err != nil {
		t.Fatal(err)
	}
	return block("ENCRYPTED PRIVATE KEY", der)
}

func TestClientCertificateReachesTheServer(t *testing.T) {
	cert, key := keyPair(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.TLS.PeerCertificates[0].Subject.CommonName))
	}))
	decoded, _ := pem.Decode([]byte(cert))
	client, err := x509.ParseCertificate(decoded.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(client)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := block("CERTIFICATE", server.Certificate().Raw)

	tests := map[string]HTTPOptions{
		"plain key":            {TLS: TLSParams{CA: ca, Cert: cert, Key: key}},
		"encrypted key":        {TLS: TLSParams{CA: ca, Cert: cert, Key: encrypted(t, key, "hunter2"), KeyPassword: "hunter2"}},
		"needless password":    {TLS: TLSParams{CA: ca, Cert: cert, Key: key, KeyPassword: "hunter2"}},
		"without verification": {TLS: TLSParams{Cert: cert, Key: key}, UnsafeSSL: true},
	}
	for name, o := range tests {
		t.Run(name, func(t *testing.T) {
			if body, err := httpClient(t, o).Get(t.Context(), server.URL); err != nil || string(body) != "client" {
				t.Errorf("seen = %q, %v, want client", body, err)
			}
		})
	}
}

// TestServersWithLargeCertificates: whoever a trigger trusts, or does not look
// at, is not to be remembered at length.
func TestServersWithLargeCertificates(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(1, 0, 0), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	for range 6000 {
		template.DNSNames = append(template.DNSNames, "a")
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	for name, o := range map[string]HTTPOptions{
		"trusted":              {TLS: TLSParams{CA: block("CERTIFICATE", der)}},
		"without verification": {UnsafeSSL: true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := httpClient(t, o).Get(t.Context(), server.URL)
			if err == nil || !strings.Contains(err.Error(), "the certificates of the server are longer, or have more names, than they may") {
				t.Errorf("error = %v", err)
			}
		})
	}
}

func TestTLSParamsThatMakeNoSense(t *testing.T) {
	cert, key := keyPair(t)
	_, other := keyPair(t)
	locked := encrypted(t, key, "hunter2")
	decoded, _ := pem.Decode([]byte(locked))
	tests := map[string]struct {
		params  TLSParams
		message string
	}{
		"cert alone":             {TLSParams{Cert: cert}, "key: is required with cert"},
		"key alone":              {TLSParams{Key: key}, "cert: is required with key"},
		"ca without PEM":         {TLSParams{CA: "hunter2"}, "ca: holds no PEM certificate"},
		"key without PEM":        {TLSParams{Cert: cert, Key: "hunter2"}, "key: is not PEM"},
		"encrypted but not PEM":  {TLSParams{Cert: cert, Key: string(decoded.Bytes), KeyPassword: "hunter2"}, "key: is not PEM"},
		"key of another":         {TLSParams{Cert: cert, Key: other}, "cert and key: private key does not match public key"},
		"cert without PEM":       {TLSParams{Cert: "hunter2", Key: key}, "cert and key: failed to find any PEM data in certificate input"},
		"locked, no password":    {TLSParams{Cert: cert, Key: locked}, "keyPassword: is required, because key is encrypted"},
		"locked, wrong password": {TLSParams{Cert: cert, Key: locked, KeyPassword: "hunter3"}, "keyPassword: does not decrypt key"},
		"locked, cut off":        {TLSParams{Cert: cert, Key: block("ENCRYPTED PRIVATE KEY", decoded.Bytes[:40]), KeyPassword: "x"}, "keyPassword: does not decrypt key"},
		"locked in the old way":  {TLSParams{Cert: cert, Key: "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n", KeyPassword: "x"}, "key: is encrypted in the old PEM way; convert it to PKCS#8"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := tt.params.Config(false)
			if err == nil || err.Error() != tt.message {
				t.Errorf("error = %v, want %s", err, tt.message)
			}
		})
	}
}

func TestDirectoriesOfAuthorities(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	for name, text := range map[string]string{"ca.crt": block("CERTIFICATE", server.Certificate().Raw), "README": "no certificate"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "..data"), 0o700); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if err := appendDirs(pool, []string{filepath.Join(dir, "absent"), dir}); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Certificate().Verify(x509.VerifyOptions{Roots: pool}); err != nil {
		t.Errorf("the server is not trusted: %v", err)
	}
}

func TestProcessTLS(t *testing.T) {
	tests := map[string]struct {
		env     map[string]string
		version uint16
		ciphers []uint16
		err     string
	}{
		"1.2 by default": {nil, tls.VersionTLS12, nil, ""},
		"1.3":            {map[string]string{"KEDA_HTTP_MIN_TLS_VERSION": "TLS13"}, tls.VersionTLS13, nil, ""},
		"unknown":        {map[string]string{"KEDA_HTTP_MIN_TLS_VERSION": "1.3"}, 0, nil, `KEDA_HTTP_MIN_TLS_VERSION: "1.3" is not one of TLS10, TLS11, TLS12, TLS13`},
		"ciphers by colon and comma": {
			map[string]string{"KEDA_HTTP_TLS_CIPHER_LIST": "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384,TLS_CHACHA20_POLY1305_SHA256"},
			tls.VersionTLS12, []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256}, "",
		},
		"unknown cipher": {map[string]string{"KEDA_HTTP_TLS_CIPHER_LIST": "ROT13"}, 0, nil, `KEDA_HTTP_TLS_CIPHER_LIST: "ROT13" is not a cipher suite`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			config, err := processTLS(func(key string) string { return tt.env[key] })
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("error = %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil || config.MinVersion != tt.version || len(config.CipherSuites) != len(tt.ciphers) {
				t.Errorf("config = %+v, %v", config, err)
			}
		})
	}
}

// FuzzKey holds the decoding of encrypted keys against anything: it never
// panics and shows nothing.
func FuzzKey(f *testing.F) {
	f.Add([]byte("0\x82"))
	f.Fuzz(func(t *testing.T, der []byte) {
		_, err := decryptKey([]byte(block("ENCRYPTED PRIVATE KEY", der)), []byte("hunter2"))
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is shown: %v", err)
		}
	})
}

// TestKeysAndAuthoritiesAreBounded: the bounds of package keycost are those of
// what triggers give.
func TestKeysAndAuthoritiesAreBounded(t *testing.T) {
	cert, _ := keyPair(t)
	long := block("PRIVATE KEY", make([]byte, 1<<20))
	if _, err := (TLSParams{Cert: cert, Key: long}).Config(false); err == nil || !strings.Contains(err.Error(), "longer than an RSA key of 8192 bits") {
		t.Errorf("key: error = %v", err)
	}
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	modulus := new(big.Int).SetBit(big.NewInt(1), 1<<16, 1)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &rsa.PublicKey{N: modulus, E: 65537}, signer)
	if err != nil {
		t.Fatal(err)
	}
	ca := block("CERTIFICATE", der)
	if _, err := (TLSParams{CA: ca}).Config(false); err == nil || !strings.Contains(err.Error(), "ca: has an RSA key of more than 8192 bits") {
		t.Errorf("ca: error = %v", err)
	}
}
