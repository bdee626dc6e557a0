package kept

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

type object [64]byte

// A namespace fills its budget; others do not notice, and it has room again once
// objects went.
func TestANamespaceHasABudget(t *testing.T) {
	b := New(10 << 20)
	objects := map[int]*object{}
	held := func(i int) error {
		objects[i] = &object{}
		return Hold(b, objects[i], "flood", fmt.Sprint("Deployment/", i), 1<<20)
	}
	for i := range 10 {
		if err := held(i); err != nil {
			t.Fatalf("object %d: %v", i, err)
		}
	}
	err := held(10)
	if err == nil || !strings.Contains(err.Error(), "namespace flood take 10 MiB of the 10 MiB") || !strings.Contains(err.Error(), "the 1 MiB of this one") {
		t.Errorf("it is told %v", err)
	}
	if err := Hold(b, &object{}, "shop", "Deployment/0", 10<<20); err != nil {
		t.Errorf("another namespace: %v", err)
	}
	for i := range 100 { // an object that changes takes its own place
		if err := held(i % 10); err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
	}
	if got := b.Used("flood"); got != 10<<20 {
		t.Errorf("%d bytes are counted", got)
	}
	if err := Hold(b, objects[3], "flood", "Deployment/3", 2<<20); err == nil || b.Used("flood") != 9<<20 {
		t.Errorf("of one that grows are kept %d bytes, %v", b.Used("flood"), err)
	}
	delete(objects, 5)
	collected(t, "one that is gone is given back", func() bool { return b.Used("flood") == 8<<20 })
	runtime.KeepAlive(objects)
	clear(objects)
	collected(t, "nothing is remembered", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.of) == 0
	})
}

// collected waits for what follows from objects being out of memory.
func collected(t *testing.T, what string, condition func() bool) {
	t.Helper()
	late := time.After(30 * time.Second)
	for !condition() {
		runtime.GC()
		select {
		case <-late:
			t.Fatalf("waited in vain: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}
