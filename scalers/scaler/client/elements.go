package client

import (
	"encoding/json"
	"errors"
	"io"
)

var errNoList = errors.New("is not a list")

// EachElement decodes the elements of a list in JSON one after another, for
// those who do not need all of them at once: a list of millions takes many times
// the memory of its text. null is a list without elements. Between pieces of the
// text it calls turn, see Understand, whose error ends it; nil is for texts that are
// short. Each element begins as a copy of empty, so that what decodes lists within it
// by itself has the turn, too.
func EachElement[T any](turn func() error, text []byte, empty T, use func(T)) error {
	decoder := json.NewDecoder(InPieces(turn, text))
	switch open, err := decoder.Token(); {
	case err != nil:
		return err
	case open == nil:
		return nil
	case open != json.Delim('['):
		return errNoList
	}
	for decoder.More() {
		element := empty
		if err := decoder.Decode(&element); err != nil {
			return err
		}
		use(element)
	}
	_, err := decoder.Token()
	return err
}

// piece is how much of a text is read between two turns: it takes milliseconds to
// make something of it, where each few bytes are an element.
const piece = smallAnswer

// InPieces reads a text for a decoder, and calls turn between pieces of it as
// EachElement does.
func InPieces(turn func() error, text []byte) io.Reader {
	return &pieces{turn: turn, text: text, left: piece}
}

// pieces is a text that is read in turn.
type pieces struct {
	turn func() error
	text []byte
	left int // to be read before the next turn
}

// Read implements io.Reader.
func (p *pieces) Read(into []byte) (n int, err error) {
	if len(p.text) == 0 {
		return 0, io.EOF
	}
	if p.left == 0 {
		if p.turn != nil {
			if err := p.turn(); err != nil {
				return 0, err
			}
		}
		p.left = piece
	}
	n = copy(into, p.text[:min(len(p.text), p.left)])
	p.text, p.left = p.text[n:], p.left-n
	return n, nil
}
