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
// them. A namespace has at most twice as much as it leaves to others, and small ones
// have a part that nobody else has, so that some namespaces together fill nothing
// up. An object that there was room for keeps it as long as it grows little.
//
// What an object takes is given back when another takes its place, and else when it
// is no longer in memory, whoever had it.
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

// entry is one object: the newest of its name. granted is what it took when there
// was room for it.
type entry struct {
	bytes, granted int
	version        uint64
	object         any // a weak pointer to it, nil where it is not known
}

// longestKey is how long a name is that an object can have.
const longestKey = 253

// Key is what an index of a cache has of a name that an object says: one that no
// object has is not looked for, and may be very long.
func Key(name string) []string {
	if len(name) > longestKey {
		return nil
	}
	return []string{name}
}

// CostOfKey is what an index keeps of one key: two texts, and sets of their own.
const CostOfKey = 800

// growth is by which part of what was granted an object may grow, at any time: a
// status is written often, and whoever fills the rest must not have it refused.
const growth = 8

// reserve is which part of the whole is for small namespaces, and small of which
// part of it one is.
const reserve, small = 8, 128

// share is how many times what it leaves a namespace may take. One that is alone
// has two of three parts, which is 10,000 ordinary objects by the manifests.
const share = 2

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
	if err := b.take(namespace, name, entry{bytes: bytes, granted: bytes, version: version}); err != nil {
		return err
	}
	runtime.AddCleanup(memory, b.giveBack, place{namespace, name, version})
	return nil
}

func (b *Budget) take(namespace, name string, e entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var had entry
	if a := b.of[namespace]; a != nil {
		had = a.objects[name]
	}
	b.forget(namespace, name)
	a := b.of[namespace]
	if a == nil {
		a = &account{objects: map[string]entry{}}
	}
	if e.bytes <= had.granted+had.granted/growth {
		e.granted = had.granted
	} else if err := b.refuses(namespace, a.used, e.bytes); err != nil {
		return err
	}
	a.used += e.bytes
	b.all += e.bytes
	a.objects[name] = e
	b.of[namespace] = a
	return nil
}

// refuses says why a namespace that takes so much may not take some more; b.mu is
// held.
func (b *Budget) refuses(namespace string, used, more int) error {
	const noRoom = ", and there is no room for the %s of this one: there is once others are smaller or fewer"
	switch {
	case more > b.ofOne-used:
		return fmt.Errorf("the objects of namespace %.64s take %s of the %s of memory that they may"+noRoom, namespace, size(used), size(b.ofOne), size(more))
	case more > b.inAll-b.all:
		return fmt.Errorf("the objects of all namespaces take %s of the %s of memory that they may"+noRoom, size(b.all), size(b.inAll), size(more))
	case more > b.left(used):
		return fmt.Errorf("the objects of namespace %.64s take %s of memory, twice as much as they leave of the %s for all"+noRoom, namespace, size(used), size(b.inAll), size(more))
	default:
		return nil
	}
}

// left is how much more a namespace may take that takes so much; b.mu is held.
func (b *Budget) left(used int) int { return Left(b.inAll, b.all, used) }

// Left is how much more a namespace may take that takes so much, where all take so
// much of what there is.
func Left(inAll, all, used int) int {
	free := inAll - inAll/reserve - all
	return max(inAll/small-used, free/(1+share)*share-used/(1+share))
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
	return min(b.ofOne-used, b.inAll-b.all, b.left(used)) > min(b.ofOne, b.inAll/small)/16
}

// size is a number of bytes as a human reads it, and does not change with each of
// them.
func size(bytes int) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%d KiB", (bytes+1<<10-1)>>10)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}
