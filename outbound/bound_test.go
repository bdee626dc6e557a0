package outbound

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAnswersOfLibrariesAreBounded asks servers that answer without measure.
func TestAnswersOfLibrariesAreBounded(t *testing.T) {
	const half, much = 600, 10_000
	limits := Limits{Bytes: 1000, Values: 300}
	for name, tt := range map[string]struct {
		text     string
		wrap     func(http.RoundTripper, Limits) http.RoundTripper
		requests int
		want     string // of the last request; those before are answered
	}{
		"an answer":               {strings.Repeat("x", half), Bound, 3, ""},
		"a large one":             {strings.Repeat("x", much), Bound, 1, "the answer is larger than 1000 bytes"},
		"many values":             {"[" + strings.Repeat("[],", 200) + "[]]", Bound, 1, "the answer has more than 300 values"},
		"one of a client":         {strings.Repeat("x", half), BoundTogether, 1, ""},
		"two of a client":         {strings.Repeat("x", half), BoundTogether, 2, "the answer is larger than 1000 bytes"},
		"many values of a client": {strings.Repeat("[],", 80), BoundTogether, 2, "the answer has more than 300 values"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tt.text) }))
			defer server.Close()
			pool := &http.Transport{}
			client := Client(tt.wrap(pool, limits), Stay, 0)
			defer client.CloseIdleConnections()
			var err error
			for n := range tt.requests {
				if err != nil {
					t.Fatalf("request %d: %v", n, err)
				}
				err = get(t, client, server.URL)
			}
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || err.Error() != tt.want || !errors.Is(err, ErrTooLarge) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
			if Pool(client.Transport) != pool {
				t.Error("the pool is not found below the bound")
			}
		})
	}
}

// get reads an answer whole.
func get(t *testing.T, client *http.Client, uri string) error {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}
