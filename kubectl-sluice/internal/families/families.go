// Package families is what is known of the families of this version without a
// cluster: which trigger types they serve, with which parameters, and what they
// have to be granted.
package families

import (
	"context"
	_ "embed" // of what make generate wrote
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sluice-autoscaler/sluice/controller/federation"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

//go:embed zz_generated.families.json
var generated []byte

// Family is one of the services that read event sources.
type Family struct {
	// Name is the family's. Its ServiceAccount is scaler-<name>.
	Name string
	// Credentials is whether any of its types takes a value of an
	// authentication or of a variable.
	Credentials bool
	// NamespaceRole is the ClusterRole that each namespace with its triggers
	// has to grant it, "" for most.
	NamespaceRole string
	// Types are its trigger types, by name.
	Types map[string]*scalerv1.TriggerType
}

// Account is the family's ServiceAccount.
func (f *Family) Account() string { return "scaler-" + f.Name }

// All are the families of this version, by name.
var All = sync.OnceValue(read)

// Of is the family that serves a trigger type, nil where there is none.
func Of(triggerType string) *Family {
	for _, f := range All() {
		if f.Types[triggerType] != nil {
			return f
		}
	}
	return nil
}

// Types are all trigger types that are served, cpu and memory among them.
func Types() []string {
	types := []string{"cpu", "memory"}
	for _, f := range All() {
		types = slices.AppendSeq(types, maps.Keys(f.Types))
	}
	slices.Sort(types)
	return types
}

// read panics on what is not as make generate writes it: tests read it, too.
func read() []*Family {
	var written []struct {
		Name          string            `json:"name"`
		Credentials   bool              `json:"credentials"`
		NamespaceRole string            `json:"namespaceRole"`
		TriggerTypes  []json.RawMessage `json:"triggerTypes"`
	}
	if err := json.Unmarshal(generated, &written); err != nil {
		panic(err)
	}
	all := make([]*Family, len(written))
	for i, w := range written {
		f := &Family{Name: w.Name, Credentials: w.Credentials, NamespaceRole: w.NamespaceRole, Types: map[string]*scalerv1.TriggerType{}}
		for _, text := range w.TriggerTypes {
			t := &scalerv1.TriggerType{}
			if err := protojson.Unmarshal(text, t); err != nil {
				panic(err)
			}
			f.Types[t.GetType()] = t
		}
		all[i] = f
	}
	return all
}

// Described are the families of this version, for whoever holds triggers against
// them. What they find out beyond their parameters' syntax they say themselves, where
// they are asked.
type Described struct{}

// ErrNotAsked says that no family was asked.
var ErrNotAsked = errors.New("no family is asked")

// Describe implements rules.Families.
func (Described) Describe(triggerType string) (*scalerv1.TriggerType, error) {
	if f := Of(triggerType); f != nil {
		return f.Types[triggerType], nil
	}
	return nil, federation.ErrNoDescription // said as unserved
}

// Check implements rules.Families.
func (Described) Check(context.Context, federation.Trigger) ([]string, error) {
	return nil, ErrNotAsked
}
