// Package plan replays recorded values of a ScaledObject through its spec and
// another one, on a virtual clock: what the controller decides, by its own code,
// and what the HPA makes of it in between.
package plan

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// What a recording may have: far more than a month of a busy object.
const (
	mostBytes  = 64 << 20
	mostPoints = 1_000_000
	mostSeries = 1_000
	// longest is how long it may be.
	longest = 31 * 24 * time.Hour
)

// Point is what a series was at a moment, and until the next one.
type Point struct {
	At time.Time
	// Outcome is a value, no data or an error.
	Outcome scaling.Outcome
	Value   float64
}

// Recording is what was recorded of an object.
type Recording struct {
	// From is where it comes from, for people.
	From string
	// Series by the name that the recording gives the trigger: its index, its
	// name, a metric's name, or "" where it names none.
	Series map[string][]Point
	// Replicas of the target, where they were recorded, too.
	Replicas []Point
}

// Points is how many there are.
func (r *Recording) Points() (n int) {
	for _, points := range r.Series {
		n += len(points)
	}
	return n
}

// span is from the first point to the last.
func (r *Recording) span() (first, last time.Time) {
	for _, points := range r.Series {
		if first.IsZero() || points[0].At.Before(first) {
			first = points[0].At
		}
		if at := points[len(points)-1].At; at.After(last) {
			last = at
		}
	}
	return first, last
}

// problems are all that is wrong with something, told at once and up to a number.
type problems struct {
	all  []error
	more int
}

const mostProblems = 20

func (p *problems) add(format string, args ...any) {
	if len(p.all) == mostProblems {
		p.more++
		return
	}
	p.all = append(p.all, fmt.Errorf(format, args...))
}

// err is nil without any.
func (p *problems) err() error {
	all := p.all
	if p.more > 0 {
		all = append(slices.Clone(all), fmt.Errorf("and %d more", p.more))
	}
	return errors.Join(all...)
}

// replicasSeries is what a recording calls the replicas of the target.
const replicasSeries = "replicas"

// ReadCSV reads rows of time, trigger and value, in columns that the first row
// names. A value is a number, nothing where the source had no data, or error.
func ReadCSV(name string, from io.Reader) (*Recording, error) {
	return readCSV(name, from, mostBytes, mostPoints)
}

// readCSV reads so many bytes and rows at most.
func readCSV(name string, from io.Reader, bytes int64, most int) (*Recording, error) {
	limited := &io.LimitedReader{R: from, N: bytes + 1}
	rows := csv.NewReader(limited)
	rows.FieldsPerRecord, rows.ReuseRecord, rows.TrimLeadingSpace = -1, true, true
	head, err := rows.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s: is empty; it has columns time, trigger and value, named by its first row", name)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	in := reading{name: name, Recording: Recording{From: name, Series: map[string][]Point{}}, rows: map[string]int{}}
	if err := in.columns(head); err != nil {
		return nil, err
	}
	points := 0
	for {
		fields, err := rows.Read()
		if limited.N == 0 {
			return nil, fmt.Errorf("%s: has more than %d KiB; replay a shorter time", name, bytes>>10)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if points++; points > most {
			return nil, fmt.Errorf("%s: has more than %d values; replay a shorter time", name, most)
		}
		line, _ := rows.FieldPos(0)
		in.row(line, fields)
	}
	return in.finish()
}

// reading is a table that is being read.
type reading struct {
	Recording
	problems
	name                 string
	time, trigger, value int
	rows                 map[string]int // of each series' last
}

func (r *reading) columns(head []string) error {
	at := map[string]int{}
	for i, column := range head {
		at[strings.ToLower(strings.TrimSpace(strings.TrimPrefix(column, "\ufeff")))] = i
	}
	find := func(column string, needed bool) int {
		i, ok := at[column]
		if !ok && needed {
			r.add("%s, row 1: names no column %s", r.name, column)
		}
		if !ok {
			return -1
		}
		return i
	}
	r.time, r.trigger, r.value = find("time", true), find("trigger", false), find("value", true)
	return r.err()
}

func (r *reading) row(line int, fields []string) {
	field := func(i int) string {
		if i < 0 || i >= len(fields) {
			return ""
		}
		return strings.TrimSpace(fields[i])
	}
	at, err := moment(field(r.time))
	if err != nil {
		r.add("%s, row %d, time: %v", r.name, line, err)
	}
	p, valueErr := point(field(r.value))
	if valueErr != nil {
		r.add("%s, row %d, value: %v", r.name, line, valueErr)
	}
	if err != nil || valueErr != nil {
		return
	}
	p.At = at
	series := strings.Clone(field(r.trigger))
	if series == replicasSeries {
		r.Replicas = append(r.Replicas, p)
		return
	}
	if r.Series[series] == nil && len(r.Series) == mostSeries {
		r.add("%s, row %d, trigger: more than %d different ones", r.name, line, mostSeries)
		return
	}
	r.Series[series] = append(r.Series[series], p)
}

// moment reads a time: RFC 3339, or seconds since 1970.
func moment(text string) (time.Time, error) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if !(seconds > 0 && seconds < 1e11) {
			return time.Time{}, fmt.Errorf("%q is no number of seconds since 1970; milliseconds are divided by 1000", text)
		}
		whole, part := math.Modf(seconds)
		return time.Unix(int64(whole), int64(part*1e3)*1e6).UTC(), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("%q is neither a time such as 2026-05-04T12:00:00Z nor seconds since 1970", text)
	}
	return at.UTC(), nil
}

// errorValue stands for a source that could not be read.
const errorValue = "error"

func point(text string) (Point, error) {
	switch strings.ToLower(text) {
	case "":
		return Point{Outcome: scaling.NoData}, nil
	case errorValue:
		return Point{Outcome: scaling.Failed}, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return Point{}, fmt.Errorf("%q is neither a number, nor empty for no data, nor %s", text, errorValue)
	}
	return Point{Outcome: scaling.Value, Value: v}, nil
}

// finish sorts what was read and says what is wrong with it.
func (r *reading) finish() (*Recording, error) {
	slices.SortStableFunc(r.Replicas, byTime)
	for series, points := range r.Series {
		slices.SortStableFunc(points, byTime)
		for i := range points[1:] {
			if points[i].At.Equal(points[i+1].At) {
				r.add("%s: trigger %q has two values of %s", r.name, series, points[i].At.Format(time.RFC3339))
			}
		}
	}
	if len(r.Series) == 0 && r.err() == nil {
		r.add("%s: has no values", r.name)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return &r.Recording, r.check()
}

func byTime(a, b Point) int { return a.At.Compare(b.At) }

// check refuses what cannot be replayed.
func (r *Recording) check() error {
	first, last := r.span()
	switch took := last.Sub(first); {
	case took <= 0:
		return fmt.Errorf("%s: has values of one moment alone", r.From)
	case took > longest:
		return fmt.Errorf("%s: is of %s, more than the %s that can be replayed", r.From, took, longest)
	}
	return nil
}
