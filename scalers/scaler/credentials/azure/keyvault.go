package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/internal/block"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// KeyVault is Azure Key Vault.
type KeyVault struct {
	// HTTP makes the client of one Read.
	HTTP func() (*http.Client, error)
}

const blockName = "azureKeyVault"

// vaultBlock is an azureKeyVault block.
type vaultBlock struct {
	VaultURI    string   `json:"vaultUri"`
	Secrets     []secret `json:"secrets"`
	Credentials *struct {
		ClientID     string          `json:"clientId"`
		TenantID     string          `json:"tenantId"`
		ClientSecret block.SecretKey `json:"clientSecret"`
	} `json:"credentials"`
	PodIdentity *struct {
		Provider      string  `json:"provider"`
		ClientID      *string `json:"identityId"`
		TenantID      string  `json:"identityTenantId"`
		AuthorityHost string  `json:"identityAuthorityHost"`
	} `json:"podIdentity"`
	Cloud *struct {
		Type      string `json:"type"`
		Resource  string `json:"keyVaultResourceURL"`
		Authority string `json:"activeDirectoryEndpoint"`
	} `json:"cloud"`

	host      string // of VaultURI
	authority string // of Cloud; empty for the process's
	scope     string // what tokens are for; empty for what the vault asks for
}

// secret is one parameter and where it is.
type secret struct {
	Parameter string `json:"parameter"`
	Name      string `json:"name"`
	Version   string `json:"version"`
}

// kind is one of Azure's clouds: where its Entra is, and what its vaults are.
type kind struct {
	cloud.Configuration
	vaults lending.Service
}

var (
	publicCloud     = kind{cloud.AzurePublic, lending.AzureKeyVault}
	governmentCloud = kind{cloud.AzureGovernment, lending.AzureKeyVaultUSGovernment}
	chinaCloud      = kind{cloud.AzureChina, lending.AzureKeyVaultChina}
	germanCloud     = kind{germany, lending.AzureKeyVaultGermany}
)

// kinds are the clouds that a block may name, in small letters, as KEDA spells
// them.
var kinds = map[string]kind{
	"azurepubliccloud": publicCloud, "azurecloud": publicCloud,
	"azureusgovernment": governmentCloud, "azureusgovernmentcloud": governmentCloud,
	"azurechinacloud": chinaCloud, "azuregermancloud": germanCloud,
}

// private is a cloud whose addresses the block gives.
const private = "private"

// Block implements store.Store.
func (KeyVault) Block() string { return blockName }

// Read implements store.Store.
func (k KeyVault) Read(ctx context.Context, raw json.RawMessage, scope store.Scope) (*store.Values, error) {
	b, err := decodeVault(raw)
	if err != nil {
		return nil, err
	}
	if err := outbound.CheckHost(b.host); err != nil {
		return nil, err
	}
	client, err := k.HTTP()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	credential, err := b.credential(ctx, client, scope)
	if err != nil {
		return nil, err
	}
	o := options(client, "")
	o.Transport = challenged{transport{client}, b.scope != ""}
	//dials:through client
	vault, err := azsecrets.NewClient(b.VaultURI, credential, &azsecrets.ClientOptions{
		ClientOptions: o,
		// The vaults of a private cloud may have any name. Tokens are for what
		// is known to be right, whatever the vault asks for.
		DisableChallengeResourceVerification: b.scope != "",
	})
	if err != nil {
		return nil, words.Errorf(codes.InvalidArgument, "%s.vaultUri: cannot be used", blockName)
	}
	values := &store.Values{}
	for _, one := range b.Secrets {
		text, err := one.read(ctx, vault, b.host)
		if err == nil {
			err = values.Set(one.Parameter, text)
		}
		if err != nil {
			return nil, err
		}
	}
	return values, nil
}

