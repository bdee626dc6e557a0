package account

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// read is a decision at a second after noon that changes nothing.
func read(second int, value float64, active bool) scaling.Explanation {
	return scaling.Explanation{
		Time: noon.Add(time.Duration(second) * time.Second), Replicas: ptr.To[int32](3), Next: "the HPA, at its next sync",
		Metrics: []scaling.ExplainedMetric{{Name: "s0-m", Outcome: "value", Value: &value, Active: active}},
	}
}

func room(bytes int) Room {
	return Room{Budget: kept.New(bytes, 1<<30), Namespace: "shop", Name: "worker"}
}

func TestDecisionsThatComeToTheSameAreOne(t *testing.T) {
	var h History
	if _, told := h.Tell(); told {
		t.Error("told before anything was decided")
	}
	r := room(1 << 20)
	for second := range 3 {
		h = h.With(read(second, float64(second), true), r)
	}
	a, told := h.Tell()
	if !told || a.Times != 3 || !a.Since.Equal(noon) || *a.Last.Metrics[0].Value != 2 || len(a.Earlier) != 0 {
		t.Errorf("of the same is told %+v", a)
	}
	for name, change := range map[string]func(*scaling.Explanation){
		"a write":       func(e *scaling.Explanation) { e.Write = ptr.To[int32](4) },
		"other Jobs":    func(e *scaling.Explanation) { e.Create = 1 },
		"replicas":      func(e *scaling.Explanation) { e.Replicas = ptr.To[int32](5) },
		"unknown":       func(e *scaling.Explanation) { e.Replicas = nil },
		"a limit":       func(e *scaling.Explanation) { e.Limits = []string{"maxReplicaCount is 3"} },
		"who acts":      func(e *scaling.Explanation) { e.Next = "the user" },
		"no activity":   func(e *scaling.Explanation) { e.Metrics[0].Active = false },
		"no data":       func(e *scaling.Explanation) { e.Metrics[0].Outcome = "no data" },
		"an error":      func(e *scaling.Explanation) { e.Metrics[0].Error = "dial" },
		"a fallback":    func(e *scaling.Explanation) { e.Metrics[0].Fallback = true },
		"a new trigger": func(e *scaling.Explanation) { e.Metrics = append(e.Metrics, e.Metrics[0]) },
		"a formula":     func(e *scaling.Explanation) { e.Formula = &scaling.ExplainedFormula{} },
	} {
		e := read(3, 2, true)
		change(&e)
		after, _ := h.With(e, r).Tell()
		if after.Times != 1 || !after.Since.Equal(e.Time) || len(after.Earlier) != 1 || after.Earlier[0].Times != 3 || !after.Earlier[0].Since.Equal(noon) {
			t.Errorf("after %s is told %+v", name, after)
		}
	}
}

func TestDecisionsAreKeptAsFarAsThereIsRoom(t *testing.T) {
	alternate := func(r Room, changes int) Account {
		var h History
		for i := range changes {
			e := read(i, 0, i%2 == 0)
			e.Limits = []string{strings.Repeat("x", 500)}
			h = h.With(e, r)
		}
		a, _ := h.Tell()
		return a
	}
	a := alternate(room(1<<20), 100)
	if len(a.Earlier) != mostEarlier {
		t.Errorf("of 100 changes %d are told beside the last", len(a.Earlier))
	}
	for i, d := range a.Earlier {
		if want := noon.Add(time.Duration(98-i) * time.Second); !d.Since.Equal(want) {
			t.Errorf("%d is of %v, want %v", i, d.Since, want)
		}
	}
	if a := alternate(room(8<<10), 100); len(a.Earlier) == 0 || len(a.Earlier) >= mostEarlier {
		t.Errorf("with little room %d are told beside the last", len(a.Earlier))
	}
	for name, r := range map[string]Room{"no room": room(0), "no budget": {}} {
		if a := alternate(r, 100); len(a.Earlier) != 0 || a.Times != 1 {
			t.Errorf("with %s is told %+v", name, a)
		}
	}
}

// Many objects of one namespace have no more than its budget, together.
func TestDecisionsOfANamespaceAreBounded(t *testing.T) {
	const most = 256 << 10
	budget := kept.New(most, 1<<30)
	histories := make([]History, 100)
	for i := range histories {
		for second := range 30 {
			histories[i] = histories[i].With(read(second, 0, second%2 == 0), Room{budget, "shop", fmt.Sprint("worker-", i)})
		}
	}
	// What there was room for may grow by an eighth.
	if used := budget.Used("shop"); used == 0 || used > most+most/8 {
		t.Errorf("%d bytes of %d are used", used, most)
	}
	if a, told := histories[99].Tell(); !told || a.Last.Metrics[0].Name != "s0-m" {
		t.Errorf("the last of many is told as %+v", a)
	}
}
