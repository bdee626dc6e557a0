package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// screens keeps what is drawn, one a write.
type screens struct {
	mu  sync.Mutex
	all []string
}

func (s *screens) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, string(text))
	return len(text), nil
}

// last is what the screen shows: lines without what moves the cursor.
func (s *screens) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range slices.Backward(s.all) {
		if strings.HasPrefix(text, home) {
			return regexp.MustCompile("\x1b\\[[0-9;]*[A-Z]").ReplaceAllString(strings.ReplaceAll(text, "\r", ""), "")
		}
	}
	return ""
}

func many(n int) []Row {
	rows := make([]Row, n)
	for i := range rows {
		load := float64(i)
		rows[i] = Row{Namespace: "shop", Name: fmt.Sprintf("o%03d", i), State: "active", Load: &load, Failures: int32(n - i)}
	}
	return rows
}

// TestWatch: it is read again and again, sorted and scrolled by keys, and what cannot
// be read is said beside what was.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, press := io.Pipe()
		out := &screens{}
		answers := make(chan reading, 1)
		answers <- reading{list: &List{Objects: many(50)}}
		tick := make(chan time.Time)
		w := &Watch{
			Read: func(context.Context) (*List, error) {
				r := <-answers
				return r.list, r.err
			},
			Every: 2 * time.Second, By: "load", In: keys, Out: out, Size: func() (int, int) { return 60, 13 }, Now: time.Now, Tick: tick,
		}
		ended := make(chan error)
		go func() { ended <- w.Run(t.Context()) }()
		shows := func(what string, texts ...string) {
			t.Helper()
			synctest.Wait()
			for _, text := range texts {
				if !strings.Contains(out.last(), text) {
					t.Errorf("%s: %q is not in\n%s", what, text, out.last())
				}
			}
			for _, line := range strings.Split(out.last(), "\n") {
				if len(line) > 60 {
					t.Errorf("%s: a line of %d characters: %q", what, len(line), line)
				}
			}
		}
		key := func(text string) {
			t.Helper()
			if _, err := io.WriteString(press, text); err != nil {
				t.Fatal(err)
			}
		}
		shows("at first", "by load  1 to 10 of 50 objects", "shop        o049", "o040", "\nsort: l load")
		key("f")
		shows("by failures", "by failures", "shop        o000")
		key("jj\x1b[Bk")
		shows("two lines down", "3 to 12 of 50", "o002")
		key("G")
		shows("the end", "41 to 50 of 50", "o049")
		key("\x1b[5~g?\x1b")
		shows("the beginning", "1 to 10 of 50", "o000")
		key(" ")
		shows("a page down", "10 to 19 of 50")
		key("n")
		answers <- reading{list: &List{Objects: many(3), Missing: []string{"cold\nstarts"}}}
		<-time.After(3 * time.Second)
		shows("read again", "by name  3 objects  NOT KNOWN: cold starts")
		answers <- reading{err: errors.New("no\nway \x1b[2J")}
		<-time.After(2 * time.Second)
		shows("not read", "3 objects  NOT READ since ", "o002")
		if strings.Contains(strings.Join(out.all, ""), "\x1b[2J") {
			t.Error("an error is a command")
		}
		tick <- time.Now()
		shows("a tick", "by name")
		key("q")
		close(answers)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if out.all[0] != enter || out.all[len(out.all)-1] != leave {
			t.Errorf("the screen is not given back: %q", out.all[len(out.all)-1])
		}
	})
}

// TestWatchEnds: with whoever asked for it, with keys, and without a screen.
func TestWatchEnds(t *testing.T) {
	w := func(in io.Reader, out io.Writer) *Watch {
		return &Watch{
			Read:  func(context.Context) (*List, error) { return &List{}, nil },
			Every: time.Hour, By: "load", In: in, Out: out, Size: func() (int, int) { return 0, 0 }, Now: time.Now,
		}
	}
	for name, in := range map[string]string{"the end of keys": "", "Ctrl-C": "\x03x", "Ctrl-D": "\x04"} {
		if err := w(strings.NewReader(in), io.Discard).Run(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	keys, press := io.Pipe()
	if err := w(keys, io.Discard).Run(ctx); err != nil {
		t.Error(err)
	}
	_ = press.Close()
	closed, other := io.Pipe()
	_ = closed.Close()
	if err := w(strings.NewReader(""), other).Run(t.Context()); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("without a screen: %v", err)
	}
}
