package main

import (
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
)

// established is the kernel's number of that state.
const established = 1

// socketsTo are the broker's ends of its connections, by client.
func socketsTo(broker netip.AddrPort) (map[netip.Addr]sockets, error) {
	found := map[netip.Addr]sockets{}
	for _, family := range []uint8{syscall.AF_INET, syscall.AF_INET6} { // Java listens on both at once
		all, err := netlink.SocketDiagTCPInfo(family)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			if s.InetDiagMsg == nil || s.TCPInfo == nil || s.InetDiagMsg.State != established || s.InetDiagMsg.ID.SourcePort != broker.Port() {
				continue
			}
			client, ok := netip.AddrFromSlice(s.InetDiagMsg.ID.Destination)
			if !ok {
				continue
			}
			client = client.Unmap()
			sum := found[client]
			sum.Open++
			sum.ToClient += int64(s.TCPInfo.Bytes_acked)
			sum.ToBroker += int64(s.TCPInfo.Bytes_received)
			found[client] = sum
		}
	}
	return found, nil
}
