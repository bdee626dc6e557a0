package series

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
)

func counters(most Bounds) *Counters[string, int] {
	return New[string, int](most, "things_total", "Things.", "owner", "part", "name")
}

// told are the series of a scrape.
func told(t testing.TB, c prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		if family.GetType() != dto.MetricType_COUNTER {
			t.Errorf("%s is a %s", family.GetName(), family.GetType())
		}
		for _, m := range family.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() { // in order of their names
				values = append(values, l.GetValue())
			}
			all[strings.Join(values, " ")] = m.GetCounter().GetValue()
		}
	}
	return all
}

// TestWhatIsToldIsWhatThereIs does all that can be done, in any order, and
// compares with a table that is gone through from end to end.
func TestWhatIsToldIsWhatThereIs(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		c := counters(Unbounded)
		type row struct {
			owner string
			part  int
			name  string
		}
		table := map[row]float64{}
		end := func(gone func(row) bool) { maps.DeleteFunc(table, func(one row, _ float64) bool { return gone(one) }) }
		for range 200 {
			owner, part, name := fmt.Sprint("o", r.IntN(3)), r.IntN(3), fmt.Sprint("n", r.IntN(4))
			switch r.IntN(8) {
			case 0:
				kept := [][]string{{owner, fmt.Sprint(part), name}, {owner, fmt.Sprint(part), "n0"}}
				c.Keep(owner, part, kept...)
				end(func(one row) bool {
					return one.owner == owner && one.part == part && one.name != name && one.name != "n0"
				})
			case 1:
				c.ForgetPart(owner, part)
				end(func(one row) bool { return one.owner == owner && one.part == part })
			case 2:
				if r.IntN(4) == 0 {
					c.Forget(owner)
					end(func(one row) bool { return one.owner == owner })
				}
			case 3:
				gone := func(_ string, p int) bool { return p == part }
				if r.IntN(4) == 0 {
					c.Sweep(gone)
					end(func(one row) bool { return one.part == part })
				}
			default:
				n := float64(r.IntN(3))
				c.Add(owner, part, n, owner, fmt.Sprint(part), name)
				table[row{owner, part, name}] += n
			}
		}
		want := map[string]float64{}
		parts := map[string]bool{}
		for one, n := range table {
			want[fmt.Sprint(one.name, " ", one.owner, " ", one.part)] = n
			parts[fmt.Sprint(one.owner, one.part)] = true
		}
		if got := told(t, c); !maps.Equal(got, want) {
			t.Fatalf("seed %d: %v, want %v", seed, got, want)
		}
		if c.parts != len(parts) {
			t.Fatalf("seed %d: %d parts are counted, there are %d", seed, c.parts, len(parts))
		}
	}
}

// TestAChangeCostsItsOwnSeries has 10,000 owners with 10 series each, as many as
// objects in a large cluster.
func TestAChangeCostsItsOwnSeries(t *testing.T) {
	c := crowded(10_000)
	for what, change := range map[string]func(owner string){
		"renamed":          func(owner string) { c.Keep(owner, 0, []string{owner, "0", "another"}) },
		"a trigger went":   func(owner string) { c.ForgetPart(owner, 1) },
		"the object went":  func(owner string) { c.Forget(owner) },
		"one that is none": func(owner string) { c.Forget(owner + "?") },
	} {
		for i := range 100 {
			c.steps = 0
			if change(fmt.Sprint("o", i)); c.steps > 10 {
				t.Fatalf("%s: %d series were gone through", what, c.steps)
			}
		}
	}
	c.steps = 0
	for i := range 10_000 {
		c.Forget(fmt.Sprint("o", i))
	}
	if c.steps > 10_000 || len(told(t, c)) > 0 || len(c.owners) > 0 || c.parts != 0 {
		t.Errorf("%d steps to forget all, and %d parts are left", c.steps, c.parts)
	}
}

func crowded(owners int) *Counters[string, int] {
	c := counters(Unbounded)
	for i := range owners {
		owner := fmt.Sprint("o", i)
		for n := range 10 {
			c.Add(owner, n/5, 1, owner, fmt.Sprint(n/5), fmt.Sprint("n", n))
		}
	}
	return c
}

// BenchmarkForget is the same with few and with many others.
func BenchmarkForget(b *testing.B) {
	for _, owners := range []int{100, 10_000} {
		b.Run(fmt.Sprint(owners, " owners"), func(b *testing.B) {
			c := crowded(owners)
			for b.Loop() {
				for n := range 10 {
					c.Add("mine", n/5, 1, "mine", "0", fmt.Sprint("n", n))
				}
				c.Forget("mine")
			}
		})
	}
}

