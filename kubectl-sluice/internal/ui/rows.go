package ui

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/coldstart"
)

const (
	// mostGone is how many objects that are gone are remembered, mostPoints how
	// many points of each object, and mostOfAll of all together: of very many
	// objects each has fewer, and fewestPoints in any case.
	mostGone     = 10_000
	mostPoints   = 240
	mostOfAll    = 500_000
	fewestPoints = 5
	// longestProblem is how much of one a row has, in bytes: an object has all of it.
	longestProblem = 500
)

// Rows are all objects as they are now, and what they were. It is safe for
// concurrent use.
type Rows struct {
	mu      sync.Mutex
	version uint64
	rows    map[string]*entry
	gone    []departure
	// forgotten is the version of the last departure that is not remembered.
	forgotten uint64
	trouble   map[string]string
	complete  bool
	cold      map[[2]string]*account.ColdStart // of ScaledObjects, nil until somebody tells
	changed   chan struct{}                    // closed at the next change
}

type entry struct {
	row     Row
	version uint64
	points  []Point // the oldest first
}

type departure struct {
	key     string
	version uint64
}

// Changes are what became of the rows since a version.
type Changes struct {
	// Reset is set where all rows are told, and what else there was is gone.
	Reset bool     `json:"reset,omitempty"`
	Rows  []Row    `json:"rows,omitempty"`
	Gone  []string `json:"gone,omitempty"`
	// Trouble says what could not be read, by what it is; Complete is set once
	// everything was read that can be.
	Trouble  map[string]string `json:"trouble,omitempty"`
	Complete bool              `json:"complete"`
}

// NewRows returns none.
func NewRows() *Rows {
	return &Rows{rows: map[string]*entry{}, trouble: map[string]string{}, changed: make(chan struct{})}
}

// Set takes in a row, and what it has at a time.
func (r *Rows) Set(row Row, at Point) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(row.Problem) > longestProblem {
		row.Problem = strings.ToValidUTF8(row.Problem[:longestProblem], "") + "..."
	}
	row.ColdStart = r.measured(row)
	e := r.rows[row.Key]
	if e == nil {
		e = &entry{}
		r.rows[row.Key] = e
	} else if row.Wakes = e.row.Wakes; e.row.State == "idle" && row.State == "active" {
		row.Wakes++
	}
	e.row, e.version = row, r.next()
	if n := len(e.points); n > 0 && alike(e.points[n-1], at) {
		return
	}
	e.points = append(e.points, at)
	if most := min(mostPoints, max(mostOfAll/len(r.rows), fewestPoints)); len(e.points) > most {
		e.points = slices.Clone(e.points[len(e.points)-most:])
	}
}

// measured is a row's last cold start with what a controller tells.
func (r *Rows) measured(row Row) *coldstart.Last {
	if row.ColdStart == nil || r.cold == nil {
		return row.ColdStart
	}
	last := row.ColdStart.With(r.cold[[2]string{row.Namespace, row.Name}])
	return &last
}

// Measured takes in what a controller tells of cold starts.
func (r *Rows) Measured(told *account.ColdStarts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cold = make(map[[2]string]*account.ColdStart, len(told.Objects))
	for i := range told.Objects {
		o := &told.Objects[i]
		r.cold[[2]string{o.Namespace, o.Name}] = &o.ColdStart
	}
	for _, e := range r.rows {
		before := e.row.ColdStart
		if e.row.ColdStart = r.measured(e.row); before != nil && (before.Outcome != e.row.ColdStart.Outcome || !before.Ready.Equal(e.row.ColdStart.Ready)) {
			e.version = r.next()
		}
	}
}

func alike(a, b Point) bool {
	return equal(a.Backlog, b.Backlog) && equal(a.Target, b.Target) && equal(a.Replicas, b.Replicas) && equal(a.Desired, b.Desired)
}

func equal[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// Delete forgets a row.
func (r *Rows) Delete(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rows[key] == nil {
		return
	}
	delete(r.rows, key)
	r.gone = append(r.gone, departure{key, r.next()})
	if more := len(r.gone) - mostGone; more > 0 {
		r.forgotten = r.gone[more-1].version
		r.gone = slices.Clone(r.gone[more:])
	}
}

// Trouble says what could not be read, and why; "" that it can be.
func (r *Rows) Trouble(what, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trouble[what] == why {
		return
	}
	if why == "" {
		delete(r.trouble, what)
	} else {
		r.trouble[what] = why
	}
	r.next()
}

// Complete says that everything was read once.
func (r *Rows) Complete() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.complete = true
	r.next()
}

// next is the next version, which whoever waits is told of.
func (r *Rows) next() uint64 {
	r.version++
	close(r.changed)
	r.changed = make(chan struct{})
	return r.version
}

// Since returns what changed after a version, of 0 everything, the version that it
// leads to, and what is closed when there is more.
func (r *Rows) Since(version uint64) (Changes, uint64, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := Changes{Reset: version == 0 || version < r.forgotten, Trouble: maps.Clone(r.trouble), Complete: r.complete}
	for _, e := range r.rows {
		if c.Reset || e.version > version {
			c.Rows = append(c.Rows, e.row)
		}
	}
	if !c.Reset {
		for _, d := range slices.Backward(r.gone) {
			if d.version <= version {
				break
			}
			if r.rows[d.key] == nil {
				c.Gone = append(c.Gone, d.key)
			}
		}
	}
	return c, r.version, r.changed
}

// Points returns a row and its points after a time.
func (r *Rows) Points(key string, after time.Time) (row Row, points []Point, there bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.rows[key]
	if e == nil {
		return Row{}, nil, false
	}
	for i, p := range e.points {
		if p.Time.After(after) {
			return e.row, slices.Clone(e.points[i:]), true
		}
	}
	return e.row, nil, true
}
