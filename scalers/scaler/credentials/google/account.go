package google

import (
	"context"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/internal/login"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// AccountOf returns the account of Google Cloud that the JSON key of a
// service account is for. It is called from Open with Open's ctx. Failures of
// its tokens go through Failure.
func AccountOf(ctx context.Context, key string, scopes ...string) (*Account, error) {
	if key == "" {
		return nil, words.Errorf(codes.InvalidArgument, "the key of the Google service account is empty")
	}
	return shared(ctx, Identity{Key: key, Scopes: scopes})
}

// OwnAccount returns the process's own account (pod identity gcp), for the
// hosts of a loan.
func OwnAccount(ctx context.Context, to lending.Loan) (*Account, error) {
	return shared(ctx, Identity{Scopes: []string{to.Scope()}})
}

func shared(ctx context.Context, id Identity) (*Account, error) {
	return login.Share(ctx, id, id.Account)
}
