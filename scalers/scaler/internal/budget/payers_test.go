package budget

import (
	"fmt"
	"slices"
	"testing"
)

// TestTogether: several namespaces are one name, whatever order they come in, and
// whether some of them came as one already.
func TestTogether(t *testing.T) {
	for want, of := range map[string][]string{
		"":      nil,
		"a":     {"a", "a"},
		"a,b":   {"b", "a", "b"},
		"a,b,c": {"b,c", "a,b", "c"},
	} {
		if got := Together(of...); got != want {
			t.Errorf("%q are %q, want %q", of, got, want)
		}
	}
}

// TestRequestsForSome: who pays for a request of a batch are those that it is for, and
// for parts of it those of the part.
func TestRequestsForSome(t *testing.T) {
	all := OfMembers(t.Context(), []string{"a", "b", "c", "a"})
	some := OfSome(all, 1, 3)
	for want, got := range map[string]string{
		"a,b,c": Namespace(all), "a,b": Namespace(some), "b": Namespace(OfSome(some, 0)), "a": Namespace(OfSome(some, 1)),
		"d": Namespace(OfSome(Of(all, "d"), 7)), "": Namespace(OfSome(t.Context(), 7)),
	} {
		if got != want {
			t.Errorf("%q pays, want %q", got, want)
		}
	}
}

// TestInTurns: the first of each namespace come before the second of any.
func TestInTurns(t *testing.T) {
	each := []string{"a", "a", "a", "b", "b", "c"}
	requests := []int{0, 1, 2, 3, 4, 5}
	InTurns(OfMembers(t.Context(), each), requests, func(i int) []int { return []int{i} })
	if want := []int{0, 3, 5, 1, 4, 2}; !slices.Equal(requests, want) {
		t.Errorf("%v, want %v", requests, want)
	}
	InTurns(Of(t.Context(), "a"), requests, func(i int) []int { panic(fmt.Sprint("whose is ", i)) })
}
