package document

import (
	"bytes"
	"context"
	"encoding/json"
)

// deepestJSON is how deep JSON may nest: as deep as encoding/json reads.
const deepestJSON = 10_000

// jsonText is JSON, or lines of it. What does not concern the place that is
// looked for may be wrong: a NaN, a comma too many, a text behind the document.
// It stays a text: a place is found without making values of the others.
type jsonText struct {
	first []byte // the first document, nil when there is none that is whole
	lines []byte // all of it, nil when it is not sound
}

func (w *work) parseJSON(text []byte) jsonText {
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\uFEFF")))
	end, sound := w.extent(text)
	var j jsonText
	switch {
	case end > 0:
		j.first = text[:end]
	case sound && json.Valid(text): // a number or a text alone
		j.first = text
	}
	if sound {
		j.lines = text
	}
	return j
}

// extent finds where the object or list ends that text begins with, 0 when it
// begins with something else or does not end. text is sound when brackets match
// and none nest too deep.
func (w *work) extent(text []byte) (end int, sound bool) {
	var open []byte // the brackets that would close what is open
	quoted, due := false, betweenChecks
	for i := 0; i < len(text); i++ {
		if i >= due {
			if !w.check() {
				return 0, false
			}
			due = i + betweenChecks
		}
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case len(open) == deepestJSON && (c == '{' || c == '['):
			return end, false
		case c == '{' || c == '[':
			open = append(open, c+2) // in ASCII they stand two apart
		case c != '}' && c != ']' || len(open) == 0:
		case c != open[len(open)-1]:
			return end, false
		default:
			open = open[:len(open)-1]
			if len(open) == 0 && end == 0 && (text[0] == '{' || text[0] == '[') {
				end = i + 1
			}
		}
	}
	return end, true
}

// Find implements Document.
func (j jsonText) Find(ctx context.Context, place Place) (Value, error) {
	p := place.path
	if j.first == nil && !p.lines || j.lines == nil && p.lines {
		return Value{}, notA("JSON")
	}
	w := begin(ctx)
	defer w.end()
	if !w.check() {
		return Value{}, w.err
	}
	at := node{work: w, text: j.first}
	if p.lines {
		at = w.linesOf(j.lines)
	}
	for _, pipe := range p.pipes {
		at = at.find(pipe)
	}
	value, err := at.value(place.text)
	if w.err != nil {
		return Value{}, w.err
	}
	return value, err
}

// linesOf is a list of the documents in a text, one after another.
func (w *work) linesOf(text []byte) node {
	return node{work: w, list: func(yield func(node) bool) { w.elements(text, 0, yield) }}
}

// value makes what was found a value.
func (n node) value(place string) (Value, error) {
	v := Value{path: place}
	switch n.kind() {
	case absent:
		return Value{}, missing(place)
	case number:
		var sound bool
		if v.Float, sound = n.number(); !sound {
			return Value{}, wrong(place, "is not a number")
		}
	case quoted:
		v.Text, v.IsText = n.work.textOf(n.text), true
	case null:
		return Value{}, wrong(place, "is null")
	case truth, falsehood:
		return Value{}, wrong(place, "is a bool")
	default:
		return Value{}, wrong(place, "is an object or a list")
	}
	return v, nil
}
