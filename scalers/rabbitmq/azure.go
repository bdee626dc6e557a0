package main

import (
	"context"
	"net/http"
	"net/url"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/azure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// entra returns what adds a token of Microsoft Entra to a request. Tokens are
// kept until shortly before they end. The broker is nobody's but the user's, and
// so is the application: both are known to the family, or nothing is sent.
func (l login) entra(ctx context.Context, e endpoint) (func(*http.Request) error, error) {
	loan, err := lending.RabbitMQ.LendFor("host", (&url.URL{Host: e.host}).Hostname(), "workloadIdentityResource", l.WorkloadIdentityResource)
	if err != nil {
		return nil, err
	}
	tokens, err := azure.TokensFor(ctx, l.PodIdentity, loan)
	if err != nil {
		return nil, err
	}
	return func(request *http.Request) error {
		token, err := tokens.Token(request.Context(), "workload identity")
		if err == nil {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		return err
	}, nil
}
