package localcluster

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
)

// network is where a cluster's processes meet.
type network interface {
	// address is where the control plane listens; brokers of a test may too.
	address() netip.Addr
	// isolated tells whether every Pod has an address of its own.
	isolated() bool
	// launch starts a role of the control plane.
	launch(*exec.Cmd) error
	// sandbox makes the network of one Pod.
	sandbox(hostname string) (sandbox, error)
	// cutBetween drops all packets between two addresses, or between ports of
	// them that are not 0, silently; heal lets them pass again.
	cutBetween(a, b netip.AddrPort) (heal func() error, err error)
	// close gives back what the network took. No process may be left in it.
	close() error
}

// sandbox is the network of one Pod.
type sandbox interface {
	// address is the Pod's, which is 127.0.0.1 without isolation.
	address() netip.Addr
	// launch starts a container.
	launch(*exec.Cmd) error
	// dial connects from within the Pod, as a kubelet's probe does: a cut
	// between the Pod and the others does not concern it.
	dial(ctx context.Context, network, address string) (net.Conn, error)
	// cut drops all packets between the Pod and everyone else, silently;
	// heal lets them pass again.
	cut() error
	heal() error
	close() error
}
