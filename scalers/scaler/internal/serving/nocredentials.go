package serving

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// NoCredentials is the resolver of a family that takes none. What the workload
// has in plain text is known all the same.
type NoCredentials struct{ Family string }

// Resolve implements contract.Resolver.
func (n NoCredentials) Resolve(_ context.Context, ref contract.Reference) (*contract.Credentials, error) {
	if ref.Authentication != "" {
		return nil, n.refuse("authenticationRef: " + ref.Authentication)
	}
	if parameters := slices.Sorted(maps.Keys(ref.Inline)); len(parameters) > 0 {
		return nil, n.refuse("secretKeyRef (" + parameters[0] + "): a Secret")
	}
	var refused error
	env, err := scalerv1.ResolveEnv(ref.Env, ref.Variables, func(name string, _ scalerv1.EnvVar) (string, scalerv1.Finding) {
		refused = n.refuse("variable " + name + ": a Secret or ConfigMap")
		return "", scalerv1.Absent
	})
	switch {
	case refused != nil:
		return nil, refused
	case err != nil:
		return nil, words.Errorf(codes.InvalidArgument, "%v", err)
	}
	return &contract.Credentials{Env: env}, nil
}

func (n NoCredentials) refuse(what string) error {
	return words.Errorf(codes.InvalidArgument, "%s is not read: family %s takes no credentials", what, n.Family)
}

// Close implements ClosingResolver: nothing is held.
func (NoCredentials) Close() {}
