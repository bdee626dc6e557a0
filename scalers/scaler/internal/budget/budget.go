// Package budget bounds the memory that the answers of sources take together,
// and what is made of them, however many reads are under way. A read waits for
// its share as long as it has time.
//
// Answers have lanes by size, and an answer that turns out to be larger goes on
// to the next lane. So large ones wait for large ones, and never have the small
// ones wait: not even while they wait, for which a lane has a room, and when that
// is full nobody waits any more.
package budget

import (
	"context"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"
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

// lane is for what takes up to limit bytes.
type lane struct {
	limit, size int64
	places      *semaphore.Weighted
	// room is for what has come of answers that wait for the next lane.
	room *semaphore.Weighted
}

func newLane(limit, size int64) lane {
	return lane{limit, size, semaphore.NewWeighted(size), semaphore.NewWeighted(size / 2)}
}

// lanes are those of one process. Nobody who holds a share of documents waits
// for another, and who holds one of answers waits for one of documents alone: so
// no two ever wait for each other.
type lanes struct{ answers, documents []lane }

func newLanes(total int64) *lanes {
	part := max(total/32, 2)
	return &lanes{
		// With their rooms these are 17 parts, the last lane having none.
		answers: []lane{newLane(64<<10, 2*part), newLane(512<<10, 2*part), newLane(4<<20, 2*part), newLane(1<<62, 8*part)},
		// Of a megabyte of a usual text, and of what is made to be costly.
		documents: []lane{newLane(4<<20, 4*part), newLane(1<<62, 11*part)},
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
var errNoShare = words.Errorf(codes.ResourceExhausted, "other reads hold the memory that answers may take (--answer-memory)")

// take waits for a share of bytes.
func take(ctx context.Context, lanes []lane, bytes int64) (release func(), err error) {
	l := lanes[laneOf(lanes, bytes)]
	bytes = min(bytes, l.size)
	if l.places.Acquire(ctx, bytes) != nil {
		return nil, errNoShare
	}
	return sync.OnceFunc(func() { l.places.Release(bytes) }), nil
}

// holder keeps the shares of one answer, and of what is made of it.
type holder struct {
	mu     sync.Mutex
	shares []func()
}

type holderKey struct{}

// Hold has shares that are taken with the context kept until release is called.
// Without it they last as long as the call that takes them.
func Hold(ctx context.Context) (held context.Context, release func()) {
	h := &holder{}
	return context.WithValue(ctx, holderKey{}, h), h.release
}

func (h *holder) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, release := range h.shares {
		release()
	}
	h.shares = nil
}

func keep(ctx context.Context, share func()) {
	h, ok := ctx.Value(holderKey{}).(*holder)
	if !ok {
		share()
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shares = append(h.shares, share)
}

// Document waits for a share for what is made of a text.
func Document(ctx context.Context, bytes int64) error {
	if bytes <= free {
		return nil
	}
	share, err := take(ctx, current().documents, bytes)
	if err == nil {
		keep(ctx, share)
	}
	return err
}

// ReadAll is outbound.ReadBody with a share for what it reads: length is how much
// the source says that there is, less than 0 for nothing; it is not believed
// before it comes.
func ReadAll(ctx context.Context, from io.Reader, length, most int64) ([]byte, error) {
	lanes := current().answers
	text, done, err := fill(from, nil, first(length, most))
	share := func() {}
	for err == nil && !done && int64(len(text)) <= most {
		size := next(lanes, int64(len(text)), length, most)
		if share, err = exchange(ctx, lanes, share, int64(len(text)), size); err == nil {
			text, done, err = fill(from, text, size)
		}
	}
	if err == nil && int64(len(text)) > most {
		err = outbound.ErrTooLarge
	}
	if err != nil {
		share()
		return nil, err
	}
	keep(ctx, share)
	return text, nil
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

// exchange gives the share of what has come for one of size bytes. It waits in
// the room of the lane that it leaves.
func exchange(ctx context.Context, lanes []lane, share func(), have, size int64) (larger func(), err error) {
	if have > free {
		from := lanes[laneOf(lanes, have)]
		have = min(have, from.size/2)
		if !from.room.TryAcquire(have) {
			return share, errNoShare
		}
		defer from.room.Release(have)
	}
	share()
	if larger, err = take(ctx, lanes, size); err != nil {
		return func() {}, err
	}
	return larger, nil
}

func laneOf(lanes []lane, bytes int64) (at int) {
	for bytes > lanes[at].limit {
		at++
	}
	return at
}

// next is how much is to be read when have was not all: what fits the next lane,
// and one byte more than there should be, to see that it ends.
func next(lanes []lane, have, length, most int64) int64 {
	size := min(lanes[laneOf(lanes, have+1)].limit, most+1)
	if length >= have && length < size {
		size = length + 1
	}
	return size
}

// fill reads on until text has size bytes, or all that there is.
func fill(from io.Reader, text []byte, size int64) (filled []byte, done bool, err error) {
	filled = make([]byte, size)
	n := copy(filled, text)
	for n < len(filled) && err == nil {
		var more int
		more, err = from.Read(filled[n:])
		n += more
	}
	if err == io.EOF {
		return filled[:n], true, nil
	}
	return filled[:n], false, err
}
