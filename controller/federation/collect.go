package federation

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	instancesDesc = prometheus.NewDesc("sluice_family_instances",
		"Instances of the family behind a trigger type, by state: ready, down, starting or leaving.",
		[]string{"type", "family", "state"}, nil)
	subscriptionsDesc = prometheus.NewDesc("sluice_family_subscriptions",
		"Triggers of a type that are subscribed.", []string{"type"}, nil)
)

// lifeLeftDesc has the name that families use, too.
var lifeLeftDesc = prometheus.NewDesc("sluice_certificate_life_left_ratio",
	"Which part of the life of this process's certificate is left: 1 when it begins, 0 from its end on.", nil, nil)

// Metrics tells how much is left of the certificate; nothing while there is none.
func (k *Keys) Metrics() prometheus.Collector { return life{k} }

type life struct{ keys *Keys }

// Describe implements prometheus.Collector.
func (life) Describe(ch chan<- *prometheus.Desc) { ch <- lifeLeftDesc }

// Collect implements prometheus.Collector.
func (l life) Collect(ch chan<- prometheus.Metric) {
	if part, known := l.keys.LifeLeft(time.Now()); known {
		ch <- prometheus.MustNewConstMetric(lifeLeftDesc, prometheus.GaugeValue, part)
	}
}

// Metrics tells the state of every family that has a Service, as it is at the
// moment of the scrape.
func (f *Federation) Metrics() prometheus.Collector { return collector{f} }

type collector struct{ f *Federation }

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- instancesDesc
	ch <- subscriptionsDesc
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	f := c.f
	f.mu.Lock()
	defer f.mu.Unlock()
	for triggerType, s := range f.services {
		if !s.exists {
			continue
		}
		count := map[string]float64{"ready": 0, "down": 0, "starting": 0, "leaving": 0}
		for _, i := range s.instances {
			count[i.state()]++
		}
		for state, n := range count {
			ch <- prometheus.MustNewConstMetric(instancesDesc, prometheus.GaugeValue, n, triggerType, s.view.family, state)
		}
		ch <- prometheus.MustNewConstMetric(subscriptionsDesc, prometheus.GaugeValue, float64(len(s.subs)), triggerType)
	}
}

// state is the instance's in one word; the Federation's lock is held.
func (i *instance) state() string {
	switch {
	case i.leaving():
		return "leaving"
	case i.readiness == ready:
		return "ready"
	case i.readiness == down:
		return "down"
	}
	return "starting"
}

// Ready returns why questions cannot be answered yet, nil once they can: every
// Service was seen and each of its instances has answered, or was found not to.
// A family that goes later does not take it back: what it serves has a fallback
// perhaps, and other families answer.
func (f *Federation) Ready() error {
	if f.judged.Load() {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.knows() {
		return errors.New("the scaler Services have not been read yet")
	}
	for _, i := range f.instances {
		if i.state() == "starting" {
			return fmt.Errorf("%s has not answered yet", i)
		}
	}
	f.judged.Store(true)
	return nil
}
