package vault

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// login is a token of Vault.
type login struct {
	mine bool      // it was made for this Read
	ends time.Time // zero for never
}

// ownTokenFile is the token of the family's ServiceAccount.
const ownTokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// login logs in by the block's method. Afterwards the client has a token.
func (v *server) login(ctx context.Context, b *vaultBlock, scope store.Scope) (login, error) {
	if b.Authentication == "token" {
		return v.useToken(ctx, b, scope)
	}
	jwt, err := serviceAccountToken(ctx, b, scope)
	if err != nil {
		return login{}, err
	}
	got, err := v.Logical().WriteWithContext(ctx, "auth/"+b.Mount+"/login", map[string]any{"jwt": jwt, "role": b.Role})
	if err != nil {
		return login{}, v.failure("role "+b.Role+" at auth/"+b.Mount, "refuses the login", err)
	}
	if got == nil || got.Auth == nil || got.Auth.ClientToken == "" {
		return login{}, v.named(words.Errorf(codes.Unavailable, "the login brings no token"))
	}
	v.SetToken(got.Auth.ClientToken)
	return login{mine: true, ends: end(got.Auth.LeaseDuration)}, nil
}

// useToken takes the token of the block, or the family's, and asks whether it
// is good: a path that is denied could not tell.
func (v *server) useToken(ctx context.Context, b *vaultBlock, scope store.Scope) (login, error) {
	token, err := b.token(scope)
	if err != nil {
		return login{}, err
	}
	v.SetToken(token)
	self, err := v.Auth().Token().LookupSelfWithContext(ctx)
	if err != nil {
		err = v.failure("token", "is expired, revoked or without the right to look itself up", err)
		if status.Code(err) == codes.PermissionDenied {
			err = words.Errorf(codes.Unauthenticated, "%w", err)
		}
		return login{}, err
	}
	left, err := self.TokenTTL()
	if err != nil {
		return login{}, v.named(words.Errorf(codes.Unavailable, "the token does not say how long it lasts"))
	}
	if left <= 0 { // a root token
		return login{}, nil
	}
	v.renew(ctx, self, left)
	return login{ends: time.Now().Add(left)}, nil
}

// renew prolongs a renewable token that has lived for half of its time. A
// failure changes nothing: the token is good for now.
func (v *server) renew(ctx context.Context, self *api.Secret, left time.Duration) {
	whole, _ := self.Data["creation_ttl"].(json.Number)
	seconds, _ := whole.Int64()
	renewable, _ := self.TokenIsRenewable()
	if renewable && left < time.Duration(seconds)*time.Second/2 {
		_, _ = v.Auth().Token().RenewSelfWithContext(ctx, 0)
	}
}

// token is the one to use. VAULT_TOKEN comes first, as KEDA has it, but never
// goes to an address that a user chose.
func (b *vaultBlock) token(scope store.Scope) (string, error) {
	if b.isOurs() {
		return os.Getenv("VAULT_TOKEN"), b.lend(scope)
	}
	if b.Credential == nil || b.Credential.Token == "" {
		return "", words.Errorf(codes.InvalidArgument,
			"%s.credential.token: is required with token (the family's own VAULT_TOKEN is for VAULT_ADDR alone)", blockName)
	}
	return b.Credential.Token, nil
}

// atHome reports whether the address is the family's own Vault.
func (b *vaultBlock) atHome() bool { return sameServer(os.Getenv("VAULT_ADDR"), b.Address) }

// isOurs reports whether who logs in is the family and not the object's own: by
// VAULT_TOKEN, or with a token that is in a file of the family.
func (b *vaultBlock) isOurs() bool {
	if b.Authentication == "token" {
		return os.Getenv("VAULT_TOKEN") != "" && b.atHome()
	}
	return b.Credential == nil || b.Credential.ServiceAccountName == ""
}

// lend sees to it that the family may show who it is: to its own Vault, and to
// those that it was started with.
func (b *vaultBlock) lend(scope store.Scope) error {
	if err := scope.OwnIdentity(); err != nil {
		return words.Errorf(status.Code(err), "%s: %w", blockName, err)
	}
	if b.atHome() {
		return nil
	}
	return lending.HashiCorpVault.Check(blockName+".address", b.host, true)
}

func sameServer(a, b string) bool {
	first, errA := url.Parse(a)
	second, errB := url.Parse(b)
	return a != "" && errA == nil && errB == nil && first.Scheme == second.Scheme && first.Host == second.Host
}

// serviceAccountToken is what a login with kubernetes presents.
func serviceAccountToken(ctx context.Context, b *vaultBlock, scope store.Scope) (string, error) {
	var jwt, field string
	switch c := b.Credential; {
	case c != nil && c.ServiceAccountName != "":
		token, err := scope.Token(ctx, c.ServiceAccountName)
		if err != nil {
			return "", err
		}
		jwt, field = token, "serviceAccountName"
	default:
		file := ownTokenFile
		if c != nil && c.ServiceAccount != "" {
			file = c.ServiceAccount
		}
		if err := b.lend(scope); err != nil {
			return "", err
		}
		content, err := scope.File(file)
		if err != nil {
			return "", err
		}
		jwt, field = strings.TrimSpace(string(content)), "serviceAccount"
	}
	if !isServiceAccount(jwt) {
		return "", words.Errorf(codes.InvalidArgument, "%s.credential.%s: is not the token of a service account", blockName, field)
	}
	return jwt, nil
}

// isServiceAccount looks at the subject of a token. Vault checks its signature.
func isServiceAccount(jwt string) bool {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return false
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	return json.Unmarshal(payload, &claims) == nil && strings.HasPrefix(claims.Subject, "system:serviceaccount:")
}

// logout ends a token that was made for this Read, so that Vault does not keep
// one for every read. A failure costs nothing: the token ends by itself.
func (v *server) logout(ctx context.Context, l login) {
	if l.mine {
		_ = v.Auth().Token().RevokeSelfWithContext(ctx, "")
	}
}

// end is when something ends that lasts for so many seconds; 0 is forever.
func end(seconds int) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(seconds) * time.Second)
}
