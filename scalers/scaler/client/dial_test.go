package client

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
)

// opening is the ctx of an Open whose credentials may be sent to these hosts.
func opening(t *testing.T, hosts []string) context.Context {
	t.Helper()
	l := pool.New(pool.Config{}).Lease(hosts, nil)
	t.Cleanup(l.Release)
	return l.Context(t.Context())
}

// TestAddressesThatAreNoSources: the rules of addresses hold for what a source
// dials, by its name and after that was looked up.
func TestAddressesThatAreNoSources(t *testing.T) {
	outbound.Allow()
	defer outbound.Allow(outbound.Loopback...)
	for _, address := range []string{"169.254.169.254:80", "[::ffff:169.254.169.254]:80", "metadata.goog:80", "127.0.0.1:80", "localhost:80", "2130706433:80"} {
		conn, err := DialerOf(opening(t, nil)).DialContext(t.Context(), "tcp", address)
		if err == nil {
			conn.Close()
		}
		if code, _ := failure.Explain(err); err == nil || code != codes.InvalidArgument {
			t.Errorf("%s: %v", address, err)
		}
	}
	conn, err := DialerOf(opening(t, nil)).DialResolved(t.Context(), "tcp4", "localhost:80")
	if err == nil {
		conn.Close()
	}
	if code, text := failure.Explain(err); err == nil || code != codes.InvalidArgument || !strings.Contains(text, "127.0.0.1 is an address of the machine itself") {
		t.Errorf("a name that leads there: %v", err)
	}
}

func TestCredentialsGoToAllowedHostsAlone(t *testing.T) {
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	tests := map[string]struct {
		hosts []string
		host  string
		ok    bool
	}{
		"any without a list":         {host: "127.0.0.1", ok: true},
		"none with an empty one":     {hosts: []string{}, host: "127.0.0.1"},
		"one that is listed":         {hosts: []string{"127.0.0.*"}, host: "127.0.0.1", ok: true},
		"one that is not":            {hosts: []string{"*.kafka.svc"}, host: "127.0.0.1"},
		"a name, whatever its case":  {hosts: []string{"LOCALhost"}, host: "localhost", ok: true},
		"its address is another one": {hosts: []string{"localhost"}, host: "127.0.0.1"},
		"another in front of a user": {hosts: []string{"good@*"}, host: "127.0.0.1"},
		"a name that goes on":        {hosts: []string{"local"}, host: "localhost"},
		"an address in six":          {hosts: []string{"127.0.0.1"}, host: "::ffff:127.0.0.1"},
		"an address with a name":     {hosts: []string{"*.kafka.svc"}, host: "::1%.kafka.svc"},
		"two names":                  {hosts: []string{"*.kafka.svc"}, host: "mine.example.org:x.kafka.svc"},
		"a name that is no zone":     {hosts: []string{"*.kafka.svc"}, host: "::1%x.kafka.svc"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			conn, err := DialerOf(opening(t, tt.hosts)).DialContext(t.Context(), "tcp", net.JoinHostPort(tt.host, port))
			if err == nil {
				conn.Close()
			}
			if (err == nil) != tt.ok {
				t.Errorf("error = %v", err)
			}
			if err != nil && status.Code(err) != codes.InvalidArgument {
				t.Errorf("error = %v, want InvalidArgument", err)
			}
		})
	}
}

func TestAbsoluteNamesAreTheSameHosts(t *testing.T) {
	if err := (&Dialer{hosts: []string{"*.kafka.svc"}}).Check("Broker.Kafka.svc."); err != nil {
		t.Error(err)
	}
}

func TestHTTPKeepsToTheHosts(t *testing.T) {
	asked := 0
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { asked++ })
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1), http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, "ok")
	})
	client, err := HTTP(opening(t, []string{"127.0.0.1"}), HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if body, err := client.Get(t.Context(), server.URL); err != nil || string(body) != "ok" {
		t.Errorf("answer = %q, %v", body, err)
	}
	if _, err := client.Get(t.Context(), server.URL+"/away"); status.Code(err) != codes.InvalidArgument || asked != 0 {
		t.Errorf("a redirect to another host: %v, asked %d times", err, asked)
	}
	if _, err := client.Get(t.Context(), "http://169.254.169.254/latest/meta-data"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("the metadata service: %v", err)
	}
}

