package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

func TestAnAdapterWithoutTheAPIServerIsNotReady(t *testing.T) {
	answering := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden) // whatever it says
	}))
	defer answering.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for url, ready := range map[string]bool{answering.URL: true, gone.URL: false} {
		api, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: url})
		if err != nil {
			t.Fatal(err)
		}
		err = connection(t.Context(), api)
		if (err == nil) != ready || err != nil && !strings.HasPrefix(err.Error(), "the API server does not answer: ") {
			t.Errorf("connection = %v, want ready = %v", err, ready)
		}
	}
}
