package document

import (
	"context"
	"io"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/computing"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

const (
	// mostLooked bounds what one Find looks at, in bytes. What it looks at again
	// counts again: each step of a path may look at the whole text once more.
	mostLooked = 128 << 20
	// betweenChecks is how much is looked at, or read, between looks at the context
	// and whose turn it is: less than a millisecond's work.
	betweenChecks = 256 << 10
	// weightOfKey is what a key of YAML or a label of a scrape counts for, and
	// the others of a character that costs more than to be passed by.
	weightOfKey     = 128
	weightOfDecoded = 512
	weightOfMatch   = 4
	weightOfEscape  = 8
	// mostParsed is how much a parser that makes objects reads between such looks.
	mostParsed = 16 << 10
)

// work counts what one Find does, does it in turn with all that the family
// computes, and ends it with its context at the latest. Whoever works on looks
// first, and makes nothing of what was found once it has ended.
type work struct {
	ctx  context.Context //nolint:containedctx // that of one call of Find, as long as which it lives
	left int
	due  int // the context is looked at when no more than this is left
	turn *computing.Turn
	end  func() // is called when it is done
	err  error
}

func begin(ctx context.Context) *work {
	w := &work{ctx: ctx, left: mostLooked, due: mostLooked}
	w.turn, w.end = computing.Of(ctx)
	return w
}

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
	default:
		w.err = w.turn.Work(w.ctx)
	}
	w.due = w.left - betweenChecks
	if w.err != nil {
		w.due = w.left // so that whoever looks again comes here
	}
	return w.err == nil
}

// pieces is a text that a parser reads in turn.
type pieces struct {
	work *work
	text []byte
	left int // to be read before the next look
}

// Read implements io.Reader.
func (p *pieces) Read(into []byte) (n int, err error) {
	if len(p.text) == 0 {
		return 0, io.EOF
	}
	if p.left <= 0 {
		if !p.work.check() {
			return 0, p.work.err
		}
		p.left = mostParsed
	}
	n = copy(into, p.text[:min(len(p.text), p.left)])
	p.text, p.left = p.text[n:], p.left-n
	return n, nil
}
