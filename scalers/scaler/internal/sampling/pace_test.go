package sampling

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"google.golang.org/grpc/codes"
)

// fresh fails the test unless every user has a value that is at most so old.
func fresh(t *testing.T, when string, most time.Duration, users ...*testUser) {
	t.Helper()
	for i, u := range users {
		if snap := u.snap(); snap == nil || snap.Err != nil || time.Since(snap.At) > most {
			t.Fatalf("%s: member %d has %+v, want a value at most %v old", when, i, snap, most)
		}
	}
}

// stalled fails the test unless every user knows that there is no answer.
func stalled(t *testing.T, when string, users ...*testUser) {
	t.Helper()
	for i, u := range users {
		if snap := u.snap(); snap == nil || failure.Status("test", snap.Err).Code() != codes.DeadlineExceeded {
			t.Fatalf("%s: stalled member %d has %+v, want DeadlineExceeded", when, i, snap)
		}
	}
}

func TestStalledMembersFailAlone(t *testing.T) {
	for _, interval := range []time.Duration{time.Second, 5 * time.Second, 30 * time.Second} {
		inBubble(t, func(t *testing.T, s *bench) {
			const healthy, all = 40, 120
			box := &mailbox{}
			letters, users := fill(s, box, all, interval)
			pass(time.Minute)
			for _, l := range letters[healthy:] {
				l.stalled.Store(true)
			}
			// The first round finds out, the second goes without them.
			pass(2*interval + s.Deadline(0, interval))
			stalled(t, "after two rounds", users[healthy:]...)
			for range 150 {
				pass(time.Second)
				fresh(t, "beside stalled members", interval, users[:healthy]...)
			}
			for _, u := range users[:healthy] {
				if u.snap().Took > time.Millisecond {
					t.Fatalf("a healthy member takes %v", u.snap().Took)
				}
			}
			for _, l := range letters {
				l.stalled.Store(false)
			}
			pass(2 * longestBackoff)
			fresh(t, "when all answer again", interval, users...)
			pass(2 * longestPause)
			before := len(box.requests())
			pass(interval)
			if n := len(box.requests()) - before; n != 1 {
				t.Errorf("interval %v: %d requests in a round after all, want 1", interval, n)
			}
		})
	}
}

func TestStalledMembersDelayNoFirstRead(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		box, users := &mailbox{}, []*testUser(nil)
		for i := range 5 * largestBatch {
			l, u := &letter{box: box}, userEvery(30*time.Second)
			if l.stalled.Store(i%3 == 0); i%3 != 0 {
				users = append(users, u)
			}
			s.Join(asking(fmt.Sprint("q", i), l), u.User)
		}
		pass(4 * time.Second)
		fresh(t, "with stalled members in all requests", 4*time.Second, users...)
	})
}

func TestReadsByThemselvesAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		var inside, worst atomic.Int32
		box := &mailbox{}
		for i := range largestBatch {
			l := &letter{box: box}
			l.stalled.Store(true)
			l.answer = func(ctx context.Context) ([]contract.Reading, error) {
				worst.Store(max(worst.Load(), inside.Add(1)))
				defer inside.Add(-1)
				<-ctx.Done()
				return nil, ctx.Err()
			}
			s.Join(asking(fmt.Sprint("q", i), l), userEvery(10*time.Second).User)
		}
		pass(10 * time.Minute)
		if n := int(worst.Load()); n < aloneAtOnce || n > 10*aloneAtOnce {
			t.Errorf("%d members read by themselves at once, want %d to %d", n, aloneAtOnce, 10*aloneAtOnce)
		}
	})
}

