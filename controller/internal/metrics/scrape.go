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
}

// one is what tells a series from the others.
type one struct {
	of     *prometheus.Desc
	labels string
}

func newScrape(out chan<- prometheus.Metric) scrape {
	return scrape{out: out, told: map[one]bool{}}
}

func (s scrape) gauge(of *prometheus.Desc, v float64, labels ...string) {
	for i, label := range labels {
		labels[i] = strings.ToValidUTF8(label, "\uFFFD")
	}
	this := one{of, strings.Join(labels, "\xff")}
	if s.told[this] {
		return
	}
	s.told[this] = true
	s.out <- prometheus.MustNewConstMetric(of, prometheus.GaugeValue, v, labels...)
}
