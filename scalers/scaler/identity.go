package scaler

import (
	"context"
	"net/http"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials"
)

// Identities towards clouds are shared by all sources with an equal one, and
// keep and renew their tokens. What obtaining these takes goes over
// connections of its own, see outbound.DialIdentity. No redirect is followed:
// the proof of who asks would go along.

// identityHTTP returns the client of identities, from the ctx of an Open or a
// dial.
func identityHTTP(ctx context.Context) (*http.Client, error) {
	pooled, err := client.Shared(ctx, struct{}{}, func(context.Context) (*identityTransport, error) {
		connections, err := client.PlainTransport(outbound.DialIdentity)
		return &identityTransport{connections}, err
	})
	if err != nil {
		return nil, err
	}
	return outbound.Client(outbound.Bound(pooled.Transport, credentials.Limits), outbound.Stay, pooled.Timeout), nil
}

// identityTransport tells the connections of identities from those of sources.
type identityTransport struct{ *client.Connections }

// identify shares what an identity makes of the client of identities.
func identify[K comparable, V any](ctx context.Context, key K, obtain func(context.Context, *http.Client) (V, error)) (V, error) {
	return client.Shared(ctx, key, func(ctx context.Context) (identity V, err error) {
		client, err := identityHTTP(ctx)
		if err != nil {
			return identity, err
		}
		return obtain(ctx, client)
	})
}
