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
	return mapOf(raw)
}

// mapOf reads named values; there may be none.
func mapOf(raw map[string]json.RawMessage) (map[string]types.AttributeValue, error) {
	values := make(map[string]types.AttributeValue, len(raw))
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		value, err := attributeValue(raw[name])
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
func attributeValue(raw json.RawMessage) (types.AttributeValue, error) {
	var typed map[string]json.RawMessage
	if json.Unmarshal(raw, &typed) != nil || len(typed) != 1 {
		return nil, errors.New(`is not an object with exactly one type, such as {"S": "waiting"}`)
	}
	for kind, content := range typed {
		return ofKind(kind, content)
	}
	panic("unreachable")
}

func ofKind(kind string, raw json.RawMessage) (types.AttributeValue, error) {
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
		return listOf(list)
	case "M":
		object, err := decoded[map[string]json.RawMessage](kind, "an object of typed values", raw)
		if err != nil {
			return nil, err
		}
		values, err := mapOf(object)
		return &types.AttributeValueMemberM{Value: values}, err
	default:
		return nil, fmt.Errorf("type %q is not one of S, N, BOOL, B, L, M, NULL", kind)
	}
}

func listOf(list []json.RawMessage) (types.AttributeValue, error) {
	values := make([]types.AttributeValue, len(list))
	for i, one := range list {
		value, err := attributeValue(one)
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
