package client

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/metrics"
)

// TestStatusesOfAServerAreFew has a server that answers each request with another
// status: each is a label of a counter and of a histogram.
func TestStatusesOfAServerAreFew(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Path[1:])
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	m := metrics.New("http")
	ctx := m.Counting(t.Context(), "metrics-api")
	client := http.Client{Transport: counted{server.Client().Transport}}
	for status := 200; status <= 999; status++ {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/"+strconv.Itoa(status), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	for _, name := range []string{"keda_scaler_http_requests_total", "keda_scaler_http_request_duration_seconds"} {
		n, err := testutil.GatherAndCount(m.Registry, name)
		if err != nil || n < 10 || n > 64 {
			t.Errorf("%s: %d series of one type, %v", name, n, err)
		}
	}
	for status, want := range map[int]string{200: "200", 299: "200", 404: "404", 499: "400", 511: "511", 520: "500", 600: "error", 99: "error"} {
		if have := codeOf(status); have != want {
			t.Errorf("status %d is counted as %s, want %s", status, have, want)
		}
	}
}
