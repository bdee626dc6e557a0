package document

import (
	"bytes"
	"errors"
	"iter"
	"strconv"
)

// node is something within JSON: the text of a value, a list that a path makes,
// which is walked over and never kept, or a count. The zero node is nothing.
type node struct {
	work  *work // that looks into it
	text  []byte
	list  iter.Seq[node]
	count int // of elements, where counted
	// counted marks a count.
	counted bool
}

type kind int

const (
	absent kind = iota
	number
	quoted
	null
	truth
	falsehood
	object
	list
)

func (n node) kind() kind {
	switch {
	case n.counted:
		return number
	case n.list != nil:
		return list
	case len(n.text) == 0:
		return absent
	}
	switch c := n.text[0]; {
	case c == '"':
		return quoted
	case c == '{':
		return object
	case c == '[':
		return list
	case c == 't':
		return truth
	case c == 'f':
		return falsehood
	case isNull(n.text):
		return null
	default:
		return number
	}
}

// number is false for what looks like one and is none.
func (n node) number() (float64, bool) {
	if n.counted {
		return float64(n.count), true
	}
	value, err := strconv.ParseFloat(string(n.text), 64)
	return value, err == nil || errors.Is(err, strconv.ErrRange)
}

// find follows steps. Where a key stands twice, or a pattern fits several, the
// first counts in which there is what the rest of the steps look for.
func (n node) find(steps []step) node {
	if len(steps) == 0 {
		return n
	}
	s, rest := &steps[0], steps[1:]
	switch s.kind {
	case stepKey:
		return n.key(s, rest)
	case stepThis:
		return n.find(rest)
	case stepKeys:
		return n.keys().find(rest)
	case stepValues:
		return n.values().find(rest)
	case stepFlat:
		return n.flat().find(rest)
	default: // of lists alone
	}
	if n.kind() != list {
		return node{}
	}
	switch s.kind {
	case stepCount:
		return n.counts()
	case stepFirst:
		return n.first(s).find(rest)
	case stepAll:
		return n.each(s.query.fits, rest)
	default:
		return n.each(func(node) bool { return true }, rest)
	}
}

func (n node) key(s *step, rest []step) node {
	switch n.kind() {
	case object:
		return n.member(s, rest)
	case list:
		return n.element(s.index).find(rest)
	default:
		return node{}
	}
}

func (n node) member(s *step, rest []step) node {
	for key, value := range n.members() {
		if !s.names(n.work, key) {
			continue
		}
		if found := value.find(rest); found.kind() != absent {
			return found
		}
	}
	return node{}
}

func (n node) element(index int) node {
	at := 0
	for element := range n.elements() {
		if at == index {
			return element
		}
		at++
	}
	return node{}
}

func (s *step) names(w *work, key []byte) bool {
	switch {
	case s.pattern != nil:
		return w.match(s.pattern, w.textOf(key))
	case bytes.IndexByte(key, '\\') < 0:
		return string(inner(key)) == s.key
	default:
		return w.textOf(key) == s.key
	}
}

func (n node) counts() node {
	counted := node{work: n.work, counted: true}
	for range n.elements() {
		counted.count++
	}
	return counted
}

func (n node) first(s *step) node {
	for element := range n.elements() {
		if s.query.fits(element) {
			return element
		}
	}
	return node{}
}

// each is the list of what the steps find in the elements that fit.
func (n node) each(fits func(node) bool, steps []step) node {
	return node{work: n.work, list: func(yield func(node) bool) {
		for element := range n.elements() {
			if !fits(element) {
				continue
			}
			if found := element.find(steps); found.kind() != absent && !yield(found) {
				return
			}
		}
	}}
}

// keys are those of an object.
func (n node) keys() node {
	if n.kind() != object {
		return node{}
	}
	return node{work: n.work, list: func(yield func(node) bool) {
		for key := range n.members() {
			if !yield(node{work: n.work, text: key}) {
				return
			}
		}
	}}
}

// values are those of an object; a list has them already.
func (n node) values() node {
	switch n.kind() {
	case object:
		return node{work: n.work, list: func(yield func(node) bool) {
			for _, value := range n.members() {
				if !yield(value) {
					return
				}
			}
		}}
	case list:
		return n
	default:
		return node{}
	}
}

// flat puts the elements of lists in a list in their place.
func (n node) flat() node {
	if n.kind() != list {
		return n
	}
	return node{work: n.work, list: func(yield func(node) bool) {
		for element := range n.elements() {
			if element.kind() != list {
				if !yield(element) {
					return
				}
				continue
			}
			for inner := range element.elements() {
				if !yield(inner) {
					return
				}
			}
		}
	}}
}

