package federation

import (
	"fmt"
	"testing"
)

// Of a type that is made up it is found out once why nobody serves it, however
// often its triggers are looked at, and once more when that may have changed.
func TestAnAbsentTypeIsExplainedOnce(t *testing.T) {
	w := newWorld(t)
	f := newFamily(t, w.events)
	w.service("kafka", f)
	w.until("the Service is known", func() bool { return len(w.Types()) == 1 })
	var madeUp []Trigger
	for i := range 50 {
		one := trigger(fmt.Sprint("made-up-", i), i)
		w.Subscribe(one)
		madeUp = append(madeUp, one)
	}
	explained := func() (all []*absence) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, one := range madeUp {
			s := w.services[one.Type]
			w.update(s)
			all = append(all, &absence{s.absence.beside, s.absence.err})
		}
		return all
	}
	before := explained()
	for i, again := range explained() {
		if again.err == nil || again.err != before[i].err || again.beside != before[i].beside { //nolint:errorlint // the same one
			t.Fatalf("%s: explained again: %v", madeUp[i].Type, again.err)
		}
	}
	w.service("redis", newFamily(t, w.events))
	w.until("another type is known", func() bool { return len(w.Types()) == 2 })
	for i, now := range explained() {
		if now.beside == before[i].beside {
			t.Fatalf("%s: not explained anew", madeUp[i].Type)
		}
	}
	for _, one := range madeUp {
		w.Unsubscribe(one.ID)
	}
	if types := w.Types(); len(types) != 2 || types[0] != "kafka" {
		t.Errorf("types are %v", types)
	}
}
