package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// TestServersOfATenantGetNoIdentity has an attacker for a server, with each
// identity that the family can show.
func TestServersOfATenantGetNoIdentity(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAOWN")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "own")
	servers.Entra(t, trusted, func(string) string { return "families-own" })
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, []byte(`{"type":"service_account","private_key":"families-own"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	scalertest.Readable(t, file)
	azure := scaler.PodIdentity{Provider: "azure-workload", IdentityID: servers.EntraIdentity, TenantID: servers.EntraTenant}
	family := scalertest.Serve(t, triggers...)
	thief := scalertest.NewThief(t)
	for name, tt := range map[string]struct {
		identity scaler.PodIdentity
		env      map[string]string
		metadata map[string]string
	}{
		"AWS, by the metadata": {metadata: map[string]string{"identityOwner": "operator", "awsRegion": "eu-west-1"}},
		"AWS":                  {identity: scaler.PodIdentity{Provider: "aws"}, metadata: map[string]string{"awsRegion": "eu-west-1"}},
		"Google":               {identity: scaler.PodIdentity{Provider: "gcp"}},
		"Google, by a file":    {env: map[string]string{"FILE": file}, metadata: map[string]string{"credentialsFromEnvFile": "FILE"}},
		"Azure":                {identity: azure},
		"Azure, any audience":  {identity: azure, metadata: map[string]string{"cloud": "Private", "azureManagedPrometheusResourceURL": "https://vault.azure.net"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, server := range []string{"http://" + thief.Addr(), "https://monitoring.googleapis.com@" + thief.Addr()} {
				family.WithEnv(tt.env).KeepsItsIdentity(t, "prometheus", tt.identity, trigger(server, tt.metadata))
			}
		})
	}
	// Without verified TLS anybody may be who the name says.
	for name, server := range map[string]string{"http": "http://monitoring.googleapis.com", "unsafeSsl": "https://monitoring.googleapis.com"} {
		t.Run(name, func(t *testing.T) {
			family.KeepsItsIdentity(t, "prometheus", scaler.PodIdentity{Provider: "gcp"}, trigger(server, map[string]string{"unsafeSsl": "true"}))
		})
	}
}

// TestStrangersUseNoIdentity: a namespace that --identity-namespaces does not
// name cannot use the family's by metadata either.
func TestStrangersUseNoIdentity(t *testing.T) {
	scalertest.LendOnlyTo(t, "elsewhere")
	family := scalertest.Serve(t, triggers...)
	for name, tt := range map[string]struct {
		auth, metadata map[string]string
	}{
		"identityOwner":          {metadata: map[string]string{"identityOwner": "operator"}},
		"awsRoleArn":             {auth: map[string]string{"awsRoleArn": "arn:aws:iam::1:role/r"}},
		"credentialsFromEnvFile": {metadata: map[string]string{"credentialsFromEnvFile": "FILE"}},
	} {
		t.Run(name, func(t *testing.T) {
			metadata := trigger("https://aps-workspaces.eu-west-1.amazonaws.com", tt.metadata)
			metadata["awsRegion"] = "eu-west-1"
			_, err := family.WithAuth(tt.auth).WithEnv(map[string]string{"FILE": "/key.json"}).Observe(t.Context(), "prometheus", metadata)
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), name+": namespace ") || !strings.Contains(err.Error(), "--identity-namespaces") {
				t.Errorf("error = %v", err)
			}
		})
	}
}
