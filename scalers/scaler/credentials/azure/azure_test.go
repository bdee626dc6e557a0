package azure_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/azure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/internal/scopetest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

func TestMain(m *testing.M) {
	outbound.Allow(outbound.Loopback...) // the tests' servers
	goleak.VerifyTestMain(m)
}

// cloud is a stand-in for Entra, which checks who asks for a token and for
// what, and for Key Vault, which says with a challenge where tokens come from:
// there is no server of either that a test can run.
type cloud struct {
	*httptest.Server
	resource string // what the vault wants tokens for

	mu     sync.Mutex
	forms  []map[string]string
	tokens int
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", c.openID)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", c.token)
	mux.HandleFunc("GET /secrets/{name}/{version}", c.secret)
	mux.HandleFunc("GET /secrets/{name}/{$}", c.secret)
	c.Server = httptest.NewTLSServer(mux)
	c.resource = c.URL
	t.Cleanup(c.Close)
	return c
}

func (c *cloud) openID(w http.ResponseWriter, request *http.Request) {
	base := c.URL + "/" + request.PathValue("tenant")
	fmt.Fprintf(w, `{"token_endpoint":"%[1]s/oauth2/v2.0/token","authorization_endpoint":"%[1]s/authorize","issuer":"%[1]s/v2.0"}`, base)
}

func (c *cloud) token(w http.ResponseWriter, request *http.Request) {
	form := map[string]string{"tenant": request.PathValue("tenant")}
	_ = request.ParseForm()
	for key := range request.PostForm {
		form[key] = request.PostForm.Get(key)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forms = append(c.forms, form)
	w.Header().Set("Content-Type", "application/json")
	if form["client_secret"] != "right-secret" && form["client_assertion"] != "federated-token" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error":"invalid_client","error_description":"bad %s%s"}`, form["client_secret"], form["client_assertion"])
		return
	}
	c.tokens++
	fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3600,"access_token":"access-%d"}`, c.tokens)
}

// last is the last request for a token.
func (c *cloud) last() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.forms) == 0 {
		return nil
	}
	return c.forms[len(c.forms)-1]
}

func (c *cloud) secret(w http.ResponseWriter, request *http.Request) {
	if !strings.HasPrefix(request.Header.Get("Authorization"), "Bearer access-") {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization="%s/challenged", resource="%s"`, c.URL, c.resource))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	values := map[string]string{"orders/": "the latest", "orders/3": "the third", "empty/": ""}
	name := request.PathValue("name") + "/" + strings.TrimSuffix(request.PathValue("version"), "/")
	value, there := values[name]
	switch {
	case strings.HasPrefix(name, "forbidden"):
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"error":{"code":"Forbidden","message":"the secret text"}}`)
	case !there:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error":{"code":"SecretNotFound","message":"the secret text"}}`)
	default:
		fmt.Fprintf(w, `{"value":%q,"id":"%s/secrets/%s"}`, value, c.URL, name)
	}
}

// process gives this process an identity of Entra at c.
func (c *cloud) process(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("federated-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", file)
	t.Setenv("AZURE_CLIENT_ID", "own-client")
	t.Setenv("AZURE_TENANT_ID", "own-tenant")
	t.Setenv("AZURE_AUTHORITY_HOST", c.URL)
}

func (c *cloud) client() *http.Client {
	client := c.Client()
	client.Timeout = 5 * time.Second
	return client
}

func (c *cloud) read(t *testing.T, block map[string]any, scope scopetest.Scope) (*store.Values, error) {
	t.Helper()
	raw, err := json.Marshal(block)
	if err != nil {
		t.Fatal(err)
	}
	return azure.KeyVault{HTTP: func() (*http.Client, error) { return c.client(), nil }}.Read(t.Context(), raw, scope)
}

type object = map[string]any

// keyed is a block with the credentials of an application, in a private cloud:
// the only kind that a test can be.
func (c *cloud) keyed(secrets ...object) object {
	return object{
		"vaultUri": c.URL, "secrets": secrets,
		"credentials": object{"clientId": "app", "tenantId": "tenant",
			"clientSecret": object{"valueFrom": object{"secretKeyRef": object{"name": "azure", "key": "secret"}}}},
		"cloud": object{"type": "Private", "keyVaultResourceURL": "https://vault.private", "activeDirectoryEndpoint": c.URL},
	}
}

