package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/amazon"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// The managed services have no server that can be run here: guarded stands in
// and checks requests as they do.

// signed checks a signature as AWS does: it signs what came with the secret
// that it knows, and compares.
func signed(t *testing.T, key aws.Credentials, region string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		got := r.Header.Get("Authorization")
		_, headers, found := strings.Cut(got, "SignedHeaders=")
		if !found {
			return false
		}
		headers, _, _ = strings.Cut(headers, ",")
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil || time.Since(at).Abs() > 5*time.Minute || r.Header.Get("X-Amz-Security-Token") != key.SessionToken {
			return false
		}
		again, err := http.NewRequestWithContext(t.Context(), r.Method, "http://"+r.Host+r.URL.RequestURI(), nil)
		if err != nil {
			return false
		}
		for _, name := range strings.Split(headers, ";") {
			if value := r.Header.Get(name); value != "" {
				again.Header.Set(name, value)
			}
		}
		if err := v4.NewSigner().SignHTTP(t.Context(), key, again, nothing, "aps", region, at); err != nil {
			return false
		}
		return again.Header.Get("Authorization") == got
	}
}

func TestAWS(t *testing.T) {
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		role := map[string]string{"arn:aws:iam::1:role/metrics": "", "arn:aws:iam::1:role/partner": "x1"}
		if external, known := role[r.PostFormValue("RoleArn")]; !known || r.PostFormValue("ExternalId") != external {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>hush-hush</Message></Error></ErrorResponse>`)
			return
		}
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprint(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>`+
			`<SecretAccessKey>of-role</SecretAccessKey><SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>`+
			`</Credentials></AssumeRoleResult></AssumeRoleResponse>`)
	}))
	defer sts.Close()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_STS": sts.URL, "AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "of-process",
		"AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	} {
		t.Setenv(name, value)
	}
	scalertest.LendTo(t, "127.0.0.1")
	own := aws.Credentials{AccessKeyID: "AKIAOWN", SecretAccessKey: "of-process"}
	role := aws.Credentials{AccessKeyID: "ASIAROLE", SecretAccessKey: "of-role", SessionToken: "session"}
	keys := map[string]string{"awsAccessKeyID": "AKIA", "awsSecretAccessKey": "hush-hush"}
	tests := map[string]struct {
		accepts  aws.Credentials
		metadata map[string]string
		auth     map[string]string
		identity scaler.PodIdentity
		code     codes.Code
	}{
		"keys":                       {accepts: aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "hush-hush"}, auth: keys},
		"wrong keys":                 {accepts: own, auth: keys, code: codes.Unauthenticated},
		"the process":                {accepts: own, metadata: map[string]string{"identityOwner": "operator"}},
		"pod identity":               {accepts: own, identity: scaler.PodIdentity{Provider: "aws"}},
		"a role":                     {accepts: role, identity: scaler.PodIdentity{Provider: "aws", RoleARN: "arn:aws:iam::1:role/metrics"}},
		"a role of others":           {accepts: role, identity: scaler.PodIdentity{Provider: "aws", RoleARN: "arn:aws:iam::1:role/other"}, code: codes.PermissionDenied},
		"a role with an external id": {accepts: role, identity: scaler.PodIdentity{Provider: "aws", RoleARN: "arn:aws:iam::1:role/partner", ExternalID: "x1"}},
		"another external id":        {accepts: role, identity: scaler.PodIdentity{Provider: "aws", RoleARN: "arn:aws:iam::1:role/partner", ExternalID: "x2"}, code: codes.PermissionDenied},
		"temporary keys": {accepts: aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "hush-hush", SessionToken: "hush-hush-too"}, auth: map[string]string{
			"awsAccessKeyID": "AKIA", "awsSecretAccessKey": "hush-hush", "awsSessionToken": "hush-hush-too"}},
		"the region of the authentication": {accepts: aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "hush-hush"}, metadata: map[string]string{"awsRegion": ""},
			auth: map[string]string{"awsAccessKeyID": "AKIA", "awsSecretAccessKey": "hush-hush", "awsRegion": "eu-west-1"}},
		"headers of the user are signed": {accepts: own, metadata: map[string]string{
			"identityOwner": "operator", "customHeaders": "X-Scope-OrgID=shop", "query": "sum(a{b=~\"c d.*\"}) / 2"}},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := guarded(t, signed(t, tt.accepts, "eu-west-1"))
			metadata := trigger(server.URL+"/workspaces/ws-1", map[string]string{"awsRegion": "eu-west-1"})
			maps.Copy(metadata, tt.metadata)
			got, err := family.WithAuth(tt.auth).WithPodIdentity(tt.identity).Observe(t.Context(), "prometheus", metadata)
			if status.Code(err) != tt.code || err != nil && strings.Contains(err.Error(), "hush-hush") || err == nil && got.Value != 3 {
				t.Errorf("observation = %+v, %v, want %v", got, err, tt.code)
			}
		})
	}
}

