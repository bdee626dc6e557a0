package credentials

import (
	"flag"
	"io"
	"log/slog"
	"strings"
	"testing"
)

// TestSettings are flags, and what KEDA is told by environment variables.
func TestSettings(t *testing.T) {
	// Nobody's kubeconfig.
	t.Setenv("KUBECONFIG", "/dev/null")
	t.Setenv("HOME", t.TempDir())
	tests := map[string]struct {
		args []string
		env  map[string]string
		want string // the namespace of ClusterTriggerAuthentications, or the error
	}{
		"nothing":             {want: "keda"},
		"a variable":          {env: map[string]string{"KEDA_CLUSTER_OBJECT_NAMESPACE": "shared"}, want: "shared"},
		"a flag":              {args: []string{"--cluster-object-namespace=mine"}, env: map[string]string{"KEDA_CLUSTER_OBJECT_NAMESPACE": "shared"}, want: "mine"},
		"tokens of two hours": {env: map[string]string{"KEDA_BOUND_SERVICE_ACCOUNT_TOKEN_EXPIRY": "2h"}, want: "keda"},
		"tokens of a minute":  {env: map[string]string{"KEDA_BOUND_SERVICE_ACCOUNT_TOKEN_EXPIRY": "1m"}, want: `KEDA_BOUND_SERVICE_ACCOUNT_TOKEN_EXPIRY: "1m" is not a duration from 1h to 6h`},
		"an odd host":         {args: []string{"--identity-hosts=a b"}, want: `"a b" is neither a host nor *.<suffix>`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			flags := flag.NewFlagSet("test", flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			open := FromCluster(flags, func(name string) string { return tt.env[name] })
			got := func() string {
				if err := flags.Parse(tt.args); err != nil {
					return err.Error()
				}
				r, err := open(slog.New(slog.DiscardHandler))
				if err != nil {
					return err.Error()
				}
				defer r.Close()
				return r.(*Resolver).ClusterNamespace
			}()
			if !strings.HasSuffix(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
