package scaler

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/serving"
)

func TestSettings(t *testing.T) {
	tests := map[string]struct {
		args []string
		env  map[string]string // beside that of every Pod
		want func(settings) bool
		fail string
	}{
		"defaults": {want: func(s settings) bool {
			return !s.Plaintext && s.Installation == "sluice-system" && s.LoopbackAddress == "127.0.0.1:9091" && !s.LoopbackCredentials &&
				len(s.Clients) == 0 && s.GRPCAddress == ":9090" && s.MetricsAddress == ":8080" && s.logLevel == slog.LevelInfo && s.shutdownTimeout == 10*time.Second
		}},
		"a flag": {
			args: []string{"--grpc-address=:1", "--log-level=debug"},
			want: func(s settings) bool { return s.GRPCAddress == ":1" && s.logLevel == slog.LevelDebug },
		},
		"the environment": {
			env:  map[string]string{"SLUICE_READ_TIMEOUT": "4s"},
			want: func(s settings) bool { return s.readTimeout == 4*time.Second },
		},
		"a flag wins over the environment": {
			args: []string{"--read-timeout=5s"}, env: map[string]string{"SLUICE_READ_TIMEOUT": "4s"},
			want: func(s settings) bool { return s.readTimeout == 5*time.Second },
		},
		"an installation elsewhere": {
			args: []string{"--installation=core"},
			want: func(s settings) bool { return s.Installation == "core" },
		},
		"clients": {
			args: []string{"--allow-client=keda=shop, orders", "--allow-client=probe"},
			want: func(s settings) bool {
				return reflect.DeepEqual(s.Clients, []serving.Client{{Name: "keda", Namespaces: []string{"shop", "orders"}}, {Name: "probe"}})
			},
		},
		"a client that no certificate can be for": {args: []string{"--allow-client=Keda=shop"}, fail: `"Keda" cannot be the name of a client`},
		"nowhere to find a key":                   {env: map[string]string{"POD_NAMESPACE": ""}, fail: "--installation: is required for mTLS"},
		"the version, wherever": {
			args: []string{"--version"}, env: map[string]string{"POD_NAMESPACE": "", "SLUICE_READ_TIMEOUT": "soon"},
			want: func(s settings) bool { return s.showVersion },
		},
		"plaintext needs no key": {
			args: []string{"--plaintext"}, env: map[string]string{"POD_NAMESPACE": ""},
			want: func(s settings) bool { return s.Plaintext },
		},
		"a wrong flag is named":     {args: []string{"--read-timeout=soon"}, fail: "read-timeout"},
		"a wrong variable is named": {env: map[string]string{"SLUICE_READ_TIMEOUT": "soon"}, fail: "SLUICE_READ_TIMEOUT"},
		"a version of TLS that there is not": {
			env:  map[string]string{"KEDA_SERVICE_MIN_TLS_VERSION": "SSL3"},
			fail: `KEDA_SERVICE_MIN_TLS_VERSION: "SSL3" is not one of TLS10, TLS11, TLS12, TLS13`,
		},
		"an argument is no flag": {args: []string{"serve"}, fail: "serve"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"POD_NAMESPACE": "sluice-system"}
			maps.Copy(env, tt.env)
			s, err := parseSettings("test", tt.args, func(key string) string { return env[key] }, io.Discard)
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) {
					t.Fatalf("err = %v, want one about %s", err, tt.fail)
				}
				return
			}
			if err != nil || !tt.want(s) {
				t.Errorf("settings = %+v, %v", s, err)
			}
		})
	}
}

type describedParams struct{}

func (describedParams) Metrics() []Metric { return []Metric{{Name: "well", Target: 1}} }

func TestDescriptionIsPrinted(t *testing.T) {
	well := Define("well", func(context.Context, describedParams) (Source, error) { return nil, ErrNoData })
	var out bytes.Buffer
	if err := printDescription(&out, "wells", []Trigger{well}); err != nil {
		t.Fatal(err)
	}
	var described struct {
		Family       string
		TriggerTypes []struct{ Type string }
	}
	if err := json.Unmarshal(out.Bytes(), &described); err != nil || described.Family != "wells" || described.TriggerTypes[0].Type != "well" {
		t.Errorf("described = %+v, %v", described, err)
	}
}

// TestRequestBudgetIsForFamiliesWithAccounts: others have no such flag.
func TestRequestBudgetIsForFamiliesWithAccounts(t *testing.T) {
	parse := func(options ...ServeOption) error {
		_, err := parseSettings("test", []string{"--plaintext", "--requests-per-minute=0"}, func(string) string { return "" }, io.Discard, options...)
		return err
	}
	if err := parse(); err == nil {
		t.Error("a family without accounts has the flag")
	}
	if err := parse(WithRequestBudget()); err != nil {
		t.Error(err)
	}
}
