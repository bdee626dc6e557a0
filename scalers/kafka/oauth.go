package main

import (
	"context"
	"errors"
	"maps"
	"net/url"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
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

// mechanism logs in with a token that is bought when needed and kept until it
// expires.
func (p oauthParams) mechanism(ctx context.Context, a account) (sasl.Mechanism, error) {
	web, err := client.HTTP(ctx, client.HTTPOptions{})
	if err != nil {
		return nil, err
	}
	tokens := client.OAuthParams{
		OAuthTokenURI: p.OAuthTokenEndpointURI, ClientID: a.Username, ClientSecret: a.Password, Scopes: p.Scopes,
	}.Tokens(web)
	return withToken(tokens.Token, p.OAuthExtensions), nil
}

// withToken logs in with the token of the moment.
func withToken(token func(context.Context) (string, error), extensions map[string]string) sasl.Mechanism {
	return oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
		text, err := token(ctx)
		return oauth.Auth{Token: text, Extensions: maps.Clone(extensions)}, err
	})
}