func TestKeyVault(t *testing.T) {
	c := newCloud(t)
	c.process(t)
	scalertest.LendTo(t, "127.0.0.1=https://vault.private")
	right := scopetest.Scope{Secrets: map[string]string{"azure/secret": "right-secret"}}
	host := "127.0.0.1"
	one := func(name, version string) object { return object{"parameter": "p", "name": name, "version": version} }
	with := func(block object, key string, value any) object {
		block[key] = value
		return block
	}
	workload := func(identity object) object {
		b := with(c.keyed(one("orders", "")), "podIdentity", identity)
		delete(b, "credentials")
		return b
	}
	tests := map[string]struct {
		block   object
		scope   scopetest.Scope
		want    string
		form    map[string]string // of the request for a token
		code    codes.Code
		message string
	}{
		"the latest": {block: c.keyed(one("orders", "")), scope: right, want: "the latest",
			form: map[string]string{"client_id": "app", "tenant": "tenant", "client_secret": "right-secret", "scope": "https://vault.private/.default openid offline_access profile"}},
		"a version": {block: c.keyed(one("orders", "3")), scope: right, want: "the third"},
		"workload identity": {block: workload(object{"provider": "azure-workload"}), want: "the latest",
			form: map[string]string{"client_id": "own-client", "tenant": "own-tenant", "client_assertion": "federated-token"}},
		"workload identity of another client": {block: workload(object{"provider": "azure-workload", "identityId": "other", "identityTenantId": "elsewhere", "identityAuthorityHost": c.URL}),
			want: "the latest", form: map[string]string{"client_id": "other", "tenant": "elsewhere"}},
		"an authority of a user": {block: workload(object{"provider": "azure-workload", "identityTenantId": "t", "identityAuthorityHost": "https://evil.example.com"}),
			code:    codes.PermissionDenied,
			message: "azureKeyVault.podIdentity.identityAuthorityHost: is neither one of Azure's clouds nor AZURE_AUTHORITY_HOST of this family, and would get the family's token (its flag --identity-hosts makes exceptions, for a host by its name and without an audience)"},
		"a wrong secret": {block: c.keyed(one("orders", "")), scope: scopetest.Scope{Secrets: map[string]string{"azure/secret": "wrong-secret"}},
			code: codes.Unauthenticated, message: "secret orders of " + host + ": Entra gives no token: 401 Unauthorized"},
		"a missing secret":  {block: c.keyed(one("bills", "")), scope: right, code: codes.NotFound, message: "secret bills of " + host + ": 404 Not Found"},
		"a missing version": {block: c.keyed(one("orders", "9")), scope: right, code: codes.NotFound, message: "version 9 of secret orders of " + host + ": 404 Not Found"},
		"a forbidden one":   {block: c.keyed(one("forbidden", "")), scope: right, code: codes.PermissionDenied, message: "secret forbidden of " + host + ": 403 Forbidden"},
		"no Secret":         {block: c.keyed(one("orders", "")), code: codes.NotFound, message: "azure/secret is absent"},
		"all problems": {block: object{"vaultUri": "http://vault", "secrets": []object{{}}, "podIdentity": object{"provider": "gcp", "identityId": "", "identityAuthorityHost": "h"}, "cloud": object{"type": "Mars"}},
			code: codes.InvalidArgument, message: "azureKeyVault.vaultUri: is not an https URL; azureKeyVault.secrets[0].parameter: is required; azureKeyVault.secrets[0].name: is required; " +
				`azureKeyVault.podIdentity.provider: "gcp" is not one of azure-workload, none; azureKeyVault.podIdentity.identityId: is empty: leave it out, or name the client; ` +
				"azureKeyVault.podIdentity.identityAuthorityHost: needs identityTenantId; " +
				`azureKeyVault.cloud.type: "Mars" is not one of AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, AzureGermanCloud, Private`},
		"a private cloud without addresses": {block: with(c.keyed(one("orders", "")), "cloud", object{"type": "Private"}), code: codes.InvalidArgument,
			message: "azureKeyVault.cloud.keyVaultResourceURL: must be an https URL with cloud.type Private; azureKeyVault.cloud.activeDirectoryEndpoint: must be an https URL with cloud.type Private"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := c.read(t, tt.block, tt.scope)
			if status.Code(err) != tt.code || err != nil && status.Convert(err).Message() != tt.message {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if err == nil && got.Parameters["p"] != tt.want {
				t.Errorf("p = %q, want %q", got.Parameters["p"], tt.want)
			}
			form := c.last()
			for key, want := range tt.form {
				if form[key] != want {
					t.Errorf("Entra was asked with %s = %q, want %q", key, form[key], want)
				}
			}
		})
	}
}

// TestAuthorities: what proves the identity goes to who was named for it, and not
// to who was named for tokens of one kind, or by a domain.
func TestAuthorities(t *testing.T) {
	c := newCloud(t)
	c.process(t)
	t.Setenv("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/")
	for hosts, want := range map[string]codes.Code{
		"":                             codes.PermissionDenied,
		"broker.shop.svc=api://rabbit": codes.PermissionDenied,
		"*.shop.svc":                   codes.PermissionDenied,
		"login.shop.svc":               codes.PermissionDenied,
		"broker.shop.svc":              codes.OK,
		"Broker.shop.svc.":             codes.OK,
	} {
		scalertest.LendTo(t, hosts)
		for _, authority := range []string{"https://broker.shop.svc", "https://broker.shop.svc:8443/tenant"} {
			_, err := azure.WorkloadIdentity{TenantID: "t", AuthorityHost: authority}.Credential(c.client())
			if status.Code(err) != want {
				t.Errorf("--identity-hosts=%s, %s: %v, want %v", hosts, authority, err, want)
			}
		}
	}
	for _, authority := range []string{"http://login.microsoftonline.com", "https://login.microsoftonline.com.evil.example", "https://evil.example/login.microsoftonline.com"} {
		if _, err := (azure.WorkloadIdentity{TenantID: "t", AuthorityHost: authority}).Credential(c.client()); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", authority, err)
		}
	}
}

