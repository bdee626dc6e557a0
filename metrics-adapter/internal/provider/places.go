package provider

import (
	"context"
	"sync"

	"github.com/sluice-autoscaler/sluice/identity/inbound"
)

// places are taken in turn by namespaces, of those that wait by the one with the
// fewest. The zero value is ready to use.
type places struct {
	once sync.Once
	gate *inbound.Gate
}

// enter waits for one of so many places, so many of one namespace, until ctx ends.
func (p *places) enter(ctx context.Context, most, ofOne int, namespace string) (leave func(), ok bool) {
	p.once.Do(func() { p.gate = inbound.NewGate(most, ofOne) })
	return p.gate.Enter(ctx, namespace)
}
