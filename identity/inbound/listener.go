// Package inbound bounds what those who reach a port can have a process hold,
// whoever they are: connections, headers, and answers in the making.
package inbound

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Porch is a listener that bounds open connections, in all and by address. When it
// is full, whose address has the most loses one to a newcomer, of equals the one on
// which nothing has come or gone for longest: a flood from however many addresses
// shuts nobody out. Those of whom it is known who they are count no more.
type Porch struct {
	net.Listener
	most, ofOne int

	mu    sync.Mutex
	count int
	open  map[string]map[*visit]struct{}
	// known are those that were recognised, by their address with its port.
	known map[string]*visit
}

// visit is one open connection.
type visit struct {
	net.Conn
	leave func()
	// moved is when something last came or went, since the process began.
	moved atomic.Int64
}

var began = time.Now()

func (v *visit) move() { v.moved.Store(int64(time.Since(began))) }

// Read implements net.Conn.
func (v *visit) Read(b []byte) (int, error) {
	n, err := v.Conn.Read(b)
	v.move()
	return n, err
}

// Write implements net.Conn.
func (v *visit) Write(b []byte) (int, error) {
	v.move()
	return v.Conn.Write(b)
}

// Close implements net.Conn.
func (v *visit) Close() error {
	v.leave()
	return v.Conn.Close()
}

// Listener lets so many connections be open at once, and so many of one address.
func Listener(l net.Listener, most, ofOne int) *Porch { return newPorch(l, most, ofOne) }

func newPorch(l net.Listener, most, ofOne int) *Porch {
	return &Porch{Listener: l, most: most, ofOne: ofOne, open: map[string]map[*visit]struct{}{}, known: map[string]*visit{}}
}

// Recognise has the connection from an address, with its port, count no more, as
// far as there is room for such ones: whoever it is may do what is done here.
func (p *Porch) Recognise(remote string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known[remote] != nil || len(p.known) >= p.most {
		return
	}
	address := HostOf(remote)
	for v := range p.open[address] {
		if v.RemoteAddr().String() == remote {
			p.forget(address, v)
			p.known[remote] = v
			return
		}
	}
}

// Accept implements net.Listener.
func (p *Porch) Accept() (net.Conn, error) {
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
func (p *Porch) enter(conn net.Conn) *visit {
	address := HostOf(conn.RemoteAddr().String())
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open[address]) >= p.ofOne {
		return nil
	}
	if p.count >= p.most {
		p.makeRoom()
	}
	v := &visit{Conn: conn}
	v.move()
	v.leave = func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.forget(address, v)
		if remote := conn.RemoteAddr().String(); p.known[remote] == v {
			delete(p.known, remote)
		}
	}
	if p.open[address] == nil {
		p.open[address] = map[*visit]struct{}{}
	}
	p.open[address][v] = struct{}{}
	p.count++
	return v
}

// makeRoom closes a connection of an address that has the most of them, the one on
// which nothing has moved for longest. That may be the newcomer's: whoever comes is
// let in; p.mu is held.
func (p *Porch) makeRoom() {
	most := 0
	for _, visits := range p.open {
		most = max(most, len(visits))
	}
	var longest *visit
	var of string
	for address, visits := range p.open {
		if len(visits) < most {
			continue
		}
		for v := range visits {
			if longest == nil || v.moved.Load() < longest.moved.Load() {
				longest, of = v, address
			}
		}
	}
	p.forget(of, longest)
	longest.Conn.Close() // whoever serves it sees its end
}

// forget takes a connection out, once; p.mu is held.
func (p *Porch) forget(address string, v *visit) {
	visits := p.open[address]
	if _, ok := visits[v]; !ok {
		return
	}
	p.count--
	if delete(visits, v); len(visits) == 0 {
		delete(p.open, address)
	}
}
