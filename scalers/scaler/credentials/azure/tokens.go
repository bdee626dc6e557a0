package azure

import (
	"context"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/internal/login"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// Tokens are tokens of the pod identity azure-workload for one scope, which
// are kept and renewed before they end.
type Tokens struct {
	credential azcore.TokenCredential
	scope      string
}

// TokensFor returns the tokens of the pod identity azure-workload for the
// hosts of a loan. It is called from Open with Open's ctx; it asks nothing yet.
func TokensFor(ctx context.Context, id contract.PodIdentity, to lending.Loan) (*Tokens, error) {
	identity := WorkloadIdentity{ClientID: id.IdentityID, TenantID: id.TenantID, AuthorityHost: id.AuthorityHost}
	credential, err := login.Share(ctx, identity, func(_ context.Context, client *http.Client) (azcore.TokenCredential, error) {
		return identity.Credential(client)
	})
	if err != nil {
		return nil, err
	}
	return &Tokens{credential, to.Scope()}, nil
}

// Token returns a valid token. what names it in an error.
func (t *Tokens) Token(ctx context.Context, what string) (string, error) {
	token, err := t.credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{t.scope}})
	if err != nil {
		return "", Failure(what, err)
	}
	return token.Token, nil
}
