package sampling

import (
	"cmp"
	"context"
	"sync"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
)

// ReadTogether reads sources as one batch and returns one Result for each, in
// order, when all are answered. Those that are not have the batch's error.
func ReadTogether(ctx context.Context, b contract.Batch, sources ...contract.Source) []contract.Result {
	// Where this is part of another batch, places are not those of that one.
	return readTogether(budget.OfAll(ctx), b, sources...)
}

// ReadTogetherFor is ReadTogether for sources of such namespaces.
func ReadTogetherFor(ctx context.Context, namespaces []string, b contract.Batch, sources ...contract.Source) []contract.Result {
	return readTogether(budget.OfMembers(ctx, namespaces), b, sources...)
}

func readTogether(ctx context.Context, b contract.Batch, sources ...contract.Source) []contract.Result {
	answers := newAnswers(ctx, len(sources), func(int, contract.Result) {})
	err := b.ReadBatch(ctx, sources, answers.give)
	for _, i := range answers.close() {
		answers.results[i].Err = answers.missing(i, err)
	}
	return answers.results
}

// Member is embedded by a source that is read by itself as a batch of one. Join
// makes it one of its batch.
type Member struct {
	batch contract.Batch
	self  contract.Source
}

// Join makes a source, which embeds Member, one of a batch, usually the shared
// connection.
func Join[S Joining](b contract.Batch, source S) S {
	source.join(b, source)
	return source
}

// Joining is a source that embeds Member.
type Joining interface {
	contract.Batched
	join(b contract.Batch, self contract.Source)
}

func (m *Member) join(b contract.Batch, self contract.Source) { m.batch, m.self = b, self }

// Batch implements Batched.
func (m *Member) Batch() contract.Batch { return m.batch }

// Read implements Source.
func (m *Member) Read(ctx context.Context) ([]contract.Reading, error) {
	result := ReadTogether(ctx, m.batch, m.self)[0]
	return result.Readings, result.Err
}

// answers takes the answers of a batch: the first of each member, none after
// it was closed. Once the batch's time is up, an error that says so is none.
type answers struct {
	ctx   context.Context                //nolint:containedctx // that of the batch, which it lives as long as
	first func(i int, r contract.Result) // is called with what is taken
	// again says of an error that it is no answer, because the member is to be
	// asked again. nil takes all.
	again func(err error) bool

	mu      sync.Mutex
	closed  bool
	given   []bool
	results []contract.Result
}

func newAnswers(ctx context.Context, members int, first func(i int, r contract.Result)) *answers {
	return &answers{ctx: ctx, first: first, given: make([]bool, members), results: make([]contract.Result, members)}
}

func (a *answers) give(i int, r contract.Result) {
	r.Err = failure.InTime(a.ctx, r.Err)
	a.mu.Lock()
	taken := !a.closed && !a.given[i]
	if taken {
		a.results[i] = r
		taken = (a.ctx.Err() == nil || !failure.Unheard(r.Err)) && (a.again == nil || !a.again(r.Err))
		a.given[i] = taken
	}
	a.mu.Unlock()
	if taken {
		a.first(i, r)
	}
}

// missing is what the member at i is told that was not answered, the batch's
// own error being err. It is called after close.
func (a *answers) missing(i int, err error) error {
	err = cmp.Or(a.results[i].Err, err)
	switch {
	case err != nil:
		return err
	case a.ctx.Err() != nil:
		return errStuck
	default:
		return errLost
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
