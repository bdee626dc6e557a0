package vault_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// rootToken may do everything on either kind of server.
const rootToken = "root-token"

// server is a Vault: a dev server of the program in VAULT_BIN when that is set,
// else a stand-in, since Vault is in none of the registries that tests install
// from. Both are set up by the same requests, so that both are asked the same.
type server struct {
	url      string
	standIn  *standIn // nil for the real one
	reviewer string   // who reviews the tokens of service accounts
}

func start(t *testing.T) *server {
	s := &server{}
	s.reviewer = reviewer(t)
	if program := os.Getenv("VAULT_BIN"); program != "" {
		s.url = startReal(t, program)
	} else {
		s.standIn = &standIn{kv: map[string]map[string]any{}, tokens: map[string]*token{rootToken: {root: true}}, roles: map[string]map[string]any{}, policies: map[string]string{}}
		httpServer := httptest.NewServer(s.standIn)
		t.Cleanup(httpServer.Close)
		s.url = httpServer.URL
	}
	s.ask(t, "POST", "sys/mounts/old", `{"type":"kv","options":{"version":"1"}}`)
	s.ask(t, "POST", "sys/mounts/new", `{"type":"kv","options":{"version":"2"}}`)
	s.eventually(t, "POST", "new/data/orders", `{"data":{"password":"v2-secret","list":["a","b"],"number":7,"empty":""}}`)
	s.ask(t, "POST", "old/orders", `{"password":"v1-secret"}`)
	s.ask(t, "POST", "new/data/deleted", `{"data":{"password":"gone"}}`)
	s.ask(t, "DELETE", "new/data/deleted", "")
	s.ask(t, "POST", "sys/mounts/pki", `{"type":"pki"}`)
	s.eventually(t, "POST", "pki/root/generate/internal", `{"common_name":"root","ttl":"24h"}`)
	s.ask(t, "POST", "pki/roles/clients", `{"allowed_domains":"example.com","allow_subdomains":true,"max_ttl":"1h"}`)
	s.ask(t, "PUT", "sys/policies/acl/reader", mustJSON(map[string]string{"policy": `
path "new/data/*" { capabilities = ["read"] }
path "old/*" { capabilities = ["read"] }
path "pki/issue/clients" { capabilities = ["create", "update"] }
`}))
	s.ask(t, "POST", "sys/auth/kubernetes", `{"type":"kubernetes"}`)
	s.ask(t, "POST", "auth/kubernetes/config", mustJSON(map[string]any{
		"kubernetes_host": s.reviewer, "disable_local_ca_jwt": true, "token_reviewer_jwt": serviceAccountJWT("reviewer"),
	}))
	s.ask(t, "POST", "auth/kubernetes/role/reader", `{"bound_service_account_names":["orders"],"bound_service_account_namespaces":["shop"],"policies":["reader"],"ttl":"1h"}`)
	return s
}

// tokenFor makes a token with the policy reader.
func (s *server) tokenFor(t *testing.T, body string) string {
	t.Helper()
	var made struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		} `json:"auth"`
	}
	if err := json.Unmarshal(s.ask(t, "POST", "auth/token/create", body), &made); err != nil {
		t.Fatal(err)
	}
	return made.Auth.ClientToken
}

