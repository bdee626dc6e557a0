package outbound

import (
	"context"
	"net"
	"time"
)

// Limits of every connection.
const (
	dialLimit = 10 * time.Second
	probe     = 30 * time.Second // of a connection that rests
)

// Dial connects to a host and port that a user chose.
func Dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if err := CheckHost(host); err != nil {
		return nil, err
	}
	return DialChecked(ctx, network, address)
}

// DialChecked is Dial for clients that look names up by themselves and dial
// addresses alone, or proxies: the host went to CheckHost by its name before.
func DialChecked(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialLimit, KeepAlive: probe, Control: Control}
	return dialer.DialContext(ctx, network, address)
}
