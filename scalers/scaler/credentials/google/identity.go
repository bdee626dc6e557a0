// Package google is who a family is to Google Cloud, and Google Secret Manager
// as a store of parameters.
package google

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/keycost"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/outcome"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/refusal"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// Scope is the widest access that a token can have: what may be done with it
// is decided by the roles of its account.
const Scope = "https://www.googleapis.com/auth/cloud-platform"

// Identity is who asks Google Cloud: a service account by its key, else the
// process by its application default credentials (Workload Identity, the file
// in GOOGLE_APPLICATION_CREDENTIALS).
type Identity struct {
	// Key is the JSON key of a service account.
	Key string
	// Scopes of the tokens; Scope alone when empty.
	Scopes []string
}

// Account is an identity with its tokens, which are kept and renewed before
// they end.
type Account struct {
	oauth2.TokenSource

	home string // the project, as far as it is known without asking
	node *node  // who else knows, or nil
	kept *ahead
}

// Project is where the account is at home; empty where nobody knows. Of the
// process's own account the node is asked, once it is needed.
func (a *Account) Project(ctx context.Context) string {
	if a.home != "" || a.node == nil {
		return a.home
	}
	return a.node.project(ctx)
}

// TokenIn is Token for a request with a ctx: it does not wait longer for a token
// that another one fetches.
func (a *Account) TokenIn(ctx context.Context) (*oauth2.Token, error) { return a.kept.in(ctx) }

// Forget has the next token fetched, after this one was refused before its end, once
// a minute at most.
func (a *Account) Forget(token string) { a.kept.forget(token) }

// Account returns the account of the identity. ctx bounds looking for it, and
// carries values for its later token requests; client sends them. Failures of
// its tokens go through Failure.
func (i Identity) Account(ctx context.Context, client *http.Client) (*Account, error) {
	scopes := i.Scopes
	if len(scopes) == 0 {
		scopes = []string{Scope}
	}
	// The token source outlives the caller's deadline, not its values.
	lasting := context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, client)
	if i.Key != "" {
		return ofKey(lasting, i.Key, scopes)
	}
	node := nodeAt(client)
	var fetch func() (*oauth2.Token, error)
	project := os.Getenv("CLOUDSDK_CORE_PROJECT")
	switch {
	case hasFile():
		found, err := google.FindDefaultCredentials(lasting, scopes...) //dials:through client, which is in its ctx
		if err != nil {
			return nil, errNobody
		}
		fetch, project = found.TokenSource.Token, cmp.Or(project, found.ProjectID)
	case node.service.OnGCEWithContext(ctx):
		// What looks for credentials asks for a project, too, which few need.
		fetch = func() (*oauth2.Token, error) { return node.token(lasting, scopes) }
	default:
		return nil, errNobody
	}
	kept := &ahead{fetch: fetch}
	return &Account{TokenSource: kept, home: project, node: node, kept: kept}, nil
}

var errNobody = words.Errorf(codes.Unauthenticated, "the process has no Google identity: neither GOOGLE_APPLICATION_CREDENTIALS nor Workload Identity")

// hasFile reports whether the process has credentials in a file, which come before
// those of the node.
func hasFile() bool {
	if os.Getenv("GOOGLE_APPLICATION_CREDENTIALS") != "" {
		return true
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(home, ".config", "gcloud", "application_default_credentials.json"))
	return err == nil
}

// node is the machine that the process runs on, if Google runs it.
type node struct {
	service *metadata.Client
	known   atomic.Pointer[string] // the project
}

func nodeAt(client *http.Client) *node {
	//dials:through client
	return &node{service: metadata.NewWithOptions(&metadata.Options{Client: client})}
}

