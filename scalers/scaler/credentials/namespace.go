package credentials

import (
	"encoding/json"
	"fmt"
	"slices"
)

// secretNamespace is the annotation of a ClusterTriggerAuthentication that says
// whose Secrets it names: with "object" those of the namespace of the object that
// uses it, absent those of the cluster-object namespace, as in KEDA.
//
// With "object" it is resolved as a TriggerAuthentication of that namespace is:
// each Secret, ConfigMap and ServiceAccount is the namespace's. What is neither
// the namespace's nor written into the object for everybody to see is refused. A
// Secret of the namespace may fill any parameter, such as the address, so the
// namespace would decide where an identity or a secret of the cluster's goes.
const (
	secretNamespace = "sluice.dev/secret-namespace"
	ofObject        = "object"
)

// ofObject reports whether the Secrets are those of each object's namespace.
func (m metadata) ofObject() (bool, error) {
	value, ok := m.Annotations[secretNamespace]
	if ok && value != ofObject {
		return false, fmt.Errorf("annotation %s: %q is not %s, the only value that it may have", secretNamespace, value, ofObject)
	}
	return ok, nil
}

// errLent is why something is not beside the annotation.
var errLent = invalid("cannot be beside annotation %s: %s, since it is not of the object's namespace; give it by a ClusterTriggerAuthentication without", secretNamespace, ofObject)

// foreign is everything that the spec uses and that is not of the object's
// namespace. Admission has the same rules.
func (s *spec) foreign() error {
	var wrong problems
	if s.PodIdentity.lent() {
		wrong.add("podIdentity", errLent)
	}
	if s.FilePath != "" {
		wrong.add("filePath", errLent)
	}
	for _, b := range s.storeBlocks() {
		var login struct {
			Authentication string       `json:"authentication"` // Vault's
			PodIdentity    *podIdentity `json:"podIdentity"`
			Credential     struct {
				ServiceAccountName string `json:"serviceAccountName"`
			} `json:"credential"`
		}
		_ = json.Unmarshal(b.text, &login) // who reads the block says what is wrong with it
		switch {
		case login.PodIdentity.lent():
			wrong.add(b.name+".podIdentity", errLent)
		case b.name != "hashiCorpVault":
		case login.Authentication == "token":
			wrong.add(b.name+".authentication token", errLent)
		case login.Credential.ServiceAccountName == "":
			wrong.add(b.name+".credential.serviceAccountName", invalid("is required beside annotation %s: %s", secretNamespace, ofObject))
		}
	}
	return wrong.err("")
}

// noIdentity are the providers that stand for none.
var noIdentity = []string{"", "none"}

// lent reports whether it is an identity of the family.
func (p *podIdentity) lent() bool { return p != nil && !slices.Contains(noIdentity, p.Provider) }
