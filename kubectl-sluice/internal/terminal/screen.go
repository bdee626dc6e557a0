package terminal

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// ErrNoTerminal says that somebody reads or writes who is no terminal.
var ErrNoTerminal = errors.New("standard input and output are no terminal")

// Screen is a terminal that passes on each key by itself, until it is closed.
type Screen struct {
	in, out *os.File
	before  *term.State
	restore func() error
}

// Open opens the terminal that a program reads from and writes to.
func Open(in io.Reader, out io.Writer) (*Screen, error) {
	s := &Screen{}
	var reads, writes bool
	s.in, reads = in.(*os.File)
	s.out, writes = out.(*os.File)
	if !reads || !writes || !term.IsTerminal(int(s.in.Fd())) || !term.IsTerminal(int(s.out.Fd())) {
		return nil, ErrNoTerminal
	}
	var err error
	if s.restore, err = understand(s.out); err != nil {
		return nil, fmt.Errorf("the terminal takes no commands: %w", err)
	}
	if s.before, err = term.MakeRaw(int(s.in.Fd())); err != nil {
		return nil, errors.Join(err, s.restore())
	}
	return s, nil
}

// Size is its width and height.
func (s *Screen) Size() (width, height int) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width == 0 || height == 0 {
		return 80, 24
	}
	return width, height
}

// Close leaves it as it was.
func (s *Screen) Close() error {
	return errors.Join(term.Restore(int(s.in.Fd()), s.before), s.restore())
}