// token is one of the account that the node gives its processes.
func (n *node) token(ctx context.Context, scopes []string) (*oauth2.Token, error) {
	text, err := n.service.GetWithContext(ctx, "instance/service-accounts/default/token?"+url.Values{"scopes": {strings.Join(scopes, ",")}}.Encode())
	if err != nil {
		return nil, err
	}
	var told struct {
		Token   string `json:"access_token"`
		Kind    string `json:"token_type"`
		Seconds int64  `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(text), &told); err != nil || told.Token == "" || told.Seconds <= 0 {
		return nil, words.Errorf(codes.Unavailable, "the metadata server's answer is no token")
	}
	return &oauth2.Token{AccessToken: told.Token, TokenType: told.Kind, Expiry: time.Now().Add(time.Duration(told.Seconds) * time.Second)}, nil
}

// project is empty where nobody knows: who needs it says that it is missing, and
// asks again the next time.
func (n *node) project(ctx context.Context) string {
	if known := n.known.Load(); known != nil {
		return *known
	}
	if !n.service.OnGCEWithContext(ctx) {
		return ""
	}
	text, err := n.service.GetWithContext(ctx, "project/project-id")
	project := strings.TrimSpace(text)
	if err != nil || project == "" {
		return ""
	}
	n.known.Store(&project)
	return project
}

// ofKey accepts the key of a service account alone: other kinds of JSON name
// addresses and programs to be asked for tokens.
func ofKey(ctx context.Context, key string, scopes []string) (*Account, error) {
	var named struct {
		Type    string `json:"type"`
		Project string `json:"project_id"`
	}
	if json.Unmarshal([]byte(key), &named) != nil {
		return nil, words.Errorf(codes.InvalidArgument, "the key of the Google service account is not JSON")
	}
	if named.Type != "service_account" {
		return nil, words.Errorf(codes.InvalidArgument, "the Google credentials are not the key of a service account")
	}
	config, err := google.JWTConfigFromJSON([]byte(key), scopes...) //dials:through client, which is in ctx
	if err != nil {
		return nil, words.Errorf(codes.InvalidArgument, "the key of the Google service account cannot be used")
	}
	if !issues(config.TokenURL) {
		return nil, words.Errorf(codes.InvalidArgument, "token_uri of the Google service account's key is not Google's (the family's flag %s makes exceptions)", lending.HostsFlag)
	}
	if err := keycost.CheckPrivate(config.PrivateKey); err != nil {
		return nil, words.Errorf(codes.InvalidArgument, "private_key of the Google service account's key %w", err)
	}
	kept := &ahead{fetch: func() (*oauth2.Token, error) {
		return config.TokenSource(ctx).Token() // a source that is used once keeps nothing
	}}
	return &Account{TokenSource: kept, home: strings.TrimSpace(named.Project), kept: kept}, nil
}

// issuers are where Google gives tokens. A key names one, and what asks there
// may reach addresses that no trigger may.
var issuers = []string{"oauth2.googleapis.com", "www.googleapis.com", "accounts.google.com"}

// issues reports whether an address is one that tokens are asked for at.
func issues(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (lending.Listed(u.Hostname()) || u.Scheme == "https" && slices.Contains(issuers, u.Host))
}

// renewal is how long before its end a token is renewed. The library does as
// much for tokens of the metadata server.
const renewal = 3 * time.Minute

// ahead keeps a token until shortly before its end. While renewing it fails,
// the old one serves until it really ends. Whoever comes while one is fetched
// waits for it, and shares what it comes to.
type ahead struct {
	fetch func() (*oauth2.Token, error)

	mu       sync.Mutex
	token    *oauth2.Token
	refused  bool // another one is to be fetched
	refusals refusal.Pace
	fetching *fetched // nil while nobody does
}

// fetched is what a fetch comes to, once it is done.
type fetched struct {
	done chan struct{}
	err  error
}

// Token implements oauth2.TokenSource.
func (a *ahead) Token() (*oauth2.Token, error) { return a.in(context.Background()) }

// in is Token for who does not wait longer than ctx for what another one fetches.
func (a *ahead) in(ctx context.Context) (*oauth2.Token, error) {
	a.mu.Lock()
	if !a.refused && a.token.Valid() && time.Until(a.token.Expiry) > renewal {
		defer a.mu.Unlock()
		return a.token, nil
	}
	if f := a.fetching; f != nil {
		a.mu.Unlock()
		select {
		case <-f.done:
			return a.present(f.err)
		case <-ctx.Done():
			return a.present(ctx.Err())
		}
	}
	f := &fetched{done: make(chan struct{})}
	a.fetching = f
	a.mu.Unlock()
	a.renew(f)
	return a.present(f.err)
}

// renew fetches a token, and lets those go on who wait for it, even if the library
// panics.
func (a *ahead) renew(f *fetched) {
	var fresh *oauth2.Token
	err := words.Errorf(codes.Internal, "no token could be fetched")
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if err == nil {
			a.token, a.refused = fresh, false
		}
		f.err, a.fetching = err, nil
		close(f.done)
	}()
	fresh, err = a.fetch()
}

// present is the token as it is after a fetch.
func (a *ahead) present(err error) (*oauth2.Token, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil && a.token != nil: // which may not last, and is the newest there is
		return a.token, nil
	case a.token.Valid():
		return a.token, nil
	default:
		return nil, err
	}
}

// forget has another one fetched, if a token is the present one. It serves while
// that fails: who refused it may not speak for all.
func (a *ahead) forget(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if a.refused || a.token == nil || a.token.AccessToken != token || !a.refusals.Due(now, refusal.Every) {
		return
	}
	a.refusals.Count(now)
	a.refused = true
}

// Failure is the failure of a request in words for the user, without those of
// the server. what says what was asked for, such as "secret db". Nil stays nil.
func Failure(what string, err error) error {
	if err == nil {
		return nil
	}
	if own := outcome.Own(err); own != nil {
		return own
	}
	var refused *oauth2.RetrieveError
	var missing metadata.NotDefinedError
	switch {
	case errors.As(err, &refused) && refused.Response != nil:
		code := outcome.Code(refused.Response.StatusCode)
		if code == codes.FailedPrecondition { // invalid_grant and its kin
			code = codes.Unauthenticated
		}
		return words.Errorf(code, "%s: Google gives no token: %s", what, outcome.Text(refused.Response.StatusCode))
	case errors.As(err, &missing):
		return words.Errorf(codes.Unauthenticated, "%s: the process has no Google identity", what)
	default:
		code, cause := outcome.Unanswered(err)
		return words.Errorf(code, "%s: %s", what, cause)
	}
}
