package sampling

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/retry"
)

// ringer is a source with a doorbell that the test rings.
type ringer struct {
	fake
	refuse  atomic.Pointer[error]
	backlog atomic.Int64  // for sources that answer it
	user    *testUser     // who asks, where the test wants to know
	stands  time.Duration // until it is dropped; 0 for ever

	mu        sync.Mutex
	ringIt    func()
	listening atomic.Int32 // at once
	listens   atomic.Int32 // ever
}

func (r *ringer) Listen(ctx context.Context, listening, ring func()) error {
	r.listens.Add(1)
	if err := r.refuse.Load(); err != nil {
		return *err
	}
	r.listening.Add(1)
	defer r.listening.Add(-1)
	r.mu.Lock()
	r.ringIt = ring
	r.mu.Unlock()
	listening()
	if r.stands > 0 {
		return cmp.Or(retry.SleepUntil(ctx, time.Now().Add(r.stands)), errors.New("connection reset"))
	}
	<-ctx.Done()
	return ctx.Err()
}

type ringerAtWork struct{ *ringer }

func (ringerAtWork) RingsAtWork() {}

func (r *ringer) ring() {
	r.mu.Lock()
	ring := r.ringIt
	r.mu.Unlock()
	ring()
}

func idleUser(interval time.Duration) *testUser {
	u := userEvery(interval)
	u.Idle = true
	return u
}

// refuseWith makes Listen fail.
func (r *ringer) refuseWith(err error) { r.refuse.Store(&err) }

func TestRingIsReadAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		var backlog atomic.Int64
		source := &ringer{}
		source.answer = func(context.Context) ([]contract.Reading, error) { return contract.One(float64(backlog.Load())), nil }
		u := idleUser(time.Hour)
		s.Join(asking("q", source), u.User)
		pass(time.Minute)
		if reads := source.count(); reads != 2 {
			t.Errorf("%d reads, want the first and one after listening began", reads)
		}
		backlog.Store(5)
		source.ring()
		pass(0)
		if snap := u.snap(); snap.Readings[0].Value != 5 || snap.Detection != scalerv1.Detection_DETECTION_DOORBELL {
			t.Errorf("snapshot = %+v right after the ring", snap)
		}
	})
}

// TestForgedRingsCostLittle rings twenty times a second for nothing, at
// questions that share a connection: what they cost it does not grow with them.
func TestForgedRingsCostLittle(t *testing.T) {
	for _, n := range []int{1, 10, 200} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				sources := sharingAConnection(s, n)
				pass(3 * time.Minute)
				before := counts(sources)
				for range 20 * 100 {
					for _, source := range sources {
						source.ring()
					}
					<-time.After(50 * time.Millisecond)
				}
				// Each is read 4 times anyway, and once for each step of the gap.
				if made, most := counts(sources)-before, (fruitlessReads+1)*100+12*n; made > most {
					t.Errorf("%d reads in 100 s of forged rings, want at most %d", made, most)
				}
			})
		})
	}
}

// TestRingsOfOthersDelayNoAnswer has ten questions that are rung whenever there
// is work for any of them: each hears of its own at once all the same.
func TestRingsOfOthersDelayNoAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		sources := sharingAConnection(s, 10)
		pass(time.Minute)
		for range 1000 { // for nobody
			for _, source := range sources {
				source.ring()
			}
			<-time.After(70 * time.Millisecond)
		}
		for i, source := range sources {
			source.backlog.Store(1)
			for _, other := range sources {
				other.ring()
			}
			pass(longestRing)
			if got := source.user.snap().Readings[0].Value; got != 1 {
				t.Errorf("question %d: its ring was not answered within %v", i, longestRing)
			}
		}
	})
}

// sharingAConnection joins idle questions whose answers are their backlogs.
func sharingAConnection(s *bench, n int) []*ringer {
	sources := make([]*ringer, n)
	for i := range sources {
		source := &ringer{}
		source.answer = func(context.Context) ([]contract.Reading, error) {
			return contract.One(float64(source.backlog.Load())), nil
		}
		b := asking(fmt.Sprint("q", i), nil)
		b.Open = func(ctx context.Context) (contract.Source, error) {
			_, err := pool.Shared(ctx, "database", func(context.Context) (*link, error) { return &link{}, nil })
			return source, err
		}
		source.user = idleUser(30 * time.Second)
		s.Join(b, source.user.User)
		sources[i] = source
	}
	return sources
}

func counts(sources []*ringer) (reads int) {
	for _, source := range sources {
		reads += source.count()
	}
	return reads
}