// TestUnaskedMembersAreLeftOut has more members stall than can be asked one by
// one in the time that is left: those that were not are left out of the next
// batch, too.
func TestUnaskedMembersAreLeftOut(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		const healthy, interval = 10, 30 * time.Second
		var mixed atomic.Int32
		box := &mailbox{answer: func(ctx context.Context, members []contract.Source, answer func(int, contract.Result)) error {
			waiting := 0
			for i, m := range members {
				if m.(*letter).stalled.Load() {
					waiting++
				} else {
					answer(i, contract.Result{Readings: contract.One(1)})
				}
			}
			if waiting == 0 {
				return nil
			}
			if waiting < len(members) {
				mixed.Add(1)
			}
			<-ctx.Done()
			return ctx.Err()
		}}
		letters, _ := fill(s, box, largestBatch, interval)
		for _, l := range letters[healthy:] {
			l.stalled.Store(true)
		}
		pass(interval + time.Second) // the last tick is within it, and not at its end
		if mixed.Load() == 0 {
			t.Fatal("nobody was read beside stalled members at first")
		}
		mixed.Store(0)
		pass(5 * time.Minute)
		if n := mixed.Load(); n > 0 {
			t.Errorf("%d batches of members that answer had stalled ones in them", n)
		}
	})
}

// TestSlowListing has a batch that is one request for all, which takes too
// long, while every member answers by itself.
func TestSlowListing(t *testing.T) {
	for name, takes := range map[string]time.Duration{"slow": 6 * time.Second, "stalled": time.Hour} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				var slow atomic.Int64
				slow.Store(int64(takes))
				box := &mailbox{answer: func(ctx context.Context, members []contract.Source, answer func(int, contract.Result)) error {
					select {
					case <-time.After(time.Duration(slow.Load())):
					case <-ctx.Done():
						return ctx.Err()
					}
					return answerTheRest(ctx, members, answer)
				}}
				const interval = 30 * time.Second
				letters, users := fill(s, box, 100, interval)
				pass(6 * time.Second)
				fresh(t, "in the first round", 6*time.Second, users...)
				before, alone := len(box.requests()), letters[0].count()
				pass(firstPause / 2)
				if n := len(box.requests()) - before; n != 0 {
					t.Errorf("%d requests by the slow way, want none so soon", n)
				}
				if n := letters[0].count() - alone; n != 1 {
					t.Errorf("a member was read %d times by itself, want once in a round", n)
				}
				for range 3600 {
					pass(time.Second)
					fresh(t, "in the hour after", interval+6*time.Second, users...)
				}
				if n := len(box.requests()) - before; n < 5 || n > 15 {
					t.Errorf("%d requests by the slow way in an hour, want some now and then", n)
				}
				slow.Store(0)
				pass(longestPause + interval)
				before = len(box.requests())
				pass(10 * interval)
				if n := len(box.requests()) - before; n != 10 {
					t.Errorf("%d requests in ten rounds after all, want 10", n)
				}
			})
		})
	}
}

func TestSlowMemberHasAllOfItsTime(t *testing.T) {
	slowly := func(ctx context.Context) ([]contract.Reading, error) {
		select {
		case <-time.After(7 * time.Second):
			return contract.One(7), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	for name, together := range map[string]bool{"together": true, "by itself": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				box := &mailbox{answer: func(ctx context.Context, members []contract.Source, answer func(int, contract.Result)) error {
					for i, m := range members {
						if m.(*letter).answer == nil {
							answer(i, contract.Result{Readings: contract.One(1)})
						} else if together {
							readings, err := slowly(ctx)
							answer(i, contract.Result{Readings: readings, Err: err})
						}
					}
					<-ctx.Done()
					return nil
				}}
				_, users := fill(s, box, 10, 30*time.Second)
				slow := userEvery(30 * time.Second)
				s.Join(asking("slow", &letter{box: box, fake: fake{answer: slowly}}), slow.User)
				pass(5 * time.Minute)
				for range 600 {
					pass(time.Second)
					fresh(t, "of the slow one", 38*time.Second, slow)
					fresh(t, "beside the slow one", 36*time.Second, users...)
				}
			})
		})
	}
}

// ringingLetter is a letter with a doorbell.
type ringingLetter struct {
	letter
	doorbell ringer
}

