// Package account is what a controller tells of one object: what it decided last
// and before, and how that came about.
//
// The controller that leads serves an Account as JSON, at Path of its metrics port,
// for kubectl port-forward alone.
package account

import (
	"slices"
	"time"

	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

const (
	// Path is where a controller serves the Account of the object that the
	// parameters kind (ScaledObject, which is the default, or ScaledJob), namespace
	// and name are of.
	Path = "/decisions"
	// LeaderHeader names the controller that leads, in the answer of another.
	LeaderHeader = "Sluice-Leader"
)

// The kinds of objects.
const (
	ScaledObject = "ScaledObject"
	ScaledJob    = "ScaledJob"
)

// Account is what a controller tells of one object.
type Account struct {
	// Now is when it was told, on the controller's clock, as all times are.
	Now time.Time `json:"now,omitzero"`
	// Last is the latest decision, whether or not it changed anything. All came to
	// the same since Since, so many Times.
	Last  scaling.Explanation `json:"last"`
	Since time.Time           `json:"since,omitzero"`
	Times int                 `json:"times,omitempty"`
	// Earlier are those before, the latest first, as far as there is room.
	Earlier []Decision `json:"earlier,omitempty"`
	// Changes are the last ones that changed the replicas of a ScaledObject, the
	// latest first, those of controllers before this one included.
	Changes []v1alpha1.Decision `json:"changes,omitempty"`
	// ColdStart is the last time that work found no replica.
	ColdStart *ColdStart `json:"coldStart,omitempty"`
}

// ColdStart is what work waited for that arrived while there was no replica.
type ColdStart struct {
	// Arrived is when the work did, by its source's own clock where Told says so,
	// and else when it was read.
	Arrived time.Time `json:"arrived"`
	Told    bool      `json:"told"`
	// Written is when replicas were, Ready when the first one was ready.
	Written time.Time `json:"written"`
	Ready   time.Time `json:"ready"`
	// Seconds are those from Arrived to Ready.
	Seconds float64 `json:"seconds"`
}

// Decision stands for decisions in a row that came to the same.
type Decision struct {
	Since time.Time `json:"since"`
	Times int       `json:"times"`
	// Last is the latest of them.
	Last scaling.Explanation `json:"last"`
}

// mostEarlier is how many decisions are told beside the last.
const mostEarlier = 20

// History are the decisions about one object. It does not change: With returns the
// next one.
type History struct {
	last    Decision
	earlier *earlier
}

// earlier is what the budget counts, nil for nothing.
type earlier struct{ decisions []Decision }

// Room is where earlier decisions about an object may be kept: name is its own
// among all that Budget counts in its namespace. Without a Budget there is none.
type Room struct {
	Budget          *kept.Budget
	Namespace, Name string
}

// With is the history after one more decision. What there is no room for is
// forgotten, the oldest first.
func (h History) With(e scaling.Explanation, room Room) History {
	switch {
	case h.last.Times == 0:
		h.last = Decision{Since: e.Time, Times: 1, Last: e}
		return h
	case same(h.last.Last, e):
		h.last.Times++
		h.last.Last = e
		return h
	}
	all := []Decision{h.last}
	if h.earlier != nil {
		all = append(all, h.earlier.decisions[:min(len(h.earlier.decisions), mostEarlier-1)]...)
	}
	return History{last: Decision{Since: e.Time, Times: 1, Last: e}, earlier: room.keep(all)}
}

// keep keeps as many of the decisions as there is room for.
func (r Room) keep(all []Decision) *earlier {
	for ; r.Budget != nil && len(all) > 0; all = all[:len(all)/2] {
		some := &earlier{slices.Clone(all)}
		if kept.Hold(r.Budget, some, r.Namespace, r.Name, kept.Size(some)) == nil {
			return some
		}
	}
	return nil
}

// Tell is what there is to tell, false while nothing was decided.
func (h History) Tell() (Account, bool) {
	if h.last.Times == 0 {
		return Account{}, false
	}
	a := Account{Last: h.last.Last, Since: h.last.Since, Times: h.last.Times}
	if h.earlier != nil {
		a.Earlier = slices.Clone(h.earlier.decisions)
	}
	return a, true
}

// same reports whether two decisions in a row came to the same: neither changed
// anything, and all but the numbers that were read is as it was.
func same(a, b scaling.Explanation) bool {
	return a.Write == nil && b.Write == nil && a.Create == 0 && b.Create == 0 &&
		ptr.Equal(a.Replicas, b.Replicas) && a.Next == b.Next && slices.Equal(a.Limits, b.Limits) &&
		slices.EqualFunc(a.Metrics, b.Metrics, sameMetric) &&
		(a.Formula == nil) == (b.Formula == nil) && (a.Formula == nil || a.Formula.Active == b.Formula.Active)
}

func sameMetric(a, b scaling.ExplainedMetric) bool {
	return a.Name == b.Name && a.Outcome == b.Outcome && a.Active == b.Active && a.Fallback == b.Fallback && a.Error == b.Error
}