// TestATokenIsForItsVaultAlone: who poses as a vault gets no token that the
// real vaults would take, of nobody.
func TestATokenIsForItsVaultAlone(t *testing.T) {
	c := newCloud(t)
	c.process(t)
	c.resource = "https://vault.azure.net"
	block := c.keyed(object{"parameter": "p", "name": "orders"})
	delete(block, "cloud")
	_, err := c.read(t, block, scopetest.Scope{Secrets: map[string]string{"azure/secret": "right-secret"}})
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "asks for a token for vault.azure.net, where it does not belong") || c.last() != nil {
		t.Errorf("a token for %s was asked for: %v, %v", c.resource, c.last(), err)
	}
}

func TestWhatIsNoVault(t *testing.T) {
	for name, challenge := range map[string]string{
		"no challenge": "", "no tenant": `Bearer authorization="https://login.test", resource="https://vault.test"`, "no resource": `Bearer authorization="https://login.test/t"`,
	} {
		t.Run(name, func(t *testing.T) {
			newCloud(t).process(t)
			other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("WWW-Authenticate", challenge)
				w.WriteHeader(http.StatusUnauthorized)
			}))
			t.Cleanup(other.Close)
			scalertest.LendTo(t, "127.0.0.1")
			raw := fmt.Sprintf(`{"vaultUri":%q,"podIdentity":{"provider":"azure-workload"},"secrets":[{"parameter":"p","name":"orders"}]}`, other.URL)
			_, err := azure.KeyVault{HTTP: func() (*http.Client, error) { return other.Client(), nil }}.Read(t.Context(), json.RawMessage(raw), scopetest.Scope{})
			if status.Code(err) != codes.Unavailable || !strings.HasSuffix(err.Error(), "does not ask for a login as Azure Key Vault does") {
				t.Errorf("error = %v", err)
			}
		})
	}
}

// TestClouds: each cloud has an Entra of its own.
func TestClouds(t *testing.T) {
	for cloud, want := range map[string][2]string{
		"AzurePublicCloud": {"orders.vault.azure.net", "login.microsoftonline.com"}, "AzureUSGovernmentCloud": {"orders.vault.usgovcloudapi.net", "login.microsoftonline.us"},
		"AzureChinaCloud": {"orders.vault.azure.cn", "login.chinacloudapi.cn"}, "AzureGermanCloud": {"orders.vault.microsoftazure.de", "login.microsoftonline.de"},
	} {
		t.Run(cloud, func(t *testing.T) {
			var asked []string
			raw, err := json.Marshal(object{"vaultUri": "https://" + want[0], "secrets": []object{{"parameter": "p", "name": "orders"}},
				"podIdentity": object{"provider": "azure-workload"}, "cloud": object{"type": cloud}})
			if err != nil {
				t.Fatal(err)
			}
			newCloud(t).process(t)
			_, err = azure.KeyVault{HTTP: func() (*http.Client, error) {
				return &http.Client{Transport: outOfReach{&asked}}, nil
			}}.Read(t.Context(), raw, scopetest.Scope{})
			if err == nil || len(asked) == 0 || asked[0] != want[1] {
				t.Errorf("asked %v, want %s; %v", asked, want[1], err)
			}
		})
	}
}

// outOfReach is a vault that asks for a login, in a world where nobody else can
// be reached: what matters is who would have been asked.
type outOfReach struct{ asked *[]string }

func (o outOfReach) RoundTrip(request *http.Request) (*http.Response, error) {
	if strings.HasPrefix(request.URL.Host, "orders.vault.") {
		return &http.Response{StatusCode: http.StatusUnauthorized, Body: http.NoBody, Request: request, Header: http.Header{
			"Www-Authenticate": {`Bearer authorization="https://login.test/tenant", resource="https://vault.test"`},
		}}, nil
	}
	*o.asked = append(*o.asked, request.URL.Host)
	return nil, fmt.Errorf("%s is out of reach", request.URL.Host)
}

func TestTokensAreKept(t *testing.T) {
	c := newCloud(t)
	c.process(t)
	credential, err := azure.WorkloadIdentity{}.Credential(c.client())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://orders/.default"}})
		if err != nil || got.Token != "access-1" {
			t.Errorf("token %q, %v", got.Token, err)
		}
	}
	for _, name := range []string{"AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"} {
		if err := os.Unsetenv(name); err != nil { // t.Setenv brings it back
			t.Fatal(err)
		}
	}
	if _, err := (azure.WorkloadIdentity{}).Credential(c.client()); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a process without identity: %v", err)
	}
}
