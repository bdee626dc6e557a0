// Package vault is HashiCorp Vault as a store of parameters.
package vault

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// Store reads what hashiCorpVault blocks ask for. The environment VAULT_* of
// the process applies, as to every client of Vault, except that VAULT_TOKEN
// goes to VAULT_ADDR alone.
type Store struct {
	// HTTP makes the client of one Read. It has a pool of connections of its own,
	// see outbound.Pool.
	HTTP func() (*http.Client, error)
}

// Block implements store.Store.
func (Store) Block() string { return blockName }

// Read implements store.Store: it logs in, reads every path once, and
// logs out again. A login that leases hang on ends by itself, with them.
func (s Store) Read(ctx context.Context, raw json.RawMessage, scope store.Scope) (*store.Values, error) {
	b, err := decode(raw)
	if err != nil {
		return nil, err
	}
	if err := outbound.CheckHost(b.host); err != nil {
		return nil, err
	}
	v, err := s.connect(b)
	if err != nil {
		return nil, err
	}
	defer v.http.CloseIdleConnections()
	login, err := v.login(ctx, b, scope)
	if err != nil {
		return nil, err
	}
	values := &store.Values{}
	answers := map[request]*answer{}
	leased := false
	for i, secret := range b.Secrets {
		question := secret.request()
		got := answers[question]
		if got == nil {
			if got, err = v.read(ctx, secret); err != nil {
				return nil, err
			}
			answers[question] = got
			leased = leased || got.leased
			values.ReadAgain = sooner(values.ReadAgain, got.readAgain)
		}
		text, err := got.text(secret, b.field(i))
		if err != nil {
			return nil, v.named(err)
		}
		if err := values.Set(secret.Parameter, text); err != nil {
			return nil, v.named(err)
		}
	}
	switch {
	case !leased:
		v.logout(ctx, login)
	case login.ends != (time.Time{}): // leases end with the login they were made by
		values.ReadAgain = sooner(values.ReadAgain, beforeEnd(time.Now(), login.ends))
	}
	return values, nil
}

// beforeEnd is when to renew what ends then.
func beforeEnd(now, end time.Time) time.Time { return now.Add(end.Sub(now) * 2 / 3) }

// sooner is the earlier of two times; zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// server is a Vault and the way to it.
type server struct {
	*api.Client
	http    *http.Client
	address string // without user and password
}

// connect prepares a client; nothing is asked yet.
func (s Store) connect(b *vaultBlock) (*server, error) {
	client, err := s.HTTP()
	if err != nil {
		return nil, err
	}
	config := api.DefaultConfig()                                                          //dials:through client
	config.HttpClient = outbound.Client(outbound.Pool(client.Transport), outbound.Stay, 0) // for its TLS
	if err := config.ReadEnvironment(); err != nil {
		return nil, words.Errorf(codes.FailedPrecondition, "the environment VAULT_* of the family cannot be used")
	}
	config.HttpClient = client
	config.Address, config.AgentAddress = b.Address, ""
	config.MaxRetries = 0                                                      // the next read is the next try
	client.Transport = outbound.Guard(client.Transport, outbound.CheckRequest) // the library follows a redirect by itself
	config.DisableRedirects = b.isOurs()
	v, err := api.NewClient(config) //dials:through client
	if err != nil {
		return nil, words.Errorf(codes.InvalidArgument, "%s.address: cannot be used", blockName)
	}
	v.ClearToken()
	if b.Namespace != "" {
		v.SetNamespace(b.Namespace)
	}
	return &server{Client: v, http: client, address: b.public}, nil
}
