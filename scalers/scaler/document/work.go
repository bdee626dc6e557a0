package document

import (
	"context"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

const (
	// mostLooked bounds what one Find looks at, in bytes. What it looks at again
	// counts again: each step of a path may look at the whole text once more.
	mostLooked = 128 << 20
	// betweenChecks is how much is looked at between looks at the context.
	betweenChecks = 1 << 20
	// weightOfKey is what a key of YAML or a label of a scrape counts for, and
	// the others of a character that costs more than to be passed by.
	weightOfKey    = 128
	weightOfMatch  = 4
	weightOfEscape = 8
)

// work counts what one Find does, and ends it with its context at the latest.
// Whoever works on looks first, and makes nothing of what was found once it has
// ended.
type work struct {
	ctx  context.Context //nolint:containedctx // that of one call of Find, as long as which it lives
	left int
	due  int // the context is looked at when no more than this is left
	err  error
}

// errLate is the failure of a read whose deadline passes while it looks.
var errLate = words.Errorf(codes.DeadlineExceeded, "there is no time left to look for the value")

func begin(ctx context.Context) *work { return &work{ctx: ctx, left: mostLooked, due: mostLooked} }

// look notes that some bytes are looked at. It is false when no more may be.
func (w *work) look(bytes int) bool {
	if w.left -= bytes; w.left > w.due {
		return true
	}
	return w.check()
}

func (w *work) check() bool {
	switch {
	case w.err != nil:
	case w.left < 0:
		w.err = words.Errorf(codes.FailedPrecondition,
			"valueLocation has more than %d MiB looked at in this text: it needs fewer steps, patterns or queries", mostLooked>>20)
	case w.ctx.Err() != nil:
		w.err = errLate
	}
	w.due = w.left - betweenChecks
	if w.err != nil {
		w.due = w.left // so that whoever looks again comes here
	}
	return w.err == nil
}
