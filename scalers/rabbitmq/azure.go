package main

import (
	"context"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/azure"
)

// entra returns what adds a token of Microsoft Entra to a request. Tokens are
// kept until shortly before they end.
func (l login) entra(ctx context.Context) (func(*http.Request) error, error) {
	identity, err := scaler.AzureCredential(ctx, l.PodIdentity)
	if err != nil {
		return nil, err
	}
	scopes := []string{l.WorkloadIdentityResource + "/.default"}
	return func(request *http.Request) error {
		token, err := identity.GetToken(request.Context(), policy.TokenRequestOptions{Scopes: scopes})
		if err != nil {
			return azure.Failure("workload identity", err)
		}
		request.Header.Set("Authorization", "Bearer "+token.Token)
		return nil
	}, nil
}
