package budget

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
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

func TestReadAll(t *testing.T) {
	with(t, 64<<20)
	for _, size := range []int{0, 1, free - 1, free, free + 1, 64 << 10, 64<<10 + 1, 1 << 20, 5 << 20} {
		for _, length := range []int64{-1, int64(size), 1, 1 << 40} {
			for _, from := range []io.Reader{text(size), iotest.DataErrReader(iotest.HalfReader(text(size)))} {
				got, err := ReadAll(t.Context(), from, length, 5<<20)
				if err != nil || len(got) != size {
					t.Errorf("%d bytes of %d that should be %d, %v", len(got), size, length, err)
				}
			}
		}
	}
	for _, most := range []int64{100, 64 << 10, 1<<20 - 1} {
		if _, err := ReadAll(t.Context(), text(1<<20), -1, most); !errors.Is(err, outbound.ErrTooLarge) {
			t.Errorf("an answer of more than %d bytes: %v", most, err)
		}
	}
	if _, err := ReadAll(t.Context(), iotest.ErrReader(errors.New("broken")), -1, 100); err == nil || err.Error() != "broken" {
		t.Errorf("error = %v", err)
	}
	held := current()
	for _, l := range append(held.answers, held.documents...) {
		if !l.places.TryAcquire(l.size) {
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
		for range 1000 {
			go func() { _, _ = ReadAll(ctx, io.MultiReader(text(5<<20), hanging{ctx}), -1, 16<<20) }()
		}
		synctest.Wait()
		for _, size := range []int{100, 20 << 10, 60 << 10, 500 << 10} {
			if got, err := ReadAll(ctx, text(size), -1, 16<<20); err != nil || len(got) != size {
				t.Errorf("%d bytes of %d, %v", len(got), size, err)
			}
		}
		waiting, end := context.WithTimeout(ctx, time.Second)
		defer end()
		_, err := ReadAll(waiting, text(6<<20), -1, 16<<20)
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
		if _, err := ReadAll(b.Context(), bytes.NewReader(answer), 300, 16<<20); err != nil {
			b.Fatal(err)
		}
	}
}
