package ui

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/why"
)

// serve serves a page until the test ends.
func serve(t *testing.T, sources Sources) *Server {
	t.Helper()
	server, err := Listen(t.Context(), 0, sources)
	if err != nil {
		t.Fatal(err)
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

func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{} //dials:to the page of the test
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: transport}
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
	base, _, _ := strings.Cut(server.URL(), "?")
	stranger, owner := browser(t), browser(t)
	for _, path := range []string{"", "page.js", "api/rows", "?token=" + strings.Repeat("A", len(server.token)), "?token="} {
		if code, _, body := get(t, stranger, base+path); code != http.StatusForbidden || !strings.Contains(body, "kubectl sluice ui") {
			t.Errorf("a stranger gets %q: %d %s", path, code, body)
		}
	}
	code, header, body := get(t, owner, server.URL())
	if code != http.StatusOK || !strings.Contains(body, "<title>Sluice</title>") {
		t.Fatalf("the owner gets %d %s", code, body)
	}
	if policy := header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	for _, asset := range []string{"page.js", "rows.js", "charts.js", "page.css", "uplot.min.js", "uplot.min.css", "icon.svg", "uplot.LICENSE.txt"} {
		if code, _, body := get(t, owner, base+asset); code != http.StatusOK || body == "" {
			t.Errorf("%s: %d", asset, code)
		}
	}
	for _, host := range []string{"evil.example", "127.0.0.1", "localhost:1"} {
		if code, _, _ := get(t, owner, base, func(r *http.Request) { r.Host = host }); code != http.StatusMisdirectedRequest {
			t.Errorf("by the name %s: %d", host, code)
		}
	}
	address, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	if cookies := owner.Jar.Cookies(address); len(cookies) != 1 {
		t.Errorf("cookies %v", cookies)
	}
	if code, _, _ := get(t, owner, base+"api/object?kind=Secret&namespace=shop&name=a"); code != http.StatusBadRequest {
		t.Errorf("another kind: %d", code)
	}
}

// event reads the next one of a stream.
func event(t *testing.T, lines *bufio.Scanner, into any) string {
	t.Helper()
	name := ""
	for lines.Scan() {
		if text, is := strings.CutPrefix(lines.Text(), "event: "); is {
			name = text
		}
		if text, is := strings.CutPrefix(lines.Text(), "data: "); is {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				t.Fatal(err)
			}
			return name
		}
	}
	t.Fatalf("the stream ended: %v", lines.Err())
	return ""
}

func stream(t *testing.T, client *http.Client, address string) *bufio.Scanner {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = response.Body.Close() })
	return bufio.NewScanner(response.Body)
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
	get(t, owner, server.URL())
	base, _, _ := strings.Cut(server.URL(), "?")

	all := stream(t, owner, base+"api/rows")
	var changes Changes
	if name := event(t, all, &changes); name != "rows" || !changes.Reset || len(changes.Rows) != 1 || !changes.Complete {
		t.Errorf("%s %+v", name, changes)
	}
	rows.Set(row("orders", "active"), point(1, 7))
	changes = Changes{}
	if event(t, all, &changes); changes.Reset || len(changes.Rows) != 1 || changes.Rows[0].State != "active" {
		t.Errorf("%+v", changes)
	}

	one := stream(t, owner, base+"api/object?kind=ScaledObject&namespace=shop&name=orders")
	var text string
	if name := event(t, one, &text); name != "trouble" || text != "the API server is gone" {
		t.Errorf("%s %s", name, text)
	}
	var d Detail
	if name := event(t, one, &d); name != "object" || d.Row.State != "active" || d.Why == nil || len(d.Conditions) != 1 || d.Conditions[0].Reason != "ScaledObjectReady" {
		t.Errorf("%s %+v", name, d)
	}

	var families []Family
	if name := event(t, stream(t, owner, base+"api/families"), &families); name != "families" || len(families) != 1 || families[0].Pod != "scaler-kafka-1" {
		t.Errorf("%s %+v", name, families)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	server := serve(t, Sources{Rows: NewRows()})
	owner := browser(t)
	get(t, owner, server.URL())
	base, _, _ := strings.Cut(server.URL(), "?")
	for range mostStreams {
		var c Changes
		event(t, stream(t, owner, base+"api/rows"), &c)
	}
	if code, _, body := get(t, owner, base+"api/rows"); code != http.StatusServiceUnavailable {
		t.Errorf("one more: %d %s", code, body)
	}
}
