package sampling

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/metrics"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// allowedAge is that of an answer to the HPA controller.
const allowedAge = scalerv1.SyncPeriod

// bench is a sampler that runs until its test ends, on the bubble's clock.
type bench struct {
	*Sampler
	stop func()
}

func startSampler(t *testing.T) *bench {
	s := New(Config{
		Log: slog.New(slog.DiscardHandler), Metrics: metrics.New("test"), Pool: pool.New(pool.Config{}),
		ReadTimeout: 10 * time.Second, MaxReadTimeout: time.Minute,
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Start(ctx, time.Minute)
	}()
	b := &bench{Sampler: s, stop: sync.OnceFunc(func() {
		cancel()
		<-done
	})}
	t.Cleanup(b.stop)
	return b
}

// size is the number of open questions.
func (s *Sampler) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.questions)
}

// inBubble runs a test with a sampler on a clock that jumps.
func inBubble(t *testing.T, test func(t *testing.T, s *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := startSampler(t)
		defer s.stop()
		test(t, s)
	})
}

// fake is a source whose Read is a function. It counts.
type fake struct {
	answer func(ctx context.Context) ([]contract.Reading, error)

	mu     sync.Mutex
	reads  []time.Time
	opens  atomic.Int32
	closes atomic.Int32
	inside atomic.Int32
	worst  atomic.Int32 // most reads at once
}

func (f *fake) Read(ctx context.Context) ([]contract.Reading, error) {
	if n := f.inside.Add(1); n > f.worst.Load() {
		f.worst.Store(n)
	}
	defer f.inside.Add(-1)
	f.mu.Lock()
	f.reads = append(f.reads, time.Now())
	f.mu.Unlock()
	if f.answer == nil {
		return contract.One(1), nil
	}
	return f.answer(ctx)
}

func (f *fake) Close() error { f.closes.Add(1); return nil }

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.reads)
}

func (f *fake) times() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.reads)
}

// asking is a question of one metric.
func asking(question string, source contract.Source) Query {
	return Query{
		ID: question, Type: "test", Metrics: 1,
		Open: func(context.Context) (contract.Source, error) {
			if f, ok := source.(interface{ opened() }); ok {
				f.opened()
			}
			return source, nil
		},
	}
}

func (f *fake) opened() { f.opens.Add(1) }

// testUser is a user that remembers the latest snapshot.
type testUser struct {
	*User
	mu     sync.Mutex
	latest *Snapshot
	got    int
}

func userEvery(interval time.Duration) *testUser {
	u := &testUser{User: NewUser(Wish{Interval: interval})}
	u.Deliver = func(s *Snapshot) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.got++
		if u.latest == nil || s.Seq > u.latest.Seq {
			u.latest = s
		}
	}
	return u
}

// times is how often the user was told.
func (u *testUser) times() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.got
}

func (u *testUser) snap() *Snapshot {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.latest
}

// pass lets time pass and everything due in it happen. In a bubble nothing is
// waited for: the clock jumps.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestEqualQuestionsShareOneSource(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &fake{}
		users := make([]*testUser, 1000)
		for i := range users {
			users[i] = userEvery(30 * time.Second)
			s.Join(asking("q", source), users[i].User)
		}
		pass(time.Second)
		if opens, reads := source.opens.Load(), source.count(); opens != 1 || reads != 1 {
			t.Errorf("opens = %d, reads = %d, want 1 and 1", opens, reads)
		}
		for _, u := range users {
			if u.snap() == nil {
				t.Fatal("a user was told nothing")
			}
		}
		pass(5 * time.Minute)
		if reads := source.count(); reads < 10 || reads > 12 {
			t.Errorf("reads in five minutes at 30 s = %d, want 11", reads)
		}
	})
}

func TestShortestIntervalOfTheUsersCounts(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &fake{}
		slow, quick := userEvery(time.Minute), userEvery(10*time.Second)
		s.Join(asking("q", source), slow.User)
		pass(time.Second)
		s.Join(asking("q", source), quick.User)
		pass(time.Minute)
		if reads := source.count(); reads < 6 || reads > 8 {
			t.Errorf("reads in a minute = %d, want about 7", reads)
		}
		s.Leave(quick.User)
		pass(time.Minute)
		before := source.count()
		pass(10 * time.Minute)
		if reads := source.count() - before; reads != 10 {
			t.Errorf("reads in ten minutes at one a minute = %d", reads)
		}
	})
}

