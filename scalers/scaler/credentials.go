package scaler

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// ServeOption is what a family has beside its triggers.
type ServeOption func(*serveOptions)

type serveOptions struct{ credentials CredentialSource }

// WithCredentials lets triggers refer to credentials:
//
//	err := scaler.Serve(ctx, "kafka", triggers, scaler.WithCredentials(credentials.FromCluster))
//
// Without it, such references are refused, and the family links no client of a
// cloud or of a secret store.
func WithCredentials(source CredentialSource) ServeOption {
	return func(o *serveOptions) { o.credentials = source }
}

// CredentialSource adds the flags on what a family may read for its triggers,
// and returns what makes the resolver once they are parsed.
type CredentialSource func(flags *flag.FlagSet, getenv func(string) string) OpenResolver

// OpenResolver makes a resolver that Serve closes at its end.
type OpenResolver func(*slog.Logger) (ClosingResolver, error)

// ClosingResolver is a Resolver that lets go of what it holds.
type ClosingResolver interface {
	Resolver
	Close()
}

// checkCredentials refuses triggers that nobody could ever give what they ask for.
func checkCredentials(triggers []trigger.Trigger, taken bool) error {
	if taken {
		return nil
	}
	for _, t := range triggers {
		for _, p := range t.Describe().GetParameters() {
			if slices.Contains(p.GetSources(), scalerv1.ValueSource_VALUE_SOURCE_AUTHENTICATION) {
				return fmt.Errorf("trigger %s takes %s from an authentication: scaler.Serve needs scaler.WithCredentials", t.Type, p.GetName())
			}
		}
	}
	return nil
}

// noCredentials is the resolver of a family that takes none. What the workload
// has in plain text is known all the same.
type noCredentials struct{ family string }

// Resolve implements contract.Resolver.
func (n noCredentials) Resolve(_ context.Context, ref contract.Reference) (*contract.Credentials, error) {
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

func (n noCredentials) refuse(what string) error {
	return words.Errorf(codes.InvalidArgument, "%s is not read: family %s takes no credentials", what, n.family)
}

// Close implements ClosingResolver: nothing is held.
func (noCredentials) Close() {}

// withoutCredentials is the source of a family that takes none.
func withoutCredentials(family string) OpenResolver {
	return func(*slog.Logger) (ClosingResolver, error) { return noCredentials{family}, nil }
}
