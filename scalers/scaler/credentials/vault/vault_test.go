package vault_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/internal/scopetest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/vault"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

func TestMain(m *testing.M) {
	outbound.Allow(outbound.Loopback...) // the tests' servers
	goleak.VerifyTestMain(m)
}

var reader = vault.Store{HTTP: func() (*http.Client, error) {
	return &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}, nil
}}

// environment takes the machine's own Vault away.
func environment(t *testing.T) {
	for _, name := range []string{"VAULT_ADDR", "VAULT_AGENT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE", "VAULT_CACERT"} {
		t.Setenv(name, "")
	}
}

func read(t *testing.T, block any, scope scopetest.Scope) (*store.Values, error) {
	t.Helper()
	return reader.Read(t.Context(), []byte(mustJSON(block)), scope)
}

// secrets is the list of a block: parameter, type, path and key of each.
func secrets(rows ...[4]string) []object {
	var list []object
	for _, r := range rows {
		list = append(list, object{"parameter": r[0], "type": r[1], "path": r[2], "key": r[3]})
	}
	return list
}

func TestEngines(t *testing.T) {
	environment(t)
	s := start(t)
	token := s.tokenFor(t, `{"policies":["reader"],"ttl":"1h"}`)
	tests := map[string]struct {
		secret  [4]string
		want    string
		code    codes.Code
		message string
	}{
		"KV v1":                 {secret: [4]string{"p", "secret", "old/orders", "password"}, want: "v1-secret"},
		"KV v2":                 {secret: [4]string{"p", "secretV2", "new/data/orders", "password"}, want: "v2-secret"},
		"KV v1 by its answer":   {secret: [4]string{"p", "", "old/orders", "password"}, want: "v1-secret"},
		"KV v2 by its answer":   {secret: [4]string{"p", "", "/new/data/orders/", "password"}, want: "v2-secret"},
		"an empty value":        {secret: [4]string{"p", "secretV2", "new/data/orders", "empty"}},
		"a list":                {secret: [4]string{"p", "secretV2", "new/data/orders", "list"}, want: "a\nb"},
		"a number":              {secret: [4]string{"p", "secretV2", "new/data/orders", "number"}, code: codes.FailedPrecondition, message: "key number of path new/data/orders is not text"},
		"a missing key":         {secret: [4]string{"p", "secretV2", "new/data/orders", "user"}, code: codes.NotFound, message: "path new/data/orders has no key user (hashiCorpVault.secrets[0].key)"},
		"a missing path":        {secret: [4]string{"p", "secretV2", "new/data/bills", "password"}, code: codes.NotFound, message: "path new/data/bills does not exist"},
		"a deleted version":     {secret: [4]string{"p", "secretV2", "new/data/deleted", "password"}, code: codes.NotFound, message: "path new/data/deleted has no current version"},
		"KV v2 read as KV v1":   {secret: [4]string{"p", "secret", "new/data/orders", "password"}, code: codes.NotFound, message: "path new/data/orders has no key password (hashiCorpVault.secrets[0].key)"},
		"a path that is denied": {secret: [4]string{"p", "secret", "cubby/orders", "password"}, code: codes.PermissionDenied, message: "path cubby/orders is denied (403 Forbidden)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := read(t, object{"address": s.url, "authentication": "token", "credential": object{"token": token}, "secrets": secrets(tt.secret)}, scopetest.Scope{})
			if err != nil {
				if want := "Vault " + s.url + ": " + tt.message; status.Code(err) != tt.code || status.Convert(err).Message() != want {
					t.Fatalf("error = %v, want %v %q", err, tt.code, want)
				}
				return
			}
			if tt.code != codes.OK || got.Parameters["p"] != tt.want {
				t.Errorf("p = %q, want %q, %v", got.Parameters["p"], tt.want, tt.code)
			}
			if !got.ReadAgain.IsZero() {
				t.Error("a value without a lease says when to read it again")
			}
		})
	}
}

func TestAChangedValueIsReadAgain(t *testing.T) {
	environment(t)
	s := start(t)
	block := object{"address": s.url, "authentication": "token", "credential": object{"token": s.tokenFor(t, `{"policies":["reader"]}`)},
		"secrets": secrets([4]string{"p", "secretV2", "new/data/orders", "password"})}
	for _, want := range []string{"v2-secret", "rotated"} {
		got, err := read(t, block, scopetest.Scope{})
		if err != nil || got.Parameters["p"] != want {
			t.Fatalf("read %v, %v, want %s", got, err, want)
		}
		s.ask(t, "POST", "new/data/orders", `{"data":{"password":"rotated"}}`)
	}
}

