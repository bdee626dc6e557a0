package budget

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/boundtest"
)

// TestRequestsForSome: who may pay for a request of a batch are those that it is for,
// each once, and for parts of it those of the part.
func TestRequestsForSome(t *testing.T) {
	all := OfMembers(t.Context(), []string{"c", "b", "a", "b"})
	some := OfSome(all, 1, 2)
	for want, got := range map[string][]string{
		"a b c": Namespaces(all), "a b": Namespaces(some), "b": Namespaces(OfSome(some, 0)), "a": Namespaces(OfSome(some, 1)),
		"d": Namespaces(OfSome(Of(all, "d"), 7)), "": Namespaces(OfSome(t.Context(), 7)),
		"a b c ": append(Namespaces(OfSome(OfAll(all), 7)), ""), // places are not those of that one
	} {
		if strings.Join(got, " ") != want {
			t.Errorf("%q pay, want %q", got, want)
		}
	}
}

// TestSetsOfNamespacesAreNoCallersOfTheirOwn: with shares that each set of some
// namespaces asks for together there are as many callers as namespaces.
func TestSetsOfNamespacesAreNoCallersOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		with(t, 32<<20)
		ctx, cancel := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		defer asking.Wait()
		defer cancel()
		ask := func(of []string) {
			asking.Go(func() {
				held, release := Hold(OfMembers(ctx, of))
				defer release()
				if Document(held, 1<<20) == nil {
					<-held.Done()
				}
			})
		}
		for _, of := range boundtest.Sets(7) {
			ask(of)
		}
		synctest.Wait()
		l := current().documents[0]
		check := func(callers, ofShop int) {
			t.Helper()
			l.mu.Lock()
			defer l.mu.Unlock()
			shop := 0
			if c := l.callers["shop"]; c != nil {
				shop = len(c.waiting)
			}
			if len(l.callers) != callers || shop != ofShop {
				t.Errorf("%d callers, and %d of the shop wait, want %d and %d", len(l.callers), shop, callers, ofShop)
			}
		}
		check(7, 0)
		ask([]string{"shop"})
		ask([]string{"mallory0", "shop"}) // mallory0 holds some, so that it is the shop's turn
		synctest.Wait()
		check(8, 2)
	})
}

// TestInTurns: the first of each namespace come before the second of any, whatever sets
// of them others are for.
func TestInTurns(t *testing.T) {
	each := []string{"a", "a", "a", "b", "b", "c"}
	requests := []int{0, 1, 2, 3, 4, 5}
	InTurns(OfMembers(t.Context(), each), requests, func(i int) []int { return []int{i} })
	if want := []int{0, 3, 5, 1, 4, 2}; !slices.Equal(requests, want) {
		t.Errorf("%v, want %v", requests, want)
	}
	sets := [][]int{{0}, {0, 1}, {1, 2}, {0, 1, 2}, {0, 2}, {3}}
	InTurns(OfMembers(t.Context(), []string{"m", "n", "o", "shop"}), sets, func(of []int) []int { return of })
	if at := slices.IndexFunc(sets, func(of []int) bool { return of[0] == 3 }); at > 3 {
		t.Errorf("the shop's comes behind %d of three namespaces", at)
	}
	InTurns(Of(t.Context(), "a"), requests, func(i int) []int { panic(fmt.Sprint("whose is ", i)) })
}
