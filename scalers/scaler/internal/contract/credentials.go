package contract

import (
	"context"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Credentials is what the references of a trigger resolve to.
type Credentials struct {
	// Parameters are the authentication parameters by name.
	Parameters map[string]string
	// Env is the environment of the scale target's container, as far as the
	// trigger names it.
	Env map[string]string
	// PodIdentity is the identity to use towards the source.
	PodIdentity PodIdentity
	// Hosts are the hosts that the credentials may be sent to, as patterns such
	// as "*.kafka.svc"; nil means any.
	Hosts []string
	// FixedBy is the ClusterTriggerAuthentication that they are of, as
	// "ClusterTriggerAuthentication <name>", or "". What it gives, no object may
	// give in its place: its owner decides where its secrets go.
	FixedBy string
	// Warnings are values that are empty, which count as absent, in words for
	// the user.
	Warnings []string
	// ReadAgain is when to resolve the references again, so that what changed
	// takes effect. Zero means never: nothing was read.
	ReadAgain time.Time
}

// PodIdentity is the cloud identity that an authentication object asks for. A
// params struct that embeds it gets it filled in.
type PodIdentity struct {
	// Provider is "aws", "azure-workload", "gcp", "aws-eks" or empty for none.
	Provider string
	// IdentityID, TenantID and AuthorityHost override Azure's defaults.
	IdentityID, TenantID, AuthorityHost string
	// RoleARN and ExternalID select an AWS role.
	RoleARN, ExternalID string
}

// Reference names what a trigger's credentials are to be read from. It holds
// no secret.
type Reference struct {
	// Namespace is the object's.
	Namespace string
	// Authentication is "TriggerAuthentication/<name>",
	// "ClusterTriggerAuthentication/<name>" or empty.
	Authentication string
	// Variables are the variables that the trigger names.
	Variables []string
	// Env has those variables and what they expand.
	Env map[string]scalerv1.EnvVar
	// Containers are those of the workload, for variables that the
	// authentication object names.
	Containers []scalerv1.Container
	// Inline are keys of Secrets in the object's namespace that the trigger
	// itself names, by parameter. They count more than a
	// TriggerAuthentication's, and cannot be beside a
	// ClusterTriggerAuthentication.
	Inline map[string]scalerv1.KeyRef
	// ServiceAccount is the workload's.
	ServiceAccount string
	// NotBefore makes everything count as unread that was read before then. It
	// is set after the source has refused what was read. Zero accepts what is
	// known.
	NotBefore time.Time
}

// Resolver turns references into credentials under the family's own identity.
// An error says which object is missing or not granted; it is the reading's
// error and carries a gRPC code.
type Resolver interface {
	Resolve(ctx context.Context, ref Reference) (*Credentials, error)
}
