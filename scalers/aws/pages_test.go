package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// TestPagesWithoutEnd: what stands in for CloudWatch sends page after page, as
// long as there is time, and nothing of them is kept that does not count.
func TestPagesWithoutEnd(t *testing.T) {
	known := seen{"c1": nil, "c2": nil}
	for page := range 1000 {
		known.note(&types.MetricDataResult{Id: aws.String(fmt.Sprint("x", page)), Values: []float64{1}})
		known.note(&types.MetricDataResult{Id: aws.String("c1"), Label: aws.String(strings.Repeat("l", 1<<20)), Values: make([]float64, 0, 1<<10)})
	}
	known.note(&types.MetricDataResult{Id: aws.String("c2"), Label: aws.String("orders"), StatusCode: types.StatusCodePartialData})
	known.note(&types.MetricDataResult{Id: aws.String("c2"), Label: aws.String("others"), Values: []float64{8}})
	known.note(&types.MetricDataResult{Id: aws.String("c2"), Label: aws.String("orders"), Values: slices.Repeat([]float64{7}, 100_000)})
	known.note(&types.MetricDataResult{Id: aws.String("c2"), Label: aws.String("orders"), Values: []float64{9}})
	if len(known) != 2 {
		t.Errorf("%d series are kept of 2 that were asked for", len(known))
	}
	if label := *known["c1"].Label; len(label) != longestLabel {
		t.Errorf("a label of %d bytes is kept", len(label))
	}
	if values := known["c2"].Values; len(values) != 1 || values[0] != 7 || cap(values) > 8 {
		t.Errorf("%d values with room for %d are kept, first %v", len(values), cap(values), values)
	}
}
