// Package series keeps counters by what they are about, so that what tenants,
// families and peers may name ends with it, at the cost of its own series alone.
package series

import (
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-autoscaler/sluice/controller/kept"
)

// Counters are the series of one metric. Each belongs to a part of an owner, as
// that of a trigger belongs to it and its object, and ends with either.
type Counters[O, P comparable] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	most Bounds
	name string

	mu     sync.Mutex
	owners map[O]*owned[P]
	parts  int
	// of is how many series there are by their first label, and all of all, where
	// there is a Budget.
	of    map[string]int
	total int
	// swept is how many parts were left by the last Sweep.
	swept int
	// steps counts the series that changes went through.
	steps int
}

// Bounds are how many series there may be of one part, and of one owner. What is
// beyond is not told, but the first of each part is. Of what there is then, a scrape
// tells what the Budget has shares for, by the first label, and notes the rest in
// LeftOut; both nil for all of it.
type Bounds struct {
	Part, Owner int
	Budget      *Budget
	LeftOut     *LeftOut
}

// Unbounded is for labels of which there are few.
var Unbounded = Bounds{Part: math.MaxInt, Owner: math.MaxInt}

// owned are the series of one owner. Most have one part with one series, for each
// object there is: a map of each would take most of the room.
type owned[P comparable] struct {
	parts []part[P]
	n     int
}

// part is one part of an owner, with its series in order.
type part[P comparable] struct {
	of     P
	series []one
}

// one is a series.
type one struct {
	labels labels
	n      float64
}

// part is the index of a part, -1 for none.
func (o *owned[P]) part(of P) int {
	return slices.IndexFunc(o.parts, func(p part[P]) bool { return p.of == of })
}

// find is where a series is, or would be.
func (p *part[P]) find(series labels) (i int, there bool) {
	return slices.BinarySearchFunc(p.series, series, func(s one, l labels) int { return strings.Compare(string(s.labels), string(l)) })
}

// labels are the values of a series' labels, each with its end.
type labels string

// end is part of no text.
const end = "\xff"

func of(values []string) labels {
	var b strings.Builder
	for _, value := range values {
		b.WriteString(strings.ToValidUTF8(value, "\uFFFD"))
		b.WriteString(end)
	}
	return labels(b.String())
}

func (l labels) values() []string {
	values := strings.Split(string(l), end)
	return values[:len(values)-1]
}

func (l labels) first() string {
	first, _, _ := strings.Cut(string(l), end)
	return first
}

// New returns counters to be registered.
func New[O, P comparable](most Bounds, name, help string, labels ...string) *Counters[O, P] {
	return &Counters[O, P]{
		desc: prometheus.NewDesc(name, help, labels, nil), kind: prometheus.CounterValue, most: most, name: name, owners: map[O]*owned[P]{},
	}
}

// NewGauges returns what is Set instead of counted.
func NewGauges[O, P comparable](most Bounds, name, help string, labels ...string) *Counters[O, P] {
	c := New[O, P](most, name, help, labels...)
	c.kind = prometheus.GaugeValue
	return c
}

// Add adds n to a series of a part; 0 makes it appear.
func (c *Counters[O, P]) Add(owner O, part P, n float64, values ...string) {
	c.change(owner, part, values, func(before float64) float64 { return before + n })
}

// Set has a series of a part say n.
func (c *Counters[O, P]) Set(owner O, part P, n float64, values ...string) {
	c.change(owner, part, values, func(float64) float64 { return n })
}

func (c *Counters[O, P]) change(owner O, name P, values []string, to func(before float64) float64) {
	series := of(values)
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.owners[owner]
	if o == nil {
		o = &owned[P]{}
		c.owners[owner] = o
	}
	at := o.part(name)
	if at < 0 {
		at = len(o.parts)
		o.parts = append(o.parts, part[P]{of: name})
		c.parts++
	}
	c.steps++
	p := &o.parts[at]
	i, there := p.find(series)
	if !there {
		if len(p.series) > 0 && (len(p.series) >= c.most.Part || o.n >= c.most.Owner || !c.room(series.first())) {
			return
		}
		o.n++
		c.count(series, 1)
		p.series = slices.Insert(p.series, i, one{labels: series})
	}
	p.series[i].n = to(p.series[i].n)
}

// beyond is how many times what a scrape tells there may be: what it leaves out is
// told of as well.
const beyond = 2

// room reports whether there is room for one more series by its first label: no
// more than twice as many as it leaves to others; c.mu is held.
func (c *Counters[O, P]) room(first string) bool {
	if c.most.Budget == nil {
		return true
	}
	return c.of[first] < beyond*c.most.Budget.OfOne && kept.Left(beyond*c.most.Budget.InAll, c.total, c.of[first]) >= 1
}

