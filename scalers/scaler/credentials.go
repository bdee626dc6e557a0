package scaler

import (
	"flag"
	"fmt"
	"log/slog"
	"slices"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/serving"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// ServeOption is what a family has beside its triggers.
type ServeOption func(*serveOptions)

type serveOptions struct {
	credentials CredentialSource
	// accounts is whether the family's services count requests by account.
	accounts bool
	flags    []func(*flag.FlagSet)
}

// WithRequestBudget adds --requests-per-minute, for a family whose requests are
// made on accounts, see client.Account:
//
//	err := scaler.Serve(ctx, "datadog", triggers, scaler.WithRequestBudget())
func WithRequestBudget() ServeOption {
	return func(o *serveOptions) { o.accounts = true }
}

// WithFlags adds flags of the family's own, such as where its source answers.
func WithFlags(add func(*flag.FlagSet)) ServeOption {
	return func(o *serveOptions) { o.flags = append(o.flags, add) }
}

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

// withoutCredentials is the source of a family that takes none.
func withoutCredentials(family string) OpenResolver {
	return func(*slog.Logger) (ClosingResolver, error) { return serving.NoCredentials{Family: family}, nil }
}
