package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

// TestNetwork cuts, stalls and slows the network to a real server.
func TestNetwork(t *testing.T) {
	p := servers.SharedPrometheus(t)
	proxy, err := fault.Listen(p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	family := scalertest.Serve(t, triggers...)
	observe := func(want codes.Code) {
		t.Helper()
		got, err := family.Observe(t.Context(), "prometheus", trigger("http://"+proxy.Addr(), map[string]string{"timeout": "2s"}))
		if status.Code(err) != want || err == nil && got.Value != 3 {
			t.Fatalf("observation = %+v, %v, want %v", got, err, want)
		}
	}
	observe(codes.OK)
	proxy.Cut()
	observe(codes.Unavailable)
	proxy.Heal()
	observe(codes.OK)
	proxy.Stall()
	observe(codes.DeadlineExceeded)
	proxy.Heal()
	observe(codes.OK)
	proxy.Delay(50 * time.Millisecond)
	observe(codes.OK)
}

// TestRefusals proves that whatever a server does instead of answering is an
// error, whose text repeats nothing that it wrote.
func TestRefusals(t *testing.T) {
	const page = `{"status":"success","data":{"resultType":"vector","result":[]},"token":"hush-hush"}`
	answering := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, page)
		}
	}
	tests := map[string]struct {
		handler http.HandlerFunc
		code    codes.Code
		message string
	}{
		"unauthorized":      {answering(401), codes.Unauthenticated, "401 Unauthorized"},
		"forbidden":         {answering(403), codes.PermissionDenied, "403 Forbidden"},
		"a query too heavy": {answering(422), codes.FailedPrecondition, "422 Unprocessable Entity"},
		"too many":          {answering(429), codes.Unavailable, "429 Too Many Requests"},
		"an error":          {answering(500), codes.Unavailable, "500 Internal Server Error"},
		"a bad gateway":     {answering(502), codes.Unavailable, "502 Bad Gateway"},
		"half an answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, page)
		}, codes.Unavailable, "the answer ends too early"},
		"a broken connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, codes.Unavailable, "the connection was lost"},
		"no answer":           {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, codes.DeadlineExceeded, "no answer in time"},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(tt.handler)
			defer server.Close()
			address := strings.Replace(server.URL, "http://", "http://me:hush-hush@", 1) + "/?key=hush-hush"
			_, err := family.Observe(t.Context(), "prometheus", trigger(address, map[string]string{"timeout": "300ms"}))
			want := "prometheus: GET " + server.URL + "/api/v1/query: " + tt.message
			if status.Code(err) != tt.code || status.Convert(err).Message() != want {
				t.Errorf("error = %v, want %v %q", err, tt.code, want)
			}
		})
	}
}
