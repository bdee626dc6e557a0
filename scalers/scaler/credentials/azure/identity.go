// Package azure is who a family is to Microsoft Entra, and Azure Key Vault as a
// store of parameters.
package azure

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/outcome"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// WorkloadIdentity is the identity that Entra gives to the ServiceAccount of
// the process in exchange for the token projected into its Pod. Empty fields
// are the process's: AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_AUTHORITY_HOST;
// the token is in AZURE_FEDERATED_TOKEN_FILE.
type WorkloadIdentity struct {
	ClientID, TenantID string
	// AuthorityHost is the address of Entra. It gets the token, so it is one of
	// Azure's clouds, the process's own or one that the process was started
	// with by its own name.
	AuthorityHost string
	// AuthorityOf is the parameter that AuthorityHost is of;
	// identityAuthorityHost when empty.
	AuthorityOf string
}

// Credential returns what obtains tokens over client. They are kept, and
// renewed before they end. Errors of its tokens go through Failure.
func (w WorkloadIdentity) Credential(client *http.Client) (azcore.TokenCredential, error) {
	authority, err := w.authority()
	if err != nil {
		return nil, err
	}
	//dials:through client
	credential, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions:            options(client, authority),
		ClientID:                 w.ClientID,
		TenantID:                 w.TenantID,
		DisableInstanceDiscovery: true, // the authority is checked above
	})
	if err != nil {
		return nil, words.Errorf(codes.FailedPrecondition, "workload identity: %v", err)
	}
	return credential, nil
}

// clouds are the authorities that anybody may name.
var clouds = []cloud.Configuration{cloud.AzurePublic, cloud.AzureGovernment, cloud.AzureChina, germany}

// germany is a cloud that the library does not know any more.
var germany = cloud.Configuration{ActiveDirectoryAuthorityHost: "https://login.microsoftonline.de/"}

// authority refuses to hand the token of the ServiceAccount to whoever a user
// names: it would be good for the family's identity at the real Entra.
func (w WorkloadIdentity) authority() (string, error) {
	own := os.Getenv("AZURE_AUTHORITY_HOST")
	if w.AuthorityHost == "" {
		return own, nil
	}
	if u, err := url.Parse(w.AuthorityHost); err == nil && u.Scheme == "https" && lending.ListedForProof(u.Hostname()) {
		return w.AuthorityHost, nil
	}
	same := func(other string) bool { return other != "" && sameHost(other, w.AuthorityHost) }
	if same(own) || slices.ContainsFunc(clouds, func(c cloud.Configuration) bool { return same(c.ActiveDirectoryAuthorityHost) }) {
		return w.AuthorityHost, nil
	}
	return "", words.Errorf(codes.PermissionDenied, "%s: is neither one of Azure's clouds nor AZURE_AUTHORITY_HOST of this family, and would get the family's token (its flag %s makes exceptions, for a host by its name and without an audience)",
		cmp.Or(w.AuthorityOf, "identityAuthorityHost"), lending.HostsFlag)
}

func sameHost(a, b string) bool {
	first, errA := url.Parse(a)
	second, errB := url.Parse(b)
	return errA == nil && errB == nil && first.Scheme == second.Scheme && strings.EqualFold(first.Host, second.Host)
}

// options are those of every client here. An empty authority is the process's,
// else that of Azure's public cloud.
func options(client *http.Client, authority string) azcore.ClientOptions {
	o := azcore.ClientOptions{
		Transport: transport{client},
		Retry:     policy.RetryOptions{MaxRetries: -1}, // the next read is the next try
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}
	if authority != "" {
		o.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: authority}
	}
	return o
}

// transport takes the text out of what refuses a request: a token endpoint may
// repeat parts of the proof it was sent.
type transport struct{ client *http.Client }

// Do implements policy.Transporter.
func (t transport) Do(request *http.Request) (*http.Response, error) {
	answer, err := t.client.Do(request)
	if err != nil {
		lose(request.Context(), err)
	}
	if err != nil || answer.StatusCode < 400 {
		return answer, err
	}
	outbound.Drain(answer.Body)
	_ = answer.Body.Close()
	answer.Body, answer.ContentLength = http.NoBody, 0
	return answer, nil
}

// Failure is the failure of a request in words for the user, without those of
// the server. what says what was asked for, such as "secret db". Nil stays nil.
func Failure(what string, err error) error {
	if err == nil {
		return nil
	}
	if own := outcome.Own(err); own != nil {
		return own
	}
	var login *azidentity.AuthenticationFailedError
	var answer *azcore.ResponseError
	switch {
	case errors.As(err, &login) && login.RawResponse != nil:
		code := outcome.Code(login.RawResponse.StatusCode)
		if code == codes.FailedPrecondition { // invalid_client and its kin
			code = codes.Unauthenticated
		}
		return words.Errorf(code, "%s: Entra gives no token: %s", what, outcome.Text(login.RawResponse.StatusCode))
	case errors.As(err, &answer):
		return words.Errorf(outcome.Code(answer.StatusCode), "%s: %s", what, outcome.Text(answer.StatusCode))
	default:
		code, cause := outcome.Unanswered(err)
		return words.Errorf(code, "%s: %s", what, cause)
	}
}
