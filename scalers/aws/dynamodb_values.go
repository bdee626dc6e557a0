package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// attributeValues reads expressionAttributeValues: a JSON object of values with
// their types, as DynamoDB writes them, without sets.
func attributeValues(text string) (map[string]types.AttributeValue, error) {
	var raw map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &raw) != nil {
		return nil, errors.New("is not a JSON object")
	}
	if len(raw) == 0 {
		return nil, errors.New("is empty")
	}
	return new(valuesReader).mapOf(raw, 0)
}

// What values may be, in all: each is kept as maps and texts of its own, which take
// many times its text.
const (
	mostValues    = 256
	deepestValues = 16
)

// valuesReader reads values, and counts them.
type valuesReader struct{ values int }

// mapOf reads named values; there may be none.
func (r *valuesReader) mapOf(raw map[string]json.RawMessage, depth int) (map[string]types.AttributeValue, error) {
	values := make(map[string]types.AttributeValue, len(raw))
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		value, err := r.attributeValue(raw[name], depth)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		values[name] = value
	}
	return values, nil
}

// number is what DynamoDB takes for one.
var number = regexp.MustCompile(`^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$`)

// attributeValue reads one value, such as {"S": "waiting"}.
func (r *valuesReader) attributeValue(raw json.RawMessage, depth int) (types.AttributeValue, error) {
	if r.values++; r.values > mostValues || depth > deepestValues {
		return nil, fmt.Errorf("is one of more than %d values, or deeper than %d", mostValues, deepestValues)
	}
	var typed map[string]json.RawMessage
	if json.Unmarshal(raw, &typed) != nil || len(typed) != 1 {
		return nil, errors.New(`is not an object with exactly one type, such as {"S": "waiting"}`)
	}
	for kind, content := range typed {
		return r.ofKind(kind, content, depth+1)
	}
	panic("unreachable")
}

func (r *valuesReader) ofKind(kind string, raw json.RawMessage, depth int) (types.AttributeValue, error) {
	switch kind {
	case "S":
		text, err := decoded[string](kind, "a string", raw)
		return &types.AttributeValueMemberS{Value: text}, err
	case "N":
		text, err := decoded[string](kind, "a string that holds a number", raw)
		if err == nil && !number.MatchString(text) {
			err = errors.New("type N is not a string that holds a number")
		}
		return &types.AttributeValueMemberN{Value: text}, err
	case "B":
		text, err := decoded[string](kind, "a string", raw)
		return &types.AttributeValueMemberB{Value: []byte(text)}, err
	case "BOOL":
		truth, err := decoded[bool](kind, "true or false", raw)
		return &types.AttributeValueMemberBOOL{Value: truth}, err
	case "NULL":
		truth, err := decoded[bool](kind, "true or false", raw)
		return &types.AttributeValueMemberNULL{Value: truth}, err
	case "L":
		list, err := decoded[[]json.RawMessage](kind, "a list of typed values", raw)
		if err != nil {
			return nil, err
		}
		return r.listOf(list, depth)
	case "M":
		object, err := decoded[map[string]json.RawMessage](kind, "an object of typed values", raw)
		if err != nil {
			return nil, err
		}
		values, err := r.mapOf(object, depth)
		return &types.AttributeValueMemberM{Value: values}, err
	default:
		return nil, fmt.Errorf("type %q is not one of S, N, BOOL, B, L, M, NULL", kind)
	}
}

func (r *valuesReader) listOf(list []json.RawMessage, depth int) (types.AttributeValue, error) {
	if len(list) > mostValues {
		return nil, fmt.Errorf("has more than %d elements", mostValues)
	}
	values := make([]types.AttributeValue, len(list))
	for i, one := range list {
		value, err := r.attributeValue(one, depth)
		if err != nil {
			return nil, fmt.Errorf("element %d %w", i, err)
		}
		values[i] = value
	}
	return &types.AttributeValueMemberL{Value: values}, nil
}

// decoded reads the content of a type; null is no content.
func decoded[T any](kind, form string, raw json.RawMessage) (T, error) {
	var content *T
	if json.Unmarshal(raw, &content) != nil || content == nil {
		var none T
		return none, fmt.Errorf("type %s is not %s", kind, form)
	}
	return *content, nil
}
