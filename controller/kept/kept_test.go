package kept

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

type thing [64]byte

// A namespace fills its budget; others do not notice, and it has room again once
// objects went.
func TestANamespaceHasABudget(t *testing.T) {
	b := New(10<<20, Unbounded)
	objects := map[int]*thing{}
	held := func(i int) error {
		objects[i] = &thing{}
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
	if err := Hold(b, &thing{}, "shop", "Deployment/0", 10<<20); err != nil {
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

// What all namespaces take has a bound of its own, and whoever comes first does not
// have all of it: there is always room for those that are small, and what there was
// room for stays.
func TestAllNamespacesHaveABudget(t *testing.T) {
	const whole = 128 << 20
	b := New(Unbounded, whole)
	objects := []*thing{}
	hold := func(namespace, name string, bytes int) error {
		objects = append(objects, &thing{})
		return Hold(b, objects[len(objects)-1], namespace, name, bytes)
	}
	if err := hold("shop", "large", 3<<20); err != nil {
		t.Fatal(err)
	}
	last := whole
	for i := range 20 {
		namespace := fmt.Sprint("flood-", i)
		var err error
		for n := 0; err == nil; n++ {
			err = hold(namespace, fmt.Sprint(n), 1<<20)
		}
		if got := b.Used(namespace); got > last || got > whole*2/3 {
			t.Errorf("%s has %d bytes, %v", namespace, got, err)
		} else if got > 0 && !strings.Contains(err.Error(), "twice as much as they leave of the 128 MiB") && !strings.Contains(err.Error(), "all namespaces take") {
			t.Errorf("it is told %v", err)
		}
		last = b.Used(namespace) + 1<<20
	}
	if !b.Room("tiny") {
		t.Error("there is no room for a small namespace")
	}
	for n := range 10 {
		if err := hold("tiny", fmt.Sprint(n), 100<<10); err != nil {
			t.Fatalf("object %d of a small namespace: %v", n, err)
		}
	}
	for _, grown := range []int{10, 5, 12} { // percent: neither adds up
		if err := hold("shop", "large", 3<<20+3<<20*grown/100); err != nil {
			t.Errorf("grown by %d%%: %v", grown, err)
		}
	}
	if err := hold("shop", "large", 3<<20+3<<20*20/100); err == nil {
		t.Error("it grows as it likes")
	}
	runtime.KeepAlive(objects)
}

// What is counted for objects is what they take, by the memory of the process.
func TestSizeIsWhatObjectsTake(t *testing.T) {
	fill := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint("key-", i)] = strings.Repeat("x", 100)
		}
		return m
	}
	for name, build := range map[string]func() any{
		"texts": func() any { return &metav1.ObjectMeta{Name: strings.Repeat("x", 100_000)} },
		"maps":  func() any { return &metav1.ObjectMeta{Labels: fill(5000), Annotations: fill(3)} },
		"lists": func() any { return &metav1.ObjectMeta{Finalizers: slices.Repeat([]string{"x"}, 10_000)} },
		"structs": func() any {
			return &metav1.ObjectMeta{OwnerReferences: slices.Clone([]metav1.OwnerReference{9999: {Name: "x"}})}
		},
		"any": func() any {
			many := map[string]any{}
			for i := range 3000 {
				many[fmt.Sprint(i)] = []any{map[string]any{}, int64(i)}
			}
			return &many
		},
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		object := build()
		runtime.GC()
		runtime.ReadMemStats(&after)
		took, counted := int(after.HeapAlloc)-int(before.HeapAlloc), Size(object)
		if counted < took*6/10 || counted > 3*took {
			t.Errorf("%s: %d bytes are counted of %d", name, counted, took)
		}
		runtime.KeepAlive(object)
	}
}

