package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	kafkaoauth "github.com/twmb/franz-go/pkg/sasl/oauth"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// oauthParams say where a token for sasl oauthbearer is bought.
type oauthParams struct {
	// OAuthTokenEndpointURI answers client credentials with a token.
	OAuthTokenEndpointURI string `param:"oauthTokenEndpointUri" from:"auth"`
	// Scopes are asked for; blank ones are dropped.
	Scopes []string `param:"scopes" from:"auth"`
	// OAuthExtensions go to the broker beside the token, as key=value pairs.
	OAuthExtensions map[string]string `param:"oauthExtensions" from:"auth"`
}

func (p oauthParams) requireEndpoint() error {
	if p.OAuthTokenEndpointURI == "" {
		return errors.New("oauthTokenEndpointUri: is required with sasl oauthbearer")
	}
	endpoint, err := url.Parse(p.OAuthTokenEndpointURI)
	if err != nil || endpoint.Host == "" {
		return errors.New("oauthTokenEndpointUri: is not an absolute URL")
	}
	return nil
}

// tokenLimit bounds one request for a token.
const tokenLimit = 3 * time.Second

// mechanism logs in with a token that is bought when needed and kept until it
// expires.
func (p oauthParams) mechanism(a account) sasl.Mechanism {
	scopes := slices.DeleteFunc(slices.Clone(p.Scopes), func(scope string) bool {
		return strings.TrimSpace(scope) == ""
	})
	config := clientcredentials.Config{
		ClientID: a.Username, ClientSecret: a.Password, TokenURL: p.OAuthTokenEndpointURI, Scopes: scopes,
	}
	client := &http.Client{Timeout: tokenLimit, CheckRedirect: stayPut}
	kept := &keptToken{buy: func(ctx context.Context) (string, time.Time, error) {
		token, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
		if err != nil {
			return "", time.Time{}, tokenFailure(err)
		}
		return token.AccessToken, token.Expiry, nil
	}}
	return kept.mechanism(p.OAuthExtensions)
}

// stayPut follows no redirect: the client secret is for one address.
func stayPut(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// tokenFailure keeps the provider's answer out of the error: it may quote what
// it was sent.
func tokenFailure(err error) error {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		var address *url.Error
		if errors.As(err, &address) {
			err = address.Err // without the address, which may hold a secret
		}
		return fmt.Errorf("token endpoint: %w", err)
	}
	reason := fmt.Sprintf("token endpoint answered %s", refused.Response.Status)
	if refused.Response.StatusCode >= http.StatusInternalServerError {
		return errors.New(reason)
	}
	return loginError{reason}
}

// keptToken keeps a token until shortly before it expires.
type keptToken struct {
	buy func(context.Context) (token string, expires time.Time, err error)

	mu      sync.Mutex
	token   string
	expires time.Time // zero: never
}

// expiryMargin is how long before its end a token is not used any more.
const expiryMargin = 30 * time.Second

func (k *keptToken) get(ctx context.Context) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.token != "" && (k.expires.IsZero() || time.Until(k.expires) > expiryMargin) {
		return k.token, nil
	}
	token, expires, err := k.buy(ctx)
	if err != nil {
		return "", err
	}
	k.token, k.expires = token, expires
	return token, nil
}

// mechanism logs in with the token of the moment.
func (k *keptToken) mechanism(extensions map[string]string) sasl.Mechanism {
	return kafkaoauth.Oauth(func(ctx context.Context) (kafkaoauth.Auth, error) {
		token, err := k.get(ctx)
		return kafkaoauth.Auth{Token: token, Extensions: maps.Clone(extensions)}, err
	})
}
