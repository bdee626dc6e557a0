// Package kept bounds what the objects that tenants write take in the memory of a
// process that watches them.
package kept

import (
	"fmt"
	"math"
	"runtime"
	"sync"
)

// Budget is what objects may take, in bytes: those of each namespace, and all of
// them. What an object takes is given back when another takes its place, and else
// when it is no longer in memory, whoever had it.
type Budget struct {
	ofOne, inAll int

	mu  sync.Mutex
	of  map[string]*account
	all int
}

// PerObject is what an object takes at least, whatever is kept of it.
const PerObject = 1 << 10

// Unbounded is for Budgets that bound what namespaces have, and not the whole.
const Unbounded = math.MaxInt

// New returns a Budget of so many bytes for each namespace, and for all of them.
func New(ofOne, inAll int) *Budget {
	return &Budget{ofOne: min(ofOne, inAll), inAll: inAll, of: map[string]*account{}}
}

// account is what one namespace takes.
type account struct {
	used    int
	objects map[string]entry
}

// entry is one object: the newest of its name.
type entry struct {
	bytes   int
	version uint64
}

// place says which object is to be given back.
type place struct {
	namespace, name string
	version         uint64
}

// versions tells the objects of a name apart, in the whole process.
var versions struct {
	sync.Mutex
	last uint64
}

func nextVersion() uint64 {
	versions.Lock()
	defer versions.Unlock()
	versions.last++
	return versions.last
}

// Hold counts so many bytes for an object, which has a name of its own in its
// namespace, for as long as somebody has the memory: where parts of an object may
// outlive it, the largest of them. The error says why there is no room; then
// nothing is counted for the object, nor for the one before.
func Hold[T any](b *Budget, memory *T, namespace, name string, bytes int) error {
	version := nextVersion()
	if err := b.take(namespace, name, entry{bytes, version}); err != nil {
		return err
	}
	runtime.AddCleanup(memory, b.giveBack, place{namespace, name, version})
	return nil
}

func (b *Budget) take(namespace, name string, e entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(namespace, name)
	a := b.of[namespace]
	if a == nil {
		a = &account{objects: map[string]entry{}}
	}
	const noRoom = "take %s of the %s of memory that they may, and there is no room for the %s of this one: there is once others are smaller or fewer"
	switch {
	case e.bytes > b.ofOne-a.used:
		return fmt.Errorf("the objects of namespace %.64s "+noRoom, namespace, size(a.used), size(b.ofOne), size(e.bytes))
	case e.bytes > b.inAll-b.all:
		return fmt.Errorf("the objects of all namespaces "+noRoom, size(b.all), size(b.inAll), size(e.bytes))
	}
	a.used += e.bytes
	b.all += e.bytes
	a.objects[name] = e
	b.of[namespace] = a
	return nil
}

// giveBack ends what was counted for an object, unless there is a newer one.
func (b *Budget) giveBack(p place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.of[p.namespace]; a != nil && a.objects[p.name].version == p.version {
		b.forget(p.namespace, p.name)
	}
}

// forget ends what is counted for a name; b.mu is held.
func (b *Budget) forget(namespace, name string) {
	a := b.of[namespace]
	if a == nil {
		return
	}
	a.used -= a.objects[name].bytes
	b.all -= a.objects[name].bytes
	delete(a.objects, name)
	if len(a.objects) == 0 {
		delete(b.of, namespace)
	}
}

// Used is what the objects of a namespace take.
func (b *Budget) Used(namespace string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.of[namespace]; a != nil {
		return a.used
	}
	return 0
}

// Room reports whether there may be room in a namespace for an object that there
// was none for. A nil Budget has none.
func (b *Budget) Room(namespace string) bool {
	if b == nil {
		return false
	}
	used := b.Used(namespace)
	b.mu.Lock()
	defer b.mu.Unlock()
	return used < b.ofOne-b.ofOne/16 && b.all < b.inAll-b.inAll/16
}

// size is a number of bytes as a human reads it, and does not change with each of
// them.
func size(bytes int) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%d KiB", (bytes+1<<10-1)>>10)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}
