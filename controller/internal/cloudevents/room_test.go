package cloudevents

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestRoom lets many come and go in any order: no more than there is room for
// are in, whoever has nothing waiting finds a place unless none is left, nobody
// gets more than is left, and in the end nobody is remembered.
func TestRoom(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		room, in := newRoom(64), map[string]int{}
		total := 0
		for range 1000 {
			who := fmt.Sprint(r.IntN(1 + int(seed%20)))
			if r.IntN(3) == 0 && in[who] > 0 {
				room.leave(who)
				in[who]--
				total--
				continue
			}
			first := in[who] == 0
			switch entered := room.enter(who); {
			case entered:
				if in[who] >= 64-total {
					t.Fatalf("seed %d: %s gets one more in %v", seed, who, in)
				}
				in[who]++
				total++
			case first && total < 64:
				t.Fatalf("seed %d: %s has nothing waiting, and is refused beside %v", seed, who, in)
			}
			if room.all != total || total > 64 {
				t.Fatalf("seed %d: %d are in, counted as %d", seed, total, room.all)
			}
		}
		for who, n := range in {
			for range n {
				room.leave(who)
			}
		}
		if room.all != 0 || len(room.of) != 0 {
			t.Fatalf("seed %d: %+v of nobody", seed, room)
		}
	}
}

func TestWhoHasTheMostGivesWay(t *testing.T) {
	r := newRoom(10)
	for who, n := range map[string]int{"a": 5, "b": 4, "c": 1} {
		for range n {
			r.put(who)
		}
	}
	for another, want := range map[string]string{"a": "", "b": "", "c": "a", "d": "a"} {
		who, ok := r.inFavorOf(another)
		if ok != (want != "") || ok && who != want {
			t.Errorf("%s gives way to %s, %v", who, another, ok)
		}
	}
}
