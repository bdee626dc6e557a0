package scaler

import (
	"context"
	"net/http"
	"strings"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/google"
)

// googleKey tells identities apart.
type googleKey struct{ key, scopes string }

// GoogleAccount returns an account of Google Cloud: that of the JSON key of a
// service account or, with an empty key, the process's own (pod identity gcp).
// It is called from Open with Open's ctx. Failures of its tokens go through
// google.Failure.
func GoogleAccount(ctx context.Context, key string, scopes ...string) (*google.Account, error) {
	id := googleKey{Fingerprint(key), strings.Join(scopes, " ")}
	return identify(ctx, id, func(ctx context.Context, client *http.Client) (*google.Account, error) {
		return google.Identity{Key: key, Scopes: scopes}.Account(ctx, client)
	})
}
