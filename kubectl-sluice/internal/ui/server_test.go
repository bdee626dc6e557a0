package ui

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/why"
)

// serve serves a page until the test ends.
func serve(t *testing.T, sources Sources, edit ...func(*Server)) *Server {
	t.Helper()
	server, err := Listen(t.Context(), 0, sources)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edit {
		e(server)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server: %v", err)
		}
	})
	return server
}

// browser is one, without anything of another test.
func browser(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{} //dials:to the page of the test
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// owns has a request come with the token.
func owns(server *Server) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+server.token) }
}

func get(t *testing.T, client *http.Client, address string, edit ...func(*http.Request)) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edit {
		e(request)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(body)
}

// TestOnlyWhoHasTheAddressIsServed: neither others at this machine, nor pages of
// others in the same browser, nor names that lead here.
func TestOnlyWhoHasTheAddressIsServed(t *testing.T) {
	server := serve(t, Sources{Rows: NewRows()})
	base := server.origin() + "/"
	client := browser(t)
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	tests := []struct {
		name, path string
		edit       []func(*http.Request)
		want       int
	}{
		{"the page", "", nil, http.StatusOK},
		{"without a token", "api/rows", nil, http.StatusUnauthorized},
		{"with another", "api/rows", []func(*http.Request){set("Authorization", "Bearer "+strings.Repeat("A", len(server.token)))}, http.StatusUnauthorized},
		{"with none", "api/rows", []func(*http.Request){set("Authorization", "Bearer ")}, http.StatusUnauthorized},
		{"with it in the address", "api/rows?token=" + server.token, nil, http.StatusUnauthorized},
		{"with it in a cookie", "api/families", []func(*http.Request){set("Cookie", "token="+server.token)}, http.StatusUnauthorized},
		{"with it in another scheme", "api/object", []func(*http.Request){set("Authorization", "Basic "+server.token)}, http.StatusUnauthorized},
		{"another kind", "api/object?kind=Secret&namespace=shop&name=a", []func(*http.Request){owns(server)}, http.StatusBadRequest},
		{"by a name that leads here", "", []func(*http.Request){func(r *http.Request) { r.Host = "evil.example" }}, http.StatusMisdirectedRequest},
		{"by one of this machine", "", []func(*http.Request){func(r *http.Request) { r.Host = strings.Replace(r.Host, "127.0.0.1", "localhost", 1) }}, http.StatusMisdirectedRequest},
		{"by another port", "api/rows", []func(*http.Request){owns(server), func(r *http.Request) { r.Host = "127.0.0.1:1" }}, http.StatusMisdirectedRequest},
		{"from another page", "api/rows", []func(*http.Request){owns(server), set("Origin", "https://evil.example")}, http.StatusForbidden},
		{"from a page at another port", "api/rows", []func(*http.Request){owns(server), set("Origin", "http://127.0.0.1:1")}, http.StatusForbidden},
		{"from a file", "api/rows", []func(*http.Request){owns(server), set("Origin", "null")}, http.StatusForbidden},
		{"as a script of another page", "page.js", []func(*http.Request){set("Sec-Fetch-Site", "same-site"), set("Sec-Fetch-Mode", "no-cors")}, http.StatusForbidden},
		{"by a link of another page", "", []func(*http.Request){set("Sec-Fetch-Site", "cross-site"), set("Sec-Fetch-Mode", "navigate")}, http.StatusOK},
		{"a folder", "../server.go", nil, http.StatusNotFound},
	}
	for _, test := range tests {
		if code, _, body := get(t, client, base+test.path, test.edit...); code != test.want {
			t.Errorf("%s: %d %s", test.name, code, body)
		}
	}
	if _, _, body := get(t, client, base+"api/rows"); !strings.Contains(body, "kubectl sluice ui") {
		t.Errorf("whoever has no token is told %q", body)
	}
	_, header, body := get(t, client, base)
	if !strings.Contains(body, "<title>Sluice</title>") || strings.Contains(body, server.token) || header.Get("Set-Cookie") != "" {
		t.Errorf("the page is %s", body)
	}
	if policy := header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; script-src 'self'; style-src 'self';") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	if allowed := header.Get("Access-Control-Allow-Origin"); allowed != "" {
		t.Errorf("%s may read it", allowed)
	}
	for _, asset := range []string{"page.js", "rows.js", "charts.js", "stream.js", "page.css", "uplot.min.js", "uplot.min.css", "icon.svg", "uplot.LICENSE.txt"} {
		if code, _, body := get(t, client, base+asset); code != http.StatusOK || body == "" {
			t.Errorf("%s: %d", asset, code)
		}
	}
}

