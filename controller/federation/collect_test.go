package federation

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestStateOfFamiliesInMetrics(t *testing.T) {
	e := newEvents()
	w := newWorldWith(t, e)
	f := newFamily(t, e)
	w.service("kafka", f)
	w.Subscribe(trigger("kafka", 0))
	series := func(ready, down string) string {
		return `
# HELP sluice_family_instances Instances of the family behind a trigger type, by state: ready, down, starting or leaving.
# TYPE sluice_family_instances gauge
sluice_family_instances{family="kafka",state="down",type="kafka"} ` + down + `
sluice_family_instances{family="kafka",state="leaving",type="kafka"} 0
sluice_family_instances{family="kafka",state="ready",type="kafka"} ` + ready + `
sluice_family_instances{family="kafka",state="starting",type="kafka"} 0
# HELP sluice_family_subscriptions Triggers of a type that are subscribed.
# TYPE sluice_family_subscriptions gauge
sluice_family_subscriptions{type="kafka"} 1
`
	}
	told := func(ready, down string) func() bool {
		return func() bool {
			return testutil.CollectAndCompare(w.Metrics(), strings.NewReader(series(ready, down))) == nil
		}
	}
	w.until("a ready instance in the metrics", told("1", "0"))
	f.kill()
	w.until("an instance that is down in the metrics", told("0", "1"))
	w.deleteService("kafka")
	w.until("no family in the metrics", func() bool { return testutil.CollectAndCount(w.Metrics()) == 0 })
}

func TestReadyOnceEveryInstanceWasJudged(t *testing.T) {
	e := newEvents()
	cold := New(Config{Namespace: namespace, Client: newWorldWith(t, e).client})
	if err := cold.Ready(); err == nil || err.Error() != "the scaler Services have not been read yet" {
		t.Errorf("before the start: %v", err)
	}
	w := newWorldWith(t, e)
	f := newFamily(t, e)
	w.service("kafka", f)
	w.until("readiness", func() bool { return w.Ready() == nil })
	f.kill()
	w.Subscribe(trigger("kafka", 0))
	w.until("the family to be down", func() bool { return w.state(trigger("kafka", 0)).Unreachable != nil })
	if err := w.Ready(); err != nil {
		t.Errorf("a family that went takes readiness back: %v", err)
	}
}