func TestRingsThatChangeSomethingAreLimitedOnlyByTheirRate(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &ringer{}
		source.answer = func(context.Context) ([]contract.Reading, error) { return contract.One(float64(source.count())), nil }
		s.Join(asking("q", source), idleUser(time.Hour).User)
		pass(time.Minute)
		before := source.count()
		for range 1000 {
			source.ring()
			<-time.After(10 * time.Millisecond)
		}
		if n := source.count() - before; n < 39 || n > 42 {
			t.Errorf("%d reads in ten seconds, want one per 250 ms", n)
		}
	})
}

// TestRingsAtWorkAreAnsweredOnceASecond has a source ring all the time while its
// trigger is at work: it is read once a second as long as that changes something,
// more seldom when it does not, and at the first ring after a pause at once.
func TestRingsAtWorkAreAnsweredOnceASecond(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		var changes atomic.Bool
		source := &ringer{}
		source.answer = func(context.Context) ([]contract.Reading, error) {
			if changes.Load() {
				return contract.One(float64(source.count())), nil
			}
			return contract.One(0), nil
		}
		u := userEvery(time.Hour)
		s.Join(asking("q", ringerAtWork{source}), u.User)
		pass(time.Minute)
		rings := func(what string, least, most int) {
			before := source.count()
			for range 2000 {
				source.ring()
				<-time.After(10 * time.Millisecond)
			}
			if n := source.count() - before; n < least || n > most {
				t.Errorf("%s: %d reads in 20 seconds, want %d to %d", what, n, least, most)
			}
		}
		changes.Store(true)
		rings("each changes something", 19, 22)
		changes.Store(false)
		rings("none changes anything", 5, 8)
		pass(2 * longestRingAtWork)
		changes.Store(true)
		before := source.count()
		source.ring()
		pass(time.Millisecond)
		if n := source.count() - before; n != 1 {
			t.Errorf("%d reads at the first ring of a burst", n)
		}
		s.Change(u.User, Wish{Interval: time.Hour, Idle: true})
		pass(time.Minute)
		before = source.count()
		for range 100 {
			source.ring()
			<-time.After(10 * time.Millisecond)
		}
		if n := source.count() - before; n < 3 || n > 5 {
			t.Errorf("%d reads a second at rest, want one per 250 ms", n)
		}
	})
}

func TestRingDuringAReadAsksForAnother(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		var backlog atomic.Int64
		source := &ringer{}
		source.answer = func(context.Context) ([]contract.Reading, error) {
			n := backlog.Load()
			<-time.After(time.Second)
			return contract.One(float64(n)), nil
		}
		u := idleUser(time.Hour)
		s.Join(asking("q", source), u.User)
		pass(time.Minute)
		source.ring()
		pass(500 * time.Millisecond)
		backlog.Store(9) // after the read began
		source.ring()
		pass(3 * time.Second)
		if v := u.snap().Readings[0].Value; v != 9 {
			t.Errorf("value = %v, want what arrived during the read", v)
		}
	})
}

func TestListensOnlyWhileSomebodyIdleWantsIt(t *testing.T) {
	tests := map[string]struct {
		idle     bool
		doorbell scalerv1.Doorbell
		silent   string
		atWork   bool // the source wants to be heard then, too
		want     int32
	}{
		"active, of a source that answers":         {atWork: true, want: 1},
		"active and off, of a source that answers": {atWork: true, doorbell: scalerv1.Doorbell_DOORBELL_OFF},
		"idle":                            {idle: true, want: 1},
		"active":                          {},
		"turned off":                      {idle: true, doorbell: scalerv1.Doorbell_DOORBELL_OFF},
		"silent unless asked":             {idle: true, silent: "metered"},
		"silent and asked":                {idle: true, silent: "metered", doorbell: scalerv1.Doorbell_DOORBELL_ON, want: 1},
		"turned on but active is no need": {doorbell: scalerv1.Doorbell_DOORBELL_ON},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				source := &ringer{}
				u := userEvery(30 * time.Second)
				u.Idle, u.Doorbell, u.Silent = tt.idle, tt.doorbell, tt.silent
				if tt.atWork {
					s.Join(asking("q", ringerAtWork{source}), u.User)
				} else {
					s.Join(asking("q", source), u.User)
				}
				pass(time.Second)
				if n := source.listening.Load(); n != tt.want {
					t.Errorf("%d listen, want %d", n, tt.want)
				}
			})
		})
	}
}

// finding is a source that relies on a Read before Listen, and on another one
// before Listen is called again.
type finding struct {
	ringer
	found    atomic.Bool
	violated atomic.Bool
}

func (f *finding) Read(ctx context.Context) ([]contract.Reading, error) {
	readings, err := f.ringer.Read(ctx)
	if err == nil || errors.Is(err, contract.ErrNoData) {
		f.found.Store(true)
	}
	return readings, err
}

func (f *finding) Listen(ctx context.Context, listening, ring func()) error {
	if !f.found.Swap(false) {
		f.violated.Store(true)
	}
	return f.ringer.Listen(ctx, listening, ring)
}

