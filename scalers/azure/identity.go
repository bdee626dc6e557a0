package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/azure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// identityParams are who asks, where the authentication has a pod identity.
type identityParams struct {
	scaler.PodIdentity
}

// entra reports whether the family's own identity is used.
func (p identityParams) entra() bool { return p.Provider == "azure-workload" }

// Validate checks that the identity is one of Entra.
func (p identityParams) Validate() error {
	switch p.Provider {
	case "", "none", "azure-workload":
		return nil
	default:
		return fmt.Errorf("podIdentity: provider %s is not supported here, only azure-workload is", p.Provider)
	}
}

// tokens are those of the family's identity for the hosts of a loan. It is
// called with the ctx of an Open or a dial, and asks nothing yet.
func (p identityParams) tokens(ctx context.Context, to lending.Loan) (func(context.Context) (string, error), error) {
	source, err := azure.TokensFor(ctx, p.PodIdentity, to)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (string, error) { return source.Token(ctx, "workload identity") }, nil
}

// principal is an application of Entra with a secret, both the tenant's own.
type principal struct {
	authority, tenant, clientID, secret string
}

// tokens are those of the application for a scope. It is called with the ctx of
// an Open or a dial, and asks nothing yet.
func (p principal) tokens(ctx context.Context, scope string) (func(context.Context) (string, error), error) {
	type shared struct {
		principal

		Scope string
	}
	return client.Shared(ctx, shared{p, scope}, func(ctx context.Context) (func(context.Context) (string, error), error) {
		plain, err := client.HTTP(ctx, client.HTTPOptions{})
		if err != nil {
			return nil, err
		}
		login := client.OAuthParams{
			OAuthTokenURI: strings.TrimSuffix(p.authority, "/") + "/" + p.tenant + "/oauth2/v2.0/token",
			ClientID:      p.clientID, ClientSecret: p.secret, Scopes: []string{scope},
		}
		return login.TokensByForm(plain).Token, nil
	})
}

// bearing adds a token to requests.
func bearing(token func(context.Context) (string, error)) func(*http.Request) error {
	return func(request *http.Request) error {
		text, err := token(request.Context())
		if err == nil {
			request.Header.Set("Authorization", "Bearer "+text)
		}
		return err
	}
}