func TestQuestionsCreatedTogetherDoNotTickTogether(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		const questions = 1000
		sources := make([]*fake, questions)
		for i := range sources {
			sources[i] = &fake{}
			s.Join(asking(fmt.Sprint("q", i), sources[i]), userEvery(30*time.Second).User)
		}
		pass(time.Second)
		start := time.Now()
		pass(30 * time.Second)
		perSecond := map[int]int{}
		for _, source := range sources {
			for _, at := range source.times() {
				if since := at.Sub(start); since >= 0 {
					perSecond[int(since/time.Second)]++
				}
			}
		}
		for second, n := range perSecond {
			if n > 3*questions/30 {
				t.Errorf("%d of %d reads in second %d", n, questions, second)
			}
		}
	})
}

func TestFailingSourceBacksOffAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		bad := &fake{answer: func(context.Context) ([]contract.Reading, error) { return nil, errors.New("down") }}
		good := &fake{}
		unlucky, lucky := userEvery(10*time.Second), userEvery(10*time.Second)
		s.Join(asking("bad", bad), unlucky.User)
		s.Join(asking("good", good), lucky.User)
		pass(10 * time.Minute)
		if n := good.count(); n < 60 {
			t.Errorf("the healthy source was read %d times, want 61", n)
		}
		if n := bad.count(); n < 12 || n > 22 {
			t.Errorf("the failing source was read %d times, want about one in 40 s", n)
		}
		if bad.opens.Load() != 1 {
			t.Errorf("the failing source was opened %d times: its connection is not at fault", bad.opens.Load())
		}
		if snap := unlucky.snap(); snap.Outcome != scalerv1.Outcome_OUTCOME_ERROR || snap.Readings != nil {
			t.Errorf("outcome = %v with %v, want an error without readings", snap.Outcome, snap.Readings)
		}
	})
}

func TestRefusedLoginOpensTheSourceAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &fake{}
		source.answer = func(context.Context) ([]contract.Reading, error) {
			if source.opens.Load() == 1 {
				return nil, status.Error(codes.Unauthenticated, "who are you")
			}
			return contract.One(7), nil
		}
		u := userEvery(10 * time.Second)
		s.Join(asking("q", source), u.User)
		pass(time.Second)
		if u.snap().Err == nil {
			t.Fatal("no failure")
		}
		pass(20 * time.Second)
		if u.snap().Err != nil || source.opens.Load() != 2 || source.closes.Load() != 1 {
			t.Errorf("err = %v, opens = %d, closes = %d", u.snap().Err, source.opens.Load(), source.closes.Load())
		}
	})
}

func TestStalledSourceDelaysNobody(t *testing.T) {
	tests := map[string]func(release chan struct{}) func(context.Context) ([]contract.Reading, error){
		"that heeds its deadline": func(chan struct{}) func(context.Context) ([]contract.Reading, error) {
			return func(ctx context.Context) ([]contract.Reading, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		},
		"that heeds nothing": func(release chan struct{}) func(context.Context) ([]contract.Reading, error) {
			return func(context.Context) ([]contract.Reading, error) {
				<-release
				return contract.One(1), nil
			}
		},
	}
	for name, stall := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				release := make(chan struct{})
				var stalled []*fake
				var last *testUser
				for i := range 200 {
					f := &fake{answer: stall(release)}
					stalled = append(stalled, f)
					last = userEvery(10 * time.Second)
					s.Join(asking(fmt.Sprint("stalled", i), f), last.User)
				}
				good := &fake{}
				s.Join(asking("good", good), userEvery(10*time.Second).User)
				pass(10 * time.Minute)
				if n := good.count(); n < 60 {
					t.Errorf("the healthy source was read %d times in ten minutes, want 61", n)
				}
				for _, f := range stalled {
					if f.worst.Load() > 1 {
						t.Fatalf("%d reads of one source at once", f.worst.Load())
					}
				}
				snap := last.snap()
				if snap == nil || failure.Status("test", snap.Err).Code() != codes.DeadlineExceeded || time.Since(snap.At) > time.Minute {
					t.Errorf("snapshot = %+v, want a recent DeadlineExceeded", snap)
				}
				close(release)
			})
		})
	}
}

