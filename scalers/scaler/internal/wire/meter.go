// Package wire bounds what the peer of a connection may send, before a client
// library sees it: bytes for one read of a source, bytes in a second, and what
// a checker of the protocol makes of them.
package wire

import (
	"slices"
	"sync"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/suspects"
)

// Meter counts what the peers of one endpoint send while it is read. All
// connections of the endpoint share it.
type Meter struct {
	mu    sync.Mutex
	reads int   // that are under way
	bytes int64 // that came for them
	made  int64 // bytes of memory that were made of what came
	held  int64 // bytes of answers that wait to be whole, whoever they are for
	// since is when the endpoint was last seen to send, and fresh what came
	// afterwards: too little for that.
	since time.Time
	fresh int64
	drops int // how often it had to make room
	last  *PeerError
	pages []*suspects.Page // of the endpoint's addresses

	payers func() []string // see OwnedBy; nil for nobody
	owners []string        // what it said lately
	asked  time.Time       // when that was
}

// OwnedBy says for which namespaces the endpoint is read now. payers is called
// with no lock held that a sampler or pool needs. It is set before anything else.
func (m *Meter) OwnedBy(payers func() []string) { m.payers = payers }

// ownerLasts is how long it stays known who an endpoint is read for.
const ownerLasts = time.Second

// nobody is for whom an endpoint is read that nobody owns.
var nobody = []string{""}

// ownedBy names those for whom the endpoint is read, one at least.
func (m *Meter) ownedBy(now time.Time) []string {
	if m.payers == nil {
		return nobody
	}
	m.mu.Lock()
	owners, asked := m.owners, m.asked
	m.mu.Unlock()
	if !asked.IsZero() && now.Sub(asked) < ownerLasts {
		return owners
	}
	if owners = m.payers(); len(owners) == 0 {
		owners = nobody
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owners, m.asked = owners, now
	return owners
}

// mostPages bounds the addresses of an endpoint that are noted; the oldest of
// more are forgotten.
const mostPages = 64

// Note has the reads of the endpoint noted on a page of it, until Release.
func (m *Meter) Note(p *suspects.Page) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p == nil || slices.Contains(m.pages, p) {
		p.Release()
		return
	}
	if len(m.pages) == mostPages {
		m.forget(m.pages[0])
		m.pages = slices.Delete(m.pages, 0, 1)
	}
	for range m.reads {
		p.Begin()
	}
	m.pages = append(m.pages, p)
}

func (m *Meter) forget(p *suspects.Page) {
	for range m.reads {
		p.End()
	}
	p.Release()
}

// Release gives the pages back.
func (m *Meter) Release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pages {
		m.forget(p)
	}
	m.pages = nil
}

// Begin notes that a read starts. Every Begin has its End.
func (m *Meter) Begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reads == 0 {
		m.last = nil
	}
	m.reads++
	for _, p := range m.pages {
		p.Begin()
	}
}

// End notes that a read is over: its share of what came is forgotten. Nobody
// can tell whose bytes they were, so that all have the same share.
func (m *Meter) End() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.take(-m.bytes/int64(m.reads), -m.made/int64(m.reads))
	m.reads--
	for _, p := range m.pages {
		p.End()
	}
}

// waited is true while a read is under way.
func (m *Meter) waited() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads > 0
}

// add counts bytes and returns how many came for the reads under way. What
// comes while nobody reads is nobody's.
func (m *Meter) add(n int, now time.Time) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reads == 0 {
		return 0
	}
	m.take(int64(n), 0)
	m.progress(int64(n), now)
	return m.bytes
}

// Made counts memory that is made of what came for the reads under way: it goes
// with them into what all servers may take, and is refused where this one has to
// go.
func (m *Meter) Made(n int) error {
	m.mu.Lock()
	if m.reads > 0 {
		m.take(0, int64(n))
	}
	before := m.drops
	m.mu.Unlock()
	everything.makeRoom(time.Now())
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.drops != before {
		return errCrowded
	}
	return nil
}

// Hold changes how many bytes of answers wait to be whole. It counts whether or
// not somebody reads: half of an answer may wait for the other half long after a
// read has ended.
func (m *Meter) Hold(change int) {
	m.mu.Lock()
	change = max(change, -int(m.held)) // some may have been dropped
	m.held += int64(change)
	everything.bytes.Add(int64(change))
	m.mu.Unlock()
	everything.makeRoom(time.Now())
}

// take changes how much came for the reads under way, and was made of it. m.mu
// is held.
func (m *Meter) take(bytes, made int64) {
	m.bytes += bytes
	m.made += made
	everything.bytes.Add(bytes + made)
}

const (
	// sending is which part of what an endpoint has sent it has to send more
	// within longestSilence, or else it is silent.
	sending        = 16
	longestSilence = time.Second
	// silentWeight is how many times the bytes of who is silent count: a large
	// answer that comes is not to make way for half answers that do not.
	silentWeight = 4
)

// progress notes that some bytes came. m.mu is held.
func (m *Meter) progress(n int64, now time.Time) {
	if m.fresh += n; m.fresh >= m.bytes/sending {
		m.since, m.fresh = now, 0
	}
}

// weight is what the reads under way and half answers take, or a multiple where no more comes.
func (m *Meter) weight(now time.Time) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.since) >= longestSilence {
		return (m.bytes + m.made + m.held) * silentWeight
	}
	return m.bytes + m.made + m.held
}

// drop forgets them: the reads are about to fail.
func (m *Meter) drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drops++
	m.take(-m.bytes, -m.made)
	everything.bytes.Add(-m.held)
	m.held = 0
}

// Refusal is the last error about a peer since the reads under way began, for
// clients that drop the error of their connection. It is nil for none.
func (m *Meter) Refusal() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil {
		return nil // and no nil pointer in an interface
	}
	return m.last
}

func (m *Meter) refused(r *PeerError) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = r
}