// TestRefusalsOfAWorkspace: what a workspace refuses is its owner's matter, unless it
// says that the credentials are not good any more. Others share them.
func TestRefusalsOfAWorkspace(t *testing.T) {
	var assumed atomic.Int64
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA%d</AccessKeyId>`+
			`<SecretAccessKey>of-role</SecretAccessKey><SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>`+
			`</Credentials></AssumeRoleResult></AssumeRoleResponse>`, assumed.Add(1))
	}))
	defer sts.Close()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_STS": sts.URL, "AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "of-process",
		"AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	} {
		t.Setenv(name, value)
	}
	scalertest.LendTo(t, "127.0.0.1")
	var said atomic.Value
	workspace := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amzn-Errortype", said.Load().(string))
		w.WriteHeader(http.StatusForbidden)
	}))
	defer workspace.Close()
	source, err := scalertest.Open(t, openPrometheus, prometheusParams{
		ServerAddress: workspace.URL, Query: "up",
		managedParams: managedParams{AWSRegion: "eu-west-1", Params: amazon.Params{
			PodIdentity: scaler.PodIdentity{Provider: "aws", RoleARN: "arn:aws:iam::1:role/metrics"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		said string
		want int64 // roles assumed by the read after it
	}{{"AccessDeniedException", 1}, {"", 1}, {"InvalidSignatureException", 1}, {"ExpiredTokenException", 1}, {"ExpiredTokenException", 2}, {"ExpiredTokenException", 2}} {
		said.Store(step.said)
		if _, err := source.Read(t.Context()); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: error = %v", step.said, err)
		}
		if got := assumed.Load(); got != step.want {
			t.Errorf("%s: the role was assumed %d times, want %d", step.said, got, step.want)
		}
	}
}

func TestGoogle(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	var tokens atomic.Int64
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var claims struct {
			Issuer string `json:"iss"`
			Scope  string `json:"scope"`
		}
		parts := strings.Split(r.FormValue("assertion"), ".")
		if len(parts) == 3 {
			text, _ := base64.RawURLEncoding.DecodeString(parts[1])
			_ = json.Unmarshal(text, &claims)
		}
		if claims.Issuer != "reader@shop.iam" || claims.Scope != "https://www.googleapis.com/auth/monitoring.read" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		tokens.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "of-google", "token_type": "Bearer", "expires_in": 3600})
	}))
	defer issuer.Close()
	key := func(email string) string {
		text, err := json.Marshal(map[string]string{
			"type": "service_account", "client_email": email, "token_uri": issuer.URL, "project_id": "shop",
			"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, []byte(key("reader@shop.iam")), 0o600); err != nil {
		t.Fatal(err)
	}
	scalertest.Readable(t, filepath.Dir(file))
	scalertest.LendTo(t, "127.0.0.1")
	tests := map[string]struct {
		auth, env map[string]string
		metadata  map[string]string
		code      codes.Code
		message   string // "" is any
	}{
		"a key":                  {auth: map[string]string{"GoogleApplicationCredentials": key("reader@shop.iam")}},
		"a key of a variable":    {env: map[string]string{"KEY": key("reader@shop.iam")}, metadata: map[string]string{"credentialsFromEnv": "KEY"}},
		"a key of somebody else": {auth: map[string]string{"GoogleApplicationCredentials": key("other@shop.iam")}, code: codes.Unauthenticated},
		"a key of a file":        {env: map[string]string{"FILE": file}, metadata: map[string]string{"credentialsFromEnvFile": "FILE"}},
		"a file that is not listed": {
			env: map[string]string{"FILE": "/etc/passwd"}, metadata: map[string]string{"credentialsFromEnvFile": "FILE"}, code: codes.PermissionDenied,
			message: `prometheus: credentialsFromEnvFile: file "***": the family's --readable-files does not list it`,
		},
		"a key before a file": {
			auth: map[string]string{"GoogleApplicationCredentials": key("reader@shop.iam")},
			env:  map[string]string{"FILE": "/etc/passwd"}, metadata: map[string]string{"credentialsFromEnvFile": "FILE"},
		},
		"a key that is no key":    {auth: map[string]string{"GoogleApplicationCredentials": "hush-hush"}, code: codes.InvalidArgument},
		"the literal has no part": {metadata: map[string]string{"credentials": key("reader@shop.iam")}, code: codes.Unauthenticated},
	}
	server := guarded(t, header("Authorization", "Bearer of-google"))
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := family.WithAuth(tt.auth).WithEnv(tt.env).Observe(t.Context(), "prometheus", trigger(server.URL, tt.metadata))
			if status.Code(err) != tt.code || err != nil && strings.Contains(err.Error(), "hush-hush") || err == nil && got.Value != 3 {
				t.Errorf("observation = %+v, %v, want %v", got, err, tt.code)
			}
			if tt.message != "" && status.Convert(err).Message() != tt.message {
				t.Errorf("error = %v, want %s", err, tt.message)
			}
		})
	}
	if got := tokens.Load(); got > 2 {
		t.Errorf("%d tokens for two triggers", got)
	}
}

