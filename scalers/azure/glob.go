package main

import (
	"errors"
	"regexp"
	"strings"
)

var errGlob = errors.New("is not a pattern")

// compileGlob makes a regular expression of a pattern: that takes no longer for
// one pattern than for another. * and ** stand for any text, slashes included, ?
// for one character, [abc], [a-z] and [!abc] for one of a set, {a,b} for either,
// and a backslash takes the meaning from what follows.
func compileGlob(pattern string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	open := 0
	rest := []rune(pattern)
	for len(rest) > 0 {
		c := rest[0]
		rest = rest[1:]
		switch {
		case c == '*' || c == '?':
			// In any order they stand for the same, and one .* is tried once only.
			text := c == '*'
			for ; ; c, rest = rest[0], rest[1:] {
				if c == '?' {
					b.WriteByte('.')
				}
				text = text || c == '*'
				if len(rest) == 0 || rest[0] != '*' && rest[0] != '?' {
					break
				}
			}
			if text {
				b.WriteString(`.*`)
			}
		case c == '[':
			n := set(&b, rest)
			if n == 0 {
				return nil, errGlob
			}
			rest = rest[n:]
		case c == '{':
			open++
			b.WriteString(`(?:`)
		case c == ',' && open > 0:
			b.WriteByte('|')
		case c == '}' && open > 0:
			open--
			b.WriteByte(')')
		case c == '\\':
			if len(rest) == 0 {
				return nil, errGlob
			}
			b.WriteString(regexp.QuoteMeta(string(rest[0])))
			rest = rest[1:]
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	if open > 0 {
		return nil, errGlob
	}
	b.WriteString(`\z`)
	compiled, err := regexp.Compile(b.String())
	if err != nil {
		return nil, errGlob
	}
	return compiled, nil
}

// set writes a set of characters and returns how many runes of it there are
// behind its "[", 0 for none that ends.
func set(b *strings.Builder, text []rune) int {
	at := 0
	b.WriteByte('[')
	if at < len(text) && text[at] == '!' {
		b.WriteByte('^')
		at++
	}
	for first := at; at < len(text); at++ {
		switch c := text[at]; {
		case c == ']' && at > first:
			b.WriteByte(']')
			return at + 1
		case c == '-' && at > first && at+1 < len(text) && text[at+1] != ']':
			b.WriteByte('-')
		case c == '\\' && at+1 < len(text):
			at++
			b.WriteString(`\x{` + hex(text[at]) + `}`)
		default:
			b.WriteString(`\x{` + hex(c) + `}`)
		}
	}
	return 0
}

func hex(c rune) string {
	const digits = "0123456789abcdef"
	text := ""
	for ; c > 0; c >>= 4 {
		text = string(digits[c&15]) + text
	}
	return "0" + text
}
