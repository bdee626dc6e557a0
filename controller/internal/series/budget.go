package series

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Budget is how many series there may be in one scrape: of one namespace, and in
// all. A scrape makes some KiB of each before it answers.
type Budget struct{ OfOne, InAll int }

// Shares are how many of the series that each namespace wants it has. Who wants
// few has all of them.
func (b Budget) Shares(wanted map[string]int) map[string]int {
	shares := make(map[string]int, len(wanted))
	left := b.InAll
	fewest := slices.SortedFunc(maps.Keys(wanted), func(x, y string) int {
		return cmp.Or(cmp.Compare(wanted[x], wanted[y]), cmp.Compare(x, y))
	})
	for i, namespace := range fewest {
		shares[namespace] = min(wanted[namespace], b.OfOne, left/(len(fewest)-i))
		left -= shares[namespace]
	}
	return shares
}

// LeftOut tells of which namespaces scrapes tell less than there is.
type LeftOut struct {
	desc *prometheus.Desc
	log  *slog.Logger

	mu sync.Mutex
	// of is how many series are left out, by what is scraped and namespace.
	of map[string]map[string]int
}

// NewLeftOut returns a collector of the last scrape's.
func NewLeftOut(name, help string, log *slog.Logger) *LeftOut {
	return &LeftOut{desc: prometheus.NewDesc(name, help, []string{"namespace"}, nil), log: log, of: map[string]map[string]int{}}
}

// Note takes how many series of what is scraped each namespace wants, and has
// shares for. nil takes no note.
func (l *LeftOut) Note(what string, wanted, shares map[string]int) {
	if l == nil {
		return
	}
	out := map[string]int{}
	for namespace, n := range wanted {
		if n > shares[namespace] {
			out[namespace] = n - shares[namespace]
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.of[what]
	for namespace, n := range out {
		if before[namespace] == 0 {
			l.log.Warn("a namespace has more series than a scrape tells", "namespace", namespace, "of", what, "left out", n, "told", shares[namespace])
		}
	}
	l.of[what] = out
}

// Describe implements prometheus.Collector.
func (l *LeftOut) Describe(ch chan<- *prometheus.Desc) { ch <- l.desc }

// Collect implements prometheus.Collector.
func (l *LeftOut) Collect(ch chan<- prometheus.Metric) {
	sums := map[string]int{}
	l.mu.Lock()
	for _, out := range l.of {
		for namespace, n := range out {
			sums[namespace] += n
		}
	}
	l.mu.Unlock()
	for namespace, n := range sums {
		ch <- prometheus.MustNewConstMetric(l.desc, prometheus.GaugeValue, float64(n), namespace)
	}
}
