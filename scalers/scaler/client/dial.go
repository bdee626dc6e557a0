package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/suspects"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/wire"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// Dialer opens the connections of one source. Every client of an event source
// dials through one, so that no trigger can reach what it must not: addresses
// that package outbound refuses, and hosts that its credentials may not be sent
// to.
//
// What a server may send over its connections is bounded, too, see Guard.
type Dialer struct {
	hosts []string                // nil allows any
	lend  func(host string) error // nil for a source that gets nothing of the family's identity
	meter *wire.Meter             // of the endpoint; nil for one of each connection
	guard Guard
	book  *suspects.Book
}

// DialerOf returns the dialer for the source that is being opened. ctx is
// Open's, or that of a dial of Shared.
func DialerOf(ctx context.Context) *Dialer {
	if l := pool.Of(ctx); l != nil {
		return &Dialer{hosts: l.Hosts(), meter: l.Endpoint(), book: l.Book()}
	}
	return &Dialer{}
}

// Lending returns a dialer for connections over which the family shows its own
// identity to a service. parameter leads to the hosts, those that the server
// itself names included; verified says whether their certificates are looked at.
func (d *Dialer) Lending(to lending.Service, parameter string, verified bool) *Dialer {
	lending := *d
	lending.lend = func(host string) error { return to.Check(parameter, host, verified) }
	return &lending
}

// DialContext connects to a host and port.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if err := d.Check(host); err != nil {
		return nil, err
	}
	return d.DialResolved(ctx, network, address)
}

// DialResolved connects to an address whose host was given to Check by its
// name before: clients that look names up by themselves dial addresses alone.
func (d *Dialer) DialResolved(ctx context.Context, network, address string) (net.Conn, error) {
	meter := cmp.Or(d.meter, &wire.Meter{})
	conn, err := d.dial(ctx, network, address, meter)
	if err != nil || d.guard.Protocol == nil {
		return conn, err
	}
	return wire.Check(conn, address, meter, d.guard.Protocol()), nil
}

// dial returns a connection whose bytes are counted and not yet looked at.
func (d *Dialer) dial(ctx context.Context, network, address string, meter *wire.Meter) (net.Conn, error) {
	page, err := d.admit(ctx, address)
	if err != nil {
		return nil, err
	}
	conn, err := outbound.DialChecked(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return wire.Count(conn, address, meter, page, d.guard.limits()), nil
}

// DialTLS connects to a host and port and shakes hands, for the host's name
// unless config has another.
func (d *Dialer) DialTLS(ctx context.Context, network, address string, config *tls.Config) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(d.Check(host), d.CheckName(config.ServerName)); err != nil {
		return nil, err
	}
	meter := cmp.Or(d.meter, &wire.Meter{})
	raw, err := d.dial(ctx, network, address, meter)
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	config.ServerName = cmp.Or(config.ServerName, host)
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	if d.guard.Protocol == nil {
		return conn, nil
	}
	return wire.Check(conn, address, meter, d.guard.Protocol()), nil
}

// admit notes that the source is read from an address, and refuses one that
// ended the process a while ago.
func (d *Dialer) admit(ctx context.Context, address string) (*suspects.Page, error) {
	if d.meter == nil || d.book == nil {
		return nil, nil //nolint:nilnil // nothing is noted on a page that is nil
	}
	page := d.book.At(address)
	d.meter.Note(page)
	return page, page.Admit(ctx)
}

// forMany is the dialer for a connection that serves many endpoints: what comes
// over it is no one's.
func (d *Dialer) forMany() *Dialer {
	many := *d
	many.meter, many.book = nil, nil
	return &many
}

// Check refuses a host, without a port, that must not be connected to.
func (d *Dialer) Check(host string) error {
	if err := d.CheckName(host); err != nil {
		return err
	}
	return outbound.CheckHost(host)
}

// CheckName refuses a name that the credentials are not for. It is for what a
// server is asked for by, beside its address: in the Host of a request, or in
// TLS. Proxies that serve many hosts go by that. "" is none.
func (d *Dialer) CheckName(host string) error {
	if host == "" {
		return nil
	}
	if d.hosts != nil && !contract.Matches(d.hosts, host) {
		return hostError(host)
	}
	if d.lend != nil {
		return d.lend(host)
	}
	return nil
}

// routing are headers that proxies may take for the host or the page that is
// asked for.
var routing = []string{
	"Forwarded", "X-Forwarded-Host", "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-Uri", "X-Forwarded-Path",
	"X-Host", "X-Original-Host", "X-Original-Url", "X-Original-Uri", "X-Rewrite-Url", "X-Http-Host-Override",
}

// checkRequest refuses a request to a host that must not be connected to, or asked
// for.
func (d *Dialer) checkRequest(request *http.Request) error {
	if err := d.Check(request.URL.Hostname()); err != nil {
		return err
	}
	asked := (&url.URL{Host: request.Host}).Hostname()
	// Within brackets a zone is left out of what is sent.
	if !contract.IsHost(asked) || strings.ContainsAny(asked, ":%") && !strings.HasPrefix(request.Host, "[") {
		return words.Errorf(codes.InvalidArgument, "the Host of the request is no name of a host, with or without a port")
	}
	if err := d.CheckName(asked); err != nil {
		return err
	}
	if d.hosts == nil {
		return nil
	}
	for _, name := range routing {
		if len(request.Header.Values(name)) > 0 {
			return words.Errorf(codes.InvalidArgument, "header %s cannot be sent with a ClusterTriggerAuthentication that has the annotation %s: it may lead elsewhere", name, contract.AllowedHosts)
		}
	}
	return nil
}

// hostError is the error about a host that the credentials are not for.
type hostError string

func (h hostError) Error() string {
	return fmt.Sprintf("host %q is not in the annotation %s of the ClusterTriggerAuthentication", string(h), contract.AllowedHosts)
}

// GRPCStatus gives the error its code: trigger and authentication do not go
// together.
func (h hostError) GRPCStatus() *status.Status { return status.New(codes.InvalidArgument, h.Error()) }
