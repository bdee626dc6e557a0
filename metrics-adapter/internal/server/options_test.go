package server

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
	basecmd "sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		args    []string
		env     map[string]string
		check   func(options, *basecmd.AdapterBase) bool
		message string
	}{
		"defaults": {env: map[string]string{"POD_NAMESPACE": "sluice-system"}, check: func(o options, _ *basecmd.AdapterBase) bool {
			return o.namespace == "sluice-system" && o.metricsAddress == ":8080" && o.selector.Empty() && len(o.watchNamespaces) == 0 && !o.plaintextScalers && o.noData == ""
		}},
		"profiling": {
			args: []string{"--profiling-bind-address=127.0.0.1:6060"}, env: map[string]string{"POD_NAMESPACE": "a"},
			check: func(o options, _ *basecmd.AdapterBase) bool {
				return managerOptions(o).PprofBindAddress == "127.0.0.1:6060"
			},
		},
		"limits": {
			env: map[string]string{"POD_NAMESPACE": "a", "WATCH_NAMESPACE": "b, c", "WATCH_LABEL_SELECTOR": "shard=1"},
			check: func(o options, _ *basecmd.AdapterBase) bool {
				return strings.Join(o.watchNamespaces, "+") == "b+c" && o.selector.String() == "shard=1"
			},
		},
		"kubeconfig, where no flag says otherwise": {
			args: []string{"--authentication-kubeconfig=/mine"}, env: map[string]string{"POD_NAMESPACE": "a", "KUBECONFIG": "/theirs"},
			check: func(_ options, b *basecmd.AdapterBase) bool {
				return b.RemoteKubeConfigFile == "/theirs" && b.Authentication.RemoteKubeConfigFile == "/mine" && b.Authorization.RemoteKubeConfigFile == "/theirs"
			},
		},
		"no namespace": {message: "POD_NAMESPACE: missing"},
		"bad selector": {env: map[string]string{"POD_NAMESPACE": "a", "WATCH_LABEL_SELECTOR": "a in"}, message: "WATCH_LABEL_SELECTOR: "},
		"no data": {
			args: []string{"--no-data=zero"}, env: map[string]string{"POD_NAMESPACE": "a"},
			check: func(o options, _ *basecmd.AdapterBase) bool { return o.noData == "zero" },
		},
		"bad no data":  {args: []string{"--no-data=guess"}, message: `invalid argument "guess" for "--no-data" flag: none of hold, error, zero`},
		"unknown flag": {args: []string{"--nope"}, message: "unknown flag: --nope"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			base := &basecmd.AdapterBase{Name: "test", FlagSet: pflag.NewFlagSet("test", pflag.ContinueOnError)}
			o, err := parse(base, tt.args, func(name string) string { return tt.env[name] })
			if tt.message != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.message) {
					t.Errorf("error %v, want %q", err, tt.message)
				}
				return
			}
			if err != nil || !tt.check(o, base) {
				t.Errorf("%+v, %v", o, err)
			}
		})
	}
}
