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
	// The name tells them from the connections of sources.
	pooled, err := client.Shared(ctx, "identities", func(context.Context) (*client.Connections, error) {
		return client.PlainTransport(outbound.DialIdentity)
	})
	if err != nil {
		return nil, err
	}
	return outbound.Client(outbound.Bound(pooled.Transport, budget.Logins), outbound.Stay, pooled.Timeout), nil
}

// Share shares what is made of an identity and the client of identities. The
// identity is compared like the params of client.Shared.
func Share[V any](ctx context.Context, identity any, obtain func(context.Context, *http.Client) (V, error)) (V, error) {
	return client.Shared(ctx, identity, func(ctx context.Context) (made V, err error) {
		client, err := HTTP(ctx)
		if err != nil {
			return made, err
		}
		return obtain(ctx, client)
	})
}
