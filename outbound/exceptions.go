package outbound

import (
	"context"
	"net"
)

// Here are all connections to addresses that no user chooses, which the rules
// are therefore not for. Lines in other packages that open one refer to this
// file by //dials:administered.
//
// The API server is where the Pod, or a kubeconfig, says; client-go dials it by
// itself.
//
// An OpenTelemetry collector is where OTEL_EXPORTER_OTLP_* says, often in the
// Pod itself or on its node. Its exporters take their TLS, proxy and timeouts
// from these variables as well, but only with a client of their own.

// DialFamily connects the core to a family. The addresses are of Services and
// EndpointSlices in the installation's own namespace, which its administrators
// write, and tenants do not. Outside of a cluster they are on the loopback
// device.
func DialFamily(ctx context.Context, address string) (net.Conn, error) {
	return directly(ctx, "tcp", address)
}

// DialIdentity connects to what gives the process its own identity: Entra, the
// token services of AWS and Google, and the services of a node or Pod, at
// link-local and loopback addresses that the libraries and the environment know.
// These are said outright; a name, of which a user may have chosen a part such
// as a region, leads to none of them.
func DialIdentity(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if CheckHost(host) != nil {
		return directly(ctx, network, address)
	}
	return DialChecked(ctx, network, address)
}

func directly(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: dialLimit, KeepAlive: probe}).DialContext(ctx, network, address)
}
