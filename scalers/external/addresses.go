package main

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// mostAddresses is how many addresses of a name are used. gRPC connects to each
// of them, and whoever has the name may give it thousands.
const mostAddresses = 32

// fewAddresses has gRPC use so many addresses of a name as there may be. ctx is
// that of a dial of Shared.
func fewAddresses(ctx context.Context) grpc.DialOption {
	return grpc.WithResolvers(few{resolver.Get("dns"), func() *client.Holding { return client.FurtherServers(ctx) }})
}

// few passes on what another resolver finds, but not too much of it.
type few struct {
	resolver.Builder

	hold func() *client.Holding
}

// Build implements resolver.Builder.
func (f few) Build(target resolver.Target, to resolver.ClientConn, options resolver.BuildOptions) (resolver.Resolver, error) {
	found := &found{ClientConn: to, held: f.hold()}
	inner, err := f.Builder.Build(target, found, options)
	if err != nil {
		return nil, err
	}
	return &held{inner, found}, nil
}

// found is where a resolver leaves what it has found.
type found struct {
	resolver.ClientConn

	mu    sync.Mutex
	held  *client.Holding // for addresses beside the first
	ended bool
}

// UpdateState implements resolver.ClientConn. Where there is no memory for more,
// the first address has to do.
func (f *found) UpdateState(state resolver.State) error {
	n := min(max(len(state.Addresses), len(state.Endpoints)), mostAddresses)
	f.mu.Lock()
	if f.ended || f.held.Set(max(n-1, 0)*client.UsualCost) != nil {
		_ = f.held.Set(0) // never refused
		n = min(n, 1)
	}
	f.mu.Unlock()
	state.Addresses = slices.Clone(state.Addresses[:min(n, len(state.Addresses))])
	state.Endpoints = slices.Clone(state.Endpoints[:min(n, len(state.Endpoints))])
	return f.ClientConn.UpdateState(state)
}

// held gives back what its addresses hold.
type held struct {
	resolver.Resolver

	found *found
}

// Close implements resolver.Resolver.
func (h *held) Close() {
	h.Resolver.Close()
	h.found.mu.Lock()
	defer h.found.mu.Unlock()
	h.found.ended = true
	_ = h.found.held.Set(0) // never refused
}
