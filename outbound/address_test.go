package outbound

import (
	"errors"
	"flag"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Kinds of refusal, as errors name them.
const (
	itself    = "is an address of the machine itself"
	metadata  = "is a link-local address or a cloud's metadata service"
	many      = "is a multicast or broadcast address"
	zoned     = "is no address that has a zone"
	ambiguity = "is an IP address in a notation that not all programs read alike"
)

// addresses are IP addresses and why each is refused, "" for those that are not.
var addresses = map[string]string{
	"127.0.0.1": itself, "127.9.9.9": itself, "::1": itself, "::1%lo": itself,
	"0.0.0.0": itself, "0.1.2.3": itself, "::": itself,

	"169.254.169.254": metadata, "169.254.170.2": metadata, "169.254.170.23": metadata, "169.254.20.10": metadata,
	"fe80::1": metadata, "fe80::1%eth0": metadata, "fe80::a9fe:a9fe": metadata, "febf::1": metadata,
	"fd00:ec2::254": metadata, "fd00:ec2::23": metadata, "fd20:ce::254": metadata, "fd00:42::42": metadata,
	"fd00:a9fe:a9fe::1": metadata, "168.63.129.16": metadata, "100.100.100.200": metadata, "192.0.0.192": metadata,

	"224.0.0.1": many, "239.255.255.250": many, "255.255.255.255": many, "ff02::1": many, "ff02::1%eth0": many,

	// IPv4 in IPv6: mapped, compatible, translated.
	"::ffff:127.0.0.1": itself, "::ffff:a9fe:a9fe": metadata, "::ffff:10.0.0.1": "",
	"::7f00:1": itself, "::169.254.169.254": metadata, "::10.0.0.1": "",
	"::ffff:0:127.0.0.1": itself, "::ffff:0:a9fe:a9fe": metadata, "::ffff:0:10.0.0.1": "",
	// NAT64, and every place that whoever runs it may choose.
	"64:ff9b::a9fe:a9fe": metadata, "64:ff9b::7f00:1": itself, "64:ff9b::8.8.8.8": "", "64:ff9b::224.0.0.1": many,
	"64:ff9b:1::a9fe:a9fe": metadata, "64:ff9b:1:a9fe:a9:fe00::": metadata, "64:ff9b:1:a9:fe:a9fe::": metadata,
	"64:ff9b:1:0:a9:fea9:fe00::": metadata, "64:ff9b:1::7f00:1": itself, "64:ff9b:1::10.0.0.1": "",
	// 6to4, Teredo (its server, its client), ISATAP.
	"2002:a9fe:a9fe::1": metadata, "2002:7f00:1::": itself, "2002:808:808::1": "",
	"2001:0:a9fe:a9fe::": metadata, "2001:0:808:808:0:0:5601:5601": metadata, "2001:0:808:808:0:0:80ff:fffe": itself, "2001:0:808:808:0:0:f5ff:fffe": "",
	"2001:db8::5efe:a9fe:a9fe": metadata, "2001:db8::200:5efe:7f00:1": itself, "2001:db8::5efe:a00:1": "",

	// A zone may be any text, and is nothing where there are none.
	"2001:db8::1%eth0": zoned, "2001:db8::1%.kafka.svc": zoned, "::ffff:10.0.0.1%.kafka.svc": zoned, "64:ff9b::8.8.8.8%x": zoned,

	"10.0.0.1": "", "100.64.0.1": "", "172.16.0.1": "", "192.168.0.1": "", "198.18.0.1": "", "8.8.8.8": "", "240.0.0.1": "",
	"fd00::1": "", "2001:db8::1": "", "2600:1f18::1": "", "2a00:1450::1": "",
}

// TestAddresses: what is refused is so as a host of the user's and after a name
// was looked up.
func TestAddresses(t *testing.T) {
	for address, want := range addresses {
		check(t, "host "+address, CheckHost(address), want)
		check(t, "host ["+address+"]", CheckHost("["+address+"]"), want)
		check(t, "dialled "+address, Control("tcp", net.JoinHostPort(address, "80"), nil), want)
	}
}

// TestHosts are spellings that lead to such an address by way of a name server,
// a proxy or a C library.
func TestHosts(t *testing.T) {
	for host, want := range map[string]string{
		"2852039166": ambiguity, "0xa9fea9fe": ambiguity, "0XA9FEA9FE": ambiguity, "025177524776": ambiguity, "0251.0376.0251.0376": ambiguity,
		"169.254.43518": ambiguity, "169.16689662": ambiguity, "0xa9.0xfe.0xa9.0xfe": ambiguity, "169.254.169.0376": ambiguity,
		"127.1": ambiguity, "0": ambiguity, "0x7f.1": ambiguity, "017700000001": ambiguity, "127.0.0.01": ambiguity, "2130706433.": ambiguity, "0x": ambiguity,
		"127.0.0.1.": itself, "169.254.169.254.": metadata, "①⑥⑨.②⑤④.①⑥⑨.②⑤④": metadata, "１２７。０。０。１": itself,

		"metadata.google.internal": metadata, "METADATA.google.Internal": metadata, "metadata.google.internal.": metadata, "metadata.google.internal..": metadata,
		"metadata.goog": metadata, "Metadata.GOOG.": metadata, "metadata": metadata, "instance-data": metadata, "instance-data.ec2.internal": metadata,
		"ⓜetadata.goog": metadata,
		"localhost":     itself, "LOCALHOST": itself, "localhost.": itself, "a.localhost": itself, "localhost.localdomain": itself, "ip6-localhost": itself, "ip6-loopback": itself,

		"redis": "", "redis.123": "", "1.2.3.4.5": "", "0x.shop": "", "kafka-0.kafka.shop.svc.cluster.local": "", "bücher.example": "", "metadata.shop.svc": "", "": "",
	} {
		check(t, "host "+host, CheckHost(host), want)
	}
}

func check(t *testing.T, what string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && (!strings.HasSuffix(err.Error(), want) || status.Code(err) != codes.InvalidArgument) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

// TestNamesAreNoWayAround: a name is judged by what it leads to.
func TestNamesAreNoWayAround(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	conn, err := DialChecked(t.Context(), "tcp4", net.JoinHostPort("localhost", port))
	if err == nil {
		conn.Close()
	}
	var refused AddressError
	if !errors.As(err, &refused) {
		t.Errorf("error = %v", err)
	}
	check(t, "a socket's path", Control("unix", "/run/agent.sock", nil), "is no address of a network")
}

func TestExceptions(t *testing.T) {
	defer Allow()
	flags := flag.NewFlagSet("family", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	Flag(flags, "allow-source-address", "")
	const remedy = metadata + " (--allow-source-address makes an exception)"
	check(t, "none yet", CheckHost("169.254.1.1"), remedy)
	if err := flags.Parse([]string{"--allow-source-address=169.254.169.0/24", "--allow-source-address", "127.0.0.7"}); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"169.254.169.254": "", "metadata.goog": "", "64:ff9b::a9fe:a9fe": "", "::ffff:169.254.169.1": "", "127.0.0.7": "",
		"169.254.1.1": remedy, "127.0.0.1": itself + " (--allow-source-address makes an exception)",
	} {
		check(t, address, CheckHost(address), want)
	}
	if err := flags.Parse([]string{"--allow-source-address=loopback"}); err == nil || !strings.Contains(err.Error(), `"loopback" is neither an address nor a network`) {
		t.Errorf("a word: %v", err)
	}
	Allow(netip.MustParsePrefix("64:ff9b::/96"))
	check(t, "the form that is allowed", CheckHost("64:ff9b::a9fe:a9fe"), "")
	check(t, "the address in it", CheckHost("169.254.169.254"), metadata)
}
