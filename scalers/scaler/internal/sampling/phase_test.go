package sampling

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
)

// fromHPA is how the HPA controller asks.
func fromHPA(who any) Freshness {
	return Freshness{Allowed: allowedAge, Who: who}
}

// hpa asks as the HPA controller does for one object: every 15 s and a little,
// after a time of its own. It remembers what it got.
type hpa struct {
	ages  []time.Duration
	waits []time.Duration
}

// run asks so many times.
func (h *hpa) run(ctx context.Context, s *bench, u *testUser, after time.Duration, times int) {
	h.runEvery(ctx, s, u, after, times, scalerv1.SyncPeriod, 60*time.Millisecond)
}

// runEvery asks after each period, and up to so much later.
func (h *hpa) runEvery(ctx context.Context, s *bench, u *testUser, after time.Duration, times int, period, late time.Duration) {
	<-time.After(after)
	random := rand.New(rand.NewPCG(1, uint64(after)))
	for range times {
		began := time.Now()
		snap, ok := s.Ask(ctx, u.User, fromHPA(u))
		if !ok {
			return
		}
		h.ages, h.waits = append(h.ages, time.Since(snap.At)), append(h.waits, time.Since(began))
		<-time.After(period + time.Duration(random.Int64N(int64(late))))
	}
}

// oldest is the worst age once the phase was known: from the third question on.
func (h *hpa) oldest() time.Duration { return slices.Max(h.ages[2:]) }

// taking is a source whose reads take some time.
func taking(d time.Duration) *fake {
	return &fake{answer: func(context.Context) ([]contract.Reading, error) {
		<-time.After(d)
		return contract.One(1), nil
	}}
}

// TestValueIsFreshWhenTheHPAAsks: a quick source is read when the question comes,
// another one before it, so that no worker of the HPA controller waits for it.
func TestValueIsFreshWhenTheHPAAsks(t *testing.T) {
	for name, tt := range map[string]struct{ took, waited, age time.Duration }{
		"of a quick source":     {took: 20 * time.Millisecond, waited: 20 * time.Millisecond},
		"of a slow source":      {took: 2 * time.Second, age: recentForExpected},
		"of a very slow source": {took: 3 * time.Second, age: recentForExpected},
	} {
		for _, interval := range []time.Duration{5 * time.Second, 10 * time.Second, scalerv1.SyncPeriod} {
			t.Run(fmt.Sprint(name, " every ", interval), func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *bench) {
					source := taking(tt.took)
					u := userEvery(interval)
					s.Join(asking("q", source), u.User)
					pass(time.Minute)
					start, reads := time.Now(), source.count()
					h := &hpa{}
					h.run(t.Context(), s, u, 7*time.Second, 40)
					if h.oldest() > tt.age {
						t.Errorf("values were up to %v old when asked for: %v", h.oldest(), h.ages)
					}
					if most := slices.Max(h.waits[2:]); most > tt.waited {
						t.Errorf("the HPA waited for up to %v", most)
					}
					if n, most := source.count()-reads, int(time.Since(start)/interval)+2; n > most {
						t.Errorf("%d reads, want at most %d: one per interval", n, most)
					}
				})
			})
		}
	}
}

// TestQuestionAtAnotherTimeIsAnsweredByAReadOfThatMoment has an HPA controller
// that is no clock, and some that are told another period.
func TestQuestionAtAnotherTimeIsAnsweredByAReadOfThatMoment(t *testing.T) {
	for name, tt := range map[string]struct{ period, late time.Duration }{
		"by a busy controller":               {scalerv1.SyncPeriod, 4 * time.Second},
		"with a longer period":               {40 * time.Second, 100 * time.Millisecond},
		"with a longer period, by and large": {20 * time.Second, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				source := taking(50 * time.Millisecond)
				u := userEvery(scalerv1.SyncPeriod)
				s.Join(asking("q", source), u.User)
				pass(time.Minute)
				start, reads := time.Now(), source.count()
				h := &hpa{}
				h.runEvery(t.Context(), s, u, 7*time.Second, 1000, tt.period, tt.late)
				slices.Sort(h.ages)
				if h.ages[600] > recentForExpected || h.ages[len(h.ages)-1] > scalerv1.SyncPeriod {
					t.Errorf("ages %v", h.ages)
				}
				if n, most := source.count()-reads, int(time.Since(start)/scalerv1.SyncPeriod)+2; n > most {
					t.Errorf("%d reads, want at most %d", n, most)
				}
			})
		})
	}
}

// TestManyAskersCostNoMoreReads has HPAs share a question: those that are asked
// together get a fresh value, whatever single ones ask meanwhile.
func TestManyAskersCostNoMoreReads(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := taking(20 * time.Millisecond)
		afters := []time.Duration{time.Second, 4 * time.Second, 9 * time.Second}
		for i := range 5 {
			afters = append(afters, 12*time.Second+time.Duration(i)*100*time.Millisecond)
		}
		users := make([]*testUser, len(afters))
		for i := range users {
			users[i] = userEvery(scalerv1.SyncPeriod)
			s.Join(asking("q", source), users[i].User)
		}
		pass(time.Minute)
		start, reads := time.Now(), source.count()
		hpas := make([]hpa, len(users))
		var all sync.WaitGroup
		for i := range users {
			all.Go(func() { hpas[i].run(t.Context(), s, users[i], afters[i], 40) })
		}
		all.Wait()
		if n, most := source.count()-reads, int(time.Since(start)/scalerv1.SyncPeriod)+2; n > most {
			t.Errorf("%d reads, want at most %d", n, most)
		}
		for i := range hpas {
			oldest := slices.Max(hpas[i].ages[5:])
			if oldest > allowedAge+time.Second || i >= 3 && oldest > recentForExpected {
				t.Errorf("asker %d after %v: up to %v old", i, afters[i], oldest)
			}
		}
	})
}

