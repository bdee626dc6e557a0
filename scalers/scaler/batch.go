package scaler

import (
	"context"
	"sync"
)

// ReadTogether reads sources as one batch and returns one Result for each, in
// order, when all are answered. Those that are not have the batch's error.
func ReadTogether(ctx context.Context, b Batch, sources ...Source) []Result {
	answers := newAnswers(len(sources), func(int, Result) {})
	err := b.ReadBatch(ctx, sources, answers.give)
	for _, i := range answers.close() {
		answers.results[i].Err = unanswered(ctx, err)
	}
	return answers.results
}

// ReadAlone reads a source as a batch of one. It is the Read of a source that
// is read no differently by itself.
func ReadAlone(ctx context.Context, b Batch, source Source) ([]Reading, error) {
	result := ReadTogether(ctx, b, source)[0]
	return result.Readings, result.Err
}

// unanswered is what the members of a batch are told that were left without an
// answer, the batch's own error being err.
func unanswered(ctx context.Context, err error) error {
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return errStuck
	default:
		return errLost
	}
}

// answers takes the answers of a batch: the first of each member, none after
// it was closed.
type answers struct {
	first func(i int, r Result) // is called with what is taken

	mu      sync.Mutex
	closed  bool
	given   []bool
	results []Result
}

func newAnswers(members int, first func(i int, r Result)) *answers {
	return &answers{first: first, given: make([]bool, members), results: make([]Result, members)}
}

func (a *answers) give(i int, r Result) {
	a.mu.Lock()
	again := a.closed || a.given[i]
	if !again {
		a.given[i], a.results[i] = true, r
	}
	a.mu.Unlock()
	if !again {
		a.first(i, r)
	}
}

// close ends the taking and returns who was not answered.
func (a *answers) close() (left []int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for i, given := range a.given {
		if !given {
			left = append(left, i)
		}
	}
	return left
}
