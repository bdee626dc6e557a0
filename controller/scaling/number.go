package scaling

import (
	"math"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	// decimals is the precision of every number the HPA is told.
	decimals = 3
	// most is about the largest number that the HPA can count: it counts in
	// thousandths, in 64 bits, and takes what does not fit for 0.
	most = 9.2e15
)

// Quantity is the one place where a number becomes what the HPA is told:
// readings, targets, fallback and computed values alike. It keeps three
// decimals. NaN, the infinities and negative numbers become 0: the HPA can do
// nothing with them, and whether they count as a reading at all was decided
// where they were read.
//
// It goes through decimal text, so nothing overflows on the way. What no
// quantity can be, 2^63 and more, becomes the most that the HPA can count. From
// there to 2^63 the text is KEDA's, 10P for 1e16, and a 0 to the HPA.
func Quantity(v float64) resource.Quantity {
	if !(v > 0) || math.IsInf(v, 1) {
		return resource.Quantity{Format: resource.DecimalSI}
	}
	if v >= 1<<63 {
		v = most
	}
	q, err := resource.ParseQuantity(strconv.FormatFloat(v, 'f', decimals, 64))
	if err != nil { // decimal text always parses
		return resource.Quantity{Format: resource.DecimalSI}
	}
	return q
}

// DesiredReplicas returns how many replicas bring value down to target each.
//
// value and target share a unit (messages, seconds, requests per second). The
// result is ceil(value/target) held within [lo, hi]. value is finite and not
// negative: a reading that is not has become "no data" before it comes here.
// target must be greater than 0.
//
// Both are taken as the HPA is told them, in thousandths: 3 × 0.1 is 3 replicas
// of 0.1 each, whatever binary fractions make of it.
//
// Source: the AverageValue rule of the Kubernetes HPA,
// https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
func DesiredReplicas(value, target float64, lo, hi int32) int32 {
	v, t := thousandths(value), thousandths(target)
	if t == 0 {
		v, t = value, target
	}
	want := math.Ceil(v / t)
	switch {
	case !(want > float64(lo)):
		return lo
	case want >= float64(hi):
		return max(lo, hi)
	}
	return int32(want)
}

// thousandths counts v in thousandths, the steps of Quantity.
func thousandths(v float64) float64 {
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	rounded, _ := strconv.ParseFloat(text, 64)
	return math.Round(rounded * 1000)
}

// asTold returns v as Quantity rounds it.
func asTold(v float64) float64 {
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'f', decimals, 64), 64)
	return rounded
}
