package turns

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// Somebody with thousands delays somebody with one by what is inside, whatever
// they do, and nobody waits behind who came later.
func TestWhoHasFewestIsNext(t *testing.T) {
	l := NewLine[int](4, 3)
	for i := range 10_000 {
		l.Wait("flood", i, false)
	}
	var order []string
	next := func() {
		for turn, ok := l.Next(); ok; turn, ok = l.Next() {
			order = append(order, turn.Of)
		}
	}
	next()
	if got := strings.Join(order, " "); got != "flood flood flood" {
		t.Fatalf("first come %s", got)
	}
	l.Wait("small", 0, false)
	next()
	l.Wait("smaller", 0, false)
	l.Leave("flood")
	next()
	l.Leave("smaller")
	for range 3 { // comes again and again, one at a time
		l.Wait("eager", 0, false)
		next()
		l.Leave(order[len(order)-1])
	}
	if got := strings.Join(order[3:], " "); got != "small smaller eager eager eager" {
		t.Errorf("then come %s", got)
	}
}

// Two floods, and room for one at a time: who comes between them waits for one turn
// of each.
func TestEqualsTakeTurns(t *testing.T) {
	l := NewLine[int](1, 1)
	for i := range 1000 {
		l.Wait("a", i, false)
		l.Wait("b", i, false)
	}
	served := map[string]int{}
	for i := range 100 {
		if i == 50 {
			l.Wait("c", 0, false)
		}
		turn, ok := l.Next()
		if !ok {
			t.Fatal("nobody is next")
		}
		served[turn.Of]++
		l.Leave(turn.Of)
		if i == 52 && served["c"] != 1 {
			t.Errorf("served after three turns: %v", served)
		}
	}
	if d := served["a"] - served["b"]; d < -1 || d > 1 {
		t.Errorf("served %v", served)
	}
}

// What is for later is last of its caller, and delays no other.
func TestLater(t *testing.T) {
	l := NewLine[string](1, 1)
	l.Wait("a", "later", true)
	given := l.Wait("a", "given up", false)
	l.Wait("a", "now", false)
	l.Wait("b", "other", true)
	if !l.GiveUp(given) || l.GiveUp(given) {
		t.Error("what waits is given up once")
	}
	var order []string
	for turn, ok := l.Next(); ok; turn, ok = l.Next() {
		order = append(order, turn.Value)
		if l.GiveUp(turn) {
			t.Error("what came is given up")
		}
		l.Leave(turn.Of)
	}
	if got := strings.Join(order, " "); got != "now other later" || !l.Idle() {
		t.Errorf("order %s, idle %v", got, l.Idle())
	}
}

// TestFewest: what several come for together is one more of whoever has the fewest.
func TestFewest(t *testing.T) {
	l := NewLine[int](2, 1)
	l.Enter("a")
	l.Enter("b")
	l.Wait("b", 0, false)
	l.Wait("c", 0, true)
	for want, of := range map[string][]string{"a": {"b", "a"}, "c": {"a", "b", "c"}, "d": {"a", "c", "d"}, "b": {"b"}} {
		if got := l.Fewest(of); got != want {
			t.Errorf("of %v it is %s, want %s", of, got, want)
		}
	}
}

// TestAFewLeaveRoom: of whoever has some callers there is room left for others, which
// have it at once.
func TestAFewLeaveRoom(t *testing.T) {
	const most, few = 64, 2
	l := NewLine[int](most, most/2).Leaving(few)
	next := func() {
		for _, ok := l.Next(); ok; _, ok = l.Next() {
		}
	}
	for caller := range 6 {
		for i := range most {
			l.Wait(fmt.Sprint("mallory", caller), i, false)
			next()
		}
	}
	if n := l.Has("mallory0"); n != most/2 {
		t.Errorf("the first has %d, want %d", n, most/2)
	}
	for other := range 4 {
		of := fmt.Sprint("other", other)
		if !l.Room(of) {
			t.Fatalf("no room for another, of %d inside", l.Inside())
		}
		l.Wait(of, 0, false)
		if turn, ok := l.Next(); !ok || turn.Of != of {
			t.Fatalf("next is %v, %v, want %s", turn, ok, of)
		}
		l.Enter(of)
	}
	for range most / 4 { // and whoever waits comes in as others leave
		l.Leave("mallory0")
		if next(); l.Due() {
			t.Fatal("somebody is due and has not come")
		}
	}
	if n := l.Inside(); n < most/2 {
		t.Errorf("%d are inside, though many wait", n)
	}
}

// TestLine has a random crowd come and go, and compares with the plain rule.
func TestLine(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	l := NewLine[int](5, 2)
	inside, waiting := map[string]int{}, map[string][]*Turn[int]{}
	all := 0
	for i := range 20_000 {
		of := fmt.Sprint(random.IntN(6))
		switch random.IntN(4) {
		case 0, 1:
			waiting[of] = append(waiting[of], l.Wait(of, i, false))
		case 2:
			if inside[of] > 0 {
				l.Leave(of)
				inside[of]--
				all--
			}
		case 3:
			if n := len(waiting[of]); n > 0 {
				at := random.IntN(n)
				l.GiveUp(waiting[of][at])
				waiting[of] = slices.Delete(waiting[of], at, at+1)
			}
		}
		if random.IntN(2) == 0 {
			continue
		}
		fewest := -1
		for of, turns := range waiting {
			if len(turns) > 0 && inside[of] < 2 && all < 5 && (fewest < 0 || inside[of] < fewest) {
				fewest = inside[of]
			}
		}
		turn, ok := l.Next()
		if ok != (fewest >= 0) || ok && (inside[turn.Of] != fewest || waiting[turn.Of][0] != turn) {
			t.Fatalf("step %d: next is %v, %v; the fewest inside are %d", i, turn, ok, fewest)
		}
		if ok {
			waiting[turn.Of] = waiting[turn.Of][1:]
			inside[turn.Of]++
			all++
		}
		if l.Inside() != all {
			t.Fatalf("step %d: %d inside, want %d", i, l.Inside(), all)
		}
	}
}

// TestWhoRestsIsPassedOver: nothing comes of a caller that rests, and all of it afterwards,
// in order.
func TestWhoRestsIsPassedOver(t *testing.T) {
	l := NewLine[int](10, 5)
	for n := range 3 {
		l.Wait("mallory", n, false)
	}
	l.Wait("shop", 10, false)
	l.Rest("mallory")
	l.Wait("mallory", 3, false)
	l.Rest("nobody")
	if next, ok := l.Next(); !ok || next.Of != "shop" {
		t.Fatalf("next is %v, want the shop's", next)
	}
	if next, ok := l.Next(); ok {
		t.Errorf("%v comes of who rests", next)
	}
	l.Resume("mallory")
	for n := range 4 {
		if next, ok := l.Next(); !ok || next.Value != n {
			t.Errorf("next is %v, want %d", next, n)
		}
	}
	waits := l.Wait("bakery", 1, false)
	l.Rest("bakery")
	l.GiveUp(waits)
	l.Wait("bakery", 2, false)
	if next, ok := l.Next(); !ok || next.Value != 2 {
		t.Errorf("next is %v of who came back, want 2", next)
	}
}
