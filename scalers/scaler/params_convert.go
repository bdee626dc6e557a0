package scaler

import (
	"fmt"
	"math"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// valueType is how a text becomes a value of a field's type.
type valueType struct {
	kind  scalerv1.ValueType
	parse func(text string) (any, error) // never sees a blank text
	set   func(target reflect.Value, value any)
}

// syntax is what tags say about the text of a list or map.
type syntax struct {
	separator string
	ranges    bool
	anyValue  bool // a value of a map may hold "="
}

// textError is a conversion's failure. For secrets only the reason is shown.
type textError struct{ text, reason string }

func (e textError) Error() string { return fmt.Sprintf("%q %s", e.text, e.reason) }

var (
	durationType = reflect.TypeFor[time.Duration]()
	queryType    = reflect.TypeFor[url.Values]()
)

// valueTypeOf finds the syntax for a Go type; false for a type that cannot be
// a parameter.
func valueTypeOf(typ reflect.Type, s syntax) (valueType, bool) {
	v := valueType{set: func(target reflect.Value, value any) {
		target.Set(reflect.ValueOf(value).Convert(target.Type()))
	}}
	switch {
	case typ == durationType:
		v.kind, v.parse = scalerv1.ValueType_VALUE_TYPE_DURATION, parser(parseDuration)
	case typ == queryType:
		v.kind, v.parse = scalerv1.ValueType_VALUE_TYPE_QUERY, parser(parseQuery)
	case typ.Kind() == reflect.String:
		v.kind, v.parse = scalerv1.ValueType_VALUE_TYPE_STRING, func(text string) (any, error) { return text, nil }
	case typ.Kind() == reflect.Bool:
		v.kind, v.parse = scalerv1.ValueType_VALUE_TYPE_BOOL, parser(parseBool)
	case typ.Kind() == reflect.Float64:
		v.kind, v.parse = scalerv1.ValueType_VALUE_TYPE_FLOAT, parser(parseFloat)
	case isInt(typ.Kind()):
		v.kind = scalerv1.ValueType_VALUE_TYPE_INTEGER
		v.parse = func(text string) (any, error) { return parseInt(text, typ.Bits()) }
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.String:
		v.kind = scalerv1.ValueType_VALUE_TYPE_STRING_LIST
		v.parse = func(text string) (any, error) { return split(text, s.separator), nil }
	case typ.Kind() == reflect.Slice && isInt(typ.Elem().Kind()):
		v.kind = scalerv1.ValueType_VALUE_TYPE_INTEGER_LIST
		v.parse = func(text string) (any, error) { return parseInts(text, typ.Elem().Bits(), s) }
		v.set = setInts
	case typ.Kind() == reflect.Map && typ.Key().Kind() == reflect.String && typ.Elem().Kind() == reflect.String:
		v.kind = scalerv1.ValueType_VALUE_TYPE_MAP
		v.parse = func(text string) (any, error) { return parseMap(text, s) }
	default:
		return valueType{}, false
	}
	return v, true
}

func isInt(kind reflect.Kind) bool { return kind >= reflect.Int && kind <= reflect.Int64 }

// parser gives a typed parse function the common shape.
func parser[T any](parse func(string) (T, error)) func(string) (any, error) {
	return func(text string) (any, error) { return parse(text) }
}

func setInts(target reflect.Value, value any) {
	list := value.([]int64)
	target.Set(reflect.MakeSlice(target.Type(), len(list), len(list)))
	for i, n := range list {
		target.Index(i).SetInt(n)
	}
}

// Numbers are those of JSON: no sign but a minus, no leading zeros, no hex.
var (
	jsonInteger = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	jsonNumber  = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
)

func parseInt(text string, bits int) (int64, error) {
	if !jsonInteger.MatchString(text) {
		return 0, textError{text, "is not an integer"}
	}
	n, err := strconv.ParseInt(text, 10, bits)
	if err != nil {
		return 0, textError{text, "is out of range"}
	}
	return n, nil
}

func parseFloat(text string) (float64, error) {
	if !jsonNumber.MatchString(text) {
		return 0, textError{text, "is not a number"}
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, textError{text, "is out of range"}
	}
	return x, nil
}

// parseBool accepts 1 t T TRUE true True 0 f F FALSE false False.
func parseBool(text string) (bool, error) {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, textError{text, "is neither true nor false"}
	}
	return b, nil
}

