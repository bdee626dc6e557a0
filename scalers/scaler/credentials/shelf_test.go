package credentials

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/refusal"
)

// name is a key, "<namespace>/<name>".
type name string

func (n name) tenant() string {
	namespace, _, _ := strings.Cut(string(n), "/")
	return namespace
}

func (n name) size() int { return len(n) }

// reader is a read whose outcome the test sets.
type reader struct {
	reads atomic.Int64
	value atomic.Value // string or error
	again time.Duration
}

func (r *reader) read(context.Context) (bearer, time.Time, error) {
	r.reads.Add(1)
	var again time.Time
	if r.again > 0 {
		again = time.Now().Add(r.again)
	}
	switch v := r.value.Load().(type) {
	case error:
		panic(v)
	case *status.Status:
		return "", again, v.Err()
	default:
		return bearer(v.(string)), again, nil
	}
}

func (r *reader) says(value string) { r.value = atomic.Value{}; r.value.Store(value) }

func (r *reader) fails(code codes.Code) {
	r.value = atomic.Value{}
	r.value.Store(status.New(code, code.String()))
}

// expectation takes the value from the shelf, as read at notBefore or later, and
// checks it and how many reads there were so far.
type expectation func(notBefore time.Time, value string, code codes.Code, reads int64)

func TestShelf(t *testing.T) {
	none := time.Time{}
	tests := map[string]func(t *testing.T, s *shelf[name, bearer], r *reader, expect expectation){
		"a value is read once and again after a while": func(_ *testing.T, _ *shelf[name, bearer], r *reader, expect expectation) {
			r.says("a")
			expect(none, "a", codes.OK, 1)
			r.says("b")
			pass(readEvery - time.Second)
			expect(none, "a", codes.OK, 1)
			pass(2 * time.Second)
			expect(none, "b", codes.OK, 2)
		},
		"a panic is the failure of one read": func(_ *testing.T, _ *shelf[name, bearer], r *reader, expect expectation) {
			r.value.Store(errors.New("out of range"))
			expect(none, "", codes.Internal, 1)
			r.says("a")
			pass(retryAfter)
			expect(none, "a", codes.OK, 2)
		},
		"a value may say when it is read again": func(_ *testing.T, _ *shelf[name, bearer], r *reader, expect expectation) {
			r.again = 4 * time.Minute
			r.says("a")
			expect(none, "a", codes.OK, 1)
			pass(4*time.Minute - time.Second)
			expect(none, "a", codes.OK, 1)
			pass(time.Second)
			expect(none, "a", codes.OK, 2)
		},
		"what was refused is read again, once": func(_ *testing.T, _ *shelf[name, bearer], r *reader, expect expectation) {
			r.says("a")
			expect(none, "a", codes.OK, 1)
			pass(time.Second)
			refused := time.Now()
			pass(time.Second)
			r.says("b")
			expect(refused, "b", codes.OK, 2)
			expect(refused, "b", codes.OK, 2)
		},
		"silence leaves the value, for an hour": func(_ *testing.T, _ *shelf[name, bearer], r *reader, expect expectation) {
			r.says("a")
			expect(none, "a", codes.OK, 1)
			r.fails(codes.Unavailable)
			var reads int64 = 1
			for since := readEvery; since < longestKept; since += readEvery {
				pass(readEvery)
				reads++
				expect(none, "a", codes.OK, reads)
			}
			pass(readEvery)
			expect(none, "", codes.Unavailable, reads+1)
		},
		"a definite answer counts at once": func(_ *testing.T, _ *shelf[name, bearer], r *reader, expect expectation) {
			r.says("a")
			expect(none, "a", codes.OK, 1)
			r.fails(codes.PermissionDenied)
			pass(readEvery)
			expect(none, "", codes.PermissionDenied, 2)
			expect(none, "", codes.PermissionDenied, 2) // for a moment
			pass(retryAfter)
			r.says("b")
			expect(none, "b", codes.OK, 3)
		},
		"what nobody asks for is forgotten": func(t *testing.T, s *shelf[name, bearer], r *reader, expect expectation) {
			r.says("a")
			expect(none, "a", codes.OK, 1)
			pass(3 * unusedFor)
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.entries) != 0 {
				t.Errorf("%d entries are kept", len(s.entries))
			}
		},
	}
	for what, run := range tests {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShelf[name, bearer]("test", 0, slog.New(slog.DiscardHandler))
				defer s.close()
				r := new(reader)
				run(t, s, r, func(notBefore time.Time, value string, code codes.Code, reads int64) {
					t.Helper()
					got, _, err := s.take(t.Context(), "shop", "key", notBefore, atOnce, r.read)
					if string(got) != value || status.Code(err) != code || r.reads.Load() != reads {
						t.Errorf("got %q, %v after %d reads, want %q, %v after %d", got, err, r.reads.Load(), value, code, reads)
					}
				})
			})
		})
	}
}

