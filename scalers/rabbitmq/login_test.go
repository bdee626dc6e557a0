package main

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

func TestLoginsOverTLS(t *testing.T) {
	r := servers.RabbitMQ(t, servers.RabbitMQOptions{TLS: true})
	if err := r.AddUser(within(t), "worker", "", ""); err != nil { // a certificate alone
		t.Fatal(err)
	}
	if err := r.Grant(within(t), "/", "worker", ".*", ".*", ".*"); err != nil {
		t.Fatal(err)
	}
	operate(t, r.AMQPURL("/")).queue("jobs", 3)
	listed(t, r, "/", "jobs", 3)

	ca := string(r.Authority.CA)
	certified := func(name string) map[string]string {
		certificate, key, err := r.Authority.Client(name)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]string{"tls": "enable", "ca": ca, "cert": string(certificate), "key": string(key)}
	}
	anonymous := func(address, user string) string {
		return strings.Replace(address, servers.RabbitMQUser+":"+servers.RabbitMQPassword+"@", user, 1)
	}
	amqps := strings.Split(strings.Split(r.AMQPSURL("/"), "@")[1], "/")[0]
	https := strings.Split(strings.Split(r.HTTPSURL("/"), "@")[1], "/")[0]
	const unknown = "the certificate of the server is signed by an unknown authority, see parameter ca"
	three := scalertest.Observation{Value: 3, Active: true}
	tests := map[string]struct {
		metadata map[string]string
		auth     map[string]string
		want     scalertest.Observation
		code     codes.Code
		message  string // a part of it
	}{
		"password, with the authority": {
			metadata: map[string]string{"host": r.AMQPSURL("/")}, auth: map[string]string{"tls": "enable", "ca": ca}, want: three},
		"password, unverified": {
			metadata: map[string]string{"host": r.AMQPSURL("/"), "unsafeSsl": "true"}, want: three},
		"an unknown authority": {
			metadata: map[string]string{"host": r.AMQPSURL("/")}, code: codes.Unavailable,
			message: "queue jobs: broker " + amqps + ": " + unknown},
		"an authority without tls": {
			metadata: map[string]string{"host": r.AMQPSURL("/")}, auth: map[string]string{"ca": ca}, code: codes.Unavailable, message: unknown},
		"a certificate alone": {
			metadata: map[string]string{"host": anonymous(r.AMQPSURL("/"), "")}, auth: certified("worker"), want: three},
		"a certificate and a user without password": {
			metadata: map[string]string{"host": anonymous(r.AMQPSURL("/"), "worker@")}, auth: certified("worker"), want: three},
		"a certificate of nobody": {
			metadata: map[string]string{"host": anonymous(r.AMQPSURL("/"), "")}, auth: certified("nobody"),
			code: codes.Unauthenticated, message: "broker " + amqps + ": login refused"},
		"a certificate and a password in host": {
			metadata: map[string]string{"host": r.AMQPSURL("/")}, auth: certified("nobody"), want: three},
		"a certificate and a password apart": {
			metadata: map[string]string{"host": anonymous(r.AMQPSURL("/"), "")},
			auth:     onTop(certified("nobody"), map[string]string{"username": "guest", "password": "guest"}), want: three},
		"a broken authority": {
			metadata: map[string]string{"host": r.AMQPSURL("/")}, auth: map[string]string{"tls": "enable", "ca": "PEM"},
			code: codes.Unavailable, message: "ca: holds no PEM certificate"},
		"the management API, with the authority": {
			metadata: map[string]string{"host": r.HTTPSURL("/")}, auth: map[string]string{"tls": "enable", "ca": ca}, want: three},
		"the management API, unverified": {
			metadata: map[string]string{"host": r.HTTPSURL("/"), "unsafeSsl": "true"}, want: three},
		"the management API of an unknown authority": {
			metadata: map[string]string{"host": r.HTTPSURL("/")}, code: codes.Unavailable,
			message: "GET https://" + https + "/api/queues/"},
		"TLS to a port without": {
			metadata: map[string]string{"host": "amqps://guest:guest@" + r.AMQPAddr()}, code: codes.Unavailable, message: "broker " + r.AMQPAddr()},
		"AMQP to a port with TLS": {
			metadata: map[string]string{"host": "amqp://guest:guest@" + amqps}, code: codes.Unavailable, message: "broker " + amqps},
	}
	family := scalertest.Serve(t, rabbitmq)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := family.WithAuth(tt.auth).Observe(t.Context(), "rabbitmq", onTop(map[string]string{"queueName": "jobs"}, tt.metadata))
			if status.Code(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.message) {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestCertificateIsDemanded(t *testing.T) {
	r := servers.RabbitMQ(t, servers.RabbitMQOptions{TLS: true, ClientAuth: true})
	_, err := scalertest.Serve(t, rabbitmq).Observe(t.Context(), "rabbitmq",
		map[string]string{"queueName": "jobs", "host": r.AMQPSURL("/"), "unsafeSsl": "true"})
	// The broker's refusal arrives, or is overtaken by the end of its socket.
	refused := status.Code(err) == codes.Unauthenticated && strings.Contains(err.Error(), refusedTLS)
	if !refused && status.Code(err) != codes.Unavailable {
		t.Errorf("error = %v, want Unauthenticated %q", err, refusedTLS)
	}
}

// guarded is a management API that lets in who has the token "valid", and
// counts requests.
func guarded(t *testing.T) (address string, requests *atomic.Int64) {
	t.Helper()
	requests = new(atomic.Int64)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		requests.Add(1)
		if request.Header.Get("Authorization") != "Bearer valid" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"name": "jobs", "messages": 3})
	}))
	t.Cleanup(api.Close)
	return api.URL, requests
}

