package identity

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Client returns the credentials of connections to a server whose certificate
// is for name. Each handshake uses the keys of its moment.
func (h *Holder) Client(name string) credentials.TransportCredentials {
	return &client{TransportCredentials: credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, ServerName: name}), holder: h, name: name}
}

// client makes a configuration per handshake: that of package tls has its
// authorities for good.
type client struct {
	credentials.TransportCredentials // answers everything but ClientHandshake
	holder                           *Holder
	name                             string
}

// ClientHandshake proves our identity and checks the server's.
func (c *client) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	k, err := c.holder.Keys()
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(&tls.Config{
		MinVersion:   tls.VersionTLS13,
		ServerName:   c.name,
		RootCAs:      k.Authorities,
		Certificates: []tls.Certificate{k.Certificate},
	}).ClientHandshake(ctx, authority, conn)
}

// Clone copies the credentials; the keys are the same holder's.
func (c *client) Clone() credentials.TransportCredentials {
	return &client{TransportCredentials: c.TransportCredentials.Clone(), holder: c.holder, name: c.name}
}

// Server returns the credentials of a server that admits clients with a
// certificate of the installation's authorities for one of the names alone, and
// speak TLS as policy asks.
func (h *Holder) Server(policy Policy, names ...string) credentials.TransportCredentials {
	outer := &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			k, err := h.Keys()
			if err != nil {
				return nil, err
			}
			config := &tls.Config{
				NextProtos:   []string{"h2"},
				Certificates: []tls.Certificate{k.Certificate},
				ClientAuth:   tls.RequireAndVerifyClientCert,
				ClientCAs:    k.Authorities,
				// A resumed session would outlive the authority that it was
				// begun under.
				SessionTicketsDisabled: true,
				VerifyConnection: func(state tls.ConnectionState) error {
					if _, ok := admitted(state, names); !ok {
						return fmt.Errorf("%s may not call", strings.Join(state.PeerCertificates[0].DNSNames, ", "))
					}
					return nil
				},
			}
			policy.Apply(config)
			return config, nil
		},
	}
	policy.Apply(outer)
	return credentials.NewTLS(outer)
}

// Caller returns which of the names the client of a call has proven to be, and
// "" for none.
func Caller(ctx context.Context, names ...string) string {
	from, _ := peer.FromContext(ctx)
	if from == nil {
		return ""
	}
	info, ok := from.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return ""
	}
	name, _ := admitted(info.State, names)
	return name
}

func admitted(state tls.ConnectionState, names []string) (string, bool) {
	if len(state.VerifiedChains) == 0 {
		return "", false
	}
	for _, name := range state.VerifiedChains[0][0].DNSNames {
		if slices.Contains(names, name) {
			return name, true
		}
	}
	return "", false
}
