package scaler

import "sync"

// Group runs the parts of a batch side by side, as many at a time as it was made
// for. Each runs Safely.
type Group struct {
	places  chan struct{}
	running sync.WaitGroup

	mu  sync.Mutex
	err error
}

// NewGroup returns a Group that runs at most so many parts at a time.
func NewGroup(most int) *Group { return &Group{places: make(chan struct{}, most)} }

// Go runs a part once there is a place, and returns when it has begun. doing says
// what it does, and of which endpoint.
func (g *Group) Go(doing string, part func()) {
	g.places <- struct{}{}
	g.running.Go(func() {
		defer func() { <-g.places }()
		err := Safely(doing, func() error { part(); return nil })
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.err == nil {
			g.err = err
		}
	})
}

// Wait waits until all parts have ended. Its error is that of one that panicked,
// for a ReadBatch to return: who was not answered has it then.
func (g *Group) Wait() error {
	g.running.Wait()
	return g.err
}
