package manager

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

func TestBanner(t *testing.T) {
	const untested = "is not one that Sluice is meant for"
	for name, tt := range map[string]struct {
		answer string
		says   []string
		never  string
	}{
		"a known version":   {`{"major": "1", "minor": "37", "gitVersion": "v1.37.2"}`, []string{"version=v9", "go=go1.", "platform=", "Kubernetes version=v1.37.2"}, "WARN"},
		"a vendor's suffix": {`{"major": "1", "minor": "34+", "gitVersion": "v1.34.1-eks"}`, []string{"v1.34.1-eks"}, "WARN"},
		"too old":           {`{"major": "1", "minor": "33", "gitVersion": "v1.33.0"}`, []string{untested, "1.34 to 1.37"}, ""},
		"too new":           {`{"major": "1", "minor": "38", "gitVersion": "v1.38.0"}`, []string{untested}, ""},
		"no answer":         {`busy`, []string{"version=v9", "the version of Kubernetes is not known"}, "WARN"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/version" {
					t.Errorf("asked for %s", r.URL)
				}
				_, _ = w.Write([]byte(tt.answer))
			}))
			defer server.Close()
			api, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			var said bytes.Buffer
			b := banner{api: api.RESTClient(), version: "v9", log: slog.New(slog.NewTextHandler(&said, nil))}
			if err := b.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, text := range tt.says {
				if !strings.Contains(strings.ReplaceAll(said.String(), `msg=`, ""), text) {
					t.Errorf("%q is not in %s", text, said.String())
				}
			}
			if tt.never != "" && strings.Contains(said.String(), tt.never) {
				t.Errorf("said %s", said.String())
			}
		})
	}
}
