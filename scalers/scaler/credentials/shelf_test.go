package credentials

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// reader is a read whose outcome the test sets.
type reader struct {
	reads atomic.Int64
	value atomic.Value // string or error
	again time.Duration
}

func (r *reader) read(context.Context) (string, time.Time, error) {
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
		return v.(string), again, nil
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
	tests := map[string]func(t *testing.T, s *shelf[string, string], r *reader, expect expectation){
		"a value is read once and again after a while": func(_ *testing.T, _ *shelf[string, string], r *reader, expect expectation) {
			r.says("a")
			expect(none, "a", codes.OK, 1)
			r.says("b")
			pass(readEvery - time.Second)
			expect(none, "a", codes.OK, 1)
			pass(2 * time.Second)
			expect(none, "b", codes.OK, 2)
		},
		"a panic is the failure of one read": func(_ *testing.T, _ *shelf[string, string], r *reader, expect expectation) {
			r.value.Store(errors.New("out of range"))
			expect(none, "", codes.Internal, 1)
			r.says("a")
			pass(retryAfter)
			expect(none, "a", codes.OK, 2)
		},
		"a value may say when it is read again": func(_ *testing.T, _ *shelf[string, string], r *reader, expect expectation) {
			r.again = 4 * time.Minute
			r.says("a")
			expect(none, "a", codes.OK, 1)
			pass(4*time.Minute - time.Second)
			expect(none, "a", codes.OK, 1)
			pass(time.Second)
			expect(none, "a", codes.OK, 2)
		},
		"what was refused is read again, once": func(_ *testing.T, _ *shelf[string, string], r *reader, expect expectation) {
			r.says("a")
			expect(none, "a", codes.OK, 1)
			pass(time.Second)
			refused := time.Now()
			pass(time.Second)
			r.says("b")
			expect(refused, "b", codes.OK, 2)
			expect(refused, "b", codes.OK, 2)
		},
		"silence leaves the value, for an hour": func(_ *testing.T, _ *shelf[string, string], r *reader, expect expectation) {
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
		"a definite answer counts at once": func(_ *testing.T, _ *shelf[string, string], r *reader, expect expectation) {
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
		"what nobody asks for is forgotten": func(t *testing.T, s *shelf[string, string], r *reader, expect expectation) {
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
	for name, run := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShelf[string, string]("test", slog.New(slog.DiscardHandler))
				defer s.close()
				r := new(reader)
				run(t, s, r, func(notBefore time.Time, value string, code codes.Code, reads int64) {
					t.Helper()
					got, _, err := s.take(t.Context(), "key", notBefore, r.read)
					if got != value || status.Code(err) != code || r.reads.Load() != reads {
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
		s := newShelf[string, string]("test", slog.New(slog.DiscardHandler))
		defer s.close()
		gate := make(chan struct{})
		var reads atomic.Int64
		read := func(context.Context) (string, time.Time, error) {
			reads.Add(1)
			<-gate
			return "a", time.Time{}, nil
		}
		got := make(chan string, 100)
		for range cap(got) {
			go func() {
				value, _, _ := s.take(t.Context(), "key", time.Time{}, read)
				got <- value
			}()
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := s.take(impatient, "key", time.Time{}, read); status.Code(err) != codes.DeadlineExceeded {
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
