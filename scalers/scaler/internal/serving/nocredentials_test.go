package serving

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
)

// TestAFamilyWithoutCredentialsSaysSo: whatever leads to credentials is refused by
// name, and what the workload has in plain text is good.
func TestAFamilyWithoutCredentialsSaysSo(t *testing.T) {
	text := "deep"
	env := map[string]scalerv1.EnvVar{
		"PLAIN":  {Value: &text},
		"SECRET": {SecretKeyRef: &scalerv1.KeyRef{Name: "login", Key: "password"}},
	}
	tests := map[string]struct {
		ref  contract.Reference
		want string
	}{
		"an authentication": {contract.Reference{Authentication: "ClusterTriggerAuthentication/login"}, "authenticationRef: ClusterTriggerAuthentication/login"},
		"a Secret": {contract.Reference{Inline: map[string]scalerv1.KeyRef{"password": {Name: "login", Key: "password"}}},
			"secretKeyRef (password): a Secret"},
		"a variable of a Secret": {contract.Reference{Env: env, Variables: []string{"PLAIN", "SECRET"}}, "variable SECRET: a Secret or ConfigMap"},
		"a variable":             {contract.Reference{Env: env, Variables: []string{"PLAIN"}}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := NoCredentials{"wells"}.Resolve(t.Context(), tt.ref)
			if tt.want == "" {
				if err != nil || got.Env["PLAIN"] != text {
					t.Errorf("credentials = %+v, %v", got, err)
				}
				return
			}
			if want := tt.want + " is not read: family wells takes no credentials"; status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != want {
				t.Errorf("error = %v, want %q", err, want)
			}
		})
	}
}
