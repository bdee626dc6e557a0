package localcluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A cut between two parties is a pair of rules that come before all routes. What
// one Pod sends to another, or to the control plane's address, passes the
// cluster's namespace and is lost there. What is sent from the control plane's
// address would be refused to its sender, who is in that namespace; it goes by a
// table of its own to a hardware address that nobody has.
const (
	cutPriority   = 10
	localPriority = 20 // of the rule that knows our own addresses; the kernel puts it first
	lostTable     = 100
)

// readyToCut makes room for the rules of all clusters of this process. What it
// leaves in the namespace changes no other route.
var readyToCut = sync.OnceValue(func() error {
	if err := makeLostTable(); err != nil {
		return fmt.Errorf("table of what is lost: %w", err)
	}
	rules, err := netlink.RuleList(netlink.FAMILY_V4)
	if err != nil || !slices.ContainsFunc(rules, func(r netlink.Rule) bool { return r.Priority == 0 }) {
		return err // or another process did it
	}
	local := netlink.NewRule()
	local.Priority, local.Table = localPriority, unix.RT_TABLE_LOCAL
	if err := netlink.RuleAdd(local); err != nil {
		return fmt.Errorf("rule of our own addresses: %w", err)
	}
	local.Priority = 0
	return netlink.RuleDel(local)
})

// makeLostTable sends everything over a link to a neighbour who is not there.
func makeLostTable() error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = "lost"
	veth := &netlink.Veth{LinkAttrs: attributes, PeerName: "lost-end"}
	if err := netlink.LinkAdd(veth); err != nil {
		if errors.Is(err, syscall.EEXIST) {
			return nil // another process was here
		}
		return err
	}
	for _, name := range []string{veth.Name, veth.PeerName} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
	}
	link, err := netlink.LinkByName(veth.Name)
	if err != nil {
		return err
	}
	nobody := netip.MustParseAddr("192.0.2.1")
	if err := netlink.NeighSet(neighbour(link, nobody, randomMAC())); err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{
		LinkIndex: link.Attrs().Index, Table: lostTable, Gw: nobody.AsSlice(), Flags: int(netlink.FLAG_ONLINK),
		Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
	})
}

func (n *isolatedNetwork) cutBetween(a, b netip.AddrPort) (func() error, error) {
	if err := readyToCut(); err != nil {
		return nil, err
	}
	there, back := n.losing(a, b), n.losing(b, a)
	if err := netlink.RuleAdd(there); err != nil {
		return nil, err
	}
	if err := netlink.RuleAdd(back); err != nil {
		return nil, errors.Join(err, netlink.RuleDel(there))
	}
	heal := sync.OnceValue(func() error { return errors.Join(netlink.RuleDel(there), netlink.RuleDel(back)) })
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heals = append(n.heals, heal)
	return heal, nil
}

// losing is the rule by which what one sends to another is lost.
func (n *isolatedNetwork) losing(from, to netip.AddrPort) *netlink.Rule {
	rule := netlink.NewRule()
	rule.Priority = cutPriority
	rule.Src, rule.Dst = hostNet(from.Addr()), hostNet(to.Addr())
	if port := from.Port(); port != 0 {
		rule.IPProto, rule.Sport = unix.IPPROTO_TCP, netlink.NewRulePortRange(port, port)
	}
	if port := to.Port(); port != 0 {
		rule.IPProto, rule.Dport = unix.IPPROTO_TCP, netlink.NewRulePortRange(port, port)
	}
	if from.Addr() == n.address() {
		rule.Table = lostTable
	} else {
		rule.Type = unix.FR_ACT_BLACKHOLE
	}
	return rule
}
