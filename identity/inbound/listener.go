// Package inbound bounds what those who reach a port can have a process hold,
// whoever they are: connections, headers, and answers in the making.
package inbound

import (
	"net"
	"sync"
)

// porch is a listener that bounds open connections, in all and by address. When
// it is full, whose address has the most loses one to somebody who has fewer: a
// flood shuts nobody out.
type porch struct {
	net.Listener
	most, ofOne int

	mu    sync.Mutex
	count int
	open  map[string]map[*visit]struct{}
}

// visit is one open connection.
type visit struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (v *visit) Close() error {
	v.leave()
	return v.Conn.Close()
}

// Listener lets so many connections be open at once, and so many of one address.
func Listener(l net.Listener, most, ofOne int) net.Listener { return newPorch(l, most, ofOne) }

func newPorch(l net.Listener, most, ofOne int) *porch {
	return &porch{Listener: l, most: most, ofOne: ofOne, open: map[string]map[*visit]struct{}{}}
}

// Accept implements net.Listener.
func (p *porch) Accept() (net.Conn, error) {
	for {
		conn, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if v := p.enter(conn); v != nil {
			return v, nil
		}
		conn.Close() // it has had nothing yet
	}
}

// enter takes a connection in, nil when there is no room for it.
func (p *porch) enter(conn net.Conn) *visit {
	address := HostOf(conn.RemoteAddr().String())
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open[address]) >= p.ofOne || p.count >= p.most && !p.makeRoom(address) {
		return nil
	}
	v := &visit{Conn: conn}
	v.leave = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.forget(address, v)
	}
	if p.open[address] == nil {
		p.open[address] = map[*visit]struct{}{}
	}
	p.open[address][v] = struct{}{}
	p.count++
	return v
}

// makeRoom closes a connection of the address that has the most of them, if
// that is more than the newcomer will have; p.mu is held.
func (p *porch) makeRoom(newcomer string) bool {
	most := newcomer
	for address, visits := range p.open {
		if len(visits) > len(p.open[most]) {
			most = address
		}
	}
	if len(p.open[most]) <= len(p.open[newcomer])+1 {
		return false
	}
	for v := range p.open[most] {
		p.forget(most, v)
		v.Conn.Close() // whoever serves it sees its end
		return true
	}
	return false
}

// forget takes a connection out, once; p.mu is held.
func (p *porch) forget(address string, v *visit) {
	visits := p.open[address]
	if _, ok := visits[v]; !ok {
		return
	}
	p.count--
	if delete(visits, v); len(visits) == 0 {
		delete(p.open, address)
	}
}
