package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/amazon"
)

// handler stands in for a service of AWS that speaks JSON, for answers that
// Moto does not give and for counting.
type handler struct {
	*httptest.Server
	connections atomic.Int64

	mu     sync.Mutex
	answer func(action string, body map[string]any) (int, string)
	asked  []string // the actions
}

func newHandler(t testing.TB, answer func(action string, body map[string]any) (int, string)) *handler {
	h := &handler{answer: answer}
	h.Server = httptest.NewUnstartedServer(h)
	h.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			h.connections.Add(1)
		}
	}
	h.Start()
	t.Cleanup(h.Close)
	return h
}

func (h *handler) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	_, action, _ := strings.Cut(request.Header.Get("X-Amz-Target"), ".")
	var body map[string]any
	text, _ := io.ReadAll(request.Body)
	_ = json.Unmarshal(text, &body)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, action)
	code, answer := h.answer(action, body)
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(code)
	fmt.Fprint(w, answer)
}

// requests is how many there were.
func (h *handler) requests() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.asked)
}

// params are those of a trigger at h.
func params(h *handler) awsParams {
	return awsParams{
		AWSRegion: region, AWSEndpoint: h.URL,
		Params: amazon.Params{AWSAccessKeyID: "AKIAEXAMPLE", AWSSecretAccessKey: "hush-hush"},
	}
}
