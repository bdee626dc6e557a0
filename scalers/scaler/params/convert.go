package params

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
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
	anyValue  bool // a value of a map may hold "="
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	queryType    = reflect.TypeFor[url.Values]()
	rangesType   = reflect.TypeFor[Ranges]()
)

// valueTypeOf finds the syntax for a Go type; false for a type that cannot be
// a parameter.
func valueTypeOf(typ reflect.Type, s syntax) (valueType, bool) {
	v := valueType{set: func(target reflect.Value, value any) {
		target.Set(reflect.ValueOf(value).Convert(target.Type()))
	}}
	switch {
	case typ == durationType:
		v.kind, v.parse = scalerv1.ValueType_VALUE_TYPE_DURATION, parser(scalerv1.ParseDuration)
	case typ == queryType:
		v.kind, v.parse = scalerv1.ValueType_VALUE_TYPE_QUERY, parser(scalerv1.ParseQuery)
	case typ == rangesType:
		v.kind = scalerv1.ValueType_VALUE_TYPE_INTEGER_LIST
		v.parse = func(text string) (any, error) { return parseRanges(text, s.separator) }
	case typ.Kind() == reflect.String:
		v.kind, v.parse = scalerv1.ValueType_VALUE_TYPE_STRING, func(text string) (any, error) { return text, nil }
	case typ.Kind() == reflect.Bool:
		v.kind, v.parse = scalerv1.ValueType_VALUE_TYPE_BOOL, parser(scalerv1.ParseBool)
	case typ.Kind() == reflect.Float64:
		v.kind, v.parse = scalerv1.ValueType_VALUE_TYPE_FLOAT, parser(scalerv1.ParseFloat)
	case isInt(typ.Kind()):
		v.kind = scalerv1.ValueType_VALUE_TYPE_INTEGER
		v.parse = func(text string) (any, error) { return scalerv1.ParseInteger(text, typ.Bits()) }
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
	switch {
	case typ == queryType:
		v.parse = few("&", mostPairs, v.parse)
	case typ.Kind() == reflect.Map:
		v.parse = few(s.separator, mostPairs, v.parse)
	case typ.Kind() == reflect.Slice:
		v.parse = few(s.separator, mostElements, v.parse)
	}
	return v, true
}

// mostElements is what a list may have, and mostPairs a map or query, of which each
// element takes more: far more than anybody writes, and little to keep, however short
// they are.
const (
	mostElements = 1024
	mostPairs    = 64
)

// few counts elements before anything is made of them.
func few(separator string, most int, parse func(string) (any, error)) func(string) (any, error) {
	return func(text string) (any, error) {
		if n := strings.Count(text, separator) + 1; n > most {
			return nil, fmt.Errorf("has %d elements, of %d that there may be", n, most)
		}
		return parse(text)
	}
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

// split keeps empty elements, so that positions stay what the user meant.
func split(text, separator string) []string {
	list := strings.Split(text, separator)
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

func parseInts(text string, bits int, s syntax) ([]int64, error) {
	var list []int64
	for _, element := range split(text, s.separator) {
		n, err := scalerv1.ParseInteger(element, bits)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

// parseMap reads pairs such as "k=v,k=v". A value with "=" is refused, as in
// KEDA, unless the parameter allows it: nobody can tell where the next pair was
// meant to begin.
func parseMap(text string, s syntax) (map[string]string, error) {
	pairs := map[string]string{}
	for _, element := range split(text, s.separator) {
		key, value, found := strings.Cut(element, "=")
		if !found || strings.Contains(value, "=") && !s.anyValue {
			return nil, scalerv1.TextError{Text: element, Reason: `is not one "key=value"`}
		}
		pairs[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return pairs, nil
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
			return scalerv1.TextError{Text: element, Reason: "is not one of " + strings.Join(f.enum, ", ")}
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
	return scalerv1.TextError{Text: strings.Join(found, ","), Reason: "exclude each other"}
}
