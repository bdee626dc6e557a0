package budget

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/outbound"
)

// with gives the process a budget for one test.
func with(t *testing.T, total int64) {
	t.Helper()
	Set(total)
	t.Cleanup(func() { Set(Usual) })
}

func text(size int) io.Reader { return strings.NewReader(strings.Repeat("x", size)) }

// read has a reader that ends with the read.
func read(ctx context.Context, from func(context.Context) io.Reader, length, most int64) ([]byte, error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	return ReadAll(ctx, end, from(ctx), length, most)
}

// says is a reader that is what it is.
func says(r io.Reader) func(context.Context) io.Reader {
	return func(context.Context) io.Reader { return r }
}

// half sends some bytes and then nothing more.
func half(size int) func(context.Context) io.Reader {
	return func(ctx context.Context) io.Reader { return io.MultiReader(text(size), hanging{ctx}) }
}

func TestReadAll(t *testing.T) {
	with(t, 64<<20)
	for _, size := range []int{0, 1, free - 1, free, free + 1, 64 << 10, 64<<10 + 1, 1 << 20, 5 << 20} {
		for _, length := range []int64{-1, int64(size), 1, 1 << 40} {
			for _, from := range []io.Reader{text(size), iotest.DataErrReader(iotest.HalfReader(text(size)))} {
				got, err := read(t.Context(), says(from), length, 5<<20)
				if err != nil || len(got) != size {
					t.Errorf("%d bytes of %d that should be %d, %v", len(got), size, length, err)
				}
			}
		}
	}
	for _, most := range []int64{100, 64 << 10, 1<<20 - 1} {
		if _, err := read(t.Context(), says(text(1<<20)), -1, most); !errors.Is(err, outbound.ErrTooLarge) {
			t.Errorf("an answer of more than %d bytes: %v", most, err)
		}
	}
	if _, err := read(t.Context(), says(iotest.ErrReader(errors.New("broken"))), -1, 100); err == nil || err.Error() != "broken" {
		t.Errorf("error = %v", err)
	}
	held := current()
	for _, l := range append(held.answers, held.documents...) {
		if l.used != 0 || l.come != 0 || len(l.callers) != 0 || len(l.granted) != 0 || l.alarm != nil {
			t.Errorf("a share of the lane up to %d was not given back", l.limit)
		}
	}
}

// TestLargeAnswersDoNotStarveSmallOnes has sources that send as much as they can
// and then no more.
func TestLargeAnswersDoNotStarveSmallOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		with(t, 128<<20)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for range 200 {
			go func() { _, _ = read(ctx, half(5<<20), -1, 16<<20) }()
		}
		synctest.Wait()
		for _, size := range []int{100, 20 << 10, 60 << 10, 500 << 10} {
			if got, err := read(ctx, says(text(size)), -1, 16<<20); err != nil || len(got) != size {
				t.Errorf("%d bytes of %d, %v", len(got), size, err)
			}
		}
		waiting, end := context.WithTimeout(ctx, longestSilence/2)
		defer end()
		_, err := read(waiting, says(text(6<<20)), -1, 16<<20)
		const want = "other reads hold the memory that answers may take (--answer-memory)"
		if status.Code(err) != codes.ResourceExhausted || err.Error() != want {
			t.Errorf("a large one: %v, want %q", err, want)
		}
	})
}

// hanging is a source that sends nothing more.
type hanging struct{ ctx context.Context }

func (h hanging) Read([]byte) (int, error) {
	<-h.ctx.Done()
	return 0, h.ctx.Err()
}

// TestSilentServersMakeWay has a tenant with servers that send half an answer,
// each of a size for another lane, more of them than there are places: all hold
// places, and wait for those that become free.
func TestSilentServersMakeWay(t *testing.T) {
	for _, size := range []int{40 << 10, 200 << 10, 2 << 20, 6 << 20} {
		synctest.Test(t, func(t *testing.T) {
			with(t, 32<<20)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			for range 50 {
				go func() { _, _ = read(Of(ctx, "enemy"), half(size), -1, 16<<20) }()
			}
			synctest.Wait()
			began := time.Now()
			for range 3 {
				if got, err := read(Of(ctx, "mine"), says(text(size)), -1, 16<<20); err != nil || len(got) != size {
					t.Errorf("%d bytes of %d, %v", len(got), size, err)
				}
			}
			// Each may go by all lanes.
			if waited := time.Since(began); waited > 3*4*longestSilence {
				t.Errorf("%d bytes took %v", size, waited)
			}
		})
	}
}

