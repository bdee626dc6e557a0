package provider

import (
	"context"
	"fmt"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

type place struct{ in, name string }

func (p place) namespace() string { return p.in }

// What goes is the oldest of who put too much, and of all the oldest of who has the
// most: never what a namespace with little has.
func TestShelvesAreBounded(t *testing.T) {
	ofOne, inAll := room{count: 10, bytes: 100}, room{count: 25, bytes: 1000}
	for name, tt := range map[string]struct {
		bytes int
		want  int // of one namespace
	}{"by number": {bytes: 1, want: 10}, "by bytes": {bytes: 30, want: 3}} {
		t.Run(name, func(t *testing.T) {
			var s shelf[place, int]
			s.put(place{"quiet", "a"}, 1, 1, ofOne, inAll)
			for i := range 100 {
				key := place{"greedy", fmt.Sprint(i)}
				gone := s.put(key, i, tt.bytes, ofOne, inAll)
				if i >= tt.want && (len(gone) != 1 || gone[0] != i-tt.want) {
					t.Fatalf("%v went for %d", gone, i)
				}
				if got, found := s.get(key); !found || got != i {
					t.Fatalf("%d, %v", got, found)
				}
			}
			if s.of["greedy"].has != (room{tt.want, tt.want * tt.bytes}) {
				t.Errorf("%+v", s.of["greedy"].has)
			}
			for i := range 100 {
				s.put(place{fmt.Sprint("many-", i%10), fmt.Sprint(i)}, i, tt.bytes, ofOne, inAll)
				if inAll.less(s.all) || len(s.kept) != s.all.count {
					t.Fatalf("%+v are kept, %d", s.all, len(s.kept))
				}
			}
			if _, found := s.get(place{"quiet", "a"}); !found {
				t.Error("what a namespace with little has had to go")
			}
			if gone := s.put(place{"quiet", "huge"}, 7, 101, ofOne, inAll); len(gone) != 1 || gone[0] != 7 {
				t.Errorf("%v", gone)
			}
			for key := range s.kept {
				s.remove(key)
			}
			if len(s.of) != 0 || s.all != (room{}) {
				t.Errorf("%d namespaces and %+v are left", len(s.of), s.all)
			}
		})
	}
}

type many struct{ namespace, name, version string }

// TestAnswersOfAMomentAreBounded: one namespace with very many objects, or editions
// of one, has its share of what is remembered; others keep theirs.
func TestAnswersOfAMomentAreBounded(t *testing.T) {
	var r recently[edition, text]
	read := func(bytes int) func(context.Context) (text, error) {
		return func(context.Context) (text, error) { return text(bytes), nil }
	}
	ask := func(m many, bytes int) {
		t.Helper()
		of := edition{client.ObjectKey{Namespace: m.namespace, Name: m.name}, m.version, ""}
		if _, err := r.get(t.Context(), of, templateFor, read(bytes)); err != nil {
			t.Fatal(err)
		}
	}
	ask(many{"shop", "worker", "1"}, 100)
	for i := range 200 {
		ask(many{"greedy", "worker", fmt.Sprint(i)}, 256<<10)
	}
	for i := range 2 * answersOfOne.count {
		ask(many{"small", fmt.Sprint(i), ""}, 1)
	}
	r.reading.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for namespace, row := range r.answers.of {
		if answersOfOne.less(row.has) || row.has.bytes == 0 {
			t.Errorf("%s has %+v", namespace, row.has)
		}
	}
	if _, found := r.answers.get(edition{client.ObjectKey{Namespace: "shop", Name: "worker"}, "1", ""}); !found {
		t.Error("what another namespace had is gone")
	}
}

type text int

func (t text) size() int { return int(t) }
