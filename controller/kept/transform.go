package kept

import (
	"cmp"
	"crypto/rand"
	"strings"
	"weak"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// object is a pointer to an object with a Go type.
type object[T any] interface {
	*T
	metav1.Object
}

// Transform is a transform for caches: it counts of objects of a kind what cut
// leaves of them, and has stub leave of one that there is no room for what tells
// what is to become of it. The object says why, to Why. What was transformed
// already stays as it is.
func Transform[T any, O object[T]](b *Budget, kind string, cut func(O), stub func(o O, why string)) func(any) (any, error) {
	return TransformBeside(b, kind, cut, stub, func(O) int { return 0 })
}

// TransformBeside is Transform for objects of which the process keeps something
// elsewhere, such as in indexes: beside says what that takes, beyond some hundred
// bytes that PerObject has for it.
func TransformBeside[T any, O object[T]](b *Budget, kind string, cut func(O), stub func(o O, why string), beside func(O) int) func(any) (any, error) {
	return func(whole any) (any, error) {
		o, ok := whole.(O)
		if !ok || Why(o) != "" { // the last state of one that was deleted unseen, or a stub
			return whole, nil
		}
		if there := Again[T, O](b, kind+"/"+o.GetName(), o); there != nil {
			return there, nil
		}
		cut(o)
		if err := Hold(b, (*T)(o), o.GetNamespace(), kind+"/"+o.GetName(), PerObject+Size(o)+beside(o)); err != nil {
			stub(o, err.Error())
			NoRoom(o, err.Error())
			return o, nil
		}
		Remember(b, kind+"/"+o.GetName(), o)
		return o, nil
	}
}

// Remember has Again find an object that is counted under a name of its namespace.
func Remember[T any, O object[T]](b *Budget, name string, o O) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.of[o.GetNamespace()]; a != nil {
		if e, counted := a.objects[name]; counted {
			e.object = weak.Make((*T)(o))
			a.objects[name] = e
		}
	}
}

// Again returns what is in memory already of an object that is read again as it was,
// nil where nothing is. An informer that lists anew has all old objects beside the new
// ones for a while, and the budget counts one of them.
func Again[T any, O object[T]](b *Budget, name string, o O) O {
	if b == nil || o.GetResourceVersion() == "" {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.of[o.GetNamespace()]
	if a == nil {
		return nil
	}
	last, ok := a.objects[name].object.(weak.Pointer[T])
	if !ok {
		return nil
	}
	there := O(last.Value())
	if there == nil || there.GetUID() != o.GetUID() || there.GetResourceVersion() != o.GetResourceVersion() {
		return nil
	}
	return there
}

// A mark is where the API server keeps nothing, so that it is sent back to nobody,
// and a second pass of a transform, as of a list that is streamed, finds that of
// the first. What is written there by whoever else has an API server that keeps it
// is none: no other process knows our marks.
var (
	markCut    = "sluice.dev/cut-" + rand.Text() + ": "
	markNoRoom = "sluice.dev/no-room-" + rand.Text() + ": "
)

// Cut marks an object in a cache of which not all is kept, however often it is
// read.
func Cut(o metav1.Object, why string) { o.SetSelfLink(markCut + cmp.Or(why, "too large")) }

// NoRoom marks an object in a cache of which all is kept once others leave room.
func NoRoom(o metav1.Object, why string) { o.SetSelfLink(markNoRoom + cmp.Or(why, "too many")) }

// Why says why not all of an object in a cache is kept, "" where it is.
func Why(o metav1.Object) string {
	link := o.GetSelfLink()
	for _, mark := range []string{markCut, markNoRoom} {
		if why, marked := strings.CutPrefix(link, mark); marked {
			return why
		}
	}
	return ""
}

// WantsRoom reports whether there was no room for an object, as there may be by
// now.
func WantsRoom(o metav1.Object) bool { return strings.HasPrefix(o.GetSelfLink(), markNoRoom) }