// issuer stands in for a token endpoint: it checks what a real one checks of a
// request and counts tokens.
func issuer(t *testing.T, check func(*http.Request) bool) (server *httptest.Server, tokens *atomic.Int64) {
	t.Helper()
	tokens = new(atomic.Int64)
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := func(code int, body map[string]any) {
			w.WriteHeader(code)
			_ = json.NewEncoder(w).Encode(body)
		}
		base := "https://" + request.Host
		switch {
		case strings.HasSuffix(request.URL.Path, "/.well-known/openid-configuration"):
			answer(http.StatusOK, map[string]any{
				"token_endpoint": base + "/tenant/oauth2/v2.0/token", "authorization_endpoint": base + "/authorize",
				"issuer": base + "/tenant/v2.0",
			})
		case request.ParseForm() == nil && check(request):
			tokens.Add(1)
			answer(http.StatusOK, map[string]any{"access_token": "valid", "token_type": "Bearer", "expires_in": 3600})
		default:
			answer(http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": "not hush-hush"})
		}
	}))
	t.Cleanup(server.Close)
	return server, tokens
}

func certificateOf(server *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

func TestOAuth(t *testing.T) {
	api, requests := guarded(t)
	server, tokens := issuer(t, func(request *http.Request) bool {
		user, password, _ := request.BasicAuth()
		form := request.PostForm
		if user == "" {
			user, password = form.Get("client_id"), form.Get("client_secret")
		}
		return user == "me" && password == "open-sesame" && form.Get("grant_type") == "client_credentials" &&
			form.Get("scope") == "rabbit.read rabbit.write" && form.Get("audience") == "rabbit"
	})
	auth := map[string]string{
		"oauthTokenURI": server.URL + "/token", "clientID": "me", "clientSecret": "open-sesame",
		"scopes": "rabbit.read, rabbit.write", "endpointParams": "audience=rabbit",
		"tls": "enable", "ca": certificateOf(server),
	}
	metadata := map[string]string{"queueName": "jobs", "host": api + "/v"}
	family := scalertest.Serve(t, rabbitmq)
	for range 3 {
		got, err := family.WithAuth(auth).Observe(t.Context(), "rabbitmq", metadata)
		if want := (scalertest.Observation{Value: 3, Active: true}); err != nil || got != want {
			t.Fatalf("observation = %+v, %v, want %+v", got, err, want)
		}
	}
	if tokens.Load() != 1 || requests.Load() < 1 {
		t.Errorf("%d tokens for %d requests, want one for all", tokens.Load(), requests.Load())
	}
	_, err := family.WithAuth(onTop(auth, map[string]string{"clientSecret": "hush-hush"})).Observe(t.Context(), "rabbitmq", metadata)
	if status.Code(err) != codes.Unauthenticated || strings.Contains(err.Error(), "hush") {
		t.Errorf("error = %v, want Unauthenticated without a secret", err)
	}
}

func TestWorkloadIdentity(t *testing.T) {
	api, _ := guarded(t)
	server, tokens := issuer(t, func(request *http.Request) bool {
		form := request.PostForm
		return request.URL.Path == "/tenant/oauth2/v2.0/token" && form.Get("client_id") == "identity" &&
			form.Get("client_assertion") == "proof" && strings.Contains(form.Get("scope"), "api://rabbit/.default")
	})
	file := filepath.Join(t.TempDir(), "token")
	prove := func(assertion string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(assertion), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	prove("proof")
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", file)
	t.Setenv("AZURE_CLIENT_ID", "the process's own")
	t.Setenv("AZURE_TENANT_ID", "elsewhere")
	t.Setenv("AZURE_AUTHORITY_HOST", server.URL)
	id := scaler.PodIdentity{Provider: "azure-workload", IdentityID: "identity", TenantID: "tenant", AuthorityHost: server.URL + "/"}
	auth := map[string]string{"workloadIdentityResource": "api://rabbit", "tls": "enable"}
	scalertest.LendTo(t, "127.0.0.1=api://rabbit")
	metadata := map[string]string{"queueName": "jobs", "host": api + "/v"}

	for range 3 {
		got, err := scalertest.Serve(t, rabbitmq).WithAuth(auth).WithPodIdentity(id).Observe(t.Context(), "rabbitmq", metadata)
		if want := (scalertest.Observation{Value: 3, Active: true}); err != nil || got != want {
			t.Fatalf("observation = %+v, %v, want %+v", got, err, want)
		}
	}
	if got := tokens.Load(); got > 3 {
		t.Errorf("%d tokens for three families, want one each", got)
	}

	tests := map[string]struct {
		assertion string
		identity  scaler.PodIdentity
		code      codes.Code
		message   string
	}{
		"a refused identity": {"hush-hush", id, codes.Unauthenticated,
			"rabbitmq: queue jobs: GET " + api + "/api/queues/v/jobs: workload identity: Entra gives no token: 401 Unauthorized"},
		"an authority of the user's": {"proof", scaler.PodIdentity{Provider: "azure-workload", TenantID: "t", AuthorityHost: "https://entra.example"}, codes.PermissionDenied,
			"rabbitmq: identityAuthorityHost: is neither one of Azure's clouds nor AZURE_AUTHORITY_HOST of this family, and would get the family's token (its flag --identity-hosts makes exceptions, for a host by its name and without an audience)"},
		"another provider is none": {"proof", scaler.PodIdentity{Provider: "aws"}, codes.Unauthenticated,
			"rabbitmq: queue jobs: GET " + api + "/api/queues/v/jobs: 401 Unauthorized"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			prove(tt.assertion)
			_, err := scalertest.Serve(t, rabbitmq).WithAuth(auth).WithPodIdentity(tt.identity).Observe(t.Context(), "rabbitmq", metadata)
			if status.Code(err) != tt.code || status.Convert(err).Message() != tt.message {
				t.Errorf("error = %v, want %v %q", err, tt.code, tt.message)
			}
		})
	}
}