// pass lets time pass in a bubble.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestShelfSharesReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf[name, bearer]("test", 0, slog.New(slog.DiscardHandler))
		defer s.close()
		gate := make(chan struct{})
		var reads atomic.Int64
		read := func(context.Context) (bearer, time.Time, error) {
			reads.Add(1)
			<-gate
			return "a", time.Time{}, nil
		}
		got := make(chan string, 100)
		for range cap(got) {
			go func() {
				value, _, _ := s.take(t.Context(), "shop", "key", time.Time{}, atOnce, read)
				got <- string(value)
			}()
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := s.take(impatient, "shop", "key", time.Time{}, atOnce, read); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("who does not want to wait: %v, want DeadlineExceeded", err)
		}
		close(gate)
		for range cap(got) {
			if value := <-got; value != "a" {
				t.Errorf("got %q, want a", value)
			}
		}
		if reads.Load() != 1 {
			t.Errorf("%d reads, want one for all", reads.Load())
		}
	})
}

// TestNoNamespaceTakesTheShelf has one namespace read far more than is kept, in
// each way that it may: the values of others stay, and all of its own are got.
func TestNoNamespaceTakesTheShelf(t *testing.T) {
	large := func(context.Context) (bearer, time.Time, error) {
		return bearer(strings.Repeat("x", 1<<20)), time.Time{}, nil
	}
	absent := func(context.Context) (bearer, time.Time, error) {
		return "", time.Time{}, status.Error(codes.NotFound, "absent")
	}
	for what, attack := range map[string]struct {
		names int
		read  read[bearer]
		key   string // with a number behind it
		code  codes.Code
	}{
		"large values":     {40, large, "mallory/", codes.OK},
		"long names":       {100, absent, "mallory/" + strings.Repeat("n", 100<<10), codes.NotFound},
		"names of nothing": {20_000, absent, "mallory/", codes.NotFound},
		"values larger than all": {3, func(context.Context) (bearer, time.Time, error) {
			return bearer(strings.Repeat("x", 5<<20)), time.Time{}, nil
		}, "mallory/", codes.OK},
		"absent ones of the same": {20_000, absent, "shop/", codes.NotFound},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShelf[name, bearer]("test", 0, slog.New(slog.DiscardHandler))
				defer s.close()
				r := new(reader)
				r.says("login")
				if _, _, err := s.take(t.Context(), "shop", "shop/login", time.Time{}, atOnce, r.read); err != nil {
					t.Fatal(err)
				}
				for n := range attack.names {
					value, _, err := s.take(t.Context(), "mallory", name(fmt.Sprint(attack.key, n)), time.Time{}, atOnce, attack.read)
					if status.Code(err) != attack.code || err == nil && value == "" {
						t.Fatalf("value %d of the one who reads much: %v", n, err)
					}
				}
				if _, _, err := s.take(t.Context(), "shop", "shop/login", time.Time{}, atOnce, r.read); err != nil || r.reads.Load() != 1 {
					t.Errorf("the value of another was read %d times, %v", r.reads.Load(), err)
				}
				s.checkCounts(t)
			})
		})
	}
}

