package google_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/google"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/internal/scopetest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

func TestMain(m *testing.M) {
	outbound.Allow(outbound.Loopback...) // the tests' servers
	goleak.VerifyTestMain(m)
}

// cloud is a stand-in for Google's token endpoint, which checks the signature
// and the claims of an assertion, and for Secret Manager, which checks the
// token: there is no server of either that a test can run.
type cloud struct {
	*httptest.Server
	key     *rsa.PrivateKey
	fetched atomic.Int32
	refuse  atomic.Bool
	lasting atomic.Int64 // seconds that a token is good for
	damaged atomic.Bool
}

func newCloud(t *testing.T) *cloud {
	scalertest.LendTo(t, "127.0.0.1")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{key: key}
	c.lasting.Store(3600)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", c.token)
	mux.HandleFunc("GET /v1/projects/{project}/secrets/{id}/versions/{version}", c.secret)
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

// accountKey is the JSON key of the service account that c knows.
func (c *cloud) accountKey(project string) string {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		panic(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": project, "private_key_id": "k1",
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": "scaler@" + project + ".iam.gserviceaccount.com", "token_uri": c.URL + "/token",
	})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (c *cloud) token(w http.ResponseWriter, request *http.Request) {
	c.fetched.Add(1)
	if problem := c.checkAssertion(request); problem != "" || c.refuse.Load() {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":"invalid_grant","error_description":"%s %s"}`, problem, request.PostFormValue("assertion"))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"access_token":"access-%d","token_type":"Bearer","expires_in":%d}`, c.fetched.Load(), c.lasting.Load())
}

func (c *cloud) checkAssertion(request *http.Request) string {
	if request.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return "grant_type"
	}
	parts := strings.Split(request.PostFormValue("assertion"), ".")
	if len(parts) != 3 {
		return "no assertion"
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return "signature"
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(&c.key.PublicKey, crypto.SHA256, digest[:], signature) != nil {
		return "signature"
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "claims"
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Scope    string `json:"scope"`
		Audience string `json:"aud"`
		Expires  int64  `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Audience != c.URL+"/token" ||
		claims.Scope != google.Scope || claims.Expires < time.Now().Unix() || !strings.HasPrefix(claims.Issuer, "scaler@") {
		return "claims"
	}
	return ""
}

func (c *cloud) secret(w http.ResponseWriter, request *http.Request) {
	if !strings.HasPrefix(request.Header.Get("Authorization"), "Bearer access-") {
		http.Error(w, "who is "+request.Header.Get("Authorization"), http.StatusUnauthorized)
		return
	}
	values := map[string]string{
		"shop/orders/latest:access": "the latest", "shop/orders/3:access": "the third", "shop/empty/latest:access": "",
	}
	name := request.PathValue("project") + "/" + request.PathValue("id") + "/" + request.PathValue("version")
	value, there := values[name]
	switch {
	case strings.HasPrefix(name, "shop/forbidden"):
		http.Error(w, "the secret forbidden", http.StatusForbidden)
	case !there:
		http.Error(w, "no such secret", http.StatusNotFound)
	default:
		sum := crc32.Checksum([]byte(value), crc32.MakeTable(crc32.Castagnoli))
		if c.damaged.Load() {
			sum++
		}
		fmt.Fprintf(w, `{"name":"n","payload":{"data":%q,"dataCrc32c":"%d"}}`, base64.StdEncoding.EncodeToString([]byte(value)), sum)
	}
}

func read(t *testing.T, c *cloud, block string, scope scopetest.Scope) (*store.Values, error) {
	t.Helper()
	return google.SecretManager{Endpoint: c.URL, HTTP: func() (*http.Client, error) {
		return &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}, nil
	}}.Read(t.Context(), json.RawMessage(block), scope)
}

func TestSecrets(t *testing.T) {
	c := newCloud(t)
	keyed := `{"credentials":{"clientSecret":{"valueFrom":{"secretKeyRef":{"name":"gcp","key":"json"}}}},"secrets":[{"parameter":"p","id":"%s","version":"%s"}]}`
	own := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(own, []byte(c.accountKey("shop")), 0o600); err != nil {
		t.Fatal(err)
	}
	stranger := newCloud(t) // signs with another key
	foreign := strings.ReplaceAll(stranger.accountKey("shop"), stranger.URL, c.URL)
	tests := map[string]struct {
		block   string
		key     string // default: the one that c knows
		want    string
		code    codes.Code
		message string
	}{
		"the latest":                 {block: fmt.Sprintf(keyed, "orders", ""), want: "the latest"},
		"a version":                  {block: fmt.Sprintf(keyed, "orders", "3"), want: "the third"},
		"the process":                {block: `{"podIdentity":{"provider":"gcp"},"secrets":[{"parameter":"p","id":"orders"}]}`, want: "the latest"},
		"a missing secret":           {block: fmt.Sprintf(keyed, "bills", ""), code: codes.NotFound, message: "secret bills of project shop: version latest: 404 Not Found"},
		"a missing version":          {block: fmt.Sprintf(keyed, "orders", "9"), code: codes.NotFound, message: "secret orders of project shop: version 9: 404 Not Found"},
		"a forbidden one":            {block: fmt.Sprintf(keyed, "forbidden", ""), code: codes.PermissionDenied, message: "secret forbidden of project shop: version latest: 403 Forbidden"},
		"a revoked key":              {block: fmt.Sprintf(keyed, "orders", ""), key: foreign, code: codes.Unauthenticated, message: "secret orders of project shop: Google gives no token: 400 Bad Request"},
		"a key of a user":            {block: fmt.Sprintf(keyed, "orders", ""), key: `{"type":"authorized_user"}`, code: codes.InvalidArgument, message: "the Google credentials are not the key of a service account"},
		"no key at all":              {block: fmt.Sprintf(keyed, "orders", ""), key: "swordfish", code: codes.InvalidArgument, message: "the key of the Google service account is not JSON"},
		"a broken key":               {block: fmt.Sprintf(keyed, "orders", ""), key: `{"type":"service_account","project_id":"shop","private_key":"swordfish","token_uri":"` + c.URL + `/token"}`, code: codes.Unavailable, message: "secret orders of project shop: the answer cannot be understood"},
		"a key that leads to a node": {block: fmt.Sprintf(keyed, "orders", ""), key: `{"type":"service_account","project_id":"shop","token_uri":"http://169.254.169.254/computeMetadata/v1/"}`, code: codes.InvalidArgument, message: "token_uri of the Google service account's key is not Google's (the family's flag --identity-hosts makes exceptions)"},
		"no project":                 {block: fmt.Sprintf(keyed, "orders", ""), key: c.accountKey(""), code: codes.FailedPrecondition, message: "gcpSecretManager: the project is not known: the key has no project_id, and the family no CLOUDSDK_CORE_PROJECT"},
		"no secret":                  {block: `{"credentials":{"clientSecret":{"valueFrom":{"secretKeyRef":{"name":"other","key":"json"}}}},"secrets":[{"parameter":"p","id":"orders"}]}`, code: codes.NotFound, message: "other/json is absent"},
		"all problems": {block: `{"podIdentity":{"provider":"aws"},"secrets":[{}]}`, code: codes.InvalidArgument,
			message: `gcpSecretManager.secrets[0].parameter: is required; gcpSecretManager.secrets[0].id: is required; gcpSecretManager.podIdentity.provider: "aws" is not one of gcp, none`},
		"no identity": {block: `{"secrets":[{"parameter":"p","id":"orders"}]}`, code: codes.InvalidArgument,
			message: "gcpSecretManager.credentials: is required without podIdentity gcp"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", own)
			t.Setenv("CLOUDSDK_CORE_PROJECT", "")
			key := tt.key
			if key == "" {
				key = c.accountKey("shop")
			}
			got, err := read(t, c, tt.block, scopetest.Scope{Secrets: map[string]string{"gcp/json": key}})
			if status.Code(err) != tt.code || err != nil && status.Convert(err).Message() != tt.message {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if err == nil && got.Parameters["p"] != tt.want {
				t.Errorf("p = %q, want %q", got.Parameters["p"], tt.want)
			}
		})
	}
	t.Run("a damaged answer", func(t *testing.T) {
		c.damaged.Store(true)
		_, err := read(t, c, fmt.Sprintf(keyed, "orders", ""), scopetest.Scope{Secrets: map[string]string{"gcp/json": c.accountKey("shop")}})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "was damaged") {
			t.Errorf("error = %v", err)
		}
	})
}

func TestServersThatDoNotAnswer(t *testing.T) {
	c := newCloud(t)
	scope := scopetest.Scope{Secrets: map[string]string{"gcp/json": c.accountKey("shop")}}
	block := `{"credentials":{"clientSecret":{"valueFrom":{"secretKeyRef":{"name":"gcp","key":"json"}}}},"secrets":[{"parameter":"p","id":"orders"}]}`
	for name, tt := range map[string]struct {
		address string
		code    codes.Code
	}{
		"dead":    {scalertest.DeadAddress(t), codes.Unavailable},
		"stalled": {scalertest.StalledAddress(t), codes.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := google.SecretManager{Endpoint: "http://" + tt.address, HTTP: func() (*http.Client, error) {
				return &http.Client{Transport: &http.Transport{}, Timeout: 500 * time.Millisecond}, nil
			}}.Read(t.Context(), json.RawMessage(block), scope)
			if status.Code(err) != tt.code {
				t.Errorf("error = %v, want %v", err, tt.code)
			}
		})
	}
}

func TestTokensAreRenewedAheadOfTheirEnd(t *testing.T) {
	c := newCloud(t)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	token := func(account *google.Account) string {
		t.Helper()
		got, err := account.Token()
		if err != nil {
			t.Fatal(err)
		}
		return got.AccessToken
	}
	account := func() *google.Account {
		got, err := google.Identity{Key: c.accountKey("shop")}.Account(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	lasting := account()
	if first, second := token(lasting), token(lasting); first != second {
		t.Errorf("%s is fetched again as %s", first, second)
	}
	c.lasting.Store(60)
	ending := account()
	if first, second := token(ending), token(ending); first == second {
		t.Error("a token of one minute is not renewed")
	}
	c.refuse.Store(true)
	if token(ending) == "" {
		t.Error("a token that has not ended is dropped because renewing fails")
	}
}

// TestKeysThatTakeLongAreRefused: nothing ends the work on a key of many
// thousand bits.
func TestKeysThatTakeLongAreRefused(t *testing.T) {
	key, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "a@b", "token_uri": "https://oauth2.googleapis.com/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: make([]byte, 1<<20)})),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (google.Identity{Key: string(key)}).Account(t.Context(), http.DefaultClient); err == nil || !strings.Contains(err.Error(), "longer than an RSA key of 8192 bits") {
		t.Errorf("error = %v", err)
	}
}

// TestManyShareOneFetch has many ask for the token of an account at once, while the
// place that gives it takes its time: there is one request, and who has no time to
// wait for it is told so.
func TestManyShareOneFetch(t *testing.T) {
	c := newCloud(t)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	asked, release := make(chan struct{}), make(chan struct{})
	c.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-release
		c.token(w, r)
	})
	account, err := google.Identity{Key: c.accountKey("shop")}.Account(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	ask := func() {
		if _, err := account.TokenIn(t.Context()); err != nil {
			t.Error(err)
		}
	}
	all.Go(ask)
	<-asked
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := account.TokenIn(impatient); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
	for range 20 {
		all.Go(ask)
	}
	close(release)
	all.Wait()
	if n := c.fetched.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}
