package main

import (
	"fmt"
	"math"
	"sync"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// tally is what one source found at the addresses that were asked so far: as much for
// thousands of them as for one.
type tally struct {
	mu          sync.Mutex
	asked       int
	numbers     int
	sum, lost   float64 // lost is what rounding took from the sum, in whatever order
	least, most float64
	failed      error // at the first address that failed
	failedAt    int
}

// add notes what was found at an address, and returns how many were asked.
func (t *tally) add(at int, number float64, err error) (asked int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	switch {
	case err == nil:
		t.number(number)
	case t.failed == nil || at < t.failedAt:
		t.failed, t.failedAt = err, at
	}
	return t.asked
}

func (t *tally) number(n float64) {
	if t.numbers++; t.numbers == 1 {
		t.least, t.most = n, n
	}
	t.least, t.most = min(t.least, n), max(t.most, n)
	sum := t.sum + n
	if math.Abs(t.sum) >= math.Abs(n) {
		t.lost += t.sum - sum + n
	} else {
		t.lost += n - sum + t.sum
	}
	t.sum = sum
}

func (t *tally) total() float64 {
	if math.IsInf(t.sum, 0) {
		return t.sum
	}
	return t.sum + t.lost
}

// skipped is how many addresses gave no number.
func (t *tally) skipped() int { return t.asked - t.numbers }

// combinations are the ways to make one number of several.
var combinations = map[string]func(*tally) float64{
	"average": func(t *tally) float64 { return t.total() / float64(t.numbers) },
	"sum":     (*tally).total,
	"max":     func(t *tally) float64 { return t.most },
	"min":     func(t *tally) float64 { return t.least },
}

// result makes one reading of them, once all were asked. An address without a number
// is left out as long as there is another.
func (t *tally) result(combine func(*tally) float64) scaler.Result {
	switch {
	case t.numbers > 0:
		return scaler.Result{Readings: scaler.One(combine(t))}
	case t.asked > 1:
		return scaler.Result{Err: fmt.Errorf("none of %d endpoints answers with a number: %w", t.asked, t.failed)}
	default:
		return scaler.Result{Err: t.failed}
	}
}