func decodeVault(raw json.RawMessage) (*vaultBlock, error) {
	b := &vaultBlock{}
	problems, err := block.Decode(blockName, raw, b)
	if err != nil {
		return nil, err
	}
	switch u, err := url.Parse(b.VaultURI); {
	case strings.TrimSpace(b.VaultURI) == "":
		problems.Add("vaultUri", "is required")
	case err != nil || u.Scheme != "https" || u.Host == "":
		problems.Add("vaultUri", "is not an https URL")
	default:
		b.host = u.Hostname()
	}
	if len(b.Secrets) == 0 {
		problems.Add("secrets", "is empty")
	}
	for i, s := range b.Secrets {
		problems.Require(block.Item("secrets", i, "parameter"), s.Parameter, block.Item("secrets", i, "name"), s.Name)
	}
	b.checkIdentity(problems)
	b.checkCloud(problems)
	return b, problems.Err()
}

func (b *vaultBlock) checkIdentity(problems *block.Problems) {
	switch {
	case b.usesPodIdentity():
		if b.PodIdentity.Provider != "azure-workload" {
			problems.Add("podIdentity.provider", "%q is not one of azure-workload, none", b.PodIdentity.Provider)
		}
		if id := b.PodIdentity.ClientID; id != nil && *id == "" {
			problems.Add("podIdentity.identityId", "is empty: leave it out, or name the client")
		}
		if b.PodIdentity.AuthorityHost != "" && b.PodIdentity.TenantID == "" {
			problems.Add("podIdentity.identityAuthorityHost", "needs identityTenantId")
		}
	case b.Credentials == nil:
		problems.Add("credentials", "is required without podIdentity azure-workload")
	default:
		problems.Require("credentials.clientId", b.Credentials.ClientID, "credentials.tenantId", b.Credentials.TenantID)
		problems.RequireSecretKey("credentials.clientSecret", b.Credentials.ClientSecret)
	}
}

func (b *vaultBlock) usesPodIdentity() bool {
	return b.PodIdentity != nil && b.PodIdentity.Provider != "" && b.PodIdentity.Provider != "none"
}

func (b *vaultBlock) checkCloud(problems *block.Problems) {
	if b.Cloud == nil {
		return
	}
	name := strings.ToLower(b.Cloud.Type)
	known, ok := kinds[name]
	switch {
	case ok:
		b.authority = known.ActiveDirectoryAuthorityHost
	case name == private:
		for _, address := range [][2]string{
			{"cloud.keyVaultResourceURL", b.Cloud.Resource}, {"cloud.activeDirectoryEndpoint", b.Cloud.Authority},
		} {
			if u, err := url.Parse(address[1]); err != nil || u.Scheme != "https" || u.Host == "" {
				problems.Add(address[0], "must be an https URL with cloud.type Private")
			}
		}
		b.authority, b.scope = b.Cloud.Authority, strings.TrimSuffix(b.Cloud.Resource, "/")+"/.default"
	default:
		problems.Add("cloud.type", "%q is not one of AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, AzureGermanCloud, Private", b.Cloud.Type)
	}
}

// credential is who asks the vault.
func (b *vaultBlock) credential(ctx context.Context, client *http.Client, scope store.Scope) (azcore.TokenCredential, error) {
	var credential azcore.TokenCredential
	if b.usesPodIdentity() {
		if err := b.lend(scope); err != nil {
			return nil, err
		}
		w := WorkloadIdentity{TenantID: b.PodIdentity.TenantID, AuthorityHost: b.authority, AuthorityOf: blockName + ".cloud.activeDirectoryEndpoint"}
		if b.PodIdentity.ClientID != nil {
			w.ClientID = *b.PodIdentity.ClientID
		}
		if b.PodIdentity.AuthorityHost != "" {
			w.AuthorityHost, w.AuthorityOf = b.PodIdentity.AuthorityHost, blockName+".podIdentity.identityAuthorityHost"
		}
		var err error
		if credential, err = w.Credential(client); err != nil {
			return nil, err
		}
	} else {
		secret, err := b.Credentials.ClientSecret.Read(ctx, scope)
		if err != nil {
			return nil, err
		}
		credential, err = azidentity.NewClientSecretCredential(b.Credentials.TenantID, b.Credentials.ClientID, secret, //dials:through client
			&azidentity.ClientSecretCredentialOptions{
				ClientOptions:            options(client, b.authority),
				DisableInstanceDiscovery: b.scope != "", // the public cloud knows nothing of a private one
			})
		if err != nil {
			return nil, words.Errorf(codes.InvalidArgument, "%s.credentials: cannot be used", blockName)
		}
	}
	return ownTenant{credential, b.scope}, nil
}

