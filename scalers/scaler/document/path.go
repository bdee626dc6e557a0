package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// longestPlace and mostSteps bound what a place costs: every step may look at
	// the whole document once more.
	longestPlace = 512
	mostSteps    = 32
)

// Place is where the number stands in documents of one format.
type Place struct {
	text     string
	path     path     // of json
	selector Selector // of prometheus
}

// ParsePlace refuses a place that the format does not have.
func ParsePlace(format, text string) (p Place, err error) {
	if len(text) > longestPlace {
		return Place{}, fmt.Errorf("is longer than %d bytes", longestPlace)
	}
	p.text = text
	switch format {
	case "json":
		p.path, err = parsePath(text)
	case "prometheus":
		p.selector, err = ParseSelector(text)
	}
	return p, err
}

// path is a place in JSON: what stands between pipes applies to what all before
// has found.
type path struct {
	lines bool // of a text of several documents, which are a list
	pipes [][]step
}

type stepKind int

const (
	stepKey    stepKind = iota // the value of a key, or of a position in a list
	stepCount                  // #
	stepOfEach                 // #.: what the rest finds in each
	stepFirst                  // #(...): the first that fits
	stepAll                    // #(...)#: all that fit, and what the rest finds in each
	stepThis                   // @this
	stepKeys                   // @keys
	stepValues                 // @values
	stepFlat                   // @flatten
)

// step is one part of a path.
type step struct {
	kind stepKind
	// key is what a key reads, unless there is a pattern for it.
	key     string
	pattern []glyph
	index   int // of a list, -1 for none
	query   *query
}

// query is what an element has to fulfil.
type query struct {
	path    []step // to what is compared, in the element; none for itself
	op      string // "" asks whether anything stands there
	text    string
	pattern []glyph // of text, for % and !%
	number  float64 // of text, NaN for none
}

// modifiers that paths may have, and those that GJSON has besides: they format,
// sort and parse, without a bound on how often and how large.
var (
	modifiers = map[string]stepKind{"@this": stepThis, "@keys": stepKeys, "@values": stepValues, "@flatten": stepFlat}
	refused   = []string{"@pretty", "@ugly", "@reverse", "@join", "@valid", "@tostr", "@fromstr", "@group", "@dig"}
)

// parsePath understands the part of GJSON's syntax that Parse names.
func parsePath(text string) (path, error) {
	var p path
	rest, lines := strings.CutPrefix(text, "..")
	p.lines = lines
	steps := 0
	for more := true; more; {
		var pipe []step
		var err error
		if pipe, rest, more, err = parsePipe(rest); err != nil {
			return path{}, err
		}
		p.pipes = append(p.pipes, pipe)
		if steps += len(pipe); steps > mostSteps {
			return path{}, fmt.Errorf("has more than %d steps", mostSteps)
		}
	}
	return p, nil
}

// parsePipe reads steps up to a pipe or the end.
func parsePipe(text string) (steps []step, rest string, more bool, err error) {
	for {
		s, rest, err := parseStep(text)
		if err != nil {
			return nil, "", false, err
		}
		if s.kind == stepCount && strings.HasPrefix(rest, ".") {
			s.kind = stepOfEach
		}
		steps = append(steps, s)
		switch {
		case rest == "":
			return steps, "", false, nil
		case rest[0] == '|':
			return steps, rest[1:], true, nil
		}
		text = rest[1:]
	}
}

// parseStep reads one step; rest is empty or begins with a dot or a pipe.
func parseStep(text string) (s step, rest string, err error) {
	if text == "" {
		return step{}, "", errors.New("has a step without a text")
	}
	if strings.HasPrefix(text, "#(") || strings.HasPrefix(text, "#[") {
		return parseQuery(text)
	}
	end := 0
	for ; end < len(text) && text[end] != '.' && text[end] != '|'; end++ {
		if text[end] == '\\' {
			end++
		}
	}
	end = min(end, len(text))
	s, err = plainStep(text[:end])
	return s, text[end:], err
}

// plainStep is any step but a query.
func plainStep(text string) (step, error) {
	name, _, arguments := strings.Cut(text, ":")
	kind, modifier := modifiers[name]
	switch {
	case text == "":
		return step{}, errors.New("has a step without a text")
	case text == "#":
		return step{kind: stepCount}, nil
	case modifier && !arguments:
		return step{kind: kind}, nil
	case modifier, slices.Contains(refused, name):
		return step{}, fmt.Errorf("has %s: the modifiers are @this, @keys, @values and @flatten, without arguments", name)
	case strings.ContainsRune("[{!", rune(text[0])):
		return step{}, fmt.Errorf(`has a step that begins with %c: write \%c where a key does`, text[0], text[0])
	}
	return keyStep(text)
}

func keyStep(text string) (s step, err error) {
	s.index = -1
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		s.index = int(n)
	}
	if wild(text) {
		s.pattern, err = glyphs(text)
	} else {
		s.key = unescaped(text)
	}
	return s, err
}

func wild(text string) bool {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '*', '?':
			return true
		}
	}
	return false
}

func unescaped(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var plain strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		plain.WriteByte(text[i])
	}
	return plain.String()
}

