package scaler

import (
	"context"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/google"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/lending"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/fingerprint"
)

// googleKey tells identities apart.
type googleKey struct{ key, scopes string }

// GoogleAccount returns the account of Google Cloud that the JSON key of a
// service account is for. It is called from Open with Open's ctx. Failures of
// its tokens go through google.Failure.
func GoogleAccount(ctx context.Context, key string, scopes ...string) (*google.Account, error) {
	if key == "" {
		return nil, Errorf(codes.InvalidArgument, "the key of the Google service account is empty")
	}
	return googleAccount(ctx, key, scopes...)
}

// GoogleIdentity returns the process's own account (pod identity gcp), for the
// hosts of a loan.
func GoogleIdentity(ctx context.Context, to lending.Loan) (*google.Account, error) {
	return googleAccount(ctx, "", to.Scope())
}

func googleAccount(ctx context.Context, key string, scopes ...string) (*google.Account, error) {
	id := googleKey{fingerprint.Of(key), strings.Join(scopes, " ")}
	return identify(ctx, id, func(ctx context.Context, client *http.Client) (*google.Account, error) {
		return google.Identity{Key: key, Scopes: scopes}.Account(ctx, client)
	})
}