// lend sees to it that a token of the family is for the vaults of the block's
// cloud and goes to one of them.
func (b *vaultBlock) lend(scope store.Scope) error {
	if err := scope.OwnIdentity(); err != nil {
		return words.Errorf(status.Code(err), "%s.podIdentity: %w", blockName, err)
	}
	var loan lending.Loan
	var err error
	if b.scope != "" { // a private cloud's
		loan, err = lending.AzureKeyVault.LendFor(blockName+".vaultUri", b.host, blockName+".cloud.keyVaultResourceURL", b.Cloud.Resource)
	} else {
		loan, err = b.vaults().Lend(blockName+".vaultUri", true, b.host)
	}
	b.scope = loan.Scope()
	return err
}

// vaults are those of the block's cloud. Without a cloud, the host's name tells.
func (b *vaultBlock) vaults() lending.Service {
	if b.Cloud != nil {
		return kinds[strings.ToLower(b.Cloud.Type)].vaults
	}
	for _, known := range kinds {
		if known.vaults.Owns(b.host) {
			return known.vaults
		}
	}
	return lending.AzureKeyVault
}

// ownTenant obtains tokens of the credential's own tenant, whatever the vault
// asks for, and for one scope if that is not empty.
type ownTenant struct {
	azcore.TokenCredential
	scope string
}

// GetToken implements azcore.TokenCredential.
func (t ownTenant) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	o.TenantID = ""
	if t.scope != "" {
		o.Scopes = []string{t.scope}
	}
	return t.TokenCredential.GetToken(ctx, o)
}

// challenged looks at a vault's challenge before the library does, which
// trusts in its form.
type challenged struct {
	transport
	anyResource bool
}

// challengePart is one part of a challenge, such as resource="https://vault.azure.net".
var challengePart = regexp.MustCompile(`(\w+)="?([^", ]+)"?`)

// Do implements policy.Transporter.
func (c challenged) Do(request *http.Request) (*http.Response, error) {
	answer, err := c.transport.Do(request)
	if err != nil || answer.StatusCode != http.StatusUnauthorized {
		return answer, err
	}
	parts := map[string]string{}
	for _, part := range challengePart.FindAllStringSubmatch(answer.Header.Get("WWW-Authenticate"), -1) {
		parts[part[1]] = part[2]
	}
	authority, errA := url.Parse(parts["authorization"])
	resource, errB := url.Parse(cmp.Or(parts["scope"], parts["resource"]))
	if errA != nil || errB != nil || len(authority.Path) < 2 || resource.Host == "" {
		return nil, words.Errorf(codes.Unavailable, "%s does not ask for a login as Azure Key Vault does", request.URL.Host)
	}
	if !c.anyResource && !strings.HasSuffix(request.URL.Host, "."+resource.Host) {
		return nil, words.Errorf(codes.PermissionDenied, "%s asks for a token for %s, where it does not belong", request.URL.Host, resource.Host)
	}
	return answer, nil
}

func (s secret) read(ctx context.Context, vault *azsecrets.Client, host string) (string, error) {
	what := "secret " + s.Name + " of " + host
	if s.Version != "" {
		what = "version " + s.Version + " of " + what
	}
	answer, err := vault.GetSecret(ctx, s.Name, s.Version, nil)
	switch {
	case err != nil:
		return "", Failure(what, err)
	case answer.Value == nil:
		return "", words.Errorf(codes.NotFound, "%s: has no value", what)
	default:
		return *answer.Value, nil
	}
}
