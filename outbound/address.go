// Package outbound has the rules of connections to addresses that a user chose.
// The process that dials stands where no user does, so what only the machine
// itself should reach is refused: its own ports, link-local addresses, and the
// metadata services of clouds, which give identities away.
package outbound

import (
	"flag"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/idna"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// kind is what addresses have in common that nobody may choose.
type kind struct {
	what     string
	networks []netip.Prefix
}

// refused are all of them.
var refused = []kind{
	{"an address of the machine itself", networks(
		"127.0.0.0/8", "::1/128",
		"0.0.0.0/8", "::/128", // dialled, they are the machine itself
	)},
	{"a link-local address or a cloud's metadata service", networks(
		"169.254.0.0/16",      // RFC 3927: AWS with EKS and ECS, Azure, Google and most others
		"fe80::/10",           // RFC 4291
		"fd00:ec2::/32",       // AWS over IPv6: ::254 of instances, ::23 of EKS Pod Identity
		"fd20:ce::254/128",    // Google over IPv6
		"fd00:a9fe:a9fe::/48", // Akamai over IPv6
		"fd00:42::42/128",     // Scaleway over IPv6
		"168.63.129.16/32",    // Azure's WireServer
		"100.100.100.200/32",  // Alibaba Cloud
		"192.0.0.192/32",      // Oracle Cloud
	)},
	{"a multicast or broadcast address", networks("224.0.0.0/4", "255.255.255.255/32", "ff00::/8")},
}

func networks(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// Loopback are the addresses of the machine's loopback device, for Allow: tests
// have their servers there.
var Loopback = networks("127.0.0.0/8", "::1/128")

// Names that lead to such an address, for connections whose address a proxy
// finds, and which of them each stands for.
var (
	metadataService = netip.MustParseAddr("169.254.169.254")
	machine         = netip.MustParseAddr("127.0.0.1")
	leading         = map[string]netip.Addr{
		"metadata": metadataService, "metadata.google.internal": metadataService, "metadata.goog": metadataService,
		"instance-data": metadataService, "instance-data.ec2.internal": metadataService,
		"localhost": machine, "localhost.localdomain": machine, "localhost4": machine, "localhost6": machine,
		"ip6-localhost": machine, "ip6-loopback": machine,
	}
)

// exceptions are what the process was started with.
type exceptions struct {
	networks []netip.Prefix
	flag     string // that makes them, as errors name it
}

var allowed atomic.Pointer[exceptions]

// Allow makes exceptions for these networks.
func Allow(networks ...netip.Prefix) { allowed.Store(&exceptions{networks: networks}) }

// Flag adds the flag that makes exceptions, once for each.
func Flag(flags *flag.FlagSet, name, usage string) {
	made := exceptions{flag: "--" + name}
	if before := allowed.Load(); before != nil {
		made.networks = before.networks
	}
	allowed.Store(&made)
	flags.Func(name, usage, func(text string) error {
		network, err := parseNetwork(text)
		if err != nil {
			return fmt.Errorf("%q is neither an address nor a network", text)
		}
		made.networks = append(made.networks, network)
		now := made
		allowed.Store(&now)
		return nil
	})
}

func parseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

// Control is for net.Dialer: it refuses an address after its name was looked
// up, whatever the name was.
func Control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return AddressError{address, "no address of a network"} // the path of a socket
	}
	return checkAddress(at.Addr())
}

// CheckHost refuses a host, without a port, as far as its text tells.
func CheckHost(host string) error {
	if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		host = ascii // as it will be looked up: "①" is a digit
	}
	name := strings.ToLower(strings.TrimRight(host, "."))
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"))
	if err == nil {
		return checkAddress(addr)
	}
	if ambiguous.MatchString(name) {
		return AddressError{host, "an IP address in a notation that not all programs read alike"}
	}
	if strings.HasSuffix(name, ".localhost") {
		name = "localhost"
	}
	if addr, found := leading[name]; found {
		if what := prohibited(addr); what != "" {
			return AddressError{host, what}
		}
	}
	return nil
}

// ambiguous is what the C library takes for an IPv4 address, and others for a
// name or another address: decimal, octal or hexadecimal numbers, up to four.
var ambiguous = regexp.MustCompile(`^(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}$`)

func checkAddress(addr netip.Addr) error {
	zone := addr.Zone()
	addr = addr.Unmap().WithZone("")
	for _, leads := range append(embedded(addr), addr) {
		if what := prohibited(leads); what != "" && !excepted(addr) {
			return AddressError{addr.String(), what}
		}
	}
	if zone != "" && !addr.IsLinkLocalUnicast() {
		// It is dialled without, and whoever judges names may take it for one.
		return AddressError{addr.String(), "no address that has a zone"}
	}
	return nil
}

// prohibited says what an address is that must not be dialled, "" for others.
func prohibited(addr netip.Addr) string {
	for _, kind := range refused {
		if contain(kind.networks, addr) && !excepted(addr) {
			return kind.what
		}
	}
	return ""
}

func excepted(addr netip.Addr) bool {
	made := allowed.Load()
	return made != nil && contain(made.networks, addr)
}

func contain(networks []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// Ways to write an IPv4 address in an IPv6 one. A router on the way may take it
// out and send the packets there.
var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	ownNAT64   = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
)

// embedded are the IPv4 addresses that an IPv6 address may lead to.
func embedded(addr netip.Addr) (all []netip.Addr) {
	if addr.Is4() {
		return nil
	}
	b := addr.As16()
	at := func(i, j, k, l int) netip.Addr { return netip.AddrFrom4([4]byte{b[i], b[j], b[k], b[l]}) }
	last := at(12, 13, 14, 15)
	switch {
	case compatible.Contains(addr), translated.Contains(addr), nat64.Contains(addr):
		return []netip.Addr{last}
	case ownNAT64.Contains(addr):
		// Whoever runs it chose where the address is (RFC 6052, section 2.2).
		// Where there are zeros, it is elsewhere.
		for _, shorter := range []netip.Addr{at(6, 7, 9, 10), at(7, 9, 10, 11), at(9, 10, 11, 12)} {
			if shorter.As4()[0] != 0 {
				all = append(all, shorter)
			}
		}
		return append(all, last)
	case sixToFour.Contains(addr):
		return []netip.Addr{at(2, 3, 4, 5)}
	case teredo.Contains(addr):
		return []netip.Addr{at(4, 5, 6, 7), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})}
	case (b[8] == 0 || b[8] == 2) && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP, RFC 5214
		return []netip.Addr{last}
	}
	return nil
}

// AddressError is the error about an address that must not be dialled.
type AddressError struct{ address, what string }

func (a AddressError) Error() string {
	text := a.address + " is " + a.what
	if made := allowed.Load(); made != nil && made.flag != "" {
		text += " (" + made.flag + " makes an exception)"
	}
	return text
}

// GRPCStatus gives the error its code: what the user wrote is at fault.
func (a AddressError) GRPCStatus() *status.Status {
	return status.New(codes.InvalidArgument, a.Error())
}
