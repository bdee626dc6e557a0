package manager

import (
	"fmt"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// eventCount counts events by namespace.
type eventCount map[string]int

func (c eventCount) Eventf(regarding, _ runtime.Object, _, _, _, _ string, _ ...any) {
	c[regarding.(*v1alpha1.TriggerAuthentication).Namespace]++
}

// An object that changes without end has so many events, a namespace with ever new
// objects as well, and so have all together. Who has few has all of them.
func TestEventsHaveARate(t *testing.T) {
	now := time.Now()
	passed := eventCount{}
	r := newRecorder(passed, func() time.Time { return now })
	sent := 0
	tell := func(namespace, name string) {
		sent++
		o := &v1alpha1.TriggerAuthentication{}
		o.Namespace, o.Name, o.ResourceVersion = namespace, name, fmt.Sprint(sent)
		r.Eventf(o, nil, "Normal", "TriggerAuthenticationUpdated", "Update", "%s", "updated")
	}
	told := func() (n int) {
		for _, of := range passed {
			n += of
		}
		return n
	}
	for range 50_000 {
		tell("flood", "login")
	}
	if passed["flood"] != 1000 {
		t.Errorf("at once %d of a namespace pass", passed["flood"])
	}
	for i := range 20 {
		for j := range 2000 {
			tell(fmt.Sprint("flood-", i), fmt.Sprint(j))
		}
	}
	if n := told(); n > 5000+21*20 {
		t.Errorf("at once %d of all pass", n)
	}
	before := told()
	for second := range 60 {
		now = now.Add(time.Second)
		for i := range 20 {
			for j := range 100 {
				tell(fmt.Sprint("flood-", i), fmt.Sprint(j))
			}
		}
		if second%3 == 0 {
			tell("shop", "login")
		}
	}
	if n := told() - before; n > 60*20+21*6+20 {
		t.Errorf("in a minute %d of all pass", n)
	}
	if passed["shop"] != 20 {
		t.Errorf("%d of 20 of a namespace that has few", passed["shop"])
	}
	var m dto.Metric
	if err := r.leftOut.Write(&m); err != nil || int(m.GetCounter().GetValue()) != sent-told() {
		t.Errorf("%v are counted as left out, %v, and %d are", m.GetCounter().GetValue(), err, sent-told())
	}
	now = now.Add(time.Hour)
	tell("shop", "login")
	if len(r.of) != 1 {
		t.Errorf("%d namespaces are remembered that have all of theirs", len(r.of))
	}
}
