// Package terminal writes what others wrote where a person reads it: names and
// texts of a cluster may have what a terminal takes for a command.
package terminal

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// NewWriter returns a writer of text that has line breaks and tabs, and else
// nothing but what is printed: each other character is a U+FFFD. A character may
// come in parts.
func NewWriter(to io.Writer) io.Writer { return &writer{to: to} }

type writer struct {
	to   io.Writer
	part []byte // the beginning of a character
}

func (w *writer) Write(text []byte) (int, error) {
	rest := text
	if len(w.part) > 0 {
		rest = append(w.part, text...)
		w.part = nil
	}
	clean := make([]byte, 0, len(rest))
	for len(rest) > 0 {
		if !utf8.FullRune(rest) {
			w.part = append([]byte(nil), rest...)
			break
		}
		r, size := utf8.DecodeRune(rest)
		rest = rest[size:]
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			r = utf8.RuneError
		}
		clean = utf8.AppendRune(clean, r)
	}
	if _, err := w.to.Write(clean); err != nil {
		return 0, err
	}
	return len(text), nil
}

// Line is a text of somebody else's as a part of one line.
func Line(text string) string { return strings.Join(strings.Fields(text), " ") }
