package outbound

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// TestNameServersThatLie: whatever a name server says of a user's host, or of
// one that a user chose a part of, is judged.
func TestNameServersThatLie(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	lie(t, [4]byte{127, 0, 0, 1})
	for name, dial := range map[string]DialFunc{"a source": Dial, "checked before": DialChecked, "an identity": DialIdentity} {
		for _, host := range []string{"sts.eu-west-1.example.com.", "0x7f.example.com."} {
			conn, err := dial(t.Context(), "tcp4", net.JoinHostPort(host, port))
			if err == nil {
				conn.Close()
			}
			var refused AddressError
			if !errors.As(err, &refused) {
				t.Errorf("%s at %s: %v", name, host, err)
			}
		}
	}
	status, err := send(t, NewSender(), "http://sink.example.com.:"+port)
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1 is an address of the machine itself") {
		t.Errorf("a sink: %d, %v", status, err)
	}
}

// TestIdentitiesAreWhereTheyAreSaidToBe: on the node, or in the Pod.
func TestIdentitiesAreWhereTheyAreSaidToBe(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := DialIdentity(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// TestProxiesAreToldNoSuchHost: a proxy finds addresses by itself, and is asked
// for no host that tells where it leads.
func TestProxiesAreToldNoSuchHost(t *testing.T) {
	Allow(Loopback...)
	defer Allow()
	asked := 0
	guard := Guard(roundTrip(func(*http.Request) (*http.Response, error) {
		asked++
		return nil, errors.New("asked")
	}), CheckRequest)
	for _, host := range []string{"169.254.169.254", "[fd00:ec2::254]", "metadata.google.internal.", "0xa9fea9fe", "①⑥⑨.254.169.254", "[64:ff9b::a9fe:a9fe]"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := guard.RoundTrip(request)
		if err == nil {
			response.Body.Close()
		}
	}
	if asked > 0 {
		t.Errorf("%d hosts were asked for", asked)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (r roundTrip) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// lie has every name lead to an address.
func lie(t *testing.T, address [4]byte) {
	t.Helper()
	server, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer, err := answerTo(buffer[:n], address); err == nil {
				_, _ = server.WriteTo(answer, from)
			}
		}
	}()
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		server.Close()
		<-done
	})
}

func answerTo(packet []byte, address [4]byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(packet); err != nil {
		return nil, err
	}
	message.Response, message.Additionals = true, nil
	for _, q := range message.Questions {
		if q.Type == dnsmessage.TypeA {
			message.Answers = append(message.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: address},
			})
		}
	}
	return message.Pack()
}