// count counts a series that came or went; c.mu is held.
func (c *Counters[O, P]) count(series labels, n int) {
	if c.most.Budget == nil {
		return
	}
	if c.of == nil {
		c.of = map[string]int{}
	}
	first := strings.Clone(series.first())
	c.total += n
	if c.of[first] += n; c.of[first] == 0 {
		delete(c.of, first)
	}
}

// uncount counts a part that goes; c.mu is held.
func (c *Counters[O, P]) uncount(p part[P]) {
	for _, s := range p.series {
		c.count(s.labels, -1)
	}
}

// Keep ends the series of a part other than these.
func (c *Counters[O, P]) Keep(owner O, name P, all ...[]string) {
	kept := make([]labels, len(all))
	for i, values := range all {
		kept[i] = of(values)
	}
	slices.Sort(kept)
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.owners[owner]
	if o == nil {
		return
	}
	at := o.part(name)
	if at < 0 {
		return
	}
	p := &o.parts[at]
	p.series = slices.DeleteFunc(p.series, func(s one) bool {
		c.steps++
		if _, stays := slices.BinarySearch(kept, s.labels); stays {
			return false
		}
		o.n--
		c.count(s.labels, -1)
		return true
	})
	if len(p.series) == 0 {
		c.drop(owner, name)
	}
}

// ForgetPart ends the series of a part.
func (c *Counters[O, P]) ForgetPart(owner O, name P) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(owner, name)
}

// drop is ForgetPart; c.mu is held.
func (c *Counters[O, P]) drop(owner O, name P) {
	o := c.owners[owner]
	if o == nil {
		return
	}
	c.steps++
	if at := o.part(name); at >= 0 {
		o.n -= len(o.parts[at].series)
		c.uncount(o.parts[at])
		o.parts = slices.Delete(o.parts, at, at+1)
		c.parts--
	}
	if len(o.parts) == 0 {
		delete(c.owners, owner)
	}
}

// Forget ends the series of an owner.
func (c *Counters[O, P]) Forget(owner O) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps++
	if o := c.owners[owner]; o != nil {
		c.parts -= len(o.parts)
		for _, p := range o.parts {
			c.uncount(p)
		}
		delete(c.owners, owner)
	}
}

// Reset ends all series.
func (c *Counters[O, P]) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.owners)
	clear(c.of)
	c.parts, c.swept, c.total = 0, 0, 0
}

// fewParts are never too many.
const fewParts = 1000

// Grown reports whether there are so many more parts than the last Sweep left
// that another one is due, also where nobody scrapes.
func (c *Counters[O, P]) Grown() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.parts > max(2*c.swept, fewParts)
}

// Sweep ends the series of parts that are gone. No lock is held meanwhile.
func (c *Counters[O, P]) Sweep(gone func(O, P) bool) {
	for owner := range c.all() {
		c.mu.Lock()
		var parts []P
		if o := c.owners[owner]; o != nil {
			for _, p := range o.parts {
				parts = append(parts, p.of)
			}
		}
		c.mu.Unlock()
		for _, name := range parts {
			if gone(owner, name) {
				c.ForgetPart(owner, name)
			}
		}
	}
	c.mu.Lock()
	c.swept = c.parts
	c.mu.Unlock()
}

// all are the owners of now.
func (c *Counters[O, P]) all() iter.Seq[O] {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Values(slices.Collect(maps.Keys(c.owners)))
}

// Of is what a series has of an owner's part. It is for tests.
func (c *Counters[O, P]) Of(owner O, name P, values ...string) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.owners[owner]; o != nil {
		if at := o.part(name); at >= 0 {
			if i, there := o.parts[at].find(of(values)); there {
				return o.parts[at].series[i].n
			}
		}
	}
	return 0
}

// Describe implements prometheus.Collector.
func (c *Counters[O, P]) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector. Whoever counts waits for one owner at
// most. What several owners call the same is one series, with the sum.
func (c *Counters[O, P]) Collect(ch chan<- prometheus.Metric) {
	sums := map[labels]float64{}
	for owner := range c.all() {
		c.mu.Lock()
		if o := c.owners[owner]; o != nil {
			for _, p := range o.parts {
				for _, s := range p.series {
					sums[s.labels] += s.n
				}
			}
		}
		c.mu.Unlock()
	}
	for _, series := range c.shared(sums) {
		ch <- prometheus.MustNewConstMetric(c.desc, c.kind, sums[series], series.values()...)
	}
}

// shared are the series of a scrape that there are shares for.
func (c *Counters[O, P]) shared(sums map[labels]float64) []labels {
	all := slices.Collect(maps.Keys(sums))
	if c.most.Budget == nil {
		return all
	}
	wanted := map[string]int{}
	for _, series := range all {
		wanted[series.first()]++
	}
	left := c.most.Budget.Shares(wanted)
	c.most.LeftOut.Note(c.name, wanted, left)
	slices.Sort(all) // the same at each scrape
	return slices.DeleteFunc(all, func(series labels) bool {
		left[series.first()]--
		return left[series.first()] < 0
	})
}