// TestListenFollowsACompletedRead: whatever Reads come to, and whatever ended the
// doorbell before. It is listened to as soon as that allows.
func TestListenFollowsACompletedRead(t *testing.T) {
	outage := func(from, to time.Duration, failure error) func() error {
		began := time.Now()
		return func() error {
			if since := time.Since(began); since >= from && since < to {
				return failure
			}
			return nil
		}
	}
	down := errors.New("connection refused")
	tests := map[string]struct {
		from, to time.Duration // while Reads fail
		failure  error
		stands   time.Duration
		listened time.Duration // by when the source is listened to
		slow     time.Duration // what a Read takes
		broken   bool          // Listen fails at once, always
	}{
		"the first":                             {listened: time.Millisecond},
		"a slow one":                            {slow: 2 * time.Second, listened: 2*time.Second + time.Millisecond},
		"one without data":                      {to: time.Hour, failure: contract.ErrNoData, listened: time.Millisecond},
		"the first that succeeds":               {to: 2*time.Minute + time.Second, failure: down, listened: 3*time.Minute + 2*time.Second},
		"Listen fails at once":                  {broken: true, listened: time.Minute},
		"the doorbell was lost":                 {stands: time.Minute, listened: time.Minute + 2*time.Second},
		"the source was lost with it, for long": {stands: time.Minute, from: time.Minute, to: 3 * time.Minute, failure: down, listened: 4 * time.Minute},
		"the source was lost with it, briefly":  {stands: time.Minute, from: time.Minute, to: 63 * time.Second, failure: down, listened: 65 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				source := &finding{ringer: ringer{stands: tt.stands}}
				fails := outage(tt.from, tt.to, tt.failure)
				source.answer = func(context.Context) ([]contract.Reading, error) {
					<-time.After(tt.slow)
					return contract.One(1), fails()
				}
				if tt.broken {
					source.refuseWith(down)
				}
				u := idleUser(30 * time.Second)
				s.Join(asking("q", source), u.User)
				pass(tt.listened)
				if source.listens.Load() == 0 || (source.listening.Load() == 0) != tt.broken {
					t.Errorf("%d listen after %v", source.listening.Load(), tt.listened)
				}
				for i := range 200 {
					pass(3 * time.Second)
					s.Change(u.User, Wish{Interval: 30 * time.Second, Idle: i%2 == 1})
				}
				if source.violated.Load() {
					t.Error("Listen was called without a Read that was completed before")
				}
			})
		})
	}
}

func TestListeningFollowsTheMode(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &ringer{}
		u := idleUser(30 * time.Second)
		s.Join(asking("q", source), u.User)
		pass(time.Second)
		for i := range 10 {
			idle := i%2 == 1
			s.Change(u.User, Wish{Interval: 15 * time.Second, Idle: idle})
			pass(time.Second)
			if got := source.listening.Load() == 1; got != idle {
				t.Fatalf("listens = %v while idle = %v", got, idle)
			}
		}
	})
}

func TestRefusedDoorbellIsPolledAndSaid(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &ringer{}
		source.refuseWith(fmt.Errorf("%w: topic orders may not be read", contract.ErrDoorbellRefused))
		u := idleUser(30 * time.Second)
		s.Join(asking("q", source), u.User)
		pass(time.Minute)
		if note := u.snap().Note; note != "polled: topic orders may not be read" {
			t.Errorf("note = %q", note)
		}
		if n := source.count(); n < 2 || n > 4 {
			t.Errorf("%d reads in a minute at 30 s", n)
		}
		source.refuse.Store(nil)
		pass(8 * time.Minute)
		if source.listening.Load() != 0 {
			t.Error("asked again before its time")
		}
		pass(2 * time.Minute)
		if source.listening.Load() != 1 || u.snap().Note != "" {
			t.Errorf("listening = %d, note = %q", source.listening.Load(), u.snap().Note)
		}
	})
}

func TestBrokenListenBacksOff(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &ringer{}
		source.refuseWith(errors.New("connection reset"))
		s.Join(asking("q", source), idleUser(30*time.Second).User)
		pass(10 * time.Minute)
		if n := source.listens.Load(); n < 8 || n > 20 {
			t.Errorf("listened %d times in ten minutes", n)
		}
	})
}