// parseDuration reads a Go duration, or an integer number of milliseconds. A
// bare number is never seconds, as in KEDA.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		if !jsonInteger.MatchString(text) {
			return 0, textError{text, "is neither a duration such as 30s nor a number of milliseconds"}
		}
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil || ms > math.MaxInt64/int64(time.Millisecond) {
			return 0, textError{text, "is out of range"}
		}
		d = time.Duration(ms) * time.Millisecond
	}
	if d < 0 || strings.HasPrefix(text, "-") && d != 0 {
		return 0, textError{text, "is negative"}
	}
	return d, nil
}

// split keeps empty elements, so that positions stay what the user meant.
func split(text, separator string) []string {
	list := strings.Split(text, separator)
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// maxInts bounds what ranges may expand to: no source has more partitions, and
// "0-2000000000" must not take the memory of everybody.
const maxInts = 100_000

var intRange = regexp.MustCompile(`^(0|[1-9][0-9]*)\s*-\s*(0|[1-9][0-9]*)$`)

func parseInts(text string, bits int, s syntax) ([]int64, error) {
	var list []int64
	for _, element := range split(text, s.separator) {
		from, to, err := parseElement(element, bits, s.ranges)
		if err != nil {
			return nil, err
		}
		if from > to {
			return nil, textError{element, "is a range that ends before it begins"}
		}
		if to-from >= maxInts-int64(len(list)) {
			return nil, textError{text, fmt.Sprintf("has more than %d elements", maxInts)}
		}
		for n := from; n <= to; n++ {
			list = append(list, n)
		}
	}
	return list, nil
}

// parseElement returns the ends of a range, which are equal for a number.
func parseElement(element string, bits int, ranges bool) (from, to int64, err error) {
	ends := intRange.FindStringSubmatch(element)
	if !ranges || ends == nil {
		from, err = parseInt(element, bits)
		return from, from, err
	}
	from, err = parseInt(ends[1], bits)
	if err != nil {
		return 0, 0, err
	}
	to, err = parseInt(ends[2], bits)
	return from, to, err
}

// parseMap reads pairs such as "k=v,k=v". A value with "=" is refused, as in
// KEDA, unless the parameter allows it: nobody can tell where the next pair was
// meant to begin.
func parseMap(text string, s syntax) (map[string]string, error) {
	pairs := map[string]string{}
	for _, element := range split(text, s.separator) {
		key, value, found := strings.Cut(element, "=")
		if !found || strings.Contains(value, "=") && !s.anyValue {
			return nil, textError{element, `is not one "key=value"`}
		}
		pairs[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return pairs, nil
}

func parseQuery(text string) (url.Values, error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, textError{text, "is not a URL query"}
	}
	return values, nil
}

// convert reads text and holds it against the declarative checks.
func (f *field) convert(text string) (any, error) {
	value, err := f.value.parse(text)
	if err != nil {
		return nil, err
	}
	checked := []string{text}
	if list, ok := value.([]string); ok {
		checked = list
	}
	if err := f.checkEnum(checked); err != nil {
		return nil, err
	}
	return value, f.checkExclusive(checked)
}

func (f *field) checkEnum(elements []string) error {
	if f.enum == nil {
		return nil
	}
	for _, element := range elements {
		if !slices.Contains(f.enum, element) {
			return textError{element, "is not one of " + strings.Join(f.enum, ", ")}
		}
	}
	return nil
}

func (f *field) checkExclusive(elements []string) error {
	var found []string
	for _, element := range elements {
		if slices.Contains(f.exclusive, element) && !slices.Contains(found, element) {
			found = append(found, element)
		}
	}
	if len(found) < 2 {
		return nil
	}
	return textError{strings.Join(found, ","), "exclude each other"}
}
