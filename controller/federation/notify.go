package federation

import (
	"context"
	"sync"

	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
)

// notifier tells of changed triggers from one goroutine. A trigger that
// changes faster than it is told of is told of once.
type notifier struct {
	mu    sync.Mutex
	dirty map[ID]struct{}
	order []ID
	wake  chan struct{} // holds one token while something is dirty
}

func newNotifier() *notifier {
	return &notifier{dirty: map[ID]struct{}{}, wake: make(chan struct{}, 1)}
}

func (n *notifier) mark(id ID) {
	n.mu.Lock()
	if _, ok := n.dirty[id]; !ok {
		n.dirty[id] = struct{}{}
		n.order = append(n.order, id)
	}
	n.mu.Unlock()
	signal(n.wake)
}

func (n *notifier) take() []ID {
	n.mu.Lock()
	defer n.mu.Unlock()
	ids := n.order
	n.order = nil
	clear(n.dirty)
	return ids
}

func (n *notifier) run(ctx context.Context, changed func(ID)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		}
		for _, id := range n.take() {
			_ = guard.Do("notices", id.String(), func() { changed(id) }) // logged
		}
	}
}

// signal leaves a token in a channel that has room for one.
func signal(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
