// Package fleet says which families there are in a cluster, how they are, and which
// the objects of the cluster need.
package fleet

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/families"
)

// State is how a family is.
type State string

// The states, the worst first.
const (
	// Unserved: no family of this version serves the type, and nobody else does.
	Unserved State = "unserved"
	// Missing: it is needed and not installed.
	Missing State = "missing"
	// Down: it is installed, and nobody of it can be asked.
	Down State = "down"
	// Degraded: some of its instances cannot be asked.
	Degraded State = "degraded"
	// Ready: all of its instances can be asked.
	Ready State = "ready"
)

var order = []State{Unserved, Missing, Down, Degraded, Ready}

// Type is a trigger type of a family.
type Type struct {
	Name string `json:"name"`
	// Triggers are those of the objects that were read.
	Triggers int `json:"triggers"`
	// Problem is why nobody can be asked.
	Problem string `json:"problem,omitempty"`
}

// Family is one that is installed or needed.
type Family struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// Needed is whether an object has a trigger of it.
	Needed bool   `json:"needed"`
	Types  []Type `json:"types"`
	// Versions are those of its instances.
	Versions  []string                      `json:"versions,omitempty"`
	Instances []federation.SurveyedInstance `json:"instances,omitempty"`
	// ToDo is what helps, where something does.
	ToDo string `json:"toDo,omitempty"`
}

// Report is what there is to say.
type Report struct {
	// Source is "controller", or "API server" where no controller tells.
	Source string `json:"source"`
	// Version is the controller's, "" where none tells.
	Version  string   `json:"version,omitempty"`
	Families []Family `json:"families"`
	// Missing is what could not be found out.
	Missing []string `json:"missing,omitempty"`
}

// Failed reports whether a family that is needed cannot be asked.
func (r *Report) Failed() bool {
	return slices.ContainsFunc(r.Families, func(f Family) bool {
		return f.Needed && f.State != Ready && f.State != Degraded
	})
}

// Facts are what there is to know.
type Facts struct {
	// Namespace is Sluice's.
	Namespace string
	// Needed counts triggers by their type.
	Needed map[string]int
	// Told is what a controller, or else the API server, tells.
	Told account.Families
	// ByController is set where it is a controller's.
	ByController bool
	// Missing is what could not be found out.
	Missing []string
}

// Of says what follows from facts.
func Of(f *Facts) *Report {
	r := &Report{Source: "API server", Missing: f.Missing, Families: []Family{}}
	if f.ByController {
		r.Source, r.Version = "controller", f.Told.Version
	}
	all := map[string]*Family{}
	family := func(name string) *Family {
		if all[name] == nil {
			all[name] = &Family{Name: name}
		}
		return all[name]
	}
	installed := map[string]bool{}
	var types []string
	for _, t := range f.Told.Types {
		installed[t.Type] = true
		types = append(types, t.Type)
		into := family(nameOf(t))
		into.Types = append(into.Types, Type{Name: t.Type, Triggers: f.Needed[t.Type], Problem: t.Problem})
		into.instances(t.Instances)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Needed)) {
		if installed[name] {
			continue
		}
		of, state := name, Unserved
		if known := families.Of(name); known != nil {
			of, state = known.Name, Missing
		}
		into := family(of)
		why := federation.Absent(name, f.Namespace, types).Error()
		into.Types = append(into.Types, Type{Name: name, Triggers: f.Needed[name], Problem: why})
		if len(into.Instances) == 0 {
			into.State = state
		}
		if into.ToDo == "" {
			into.ToDo = why
			if state == Missing {
				into.ToDo += "; with the Helm chart, set families." + of + ".enabled=true"
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		into := all[name]
		into.conclude()
		r.Families = append(r.Families, *into)
	}
	slices.SortStableFunc(r.Families, func(a, b Family) int {
		return slices.Index(order, a.State) - slices.Index(order, b.State)
	})
	return r
}

// nameOf is the family that serves a type.
func nameOf(t federation.Surveyed) string {
	if t.Family != "" {
		return t.Family
	}
	if known := families.Of(t.Type); known != nil {
		return known.Name
	}
	return t.Type // somebody's own
}

// instances adds those that are not there yet: types of one family share them.
func (f *Family) instances(all []federation.SurveyedInstance) {
	for _, i := range all {
		same := func(other federation.SurveyedInstance) bool { return other.Address == i.Address }
		if !slices.ContainsFunc(f.Instances, same) {
			f.Instances = append(f.Instances, i)
		}
		if i.Version != "" && !slices.Contains(f.Versions, i.Version) {
			f.Versions = append(f.Versions, i.Version)
		}
	}
}

// ready counts the instances that can be asked.
func (f *Family) ready() (n int) {
	for _, i := range f.Instances {
		if i.State == federation.InstanceReady || i.State == federation.InstanceLeaving {
			n++
		}
	}
	return n
}

// conclude says how the family is.
func (f *Family) conclude() {
	slices.SortFunc(f.Types, func(a, b Type) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(f.Instances, func(a, b federation.SurveyedInstance) int { return cmp.Compare(a.Address, b.Address) })
	slices.Sort(f.Versions)
	failed := false // a type that is needed
	for _, t := range f.Types {
		f.Needed = f.Needed || t.Triggers > 0
		failed = failed || t.Triggers > 0 && t.Problem != ""
		if f.ToDo == "" && t.Problem != "" {
			f.ToDo = t.Problem
		}
	}
	switch ready := f.ready(); {
	case f.State != "":
	case ready == 0:
		f.State = Down
	case failed, ready < len(f.Instances):
		f.State = Degraded
	default:
		f.State = Ready
	}
}
