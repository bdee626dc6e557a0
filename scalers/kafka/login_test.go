package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/amazon"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// tokens answers client credentials as an OAuth server does.
func tokens(t *testing.T, secret string) (address string, bought *atomic.Int64) {
	t.Helper()
	bought = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		id, given, _ := r.BasicAuth()
		if given != secret {
			w.WriteHeader(http.StatusUnauthorized)
			answer(t, w, map[string]any{"error": "invalid_client", "error_description": "no " + given})
			return
		}
		if scope := r.PostFormValue("scope"); scope != "read write" {
			http.Error(w, "scope "+scope, http.StatusBadRequest)
			return
		}
		bought.Add(1)
		answer(t, w, map[string]any{
			"access_token": servers.OAuthToken(id), "token_type": "Bearer", "expires_in": 3600,
		})
	}))
	t.Cleanup(server.Close)
	return server.URL, bought
}

func answer(t *testing.T, w http.ResponseWriter, body map[string]any) {
	t.Helper()
	if err := json.NewEncoder(w).Encode(body); err != nil {
		t.Error(err)
	}
}

// TestLogins logs in to a broker that lets alice and robot see one topic only.
func TestLogins(t *testing.T) {
	k := servers.Kafka(t, servers.KafkaOptions{
		Users: map[string]string{"alice": "wonderland", "eve": "wonderland"}, OAuthBearer: true,
		TLS: true, ClientAuth: true, Authorize: true,
	})
	o := operate(t, k.Bootstrap())
	o.create(1, "open", "listed", "closed")
	o.produce("open", 0, 7)
	o.commit("crew", "open", 0)
	o.commit("crew", "listed", 0)
	o.commit("others", "open", 0)
	o.allow(kadm.NewACLs().Topics("open").Operations(kadm.OpRead, kadm.OpDescribe))
	o.allow(kadm.NewACLs().Topics("listed").Operations(kadm.OpDescribe))
	o.allow(kadm.NewACLs().Groups("crew").Operations(kadm.OpDescribe))

	certificate, key, err := k.Authority.Client("carol")
	if err != nil {
		t.Fatal(err)
	}
	carol := map[string]string{"ca": string(k.Authority.CA), "cert": string(certificate), "key": string(key)}
	alice := map[string]string{"username": "alice", "password": "wonderland"}
	endpoint, bought := tokens(t, "s3cr3t")
	robot := map[string]string{
		"username": "robot", "password": "s3cr3t", "oauthTokenEndpointUri": endpoint, "scopes": "read, ,write",
	}

	sees := scalertest.Observation{Value: 7, Active: true}
	tests := map[string]struct {
		kind     string
		servers  string
		metadata map[string]string
		auth     map[string]string
		want     scalertest.Observation
		code     codes.Code
		message  string // in the error
	}{
		"plain":                               {servers: k.BootstrapSASL(), metadata: map[string]string{"sasl": "plaintext"}, auth: alice, want: sees},
		"SCRAM 256":                           {servers: k.BootstrapSASL(), metadata: map[string]string{"sasl": "scram_sha256"}, auth: alice, want: sees},
		"SCRAM 512":                           {servers: k.BootstrapSASL(), metadata: map[string]string{"sasl": "scram_sha512"}, auth: alice, want: sees},
		"token":                               {servers: k.BootstrapSASL(), metadata: map[string]string{"sasl": "oauthbearer"}, auth: robot, want: sees},
		"mode from the authentication object": {servers: k.BootstrapSASL(), auth: onTop(alice, map[string]string{"sasl": "scram_sha256"}), want: sees},
		"TLS with a certificate":              {servers: k.BootstrapTLS(), metadata: map[string]string{"tls": "enable"}, auth: carol, want: sees},
		"TLS with a password": {servers: k.BootstrapSASLTLS(), metadata: map[string]string{"tls": "enable", "sasl": "plaintext"},
			auth: onTop(carol, alice), want: sees},
		"apache-kafka: SCRAM 512 over TLS": {kind: "apache-kafka", servers: k.BootstrapSASLTLS(),
			metadata: map[string]string{"tls": "enable", "sasl": "scram_sha512"}, auth: onTop(carol, alice), want: sees},
		"TLS without looking": {servers: k.BootstrapSASLTLS(), metadata: map[string]string{"tls": "enable", "sasl": "plaintext", "unsafeSsl": "true"},
			auth: onTop(carol, alice, map[string]string{"ca": ""}), want: sees},
		"wrong password": {servers: k.BootstrapSASL(), metadata: map[string]string{"sasl": "plaintext"},
			auth: onTop(alice, map[string]string{"password": "looking-glass"}), code: codes.Unauthenticated, message: "SASL_AUTHENTICATION_FAILED"},
		"wrong SCRAM password": {servers: k.BootstrapSASL(), metadata: map[string]string{"sasl": "scram_sha256"},
			auth: onTop(alice, map[string]string{"password": "looking-glass"}), code: codes.Unauthenticated, message: "SASL_AUTHENTICATION_FAILED"},
		"wrong client secret": {servers: k.BootstrapSASL(), metadata: map[string]string{"sasl": "oauthbearer"},
			auth: onTop(robot, map[string]string{"password": "looking-glass"}), code: codes.Unauthenticated, message: "token endpoint"},
		"unknown authority": {servers: k.BootstrapTLS(), metadata: map[string]string{"tls": "enable"},
			auth: onTop(carol, map[string]string{"ca": ""}), code: codes.Unavailable, message: "unknown authority, see parameter ca"},
		"no client certificate": {servers: k.BootstrapTLS(), metadata: map[string]string{"tls": "enable"},
			auth: map[string]string{"ca": string(k.Authority.CA)}, code: codes.Unauthenticated, message: "certificate"},
		"topic not allowed": {servers: k.BootstrapSASL(), metadata: map[string]string{"sasl": "plaintext", "topic": "closed"}, auth: alice,
			code: codes.PermissionDenied, message: "topic closed: TOPIC_AUTHORIZATION_FAILED"},
		"group not allowed": {servers: k.BootstrapSASL(), metadata: map[string]string{"sasl": "plaintext", "consumerGroup": "others"}, auth: alice,
			code: codes.PermissionDenied, message: "consumer group others: GROUP_AUTHORIZATION_FAILED"},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			kind := tt.kind
			if kind == "" {
				kind = "kafka"
			}
			metadata := onTop(map[string]string{
				"bootstrapServers": tt.servers, "consumerGroup": "crew", "topic": "open",
			}, tt.metadata)
			got, err := family.WithAuth(tt.auth).Observe(t.Context(), kind, metadata)
			if status.Code(err) != tt.code || !strings.Contains(message(err), tt.message) {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if strings.Contains(message(err), "looking-glass") {
				t.Errorf("the error holds the secret: %v", err)
			}
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
	if bought.Load() != 1 {
		t.Errorf("%d tokens were bought, want 1 for all connections", bought.Load())
	}

	t.Run("doorbell without the permission to read", func(t *testing.T) {
		secured, err := kafkaLogin{account: account{"alice", "wonderland"}, SASL: saslPlaintext}.security(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c := join(t, k.BootstrapSASL(), secured)
		listed := listenTo(t, newLagSource(c, question{group: "crew", topics: []string{"listed"}}))
		open := listenTo(t, newLagSource(c, question{group: "crew", topics: []string{"open"}}))
		want := scaler.ErrDoorbellRefused.Error() + ": fetching from topic listed needs the permission Read on it"
		if err := listed.end(); err.Error() != want {
			t.Errorf("ended with %v, want %q", err, want)
		}
		o.produce("open", 0, 1)
		open.heard()
	})
}

// allow gives permissions to the principals of this test.
func (o operator) allow(acls *kadm.ACLBuilder) {
	o.t.Helper()
	acls = acls.ResourcePatternType(kadm.ACLPatternLiteral).
		Allow("User:alice", "User:robot", "User:carol").AllowHosts()
	made, err := o.admin.CreateACLs(o.t.Context(), acls)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, acl := range made {
		if acl.Err != nil {
			o.t.Fatal(acl.Err)
		}
	}
}

// TestMSKToken proves that the token of MSK IAM is signed for the region that
// the user names, and signed once.
func TestMSKToken(t *testing.T) {
	p := awsParams{AWSRegion: "eu-west-3", Params: amazon.Params{AWSAccessKeyID: "AKIAEXAMPLE", AWSSecretAccessKey: "s3cr3t"}}
	ctx, release := scaler.Opening(t.Context())
	defer release()
	config, err := p.Config(ctx, p.AWSRegion, lending.AmazonMSK)
	if err != nil {
		t.Fatal(err)
	}
	signed := &signedToken{region: p.AWSRegion, provider: config.Credentials}
	token, err := signed.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"kafka.eu-west-3.amazonaws.com", "Action=kafka-cluster%3AConnect", "AKIAEXAMPLE%2F"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("token %s lacks %s", text, part)
		}
	}
	if again, err := signed.get(t.Context()); again != token || err != nil {
		t.Errorf("signed again: %v", err)
	}
}

func TestSilent(t *testing.T) {
	tests := map[string]struct {
		server string
		silent bool
	}{
		"own brokers":    {server: "kafka-0.kafka.svc:9092"},
		"event hubs":     {server: "orders.servicebus.windows.net:9093", silent: true},
		"confluent":      {server: "pkc-1.eu-west-1.aws.confluent.cloud:9092", silent: true},
		"msk":            {server: "b-1.orders.abc.c2.kafka.eu-west-1.amazonaws.com:9098"},
		"msk serverless": {server: "boot-abc.c2.kafka-serverless.eu-west-1.amazonaws.com:9098", silent: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			reason := brokerParams{BootstrapServers: []string{"localhost", tt.server}}.Silent()
			if (reason != "") != tt.silent {
				t.Errorf("silent because %q, want %v", reason, tt.silent)
			}
		})
	}
}
