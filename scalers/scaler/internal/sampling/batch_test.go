package sampling

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
)

// mailbox is a batch of sources that counts its requests. It answers all that
// are not stalled, at once, unless it is told how.
type mailbox struct {
	answer func(ctx context.Context, members []contract.Source, answer func(int, contract.Result)) error

	mu    sync.Mutex
	sizes []int
}

func (m *mailbox) ReadBatch(ctx context.Context, members []contract.Source, answer func(int, contract.Result)) error {
	m.mu.Lock()
	m.sizes = append(m.sizes, len(members))
	m.mu.Unlock()
	if m.answer != nil {
		return m.answer(ctx, members, answer)
	}
	return answerTheRest(ctx, members, answer)
}

// answerTheRest answers at once those that are not stalled.
func answerTheRest(ctx context.Context, members []contract.Source, answer func(int, contract.Result)) error {
	left := 0
	for i, m := range members {
		if value, stalled := m.(interface{ content() (float64, bool) }).content(); stalled {
			left++
		} else {
			answer(i, contract.Result{Readings: contract.One(value)})
		}
	}
	if left > 0 {
		<-ctx.Done()
	}
	return nil
}

func (m *mailbox) requests() []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.sizes)
}

// letter is a member of a mailbox.
type letter struct {
	fake
	box      *mailbox
	batch    contract.Batch // in place of box, if any
	poisoned atomic.Bool
	stalled  atomic.Bool
	added    atomic.Int64
}

// content is 1 and as much as was added.
func (l *letter) content() (value float64, stalled bool) {
	return float64(1 + l.added.Load()), l.stalled.Load()
}

func (l *letter) Batch() contract.Batch {
	if l.batch != nil {
		return l.batch
	}
	return l.box
}

func (l *letter) Read(ctx context.Context) ([]contract.Reading, error) {
	if _, err := l.fake.Read(ctx); err != nil {
		return nil, err
	}
	if l.stalled.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return contract.One(1), nil
}

// fill joins n questions of one mailbox.
func fill(s *bench, box *mailbox, n int, interval time.Duration) ([]*letter, []*testUser) {
	letters, users := make([]*letter, n), make([]*testUser, n)
	for i := range n {
		letters[i], users[i] = &letter{box: box}, userEvery(interval)
		s.Join(asking(fmt.Sprint("q", i), letters[i]), users[i].User)
	}
	return letters, users
}

func TestWhatIsDueTogetherIsReadTogether(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		box := &mailbox{}
		letters, users := fill(s, box, 1200, 30*time.Second)
		pass(time.Second)
		for _, u := range users {
			if u.snap() == nil {
				t.Fatal("a member was not read")
			}
		}
		before := len(box.requests())
		pass(10 * time.Minute)
		sizes := box.requests()[before:]
		if len(sizes) != 60 {
			t.Errorf("%d requests in 20 rounds of 1,200 members, want 60 of at most 500: %v", len(sizes), sizes)
		}
		if most := slices.Max(box.requests()); most > largestBatch {
			t.Errorf("a request has %d members", most)
		}
		for _, l := range letters {
			if l.count() != 0 {
				t.Fatal("a member was read by itself")
			}
		}
	})
}

func TestMembersWithOtherIntervalsAreReadAtTheirs(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		box := &mailbox{}
		fill(s, box, 10, 30*time.Second)
		quick := userEvery(15 * time.Second)
		s.Join(asking("quick", &letter{box: box}), quick.User)
		pass(time.Second)
		before, got := len(box.requests()), quick.times()
		pass(5 * time.Minute)
		if n := len(box.requests()) - before; n != 20 {
			t.Errorf("%d requests in five minutes, want 20", n)
		}
		if n := quick.times() - got; n != 20 {
			t.Errorf("the quick member was read %d times, want 20", n)
		}
	})
}

func TestPoisonedMemberDoesNotBlindTheRest(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		box := &mailbox{}
		box.answer = func(_ context.Context, members []contract.Source, answer func(int, contract.Result)) error {
			if slices.ContainsFunc(members, func(m contract.Source) bool { return m.(*letter).poisoned.Load() }) {
				return errors.New("malformed answer")
			}
			for i := range members {
				answer(i, contract.Result{Readings: contract.One(1)})
			}
			return nil
		}
		letters, users := fill(s, box, 100, 10*time.Second)
		letters[17].poisoned.Store(true)
		pass(25 * time.Second)
		failing := 0
		for _, u := range users {
			if u.snap() == nil {
				t.Fatal("a member was not read")
			}
			if u.snap().Err != nil {
				failing++
			}
		}
		if failing == 0 || failing > 50 {
			t.Errorf("%d of 100 members fail with one poisoned", failing)
		}
		if users[17].snap().Err == nil {
			t.Error("the poisoned member does not fail")
		}
	})
}

func TestMembersFailAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		box := &mailbox{}
		box.answer = func(_ context.Context, members []contract.Source, answer func(int, contract.Result)) error {
			for i, m := range members {
				if m.(*letter).poisoned.Load() {
					answer(i, contract.Result{Err: errors.New("no such topic")})
				} else {
					answer(i, contract.Result{Readings: contract.One(1)})
				}
			}
			return nil
		}
		letters, users := fill(s, box, 10, 10*time.Second)
		letters[3].poisoned.Store(true)
		pass(time.Minute)
		for i, u := range users {
			if failed := u.snap().Err != nil; failed != letters[i].poisoned.Load() {
				t.Errorf("member %d: err = %v", i, u.snap().Err)
			}
		}
	})
}

func TestStalledBatchDelaysNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T, s *bench) {
		release := make(chan struct{})
		defer close(release)
		fill(s, &mailbox{answer: func(context.Context, []contract.Source, func(int, contract.Result)) error {
			<-release
			return errors.New("too late")
		}}, 100, 10*time.Second)
		good := userEvery(10 * time.Second)
		s.Join(asking("good", &letter{box: &mailbox{}}), good.User)
		pass(5 * time.Minute)
		if good.times() < 30 {
			t.Errorf("the other batch was read %d times in five minutes, want 31", good.times())
		}
	})
}
