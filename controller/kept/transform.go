package kept

import (
	"cmp"
	"crypto/rand"
	"strings"

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
		cut(o)
		if err := Hold(b, (*T)(o), o.GetNamespace(), kind+"/"+o.GetName(), PerObject+Size(o)+beside(o)); err != nil {
			stub(o, err.Error())
			NoRoom(o, err.Error())
		}
		return o, nil
	}
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
