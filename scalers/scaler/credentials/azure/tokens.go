package azure

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/internal/login"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// Tokens are tokens of one identity for one scope, which are kept and renewed
// before they end.
type Tokens struct {
	credential azcore.TokenCredential
	scope      string
}

// TokensFor returns the tokens of the pod identity azure-workload for the
// hosts of a loan. It is called from Open with Open's ctx; it asks nothing yet.
func TokensFor(ctx context.Context, id contract.PodIdentity, to lending.Loan) (*Tokens, error) {
	return WorkloadIdentity{ClientID: id.IdentityID, TenantID: id.TenantID, AuthorityHost: id.AuthorityHost}.Tokens(ctx, to)
}

// Tokens returns those of the identity for the hosts of a loan, as TokensFor does.
func (w WorkloadIdentity) Tokens(ctx context.Context, to lending.Loan) (*Tokens, error) {
	credential, err := login.Share(ctx, w, func(_ context.Context, client *http.Client) (azcore.TokenCredential, error) {
		return w.Credential(client)
	})
	if err != nil {
		return nil, err
	}
	return &Tokens{credential, to.Scope()}, nil
}

// Token returns a valid token. what names it in an error.
func (t *Tokens) Token(ctx context.Context, what string) (string, error) {
	var lost atomic.Pointer[error]
	token, err := t.credential.GetToken(context.WithValue(ctx, lostKey{}, &lost), policy.TokenRequestOptions{Scopes: []string{t.scope}})
	if err != nil {
		if cause := lost.Load(); cause != nil {
			err = *cause
		}
		return "", Failure(what, err)
	}
	return token.Token, nil
}

// lostKey is of the pointer at which a transport leaves why a request had no
// answer: the library makes a text of that.
type lostKey struct{}

// lose notes why a request had none.
func lose(ctx context.Context, err error) {
	if at, ok := ctx.Value(lostKey{}).(*atomic.Pointer[error]); ok {
		at.Store(&err)
	}
}
