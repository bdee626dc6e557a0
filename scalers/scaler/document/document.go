// Package document finds one number in a text that a source answers with: JSON,
// YAML, XML, or what Prometheus scrapes. Errors say where and what kind, and
// never quote the text: it is nobody's business but the user's.
package document

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"k8s.io/apimachinery/pkg/api/resource"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// Value is what stands at a place of a document: a number or a text.
type Value struct {
	// Text is the value of a text; only where IsText.
	Text   string
	IsText bool
	// Float is the value of a number.
	Float float64

	path string // where it stands
}

// Number is the number, or what the text means as a Kubernetes quantity.
func (v Value) Number() (float64, error) {
	if !v.IsText {
		return v.Float, nil
	}
	number, err := Quantity(v.Text)
	if err != nil {
		return 0, wrong(v.path, err.Error())
	}
	return number, nil
}

// Quantity reads a Kubernetes quantity such as 500m or 2Gi, to the precision of
// a float.
func Quantity(text string) (float64, error) {
	text = strings.TrimSpace(text)
	if scalerv1.CheckQuantity(text) != nil {
		return 0, errors.New("is a number that is out of range")
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return 0, errors.New("is neither a number nor a quantity")
	}
	return q.AsApproximateFloat64(), nil
}

// Document is a text that was understood once, to be looked into many times.
type Document interface {
	// Find returns what stands at a place of the document's format. It looks at
	// 128 MiB at most, in turn with all that the family computes, and ends with ctx.
	Find(ctx context.Context, place Place) (Value, error)
}

// MostBytes is what a text that is no JSON may have. In memory it takes many
// times as much.
const MostBytes = 4 << 20

// Parse reads a text of one of the formats json, yaml, xml and prometheus. Those
// that are no JSON are of MostBytes at most, and wait until there is memory for
// what is made of them.
//
// Places of json are paths in a part of GJSON's syntax: keys and list positions
// with dots between them, keys with * and ?, # for the number of elements, #.key
// for a list of what each element has there, #(key=="value") for the first
// element that fits, #(...)# for all of them, with = != < <= > >= % and !%, a
// pipe to go on with a list as a whole, as in #(...)#|#, and the modifiers @this,
// @keys, @values and @flatten. .. in front makes a list of the lines of a text. A
// path has 32 steps and 512 bytes at most. What is wrong with the text elsewhere
// does not matter as long as its first object or list is whole.
//
// Places of yaml and xml are keys and list positions with dots between them,
// such as jobs.0.waiting; as in KEDA, a value found before the path ends is the
// result. In xml elements are keys, those that repeat are a list, and the name of
// the outermost may be left out. Places of prometheus are selectors, see
// ParseSelector.
//
// Source: https://github.com/tidwall/gjson/blob/master/SYNTAX.md
func Parse(ctx context.Context, format string, text []byte) (Document, error) {
	w := begin(ctx)
	defer w.end()
	if !w.check() {
		return nil, w.err
	}
	if format == "json" {
		if parsed := w.parseJSON(text); w.err == nil {
			return parsed, nil
		}
		return nil, w.err
	}
	parse, known := parsers[format]
	if !known {
		return nil, fmt.Errorf("format %q is not one of json, yaml, xml, prometheus", format)
	}
	if err := CheckSize(format, text, MostBytes); err != nil {
		return nil, err
	}
	values, err := countValues(format, text)
	if err != nil {
		return nil, err
	}
	w.turn.Rest()
	if err := budget.Document(ctx, int64(values)*bytesPerValue+int64(len(text))); err != nil {
		return nil, err
	}
	parsed, err := parse(&pieces{work: w, text: text})
	if w.err != nil {
		return nil, w.err
	}
	return parsed, err
}

// CheckSize refuses a text of a format that is no JSON when it has more than
// limit bytes.
func CheckSize(format string, text []byte, limit int64) error {
	if format != "json" && int64(len(text)) > limit {
		return words.Errorf(codes.FailedPrecondition, "the text is larger than the %d bytes that %s may have", limit, format)
	}
	return nil
}

var parsers = map[string]func(*pieces) (Document, error){"yaml": parseYAML, "xml": parseTree, "prometheus": parseScrape}

func parseTree(text *pieces) (Document, error) {
	name, content, err := parseXML(text)
	if err != nil {
		return nil, notA("XML")
	}
	return tree{roots: []any{content, map[string]any{name: content}}}, nil
}

// tree is maps and lists, and where a path may begin.
type tree struct{ roots []any }

// Find implements Document. An error is of the first root.
func (t tree) Find(ctx context.Context, place Place) (found Value, err error) {
	w := begin(ctx)
	defer w.end()
	if !w.check() {
		return Value{}, w.err
	}
	for i, root := range t.roots {
		value, failed := walk(root, place.text)
		if failed == nil {
			return value, nil
		}
		if i == 0 {
			err = failed
		}
	}
	return Value{}, err
}

// walk follows a path through maps and lists.
func walk(node any, path string) (Value, error) {
	for _, key := range strings.Split(path, ".") {
		var found bool
		switch inner := node.(type) {
		case map[string]any:
			node, found = inner[key]
		case []any:
			node, found = element(inner, key)
		default:
			return scalar(node, path)
		}
		if !found {
			return Value{}, missing(path)
		}
	}
	return scalar(node, path)
}

func element(list []any, key string) (any, bool) {
	i, err := strconv.Atoi(key)
	if err != nil || i < 0 || i >= len(list) {
		return nil, false
	}
	return list[i], true
}

func scalar(node any, path string) (Value, error) {
	v := Value{path: path}
	switch value := node.(type) {
	case int:
		v.Float = float64(value)
	case int64:
		v.Float = float64(value)
	case uint64:
		v.Float = float64(value)
	case float64:
		v.Float = value
	case string:
		v.Text, v.IsText = value, true
	case nil:
		return Value{}, wrong(path, "is empty")
	case bool:
		return Value{}, wrong(path, "is a bool")
	case []any:
		return Value{}, wrong(path, "is a list")
	case map[string]any:
		return Value{}, wrong(path, "is a map")
	default:
		return Value{}, wrong(path, "is neither a number nor a text")
	}
	return v, nil
}

func notA(format string) error { return words.Errorf(codes.Unavailable, "the text is not %s", format) }

func missing(path string) error {
	return words.Errorf(codes.NotFound, "nothing stands at %s", path)
}

func wrong(path, what string) error {
	return words.Errorf(codes.FailedPrecondition, "what stands at %s %s", path, what)
}