// TestDoorbellThatIsDroppedCostsLittleMoreThanPolling: however it ends, and
// whether or not its question goes idle and back meanwhile. 20 reads in ten
// minutes are those of polling.
func TestDoorbellThatIsDroppedCostsLittleMoreThanPolling(t *testing.T) {
	tests := map[string]struct {
		stands      time.Duration
		flips       bool
		most, reads int32
	}{
		"at once":                    {stands: time.Nanosecond, most: 17, reads: 38},
		"after a while":              {stands: 10 * time.Second, most: 17, reads: 38},
		"after long":                 {stands: 5 * time.Minute, most: 3, reads: 25},
		"at once, idle or not":       {stands: time.Nanosecond, flips: true, most: 17, reads: 38},
		"after a while, idle or not": {stands: 2 * time.Second, flips: true, most: 22, reads: 45},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *bench) {
				source := &ringer{stands: tt.stands}
				u := idleUser(30 * time.Second)
				s.Join(asking("q", source), u.User)
				for i := range 200 {
					pass(3 * time.Second)
					if tt.flips {
						s.Change(u.User, Wish{Interval: 30 * time.Second, Idle: i%2 == 1})
					}
				}
				if n := source.listens.Load(); n > tt.most {
					t.Errorf("listened %d times in ten minutes, want at most %d", n, tt.most)
				}
				if n := source.count(); n > int(tt.reads) {
					t.Errorf("%d reads in ten minutes, want at most %d", n, tt.reads)
				}
			})
		})
	}
}

// TestDoorbellThatStoodIsBackSoon: what held for long and was lost once is
// listened to again after a second.
func TestDoorbellThatStoodIsBackSoon(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &ringer{stands: time.Minute}
		s.Join(asking("q", source), idleUser(30*time.Second).User)
		for range 5 {
			pass(time.Minute + 2*time.Second)
			if source.listening.Load() != 1 {
				t.Error("nobody listens two seconds after the doorbell was lost")
			}
		}
	})
}

// TestRefusalIsSaidAgain: a question that goes idle again is not asked anew, and
// still says why it is polled.
func TestRefusalIsSaidAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &ringer{}
		source.refuseWith(fmt.Errorf("%w: topic orders may not be read", contract.ErrDoorbellRefused))
		u := idleUser(30 * time.Second)
		s.Join(asking("q", source), u.User)
		for range 5 {
			pass(time.Minute)
			if note := u.snap().Note; note != "polled: topic orders may not be read" {
				t.Errorf("note = %q", note)
			}
			s.Change(u.User, Wish{Interval: 30 * time.Second})
			pass(30 * time.Second)
			s.Change(u.User, Wish{Interval: 30 * time.Second, Idle: true})
		}
		if n := source.listens.Load(); n != 1 {
			t.Errorf("asked %d times within 8 minutes of a refusal", n)
		}
	})
}

// specced names its metrics itself.
type specced struct {
	fake
	mu      sync.Mutex
	names   []string
	changed func()
}

func (s *specced) Specs(context.Context) ([]contract.Metric, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var metrics []contract.Metric
	for _, name := range s.names {
		metrics = append(metrics, contract.Metric{Name: name, Target: 1})
	}
	return metrics, nil
}

func (s *specced) WatchSpecs(ctx context.Context, changed func()) error {
	s.mu.Lock()
	s.changed = changed
	s.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

func TestSourceThatNamesItsMetrics(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &specced{names: []string{"a"}}
		source.answer = func(context.Context) ([]contract.Reading, error) {
			source.mu.Lock()
			defer source.mu.Unlock()
			return make([]contract.Reading, len(source.names)), nil
		}
		b := asking("q", source)
		b.Metrics = 0
		u := userEvery(time.Hour)
		s.Join(b, u.User)
		pass(time.Second)
		if snap := u.snap(); snap.Err != nil || len(snap.Specs) != 1 || snap.Specs[0].Name != "a" {
			t.Fatalf("snapshot = %+v", snap)
		}
		source.mu.Lock()
		source.names = []string{"a", "b"}
		changed := source.changed
		source.mu.Unlock()
		changed()
		pass(time.Second)
		if snap := u.snap(); snap.Err != nil || len(snap.Specs) != 2 {
			t.Errorf("snapshot = %+v, want two metrics", snap)
		}
	})
}

// TestSpecsThatAreDroppedAreWatchedEverLater: what they bring before they end is
// no reason to hurry.
func TestSpecsThatAreDroppedAreWatchedEverLater(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		source := &droppedSpecs{specced: specced{names: []string{"a"}}}
		source.answer = func(context.Context) ([]contract.Reading, error) { return make([]contract.Reading, 1), nil }
		b := asking("q", source)
		b.Metrics = 0
		s.Join(b, userEvery(30*time.Second).User)
		pass(10 * time.Minute)
		if n := source.watches.Load(); n < 8 || n > 17 {
			t.Errorf("watched %d times in ten minutes", n)
		}
		if n := source.count(); n > 38 {
			t.Errorf("%d reads in ten minutes", n)
		}
	})
}

// droppedSpecs says that they changed and ends.
type droppedSpecs struct {
	specced
	watches atomic.Int32
}

func (s *droppedSpecs) WatchSpecs(_ context.Context, changed func()) error {
	s.watches.Add(1)
	changed()
	return errors.New("connection reset")
}