func TestCertificateAndKeyAreOfOneIssue(t *testing.T) {
	environment(t)
	s := start(t)
	data := object{"commonName": "a.example.com", "ttl": "30m", "altNames": "b.example.com"}
	list := secrets([4]string{"cert", "pki", "pki/issue/clients", "certificate"},
		[4]string{"key", "pki", "pki/issue/clients", "private_key"})
	for _, one := range list {
		one["pkiData"] = data
	}
	before := time.Now()
	got, err := read(t, object{"address": s.url, "authentication": "token",
		"credential": object{"token": s.tokenFor(t, `{"policies":["reader"]}`)}, "secrets": list}, scopetest.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Parameters["cert"] == "" || got.Parameters["key"] == "" {
		t.Error("the certificate or its key is empty")
	}
	if again := got.ReadAgain.Sub(before); again <= 0 || again > time.Hour {
		t.Errorf("read again after %v, want before the certificate ends", again)
	}
	if s.standIn == nil {
		return
	}
	issued := s.standIn.issued
	if len(issued) != 1 || fmt.Sprint(issued[0]) != "map[alt_names:b.example.com common_name:a.example.com ttl:30m]" {
		t.Errorf("issued %v", issued)
	}
	if got.Parameters["cert"] != "certificate-1" || got.Parameters["key"] != "key-1" {
		t.Errorf("read %v", got.Parameters)
	}
}

func TestKubernetesLogin(t *testing.T) {
	environment(t)
	s := start(t)
	scalertest.LendTo(t, "127.0.0.1")
	jwt, stranger := serviceAccountJWT("orders"), serviceAccountJWT("stranger")
	scope := scopetest.Scope{
		Tokens: map[string]string{"orders": jwt, "stranger": stranger},
		Files:  map[string]string{"/tokens/vault": jwt + "\n", "/etc/passwd": "root", "/var/run/secrets/kubernetes.io/serviceaccount/token": jwt},
	}
	tests := map[string]struct {
		role, mount string
		credential  object
		code        codes.Code
		message     string // after the address
	}{
		"a minted token":          {credential: object{"serviceAccountName": "orders"}},
		"a token in a file":       {credential: object{"serviceAccount": "/tokens/vault"}},
		"the family's own token":  {},
		"a role that is absent":   {role: "nobody", code: codes.PermissionDenied, message: "role nobody at auth/kubernetes refuses the login (400 Bad Request)"},
		"a role for others":       {credential: object{"serviceAccountName": "stranger"}, code: codes.PermissionDenied, message: "role reader at auth/kubernetes refuses the login (403 Forbidden)"},
		"a mount that is absent":  {mount: "other", code: codes.PermissionDenied, message: "role reader at auth/other refuses the login (403 Forbidden)"},
		"a file that is no token": {credential: object{"serviceAccount": "/etc/passwd"}, code: codes.InvalidArgument, message: "hashiCorpVault.credential.serviceAccount: is not the token of a service account"},
		"a file out of reach":     {credential: object{"serviceAccount": "/elsewhere"}, code: codes.NotFound, message: "/elsewhere is absent"},
		"an account out of reach": {credential: object{"serviceAccountName": "bills"}, code: codes.NotFound, message: "bills is absent"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			block := object{"address": s.url, "authentication": "kubernetes", "role": "reader", "mount": "kubernetes",
				"secrets": secrets([4]string{"p", "", "old/orders", "password"})}
			if tt.role != "" {
				block["role"] = tt.role
			}
			if tt.mount != "" {
				block["mount"] = tt.mount
			}
			if tt.credential != nil {
				block["credential"] = tt.credential
			}
			got, err := read(t, block, scope)
			if status.Code(err) != tt.code || err != nil && strings.TrimPrefix(status.Convert(err).Message(), "Vault "+s.url+": ") != tt.message {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if err == nil && got.Parameters["p"] != "v1-secret" {
				t.Errorf("p = %q", got.Parameters["p"])
			}
		})
	}
	if s.standIn != nil && s.standIn.revoked != 3 {
		t.Errorf("%d of 3 tokens were given back", s.standIn.revoked)
	}
}

// TestLeases proves that credentials that end are taken again before, and that
// the login they hang on is not ended. The stand-in alone has an engine for it.
func TestLeases(t *testing.T) {
	environment(t)
	s := start(t)
	if s.standIn == nil {
		return
	}
	s.standIn.policies["reader"] += "\npath \"database/creds/reader\" { }\n"
	before := time.Now()
	got, err := read(t, object{"address": s.url, "authentication": "kubernetes", "role": "reader", "mount": "kubernetes",
		"credential": object{"serviceAccountName": "orders"},
		"secrets":    secrets([4]string{"p", "", "database/creds/reader", "password"}),
	}, scopetest.Scope{Tokens: map[string]string{"orders": serviceAccountJWT("orders")}})
	if err != nil || got.Parameters["p"] != "leased-1" {
		t.Fatalf("read %v, %v", got, err)
	}
	if again := got.ReadAgain.Sub(before); again < 6*time.Minute || again > 8*time.Minute {
		t.Errorf("a lease of 10 minutes is taken again after %v", again)
	}
	if s.standIn.revoked != 0 {
		t.Error("the login of a lease was ended")
	}
}

func TestTokens(t *testing.T) {
	environment(t)
	s := start(t)
	list := secrets([4]string{"p", "", "old/orders", "password"})
	refused := "token is expired, revoked or without the right to look itself up (403 Forbidden)"
	if _, err := read(t, object{"address": s.url, "authentication": "token", "credential": object{"token": "expired-token"}, "secrets": list}, scopetest.Scope{}); status.Code(err) != codes.Unauthenticated || status.Convert(err).Message() != "Vault "+s.url+": "+refused {
		t.Errorf("error = %v, want %s", err, refused)
	}
	if s.standIn != nil {
		s.standIn.tokens["old"] = &token{policies: []string{"reader"}, ttl: time.Minute, creation: time.Hour, renewable: true}
		if _, err := read(t, object{"address": s.url, "authentication": "token", "credential": object{"token": "old"}, "secrets": list}, scopetest.Scope{}); err != nil || s.standIn.renewals != 1 {
			t.Errorf("%d renewals of a token near its end, %v", s.standIn.renewals, err)
		}
	}

	// The family's own token goes to the family's own Vault alone.
	t.Setenv("VAULT_TOKEN", rootToken)
	own := object{"address": s.url, "authentication": "token", "secrets": list}
	if _, err := read(t, own, scopetest.Scope{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("the family's token at an address of a user: %v", err)
	}
	t.Setenv("VAULT_ADDR", s.url)
	if got, err := read(t, own, scopetest.Scope{}); err != nil || got.Parameters["p"] != "v1-secret" {
		t.Errorf("the family's token at its own Vault: %v, %v", got, err)
	}
}

func TestTheFamilysTokenStaysAtHome(t *testing.T) {
	environment(t)
	t.Setenv("VAULT_TOKEN", "families-own")
	var seen []string
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		seen = append(seen, request.Header.Get("X-Vault-Token"))
	}))
	t.Cleanup(thief.Close)
	_, _ = read(t, object{"address": thief.URL, "authentication": "kubernetes", "role": "r", "mount": "m",
		"credential": object{"serviceAccountName": "orders"}, "secrets": secrets([4]string{"p", "", "a", "b"}),
	}, scopetest.Scope{Tokens: map[string]string{"orders": serviceAccountJWT("orders")}})
	if len(seen) == 0 || strings.Join(seen, "") != "" {
		t.Errorf("the other Vault saw the tokens %q", seen)
	}
}

