package federation

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
)

// Surveyed is what there is to know of a trigger type that has a Service.
type Surveyed struct {
	Type string `json:"type"`
	// Family is its name, "" while it did not describe itself, as third parties
	// may never.
	Family string `json:"family,omitempty"`
	// Triggers are those that ask for it.
	Triggers int `json:"triggers"`
	// Problem is why nobody can be asked, "" where somebody can.
	Problem   string             `json:"problem,omitempty"`
	Instances []SurveyedInstance `json:"instances,omitempty"`
}

// SurveyedInstance is one process of a family.
type SurveyedInstance struct {
	Address string `json:"address"`
	// Version is what it says of itself.
	Version string `json:"version,omitempty"`
	// State is starting, ready, leaving or down, and Reason why it is down.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}

// The states of an instance.
const (
	InstanceStarting = "starting"
	InstanceReady    = "ready"
	InstanceLeaving  = "leaving"
	InstanceDown     = "down"
)

// longestVersion is how much of a version is told, in bytes.
const longestVersion = 64

// Survey returns what is known of all types that have a Service, by their names.
func (f *Federation) Survey() []Surveyed {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Surveyed, 0, len(f.installed.types))
	for _, name := range f.installed.types {
		s := f.services[name]
		told := Surveyed{Type: name, Triggers: len(s.subs), Family: s.family.GetFamily()}
		if err := f.unreachable(s); err != nil {
			told.Problem = externalscaler.Message(err.Error())
		}
		for _, i := range s.instances {
			told.Instances = append(told.Instances, i.surveyed())
		}
		slices.SortFunc(told.Instances, func(a, b SurveyedInstance) int {
			return cmp.Or(strings.Compare(a.Address, b.Address), strings.Compare(a.State, b.State))
		})
		all = append(all, told)
	}
	return all
}

// surveyed is what is known of one; the Federation's lock is held.
func (i *instance) surveyed() SurveyedInstance {
	told := SurveyedInstance{Address: i.address, Version: i.description.GetVersion(), Reason: externalscaler.Message(i.reason)}
	if len(told.Version) > longestVersion {
		told.Version = strings.ToValidUTF8(told.Version[:longestVersion], "") + "..."
	}
	switch {
	case i.readiness == down:
		told.State = InstanceDown
	case i.readiness == starting:
		told.State = InstanceStarting
	case i.leaving():
		told.State = InstanceLeaving
	default:
		told.State = InstanceReady
	}
	return told
}