// next reads the next event of a stream, and returns what it is.
func next(t *testing.T, lines *bufio.Scanner, into any) string {
	t.Helper()
	if !lines.Scan() {
		t.Fatalf("the stream ended: %v", lines.Err())
	}
	e := event{Data: into}
	if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
		t.Fatal(err)
	}
	return e.Event
}

func stream(t *testing.T, client *http.Client, server *Server, path string) *bufio.Scanner {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.origin()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	owns(server)(request)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 16<<20)
	return lines
}

func TestStreams(t *testing.T) {
	rows := NewRows()
	rows.Set(row("orders", "idle"), point(0, 0))
	rows.Complete()
	answers := make(chan error, 2)
	answers <- errors.New("the API server is gone")
	answers <- nil
	server := serve(t, Sources{
		Rows: rows,
		Object: func(_ context.Context, of why.Object) (*why.Facts, error) {
			if err := <-answers; err != nil {
				return nil, err
			}
			so := &v1alpha1.ScaledObject{}
			so.Status.Conditions = v1alpha1.Conditions{{Type: v1alpha1.ConditionReady, Status: "True", Reason: "ScaledObjectReady"}}
			answers <- nil
			return &why.Facts{Object: of, ScaledObject: so, Now: noon}, nil
		},
		Families: func(context.Context) ([]Family, error) {
			return []Family{{Family: "kafka", Pod: "scaler-kafka-1", Ready: true}}, nil
		},
	})
	owner := browser(t)

	all := stream(t, owner, server, "/api/rows")
	var changes Changes
	if name := next(t, all, &changes); name != "rows" || !changes.Reset || len(changes.Rows) != 1 || !changes.Complete {
		t.Errorf("%s %+v", name, changes)
	}
	rows.Set(row("orders", "active"), point(1, 7))
	changes = Changes{}
	if next(t, all, &changes); changes.Reset || len(changes.Rows) != 1 || changes.Rows[0].State != "active" {
		t.Errorf("%+v", changes)
	}

	one := stream(t, owner, server, "/api/object?kind=ScaledObject&namespace=shop&name=orders")
	var text string
	if name := next(t, one, &text); name != "trouble" || text != "the API server is gone" {
		t.Errorf("%s %s", name, text)
	}
	var d Detail
	if name := next(t, one, &d); name != "object" || d.Row.State != "active" || d.Why == nil || len(d.Conditions) != 1 || d.Conditions[0].Reason != "ScaledObjectReady" {
		t.Errorf("%s %+v", name, d)
	}

	var families []Family
	if name := next(t, stream(t, owner, server, "/api/families"), &families); name != "families" || len(families) != 1 || families[0].Pod != "scaler-kafka-1" {
		t.Errorf("%s %+v", name, families)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	server := serve(t, Sources{Rows: NewRows()})
	owner := browser(t)
	for range mostStreams {
		var c Changes
		next(t, stream(t, owner, server, "/api/rows"), &c)
	}
	if code, _, body := get(t, owner, server.origin()+"/api/rows", owns(server)); code != http.StatusServiceUnavailable {
		t.Errorf("one more: %d %s", code, body)
	}
}

// TestWhoDoesNotReadIsLeft: what waits for whoever reads nothing holds up nobody, and
// is let go.
func TestWhoDoesNotReadIsLeft(t *testing.T) {
	rows := NewRows()
	for i := range 3000 {
		r := row(fmt.Sprintf("orders-%d", i), "failing")
		r.Problem = strings.Repeat("x", longestProblem)
		rows.Set(r, point(0, 0))
	}
	server := serve(t, Sources{Rows: rows}, func(s *Server) { s.patience = time.Second / 4 })
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprintf(connection, "GET /api/rows HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", server.listener.Addr(), server.token)
	if status, err := bufio.NewReaderSize(connection, 16).ReadString('\n'); err != nil || !strings.Contains(status, "200") {
		t.Fatalf("%q %v", status, err)
	}
	reader := stream(t, browser(t), server, "/api/rows")
	var c Changes
	if next(t, reader, &c); len(c.Rows) != 3000 {
		t.Errorf("another gets %d rows", len(c.Rows))
	}
	deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := 0; len(server.streams) > 1; i++ { // more and more, until no buffer takes it
		for j := range 3000 {
			r := row(fmt.Sprintf("orders-%d", j), "failing")
			r.Problem = strings.Repeat("x", longestProblem)
			rows.Set(r, point(i, 0))
		}
		next(t, reader, &c)
		if deadline.Err() != nil {
			t.Fatalf("%d streams", len(server.streams))
		}
	}
	if next(t, stream(t, browser(t), server, "/api/rows"), &c); len(c.Rows) == 0 {
		t.Error("whoever reads gets nothing more")
	}
}
