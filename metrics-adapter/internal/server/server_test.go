package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// reach is a federation in which no family answers, or one does.
type reach bool

func (r reach) Reaches() bool { return bool(r) }

func TestAnAdapterThatIsCutOffIsNotReady(t *testing.T) {
	answering := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden) // whatever it says
	}))
	defer answering.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, tt := range map[string]struct {
		families reach
		api      string
		ready    bool
	}{
		"families and API server":       {true, answering.URL, true},
		"families alone":                {true, gone.URL, true},
		"the API server alone":          {false, answering.URL, true},
		"neither families nor anything": {false, gone.URL, false},
	} {
		t.Run(name, func(t *testing.T) {
			api, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: tt.api})
			if err != nil {
				t.Fatal(err)
			}
			err = connection(t.Context(), tt.families, api)
			if (err == nil) != tt.ready || err != nil && !strings.HasPrefix(err.Error(), "neither a family nor the API server answers: ") {
				t.Errorf("connection = %v, want ready = %v", err, tt.ready)
			}
		})
	}
}
