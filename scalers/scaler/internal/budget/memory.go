package budget

import (
	"math"
	"runtime/debug"
)

// unlimited is each part of the memory of a process that has no limit.
const unlimited = 1 << 30

// Part is one of so many parts of the memory that the process may have.
func Part(of int64) int64 {
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return limit / of
	}
	return unlimited
}
