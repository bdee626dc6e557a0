package servers

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Trusting wraps a package's tests so that this process trusts *authority, which
// it makes, as it does the authorities of its system. Those are read once, hence
// before the tests:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Trusting(servers.Ending(m), &trusted)) }
func Trusting(m TestRunner, authority **Authority) TestRunner { return trusting{m, authority} }

type trusting struct {
	tests     TestRunner
	authority **Authority
}

func (r trusting) Run() int {
	dir, err := os.MkdirTemp("", "sluice-trusted")
	if err == nil {
		defer os.RemoveAll(dir)
		*r.authority, err = trusted(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "servers:", err)
		return 1
	}
	return r.tests.Run()
}

// trusted makes an authority that is trusted from now on.
func trusted(dir string) (*Authority, error) {
	a, err := NewAuthority()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, a.CA, 0o600); err != nil {
		return nil, err
	}
	return a, os.Setenv("SSL_CERT_FILE", file)
}

// EntraIdentity and EntraTenant are who Entra knows.
const (
	EntraIdentity = "identity"
	EntraTenant   = "tenant"
)

// Entra stands in for Microsoft Entra, with a certificate of an authority that
// is trusted, and makes it the one of this process's workload identity. It
// gives EntraIdentity the token for a scope, and for a minute, so that whoever
// needs one later asks again.
func Entra(t testing.TB, trusted *Authority, token func(scope string) string) {
	t.Helper()
	certificate, key, err := trusted.Server(loopback)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		base := "https://" + r.Host
		switch {
		case strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration"):
			_ = json.NewEncoder(w).Encode(map[string]any{
				"token_endpoint": base + "/tenant/oauth2/v2.0/token", "authorization_endpoint": base + "/authorize", "issuer": base + "/tenant/v2.0",
			})
		case r.ParseForm() == nil && r.PostForm.Get("client_assertion") == "proof" && r.PostForm.Get("client_id") == EntraIdentity:
			scope, _, _ := strings.Cut(r.PostForm.Get("scope"), " ")
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token(scope), "token_type": "Bearer", "expires_in": 60})
		default:
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(map[string]any{"error": "invalid_client", "error_description": "hush-hush"})
		}
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("proof"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AZURE_FEDERATED_TOKEN_FILE": file, "AZURE_CLIENT_ID": "the process's own", "AZURE_TENANT_ID": EntraTenant, "AZURE_AUTHORITY_HOST": s.URL + "/",
	} {
		t.Setenv(name, value)
	}
}