func (l *ringingLetter) Listen(ctx context.Context, listening, ring func()) error {
	return l.doorbell.Listen(ctx, listening, ring)
}

// TestRingBesideSlowMembers rings a member that answers while all places of
// those that do not are taken.
func TestRingBesideSlowMembers(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		box := &mailbox{}
		letters, _ := fill(s, box, 3*largestBatch, 10*time.Second)
		for _, l := range letters {
			l.stalled.Store(true)
		}
		rung, u := &ringingLetter{letter: letter{box: box}}, idleUser(10*time.Minute)
		s.Join(asking("ringing", rung), u.User)
		pass(time.Minute)
		for range 20 {
			before := u.times()
			rung.added.Add(1)
			rung.doorbell.ring()
			pass(time.Second)
			if u.times() == before {
				t.Fatal("a ring is not answered beside stalled members")
			}
			pass(time.Second)
		}
	})
}

// TestAnsweredStaysAnswered has a batch that fails after it answered some.
func TestAnsweredStaysAnswered(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		box := &mailbox{answer: func(_ context.Context, members []contract.Source, answer func(int, contract.Result)) error {
			for i, m := range members {
				if !m.(*letter).poisoned.Load() {
					answer(i, contract.Result{Readings: contract.One(1)})
					answer(i, contract.Result{Err: errors.New("overwritten")})
				}
			}
			return errors.New("connection lost")
		}}
		letters, users := fill(s, box, 10, 10*time.Second)
		letters[0].poisoned.Store(true)
		pass(time.Minute)
		fresh(t, "beside a failure", 10*time.Second, users[1:]...)
		if err := users[0].snap().Err; err == nil || err.Error() != "connection lost" {
			t.Errorf("err = %v, want that of the batch", err)
		}
	})
}

// onePage is a mailbox that is read as one.
type onePage struct{ mailbox }

func (*onePage) Undivided() {}

type line struct {
	letter
	page *onePage
}

func (l *line) Batch() contract.Batch { return l.page }

func TestUndividedBatchHasAllOfItsTime(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		page := &onePage{mailbox{answer: func(ctx context.Context, members []contract.Source, answer func(int, contract.Result)) error {
			select {
			case <-time.After(8 * time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
			for i := range members {
				answer(i, contract.Result{Readings: contract.One(1)})
			}
			return nil
		}}}
		lines, users := make([]*line, 20), make([]*testUser, 20)
		for i := range lines {
			lines[i], users[i] = &line{page: page}, userEvery(30*time.Second)
			s.Join(asking(fmt.Sprint("q", i), lines[i]), users[i].User)
		}
		pass(9 * time.Second)
		for range 300 {
			pass(time.Second)
			fresh(t, "of a slow page", 40*time.Second, users...)
		}
		for _, l := range lines {
			if l.count() > 0 {
				t.Fatal("a line was read by itself")
			}
		}
	})
}

// TestSlowSourcesLeavePlaces has sources that are not read in batches.
func TestSlowSourcesLeavePlaces(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		open := func(answer func(context.Context) ([]contract.Reading, error)) func(context.Context) (contract.Source, error) {
			return func(ctx context.Context) (contract.Source, error) {
				_, err := pool.Shared(ctx, "database", func(context.Context) (*link, error) { return &link{}, nil })
				return &fake{answer: answer}, err
			}
		}
		for i := range 2 * pool.ReadsPerEndpoint {
			b := asking(fmt.Sprint("stalled", i), nil)
			b.Open = open(func(ctx context.Context) ([]contract.Reading, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			s.Join(b, userEvery(10*time.Second).User)
		}
		quick := userEvery(10 * time.Second)
		b := asking("quick", nil)
		b.Open = open(nil)
		s.Join(b, quick.User)
		pass(5 * time.Minute)
		for range 300 {
			pass(time.Second)
			fresh(t, "beside stalled sources", 10*time.Second, quick)
		}
	})
}
