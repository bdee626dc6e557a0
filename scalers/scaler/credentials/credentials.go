// Package credentials turns the references of a trigger into credentials,
// under the family's own ServiceAccount: TriggerAuthentications and
// ClusterTriggerAuthentications, Secrets, ConfigMaps, the environment of the
// scale target's container, files, tokens of service accounts and secret
// stores. The core sends references alone and never sees what they lead to.
//
// Objects are read by name and only by name: nothing here lists or watches a
// namespace, so that a family needs no more than "get" where it was granted.
package credentials

import "github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"

// What is resolved, and from what, is part of the contract of all families.
type (
	// Credentials is what the references of a trigger resolve to.
	Credentials = contract.Credentials
	// PodIdentity is the cloud identity that an authentication object asks for.
	PodIdentity = contract.PodIdentity
	// Reference names what a trigger's credentials are to be read from.
	Reference = contract.Reference
)
