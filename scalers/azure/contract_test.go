package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// cases has valid metadata of every type. The tests of each type add their own.
var cases = scalertest.Cases{}

func TestContract(t *testing.T) { cases.Contract(t, triggers) }

// storageAuth leads to a storage account at a host:port.
func storageAuth(address string) map[string]string {
	base := "http://" + address + "/" + servers.AzuriteAccount
	return map[string]string{"connection": servers.AzuriteConnection(base, base)}
}

// handler is the host:port of a server that answers so, for answers that no real
// server gives.
func handler(t testing.TB, answer func(*http.Request) (int, string)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, text := answer(r)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}
