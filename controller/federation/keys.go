package federation

import (
	"context"
	"log/slog"
	"net/http"

	"google.golang.org/grpc/credentials"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/identity"
)

// Keys are those of a process of the core. They follow its Secret.
type Keys struct {
	identity.Holder
	who          identity.Identity
	installation string
	log          *slog.Logger
	watch        identity.Watch
}

// NewKeys returns keys that are not there until Start reads them. client talks
// to the API server that config names.
func NewKeys(config *rest.Config, client *http.Client, who identity.Identity, installation string, log *slog.Logger) (*Keys, error) {
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	return &Keys{who: who, installation: installation, log: log, watch: identity.WatchSecret(client, server, who, installation)}, nil
}

// Start follows the Secret until ctx is done.
func (k *Keys) Start(ctx context.Context) error {
	k.Follow(ctx, k.who, k.installation, k.log, k.watch)
	return nil
}

// NeedLeaderElection tells controller-runtime that standbys have keys, too.
func (k *Keys) NeedLeaderElection() bool { return false }

// Transport is Config.Transport with these keys.
func (k *Keys) Transport(family string) (credentials.TransportCredentials, error) {
	who := identity.Scaler(family)
	return k.Client(who.In(k.installation)), who.Check()
}

// Ready is a readiness check: without a key no family can be reached.
func (k *Keys) Ready(*http.Request) error {
	_, err := k.Keys()
	return err
}
