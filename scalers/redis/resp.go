package main

import (
	"errors"
	"fmt"
	"math"
)

// What a server may announce. The client library makes room for it before the
// first element is there, partly on goroutines where nothing can be caught.
const (
	// mostDepth is how deep answers are nested; that of COMMAND takes 9.
	mostDepth = 16
	// longestLine and longestNumber are in bytes.
	longestLine   = 64 << 10
	longestNumber = 64
	// mostRead is what arrives for one read of up to 500 keys.
	mostRead = 8 << 20
	// elementSize is what an element takes, whatever it is, beside a string's
	// bytes.
	elementSize = 64
)

// bounds are those of one answer.
type bounds struct {
	mostElements  int   // however nested
	longestString int64 // in bytes
}

var (
	// ofReads has room for lists of a stream's consumers, of commands, and of a
	// cluster's slots. What is made of them counts with all answers.
	ofReads = bounds{mostElements: 1 << 16, longestString: 512 << 10}
	// besideReads has room for a key that was written, and for the Sentinels of a
	// master. Nothing counts it, and half of a message may wait for the other as
	// long as the connection stands.
	besideReads = bounds{mostElements: 1 << 10, longestString: 16 << 10}
)

// errNoRedis is about what is not Redis's protocol at all.
var errNoRedis = errors.New("the answer is not one of Redis")

// resp checks answers in Redis's protocol, RESP2 and RESP3, as they arrive. Of
// a single answer it knows how far it has come, and of what it holds only how
// much.
type resp struct {
	bounds
	decoded func(bytes int) error // counts memory that the client is about to take

	open     [mostDepth]int // elements that are still to come, by depth
	depth    int            // of the answer that is under way; 0 between answers
	elements int            // that it has announced

	state  func(*resp, []byte) (rest []byte, err error)
	kind   byte  // of the element
	length int64 // of its line so far, or bytes of its string to come
	number int64 // its length as it was announced
	minus  bool
	cr     bool // the last byte of the line was \r
}

func newRESP(b bounds, decoded func(int) error) *resp {
	return &resp{bounds: b, decoded: decoded, state: (*resp).first}
}

// Check implements client.Checker.
func (r *resp) Check(p []byte) (err error) {
	for len(p) > 0 && err == nil {
		p, err = r.state(r, p)
	}
	return err
}

// first takes the byte that tells an element's kind.
func (r *resp) first(p []byte) ([]byte, error) {
	r.kind, r.length, r.number, r.minus, r.cr = p[0], 0, 0, false, false
	if r.depth == 0 {
		r.depth, r.elements = 1, 1
		r.open[0] = 1
	}
	switch r.kind {
	case '+', '-':
		r.state = (*resp).text
	case ':', ',', '#', '(', '_':
		r.state = (*resp).text
	case '$', '!', '=', '*', '~', '>', '%', '|':
		r.state = (*resp).announced
	default:
		return nil, errNoRedis
	}
	return p[1:], nil
}

// text passes over a line.
func (r *resp) text(p []byte) ([]byte, error) {
	limit := int64(longestNumber)
	if r.kind == '+' || r.kind == '-' {
		limit = longestLine
	}
	for i, b := range p {
		if b == '\n' {
			if !r.cr {
				return nil, errNoRedis
			}
			return p[i+1:], r.ended()
		}
		r.cr = b == '\r'
		if r.length++; r.length > limit+1 {
			return nil, fmt.Errorf("the server sent a line of more than %d bytes", limit)
		}
	}
	return nil, nil
}

// announced takes the line that says how long an element is.
func (r *resp) announced(p []byte) ([]byte, error) {
	for i, b := range p {
		switch {
		case b == '\n' && r.cr && r.length > 0:
			return p[i+1:], r.begin()
		case r.cr:
			return nil, errNoRedis
		case b == '\r':
			r.cr = true
		case b == '-' && r.length == 0 && !r.minus:
			r.minus = true
		case b == '?':
			return nil, errors.New("the server streams an answer of unknown length")
		case b < '0' || b > '9', r.length == longestNumber:
			return nil, errNoRedis
		default:
			digit := int64(b - '0')
			if r.number > (math.MaxInt64-digit)/10 {
				return nil, fmt.Errorf("the server announced a length of more than %d", math.MaxInt64)
			}
			r.number = r.number*10 + digit
			r.length++
		}
	}
	return nil, nil
}

// begin starts the element whose length was announced.
func (r *resp) begin() error {
	if r.minus {
		if r.number != 1 { // which is nil
			return errNoRedis
		}
		return r.ended()
	}
	switch r.kind {
	case '$', '!', '=':
		if r.number > r.longestString {
			return fmt.Errorf("the server announced a string of %d bytes, at most %d", r.number, r.longestString)
		}
		r.length, r.state = r.number+2, (*resp).content
		return r.decoded(int(r.number))
	case '|':
		// What it says belongs to the element that follows it.
		r.open[r.depth-1]++
		r.elements++
	}
	return r.nest()
}

// aggregates are the words for what has elements.
var aggregates = map[byte]string{'*': "an array", '~': "a set", '>': "a message", '%': "a map", '|': "attributes"}

// nest goes down into an element that has others.
func (r *resp) nest() error {
	most := int64(r.mostElements - r.elements)
	each := int64(1)
	if r.kind == '%' || r.kind == '|' {
		each = 2
	}
	switch {
	case r.number > most/each && r.elements == 1:
		return fmt.Errorf("the server announced %s of %d elements, at most %d", aggregates[r.kind], r.number, r.mostElements)
	case r.number > most/each:
		return fmt.Errorf("the server announced an answer of more than %d elements in all", r.mostElements)
	case r.number == 0:
		return r.ended()
	case r.depth == mostDepth:
		return fmt.Errorf("the server announced an answer that is nested more than %d deep", mostDepth)
	}
	r.elements += int(r.number * each)
	r.open[r.depth] = int(r.number * each)
	r.depth++
	r.state = (*resp).first
	return r.decoded(int(r.number*each) * elementSize)
}

// content passes over a string.
func (r *resp) content(p []byte) ([]byte, error) {
	n := min(int64(len(p)), r.length)
	if r.length -= n; r.length == 0 {
		return p[n:], r.ended()
	}
	return nil, nil
}

// ended counts an element, and those that it was the last of.
func (r *resp) ended() error {
	for r.depth > 0 {
		if r.open[r.depth-1]--; r.open[r.depth-1] > 0 {
			break
		}
		r.depth--
	}
	r.state = (*resp).first
	return nil
}