// link is a shared connection.
type link struct{ closed atomic.Bool }

func (c *link) Close() error { c.closed.Store(true); return nil }

func TestReadsOfOneEndpointAreLimited(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		var inside, worst atomic.Int32
		var dialled atomic.Int32
		for i := range 200 {
			b := asking(fmt.Sprint("q", i), nil)
			b.Open = func(ctx context.Context) (contract.Source, error) {
				if _, err := pool.Shared(ctx, "broker", func(context.Context) (*link, error) { dialled.Add(1); return &link{}, nil }); err != nil {
					return nil, err
				}
				return &fake{answer: func(ctx context.Context) ([]contract.Reading, error) {
					worst.Store(max(worst.Load(), inside.Add(1)))
					defer inside.Add(-1)
					<-ctx.Done()
					return nil, ctx.Err()
				}}, nil
			}
			s.Join(b, userEvery(10*time.Second).User)
		}
		pass(time.Minute)
		if n := dialled.Load(); n != 1 {
			t.Errorf("dialled %d times", n)
		}
		if worst.Load() != pool.ReadsPerEndpoint {
			t.Errorf("%d reads of one endpoint at once, want %d", worst.Load(), pool.ReadsPerEndpoint)
		}
	})
}

func TestQuestionIsKeptAWhile(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &fake{}
		u := userEvery(10 * time.Second)
		s.Join(asking("q", source), u.User)
		pass(time.Second)
		s.Leave(u.User)
		pass(KeepFor - time.Second)
		again := userEvery(10 * time.Second)
		reads := source.count()
		s.Join(asking("q", source), again.User)
		pass(time.Second)
		if source.opens.Load() != 1 || source.closes.Load() != 0 || source.count() != reads+1 {
			t.Errorf("opens = %d, closes = %d, reads = %d after %d", source.opens.Load(), source.closes.Load(), source.count(), reads)
		}
		s.Leave(again.User)
		pass(KeepFor + time.Second)
		if source.closes.Load() != 1 {
			t.Errorf("closes = %d, want 1", source.closes.Load())
		}
		if n := s.size(); n != 0 {
			t.Errorf("%d questions are left", n)
		}
	})
}

func TestNothingIsReadWithoutUsers(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &fake{}
		u := userEvery(time.Second)
		s.Join(asking("q", source), u.User)
		pass(time.Second)
		s.Leave(u.User)
		reads := source.count()
		pass(30 * time.Second)
		if source.count() != reads {
			t.Errorf("%d reads without a user", source.count()-reads)
		}
	})
}

// timed answers differently at fixed times.
type timed struct {
	fake
	at time.Time
}

func (s *timed) Next(now time.Time) time.Time {
	if now.Before(s.at) {
		return s.at
	}
	return now.Add(24 * time.Hour)
}

func TestTimedSourceIsReadAtItsTime(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &timed{at: time.Now().Add(17*time.Second + 300*time.Millisecond)}
		s.Join(asking("q", source), userEvery(30*time.Second).User)
		pass(29 * time.Second)
		for _, at := range source.times() {
			if at.Equal(source.at) {
				return
			}
		}
		t.Errorf("read at %v, want a read at %v", source.times(), source.at)
	})
}

func TestPanicIsAnInternalError(t *testing.T) {
	tests := map[string]Query{
		"in read": asking("q", &fake{answer: func(context.Context) ([]contract.Reading, error) { panic("secret") }}),
		"in open": {ID: "q", Type: "test", Open: func(context.Context) (contract.Source, error) { panic("secret") }},
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				u := userEvery(10 * time.Second)
				s.Join(b, u.User)
				pass(time.Second)
				st := failure.Status("test", u.snap().Err)
				if st.Code() != codes.Internal || strings.Contains(st.Message(), "secret") {
					t.Errorf("status = %v", st)
				}
			})
		})
	}
}

