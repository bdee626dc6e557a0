package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// guarded answers whom it lets in, and refuses all others.
func guarded(t *testing.T, letIn func(*http.Request) bool) *httptest.Server {
	t.Helper()
	return serving(t, func(w http.ResponseWriter, r *http.Request) {
		if !letIn(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"n": 3}`)
	})
}

func TestAuthModes(t *testing.T) {
	issuer := serving(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "me" || password != "open-sesame" || r.ParseForm() != nil || r.PostForm.Get("scope") != "a b" || r.PostForm.Get("audience") != "jobs" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "of-oauth", "token_type": "Bearer", "expires_in": 3600})
	})
	header := func(name, value string) func(*http.Request) bool {
		return func(r *http.Request) bool { return r.Header.Get(name) == value }
	}
	query := func(name, value string) func(*http.Request) bool {
		return func(r *http.Request) bool { return r.URL.Query().Get(name) == value && r.URL.Query().Get("x") == "1" }
	}
	basic := func(r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		return user == "me" && password == "open-sesame"
	}
	bare := func(r *http.Request) bool {
		return r.Header.Get("Authorization") == "" && r.Header.Get("X-Api-Key") == ""
	}
	tests := map[string]struct {
		letIn    func(*http.Request) bool
		metadata map[string]string
		auth     map[string]string
	}{
		"none, whatever is given":  {bare, nil, map[string]string{"apiKey": "k", "token": "t", "username": "me", "password": "p"}},
		"API key":                  {header("X-API-KEY", "k"), map[string]string{"authMode": "apiKey"}, map[string]string{"apiKey": "k"}},
		"API key of a name":        {header("X-Key", "k"), map[string]string{"authMode": "apiKey", "keyParamName": "X-Key", "apiKey": "k"}, nil},
		"API key in the query":     {query("api_key", "k &"), map[string]string{"authMode": "apiKey", "method": "query"}, map[string]string{"apiKey": "k &"}},
		"API key of a name there":  {query("key", "k"), map[string]string{"authMode": "apiKey"}, map[string]string{"apiKey": "k", "method": "query", "keyParamName": "key"}},
		"basic":                    {basic, map[string]string{"authMode": "basic"}, map[string]string{"username": "me", "password": "open-sesame"}},
		"bearer":                   {header("Authorization", "Bearer t"), map[string]string{"authMode": "bearer"}, map[string]string{"token": "t"}},
		"mode from authentication": {header("Authorization", "Bearer t"), nil, map[string]string{"authModes": "bearer", "bearerToken": "t"}},
		"custom":                   {header("X-Own", "v"), map[string]string{"authMode": "custom"}, map[string]string{"customAuthHeader": "X-Own", "customAuthValue": "v"}},
		"OAuth": {header("Authorization", "Bearer of-oauth"), map[string]string{"authMode": "oauth"}, map[string]string{
			"oauthTokenURI": issuer.URL, "clientID": "me", "clientSecret": "open-sesame", "scopes": "a,b", "endpointParams": "audience=jobs"}},
		"several": {func(r *http.Request) bool { return basic(r) && header("X-API-KEY", "k")(r) && header("X-Own", "v")(r) },
			map[string]string{"authModes": "basic, apiKey,custom"}, map[string]string{
				"username": "me", "password": "open-sesame", "apiKey": "k", "customAuthHeader": "X-Own", "customAuthValue": "v"}},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := guarded(t, tt.letIn)
			got, err := family.WithAuth(tt.auth).Observe(t.Context(), "metrics-api", trigger(server.URL+"/?x=1", tt.metadata))
			if err != nil || got.Value != 3 {
				t.Errorf("observation = %+v, %v, want 3", got, err)
			}
		})
	}
}

// TestRotation proves that new credentials are taken up without a restart, and
// that wrong ones are an error without a secret in it.
func TestRotation(t *testing.T) {
	var valid atomic.Value
	valid.Store("first")
	server := guarded(t, func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+valid.Load().(string) })
	family := scalertest.Serve(t, triggers...).WithAuth(map[string]string{"token": "first"})
	metadata := trigger(server.URL, map[string]string{"authMode": "bearer"})
	observe := func(want codes.Code) {
		t.Helper()
		_, err := family.Observe(t.Context(), "metrics-api", metadata)
		if status.Code(err) != want || err != nil && strings.Contains(err.Error(), "first") {
			t.Fatalf("error = %v, want %v", err, want)
		}
	}
	observe(codes.OK)
	valid.Store("second")
	observe(codes.Unauthenticated)
	family.Rotate(map[string]string{"token": "second"})
	observe(codes.OK)
}

func TestTLS(t *testing.T) {
	authority, err := servers.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := authority.Server("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	known := x509.NewCertPool()
	known.AppendCertsFromPEM(authority.CA)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 && r.URL.Path == "/known" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, `{"n": 3}`)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: known}
	server.Config.ErrorLog = quiet()
	server.StartTLS()
	defer server.Close()
	own, ownKey, err := authority.Client("worker")
	if err != nil {
		t.Fatal(err)
	}
	ca := map[string]string{"ca": string(authority.CA)}
	identity := map[string]string{"cert": string(own), "key": string(ownKey)}
	maps.Copy(identity, ca)
	tests := map[string]struct {
		path     string
		metadata map[string]string
		auth     map[string]string
		code     codes.Code
	}{
		"the authority alone":        {path: "/", auth: ca},
		"an unknown authority":       {path: "/", code: codes.Unavailable},
		"unverified":                 {path: "/", metadata: map[string]string{"unsafeSsl": "true"}},
		"a certificate":              {path: "/known", metadata: map[string]string{"authMode": "tls"}, auth: identity},
		"a certificate without mode": {path: "/known", auth: identity, code: codes.PermissionDenied},
		"a certificate, unverified":  {path: "/known", metadata: map[string]string{"authMode": "tls", "unsafeSsl": "true"}, auth: map[string]string{"cert": string(own), "key": string(ownKey)}},
		"a broken authority":         {path: "/", auth: map[string]string{"ca": "PEM"}, code: codes.Unavailable},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := family.WithAuth(tt.auth).Observe(t.Context(), "metrics-api", trigger(server.URL+tt.path, tt.metadata))
			if status.Code(err) != tt.code || err == nil && got.Value != 3 {
				t.Errorf("observation = %+v, %v, want %v", got, err, tt.code)
			}
		})
	}
}
