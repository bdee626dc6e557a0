package terminal

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode"
)

func TestNothingIsACommand(t *testing.T) {
	for text, want := range map[string]string{
		"plain\n\ttext, größer 日本\n": "plain\n\ttext, größer 日本\n",
		"\x1b[2J\x1b]0;title\x07":    "\ufffd[2J\ufffd]0;title\ufffd",
		"\u009b31m":                  "\ufffd31m",
		"over\rwritten\b":            "over\ufffdwritten\ufffd",
		"right \u202e to left":       "right \ufffd to left",
		"invalid \xff.":              "invalid \ufffd.",
		"\x00\x7f":                   "\ufffd\ufffd",
	} {
		for _, size := range []int{1, 2, 3, len(text)} {
			var b bytes.Buffer
			w := NewWriter(&b)
			for rest := text; rest != ""; rest = rest[min(size, len(rest)):] {
				if n, err := io.WriteString(w, rest[:min(size, len(rest))]); err != nil || n != min(size, len(rest)) {
					t.Fatal(n, err)
				}
			}
			if b.String() != want {
				t.Errorf("%q in parts of %d is %q, want %q", text, size, b.String(), want)
			}
		}
	}
}

func FuzzNothingIsACommand(f *testing.F) {
	f.Add("\x1b[2J", 1)
	f.Fuzz(func(t *testing.T, text string, size int) {
		var b bytes.Buffer
		w := NewWriter(&b)
		at := min(max(size, 0), len(text))
		fmt.Fprint(w, text[:at])
		fmt.Fprint(w, text[at:])
		if strings.ContainsFunc(b.String(), func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }) {
			t.Errorf("%q is %q", text, &b)
		}
	})
}
