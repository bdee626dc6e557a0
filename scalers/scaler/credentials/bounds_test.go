package credentials

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/amazon"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/azure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/google"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/internal/login"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/internal/scopetest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/vault"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/boundtest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
)

// TestWhoGivesCredentialsIsBounded has every store, and all who give tokens, send
// more than anybody needs. The request fails, and takes no more memory than it
// may.
func TestWhoGivesCredentialsIsBounded(t *testing.T) {
	for name, value := range map[string]string{
		"KEDA_HTTP_DEFAULT_TIMEOUT": "20000", "VAULT_ADDR": "", "VAULT_TOKEN": "",
		"AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "own", "AWS_MAX_ATTEMPTS": "1",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_WEB_IDENTITY_TOKEN_FILE": "",
	} {
		t.Setenv(name, value)
	}
	answers := boundtest.Answers()
	answers["many values"] = func(w io.Writer) {
		text := `{"data":{"a":[` + strings.Repeat("[],", 250_000) + `[]]}}`
		fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	}
	ask := givers(t)
	for what, answer := range answers {
		t.Run(what, func(t *testing.T) {
			address := boundtest.Serve(t, answer)
			t.Setenv("AWS_ENDPOINT_URL_STS", address)
			for giver, ask := range ask {
				ctx, release := pool.Opening(t.Context())
				before := boundtest.Allocated()
				if err := ask(ctx, address); err == nil {
					t.Errorf("%s: the answer is taken", giver)
				}
				if took := boundtest.Allocated() - before; took > 32<<20 {
					t.Errorf("%s: %d bytes taken", giver, took)
				}
				release()
			}
		})
	}
}

// givers are who is asked for credentials, at an address.
func givers(t *testing.T) map[string]func(ctx context.Context, address string) error {
	t.Helper()
	all := map[string]func(context.Context, string) error{
		"identities": func(ctx context.Context, address string) error {
			client, err := login.HTTP(ctx)
			if err != nil {
				return err
			}
			return boundtest.Read(ctx, client, address)
		},
		"STS": func(ctx context.Context, _ string) error {
			client, err := login.HTTP(ctx)
			if err != nil {
				return err
			}
			config, err := amazon.Identity{Region: "eu-west-1", RoleARN: "arn:aws:iam::1:role/a"}.Config(ctx, client)
			if err != nil {
				return err
			}
			_, err = config.Credentials.Retrieve(ctx)
			return err
		},
		"a token endpoint": func(ctx context.Context, address string) error {
			own, err := client.HTTP(ctx, client.HTTPOptions{})
			if err != nil {
				return err
			}
			_, err = client.OAuthParams{OAuthTokenURI: address, ClientID: "id", ClientSecret: "secret"}.Tokens(own).Token(ctx)
			return err
		},
		"Vault, as it is read": func(ctx context.Context, address string) error {
			block := fmt.Sprintf(`{"address":%q,"authentication":"token","credential":{"token":"t"},"secrets":[{"parameter":"p","key":"a","path":"kv/a"}]}`, address)
			_, err := stores()[0].Read(ctx, json.RawMessage(block), scopetest.Scope{})
			return err
		},
	}
	for _, each := range stores() {
		all[each.Block()] = func(ctx context.Context, address string) error {
			client, err := clientOf(t, each)()
			if err != nil {
				return err
			}
			defer client.CloseIdleConnections()
			return boundtest.Read(ctx, client, address)
		}
	}
	return all
}

func clientOf(t *testing.T, from store.Store) func() (*http.Client, error) {
	t.Helper()
	switch from := from.(type) {
	case vault.Store:
		return from.HTTP
	case azure.KeyVault:
		return from.HTTP
	case amazon.Secrets:
		return from.HTTP
	case google.SecretManager:
		return from.HTTP
	}
	t.Fatalf("%T: where is its client?", from)
	return nil
}
