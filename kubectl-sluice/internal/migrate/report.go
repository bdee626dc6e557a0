// Package migrate finds out what becomes of the objects of KEDA under Sluice:
// which work unchanged, and what the others need.
package migrate

import (
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
)

// Class is what a finding means for its object.
type Class string

// The classes, the worst first.
const (
	// Cannot: the object, or one of its triggers, cannot be served as it is.
	Cannot Class = "cannot"
	// Needs: it works once somebody has granted or set something.
	Needs Class = "needs"
	// Differs: it works, and something of it is read differently.
	Differs Class = "differs"
	// Warning: it works, and admission has something to say.
	Warning Class = "warning"
)

// Outcome is what becomes of an object, or of all of them.
type Outcome string

// The outcomes.
const (
	Unchanged   Outcome = "unchanged"
	NeedsWork   Outcome = "needs"
	CannotServe Outcome = "cannot"
)

// Finding is one thing to know about an object.
type Finding struct {
	Class Class `json:"class"`
	// Trigger is the place in spec.triggers, absent where it is about the object.
	Trigger *int `json:"trigger,omitempty"`
	// Type is the trigger's.
	Type string `json:"type,omitempty"`
	// Field is the parameter of the trigger, or the field of the object.
	Field string `json:"field,omitempty"`
	Text  string `json:"text"`
}

// Object is one object that was judged.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// From is the file that it is in.
	From     string    `json:"from,omitempty"`
	Outcome  Outcome   `json:"outcome"`
	Families []string  `json:"families,omitempty"`
	Findings []Finding `json:"findings,omitempty"`
}

// Key names the object.
func (o *Object) Key() objects.Key {
	return objects.Key{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}
}

// Family is one that is needed.
type Family struct {
	Name string `json:"name"`
	// Types are the trigger types in use, and how many triggers have each.
	Types map[string]int `json:"types"`
}

// Unserved is a trigger type that no family of this version serves.
type Unserved struct {
	Type     string `json:"type"`
	Triggers int    `json:"triggers"`
}

// Grant is what a family has to be let read in a namespace.
type Grant struct {
	Namespace       string   `json:"namespace"`
	Family          string   `json:"family"`
	Secrets         []string `json:"secrets,omitempty"`
	ConfigMaps      []string `json:"configMaps,omitempty"`
	ServiceAccounts []string `json:"serviceAccounts,omitempty"`
	// Tokens are the ServiceAccounts whose tokens it has to mint.
	Tokens []string `json:"tokens,omitempty"`
	// Role is a ClusterRole of the family's own that the namespace has to bind.
	Role string `json:"role,omitempty"`
	// Incomplete is what could not be found out, so that names may be missing.
	Incomplete []string `json:"incomplete,omitempty"`
}

// Trust is what a cloud has to trust.
type Trust struct {
	Provider string `json:"provider"`
	Family   string `json:"family"`
	// Subject is the family's, beside KEDA's.
	Subject  string `json:"subject"`
	Existing string `json:"existing"`
	// Identities are roles and clients that objects name, and "" the one of the
	// ServiceAccount.
	Identities []string `json:"identities,omitempty"`
	// Annotations are those of KEDA's ServiceAccount that the family's may need.
	Annotations map[string]string `json:"annotations,omitempty"`
	Objects     []string          `json:"objects"`
	Text        string            `json:"text"`
}

// TargetKind is a kind of target that controller and adapter have to be let
// scale.
type TargetKind struct {
	Group    string   `json:"group"`
	Resource string   `json:"resource"`
	Kind     string   `json:"kind"`
	Guessed  bool     `json:"guessed,omitempty"`
	Objects  []string `json:"objects"`
}

// Counts are numbers of objects.
type Counts struct {
	Objects   int `json:"objects"`
	Unchanged int `json:"unchanged"`
	Needs     int `json:"needs"`
	Cannot    int `json:"cannot"`
}

// Unread is something that could not be read.
type Unread struct {
	Object  string `json:"object,omitempty"`
	From    string `json:"from,omitempty"`
	Problem string `json:"problem"`
}

// Report is what there is to say.
type Report struct {
	Outcome     Outcome      `json:"outcome"`
	Counts      Counts       `json:"counts"`
	Objects     []*Object    `json:"objects"`
	Families    []Family     `json:"families"`
	Unserved    []Unserved   `json:"unserved,omitempty"`
	Grants      []Grant      `json:"grants,omitempty"`
	Trust       []Trust      `json:"trust,omitempty"`
	TargetKinds []TargetKind `json:"targetKinds,omitempty"`
	Unread      []Unread     `json:"unread,omitempty"`
	// Roles are the objects that grant all of it, for kubectl apply.
	Roles []any `json:"roles,omitempty"`
}
