package credentials

import (
	"cmp"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/amazon"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/azure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/google"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/vault"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// FromCluster has a family read credentials of the cluster that it runs in, and
// of the secret stores and clouds that these name:
//
//	err := scaler.Serve(ctx, "kafka", triggers, scaler.WithCredentials(credentials.FromCluster))
func FromCluster(flags *flag.FlagSet, getenv func(string) string) scaler.OpenResolver {
	var c Config
	flags.StringVar(&c.ClusterNamespace, "cluster-object-namespace", cmp.Or(getenv("KEDA_CLUSTER_OBJECT_NAMESPACE"), "keda"), "the namespace with the Secrets of ClusterTriggerAuthentications")
	flags.StringVar(&c.FilePathRoot, "filepath-auth-root-path", "", "the directory below which spec.filePath of a ClusterTriggerAuthentication may name a file")
	identityFlags(flags)
	return func(log *slog.Logger) (scaler.ClosingResolver, error) {
		if err := readEnvironment(getenv, &c); err != nil {
			return nil, err
		}
		return connect(c, log)
	}
}

// stores are the secret stores that authentication objects may name, one line
// for each.
func stores() []store.Store {
	return []store.Store{
		vault.Store{HTTP: storeHTTP(new(client.Dialer).DialResolved)},
		azure.KeyVault{HTTP: storeHTTP(new(client.Dialer).DialResolved)},
		// These answer at addresses of their own, and their clouds give
		// identities away at link-local ones.
		amazon.Secrets{HTTP: storeHTTP(outbound.DialIdentity)},
		google.SecretManager{HTTP: storeHTTP(outbound.DialIdentity)},
	}
}

// storeHTTP makes clients for one read of a store each, whose answers are bounded
// together. They follow no redirect: the login would go along.
func storeHTTP(dial outbound.DialFunc) func() (*http.Client, error) {
	return func() (*http.Client, error) {
		pool, err := client.PlainTransport(dial)
		if err != nil {
			return nil, err
		}
		return outbound.Client(outbound.BoundTogether(pool.Transport, budget.Logins), outbound.Stay, pool.Timeout), nil
	}
}

// identityFlags adds the flags on whom a family lends its own identity.
func identityFlags(flags *flag.FlagSet) {
	var hosts []lending.Host
	flags.Func("identity-hosts", "hosts, or *.<suffix>, separated by commas, that get tokens of this family's own identity beside the services of its cloud; <host>=<audience> where triggers choose the audience; may be repeated",
		func(text string) error {
			more, err := lending.ParseHosts(text)
			hosts = append(hosts, more...)
			lending.SetHosts(hosts)
			return err
		})
	namespaces := []string{}
	flags.Func("identity-namespaces", "namespaces, separated by commas, whose objects may use this family's own identity; may be repeated (default all)",
		func(text string) error {
			more, err := lending.ParseNamespaces(text)
			namespaces = append(namespaces, more...)
			lending.SetNamespaces(namespaces)
			return err
		})
}

// readEnvironment reads what KEDA is told by environment variables.
func readEnvironment(getenv func(string) string, c *Config) error {
	// As in KEDA, nothing but "true" turns it on.
	c.RestrictSecrets, _ = strconv.ParseBool(getenv("KEDA_RESTRICT_SECRET_ACCESS"))
	if text := getenv("KEDA_BOUND_SERVICE_ACCOUNT_TOKEN_EXPIRY"); text != "" {
		expiry, err := time.ParseDuration(text)
		if err != nil || expiry < time.Hour || expiry > 6*time.Hour {
			return fmt.Errorf("KEDA_BOUND_SERVICE_ACCOUNT_TOKEN_EXPIRY: %q is not a duration from 1h to 6h", text)
		}
		c.TokenExpiry = expiry
	}
	return nil
}

// connect resolves credentials under the identity of the process. Outside of a
// cluster and without a kubeconfig there is none, and triggers that refer to
// credentials are told so.
func connect(c Config, log *slog.Logger) (*Resolver, error) {
	config, err := scaler.ClusterConfig()
	if err != nil && !clientcmd.IsEmptyConfig(err) {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	c.Cluster, c.Stores, c.Log = config, stores(), log
	return New(c)
}
