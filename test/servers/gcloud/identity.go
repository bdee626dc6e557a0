// Package gcloud stands in for what tests need of Google Cloud and cannot run: the
// places that give tokens, and Cloud Monitoring. Requests are checked as Google
// checks them.
package gcloud

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Issuer gives tokens for keys of service accounts, as oauth2.googleapis.com does,
// and as the metadata server of a node does for its own account.
type Issuer struct {
	server   *http.Server
	listener net.Listener

	mu       sync.Mutex
	keys     map[string]*rsa.PublicKey // of accounts, by their address
	tokens   map[string]Token          // that are good
	given    int
	lifetime time.Duration
	refuses  bool
	project  string // of the node
	projects int    // how often it was asked for
}

// Token is what a token is good for.
type Token struct {
	Account string // the address of a service account
	Scope   string
	Until   time.Time
}

// Node is the account that the metadata server gives tokens of.
const Node = "node@gcloud.iam.gserviceaccount.com"

// StartIssuer starts one at an address without a port.
func StartIssuer(address string) (*Issuer, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return nil, err
	}
	i := &Issuer{listener: l, keys: map[string]*rsa.PublicKey{}, tokens: map[string]Token{}, lifetime: time.Hour, project: "node-project"}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", i.exchange)
	mux.HandleFunc("GET /computeMetadata/v1/", i.metadata)
	i.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = i.server.Serve(l) }() // until Close
	return i, nil
}

// Close ends it.
func (i *Issuer) Close() error { return i.server.Close() }

// Address is its host and port: GCE_METADATA_HOST.
func (i *Issuer) Address() string { return i.listener.Addr().String() }

// Key makes a service account, or gives it another key, and returns its JSON.
func (i *Issuer) Key(account, project string) (string, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", err
	}
	i.mu.Lock()
	i.keys[account] = &private.PublicKey
	i.mu.Unlock()
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": project, "private_key_id": "1", "client_email": account,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":   "http://" + i.Address() + "/token",
	})
	return string(text), err
}

// Revoke makes all tokens worthless that were given so far.
func (i *Issuer) Revoke() {
	i.mu.Lock()
	defer i.mu.Unlock()
	clear(i.tokens)
}

// Refuse has it give no tokens, or give some again.
func (i *Issuer) Refuse(refuses bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refuses = refuses
}

// Lasting is how long tokens are good that are given from now on.
func (i *Issuer) Lasting(lifetime time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.lifetime = lifetime
}

// Projects is how often the node was asked for its project.
func (i *Issuer) Projects() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.projects
}

// Given is how many tokens were given.
func (i *Issuer) Given() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.given
}

// Check is what a token in a header "Bearer <token>" is good for.
func (i *Issuer) Check(authorization string) (Token, bool) {
	text, bearer := strings.CutPrefix(authorization, "Bearer ")
	i.mu.Lock()
	defer i.mu.Unlock()
	t, known := i.tokens[text]
	return t, bearer && known && time.Now().Before(t.Until)
}

// give answers with a new token.
func (i *Issuer) give(w http.ResponseWriter, account, scope string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.given++
	token := fmt.Sprintf("token-%d-%s", i.given, rand.Text())
	i.tokens[token] = Token{account, scope, time.Now().Add(i.lifetime)}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(i.lifetime.Seconds())})
}

// exchange gives a token for an assertion that an account signed.
func (i *Issuer) exchange(w http.ResponseWriter, r *http.Request) {
	account, scope, problem := i.assertion(r)
	if problem != "" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": problem + " " + r.PostFormValue("assertion")})
		return
	}
	i.give(w, account, scope)
}

func (i *Issuer) assertion(r *http.Request) (account, scope, problem string) {
	parts := strings.Split(r.PostFormValue("assertion"), ".")
	if r.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || len(parts) != 3 {
		return "", "", "Invalid grant."
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Scope    string `json:"scope"`
		Audience string `json:"aud"`
		Expires  int64  `json:"exp"`
	}
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	if json.Unmarshal(payload, &claims) != nil {
		return "", "", "Invalid JWT."
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	key, known := i.keys[claims.Issuer]
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	switch {
	case i.refuses:
		return "", "", "Account disabled."
	case !known:
		return "", "", "Invalid grant: account not found"
	case rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature) != nil:
		return "", "", "Invalid JWT Signature."
	case claims.Audience != "http://"+i.Address()+"/token" || claims.Expires < time.Now().Unix():
		return "", "", "Invalid JWT."
	}
	return claims.Issuer, claims.Scope, ""
}

// metadata answers as the server of a node.
func (i *Issuer) metadata(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Metadata-Flavor", "Google")
	if r.Header.Get("Metadata-Flavor") != "Google" {
		http.Error(w, "Missing required header Metadata-Flavor", http.StatusForbidden)
		return
	}
	i.mu.Lock()
	refuses := i.refuses
	i.mu.Unlock()
	switch path := strings.TrimPrefix(r.URL.Path, "/computeMetadata/v1/"); {
	case refuses:
		http.Error(w, "no account", http.StatusNotFound)
	case path == "project/project-id":
		i.mu.Lock()
		i.projects++
		i.mu.Unlock()
		fmt.Fprint(w, i.project)
	case path == "instance/service-accounts/default/token":
		i.give(w, Node, r.URL.Query().Get("scopes"))
	case path == "universe/universe-domain", path == "universe/universe_domain":
		fmt.Fprint(w, "googleapis.com")
	default:
		http.NotFound(w, r)
	}
}