// TestManyNamespacesShareAShelf: the largest give way, and small ones stay.
func TestManyNamespacesShareAShelf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf[name, bearer]("test", 0, slog.New(slog.DiscardHandler))
		defer s.close()
		r := new(reader)
		r.says("login")
		for range 2 {
			if _, _, err := s.take(t.Context(), "shop", "shop/login", time.Time{}, atOnce, r.read); err != nil {
				t.Fatal(err)
			}
			for n := range 60 {
				key := name(fmt.Sprintf("mallory-%d/%d", n%10, n))
				if _, _, err := s.take(t.Context(), "mallory", key, time.Time{}, atOnce, func(context.Context) (bearer, time.Time, error) {
					return bearer(strings.Repeat("x", 1<<20)), time.Time{}, nil
				}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if r.reads.Load() != 1 {
			t.Errorf("the value of another was read %d times", r.reads.Load())
		}
		s.checkCounts(t)
	})
}

// checkCounts compares what is counted with what is kept, and with the limits.
func (s *shelf[K, V]) checkCounts(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	all, of := 0, map[string]int{}
	for key, e := range s.entries {
		bytes := perEntry + key.size() + e.value.size()
		all += bytes
		of[key.tenant()] += bytes
	}
	if all != s.bytes || all > mostOfShelf || len(of) != len(s.tenants) {
		t.Errorf("%d bytes are kept and %d counted, for %d namespaces of %d", all, s.bytes, len(of), len(s.tenants))
	}
	for namespace, bytes := range of {
		if bytes != s.tenants[namespace].bytes || bytes > mostOfNamespace {
			t.Errorf("%s: %d bytes are kept and %d counted", namespace, bytes, s.tenants[namespace].bytes)
		}
	}
}

// atOnce is for what does not mind to wait.
func atOnce() {}

// TestWhatIsAtHandIsNotWaitedFor: who takes turns keeps theirs, over any number of
// references to what was read already.
func TestWhatIsAtHandIsNotWaitedFor(t *testing.T) {
	s := newShelf[name, bearer]("test", 0, slog.New(slog.DiscardHandler))
	defer s.close()
	r := new(reader)
	r.says("login")
	waited := 0
	for range 100 {
		if _, _, err := s.take(t.Context(), "shop", "shop/login", time.Time{}, func() { waited++ }, r.read); err != nil {
			t.Fatal(err)
		}
	}
	if waited < 1 || waited > 2 { // for a place, and for the read
		t.Errorf("a hundred references to one value are waited for %d times", waited)
	}
}

// TestClosedShelfSaysNothing: what it never read, and what it had read, is unknown.
func TestClosedShelfSaysNothing(t *testing.T) {
	s := newShelf[name, bearer]("test", 0, slog.New(slog.DiscardHandler))
	r := new(reader)
	r.says("login")
	if _, _, err := s.take(t.Context(), "shop", "shop/known", time.Time{}, atOnce, r.read); err != nil {
		t.Fatal(err)
	}
	s.close()
	for _, key := range []name{"shop/known", "shop/unknown"} {
		value, _, err := s.take(t.Context(), "shop", key, time.Time{}, atOnce, r.read)
		if value != "" || status.Code(err) != codes.Canceled {
			t.Errorf("%s: got %q, %v", key, value, err)
		}
	}
	if r.reads.Load() != 1 {
		t.Errorf("%d reads", r.reads.Load())
	}
}

// TestStoresThatDoNotAnswerHoldTheirOwn: reads of one namespace that never end
// leave places for those of others.
func TestStoresThatDoNotAnswerHoldTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf[name, bearer]("test", 0, slog.New(slog.DiscardHandler))
		defer s.close()
		for n := range 100 {
			go func() {
				_, _, _ = s.take(t.Context(), "mallory", name(fmt.Sprint("mallory/", n)), time.Time{}, atOnce, func(ctx context.Context) (bearer, time.Time, error) {
					<-ctx.Done()
					return "", time.Time{}, timedOut(ctx)
				})
			}()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := new(reader)
		r.says("login")
		if _, _, err := s.take(ctx, "shop", "shop/login", time.Time{}, atOnce, r.read); err != nil {
			t.Errorf("the value of another: %v", err)
		}
	})
}

