package suspects

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// crash has another process read endpoints and end without a word. It has them
// connected to before, as far as it is let.
func crash(t *testing.T, path string, reading ...string) (refused string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrash$")
	cmd.Env = append(os.Environ(), "SUSPECTS_FILE="+path, "SUSPECTS_READ="+strings.Join(reading, ","))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("the process ended with %v: %s", err, out)
	}
	return string(out)
}

// TestCrash is the process of crash; by itself it does nothing.
func TestCrash(t *testing.T) {
	path := os.Getenv("SUSPECTS_FILE")
	if path == "" {
		return
	}
	book := open(t, path)
	for _, address := range strings.Split(os.Getenv("SUSPECTS_READ"), ",") {
		p := book.At(address)
		p.Begin()
		if err := p.Admit(t.Context()); err != nil {
			fmt.Println(address, err) // the read has not ended yet
		}
	}
	os.Exit(3)
}

func open(t *testing.T, path string) *Book {
	t.Helper()
	book, err := Open(path, time.Now(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return book
}

func admit(t *testing.T, book *Book, address string) error {
	t.Helper()
	p := book.At(address)
	defer p.Release()
	p.Begin()
	defer p.End()
	return p.Admit(t.Context())
}

// TestOneEndpointEndsTheProcess: it is kept away from, ever longer, and nobody
// else is.
func TestOneEndpointEndsTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "endpoints")
	crash(t, path, "evil:1")
	book := open(t, path)
	err := admit(t, book, "evil:1")
	var q QuarantineError
	if !errors.As(err, &q) || !strings.HasPrefix(err.Error(), "this endpoint was being read when the process ended; it is tried again at 2") {
		t.Fatalf("error = %v", err)
	}
	if left := time.Until(q.until); left > shortestPause || left < shortestPause/2 {
		t.Errorf("it is tried again in %v", left)
	}
	if err := admit(t, book, "good:1"); err != nil {
		t.Errorf("another one: %v", err)
	}
	book.Close()
	if err := admit(t, open(t, path), "evil:1"); err == nil {
		t.Error("a proper end has it forgotten")
	}
}

// TestOneOfSeveralEndedTheProcess: each is tried alone. The one that ends the
// process again is it, whatever else was read then.
func TestOneOfSeveralEndedTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "endpoints")
	crash(t, path, "a:1", "evil:1", "b:1")
	if refused := crash(t, path, "evil:1", "b:1", "c:1"); !strings.HasPrefix(refused, "b:1 this endpoint was being read when the process ended, beside others") {
		t.Errorf("the second one beside the first: %q", refused)
	}
	book := open(t, path)
	for address, want := range map[string]bool{"a:1": true, "b:1": true, "c:1": true, "evil:1": false} {
		if err := admit(t, book, address); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestWhoIsSuspectAgain was so at an earlier crash, and was read alone since
// without harm.
func TestWhoIsSuspectAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "endpoints")
	crash(t, path, "a:1", "evil:1")
	book := open(t, path)
	for _, address := range []string{"evil:1", "a:1"} {
		if err := admit(t, book, address); err != nil {
			t.Fatal(err)
		}
	}
	book.Close()
	crash(t, path, "evil:1", "b:1", "c:1")
	book = open(t, path)
	if admit(t, book, "evil:1") == nil || admit(t, book, "b:1") != nil {
		t.Error("it is not the one that was suspect before")
	}
}

// TestProperEnd leaves nobody suspect, even of reads that did not let go.
func TestProperEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "endpoints")
	book := open(t, path)
	book.At("slow:1").Begin()
	book.Close()
	if err := admit(t, open(t, path), "slow:1"); err != nil {
		t.Error(err)
	}
}

// TestWhoSentSomethingLast is suspect, too: not all that a library does is a
// read.
func TestWhoSentSomethingLast(t *testing.T) {
	now := time.Now()
	at := func(ago time.Duration) *entry {
		e := &entry{}
		e.heard.Store(now.Add(-ago).UnixNano())
		return e
	}
	last, old, silent := at(0), at(time.Minute), &entry{}
	if got := judge([]*entry{old, last, silent}, now); len(got) != 1 || got[0] != last || last.until.Load() == 0 {
		t.Errorf("suspects are %v", got)
	}
	if old.alone.Load() != no || silent.alone.Load() != no {
		t.Error("others are suspect, too")
	}
}

