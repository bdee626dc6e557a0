package federation

import (
	"context"
	"sync"

	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
)

// notifier tells of changed triggers from one goroutine, in which namespaces take
// turns. A trigger that changes faster than it is told of is told of once.
type notifier struct {
	mu    sync.Mutex
	dirty map[ID]struct{}
	of    map[string][]ID // that are dirty, by namespace
	turns []string        // namespaces that have some
	wake  chan struct{}   // holds one token while something is dirty
}

func newNotifier() *notifier {
	return &notifier{dirty: map[ID]struct{}{}, of: map[string][]ID{}, wake: make(chan struct{}, 1)}
}

func (n *notifier) mark(id ID) {
	n.mu.Lock()
	if _, ok := n.dirty[id]; !ok {
		n.dirty[id] = struct{}{}
		if len(n.of[id.Namespace]) == 0 {
			n.turns = append(n.turns, id.Namespace)
		}
		n.of[id.Namespace] = append(n.of[id.Namespace], id)
	}
	n.mu.Unlock()
	signal(n.wake)
}

// next is the trigger to be told of, if there is one.
func (n *notifier) next() (id ID, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.turns) == 0 {
		return id, false
	}
	namespace := n.turns[0]
	n.turns = n.turns[1:]
	id = n.of[namespace][0]
	delete(n.dirty, id)
	if rest := n.of[namespace][1:]; len(rest) > 0 {
		n.of[namespace] = rest
		n.turns = append(n.turns, namespace)
	} else {
		delete(n.of, namespace)
	}
	return id, true
}

func (n *notifier) run(ctx context.Context, changed func(ID)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		}
		for id, ok := n.next(); ok && ctx.Err() == nil; id, ok = n.next() {
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