// TestWhoMakesWay has two servers hold all of a lane, and a third that waits:
// the one that has been silent for longer ends, or that has held its share for
// longer where another namespace waits, and nobody without need.
func TestWhoMakesWay(t *testing.T) {
	steady := func(every time.Duration, bytes int) func(context.Context) io.Reader {
		return func(ctx context.Context) io.Reader { return io.MultiReader(text(5<<20), &drip{ctx, every, bytes}) }
	}
	for name, tt := range map[string]struct {
		first, second func(context.Context) io.Reader
		others        string // the namespace of who waits, that of the servers being "a"; "" for nobody
		wantFirst     error
		wantSecond    error
	}{
		"nobody waits":              {half(5 << 20), half(5 << 20), "", context.DeadlineExceeded, context.DeadlineExceeded},
		"both are silent":           {half(5 << 20), half(5 << 20), "a", errSilent, context.DeadlineExceeded},
		"one sends":                 {steady(longestSilence/2, 1<<18), half(5 << 20), "a", context.DeadlineExceeded, errSilent},
		"one sends next to no":      {steady(longestSilence/2, 100), steady(longestSilence/2, 1<<18), "a", errSilent, context.DeadlineExceeded},
		"both send":                 {steady(longestSilence/2, 1<<18), steady(longestSilence/2, 1<<18), "a", context.DeadlineExceeded, context.DeadlineExceeded},
		"both send, others wait":    {steady(longestSilence/2, 1<<18), steady(longestSilence/2, 1<<18), "b", errMadeWay, context.DeadlineExceeded},
		"all has come, others wait": {says(text(5 << 20)), says(text(5 << 20)), "b", errMadeWay, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				with(t, 128<<20)
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
				defer cancel()
				ends := []chan error{make(chan error, 1), make(chan error, 1)}
				for i, from := range []func(context.Context) io.Reader{tt.first, tt.second} {
					go func() {
						held, release := Hold(Of(ctx, "a"))
						defer release()
						_, err := read(held, from, -1, 16<<20)
						if err == nil { // and something is made of it for long
							<-held.Done()
							err = context.Cause(held)
						}
						ends[i] <- err
					}()
					<-time.After(time.Millisecond) // one after the other
				}
				if tt.others != "" {
					go func() { _, _ = read(Of(ctx, tt.others), half(5<<20), -1, 16<<20) }()
				}
				for i, want := range []error{tt.wantFirst, tt.wantSecond} {
					if err := <-ends[i]; !errors.Is(err, want) {
						t.Errorf("server %d: %v, want %v", i+1, err, want)
					}
				}
			})
		})
	}
}

// TestNobodyHoldsALane has a tenant take shares of each lane, many at a time and
// again and again, whose answers drip fast enough or are worked on for as long as
// they may be: what others read is not late.
func TestNobodyHoldsALane(t *testing.T) {
	whole := func(size int64) func(context.Context) io.Reader {
		return func(context.Context) io.Reader { return io.LimitReader(zeros{}, size) }
	}
	dripping := func(size int64) func(context.Context) io.Reader {
		return func(ctx context.Context) io.Reader {
			return io.MultiReader(io.LimitReader(zeros{}, size), &drip{ctx, longestSilence / 2, 1 << 18})
		}
	}
	answering := func(from func(context.Context) io.Reader) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := read(ctx, from, -1, 16<<20)
			return err
		}
	}
	parsing := func(bytes int64) func(context.Context) error {
		return func(ctx context.Context) error { return Document(ctx, bytes) }
	}
	for name, tt := range map[string]struct{ enemy, mine func(context.Context) error }{
		"at work, of the first lane":  {answering(whole(40 << 10)), answering(whole(40 << 10))},
		"at work, of the second lane": {answering(whole(200 << 10)), answering(whole(200 << 10))},
		"at work, of the third lane":  {answering(whole(2 << 20)), answering(whole(2 << 20))},
		"at work, of the last lane":   {answering(whole(6 << 20)), answering(whole(6 << 20))},
		"dripping":                    {answering(dripping(6 << 20)), answering(whole(6 << 20))},
		"small documents":             {parsing(1 << 20), parsing(1 << 20)},
		"documents":                   {parsing(5 << 20), parsing(5 << 20)},
		"one document for all":        {parsing(1 << 40), parsing(5 << 20)},
		"half is too much":            {parsing(5 << 20), parsing(1 << 40)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				with(t, 32<<20)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				var enemies sync.WaitGroup
				defer enemies.Wait() // time passes as long as this
				defer cancel()
				for range 20 {
					enemies.Go(func() {
						for ctx.Err() == nil {
							held, release := Hold(Of(ctx, "enemy"))
							if tt.enemy(held) == nil {
								<-held.Done() // when it is told to
							}
							release()
							<-time.After(longestSilence)
						}
					})
				}
				synctest.Wait()
				for range 3 {
					began := time.Now()
					held, release := Hold(Of(ctx, "mine"))
					if err := tt.mine(held); err != nil {
						t.Error(err)
					}
					release()
					if waited := time.Since(began); waited > longestAlone+3*longestHold {
						t.Errorf("waited for %v", waited)
					}
				}
			})
		})
	}
}

// zeros are without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// drip is a source that sends a little again and again.
type drip struct {
	ctx   context.Context
	every time.Duration
	bytes int
}

func (d *drip) Read(p []byte) (int, error) {
	select {
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	case <-time.After(d.every):
		return min(d.bytes, len(p)), nil
	}
}

// TestSharesAreHeld: the second waits until nothing is left of the first.
func TestSharesAreHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		with(t, 16<<20)
		first, release := Hold(t.Context())
		if err := Document(first, 1<<40); err != nil { // as much as there is
			t.Fatal(err)
		}
		waits := make(chan error, 1)
		go func() {
			second, release := Hold(t.Context())
			defer release()
			waits <- Document(second, 5<<20)
		}()
		synctest.Wait()
		select {
		case err := <-waits:
			t.Fatalf("a second share, %v", err)
		default:
		}
		if err := Document(t.Context(), 1<<20); err != nil {
			t.Errorf("a small one: %v", err)
		}
		release()
		if err := <-waits; err != nil {
			t.Error(err)
		}
	})
}

// TestALengthIsNotBelieved: nobody gets memory by announcing an answer.
func TestALengthIsNotBelieved(t *testing.T) {
	with(t, 128<<20)
	if size := next(current().answers, free, 1<<40, 16<<20); size != 64<<10 {
		t.Errorf("%d bytes for an answer of which %d came", size, free)
	}
}

func BenchmarkReadAll(b *testing.B) {
	answer := bytes.Repeat([]byte("x"), 300)
	for b.Loop() {
		if _, err := read(b.Context(), says(bytes.NewReader(answer)), 300, 16<<20); err != nil {
			b.Fatal(err)
		}
	}
}
