package localcluster

import (
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
)

// CutBetween drops all packets between two parties, in both directions and
// silently, those of established connections too; what either says to anybody
// else arrives. heal lets them pass again, and the end of the cluster does. The
// same two cannot be cut twice.
//
// A party is an address of the cluster's network, or an address and a port of
// it, "198.18.0.1:9092": Instance.Address, Instance.PortAddress,
// Cluster.RoleAddress, or what a broker says of itself. Connections that the
// control plane opens to a Pod come from any port of Cluster.Address.
func (c *Cluster) CutBetween(a, b string) (heal func() error, err error) {
	one, err := party(a)
	if err != nil {
		return nil, err
	}
	other, err := party(b)
	if err != nil {
		return nil, err
	}
	if heal, err = c.network.cutBetween(one, other); err != nil {
		return nil, fmt.Errorf("cut between %s and %s: %w", a, b, err)
	}
	return heal, nil
}

// party understands one side of a cut; port 0 is all ports.
func party(text string) (netip.AddrPort, error) {
	if strings.Contains(text, ":") {
		return netip.ParseAddrPort(text)
	}
	address, err := netip.ParseAddr(text)
	return netip.AddrPortFrom(address, 0), err
}

// PortAddress is the address of a port of the Pod, named as in the manifest.
func (i *Instance) PortAddress(port string) (string, error) {
	number, err := containerPort(&i.pod.Spec.Containers[0], intstr.FromString(port))
	if err != nil {
		return "", err
	}
	address, err := netip.ParseAddr(i.Address())
	if err != nil {
		return "", fmt.Errorf("%s has no network yet", i.Name())
	}
	return netip.AddrPortFrom(address, uint16(number)).String(), nil
}
