// Package outbound has the rules of connections to addresses that a user chose.
// The process that dials stands where no user does, so what only the machine
// itself should reach is refused: link-local addresses and the metadata
// services of clouds, which give identities away.
package outbound

import (
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
)

// refused are link-local addresses, and services that clouds keep elsewhere.
var refused = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),     // RFC 3927: AWS, Azure, Google and most others
	netip.MustParsePrefix("fe80::/10"),          // RFC 4291
	netip.MustParsePrefix("fd00:ec2::254/128"),  // AWS over IPv6
	netip.MustParsePrefix("fd20:ce::254/128"),   // Google over IPv6
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure's WireServer
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud
	netip.MustParsePrefix("192.0.0.192/32"),     // Oracle Cloud
}

// nat64 are IPv4 addresses in the form of IPv6 (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// own are the addresses of the machine itself. A family may stand beside its
// source; nobody else has business there.
var own = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("::/128"), // dialled, they are the machine itself
}

// metadataNames are names that lead to such a service, for connections whose
// address a proxy finds.
var metadataNames = map[string]bool{
	"metadata": true, "metadata.google.internal": true, "instance-data": true, "instance-data.ec2.internal": true,
}

// allowed are exceptions that the process was started with.
var allowed atomic.Pointer[[]netip.Prefix]

// Allow makes exceptions for these networks.
func Allow(networks []netip.Prefix) { allowed.Store(&networks) }

// Control is for net.Dialer: it refuses an address after its name was looked
// up, whatever the name was.
func Control(_, address string, _ syscall.RawConn) error { return control(address, refused) }

// ControlRemote is Control that refuses the machine itself, too.
func ControlRemote(_, address string, _ syscall.RawConn) error {
	return control(address, refused, own)
}

func control(address string, refused ...[]netip.Prefix) error {
	if at, err := netip.ParseAddrPort(address); err == nil { // else a path
		return checkAddress(at.Addr(), refused...)
	}
	return nil
}

// CheckHost refuses a host, without a port, as far as its text tells.
func CheckHost(host string) error {
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return checkAddress(addr, refused)
	}
	if name := strings.ToLower(strings.TrimSuffix(host, ".")); metadataNames[name] && !excepted(netip.MustParseAddr("169.254.169.254")) {
		return AddressError(name)
	}
	return nil
}

func checkAddress(addr netip.Addr, refused ...[]netip.Prefix) error {
	addr = addr.Unmap().WithZone("")
	if nat64.Contains(addr) {
		bytes := addr.As16()
		addr = netip.AddrFrom4([4]byte(bytes[12:]))
	}
	for _, networks := range refused {
		for _, network := range networks {
			if network.Contains(addr) && !excepted(addr) {
				return AddressError(addr.String())
			}
		}
	}
	return nil
}

func excepted(addr netip.Addr) bool {
	networks := allowed.Load()
	if networks == nil {
		return false
	}
	for _, network := range *networks {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// AddressError is the error about an address that must not be dialled.
type AddressError string

func (a AddressError) Error() string {
	if addr, err := netip.ParseAddr(string(a)); err == nil && (addr.IsLoopback() || own[2].Contains(addr) || own[3].Contains(addr)) {
		return string(a) + " is an address of the machine itself"
	}
	return string(a) + " is a link-local address or a cloud's metadata service"
}
