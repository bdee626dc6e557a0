package admission

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// Anybody who reaches the port may send what looks like a review: without a
// client certificate the API server cannot be told from others. So what all of
// them together can hold is bounded, and nobody's address may hold more than its
// part of it.
const (
	// longestReview is what a review may have, the object and what it was
	// before: as much as the API server stores of one object.
	longestReview = 1 << 20
	// mostValues is how many values the JSON of a review may have. Each becomes
	// many times its own size once it is decoded.
	mostValues = 10_000
	// deepestReview is how deep the JSON may be nested.
	deepestReview = 64
	// mostReviews are read and judged at once, mostOfOne of them from one
	// address.
	mostReviews, mostOfOne = 16, 8
	// bodyTime is how long a review may take to arrive once it is read.
	bodyTime = 2 * time.Second
	// longestWait is how long a review waits for its turn: that long does the
	// API server wait for an answer.
	longestWait = 10 * time.Second
)

// gate lets so many reviews in at once. Whose address has the fewest inside is
// next, so that a flood from one address keeps no other waiting.
type gate struct {
	mu     sync.Mutex
	inside int
	// callers are those who have a review inside or waiting.
	callers map[string]*caller
}

// caller is an address with reviews here.
type caller struct {
	inside  int
	waiting []*turn
}

// turn is one review that waits.
type turn struct {
	since time.Time
	come  chan struct{} // closed when it may enter
}

// enter waits until a review from an address may be read, and returns what ends
// it. It is false when the turn does not come in time.
func (g *gate) enter(ctx context.Context, address string) (leave func(), ok bool) {
	t := &turn{since: time.Now(), come: make(chan struct{})}
	g.mu.Lock()
	if g.callers == nil {
		g.callers = map[string]*caller{}
	}
	c := g.callers[address]
	if c == nil {
		c = &caller{}
		g.callers[address] = c
	}
	c.waiting = append(c.waiting, t)
	g.admit()
	g.mu.Unlock()
	leave = func() { g.leave(address, c) }
	select {
	case <-t.come:
		return leave, true
	case <-ctx.Done():
	}
	if g.giveUp(address, c, t) {
		return nil, false
	}
	leave() // it came at the same moment
	return nil, false
}

// admit lets in who is next, as long as there is room; g.mu is held.
func (g *gate) admit() {
	for g.inside < mostReviews {
		next := g.next()
		if next == nil {
			return
		}
		g.inside++
		next.inside++
		close(next.waiting[0].come)
		next.waiting = next.waiting[1:]
	}
}

// next is the waiting caller with the fewest reviews inside, of equals the one
// that has waited longest.
func (g *gate) next() (best *caller) {
	for _, c := range g.callers {
		switch {
		case len(c.waiting) == 0 || c.inside >= mostOfOne:
		case best == nil, c.inside < best.inside,
			c.inside == best.inside && c.waiting[0].since.Before(best.waiting[0].since):
			best = c
		}
	}
	return best
}

func (g *gate) leave(address string, c *caller) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	c.inside--
	g.forget(address, c)
	g.admit()
}

// giveUp takes a turn back and reports whether it had not come.
func (g *gate) giveUp(address string, c *caller, t *turn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, other := range c.waiting {
		if other == t {
			c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
			g.forget(address, c)
			return true
		}
	}
	return false
}

func (g *gate) forget(address string, c *caller) {
	if c.inside == 0 && len(c.waiting) == 0 {
		delete(g.callers, address)
	}
}

// ofPeers lets reviews through to next, in turn and within bounds. What is
// refused here is an error to the API server, which then does as failurePolicy
// says; the controller checks the object again.
func (g *gate) ofPeers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if problem, code := refusedUnread(r); code != 0 {
			turnAway(w, problem, code)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), longestWait)
		defer cancel()
		leave, ok := g.enter(ctx, hostOf(r.RemoteAddr))
		if !ok {
			turnAway(w, "too many reviews at once", http.StatusServiceUnavailable)
			return
		}
		defer leave()
		body, err := readReview(w, r)
		if err != nil {
			turnAway(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		r.Body = body
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// turnAway answers without what is left of the body, and ends the connection:
// else the rest would be waited for.
func turnAway(w http.ResponseWriter, problem string, code int) {
	w.Header().Set("Connection", "close")
	http.Error(w, problem, code)
}

// refusedUnread says what is wrong with a request before anything of its body
// is read.
func refusedUnread(r *http.Request) (problem string, code int) {
	switch {
	case r.Method != http.MethodPost:
		return "a review is posted", http.StatusMethodNotAllowed
	case r.ContentLength > longestReview:
		return errLong.Error(), http.StatusRequestEntityTooLarge
	}
	return "", 0
}

// hostOf is an address without its port.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
