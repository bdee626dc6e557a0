// Package budget bounds the memory that the answers of sources take together,
// and what is made of them, however many reads are under way. A read waits for
// its share as long as it has time.
//
// Answers have lanes by size, and an answer that turns out to be larger goes on
// to the next lane. So large ones wait for large ones, and never have the small
// ones wait: not even while they wait, for which a lane has a room. Of those who
// wait it is the turn of the namespace that holds the least; when the room is full
// it is the one with the most in it that has to leave; a server that sends no
// more makes way; and while others wait, so does the oldest share of a namespace
// that holds more than half of a lane.
package budget

import (
	"cmp"
	"context"
	"io"
	"sync"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// Usual is the memory of all lanes where no flag says otherwise: half of what
// the manifests give a family.
const Usual = 128 << 20

// free is what an answer may have without a share: less than its connection
// takes anyway.
const free = 16 << 10

// lanes are those of one process. Nobody who holds a share of documents waits
// for another, and who holds one of answers waits for one of documents alone: so
// no two ever wait for each other.
type lanes struct{ answers, documents []*lane }

func newLanes(total int64) *lanes {
	part := max(total/32, 2)
	return &lanes{
		// With their rooms these are 17 parts. What waits for the first lane is
		// free, and what is to be parsed has a share.
		answers: []*lane{
			newLane(free, 64<<10, 2*part, 0), newLane(64<<10, 512<<10, 2*part, part),
			newLane(512<<10, 4<<20, 2*part, part), newLane(4<<20, 1<<62, 8*part, part),
		},
		// Of a megabyte of a usual text, and of what is made to be costly.
		documents: []*lane{newLane(free, 4<<20, 4*part, 0), newLane(4<<20, 1<<62, 11*part, 0)},
	}
}

var (
	mu      sync.Mutex
	process = newLanes(Usual)
)

// Set gives the process another budget. Shares that are held stay those of the
// one before.
func Set(total int64) {
	mu.Lock()
	defer mu.Unlock()
	process = newLanes(total)
}

func current() *lanes {
	mu.Lock()
	defer mu.Unlock()
	return process
}

// errNoShare is the failure of a read that had to wait too long.
var errNoShare = noShareError{words.Errorf(codes.ResourceExhausted, "other reads hold the memory that answers may take (--answer-memory)")}

type noShareError struct{ error }

func (n noShareError) Unwrap() error { return n.error }

// OutOfBudget says that it is that of the namespaces that the read was for.
func (noShareError) OutOfBudget() bool { return true }

// holder keeps the shares of one answer, and of what is made of it.
type holder struct {
	end    context.CancelCauseFunc // of the context that they were taken with
	mu     sync.Mutex
	shares []*share
}

type holderKey struct{}

// Hold has shares that are taken with the context kept until release is called,
// which ends the context. It ends before when others have to have one of them:
// whoever holds it goes on no more, and releases it. Without Hold shares last as
// long as the call that takes them.
func Hold(ctx context.Context) (held context.Context, release func()) {
	ctx, end := context.WithCancelCause(ctx)
	h := &holder{end: end}
	return context.WithValue(ctx, holderKey{}, h), h.release
}

func (h *holder) release() {
	h.end(nil)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.shares {
		s.release()
	}
	h.shares = nil
}

// ending is what ends those who hold what is taken with the context; nil where
// nobody does.
func ending(ctx context.Context) context.CancelCauseFunc {
	if h, ok := ctx.Value(holderKey{}).(*holder); ok {
		return h.end
	}
	return nil
}

func keep(ctx context.Context, s *share) {
	h, ok := ctx.Value(holderKey{}).(*holder)
	if !ok {
		s.release()
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shares = append(h.shares, s)
}

// Document waits for a share for what is made of a text.
func Document(ctx context.Context, bytes int64) error {
	if bytes <= free {
		return nil
	}
	lanes := current().documents
	s, err := lanes[laneOf(lanes, bytes)].acquire(ctx, bytes, 0, false, ending(ctx))
	if err != nil {
		return cmp.Or(MadeWay(ctx), err)
	}
	keep(ctx, s)
	return nil
}

// ReadAll is outbound.ReadBody with a share for what it reads: length is how much
// the source says that there is, less than 0 for nothing; it is not believed
// before it comes. end ends ctx, with which from ends: others may have to have
// the share of a server that does not go on.
func ReadAll(ctx context.Context, end context.CancelCauseFunc, from io.Reader, length, most int64) ([]byte, error) {
	a := answer{from: from, end: end, lanes: current().answers}
	err := a.fill(first(length, most))
	for err == nil && !a.whole && int64(len(a.text)) <= most {
		size := next(a.lanes, int64(len(a.text)), length, most)
		if err = a.exchange(ctx, min(size, most)); err == nil { // the byte that shows the end is none
			err = a.fill(size)
		}
	}
	switch {
	case err != nil && MadeWay(ctx) != nil:
		err = MadeWay(ctx)
	case err == nil && int64(len(a.text)) > most:
		err = outbound.ErrTooLarge
	}
	a.leave(ctx, err)
	if err != nil {
		return nil, err
	}
	return a.text, nil
}

// answer is one that is read.
type answer struct {
	from  io.Reader
	end   context.CancelCauseFunc
	lanes []*lane
	text  []byte // what has come of it
	whole bool
	share *share // nil while there is none
}

// first is how much is read without a share. A length below that is taken for
// what it is: most answers are of some hundred bytes.
func first(length, most int64) int64 {
	size := min(free, most+1)
	if length >= 0 && length < size {
		size = length + 1
	}
	return size
}

// exchange gives the share of what has come for one of size bytes.
func (a *answer) exchange(ctx context.Context, size int64) (err error) {
	have := int64(0)
	if a.share != nil {
		a.share.release()
		have = int64(len(a.text))
	}
	a.share, err = a.lanes[laneOf(a.lanes, size)].acquire(ctx, size, have, true, a.end)
	return err
}

// leave keeps the share for what came, or gives it back when that is nothing.
func (a *answer) leave(ctx context.Context, err error) {
	switch {
	case a.share == nil:
	case err != nil:
		a.share.release()
	default:
		a.share.complete(ending(ctx))
		keep(ctx, a.share)
	}
}

func laneOf(lanes []*lane, bytes int64) (at int) {
	for bytes > lanes[at].limit {
		at++
	}
	return at
}

// next is how much is to be read when have was not all: what fits the next lane,
// and one byte more than there should be, to see that it ends.
func next(lanes []*lane, have, length, most int64) int64 {
	size := min(lanes[laneOf(lanes, have+1)].limit, most+1)
	if length >= have && length < size {
		size = length + 1
	}
	return size
}

// fill reads on until the text has size bytes, or all that there is.
func (a *answer) fill(size int64) (err error) {
	filled := make([]byte, size)
	n := copy(filled, a.text)
	for n < len(filled) && err == nil {
		var more int
		more, err = a.from.Read(filled[n:])
		n += more
		if a.share != nil {
			a.share.came(more)
		}
	}
	a.text = filled[:n]
	if a.whole = err == io.EOF; a.whole {
		return nil
	}
	return err
}