// fits tells whether an element is one that the query asks for.
func (q *query) fits(element node) bool {
	if len(q.path) > 0 && element.kind() != object && element.kind() != list {
		return false
	}
	found := element.find(q.path)
	kind := found.kind()
	if q.op == "" || kind == absent {
		return kind != absent
	}
	switch kind {
	case quoted:
		return q.fitsText(element.work, element.work.textOf(found.text))
	case number:
		value, sound := found.number()
		return sound && fits(q.op, value, q.number)
	case truth:
		return q.fitsBool(1)
	case falsehood:
		return q.fitsBool(0)
	default:
		return false
	}
}

func (q *query) fitsText(w *work, text string) bool {
	switch q.op {
	case "%":
		return w.match(q.pattern, text)
	case "!%":
		return !w.match(q.pattern, text)
	}
	return fits(q.op, text, q.text)
}

// fitsBool has false less than true.
func (q *query) fitsBool(have int) bool {
	switch q.text {
	case "true":
		return fits(q.op, have, 1)
	case "false":
		return fits(q.op, have, 0)
	default:
		return q.op == "!="
	}
}

func fits[T int | float64 | string](op string, have, want T) bool {
	switch op {
	case "=":
		return have == want
	case "!=":
		return have != want
	case "<":
		return have < want
	case "<=":
		return have <= want
	case ">":
		return have > want
	case ">=":
		return have >= want
	default:
		return false
	}
}

// elements are those of a list.
func (n node) elements() iter.Seq[node] {
	if n.list != nil {
		return n.list
	}
	return func(yield func(node) bool) { n.work.elements(n.text, 1, yield) }
}

// elements finds values from a place in a text on, whatever stands between
// them, up to a bracket that closes.
func (w *work) elements(text []byte, from int, yield func(node) bool) {
	i, seen := from, from
	for i < len(text) && text[i] != ']' && text[i] != '}' {
		if !begins(text[i]) {
			i++
			continue
		}
		end := valueEnd(text, i)
		if !w.look(end-seen) || !yield(node{work: w, text: text[i:end]}) {
			return
		}
		i, seen = end, end
	}
	w.look(i - seen)
}

// members are keys, in quotes, and values of an object.
func (n node) members() iter.Seq2[[]byte, node] {
	return func(yield func([]byte, node) bool) {
		for i := 1; ; {
			key, at := nextMember(n.text, i)
			end := at
			if key != nil {
				end = valueEnd(n.text, at)
			}
			if !n.work.look(end-i) || key == nil || !yield(key, node{work: n.work, text: n.text[at:end]}) {
				return
			}
			i = end
		}
	}
}

// nextMember finds a key and where its value begins; nil and where the object
// ends.
func nextMember(text []byte, i int) (key []byte, value int) {
	for ; i < len(text) && text[i] != '"'; i++ {
		if text[i] == '}' {
			return nil, i
		}
	}
	if i == len(text) {
		return nil, i
	}
	end := valueEnd(text, i)
	key = text[i:end]
	for i = end; i < len(text) && text[i] != '}'; i++ {
		if begins(text[i]) {
			return key, i
		}
	}
	return nil, i
}

// begins is true for what a value begins with. NaN and Infinity are numbers.
func begins(c byte) bool {
	return bytes.IndexByte([]byte(`"{[+-0123456789iINntf`), c) >= 0
}

// valueEnd is where the value ends that begins at a place.
func valueEnd(text []byte, i int) int {
	switch c := text[i]; {
	case c == '"':
		return textEnd(text, i)
	case c == '{' || c == '[':
		return bracketEnd(text, i)
	case c == 't' || c == 'f' || isNull(text[i:]):
		for i++; i < len(text) && text[i] >= 'a' && text[i] <= 'z'; i++ {
		}
		return i
	default:
		for i++; i < len(text) && text[i] > ' ' && text[i] != ',' && text[i] != ']' && text[i] != '}'; i++ {
		}
		return i
	}
}

// isNull tells null from nan.
func isNull(text []byte) bool {
	return text[0] == 'n' && (len(text) < 2 || text[1] == 'u')
}

func textEnd(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// bracketEnd counts brackets of both kinds: they were seen to match.
func bracketEnd(text []byte, i int) int {
	depth := 0
	for ; i < len(text); i++ {
		switch text[i] {
		case '"':
			i = textEnd(text, i) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}
