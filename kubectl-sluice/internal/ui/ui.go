// Package ui serves a page on this machine that shows what Sluice scales: all
// objects, one object on a time axis, and the families. It reads with the rights of
// whoever started it, and changes nothing.
package ui

import (
	"context"
	"time"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/top"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/why"
)

// Row is one object as the page has it.
type Row struct {
	top.Row
	// Key is the object's own: <kind>/<namespace>/<name>.
	Key string `json:"key"`
	// Types are those of its triggers, and Families those that serve them.
	Types    []string `json:"types,omitempty"`
	Families []string `json:"families,omitempty"`
	// Wakes is how often it was woken since the page is served.
	Wakes int `json:"wakes"`
}

// Point is what one object had at a time. What was not known is nil.
type Point struct {
	Time     time.Time `json:"time"`
	Backlog  *float64  `json:"backlog,omitempty"`
	Target   *float64  `json:"target,omitempty"`
	Replicas *int32    `json:"replicas,omitempty"`
	Desired  *int64    `json:"desired,omitempty"`
}

// Detail is what is shown of one object.
type Detail struct {
	Row Row `json:"row"`
	// Why is what kubectl sluice why says.
	Why        *why.Report `json:"why"`
	Conditions []Condition `json:"conditions,omitempty"`
	// ColdStart is the last one in words.
	ColdStart string `json:"coldStart,omitempty"`
	// Points are the ones since the last Detail, the oldest first, and Told what the
	// controller tells of decisions, those before the page was served among them.
	Points []Point `json:"points,omitempty"`
	Told   []Point `json:"told,omitempty"`
	// Decisions are those that changed the replicas, the oldest first.
	Decisions []Decision `json:"decisions,omitempty"`
}

// Condition is one of the object's status.
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Decision is one that changed the replicas.
type Decision struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

// Family is one instance of a family.
type Family struct {
	Family string `json:"family"`
	Pod    string `json:"pod"`
	Ready  bool   `json:"ready"`
	// Problem says why nothing more is known.
	Problem string `json:"problem,omitempty"`
	// Questions are what is asked of sources, however many triggers ask it;
	// Subscriptions the triggers; Connections those that are shared.
	Questions     *float64 `json:"questions,omitempty"`
	Subscriptions *float64 `json:"subscriptions,omitempty"`
	Connections   *float64 `json:"connections,omitempty"`
	// Reads and Errors are a second, since the last look.
	Reads  *float64 `json:"reads,omitempty"`
	Errors *float64 `json:"errors,omitempty"`
	// Median and P99 are how long reads take, in seconds, since the last look.
	Median *float64 `json:"median,omitempty"`
	P99    *float64 `json:"p99,omitempty"`
	// Memory is what Go's runtime has of the system, MemoryLimit what it is to keep
	// that below, in bytes.
	Memory      *float64 `json:"memory,omitempty"`
	MemoryLimit *float64 `json:"memoryLimit,omitempty"`
}

// Sources are where the page has everything from.
type Sources struct {
	Rows *Rows
	// Object reads what is to be said of an object now.
	Object func(ctx context.Context, of why.Object) (*why.Facts, error)
	// Families reads what instances of families tell.
	Families func(ctx context.Context) ([]Family, error)
}
