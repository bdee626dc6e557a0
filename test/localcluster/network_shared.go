package localcluster

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os/exec"
)

// errShared is what an instance says when it shares its network with others.
var errShared = errors.New("needs a network of its own: run as root on Linux")

// sharedNetwork is the machine's loopback device: what is left without the
// right to make networks. Ports must differ, and nothing can be cut.
type sharedNetwork struct{ launcher *launcher }

func newSharedNetwork() *sharedNetwork { return &sharedNetwork{launcher: newLauncher()} }

func (n *sharedNetwork) address() netip.Addr             { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }
func (n *sharedNetwork) isolated() bool                  { return false }
func (n *sharedNetwork) launch(cmd *exec.Cmd) error      { return n.launcher.start(cmd) }
func (n *sharedNetwork) sandbox(string) (sandbox, error) { return sharedSandbox{n}, nil }

func (n *sharedNetwork) cutBetween(_, _ netip.AddrPort) (func() error, error) { return nil, errShared }

func (n *sharedNetwork) close() error {
	n.launcher.close()
	return nil
}

type sharedSandbox struct{ *sharedNetwork }

func (sharedSandbox) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, address)
}

func (sharedSandbox) cut() error   { return errShared }
func (sharedSandbox) heal() error  { return errShared }
func (sharedSandbox) close() error { return nil }
