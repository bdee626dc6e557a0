package outbound

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// HostPort reads a host and a port that a user gave for a gRPC server. A gRPC
// client takes much more for a target: URLs with a way to find the server, with
// a name server, and with text that it drops. Whoever judges the host must see
// the one that will be dialled.
func HostPort(text string) (host, port string, err error) {
	host, port, err = hostPort(text)
	if err == nil {
		return host, port, nil
	}
	if plain := plainOf(text); plain != "" {
		err = fmt.Errorf("has to be host:port alone: write %s", plain)
	}
	return "", "", err
}

func hostPort(text string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(text)
	if err != nil {
		return "", "", errors.New("has to be host:port, with an IPv6 address in brackets")
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		return "", "", errors.New("has to be host:port, with a port from 1 to 65535")
	}
	bracketed := strings.HasPrefix(text, "[")
	if addr, err := netip.ParseAddr(host); err == nil && addr.Zone() == "" && addr.Is6() == bracketed {
		return host, port, nil
	}
	if bracketed || len(host) > 253 || !hostName.MatchString(host) {
		return "", "", errors.New("has to be host:port, with a host name or an IP address")
	}
	return host, port, nil
}

// hostName are labels, of which a resolver makes nothing but a name.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)

// plainOf is the host:port in a URL, "" when there is none.
func plainOf(target string) string {
	if _, rest, isURL := strings.Cut(target, ":"); isURL {
		plain := rest[strings.LastIndex(rest, "/")+1:]
		if _, _, err := hostPort(plain); err == nil {
			return plain
		}
	}
	return ""
}
