package serving

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
)

// shop is who reads credentials for a login, and what came of it.
type shop struct {
	login *login
	began time.Time

	mu     sync.Mutex
	creds  contract.Credentials
	err    error
	reads  []time.Duration // since it began
	asked  contract.Reference
	used   int
	lost   []bool // whether what is there is kept
	wanted error  // of use
}

func (s *shop) Resolve(_ context.Context, ref contract.Reference) (*contract.Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads, s.asked = append(s.reads, time.Since(s.began).Round(time.Second)), ref
	if s.err != nil {
		return nil, s.err
	}
	creds := s.creds
	return &creds, nil
}

// set changes what is read from now on.
func (s *shop) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// kept is what was said each time that there were no credentials.
func (s *shop) kept() []bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lost)
}

func (s *shop) expect(t *testing.T, what string, seconds ...int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var want []time.Duration
	for _, n := range seconds {
		want = append(want, time.Duration(n)*time.Second)
	}
	if !slices.Equal(s.reads, want) {
		t.Errorf("%s: read at %v, want %v", what, s.reads, want)
	}
	s.reads = nil
}

// inShop runs a test with a login in a bubble, and ends it.
func inShop(t *testing.T, test func(t *testing.T, s *shop)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &shop{began: time.Now()}
		var running sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		s.login = &login{loginConfig: loginConfig{
			resolver: s, refs: contract.Reference{Authentication: "TriggerAuthentication/shop"},
			held:  pool.NewAllowance("bytes of credentials", 1000, 0).For("shop"),
			start: func(attempt func(context.Context)) { running.Go(func() { attempt(ctx) }) },
			use: func(*contract.Credentials) (func(), error) {
				s.mu.Lock()
				defer s.mu.Unlock()
				return func() { s.set(func() { s.used++ }) }, s.wanted
			},
			lost: func(_ error, keep bool) { s.set(func() { s.lost = append(s.lost, keep) }) },
		}}
		s.login.refresh()
		wait(0)
		test(t, s)
		s.login.close()
		cancel()
		running.Wait()
		before := len(s.reads)
		wait(time.Hour)
		if len(s.reads) != before {
			t.Errorf("read %d times after the end", len(s.reads)-before)
		}
	})
}

func TestLoginIsReadOnceWithoutATimeToReadItAgain(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		wait(24 * time.Hour)
		s.expect(t, "in a day", 0)
		if s.used != 1 || s.lost != nil {
			t.Errorf("used %d times, lost %v", s.used, s.lost)
		}
	})
}

func TestLoginThatFailsIsTriedEverLater(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		s.expect(t, "at first", 0)
		s.set(func() { s.err = errors.New("no such Secret"); s.began = time.Now() })
		s.login.refresh()
		wait(20 * time.Second)
		s.expect(t, "while it fails", 0, 1, 3, 7, 12, 17)
		s.set(func() { s.err = nil })
		wait(time.Minute)
		s.expect(t, "mended", 22)
	})
}

func TestLoginOutlivesASilenceOfAnHour(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		s.set(func() { s.err = status.Error(codes.Unavailable, "the API server does not answer") })
		s.login.refresh()
		wait(59 * time.Minute)
		if slices.Contains(s.kept(), false) {
			t.Error("lost within the hour")
		}
		wait(2 * time.Minute)
		if kept := s.kept(); kept[len(kept)-1] {
			t.Error("kept after an hour")
		}
		s.set(func() { s.err, s.lost = status.Error(codes.NotFound, "the Secret is gone"), nil })
		wait(latestResolve)
		if kept := s.kept(); !slices.Equal(kept, []bool{false}) {
			t.Errorf("what is gone counts at once: kept = %v", kept)
		}
	})
}

func TestLoginThatTheSourceRefusesIsReadAgain(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		wait(time.Minute)
		refusedAt := time.Now()
		s.login.answered(status.Error(codes.Unauthenticated, "wrong password"), refusedAt)
		wait(12 * time.Second)
		s.expect(t, "while it is refused", 0, 60, 65, 70)
		if !s.asked.NotBefore.After(refusedAt) {
			t.Errorf("what was read by %v is asked for, want later than the refusal", s.asked.NotBefore)
		}
		s.login.answered(nil, time.Now())
		wait(time.Hour)
		s.expect(t, "accepted", 75)
	})
}

func TestTriggerThatCannotUseItsLoginIsToldSo(t *testing.T) {
	inShop(t, func(t *testing.T, s *shop) {
		s.set(func() { s.wanted, s.used = status.Error(codes.InvalidArgument, "password: is required"), 0 })
		s.login.refresh()
		wait(0)
		if s.used != 0 || !slices.Equal(s.lost, []bool{false}) {
			t.Errorf("used %d times, kept = %v", s.used, s.lost)
		}
	})
}