func TestSecretsAreTakenOutOfErrors(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		u := userEvery(10 * time.Second)
		u.Secrets = trigger.Trigger{}.Secrets(trigger.Request{}, &contract.Credentials{Parameters: map[string]string{"password": "hunter2"}})
		s.Join(asking("q", &fake{answer: func(context.Context) ([]contract.Reading, error) {
			return nil, status.Error(codes.PermissionDenied, "amqp://guest:hunter2@host refused")
		}}), u.User)
		pass(time.Second)
		st := failure.Status("test", u.snap().Err)
		if st.Code() != codes.PermissionDenied || st.Message() != "test: amqp://guest:***@host refused" {
			t.Errorf("status = %v", st)
		}
	})
}

func TestAskNeverWaitsForASlowSource(t *testing.T) {
	tests := map[string]struct {
		age      time.Duration // of the snapshot when asked
		first    time.Duration // how long the first read took
		second   time.Duration // how long the next one would take
		failing  bool
		ok       bool
		wait     time.Duration // how long the answer took
		newer    bool          // a newer snapshot is given
		interval time.Duration
	}{
		"a young snapshot is given at once": {
			age: 14 * time.Second, ok: true,
		},
		"an old one is read again when reads are quick": {
			age: 16 * time.Second, second: 100 * time.Millisecond, ok: true, wait: 100 * time.Millisecond, newer: true,
		},
		"but not for longer than patience": {
			age: 16 * time.Second, second: 2 * time.Second, ok: true, wait: patience,
		},
		"an old one is given at once when reads are slow": {
			age: 16 * time.Second, first: time.Second, second: time.Second, ok: true,
		},
		"a very old one is not given": {
			age: 31 * time.Second, first: time.Second, second: time.Second,
		},
		"a failure stays one however old": {
			age: 31 * time.Second, first: time.Second, failing: true, ok: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				source := &fake{}
				source.answer = func(ctx context.Context) ([]contract.Reading, error) {
					took := tt.second
					if source.count() == 1 {
						took = tt.first
					}
					<-time.After(took)
					if tt.failing {
						return nil, errors.New("down")
					}
					return contract.One(float64(source.count())), nil
				}
				u := userEvery(24 * time.Hour)
				s.Join(asking("q", source), u.User)
				pass(tt.first)
				first := u.snap()
				pass(tt.age)
				start := time.Now()
				snap, ok := s.Ask(t.Context(), u.User, Freshness{Allowed: allowedAge})
				if ok != tt.ok || time.Since(start) != tt.wait || (snap != first) != tt.newer {
					t.Errorf("ok = %v, waited %v, newer = %v; want %v, %v, %v", ok, time.Since(start), snap != first, tt.ok, tt.wait, tt.newer)
				}
			})
		})
	}
}

// TestWhoKnowsOfALaterReadingGetsOne has the question read again for who asks for a
// reading of no more than an age, where reads are quick and at most once a second.
func TestWhoKnowsOfALaterReadingGetsOne(t *testing.T) {
	for name, tt := range map[string]struct {
		took, age time.Duration
		newer     bool
	}{
		"as fresh as that": {100 * time.Millisecond, 200 * time.Millisecond, false},
		"older":            {100 * time.Millisecond, 400 * time.Millisecond, true},
		"slow":             {300 * time.Millisecond, 400 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				source := &fake{}
				source.answer = func(context.Context) ([]contract.Reading, error) {
					<-time.After(tt.took)
					return contract.One(float64(source.count())), nil
				}
				u := userEvery(24 * time.Hour)
				s.Join(asking("q", source), u.User)
				pass(tt.took)
				first := u.snap()
				pass(tt.age)
				pressing := Freshness{Allowed: allowedAge, Pressing: 300 * time.Millisecond}
				snap, ok := s.Ask(t.Context(), u.User, pressing)
				if !ok || (snap != first) != tt.newer {
					t.Errorf("ok %v, newer %v, want %v", ok, snap != first, tt.newer)
				}
				before := source.count()
				pass(600 * time.Millisecond)
				if snap, ok := s.Ask(t.Context(), u.User, pressing); tt.newer && (!ok || source.count() != before) {
					t.Errorf("read again within a second: %v, %v", snap, ok)
				}
				pass(600 * time.Millisecond)
				if s.Ask(t.Context(), u.User, pressing); tt.newer && source.count() != before+1 {
					t.Error("not read again after a second")
				}
			})
		})
	}
}