func TestAzure(t *testing.T) {
	servers.Entra(t, trusted, func(scope string) string {
		resource, _, _ := strings.Cut(scope, "/.default")
		return "for " + resource
	})
	scalertest.LendTo(t, "127.0.0.1, prometheus.example")
	identity := scaler.PodIdentity{Provider: "azure-workload", IdentityID: servers.EntraIdentity, TenantID: servers.EntraTenant}
	other := identity
	other.IdentityID = "other"
	tests := map[string]struct {
		accepts  string
		metadata map[string]string
		identity scaler.PodIdentity
		code     codes.Code
	}{
		"public":            {accepts: "https://prometheus.monitor.azure.com", identity: identity},
		"US government":     {accepts: "https://prometheus.monitor.azure.us", metadata: map[string]string{"cloud": "AZUREUSGOVERNMENTCLOUD"}, identity: identity},
		"China":             {accepts: "https://prometheus.monitor.azure.cn", metadata: map[string]string{"cloud": "AzureChinaCloud"}, identity: identity},
		"private":           {accepts: "https://prometheus.example", metadata: map[string]string{"cloud": "Private", "azureManagedPrometheusResourceURL": "https://prometheus.example/"}, identity: identity},
		"another identity":  {accepts: "https://prometheus.monitor.azure.com", identity: other, code: codes.Unauthenticated},
		"another service's": {accepts: "https://prometheus.example", identity: identity, code: codes.Unauthenticated},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := guarded(t, header("Authorization", "Bearer for "+tt.accepts))
			got, err := family.WithPodIdentity(tt.identity).Observe(t.Context(), "prometheus", trigger(server.URL, tt.metadata))
			if status.Code(err) != tt.code || err != nil && strings.Contains(err.Error(), "hush-hush") || err == nil && got.Value != 3 {
				t.Errorf("observation = %+v, %v, want %v", got, err, tt.code)
			}
		})
	}
}

func TestIdentityParameters(t *testing.T) {
	tests := map[string]struct {
		metadata map[string]string
		auth     map[string]string
		identity scaler.PodIdentity
		message  string
	}{
		"pod identity and modes": {metadata: map[string]string{"authModes": "bearer"}, auth: map[string]string{"bearerToken": "t"},
			identity: scaler.PodIdentity{Provider: "gcp"}, message: "authModes: cannot be combined with pod identity gcp"},
		"AWS without a region":    {identity: scaler.PodIdentity{Provider: "aws"}, message: "awsRegion: is required to sign requests for AWS"},
		"a key without a secret":  {auth: map[string]string{"awsAccessKeyID": "AKIA", "awsRegion": "r"}, message: "awsSecretAccessKey: is required without a role or pod identity"},
		"an owner of nobody":      {metadata: map[string]string{"identityOwner": "me"}, message: `identityOwner: "me" is not one of pod, operator`},
		"a cloud of nobody":       {metadata: map[string]string{"cloud": "Cumulus"}, identity: scaler.PodIdentity{Provider: "azure-workload"}, message: `cloud: "Cumulus" is not one of AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, Private`},
		"a host to sign for":      {metadata: map[string]string{"customHeaders": "hOst=sts.amazonaws.com,X-Amz-Security-Token=mine,X-Scope-OrgID=shop", "awsRegion": "eu-west-1"}, identity: scaler.PodIdentity{Provider: "aws"}, message: "customHeaders: X-Amz-Security-Token cannot be given with an identity of a cloud; customHeaders: hOst cannot be given with an identity of a cloud"},
		"private without address": {metadata: map[string]string{"cloud": "private"}, identity: scaler.PodIdentity{Provider: "azure-workload"}, message: "azureManagedPrometheusResourceURL: is required with cloud Private"},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := family.WithAuth(tt.auth).WithPodIdentity(tt.identity).Observe(t.Context(), "prometheus", trigger("http://127.0.0.1:1", tt.metadata))
			if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "prometheus: "+tt.message {
				t.Errorf("error = %v, want %q", err, "prometheus: "+tt.message)
			}
		})
	}
	// Keys of AWS that lie around do not disturb those who log in otherwise.
	server := guarded(t, header("Authorization", "Bearer t"))
	got, err := family.WithAuth(map[string]string{"bearerToken": "t", "awsAccessKeyID": "AKIA"}).
		Observe(t.Context(), "prometheus", trigger(server.URL, map[string]string{"authModes": "bearer", "cloud": "Cumulus"}))
	if err != nil || got.Value != 3 {
		t.Errorf("observation = %+v, %v", got, err)
	}
}
