package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// answer is what the API says to an instant query. The client library of
// Prometheus reads a sample without a value, or with null, as 0; here nothing
// becomes 0 that the server did not say.
//
// Source: https://prometheus.io/docs/prometheus/latest/querying/api/#format-overview
type answer struct {
	Status    string `json:"status"`
	ErrorType string `json:"errorType"`
	Warnings  some   `json:"warnings"`
	Data      struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	} `json:"data"`
}

// element is one of a vector: a float sample or a native histogram.
type element struct {
	Value     sample          `json:"value"`
	Histogram json.RawMessage `json:"histogram"`
}

// some tells a list that has elements from an empty one.
type some bool

// UnmarshalJSON implements json.Unmarshaler.
func (s *some) UnmarshalJSON(text []byte) error {
	var first [1]json.RawMessage
	err := json.Unmarshal(text, &first)
	*s = first[0] != nil
	return err
}

// elements are a vector of which the first is known.
type elements struct {
	first element
	count int
}

// add takes in one element.
func (e *elements) add(next element) {
	if e.count == 0 {
		e.first = next
	}
	e.count++
}

// sample is a time and a number written as a text. It has room for one more, to
// tell what has too many.
type sample [3]json.RawMessage

// errorTypes are those that the API documents; others may be anything.
var errorTypes = []string{"timeout", "canceled", "execution", "bad_data", "internal", "unavailable", "not_found", "not_acceptable"}

// parseAnswer returns the one number of an answer.
func parseAnswer(turn func() error, body []byte) (float64, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return 0, errOther
	}
	switch {
	case a.Status == "error" && slices.Contains(errorTypes, a.ErrorType):
		return 0, scaler.Errorf(codes.FailedPrecondition, "the server reports an error of type %s", a.ErrorType)
	case a.Status == "error":
		return 0, scaler.Errorf(codes.FailedPrecondition, "the server reports an error")
	case a.Status != "success":
		return 0, errOther
	}
	switch a.Data.ResultType {
	case "vector":
		return a.vector(turn)
	case "scalar":
		var s sample
		if json.Unmarshal(a.Data.Result, &s) != nil {
			return 0, errOther
		}
		return s.number()
	case "matrix", "string":
		return 0, scaler.Errorf(codes.FailedPrecondition, "the query returns a %s, want one number", a.Data.ResultType)
	default:
		return 0, errOther
	}
}

// errOther is an answer that is none of the API's. Its text stays away: nobody
// knows what it holds.
var errOther = scaler.Errorf(codes.Unavailable, "the answer is not one of the API of Prometheus")

// vector is the number of the only element. Without any there is nothing to
// say, unless the server adds that it could not look everywhere.
func (a answer) vector(turn func() error) (float64, error) {
	var e elements
	if a.Data.Result == nil || client.EachElement(turn, a.Data.Result, element{}, e.add) != nil {
		return 0, errOther
	}
	switch {
	case e.count == 0 && bool(a.Warnings):
		return 0, fmt.Errorf("the result is empty, and the server warns that it may not be complete: %w", scaler.ErrPartial)
	case e.count == 0:
		return 0, fmt.Errorf("the result is empty, the target of the metrics may be lost: %w", scaler.ErrNoData)
	case e.count > 1:
		return 0, scaler.Errorf(codes.FailedPrecondition, "the query returns multiple elements (%d), want one: aggregate them, for example with sum()", e.count)
	case e.first.Histogram != nil:
		return 0, scaler.Errorf(codes.FailedPrecondition, "the query returns a histogram, want one number")
	}
	return e.first.Value.number()
}

// number is the sample's. Without a value it says nothing.
func (s sample) number() (float64, error) {
	if s[0] == nil {
		return 0, fmt.Errorf("the result has no value: %w", scaler.ErrNoData)
	}
	if s[1] == nil || s[2] != nil {
		return 0, scaler.Errorf(codes.FailedPrecondition, "the result has a sample that is not a time and a value")
	}
	var text *string
	if json.Unmarshal(s[1], &text) != nil {
		return 0, scaler.Errorf(codes.FailedPrecondition, "the result has a value that is not a text")
	}
	if text == nil {
		return 0, fmt.Errorf("the result's value is null: %w", scaler.ErrNoData)
	}
	value, err := strconv.ParseFloat(*text, 64)
	switch {
	case err != nil:
		return 0, scaler.Errorf(codes.FailedPrecondition, "the result has a value that is not a number")
	case math.IsNaN(value), math.IsInf(value, 0):
		return 0, fmt.Errorf("the result is not a finite number: %w", scaler.ErrNoData)
	}
	return value, nil
}
