package main

import (
	"context"
	"net"
	"syscall"
)

// until is dial for as long as a context lasts: with it end the attempts and
// the connections. The client library heeds deadlines, and otherwise waits for
// an answer even before it closes.
func until(end context.Context, dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(end, cancel)()
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		s := &socket{Conn: raw, forget: context.AfterFunc(end, func() { raw.Close() })}
		if system, ok := raw.(syscall.Conn); ok {
			// The library looks there whether the server has hung up.
			return struct {
				*socket
				syscall.Conn
			}{s, system}, nil
		}
		return s, nil
	}
}

// socket is a connection that ends with a context.
type socket struct {
	net.Conn
	forget func() bool
}

// Close implements net.Conn.
func (s *socket) Close() error {
	s.forget()
	return s.Conn.Close()
}
