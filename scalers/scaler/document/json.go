package document

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
)

// deepestJSON is how deep JSON may nest, which bounds the stack of whoever
// follows a path through it.
const deepestJSON = 10_000

// jsonText is JSON, or lines of it. What does not concern the place that is
// looked for may be wrong: a NaN, a comma too many, a text behind the document.
type jsonText struct {
	first []byte // the first document, nil when there is none that is whole
	lines []byte // all of it, nil when it is not sound
}

func parseJSON(text []byte) jsonText {
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\uFEFF")))
	end, sound := extent(text)
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
func extent(text []byte) (end int, sound bool) {
	var open []byte // the brackets that would close what is open
	quoted := false
	for i := 0; i < len(text); i++ {
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
func (j jsonText) Find(path string) (Value, error) {
	text := j.first
	if strings.HasPrefix(path, "..") { // reads lines of JSON each
		text = j.lines
	}
	if text == nil {
		return Value{}, notA("JSON")
	}
	switch found := gjson.GetBytes(text, path); {
	case !found.Exists():
		return Value{}, missing(path)
	case found.Type == gjson.Number:
		return Value{Float: found.Num, path: path}, nil
	case found.Type == gjson.String:
		return Value{Text: found.Str, IsText: true, path: path}, nil
	case found.Type == gjson.Null:
		return Value{}, wrong(path, "is null")
	case found.IsBool():
		return Value{}, wrong(path, "is a bool")
	default:
		return Value{}, wrong(path, "is an object or a list")
	}
}