// parseQuery reads #(...) or #(...)#.
func parseQuery(text string) (s step, rest string, err error) {
	end, op, err := queryExtent(text)
	if err != nil {
		return step{}, "", err
	}
	s.kind, s.query, rest = stepFirst, &query{}, text[end+1:]
	if after, all := strings.CutPrefix(rest, "#"); all {
		s.kind, rest = stepAll, after
	}
	if rest != "" && rest[0] != '.' && rest[0] != '|' {
		return step{}, "", errors.New("has a text behind a query")
	}
	place, comparison := text[2:end], ""
	if op > 0 {
		place, comparison = text[2:op], text[op:end]
	}
	if s.query.path, err = queryPath(strings.TrimSpace(place)); err != nil {
		return step{}, "", err
	}
	err = s.query.compare(comparison)
	return s, rest, err
}

var errQuery = errors.New(`has a query that is not like #(state=="waiting")`)

// queryExtent finds the bracket that ends a query, and its operator, 0 for none.
func queryExtent(text string) (end, op int, err error) {
	for i := 2; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case c == '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case c == '(' || c == '[' || c == '#' && op == 0:
			return 0, 0, errors.New("has a query within a query")
		case c == ')' || c == ']':
			return i, op, nil
		case op == 0 && strings.ContainsRune("!=<>%", rune(c)):
			op = i
		}
	}
	return 0, 0, errQuery
}

// queryPath is of keys and positions alone.
func queryPath(text string) ([]step, error) {
	if text == "" {
		return nil, nil
	}
	steps, _, piped, err := parsePipe(text)
	if err != nil {
		return nil, err
	}
	if piped || slices.ContainsFunc(steps, func(s step) bool { return s.kind != stepKey }) {
		return nil, errors.New("has a query of something else than keys")
	}
	if len(steps) > mostSteps {
		return nil, fmt.Errorf("has more than %d steps", mostSteps)
	}
	return steps, nil
}

var operators = []string{"==", "!=", "<=", ">=", "!%", "=", "<", ">", "%"}

// compare reads the operator and what it compares with.
func (q *query) compare(text string) error {
	if text == "" {
		return nil
	}
	for _, op := range operators {
		if after, found := strings.CutPrefix(text, op); found {
			q.op, q.text = strings.Replace(op, "==", "=", 1), strings.TrimSpace(after)
			break
		}
	}
	if q.op == "" || strings.HasPrefix(q.text, "~") {
		return errQuery
	}
	if len(q.text) > 1 && q.text[0] == '"' && q.text[len(q.text)-1] == '"' {
		q.text = textOf([]byte(q.text))
	}
	var err error
	if q.number, err = strconv.ParseFloat(q.text, 64); err != nil {
		q.number = math.NaN()
	}
	if strings.HasSuffix(q.op, "%") {
		q.pattern, err = glyphs(q.text)
		return err
	}
	return nil
}

// textOf is textOf with what it costs to read escapes counted.
func (w *work) textOf(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') >= 0 && !w.look(weightOfEscape*len(quoted)) {
		return ""
	}
	return textOf(quoted)
}

// textOf is what a text in quotes means. One with wrong escapes is taken as it
// is written.
func textOf(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(inner(quoted))
	}
	var text string
	if json.Unmarshal(quoted, &text) != nil {
		return string(inner(quoted))
	}
	return text
}

// inner is what stands between quotes. Where a text breaks off there is one.
func inner(quoted []byte) []byte { return bytes.TrimSuffix(quoted[1:], []byte(`"`)) }

// glyph is one character of a pattern: itself, any one, or any number of them.
type glyph struct {
	char     rune
	any, all bool
}

// longestPattern bounds what a pattern costs for each character of the text.
const longestPattern = 64

// glyphs reads a pattern of * and ?, before which \ takes their meaning away.
func glyphs(text string) ([]glyph, error) {
	var pattern []glyph
	escaped := false
	for _, char := range text {
		switch {
		case escaped:
			pattern, escaped = append(pattern, glyph{char: char}), false
		case char == '\\':
			escaped = true
		default:
			pattern = append(pattern, glyph{char: char, any: char == '?', all: char == '*'})
		}
	}
	if len(pattern) > longestPattern {
		return nil, fmt.Errorf("has a pattern of more than %d characters", longestPattern)
	}
	return pattern, nil
}

// match holds a pattern against a text. After a mismatch the last * takes one
// character more: whatever those before it took is as good as anything else.
func (w *work) match(pattern []glyph, text string) bool {
	at, star, taken := 0, -1, 0
	for i := 0; i < len(text); {
		if !w.look(weightOfMatch) {
			return false
		}
		char, width := utf8.DecodeRuneInString(text[i:])
		switch {
		case at < len(pattern) && pattern[at].all:
			star, taken = at, i
			at++
		case at < len(pattern) && (pattern[at].any || pattern[at].char == char):
			at++
			i += width
		case star >= 0:
			_, width = utf8.DecodeRuneInString(text[taken:])
			taken += width
			at, i = star+1, taken
		default:
			return false
		}
	}
	for at < len(pattern) && pattern[at].all {
		at++
	}
	return at == len(pattern)
}