func TestNamespace(t *testing.T) {
	environment(t)
	s := start(t)
	if s.standIn == nil {
		return // an edition of Vault that a test cannot have
	}
	if _, err := read(t, object{"address": s.url, "namespace": "team-a", "authentication": "token", "credential": object{"token": rootToken},
		"secrets": secrets([4]string{"p", "", "old/orders", "password"})}, scopetest.Scope{}); err != nil {
		t.Fatal(err)
	}
	if got := s.standIn.headers[len(s.standIn.headers)-1].Get("X-Vault-Namespace"); got != "team-a" {
		t.Errorf("namespace = %q", got)
	}
}

func TestServersThatDoNotAnswer(t *testing.T) {
	environment(t)
	s := start(t)
	s.ask(t, "PUT", "sys/seal", "")
	if s.standIn != nil {
		s.standIn.sealed = true
	}
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"data": {"tt`) }))
	t.Cleanup(half.Close)
	tests := map[string]struct {
		url  string
		code codes.Code
		text string
	}{
		"sealed":       {s.url, codes.Unavailable, "is sealed or in maintenance (503)"},
		"half answers": {half.URL, codes.Unavailable, "the answer "},
		"dead":         {"http://" + scalertest.DeadAddress(t), codes.Unavailable, "dial tcp"},
		"link-local":   {"http://169.254.169.254", codes.InvalidArgument, "169.254.169.254 is a link-local address"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := read(t, object{"address": tt.url, "authentication": "token", "credential": object{"token": "the-token"},
				"secrets": secrets([4]string{"p", "", "old/orders", "password"})}, scopetest.Scope{})
			text := strings.TrimPrefix(status.Convert(err).Message(), "Vault "+tt.url+": ")
			if status.Code(err) != tt.code || !strings.HasPrefix(text, tt.text) || strings.Contains(text, "the-token") {
				t.Errorf("error = %v, want %v %q", err, tt.code, tt.text)
			}
		})
	}
}

func TestAllProblemsOfABlockAtOnce(t *testing.T) {
	environment(t)
	_, err := read(t, object{"address": "unix:///var/run/vault.sock", "authentication": "kubernetes",
		"secrets": secrets([4]string{"", "kv3", "", "k"}, [4]string{"p", "secretV2", "new/orders", "k"})}, scopetest.Scope{})
	want := "hashiCorpVault.address: is not an http or https URL; " +
		"hashiCorpVault.role: is required with kubernetes; hashiCorpVault.mount: is required with kubernetes; " +
		"hashiCorpVault.secrets[0].parameter: is required; hashiCorpVault.secrets[0].path: is required; " +
		`hashiCorpVault.secrets[0].type: "kv3" is not one of secret, secretV2, pki; ` +
		"hashiCorpVault.secrets[1].path: needs the segment data with secretV2, as in secret/data/orders"
	if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != want {
		t.Errorf("error = %v\nwant %s", err, want)
	}
	if _, err := reader.Read(t.Context(), []byte(`{"secrets": "none"}`), scopetest.Scope{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a block of another shape: %v", err)
	}
}
