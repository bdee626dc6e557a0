package manager

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/sluice-autoscaler/sluice/controller/internal/activation"
)

func TestDecisionsAreServedByTheOneWhoTookThem(t *testing.T) {
	server := httptest.NewServer(decisions(&activation.Loop{}))
	defer server.Close()
	for query, want := range map[string]int{
		"":                            http.StatusBadRequest,
		"?namespace=shop":             http.StatusBadRequest,
		"?namespace=shop&name=worker": http.StatusNotFound,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/decisions"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil {
			t.Error(err)
		}
		if answer.StatusCode != want {
			t.Errorf("%q: %s, want %d", query, answer.Status, want)
		}
	}
}
