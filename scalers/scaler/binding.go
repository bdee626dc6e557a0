package scaler

import (
	"context"
	"time"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials"
)

// request is one trigger of one object as it came over the wire.
type request struct {
	ref *externalscaler.ScaledObjectRef
}

// Credentials is what the references of a request resolve to.
type Credentials = credentials.Credentials

// PodIdentity is the cloud identity that an authentication object asks for. A
// params struct that embeds it gets it filled in.
type PodIdentity = credentials.PodIdentity

// Reference names what a trigger's credentials are to be read from.
type Reference = credentials.Reference

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
	hosts    []string                      // that open may dial; nil for any
	shape    func(raw []Reading) []Reading // never nil

	timeout  time.Duration // of the user's own for one read, or 0
	noData   NoDataRule
	silent   string   // why the doorbell stays off unasked, or ""
	warnings []string // unknown and deprecated keys, in words for the user
}
