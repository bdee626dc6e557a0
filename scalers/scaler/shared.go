package scaler

import (
	"context"
	"io"
)

// Shared returns the connection for key, dialled at most once at a time and
// shared by all sources that ask for an equal key of the same type. It is
// called from Open with Open's ctx; the connection is released when the source
// that Open returns is closed, and closed when the last one is.
//
// key has everything that tells one connection from another: the endpoint, and
// the credentials by their Fingerprint. A failed dial is returned to all who
// wait for it and not remembered.
func Shared[K comparable, V io.Closer](ctx context.Context, key K, dial func(context.Context) (V, error)) (V, error) {
	panic("written next")
}

// Fingerprint is a short hash of secrets, fit for keys of Shared. It cannot be
// turned back and differs between processes.
func Fingerprint(secrets ...string) string {
	panic("written next")
}
