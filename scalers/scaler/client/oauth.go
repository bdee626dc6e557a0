package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/outcome"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// OAuthParams are OAuth 2 client credentials. Which of them a trigger requires
// and when is the trigger's rule.
type OAuthParams struct {
	// OAuthTokenURI is the token endpoint.
	OAuthTokenURI string `param:"oauthTokenURI" from:"auth"`
	// ClientID identifies the client.
	ClientID string `param:"clientID" from:"auth"`
	// ClientSecret proves the client's identity.
	ClientSecret string `param:"clientSecret" from:"auth"`
	// Scopes are asked for; blank ones are dropped.
	Scopes []string `param:"scopes" alias:"scope" from:"auth"`
	// EndpointParams are further parameters of the token request.
	EndpointParams url.Values `param:"endpointParams" from:"auth"`
}

// Authorize returns what adds a bearer token to a request. The token is fetched
// through client, which has no Authorize of its own, and kept until shortly
// before it ends.
func (p OAuthParams) Authorize(client *HTTPClient) func(*http.Request) error {
	tokens := p.Tokens(client)
	return func(request *http.Request) error {
		token, err := tokens.Token(request.Context())
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+token)
		return nil
	}
}

// Tokens fetches and keeps the access tokens of one client identity.
type Tokens struct {
	config clientcredentials.Config //dials:through client
	client *http.Client
	turn   chan *oauth2.Token // holds the token while nobody looks at it
}

// Tokens returns a source of access tokens for protocols that carry them by
// themselves.
func (p OAuthParams) Tokens(client *HTTPClient) *Tokens {
	scopes := slices.DeleteFunc(slices.Clone(p.Scopes), func(scope string) bool { return strings.TrimSpace(scope) == "" })
	plain := *client.client
	plain.Transport = outbound.Bound(plain.Transport, budget.Logins)
	// The request's body carries the secret: it goes nowhere else.
	plain.CheckRedirect = func(*http.Request, []*http.Request) error {
		return outbound.RedirectError("the token endpoint redirects")
	}
	t := &Tokens{
		config: clientcredentials.Config{ //dials:through client, which Token puts into its ctx
			ClientID:       p.ClientID,
			ClientSecret:   p.ClientSecret,
			TokenURL:       p.OAuthTokenURI,
			Scopes:         scopes,
			EndpointParams: p.EndpointParams,
		},
		client: &plain,
		turn:   make(chan *oauth2.Token, 1),
	}
	t.turn <- nil
	return t
}

// TokensByForm is Tokens where the secret is part of the request's form, as
// Entra wants it, and not of its header.
func (p OAuthParams) TokensByForm(client *HTTPClient) *Tokens {
	t := p.Tokens(client)
	t.config.AuthStyle = oauth2.AuthStyleInParams
	return t
}

// longestToken is what is kept of a token endpoint, in bytes.
const longestToken = 32 << 10

// Token returns a valid access token. One caller at a time fetches a new one;
// the others wait for it no longer than their ctx. An error holds nothing that
// the endpoint wrote.
func (t *Tokens) Token(ctx context.Context) (string, error) {
	var token *oauth2.Token
	select {
	case token = <-t.turn:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { t.turn <- token }()
	if token.Valid() {
		return token.AccessToken, nil
	}
	fresh, err := t.config.Token(context.WithValue(ctx, oauth2.HTTPClient, t.client))
	if err != nil {
		return "", t.failure(err)
	}
	if len(fresh.AccessToken) > longestToken {
		return "", words.Errorf(codes.Unavailable, "token endpoint: a token of more than %d bytes", longestToken)
	}
	// All that was said beside it is as long as the endpoint likes.
	token = &oauth2.Token{AccessToken: strings.Clone(fresh.AccessToken), Expiry: fresh.Expiry}
	return token.AccessToken, nil
}

func (t *Tokens) failure(err error) error {
	name := "token endpoint"
	if u, parseErr := url.Parse(t.config.TokenURL); parseErr == nil {
		name += " " + publicURL(u)
	}
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		return transportError(name, err)
	}
	answered := refused.Response.StatusCode
	code := outcome.Code(answered)
	if answered == http.StatusBadRequest || answered < 300 { // invalid_client and its kin
		code = codes.Unauthenticated
	}
	return words.Errorf(code, "%s: %w", name, words.Plain(code, outcome.Text(answered)))
}
