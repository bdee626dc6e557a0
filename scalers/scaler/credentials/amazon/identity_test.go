package amazon_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/amazon"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

func TestMain(m *testing.M) {
	outbound.Allow(outbound.Loopback...) // where servers are
	goleak.VerifyTestMain(m)
}

// client ends its connections with the test.
func client(t *testing.T) *http.Client {
	c := &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// process gives this process an environment of AWS and takes away what the
// machine has of one.
func process(t *testing.T, environment map[string]string) {
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_PROFILE",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	for name, value := range environment {
		t.Setenv(name, value)
	}
}

func write(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func config(t *testing.T, id amazon.Identity) aws.Config {
	t.Helper()
	id.Region = "eu-west-1"
	c, err := id.Config(t.Context(), client(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAProcessWithoutIdentitySaysSo(t *testing.T) {
	process(t, nil)
	_, err := config(t, amazon.Identity{RoleARN: role}).Credentials.Retrieve(t.Context())
	err = amazon.Failure(err)
	want := "aws: the process has no identity: neither keys nor a role of its ServiceAccount nor one of its node"
	if status.Code(err) != codes.Unauthenticated || status.Convert(err).Message() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

// tokens is a stand-in for STS that can be told what to answer: the real one
// cannot be made to refuse or to give credentials that end soon.
type tokens struct {
	*httptest.Server

	mu      sync.Mutex
	asked   []map[string]string // the forms, with "signed" for who signed
	refused map[string]bool     // by action
	last    time.Duration       // how long credentials are good for
}

func newTokens(t *testing.T) *tokens {
	s := &tokens{refused: map[string]bool{}, last: time.Hour}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *tokens) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	form := map[string]string{"signed": request.Header.Get("Authorization")}
	if err := request.ParseForm(); err != nil {
		http.Error(w, "no form", http.StatusBadRequest)
		return
	}
	for key := range request.PostForm {
		form[key] = request.PostForm.Get(key)
	}
	s.asked = append(s.asked, form)
	action := form["Action"]
	if s.refused[action] {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>the secret canonical request</Message></Error></ErrorResponse>`)
		return
	}
	fmt.Fprintf(w, `<%[1]sResponse><%[1]sResult><Credentials><AccessKeyId>ASIA%[2]d</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%[3]s</Expiration></Credentials></%[1]sResult></%[1]sResponse>`,
		action, len(s.asked), time.Now().Add(s.last).UTC().Format(time.RFC3339))
}

// set changes the answers.
func (s *tokens) set(change func(*tokens)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *tokens) forms() []map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]map[string]string(nil), s.asked...)
}

const role = "arn:aws:iam::123456789012:role/reader"

func TestRoleByProjectedToken(t *testing.T) {
	s := newTokens(t)
	process(t, map[string]string{
		"AWS_ENDPOINT_URL_STS": s.URL, "AWS_WEB_IDENTITY_TOKEN_FILE": write(t, "projected"),
		"AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "own",
	})
	c := config(t, amazon.Identity{RoleARN: role, ExternalID: "customer", Federated: true})
	if _, err := c.Credentials.Retrieve(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked := s.forms()
	if len(asked) != 1 {
		t.Fatalf("asked %v", asked)
	}
	want := map[string]string{
		"Action": "AssumeRoleWithWebIdentity", "RoleArn": role, "RoleSessionName": "KEDA", "WebIdentityToken": "projected", "signed": "",
	}
	for key, value := range want {
		if asked[0][key] != value {
			t.Errorf("%s = %q, want %q", key, asked[0][key], value)
		}
	}
}

func TestRoleWhenTheProjectedTokenIsRefused(t *testing.T) {
	s := newTokens(t)
	s.refused["AssumeRoleWithWebIdentity"] = true
	process(t, map[string]string{
		"AWS_ENDPOINT_URL_STS": s.URL, "AWS_WEB_IDENTITY_TOKEN_FILE": write(t, "projected"),
		"AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "own",
	})
	c := config(t, amazon.Identity{RoleARN: role, ExternalID: "customer", Federated: true})
	if _, err := c.Credentials.Retrieve(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked := s.forms()
	got := asked[len(asked)-1]
	if got["Action"] != "AssumeRole" || got["ExternalId"] != "customer" || got["RoleSessionName"] != "KEDA" ||
		!strings.Contains(got["signed"], "Credential=AKIAOWN/") {
		t.Errorf("asked %v", got)
	}

	s.set(func(s *tokens) { s.refused["AssumeRole"] = true })
	_, err := config(t, amazon.Identity{RoleARN: role, ExternalID: "customer", Federated: true}).Credentials.Retrieve(t.Context())
	err = amazon.Failure(err)
	want := "STS AssumeRole: AccessDenied, after STS AssumeRoleWithWebIdentity: AccessDenied"
	if status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

func TestCredentialsAreRenewedAheadOfTheirEnd(t *testing.T) {
	s := newTokens(t)
	process(t, map[string]string{"AWS_ENDPOINT_URL_STS": s.URL, "AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "own"})
	retrieve := func(c aws.Config) string {
		t.Helper()
		got, err := c.Credentials.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got.AccessKeyID
	}
	lasting := config(t, amazon.Identity{RoleARN: role})
	if first, second := retrieve(lasting), retrieve(lasting); first != second {
		t.Errorf("%s is fetched again as %s", first, second)
	}

	s.set(func(s *tokens) { s.last = time.Minute })
	ending := config(t, amazon.Identity{RoleARN: role})
	first := retrieve(ending)
	if second := retrieve(ending); first == second {
		t.Error("credentials of one minute are not renewed")
	}
	// While STS refuses, what has not ended yet serves.
	s.set(func(s *tokens) { s.refused["AssumeRole"] = true })
	if kept := retrieve(ending); kept == "" || kept == first {
		t.Errorf("kept %q", kept)
	}
}

func TestEKSPodIdentity(t *testing.T) {
	token := write(t, "pod-token")
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Header.Get("Authorization") != "pod-token" {
			http.Error(w, "who is that", http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"AccessKeyId":"ASIAPOD","SecretAccessKey":"s","Token":"t","Expiration":%q}`,
			time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(agent.Close)
	process(t, map[string]string{
		"AWS_CONTAINER_CREDENTIALS_FULL_URI":     agent.URL + "/v1/credentials",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": token,
	})
	got, err := config(t, amazon.Identity{}).Credentials.Retrieve(t.Context())
	if err != nil || got.AccessKeyID != "ASIAPOD" {
		t.Errorf("got %s, %v", got.AccessKeyID, err)
	}
}

func TestFailures(t *testing.T) {
	answers := func(code int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	refusal := func(code string) string {
		return "<ErrorResponse><Error><Code>" + code + "</Code><Message>secret-text</Message></Error></ErrorResponse>"
	}
	tests := map[string]struct {
		url  string
		code codes.Code
		text string
	}{
		"denied":       {answers(403, refusal("AccessDenied")), codes.PermissionDenied, "STS GetCallerIdentity: AccessDenied"},
		"expired":      {answers(403, refusal("ExpiredToken")), codes.Unauthenticated, "STS GetCallerIdentity: ExpiredToken"},
		"throttled":    {answers(400, refusal("Throttling")), codes.Unavailable, "STS GetCallerIdentity: Throttling"},
		"not found":    {answers(400, refusal("ResourceNotFoundException")), codes.NotFound, "STS GetCallerIdentity: ResourceNotFoundException"},
		"another":      {answers(400, refusal("Odd")), codes.FailedPrecondition, "STS GetCallerIdentity: Odd"},
		"broken":       {answers(503, refusal("ServiceUnavailable")), codes.Unavailable, "STS GetCallerIdentity: ServiceUnavailable"},
		"half answers": {answers(200, "<GetCallerIdentityResponse><secret-text"), codes.Unavailable, "STS GetCallerIdentity: "},
		"dead":         {"http://" + scalertest.DeadAddress(t), codes.Unavailable, "STS GetCallerIdentity: "},
		"stalled":      {"http://" + scalertest.StalledAddress(t), codes.DeadlineExceeded, "STS GetCallerIdentity: no answer in time"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := config(t, amazon.Identity{AccessKeyID: "AKIA", SecretAccessKey: "s"})
			c.BaseEndpoint = &tt.url
			client := sts.NewFromConfig(c, func(o *sts.Options) { o.RetryMaxAttempts = 1 })
			limit := 30 * time.Second
			if tt.code == codes.DeadlineExceeded {
				limit = 100 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
			err = amazon.Failure(err)
			text := status.Convert(err).Message()
			if status.Code(err) != tt.code || !strings.HasPrefix(text, tt.text) || strings.Contains(text, "secret-text") {
				t.Errorf("error = %v, want %v %q", err, tt.code, tt.text)
			}
		})
	}
	if amazon.Failure(nil) != nil {
		t.Error("no failure is one")
	}
}
