package main

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// TestAnswers has what servers of others, proxies and defects answer with.
func TestAnswers(t *testing.T) {
	vector := func(result string) string {
		return `{"status":"success","data":{"resultType":"vector","result":` + result + `}}`
	}
	tests := map[string]struct {
		body   string
		want   float64
		code   codes.Code // OK with noData for no data
		noData bool
	}{
		"a sample":                     {body: vector(`[{"metric":{},"value":[1.5,"7"]}]`), want: 7},
		"negative":                     {body: vector(`[{"value":[1,"-7"]}]`), want: -7},
		"an exponent":                  {body: vector(`[{"value":[1,"1e+06"]}]`), want: 1e6},
		"nothing":                      {body: vector(`[]`), noData: true},
		"null":                         {body: vector(`null`), noData: true},
		"an empty sample":              {body: vector(`[{"metric":{},"value":[]}]`), noData: true},
		"no sample":                    {body: vector(`[{"metric":{}}]`), noData: true},
		"a sample of null":             {body: vector(`[{"value":[1,null]}]`), noData: true},
		"NaN":                          {body: vector(`[{"value":[1,"NaN"]}]`), noData: true},
		"infinity":                     {body: vector(`[{"value":[1,"+Inf"]}]`), noData: true},
		"minus infinity":               {body: vector(`[{"value":[1,"-Inf"]}]`), noData: true},
		"a time alone":                 {body: vector(`[{"value":[1]}]`), code: codes.FailedPrecondition},
		"a sample too long":            {body: vector(`[{"value":[1,"2","3"]}]`), code: codes.FailedPrecondition},
		"a number that is not written": {body: vector(`[{"value":[1,7]}]`), code: codes.FailedPrecondition},
		"a word":                       {body: vector(`[{"value":[1,"many"]}]`), code: codes.FailedPrecondition},
		"a histogram":                  {body: vector(`[{"histogram":[1,{"count":"1"}]}]`), code: codes.FailedPrecondition},
		"two":                          {body: vector(`[{"value":[1,"2"]},{"value":[1,"3"]}]`), code: codes.FailedPrecondition},
		"a scalar":                     {body: `{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}`, want: 7},
		"a scalar that is none":        {body: `{"status":"success","data":{"resultType":"scalar","result":7}}`, code: codes.Unavailable},
		"another type":                 {body: `{"status":"success","data":{"resultType":"tensor","result":[]}}`, code: codes.Unavailable},
		"no type":                      {body: `{"status":"success","data":{"result":[]}}`, code: codes.Unavailable},
		"an error with 200":            {body: `{"status":"error","errorType":"timeout","error":"hush-hush"}`, code: codes.FailedPrecondition},
		"an error of its own":          {body: `{"status":"error","errorType":"hush-hush","data":{"resultType":"vector","result":[]}}`, code: codes.FailedPrecondition},
		"empty, and part of it lost":   {body: `{"status":"success","warnings":["hush-hush"],"data":{"resultType":"vector","result":[]}}`, noData: true},
		"a value with a warning":       {body: `{"status":"success","warnings":["w"],"data":{"resultType":"vector","result":[{"value":[1,"7"]}]}}`, want: 7},
		"no status":                    {body: `{"data":{"resultType":"vector","result":[]}}`, code: codes.Unavailable},
		"an object of another":         {body: `{}`, code: codes.Unavailable},
		"a list":                       {body: `[]`, code: codes.Unavailable},
		"a page":                       {body: `<html>hush-hush</html>`, code: codes.Unavailable},
		"nothing at all":               {body: ``, code: codes.Unavailable},
		"half":                         {body: `{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"7"]}`, code: codes.Unavailable},
		"another shape":                {body: vector(`{"value":[1,"7"]}`), code: codes.Unavailable},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseAnswer(nil, []byte(tt.body))
			if errors.Is(err, scaler.ErrNoData) != tt.noData {
				t.Fatalf("error = %v, want no data %v", err, tt.noData)
			}
			if !tt.noData && status.Code(err) != tt.code {
				t.Fatalf("error = %v, want %v", err, tt.code)
			}
			if got != tt.want {
				t.Errorf("value = %v, want %v", got, tt.want)
			}
		})
	}
}

// TestLongResultsAreReadInTurn: others compute between pieces of a result.
func TestLongResultsAreReadInTurn(t *testing.T) {
	body := []byte(`{"status":"success","data":{"resultType":"vector","result":[` + strings.Repeat("{},", 100_000) + "{}]}}")
	turns := 0
	_, err := parseAnswer(func() error { turns++; return nil }, body)
	if turns < len(body)>>15 || err == nil || !strings.Contains(err.Error(), "multiple elements (100001)") {
		t.Errorf("%d turns for %d bytes, %v", turns, len(body), err)
	}
}
