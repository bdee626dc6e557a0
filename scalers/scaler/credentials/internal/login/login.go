// Package login has what identities towards clouds log in with. They are shared
// by all sources with an equal one, and keep and renew their tokens.
package login

import (
	"context"
	"net/http"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
)

// HTTP returns the client of identities, from the ctx of an Open or a dial. It has
// connections of its own, see outbound.DialIdentity, and follows no redirect: the
// proof of who asks would go along.
func HTTP(ctx context.Context) (*http.Client, error) {
	pooled, err := client.Shared(ctx, struct{}{}, func(context.Context) (*connections, error) {
		dialled, err := client.PlainTransport(outbound.DialIdentity)
		return &connections{dialled}, err
	})
	if err != nil {
		return nil, err
	}
	return outbound.Client(outbound.Bound(pooled.Transport, budget.Logins), outbound.Stay, pooled.Timeout), nil
}

// connections tells the connections of identities from those of sources.
type connections struct{ *client.Connections }

// Share shares what an identity, which the key tells from others, makes of the
// client of identities.
func Share[K comparable, V any](ctx context.Context, key K, obtain func(context.Context, *http.Client) (V, error)) (V, error) {
	return client.Shared(ctx, key, func(ctx context.Context) (identity V, err error) {
		client, err := HTTP(ctx)
		if err != nil {
			return identity, err
		}
		return obtain(ctx, client)
	})
}
