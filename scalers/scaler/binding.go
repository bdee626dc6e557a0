package scaler

import (
	"context"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
)

// request is one trigger of one object as it came over the wire.
type request struct {
	ref *externalscaler.ScaledObjectRef
}

// Credentials is what the references of a request resolve to.
type Credentials struct {
	// Parameters are the authentication parameters by name.
	Parameters map[string]string
	// Env is the environment of the scale target's container, as far as the
	// trigger names it.
	Env map[string]string
	// PodIdentity is the identity to use towards the source.
	PodIdentity PodIdentity
}

// Reference names what a trigger's credentials are to be read from. It holds
// no secret.
type Reference struct {
	// Namespace is the object's.
	Namespace string
	// Authentication is "TriggerAuthentication/<name>",
	// "ClusterTriggerAuthentication/<name>" or empty.
	Authentication string
	// Env has the variables that the trigger names: literals, or references to
	// a Secret or ConfigMap key, as in the reserved key sluice.dev/env.
	Env string
	// ServiceAccount is the workload's.
	ServiceAccount string
}

// Resolver turns references into credentials under the family's own identity.
// An error says which object is missing or not granted; it is the reading's
// error and carries a gRPC code.
type Resolver interface {
	Resolve(ctx context.Context, ref Reference) (*Credentials, error)
}

// binding is a trigger of one object after its parameters were understood.
type binding struct {
	object  Object
	metrics []Metric // nil for a Specced, and while their names are not known

	// question is equal for triggers that may share a Source. It is empty as
	// long as credentials are needed to know it.
	question string
	open     func(context.Context) (Source, error)
	shape    func(raw []Reading) []Reading // never nil

	noData   NoDataRule
	silent   string   // why the doorbell stays off unasked, or ""
	warnings []string // unknown and deprecated keys, in words for the user
}
