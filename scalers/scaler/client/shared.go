// Package client is what families make their clients of event sources with:
// connections that sources share, dialling within the rules of outbound, TLS,
// HTTP with the usual ways to log in, and listening for many at once. None of it
// is needed for a source that reaches its backend in another way.
package client

import (
	"context"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
)

// Shared returns the connection that is made of params, dialled at most once at a
// time and shared by all sources that ask for one of the same type and of equal
// params. It is called from Open with Open's ctx; the connection is released when
// the source that Open returns is closed. With the last one the connection is
// closed too, if it is an io.Closer.
//
// params are everything that dial uses of a trigger: where the endpoint is, who
// asks, and how; a list of several is as good as a struct. They are compared by
// what they hold, behind pointers too, and only a fingerprint of them is kept. A
// failed dial is returned to all who wait for it and not remembered.
//
// A dial goes on for as long as anybody waits for it, so its ctx may outlive
// that of the caller who happened to be first. A dial may call Shared itself
// with its own ctx; what it takes is released after the connection is closed.
func Shared[V any](ctx context.Context, params any, dial func(context.Context) (V, error)) (V, error) {
	return pool.Shared(ctx, params, dial)
}

// What a shared connection may say of itself.
type (
	// Narrow is one that carries fewer reads at once than others.
	Narrow = pool.Narrow
	// Part is one that belongs to another and takes next to nothing of its own. All
	// others count in what connections may take, see --connection-memory.
	Part = pool.Part
	// Costly is one that takes more memory than most, or less.
	Costly = pool.Costly
)

// UsualCost is what a connection takes, or each further server of one: buffers,
// goroutines and what TLS keeps.
const UsualCost = pool.UsualCost

// Allowance bounds how many of something the sources of a process hold: things
// of which the source, or who made the trigger, decides how many there are. A
// namespace has a share of it, so that one tenant cannot take it from others.
type Allowance = pool.Allowance

// Holding is what one source, or one connection, holds of an Allowance. A nil
// Holding is not counted.
type Holding = pool.Holding

// NewAllowance returns one that nothing was taken of. what stands behind a
// number in an error, such as "partitions".
func NewAllowance(what string, share, all int) *Allowance {
	return pool.NewAllowance(what, share, all)
}

// FurtherServers returns what a connection holds of --connection-memory for
// servers that it learns of, beside its own cost. ctx is that of its dial.
func FurtherServers(ctx context.Context) *Holding { return pool.FurtherServers(ctx) }
