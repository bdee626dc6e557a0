// Package suspects remembers across restarts which endpoints were being read
// when the process ended. A client library may panic where nobody can catch it,
// or take more memory than there is: then the process that starts anew keeps
// away from the endpoint for a while, instead of ending again and again and
// taking everybody else's triggers along.
//
// The memory is a file that is mapped: what is noted in it costs as much as a
// variable, and is there however the process ends.
package suspects

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Book has the endpoints of one process. A nil Book remembers nothing.
type Book struct {
	file *file

	mu    sync.Mutex
	pages map[string]*Page
	turn  chan struct{} // of those that are tried one at a time
}

// Page is what is noted of one endpoint.
type Page struct {
	book    *Book
	address string
	entry   *entry       // nil where the file is full: nothing is noted
	users   int          // guarded by book.mu
	holds   atomic.Bool  // the turn
	since   atomic.Int64 // when it came
}

// Open reads who is suspect of the end of the process before, and begins anew.
// No other process has the file meanwhile.
func Open(path string, now time.Time, log *slog.Logger) (*Book, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	b := &Book{file: f, pages: map[string]*Page{}, turn: make(chan struct{}, 1)}
	if !f.closed() {
		for _, e := range judge(f.known(), now) {
			log.Warn("an endpoint was being read when the process ended", "endpoint", e.name(), "notBefore", time.Unix(0, e.until.Load()).UTC())
		}
	}
	f.begin(now)
	return b, nil
}

// Close notes that the process ends as it should.
func (b *Book) Close() {
	if b != nil {
		b.file.layout.closed.Store(1) // it stays mapped: some reads may not let go
	}
}

// At returns the page of an endpoint until it is released; nil without a book.
func (b *Book) At(address string) *Page {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.pages[address]
	if p == nil {
		p = &Page{book: b, address: address, entry: b.file.take(address)}
		b.pages[address] = p
	}
	p.users++
	return p
}

// Release ends the use of a page.
func (p *Page) Release() {
	if p == nil {
		return
	}
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	if p.users--; p.users == 0 {
		delete(p.book.pages, p.address)
		p.book.file.release(p.entry)
	}
}

// longestTurn is how long an endpoint is tried alone that is always being read.
const longestTurn = 10 * time.Second

// turnWait is how long a connection waits for its turn.
const turnWait = 2 * time.Second

// Admit lets a connection be made to the endpoint, or says when it may be. One
// that is suspect beside others is connected to for a read alone, and while
// none of them is being read: it waits a little for that.
func (p *Page) Admit(ctx context.Context) error {
	if p == nil || p.entry == nil {
		return nil
	}
	if until := time.Unix(0, p.entry.until.Load()); time.Now().Before(until) {
		return QuarantineError{until}
	}
	if p.entry.alone.Load() == no || p.holds.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, turnWait)
	defer cancel()
	select {
	case p.book.turn <- struct{}{}:
	case <-ctx.Done():
		return QuarantineError{}
	}
	p.since.Store(time.Now().UnixNano())
	p.holds.Store(true)
	p.entry.alone.Store(itsTurn)
	if p.entry.reads.Load() == 0 && p.passOn(itWaits) { // nobody would, later
		return QuarantineError{}
	}
	return nil
}

// passOn gives the turn back, if the page holds it, and says how it is left.
func (p *Page) passOn(alone int32) bool {
	if !p.holds.CompareAndSwap(true, false) {
		return false
	}
	p.entry.alone.Store(alone)
	<-p.book.turn
	return true
}

// Begin notes that the endpoint is being read.
func (p *Page) Begin() {
	if p != nil && p.entry != nil {
		p.entry.reads.Add(1)
	}
}

// End notes that a read of the endpoint is over, and that the process is not:
// an endpoint that was tried alone is suspect no more. Where another read of it is
// always under way, it was tried for long enough.
func (p *Page) End() {
	if p == nil || p.entry == nil {
		return
	}
	left := p.entry.reads.Add(-1)
	if p.holds.Load() && (left == 0 || time.Since(time.Unix(0, p.since.Load())) >= longestTurn) {
		p.passOn(no)
	}
}

// Received notes that the endpoint has just sent something.
func (p *Page) Received(now time.Time) {
	if p != nil && p.entry != nil {
		p.entry.heard.Store(now.UnixNano())
	}
}

// QuarantineError is the error about an endpoint that is not connected to for now.
type QuarantineError struct{ until time.Time }

func (q QuarantineError) Error() string {
	const what = "this endpoint was being read when the process ended"
	if q.until.IsZero() {
		return what + ", beside others that are tried before it"
	}
	return fmt.Sprintf("%s; it is tried again at %s", what, q.until.UTC().Format(time.RFC3339))
}

// GRPCStatus gives the error its code.
func (q QuarantineError) GRPCStatus() *status.Status { return status.New(codes.Unavailable, q.Error()) }