func TestPausesGrow(t *testing.T) {
	e := &entry{}
	now := time.Now()
	for _, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute} {
		e.reads.Store(1)
		e.alone.CompareAndSwap(itWaits, itsTurn) // as the pause is over
		judge([]*entry{e}, now)
		if got := time.Duration(e.until.Load() - now.UnixNano()); got != want {
			t.Errorf("the pause is %v, want %v", got, want)
		}
	}
	if got := pause(100); got != longestPause {
		t.Errorf("the longest pause is %v", got)
	}
	now = now.Add(25 * time.Hour)
	e.alone.Store(no)
	judge([]*entry{e}, now)
	if got := time.Duration(e.until.Load() - now.UnixNano()); got != shortestPause {
		t.Errorf("a day later the pause is %v", got)
	}
}

// TestTurns has suspects wait for each other, and no longer than they may.
func TestTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "endpoints")
	crash(t, path, "a:1", "b:1", "c:1")
	book := open(t, path)
	synctest.Test(t, func(t *testing.T) {
		a, b, c := book.At("a:1"), book.At("b:1"), book.At("c:1")
		book.turn = make(chan struct{}, 1) // one of this bubble
		if err := c.Admit(t.Context()); err == nil {
			t.Error("one is connected to that nobody reads")
		}
		a.Begin()
		b.Begin()
		if err := errors.Join(a.Admit(t.Context()), a.Admit(t.Context())); err != nil {
			t.Errorf("the first: %v", err)
		}
		if err := b.Admit(t.Context()); err == nil {
			t.Error("the second is connected to beside it")
		}
		waiting := make(chan error)
		go func() { waiting <- b.Admit(t.Context()) }()
		synctest.Wait()
		a.End()
		if err := <-waiting; err != nil {
			t.Errorf("the second, afterwards: %v", err)
		}
		b.End()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := errors.Join(a.Admit(ended), b.Admit(ended)); err != nil {
			t.Errorf("both are cleared, but: %v", err)
		}
	})
}

// TestATurnEnds of an endpoint that is always being read: others are tried after it.
func TestATurnEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "endpoints")
	crash(t, path, "a:1", "b:1")
	book := open(t, path)
	synctest.Test(t, func(t *testing.T) {
		a, b := book.At("a:1"), book.At("b:1")
		book.turn = make(chan struct{}, 1) // one of this bubble
		a.Begin()
		b.Begin()
		if err := a.Admit(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			<-time.After(longestTurn / 5)
			a.Begin()
			a.End()
		}
		if err := b.Admit(t.Context()); err != nil {
			t.Errorf("the second: %v", err)
		}
		b.End()
		a.End()
	})
}

// TestRoom has more endpoints than there is room for: those beyond go unnoticed,
// and room that nobody uses is used again.
func TestRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "endpoints")
	crash(t, path, "evil:1")
	book := open(t, path)
	var pages []*Page
	for i := range entries + 10 {
		p := book.At(fmt.Sprint("host:", i))
		p.Begin()
		if err := p.Admit(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.End()
		pages = append(pages, p)
	}
	for _, p := range pages {
		p.Release()
	}
	for i := range entries {
		book.At(fmt.Sprint("other:", i)).Release()
	}
	if admit(t, book, "evil:1") == nil {
		t.Error("who is suspect was forgotten for somebody else")
	}
}

// TestForeignFiles are replaced.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"short": "x", "empty": "", "long": strings.Repeat("y", 1<<20)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := admit(t, open(t, path), "a:1"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(filepath.Join(dir, "no", "folder"), time.Now(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a folder that is not there is one")
	}
}

func BenchmarkRead(b *testing.B) {
	book, err := Open(filepath.Join(b.TempDir(), "endpoints"), time.Now(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	p := book.At("host:1")
	for b.Loop() {
		p.Begin()
		p.End()
	}
}