// TestStoresOfManyNamespacesTakeTurns: namespaces that hold all places, with more
// reads that wait, have one who comes wait for the first place that is given back.
func TestStoresOfManyNamespacesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf[name, bearer]("test", 0, slog.New(slog.DiscardHandler))
		defer s.close()
		ends := make(chan struct{})
		for n := range 4 * readsAtOnce {
			asker := fmt.Sprint("mallory", n%8)
			go func() {
				_, _, _ = s.take(t.Context(), asker, name(fmt.Sprint(asker, "/", n)), time.Time{}, atOnce, func(ctx context.Context) (bearer, time.Time, error) {
					select {
					case <-ctx.Done():
					case <-ends:
					}
					return "", time.Time{}, status.Error(codes.Unavailable, "silent")
				})
			}()
		}
		synctest.Wait()
		r := new(reader)
		r.says("login")
		read := make(chan error, 1)
		go func() {
			_, _, err := s.take(t.Context(), "shop", "shop/login", time.Time{}, atOnce, r.read)
			read <- err
		}()
		synctest.Wait()
		ends <- struct{}{}
		synctest.Wait()
		select {
		case err := <-read:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("others are read before, whose namespaces have their places")
		}
	})
}

// TestNamesOfNothingDelayNobody: who names any number of objects that are nobody's,
// such as ClusterTriggerAuthentications, waits for them alone. So do those who
// ask in the same breath for one that others ask for.
func TestNamesOfNothingDelayNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf[name, bearer]("test", 0, slog.New(slog.DiscardHandler))
		defer s.close()
		ctx, end := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		defer asking.Wait()
		defer end()
		ask := func(key name, get read[bearer]) {
			asking.Go(func() { _, _, _ = s.take(ctx, "mallory", key, time.Time{}, atOnce, get) })
		}
		slow := func(context.Context) (bearer, time.Time, error) {
			<-time.After(20 * time.Millisecond)
			return "", time.Time{}, status.Error(codes.NotFound, "absent")
		}
		r := new(reader)
		r.says("login")
		for n := range 5_000 {
			ask(name(fmt.Sprint("/absent", n)), slow)
		}
		ask("/login", r.read)
		synctest.Wait()
		began := time.Now()
		value, _, err := s.take(t.Context(), "shop", "/login", time.Time{}, atOnce, r.read)
		if took := time.Since(began); took > time.Second || value != "login" || err != nil {
			t.Errorf("somebody else has %q, %v after %v", value, err, took)
		}
		pass(time.Minute)
		if n := r.reads.Load(); n != 1 {
			t.Errorf("%d reads for all who asked, want 1", n)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.line.Idle() {
			t.Error("namespaces are remembered that ask for nothing")
		}
	})
}

// TestRefusalsHaveAPace: a thousand triggers of one namespace, refused one after the
// other, do not have what others use, too, read again all the time. The first one
// does at once.
func TestRefusalsHaveAPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, paced := range []time.Duration{retryAfter, refusal.Every} {
			s := newShelf[name, bearer]("test", paced, slog.New(slog.DiscardHandler))
			r := new(reader)
			r.says("login")
			take := func(notBefore time.Time) {
				t.Helper()
				if got, _, err := s.take(t.Context(), "shop", "shop/login", notBefore, atOnce, func(ctx context.Context) (bearer, time.Time, error) {
					value, _, err := r.read(ctx)
					return value, time.Now().Add(time.Hour), err
				}); err != nil || got != "login" {
					t.Fatal(got, err)
				}
			}
			take(time.Time{})
			<-time.After(10 * time.Millisecond)
			take(time.Now())
			if got := r.reads.Load(); got != 2 {
				t.Errorf("%v: read %d times, want again upon the first refusal", paced, got)
			}
			const minutes = 5
			for range minutes * 1000 {
				<-time.After(time.Minute / 1000)
				take(time.Now())
			}
			most := int64(2 + minutes*time.Minute/paced)
			if got := r.reads.Load(); got > most || got < most-minutes {
				t.Errorf("%v: read %d times in %d minutes, want %d", paced, got, minutes, most)
			}
			s.close()
		}
	})
}