// Of objects that there is no room for stubs are kept, which say so however often
// they pass; those of others, and smaller ones, are kept.
func TestObjectsThatThereIsNoRoomForAreStubs(t *testing.T) {
	b := New(100<<10, Unbounded)
	transform := Transform(b, "Thing", func(o *metav1.PartialObjectMetadata) { o.ManagedFields = nil },
		func(o *metav1.PartialObjectMetadata, _ string) { o.Annotations = nil })
	thing := func(namespace string, i int) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprint(i), Annotations: map[string]string{"x": strings.Repeat("x", 30<<10)},
		}}
	}
	var all []any
	kept := func(o *metav1.PartialObjectMetadata) bool {
		t.Helper()
		once, err := transform(o)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := transform(once)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, twice)
		why := Why(twice.(metav1.Object))
		if cut := len(o.Annotations) == 0; cut != (why != "") || cut != WantsRoom(o) || cut && !strings.Contains(why, "namespace "+o.Namespace) {
			t.Errorf("%s: %d annotations, %q", o.Name, len(o.Annotations), why)
		}
		return why == ""
	}
	for i := range 10 {
		if kept(thing("flood", i)) != (i < 3) {
			t.Errorf("object %d", i)
		}
	}
	if !kept(thing("shop", 0)) {
		t.Error("another namespace has no room")
	}
	gone := cache.DeletedFinalStateUnknown{Key: "a/b"}
	if got, err := transform(gone); err != nil || got != gone {
		t.Errorf("of one deleted unseen: %v, %v", got, err)
	}
	runtime.KeepAlive(all)
}

// Nobody else's mark is one, wherever an object comes from.
func TestNobodyElseMarksObjects(t *testing.T) {
	b := New(10<<10, Unbounded)
	transform := Transform(b, "Thing", func(o *metav1.PartialObjectMetadata) { o.Annotations = nil }, func(*metav1.PartialObjectMetadata, string) {})
	for _, link := range []string{"sluice.dev/cut: x", "sluice.dev/no-room: x", "sluice.dev/cut-: x", markCut[:len(markCut)-3] + "x: x", "/apis/x"} {
		o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "x", Annotations: map[string]string{"x": "x"}}}
		o.SetSelfLink(link)
		if _, err := transform(o); err != nil {
			t.Fatal(err)
		}
		if o.Annotations != nil || Why(o) != "" || WantsRoom(o) || b.Used("") == 0 {
			t.Errorf("%s: it is kept whole, %d bytes, %q", link, b.Used(""), Why(o))
		}
		runtime.KeepAlive(o)
	}
}

// An informer that lists anew brings all objects again: of those that are as they
// were nothing is in memory twice, and of others the newest counts.
func TestWhatIsReadAgainIsThereOnce(t *testing.T) {
	b := New(Unbounded, 1<<20)
	transform := Transform(b, "Thing", func(o *metav1.PartialObjectMetadata) { o.ManagedFields = nil },
		func(o *metav1.PartialObjectMetadata, _ string) { o.Annotations = nil })
	read := func(uid types.UID, version string, bytes int) *metav1.PartialObjectMetadata {
		t.Helper()
		got, err := transform(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "a", UID: uid, ResourceVersion: version, Annotations: map[string]string{"x": strings.Repeat("x", bytes)},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return got.(*metav1.PartialObjectMetadata)
	}
	first := read("1", "5", 1000)
	counted := b.Used("shop")
	if again := read("1", "5", 1000); again != first || b.Used("shop") != counted {
		t.Errorf("it is there twice, and counts %d bytes of %d", b.Used("shop"), counted)
	}
	for name, other := range map[string]*metav1.PartialObjectMetadata{"another version": read("1", "6", 1000), "another object": read("2", "6", 1000), "no version": read("2", "", 1000)} {
		if other == first {
			t.Errorf("%s is taken for the same", name)
		}
	}
	stub := read("3", "7", 2<<20)
	if again := read("3", "7", 2<<20); again == stub || Why(again) == "" {
		t.Error("one that there was no room for is not looked at again")
	}
	last := read("4", "8", 1000)
	runtime.KeepAlive(last)
	collected(t, "one that is gone is forgotten", func() bool { return b.Used("shop") == 0 })
	if fresh := read("4", "8", 1000); fresh.Annotations == nil || b.Used("shop") == 0 {
		t.Error("one that is read once nobody has it is not counted")
	}
}
