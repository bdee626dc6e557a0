package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// trusted is an authority that this process trusts as it does those of its system:
// the API is spoken to over TLS alone, at hosts that its site makes.
var trusted *servers.Authority

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(scalertest.Beside(servers.Trusting(behindProxy{m}, &trusted)))
}

// behindProxy has this process reach hosts through a proxy, which is how those of
// the API come to be servers of the tests. TLS goes through it.
type behindProxy struct{ servers.TestRunner }

func (b behindProxy) Run() int {
	proxy := httptest.NewServer(http.HandlerFunc(connect))
	defer proxy.Close()
	if err := os.Setenv("HTTPS_PROXY", proxy.URL); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return b.TestRunner.Run()
}

// routes are the addresses behind hosts.
var routes sync.Map

func connect(w http.ResponseWriter, r *http.Request) {
	host, _, _ := strings.Cut(r.Host, ":")
	address, known := routes.Load(host)
	if !known {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	there, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", address.(string))
	here, _, hijackErr := w.(http.Hijacker).Hijack()
	if hijackErr != nil {
		panic(hijackErr)
	}
	defer here.Close()
	if err != nil {
		return // as if the host itself refused
	}
	defer there.Close()
	_, _ = io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	var both sync.WaitGroup
	copyTo := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.(*net.TCPConn).CloseWrite()
	}
	both.Go(func() { copyTo(there, here) })
	both.Go(func() { copyTo(here, there) })
	both.Wait()
}

// keys are of the organisation that the stand-ins know.
var keys = map[string]string{"apiKey": "api-hush", "appKey": "app-hush"}

// sites counts those that tests have made.
var sites atomic.Int64

// siteAt makes a site whose API is at address.
func siteAt(address string) string {
	site := fmt.Sprintf("site%d.test", sites.Add(1))
	routes.Store("api."+site, address)
	return site
}

// standIn is a server over TLS that answers as Datadog documents: it refuses keys
// that it does not know, and what it is not asked for.
type standIn struct {
	*httptest.Server

	site                  string
	requests, connections atomic.Int64
	mu                    sync.Mutex
	keys                  map[string]string
	last                  *http.Request
	answer                http.HandlerFunc
}

// api200 is a stand-in for the API that answers every query alike.
func api200(t testing.TB, body string) *standIn {
	t.Helper()
	return newAPI(t, say(200, body))
}

func say(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// newAPI is one that answers by itself what it does not refuse.
func newAPI(t testing.TB, answer http.HandlerFunc) *standIn {
	t.Helper()
	s := &standIn{answer: answer, keys: keys}
	s.site = fmt.Sprintf("site%d.test", sites.Add(1))
	s.serve(t, "api."+s.site, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path != "/api/v1/query" || r.Method != http.MethodGet:
			say(404, `{"errors": ["Not found"]}`)(w, r)
		case r.Header.Get("DD-API-KEY") != s.keys["apiKey"] || r.Header.Get("DD-APPLICATION-KEY") != s.keys["appKey"]:
			say(403, `{"errors": ["Forbidden"]}`)(w, r)
		default:
			return true
		}
		return false
	})
	routes.Store("api."+s.site, s.Listener.Addr().String())
	return s
}

// newAgent is a stand-in for the Cluster Agent with one DatadogMetric.
func newAgent(t testing.TB, token string, answer http.HandlerFunc) *standIn {
	t.Helper()
	s := &standIn{answer: answer}
	s.serve(t, "127.0.0.1", func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Header.Get("Authorization") != token:
			say(401, `{"kind": "Status", "message": "Unauthorized"}`)(w, r)
		case r.Method != http.MethodGet || r.URL.Path != "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/datadogmetric@shop:orders":
			say(404, `{"kind": "Status", "message": "no such metric"}`)(w, r)
		default:
			return true
		}
		return false
	})
	return s
}

// serve runs the stand-in until the test ends. admitted has answered what it
// refuses.
func (s *standIn) serve(t testing.TB, host string, admitted func(http.ResponseWriter, *http.Request) bool) {
	t.Helper()
	certificate, key, err := trusted.Server(host)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.last = r.Clone(context.WithoutCancel(r.Context()))
		if admitted(w, r) {
			s.answer(w, r)
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	s.Config.ErrorLog = nil
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
}

// set changes what the stand-in answers, or which keys it knows.
func (s *standIn) set(answer http.HandlerFunc, keys map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if answer != nil {
		s.answer = answer
	}
	if keys != nil {
		s.keys = keys
	}
}

// auth is that of the stand-in's organisation, at its site.
func (s *standIn) auth() map[string]string {
	return with(keys, map[string]string{"datadogSite": s.site})
}

// with is one map with the changes of others.
func with(all ...map[string]string) map[string]string {
	merged := map[string]string{}
	for _, one := range all {
		maps.Copy(merged, one)
	}
	return merged
}

// query is valid metadata for the API.
var query = map[string]string{"query": "sum:orders.waiting{app:shop}", "targetValue": "5"}

// agentMetadata is valid metadata for the Cluster Agent.
var agentMetadata = map[string]string{
	"useClusterAgentProxy": "true", "datadogMetricName": "orders", "datadogMetricNamespace": "shop", "targetValue": "5",
}

// agentAt has the Cluster Agent at an address of this machine: its Service and its
// namespace make the host 127.0.0.1.
func agentAt(address string) map[string]string {
	_, port, _ := net.SplitHostPort(address)
	return map[string]string{"datadogMetricsService": "127.0.0", "datadogNamespace": "1", "datadogMetricsServicePort": port}
}

// series is an answer of the API with these points.
func series(pointlists ...string) string {
	var all []string
	for i, points := range pointlists {
		all = append(all, fmt.Sprintf(`{"metric": "orders.waiting", "scope": "host:%d", "pointlist": [%s]}`, i, points))
	}
	return `{"status": "ok", "from_date": 1, "to_date": 2, "series": [` + strings.Join(all, ", ") + `]}`
}