func TestAskWaitsForTheFirstRead(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &fake{answer: func(context.Context) ([]contract.Reading, error) {
			<-time.After(2 * time.Second)
			return contract.One(1), nil
		}}
		u := userEvery(30 * time.Second)
		s.Join(asking("q", source), u.User)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if snap, _ := s.Ask(short, u.User, Freshness{Allowed: allowedAge}); snap != nil {
			t.Errorf("snapshot = %v before the first read", snap)
		}
		if snap, ok := s.Ask(t.Context(), u.User, Freshness{Allowed: allowedAge}); !ok || snap.Readings[0].Value != 1 {
			t.Errorf("snapshot = %v, %v", snap, ok)
		}
	})
}

func TestJudge(t *testing.T) {
	last, now, down := contract.One(4), contract.One(0), errors.New("down")
	missing := fmt.Errorf("query: %w", contract.ErrNoData)
	partial := fmt.Errorf("half of it is lost: %w", contract.ErrPartial)
	for name, tt := range map[string]struct {
		readings []contract.Reading
		err      error
		want     Snapshot
	}{
		"a value":                  {readings: now, want: Snapshot{Outcome: scalerv1.Outcome_OUTCOME_VALUE, Readings: now, Last: now}},
		"no data":                  {err: missing, want: Snapshot{Outcome: scalerv1.Outcome_OUTCOME_NO_DATA, Missing: missing, Last: last}},
		"part of the data":         {err: partial, want: Snapshot{Outcome: scalerv1.Outcome_OUTCOME_NO_DATA, Missing: partial, Last: last}},
		"an error":                 {err: down, want: Snapshot{Outcome: scalerv1.Outcome_OUTCOME_ERROR, Err: down, Last: last}},
		"readings beside no data":  {readings: now, err: missing, want: Snapshot{Outcome: scalerv1.Outcome_OUTCOME_NO_DATA, Missing: missing, Last: last}},
		"readings beside an error": {readings: now, err: down, want: Snapshot{Outcome: scalerv1.Outcome_OUTCOME_ERROR, Err: down, Last: last}},
	} {
		t.Run(name, func(t *testing.T) {
			s := Snapshot{Last: last}
			s.judge(tt.readings, tt.err)
			if !reflect.DeepEqual(s, tt.want) {
				t.Errorf("snapshot = %+v, want %+v", s, tt.want)
			}
		})
	}
}

func TestNaNAndInfinityAreNoData(t *testing.T) {
	for name, reading := range map[string]contract.Reading{
		"NaN":             {Value: nan(), Activity: 1},
		"infinity":        {Value: 1 / zero, Activity: 1},
		"activity is NaN": {Value: 1, Activity: nan()},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Snapshot{}
			s.judge([]contract.Reading{reading}, nil)
			if s.Outcome != scalerv1.Outcome_OUTCOME_NO_DATA {
				t.Errorf("outcome = %v", s.Outcome)
			}
		})
	}
}

var zero float64

func nan() float64 { return zero / zero }

// A password may be a word of ours: masked there, the sentence would tell it.
func TestWordsOfOursAreNotTakenForCredentials(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		u := userEvery(10 * time.Second)
		u.Secrets = trigger.Trigger{}.Secrets(trigger.Request{}, &contract.Credentials{Parameters: map[string]string{"password": "wrong"}})
		s.Join(asking("q", &fake{answer: func(context.Context) ([]contract.Reading, error) {
			refused := words.Errorf(codes.Unauthenticated, "login refused: wrong user or password")
			return nil, fmt.Errorf("list %s: %w", "amqp://guest:wrong@host", refused)
		}}), u.User)
		pass(time.Second)
		st := failure.Status("test", u.snap().Err)
		if want := "test: list amqp://guest:***@host: login refused: wrong user or password"; st.Code() != codes.Unauthenticated || st.Message() != want {
			t.Errorf("status = %v, want %q", st, want)
		}
	})
}