func TestBounds(t *testing.T) {
	c := counters(Bounds{Part: 3, Owner: 5})
	for part := range 4 {
		for n := range 100 {
			c.Add("o", part, 1, "o", fmt.Sprint(part), fmt.Sprint(n))
		}
	}
	count := func(want ...string) {
		t.Helper()
		if got := slices.Sorted(maps.Keys(told(t, c))); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	// Three of the first, two of the next, and one of each beyond that.
	count("0 o 0", "0 o 1", "0 o 2", "0 o 3", "1 o 0", "1 o 1", "2 o 0")
	c.Add("o", 3, 1, "o", "3", "0")
	if n := c.Of("o", 3, "o", "3", "0"); n != 2 {
		t.Errorf("one that there is has %v", n)
	}
	c.ForgetPart("o", 0) // and there is room
	c.Add("o", 3, 1, "o", "3", "1")
	count("0 o 1", "0 o 2", "0 o 3", "1 o 1", "1 o 3")
}

// What is no text must not take the scrape with it, nor what two owners call the
// same.
func TestAnyLabelCanBeTold(t *testing.T) {
	c := counters(Unbounded)
	c.Add("a", 0, 1, "x", "", "\xff\xfe")
	c.Add("b", 0, 2, "x", "", "\uFFFD")
	c.Add("b", 0, 4, "", "x", "")
	if got, want := told(t, c), map[string]float64{"\uFFFD x ": 3, "  x": 4}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestSweepIsDueWhereNobodyScrapes has owners that come and go without a word.
func TestSweepIsDueWhereNobodyScrapes(t *testing.T) {
	c := counters(Unbounded)
	most := 0
	for i := range 20_000 {
		owner := fmt.Sprint("o", i)
		c.Add(owner, 0, 1, owner, "0", "n")
		if c.Grown() {
			c.Sweep(func(o string, _ int) bool { return o != owner })
		}
		most = max(most, c.parts)
	}
	if most > fewParts+1 {
		t.Errorf("%d parts of owners that are gone", most)
	}
	c.Reset()
	if n := len(told(t, c)); n != 0 || c.parts != 0 {
		t.Errorf("%d series after all were dropped", n)
	}
}

func TestScrapesWhileAllChanges(t *testing.T) {
	c := counters(Unbounded)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			owner := fmt.Sprint("o", worker%2)
			for i := range 500 {
				c.Add(owner, i%3, 1, owner, fmt.Sprint(i%3), fmt.Sprint(i%5))
				c.Keep(owner, i%3, []string{owner, fmt.Sprint(i % 3), "1"})
				if i%100 == 0 {
					c.Forget(owner)
				}
			}
		})
	}
	for range 20 {
		told(t, c)
		c.Sweep(func(string, int) bool { return false })
	}
	all.Wait()
}

// A namespace with very many series has its share of a scrape, the same each time;
// those with few have all of theirs.
func TestSharesOfAScrape(t *testing.T) {
	b := Budget{OfOne: 100, InAll: 150}
	for _, tt := range []struct{ wanted, want map[string]int }{
		{map[string]int{"a": 100, "b": 50}, map[string]int{"a": 100, "b": 50}},
		{map[string]int{"flood": 5000, "shop": 10}, map[string]int{"flood": 100, "shop": 10}},
		{map[string]int{"flood": 5000, "other": 4000, "shop": 10}, map[string]int{"flood": 70, "other": 70, "shop": 10}},
		{map[string]int{}, map[string]int{}},
	} {
		if got := b.Shares(tt.wanted); !maps.Equal(got, tt.want) {
			t.Errorf("of %v there are %v, want %v", tt.wanted, got, tt.want)
		}
	}
}

// Series of counters that are too many are left out, and it is told whose.
func TestCountersHaveSharesOfAScrape(t *testing.T) {
	out := NewLeftOut("left_out", "", slog.New(slog.DiscardHandler))
	c := counters(Bounds{Part: 10_000, Owner: 10_000, Budget: &Budget{OfOne: 100, InAll: 1000}, LeftOut: out})
	for i := range 500 {
		c.Add("flood", i, 1, "flood", fmt.Sprint(i), "x")
	}
	c.Add("shop", 0, 1, "shop", "0", "x")
	first := told(t, c)
	if len(first) != 101 || !maps.Equal(first, told(t, c)) {
		t.Errorf("%d series are told, or others than before", len(first))
	}
	if first["shop 0 x"] == 0 && first["x shop 0"] == 0 && first["x 0 shop"] == 0 {
		t.Error("a namespace with one series is not told of")
	}
	want := "# HELP left_out \n# TYPE left_out gauge\nleft_out{namespace=\"flood\"} 400\n"
	if err := testutil.CollectAndCompare(out, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	c.Forget("flood")
	told(t, c)
	if n := testutil.CollectAndCount(out); n != 0 {
		t.Errorf("%d namespaces are told of after the series went", n)
	}
}

// Series that no scrape has room for are not kept, but as many as are told of; each
// part has one, and a namespace with few has all of its own.
func TestSeriesWithoutRoomAreNotKept(t *testing.T) {
	c := counters(Bounds{Part: 10_000, Owner: 10_000, Budget: &Budget{OfOne: 100, InAll: 1000}})
	for i := range 5000 {
		c.Add("flood", 0, 1, "flood", fmt.Sprint(i), "x")
		c.Add(fmt.Sprint("flood-", i%50), 0, 1, fmt.Sprint("flood-", i%50), fmt.Sprint(i), "x")
	}
	c.Add("flood", 1, 1, "flood", "first of another part", "x")
	c.Add("shop", 0, 1, "shop", "0", "x")
	c.Add("shop", 0, 1, "shop", "1", "x")
	if n := c.of["flood"]; n != 201 {
		t.Errorf("%d series of a namespace are kept", n)
	}
	if c.total > 2000 || c.of["shop"] != 2 {
		t.Errorf("%d series are kept in all, %d of one that has two", c.total, c.of["shop"])
	}
	c.Keep("shop", 0, []string{"shop", "1", "x"})
	if c.of["shop"] != 1 {
		t.Errorf("%d are counted of one", c.of["shop"])
	}
	c.ForgetPart("shop", 0)
	for owner := range c.all() {
		c.Forget(owner)
	}
	if c.total != 0 || len(c.of) != 0 {
		t.Errorf("%d are counted of none", c.total)
	}
}
