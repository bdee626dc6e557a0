package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// scrape passes on the series of one scrape. One that is there twice, or whose
// labels are no text, would take all others with it: of two the first counts.
type scrape struct {
	out  chan<- prometheus.Metric
	told map[one]bool
	// left is how many series of objects there may yet be of each namespace.
	left map[string]int
}

// one is what tells a series from the others.
type one struct {
	of     *prometheus.Desc
	labels string
}

func newScrape(out chan<- prometheus.Metric) scrape {
	return scrape{out: out, told: map[one]bool{}, left: map[string]int{}}
}

// of tells a series of an object, while its namespace has a share for it. The
// first of the labels is the namespace.
func (s scrape) of(desc *prometheus.Desc, v float64, labels ...string) {
	if s.left[labels[0]] > 0 && s.gauge(desc, v, labels...) {
		s.left[labels[0]]--
	}
}

// gauge reports whether the series is a new one.
func (s scrape) gauge(of *prometheus.Desc, v float64, labels ...string) bool {
	for i, label := range labels {
		labels[i] = strings.ToValidUTF8(label, "\uFFFD")
	}
	this := one{of, strings.Join(labels, "\xff")}
	if s.told[this] {
		return false
	}
	s.told[this] = true
	s.out <- prometheus.MustNewConstMetric(of, prometheus.GaugeValue, v, labels...)
	return true
}
