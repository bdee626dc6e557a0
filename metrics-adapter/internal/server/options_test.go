package server

import (
	"cmp"
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	genericserver "k8s.io/apiserver/pkg/server"
	basecmd "sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"

	"github.com/sluice-autoscaler/sluice/controller/federation"
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
		"no TLS version": {
			env:     map[string]string{"POD_NAMESPACE": "a", "KEDA_SERVICE_MIN_TLS_VERSION": "1.2"},
			message: `KEDA_SERVICE_MIN_TLS_VERSION: "1.2" is not one of`,
		},
		"the version, wherever": {args: []string{"--version"}, check: func(o options, _ *basecmd.AdapterBase) bool { return o.showVersion }},
		"no namespace":          {message: "POD_NAMESPACE: missing"},
		"bad selector":          {env: map[string]string{"POD_NAMESPACE": "a", "WATCH_LABEL_SELECTOR": "a in"}, message: "WATCH_LABEL_SELECTOR: "},
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

func TestWhatIsAskedOfTLS(t *testing.T) {
	for name, tt := range map[string]struct {
		args    []string
		env     map[string]string
		version uint16
		ciphers []uint16
	}{
		"1.3 by default": {version: tls.VersionTLS13},
		"the environment's": {
			env:     map[string]string{"KEDA_SERVICE_MIN_TLS_VERSION": "TLS12", "KEDA_SERVICE_TLS_CIPHER_LIST": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
			version: tls.VersionTLS12, ciphers: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		},
		"the flag's before it": {
			args: []string{"--tls-min-version=VersionTLS13"}, env: map[string]string{"KEDA_SERVICE_MIN_TLS_VERSION": "TLS12"},
			version: tls.VersionTLS13,
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := &basecmd.AdapterBase{Name: "test", FlagSet: pflag.NewFlagSet("test", pflag.ContinueOnError)}
			o, err := parse(base, tt.args, func(name string) string { return cmp.Or(tt.env[name], map[string]string{"POD_NAMESPACE": "a"}[name]) })
			if err != nil {
				t.Fatal(err)
			}
			// As the API server's own options have set it.
			serving := &genericserver.SecureServingInfo{}
			if base.SecureServing.MinTLSVersion != "" {
				serving.MinTLSVersion = tls.VersionTLS13
			}
			secure(serving, base, &federation.Keys{}, o.serving)
			if serving.MinTLSVersion != tt.version || !slices.Equal(serving.CipherSuites, tt.ciphers) {
				t.Errorf("version %x, ciphers %v, want %x, %v", serving.MinTLSVersion, serving.CipherSuites, tt.version, tt.ciphers)
			}
		})
	}
}
