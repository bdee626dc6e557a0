package main

import (
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

// TestLogins are those that Prometheus has itself: passwords and certificates.
func TestLogins(t *testing.T) {
	p := servers.Prometheus(t, servers.PrometheusOptions{TLS: true, BasicAuth: true})
	certificate, key, err := p.Authority.Client("worker")
	if err != nil {
		t.Fatal(err)
	}
	strict := servers.Prometheus(t, servers.PrometheusOptions{TLS: true, ClientAuth: true})
	own, ownKey, err := strict.Authority.Client("worker")
	if err != nil {
		t.Fatal(err)
	}
	basic := map[string]string{"username": servers.PrometheusUser, "password": servers.PrometheusPassword, "ca": string(p.Authority.CA)}
	with := func(changes map[string]string) map[string]string {
		all := maps.Clone(basic)
		maps.Copy(all, changes)
		return all
	}
	tests := map[string]struct {
		address  string
		metadata map[string]string
		auth     map[string]string
		code     codes.Code
	}{
		"a password":                 {p.URL(), map[string]string{"authModes": "basic"}, basic, codes.OK},
		"a wrong password":           {p.URL(), map[string]string{"authModes": "basic"}, with(map[string]string{"password": "hush-hush"}), codes.Unauthenticated},
		"nobody":                     {p.URL(), nil, map[string]string{"ca": string(p.Authority.CA)}, codes.Unauthenticated},
		"an unknown authority":       {p.URL(), map[string]string{"authModes": "basic"}, with(map[string]string{"ca": ""}), codes.Unavailable},
		"unverified":                 {p.URL(), map[string]string{"authModes": "basic", "unsafeSsl": "true"}, with(map[string]string{"ca": ""}), codes.OK},
		"password and certificate":   {p.URL(), map[string]string{"authModes": "tls,basic"}, with(map[string]string{"cert": string(certificate), "key": string(key)}), codes.OK},
		"a certificate":              {strict.URL(), map[string]string{"authModes": "tls"}, map[string]string{"ca": string(strict.Authority.CA), "cert": string(own), "key": string(ownKey)}, codes.OK},
		"a certificate, unverified":  {strict.URL(), map[string]string{"authModes": "tls", "unsafeSsl": "true"}, map[string]string{"cert": string(own), "key": string(ownKey)}, codes.OK},
		"a certificate of another":   {strict.URL(), map[string]string{"authModes": "tls"}, map[string]string{"ca": string(strict.Authority.CA), "cert": string(certificate), "key": string(key)}, codes.Unauthenticated},
		"a certificate that is none": {strict.URL(), map[string]string{"authModes": "tls"}, map[string]string{"cert": "hush-hush", "key": "hush-hush"}, codes.Unavailable},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := family.WithAuth(tt.auth).Observe(t.Context(), "prometheus", trigger(tt.address, tt.metadata))
			// A refusal of TLS may be overtaken by the end of its socket.
			overtaken := tt.address == strict.URL() && tt.code == codes.Unauthenticated && status.Code(err) == codes.Unavailable
			if status.Code(err) != tt.code && !overtaken || err != nil && strings.Contains(err.Error(), "hush-hush") || err == nil && got.Value != 3 {
				t.Errorf("observation = %+v, %v, want %v", got, err, tt.code)
			}
		})
	}
}

// guarded stands in for the proxies that add tokens and keys to Prometheus: it
// lets in who has what the test says.
func guarded(t *testing.T, letIn func(*http.Request) bool) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !letIn(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"3"]}]}}`)
	}))
	t.Cleanup(server.Close)
	return server
}

func header(name, value string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Header.Get(name) == value }
}

func TestAuthModes(t *testing.T) {
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "open-sesame" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "of-oauth", "token_type": "Bearer", "expires_in": 3600})
	}))
	defer issuer.Close()
	tests := map[string]struct {
		letIn    func(*http.Request) bool
		metadata map[string]string
		auth     map[string]string
	}{
		"none, whatever is given": {header("Authorization", ""), nil, map[string]string{"bearerToken": "t"}},
		"bearer":                  {header("Authorization", "Bearer t"), map[string]string{"authModes": "bearer"}, map[string]string{"bearerToken": "t"}},
		"custom":                  {header("X-Own", "v"), map[string]string{"authModes": "custom"}, map[string]string{"customAuthHeader": "X-Own", "customAuthValue": "v"}},
		"API key":                 {header("X-API-KEY", "k"), map[string]string{"authModes": "apiKey"}, map[string]string{"apiKey": "k"}},
		"API key in the query": {func(r *http.Request) bool {
			return r.URL.Query().Get("key") == "k" && r.URL.Query().Get("query") == "vector(3)"
		},
			map[string]string{"authModes": "apiKey", "method": "query", "keyParamName": "key"}, map[string]string{"apiKey": "k"}},
		"OAuth": {header("Authorization", "Bearer of-oauth"), map[string]string{"authModes": "oauth"},
			map[string]string{"oauthTokenURI": issuer.URL, "clientID": "me", "clientSecret": "open-sesame"}},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := family.WithAuth(tt.auth).Observe(t.Context(), "prometheus", trigger(guarded(t, tt.letIn).URL, tt.metadata))
			if err != nil || got.Value != 3 {
				t.Errorf("observation = %+v, %v, want 3", got, err)
			}
		})
	}
}

// TestRotation proves that a new token is taken up without a restart.
func TestRotation(t *testing.T) {
	var valid atomic.Value
	valid.Store("first")
	server := guarded(t, func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+valid.Load().(string) })
	family := scalertest.Serve(t, triggers...).WithAuth(map[string]string{"bearerToken": "first"})
	observe := func(want codes.Code) {
		t.Helper()
		_, err := family.Observe(t.Context(), "prometheus", trigger(server.URL, map[string]string{"authModes": "bearer"}))
		if status.Code(err) != want || err != nil && strings.Contains(err.Error(), "first") {
			t.Fatalf("error = %v, want %v", err, want)
		}
	}
	observe(codes.OK)
	valid.Store("second")
	observe(codes.Unauthenticated)
	family.Rotate(map[string]string{"bearerToken": "second"})
	observe(codes.OK)
}

// TestRotatedPassword is the same with the passwords of a real server.
func TestRotatedPassword(t *testing.T) {
	p := servers.Prometheus(t, servers.PrometheusOptions{BasicAuth: true})
	login := func(password string) map[string]string {
		return map[string]string{"username": servers.PrometheusUser, "password": password}
	}
	family := scalertest.Serve(t, triggers...).WithAuth(login("hush-hush"))
	observe := func(want codes.Code) {
		t.Helper()
		_, err := family.Observe(t.Context(), "prometheus", trigger(p.URL(), map[string]string{"authModes": "basic"}))
		if status.Code(err) != want {
			t.Fatalf("error = %v, want %v", err, want)
		}
	}
	observe(codes.Unauthenticated)
	family.Rotate(login(servers.PrometheusPassword))
	observe(codes.OK)
}