// TestNamesThatServersAreAskedFor: a proxy in front of many servers goes by the name
// that a request, or TLS, has beside the address. So it has to be one that the
// credentials are for.
func TestNamesThatServersAreAskedFor(t *testing.T) {
	var hosts []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { hosts = append(hosts, r.Host) }))
	defer server.Close()
	ask := func(list []string, change func(*http.Request)) error {
		client, err := HTTP(opening(t, list), HTTPOptions{UnsafeSSL: true})
		if err != nil {
			t.Fatal(err)
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		change(request)
		_, err = client.Do(request)
		return err
	}
	named := func(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }
	header := func(name string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, "mine.example.org") }
	}
	for name, tt := range map[string]struct {
		hosts  []string
		change func(*http.Request)
		ok     bool
	}{
		"any without a list":        {nil, named("mine.example.org"), true},
		"one that is listed":        {[]string{"127.0.0.1", "*.shop.svc"}, named("api.shop.svc:8080"), true},
		"one that is not":           {[]string{"127.0.0.1"}, named("mine.example.org"), false},
		"one that is not, and port": {[]string{"127.0.0.1"}, named("mine.example.org:443"), false},
		"two names":                 {[]string{"127.0.0.1", "*.shop.svc"}, named("mine.example.org:x.shop.svc"), false},
		"two names without a list":  {nil, named("mine.example.org:x.shop.svc"), false},
		"two names with a percent":  {[]string{"127.0.0.1", "api.shop.svc"}, named("api.shop.svc%.mine.example.org"), false},
		"a zone that is a name":     {[]string{"127.0.0.1", "fd00::5"}, named("fd00::5%.mine.example.org"), false},
		"an address with a zone":    {[]string{"127.0.0.1", "fd00::5"}, named("[fd00::5%.mine.example.org]"), true},
		"a name and a tab":          {[]string{"127.0.0.1", "*.shop.svc"}, named("mine.example.org\tx.shop.svc"), false},
		"an address in six":         {[]string{"127.0.0.1", "::1"}, named("[::1]:8080"), true},
		"the host that was asked":   {[]string{"127.0.0.1"}, header("Forwarded"), false},
		"the page that was asked":   {[]string{"127.0.0.1"}, header("X-Original-URL"), false},
		"headers without a list":    {nil, header("X-Forwarded-Host"), true},
	} {
		hosts = nil
		if err := ask(tt.hosts, tt.change); strings.Contains(strings.Join(hosts, ""), "%") || (err == nil) != tt.ok || len(hosts) > 0 != tt.ok || err != nil && status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, asked for %q", name, err, hosts)
		}
	}
	dial := func(list []string) error {
		conn, err := DialerOf(opening(t, list)).DialTLS(t.Context(), "tcp", server.Listener.Addr().String(), &tls.Config{ServerName: "mine.example.org", InsecureSkipVerify: true}) //nolint:gosec // what it is called is what counts
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := dial([]string{"127.0.0.1"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a name in TLS: %v", err)
	}
	if err := (&Dialer{hosts: []string{"api.shop.svc"}}).CheckName("api.shop.svc%.mine.example.org"); err == nil {
		t.Error("two names in TLS")
	}
	if err := dial(nil); err != nil {
		t.Errorf("a name in TLS, without a list: %v", err)
	}
}

// A trigger whose credentials may go elsewhere does not share a connection, nor
// a source, with one that may not.
func TestHostsArePartOfTheConnection(t *testing.T) {
	shared := pool.New(pool.Config{})
	dials := 0
	dial := func(context.Context) (io.Closer, error) { dials++; return io.NopCloser(nil), nil }
	for _, hosts := range [][]string{nil, {"a"}, {"a"}, {}} {
		l := shared.Lease(hosts, nil)
		defer l.Release()
		if _, err := pool.Shared(l.Context(t.Context()), "broker", dial); err != nil {
			t.Fatal(err)
		}
	}
	if dials != 3 {
		t.Errorf("%d connections, want one for each list of hosts", dials)
	}
}
