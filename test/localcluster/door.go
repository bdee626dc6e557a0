package localcluster

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// door carries connections from one network to another: to the API server, or
// into a Pod.
type door struct {
	listener net.Listener
	dial     func(context.Context) (net.Conn, error)
	cancel   context.CancelFunc // ends what is still being dialled

	mu    sync.Mutex
	conns map[net.Conn]bool // open ones; nil once closed
	wg    sync.WaitGroup
}

// openDoorTo serves Options.Door and writes the kubeconfig for its users.
func openDoorTo(ctx context.Context, c *Cluster) (*door, error) {
	server := "https://" + c.options.Door.Addr().String()
	if err := writeKubeconfig(c.plane.kubeconfig("host"), server, c.plane.pki("ca.crt"), c.plane.pki("admin.crt"), c.plane.pki("admin.key")); err != nil {
		return nil, err
	}
	target := c.RoleAddress(APIServer)
	return openDoorFrom(ctx, c.options.Door, func(ctx context.Context) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "tcp", target)
	}), nil
}

// openDoorFrom carries what comes to a listener until the door is closed.
func openDoorFrom(ctx context.Context, listener net.Listener, dial func(context.Context) (net.Conn, error)) *door {
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d := &door{listener: listener, dial: dial, cancel: cancel, conns: map[net.Conn]bool{}}
	d.wg.Go(func() { d.serve(serving) })
	return d
}

func (d *door) serve(ctx context.Context) {
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return // closed
		}
		d.wg.Go(func() { d.carry(ctx, conn) })
	}
}

// carry copies both ways until one side ends.
func (d *door) carry(ctx context.Context, outer net.Conn) {
	inner, err := d.dial(ctx)
	if err != nil {
		outer.Close()
		return
	}
	if !d.track(outer, inner) {
		return
	}
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{outer, inner}, {inner, outer}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1]) // how a connection ends is its users' affair
			outer.Close()
			inner.Close()
		})
	}
	both.Wait()
	d.forget(outer, inner)
}

// track keeps connections for close; when that was already called, it closes
// them and returns false.
func (d *door) track(conns ...net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range conns {
		if d.conns == nil {
			conn.Close()
			continue
		}
		d.conns[conn] = true
	}
	return d.conns != nil
}

func (d *door) forget(conns ...net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range conns {
		delete(d.conns, conn)
	}
}

func (d *door) close() error {
	d.cancel()
	err := d.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	d.mu.Lock()
	for conn := range d.conns {
		conn.Close()
	}
	d.conns = nil
	d.mu.Unlock()
	d.wg.Wait()
	return err
}
