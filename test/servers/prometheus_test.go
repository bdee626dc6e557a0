package servers_test

import (
	"net/http"
	"testing"

	"github.com/sluice-autoscaler/sluice/test/servers"
)

// TestPrometheus starts a server that lets in who has both a certificate and a
// password, kills it and starts it again.
func TestPrometheus(t *testing.T) {
	p := servers.Prometheus(t, servers.PrometheusOptions{TLS: true, ClientAuth: true, BasicAuth: true})
	config, err := p.Authority.ClientConfig("worker")
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	ask := func(user, password string) int {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL()+"/api/v1/query?query=vector(1)", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth(user, password)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	if got := ask(servers.PrometheusUser, "wrong"); got != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d", got)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ask(servers.PrometheusUser, servers.PrometheusPassword); got != http.StatusOK {
		t.Errorf("after a restart: %d", got)
	}
}