func (s *server) ask(t *testing.T, method, path, body string) []byte {
	t.Helper()
	answer, err := s.try(t.Context(), method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// eventually asks until an engine that was just mounted is there.
func (s *server) eventually(t *testing.T, method, path, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		_, err := s.try(ctx, method, path, body)
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

func (s *server) try(ctx context.Context, method, path, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.url+"/v1/"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Vault-Token", rootToken)
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	return text, err
}

// startReal runs a dev server, which keeps everything in memory and is
// unsealed.
func startReal(t *testing.T, program string) string {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.CommandContext(t.Context(), program, "server", "-dev", "-dev-no-store-token",
		"-dev-root-token-id="+rootToken, "-dev-listen-address="+address)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	s := &server{url: "http://" + address}
	s.eventually(t, "GET", "sys/health", "")
	return s.url
}

// reviewer answers TokenReviews as an API server does, for service accounts
// whose tokens serviceAccountJWT made.
func reviewer(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		var review map[string]any
		_ = json.NewDecoder(request.Body).Decode(&review)
		spec, _ := review["spec"].(map[string]any)
		text, _ := spec["token"].(string)
		status := map[string]any{"authenticated": false}
		if name := subject(text); name != "" {
			status = map[string]any{"authenticated": true, "user": map[string]any{
				"username": name, "uid": "uid", "groups": []string{"system:serviceaccounts"},
			}}
		}
		review["status"] = status
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// serviceAccountJWT looks like a token of a service account in namespace shop.
func serviceAccountJWT(name string) string {
	part := func(v any) string { return base64.RawURLEncoding.EncodeToString([]byte(mustJSON(v))) }
	return part(map[string]string{"alg": "RS256"}) + "." + part(map[string]any{
		"sub": "system:serviceaccount:shop:" + name, "iss": "https://kubernetes.default.svc",
		// Vault takes none that lacks one of these.
		"iat": time.Now().Unix(), "nbf": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{"namespace": "shop",
			"serviceaccount": map[string]string{"name": name, "uid": "uid"}},
	}) + "." + base64.RawURLEncoding.EncodeToString([]byte("signature"))
}

// subject is that of a token; empty for a text that is none.
func subject(jwt string) string {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	_ = json.Unmarshal(payload, &claims)
	return claims.Subject
}

func mustJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// standIn answers as Vault does what these tests ask: paths, headers, statuses
// and shapes are those of its API.
type standIn struct {
	mu       sync.Mutex
	kv       map[string]map[string]any // by path; data of KV v2 is below "data"
	tokens   map[string]*token
	roles    map[string]map[string]any
	policies map[string]string
	sealed   bool
	made     int
	issued   []map[string]any // requests for certificates
	renewals int
	revoked  int
	headers  []http.Header
	leased   int // credentials of database/creds/reader
}

type token struct {
	root      bool
	policies  []string
	ttl       time.Duration
	creation  time.Duration
	renewable bool
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.headers = append(s.headers, request.Header.Clone())
	path := strings.TrimPrefix(request.URL.Path, "/v1/")
	var body map[string]any
	_ = json.NewDecoder(request.Body).Decode(&body)
	status, answer := s.answer(request, path, body)
	if status >= 400 && answer == nil {
		answer = map[string]any{"errors": []string{"1 error occurred: " + path + " with " + request.Header.Get("X-Vault-Token")}}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if answer != nil {
		_ = json.NewEncoder(w).Encode(answer)
	}
}

type object = map[string]any

func (s *standIn) answer(request *http.Request, path string, body object) (int, object) {
	if request.Header.Get("X-Vault-Request") != "true" && request.Header.Get("X-Vault-Token") != rootToken {
		return http.StatusBadRequest, nil
	}
	if s.sealed {
		return http.StatusServiceUnavailable, object{"errors": []string{"Vault is sealed"}}
	}
	if strings.HasPrefix(path, "auth/") && strings.HasSuffix(path, "/login") {
		return s.login(path, body)
	}
	who := s.tokens[request.Header.Get("X-Vault-Token")]
	if who == nil {
		return http.StatusForbidden, nil
	}
	switch {
	case path == "auth/token/lookup-self":
		return 200, object{"data": object{"ttl": int(who.ttl.Seconds()), "creation_ttl": int(who.creation.Seconds()), "renewable": who.renewable}}
	case path == "auth/token/renew-self":
		s.renewals++
		return 200, object{"auth": object{"client_token": "same"}}
	case path == "auth/token/revoke-self":
		s.revoked++
		delete(s.tokens, request.Header.Get("X-Vault-Token"))
		return 204, nil
	case !who.root && !s.allowed(who, path):
		return http.StatusForbidden, nil
	case path == "auth/token/create":
		return 200, object{"auth": object{"client_token": s.newToken(body)}}
	case strings.HasPrefix(path, "sys/policies/acl/"):
		s.policies[strings.TrimPrefix(path, "sys/policies/acl/")], _ = body["policy"].(string)
		return 204, nil
	case strings.HasPrefix(path, "auth/kubernetes/role/"):
		s.roles[strings.TrimPrefix(path, "auth/kubernetes/role/")] = body
		return 204, nil
	case strings.HasPrefix(path, "pki/issue/"):
		s.issued = append(s.issued, body)
		n := len(s.issued)
		return 200, object{"data": object{
			"certificate": fmt.Sprintf("certificate-%d", n), "private_key": fmt.Sprintf("key-%d", n),
			"ca_chain": []string{"ca-1", "ca-2"}, "expiration": time.Now().Add(time.Hour).Unix(),
		}}
	case path == "database/creds/reader":
		s.leased++
		return 200, object{"lease_id": "database/creds/reader/1", "lease_duration": 600, "renewable": true,
			"data": object{"password": fmt.Sprintf("leased-%d", s.leased)}}
	case strings.HasPrefix(path, "sys/"), strings.HasPrefix(path, "pki/"), path == "auth/kubernetes/config":
		return 204, nil
	default:
		return s.keyValue(request.Method, path, body)
	}
}

// allowed reads the few forms of policies that these tests write.
func (s *standIn) allowed(who *token, path string) bool {
	for _, name := range who.policies {
		for line := range strings.Lines(s.policies[name]) {
			_, rest, is := strings.Cut(line, `path "`)
			pattern, _, _ := strings.Cut(rest, `"`)
			if is && (pattern == path || strings.HasSuffix(pattern, "*") && strings.HasPrefix(path, strings.TrimSuffix(pattern, "*"))) {
				return true
			}
		}
	}
	return false
}

func (s *standIn) login(path string, body object) (int, object) {
	jwt, _ := body["jwt"].(string)
	name, _ := body["role"].(string)
	role := s.roles[name]
	if path != "auth/kubernetes/login" {
		return http.StatusForbidden, nil
	}
	if role == nil {
		return http.StatusBadRequest, object{"errors": []string{"invalid role name \"" + name + "\""}}
	}
	bound, _ := role["bound_service_account_names"].([]any)
	if subject(jwt) != fmt.Sprintf("system:serviceaccount:shop:%v", bound[0]) {
		return http.StatusForbidden, object{"errors": []string{"service account name not authorized " + jwt}}
	}
	text := s.newToken(object{"policies": role["policies"], "ttl": role["ttl"]})
	return 200, object{"auth": object{"client_token": text, "lease_duration": 3600, "renewable": true}}
}

func (s *standIn) newToken(body object) string {
	s.made++
	text := fmt.Sprintf("token-%d", s.made)
	made := &token{}
	for _, policy := range body["policies"].([]any) {
		made.policies = append(made.policies, policy.(string))
	}
	if ttl, ok := body["ttl"].(string); ok {
		made.ttl, _ = time.ParseDuration(ttl)
		made.creation, made.renewable = made.ttl, true
	}
	s.tokens[text] = made
	return text
}

func (s *standIn) keyValue(method, path string, body object) (int, object) {
	switch method {
	case http.MethodGet:
		data, there := s.kv[path]
		switch {
		case !there:
			return http.StatusNotFound, object{"errors": []string{}}
		case data == nil: // a deleted version
			return http.StatusNotFound, object{"data": object{"data": nil, "metadata": object{"deletion_time": "2026-01-01T00:00:00Z"}}}
		case strings.HasPrefix(path, "new/data/"):
			return 200, object{"data": object{"data": data["data"], "metadata": object{"version": 1}}}
		default:
			return 200, object{"lease_id": "", "lease_duration": 2764800, "data": data}
		}
	case http.MethodDelete:
		s.kv[path] = nil
	default:
		s.kv[path] = body
	}
	return 204, nil
}
