package scaler

import (
	"context"
	"net/http"
	"os"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials"
)

// Identities towards clouds are shared by all sources with an equal one, and
// keep and renew their tokens. What obtaining these takes goes over
// connections of its own, see outbound.DialIdentity. No redirect is followed:
// the proof of who asks would go along.

// identityHTTP returns the client of identities, from the ctx of an Open or a
// dial.
func identityHTTP(ctx context.Context) (*http.Client, error) {
	process, err := processHTTP(os.Getenv)
	if err != nil {
		return nil, err
	}
	pooled, err := Shared(ctx, struct{}{}, func(context.Context) (*identityTransport, error) {
		pool, _, err := newPlainTransport(outbound.DialIdentity)
		return &identityTransport{pool}, err
	})
	if err != nil {
		return nil, err
	}
	return outbound.Client(outbound.Bound(pooled.Transport, credentials.Limits), outbound.Stay, process.timeout), nil
}

// identityTransport tells the connections of identities from those of sources.
type identityTransport struct{ *transport }

// newPlainTransport makes a pool of connections with what the process says
// about TLS and HTTP, and nothing of a trigger.
func newPlainTransport(dial outbound.DialFunc) (*transport, httpProcess, error) {
	process, err := processHTTP(os.Getenv)
	if err != nil {
		return nil, process, err
	}
	config, err := TLSParams{}.Config(false)
	if err != nil {
		return nil, process, err
	}
	return newTransport(dial, config, process), process, nil
}

// identify shares what an identity makes of the client of identities.
func identify[K comparable, V any](ctx context.Context, key K, obtain func(context.Context, *http.Client) (V, error)) (V, error) {
	return Shared(ctx, key, func(ctx context.Context) (identity V, err error) {
		client, err := identityHTTP(ctx)
		if err != nil {
			return identity, err
		}
		return obtain(ctx, client)
	})
}
