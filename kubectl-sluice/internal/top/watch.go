package top

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/terminal"
)

// Watch shows rows on a terminal, again and again, as the user sorts them.
type Watch struct {
	// Read reads all rows, every Every after it was done the last time.
	Read  func(context.Context) (*List, error)
	Every time.Duration
	// By is the order, until a key says another one.
	By string
	// In is where keys come from and Out the screen, of which Size is the width and
	// height.
	In   io.Reader
	Out  io.Writer
	Size func() (width, height int)
	Now  func() time.Time
	// Tick has the screen drawn anew, since ages grow and sizes change.
	Tick <-chan time.Time
}

// sorting are the keys of orders.
var sorting = map[string]string{"l": "load", "b": "backlog", "r": "replicas", "f": "failures", "a": "active", "c": "cold-start", "n": "name"}

// help is the last line of the screen.
const help = "sort: l load, b backlog, r replicas, f failures, a active, c cold start, n name; j k or arrows scroll, g G to the ends; q quits"

// What a terminal takes for commands.
const (
	enter = "\x1b[?1049h\x1b[?25l" // another screen, without a cursor
	leave = "\x1b[?25h\x1b[?1049l"
	home  = "\x1b[H"
	next  = "\x1b[K\r\n" // line, and nothing behind this one
	rest  = "\x1b[J"
)

// screen is what is shown.
type screen struct {
	*Watch
	list   List
	read   time.Time // when, zero before the first time
	failed error     // why rows are not of now
	first  int       // the first line that is shown
}

// read is what came of reading.
type reading struct {
	list *List
	err  error
}

// Run shows them until the user quits, or ctx is done. The terminal has to pass on
// each key by itself. Who waits for keys ends with the key that quits, or with In.
func (w *Watch) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	readings, done := make(chan reading), make(chan struct{})
	go func() {
		defer close(done)
		w.readAll(ctx, readings)
	}()
	defer func() {
		cancel()
		<-done
	}()
	keys := make(chan string)
	go w.listen(ctx, keys)
	if _, err := io.WriteString(w.Out, enter); err != nil {
		return err
	}
	defer func() { _, _ = io.WriteString(w.Out, leave) }() // nothing is left to be done where it fails
	s := &screen{Watch: w}
	for {
		if err := s.draw(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case r := <-readings:
			if s.failed = r.err; r.err == nil {
				s.list, s.read = *r.list, w.Now()
			}
		case key, more := <-keys:
			if !more || s.pressed(key) {
				return nil
			}
		case <-w.Tick:
		}
	}
}

// readAll reads until ctx is done.
func (w *Watch) readAll(ctx context.Context, into chan<- reading) {
	for ctx.Err() == nil {
		list, err := w.Read(ctx)
		select {
		case into <- reading{list, err}:
		case <-ctx.Done():
			return
		}
		timer := time.NewTimer(w.Every)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// quits is whether a key ends it: q, and what Ctrl-C and Ctrl-D are in a terminal
// that passes them on.
func quits(key string) bool { return key == "q" || key == "\x03" || key == "\x04" }

// listen passes on keys until one quits.
func (w *Watch) listen(ctx context.Context, into chan<- string) {
	defer close(into)
	buffer := make([]byte, 64)
	for {
		n, err := w.In.Read(buffer)
		for _, key := range keysOf(string(buffer[:n])) {
			select {
			case into <- key:
			case <-ctx.Done():
				return
			}
			if quits(key) {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// keysOf takes what a terminal sends apart.
func keysOf(text string) (keys []string) {
	for text != "" {
		size := 1
		if strings.HasPrefix(text, "\x1b[") {
			for size = 2; size < len(text) && (text[size] < '@' || text[size] > '~'); size++ {
			}
			size = min(size+1, len(text))
		}
		keys = append(keys, text[:size])
		text = text[size:]
	}
	return keys
}

// pressed does what a key is for, and reports whether it quits.
func (s *screen) pressed(key string) (quit bool) {
	_, height := s.Size()
	page := max(height-4, 1)
	switch key {
	case "j", "\x1b[B":
		s.first++
	case "k", "\x1b[A":
		s.first--
	case " ", "\x1b[6~":
		s.first += page
	case "\x1b[5~":
		s.first -= page
	case "g", "\x1b[H":
		s.first = 0
	case "G", "\x1b[F":
		s.first = len(s.list.Objects)
	default:
		if by := sorting[key]; by != "" {
			s.By, s.first = by, 0
		}
	}
	return quits(key)
}

// draw writes the whole screen over what was there.
func (s *screen) draw() error {
	width, height := s.Size()
	if err := Sort(s.list.Objects, s.By); err != nil {
		return err
	}
	var table bytes.Buffer
	if !s.read.IsZero() {
		if err := Print(terminal.NewWriter(&table), s.list.Objects, s.Now()); err != nil {
			return err
		}
	}
	lines := strings.Split(strings.TrimRight(table.String(), "\n"), "\n")
	head, body := lines[0], lines[1:]
	room := max(height-3, 1) // beside the state, the head and the help
	s.first = max(min(s.first, len(body)-room), 0)
	shown := body[s.first:min(s.first+room, len(body))]
	var text strings.Builder
	text.WriteString(home)
	for _, line := range append([]string{s.state(len(shown), len(body)), head}, shown...) {
		text.WriteString(cut(line, width) + next)
	}
	text.WriteString(rest)
	fmt.Fprintf(&text, "\x1b[%d;1H%s\x1b[K", height, cut(help, width))
	_, err := io.WriteString(s.Out, text.String())
	return err
}

// state is the first line of the screen.
func (s *screen) state(shown, all int) string {
	text := fmt.Sprintf("%s  by %s", s.Now().Format(time.TimeOnly), s.By)
	switch {
	case s.read.IsZero() && s.failed == nil:
		return text + "  reading"
	case shown < all:
		text += fmt.Sprintf("  %d to %d of %d objects", s.first+1, s.first+shown, all)
	default:
		text += fmt.Sprintf("  %d objects", all)
	}
	if s.failed != nil {
		since := "yet"
		if !s.read.IsZero() {
			since = "since " + s.read.Format(time.TimeOnly)
		}
		text += fmt.Sprintf("  NOT READ %s: %s", since, clean(s.failed.Error()))
	}
	for _, missing := range s.list.Missing {
		text += "  NOT KNOWN: " + clean(missing)
	}
	return text
}

// clean is a text of somebody else's on one line, without commands to a terminal.
func clean(text string) string {
	var out bytes.Buffer
	_, _ = terminal.NewWriter(&out).Write([]byte(terminal.Line(text))) // a buffer takes all
	return out.String()
}

// cut is what of a line has room.
func cut(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	runes := []rune(line)
	return string(runes[:max(width, 0)])
}
