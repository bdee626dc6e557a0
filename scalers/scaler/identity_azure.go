package scaler

import (
	"context"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/azure"
)

// AzureCredential returns what obtains tokens for the pod identity
// azure-workload. It is called from Open with Open's ctx; it asks nothing yet.
// Failures of its tokens go through azure.Failure.
func AzureCredential(ctx context.Context, id PodIdentity) (azcore.TokenCredential, error) {
	identity := azure.WorkloadIdentity{ClientID: id.IdentityID, TenantID: id.TenantID, AuthorityHost: id.AuthorityHost}
	return identify(ctx, identity, func(_ context.Context, client *http.Client) (azcore.TokenCredential, error) {
		return identity.Credential(client)
	})
}
