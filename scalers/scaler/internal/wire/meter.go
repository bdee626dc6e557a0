// Package wire bounds what the peer of a connection may send, before a client
// library sees it: bytes for one read of a source, bytes in a second, and what
// a checker of the protocol makes of them.
package wire

import "sync"

// Meter counts what the peers of one endpoint send while it is read. All
// connections of the endpoint share it.
type Meter struct {
	mu    sync.Mutex
	reads int   // that are under way
	bytes int64 // that came for them
	last  *Refused
}

// Begin notes that a read starts. Every Begin has its End.
func (m *Meter) Begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reads == 0 {
		m.bytes, m.last = 0, nil
	}
	m.reads++
}

// End notes that a read is over: its share of what came is forgotten. Nobody
// can tell whose bytes they were, so that all have the same share.
func (m *Meter) End() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes -= m.bytes / int64(m.reads)
	m.reads--
}

// add counts bytes and returns how many came for the reads under way. What
// comes while nobody reads is nobody's.
func (m *Meter) add(n int) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reads == 0 {
		return 0
	}
	m.bytes += int64(n)
	return m.bytes
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

func (m *Meter) refused(r *Refused) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = r
}
