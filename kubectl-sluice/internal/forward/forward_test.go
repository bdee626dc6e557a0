package forward

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// apiServer forwards ports as an API server does: to pod, which answers a request,
// or says why nobody is there.
func apiServer(t *testing.T, pod func(*http.Request) (answer, failure string)) *rest.Config {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/api/v1/namespaces/sluice-system/pods/controller-a/portforward" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		if r.Header.Get("Authorization") != "Bearer mine" {
			http.Error(w, `pods "controller-a" is forbidden: cannot create resource "pods/portforward"`, http.StatusForbidden)
			return
		}
		if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
			t.Error(err)
			return
		}
		streams := make(chan httpstream.Stream, 2)
		connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
			streams <- s
			return nil
		})
		if connection == nil {
			t.Error("not upgraded")
			return
		}
		defer connection.Close()
		failures, data := <-streams, <-streams
		if failures.Headers().Get(corev1.StreamType) != corev1.StreamTypeError || data.Headers().Get(corev1.StreamType) != corev1.StreamTypeData ||
			data.Headers().Get(corev1.PortHeader) != "8080" {
			t.Errorf("streams %v and %v", failures.Headers(), data.Headers())
		}
		asked, err := http.ReadRequest(bufio.NewReader(data))
		if err != nil {
			t.Error(err)
			return
		}
		answer, failure := pod(asked)
		_, told := io.WriteString(failures, failure)
		_, said := io.Copy(data, struct{ io.Reader }{strings.NewReader(answer)}) // a frame has no room for all
		if err := errors.Join(told, said); err != nil && failure == "" && len(answer) < mostAnswer {
			t.Error(err) // who is told why, or enough, hangs up
		}
		_, _ = failures.Close(), data.Close() // so may who has all
		<-connection.CloseChan()
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL, BearerToken: "mine"}
}

func answer(status int, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Length: %d\r\n\r\n%s", status, http.StatusText(status), len(body), body)
}

func TestGet(t *testing.T) {
	for name, tt := range map[string]struct {
		answer, failure, token string
		want, err              string
	}{
		"an answer":          {answer: answer(http.StatusOK, "all of it"), want: "all of it"},
		"a refusal":          {answer: answer(http.StatusForbidden, "port-forward alone"), err: "403 Forbidden: port-forward alone"},
		"nobody listens":     {failure: "connection refused on port 8080", err: "connection refused on port 8080"},
		"a Pod that is gone": {err: "EOF"},
		"no right to":        {token: "another", err: "cannot create resource"},
		"an endless answer":  {answer: answer(http.StatusOK, strings.Repeat("x", mostAnswer+1)), err: "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			config := apiServer(t, func(r *http.Request) (string, string) {
				if r.URL.String() != "/shadow?namespace=shop" {
					t.Errorf("asked for %s", r.URL)
				}
				return tt.answer, tt.failure
			})
			if tt.token != "" {
				config.BearerToken = tt.token
			}
			pod, err := To(config, "sluice-system", "controller-a", 8080)
			if err != nil {
				t.Fatal(err)
			}
			have, err := pod.Get(t.Context(), "/shadow?namespace=shop")
			if string(have) != tt.want || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%.40q, %v; want %q, an error with %q", have, err, tt.want, tt.err)
			}
		})
	}
}