// TestBatchMeetsItsAskers has the HPA controller ask for a thousand members at
// times all over its period.
func TestBatchMeetsItsAskers(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		const members, rounds = 1000, 12
		box := &mailbox{}
		users := make([]*testUser, members)
		for i := range users {
			users[i] = userEvery(scalerv1.SyncPeriod)
			s.Join(asking(fmt.Sprint("q", i), &letter{box: box}), users[i].User)
		}
		pass(time.Minute)
		var all sync.WaitGroup
		hpas := make([]hpa, members)
		for i := range users {
			all.Go(func() {
				hpas[i].run(t.Context(), s, users[i], time.Duration(i)*scalerv1.SyncPeriod/members, rounds)
			})
		}
		pass(3 * scalerv1.SyncPeriod)
		before, start := len(box.requests()), time.Now()
		all.Wait()
		periods := int(time.Since(start) / scalerv1.SyncPeriod)
		sizes, read := box.requests()[before:], 0
		for _, n := range sizes {
			read += n
		}
		if most := (periods + 1) * int(scalerv1.SyncPeriod/along); len(sizes) > most {
			t.Errorf("%d requests in %d periods, want at most %d", len(sizes), periods, most)
		}
		if most := (periods + 2) * members; read > most {
			t.Errorf("%d members were read in %d periods, want at most %d", read, periods, most)
		}
		for i := range hpas {
			if len(hpas[i].ages) < rounds || hpas[i].oldest() > together {
				t.Fatalf("member %d: ages %v", i, hpas[i].ages)
			}
		}
	})
}

// page is a batch that costs as much for one member as for all.
type page struct{ *mailbox }

func (page) Gathered() {}

// TestWhatCostsAsMuchForOneIsReadForAll has the HPAs of many members ask at all
// times: a request for each window would be fifteen of them an interval.
func TestWhatCostsAsMuchForOneIsReadForAll(t *testing.T) {
	for members, most := range map[int]int{1000: 2, fewMembers: 2 * fewMembers} {
		t.Run(fmt.Sprint(members), func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				const rounds = 12
				box := &mailbox{}
				users := make([]*testUser, members)
				for i := range users {
					users[i] = userEvery(scalerv1.SyncPeriod)
					s.Join(asking(fmt.Sprint("q", i), &letter{box: box, batch: page{box}}), users[i].User)
				}
				pass(time.Minute)
				var all sync.WaitGroup
				hpas := make([]hpa, members)
				before := len(box.requests())
				for i := range users {
					all.Go(func() {
						hpas[i].run(t.Context(), s, users[i], time.Duration(i)*scalerv1.SyncPeriod/time.Duration(members), rounds)
					})
				}
				all.Wait()
				if sizes := box.requests()[before:]; len(sizes) > most*(rounds+2) {
					t.Errorf("%d requests in %d intervals, want at most %d in each", len(sizes), rounds, most)
				}
				for i := range hpas {
					if hpas[i].oldest() > allowedAge+time.Second {
						t.Fatalf("member %d: ages %v", i, hpas[i].ages)
					}
				}
			})
		})
	}
}

// TestStalledSourceHoldsUpNoHPAWorker has the HPA controller ask on while a
// source that was quick does not answer any more.
func TestStalledSourceHoldsUpNoHPAWorker(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &fake{}
		stalled := false
		source.answer = func(ctx context.Context) ([]contract.Reading, error) {
			if stalled {
				<-ctx.Done()
				return nil, errors.New("no answer")
			}
			return contract.One(1), nil
		}
		u := userEvery(scalerv1.SyncPeriod)
		s.Join(asking("q", source), u.User)
		pass(time.Second)
		stalled = true
		reads := source.count()
		var waited time.Duration
		for range 600 { // ten minutes, a question each second
			began := time.Now()
			s.Ask(t.Context(), u.User, fromHPA(u))
			took := time.Since(began)
			if took > patience {
				t.Fatalf("a question waited %v", took)
			}
			waited += took
			<-time.After(time.Second - took)
		}
		if most := time.Duration(source.count()-reads) * patience; waited > most || waited > 2*patience {
			t.Errorf("questions waited %v in all", waited)
		}
		synctest.Wait()
	})
}

func TestCachedMetricsAreReadAtTheIntervalAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &fake{}
		u := userEvery(time.Minute)
		s.Join(asking("q", source), u.User)
		pass(2 * time.Minute)
		reads := source.count()
		for range 40 {
			if _, ok := s.Ask(t.Context(), u.User, Freshness{Allowed: 70 * time.Second}); !ok {
				t.Fatal("no answer")
			}
			pass(scalerv1.SyncPeriod)
		}
		if n := source.count() - reads; n != 10 {
			t.Errorf("%d reads in ten minutes, want one a minute", n)
		}
	})
}
