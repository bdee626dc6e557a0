package client

import (
	"context"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/computing"
)

// Turn is what one goroutine computes of what tenants and sources decide how much
// it is, such as patterns held against names. Its Work is called before each piece
// of that, of a millisecond or so, and waits while others are at work: namespaces
// take turns. It fails when the context ends. Its Rest is called at the end, and
// before anything else is waited for.
type Turn = computing.Turn

// InTurn returns a context with which all values that package document looks for
// are looked for in one Turn.
func InTurn(ctx context.Context) (context.Context, *Turn) { return computing.With(ctx) }

// smallAnswer is of as many bytes as are understood without a turn.
const smallAnswer = 16 << 10

// understanding waits for a turn to make something of so many bytes of an answer
// at once, and returns what ends it. Small ones wait for nothing.
func understanding(ctx context.Context, bytes int) (done func(), err error) {
	t, done := computing.Of(ctx)
	if bytes <= smallAnswer {
		return done, nil
	}
	return done, t.Work(ctx)
}

// Understand makes something of an answer in turn with all that the family computes;
// small ones wait for nothing. understand calls turn, as EachElement does, between
// pieces of the work of a millisecond or so, and ends with its error: that is the error
// of Understand, whatever understand returns.
func Understand[T any](ctx context.Context, answer []byte, understand func(turn func() error) (T, error)) (T, error) {
	t, done := computing.Of(ctx)
	defer done()
	var late error
	turn := func() error {
		if late == nil { // decoders ask again
			late = t.Work(ctx)
		}
		return late
	}
	var none T
	if len(answer) > smallAnswer && turn() != nil {
		return none, late
	}
	made, err := understand(turn)
	if late != nil {
		return none, late
	}
	return made, err
}
