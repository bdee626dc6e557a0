package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// bell hears arrivals in all idle topics of a cluster. It keeps a fetch
// without a group parked at the log ends of each broker, whatever the number
// of triggers. An arrival pauses its partition; the next read of a trigger
// that is still idle parks it again, at the end which that read saw.
type bell struct {
	client  *kgo.Client
	connect func(broker int32) (*kgo.Client, error) // to one broker alone
	start   func(*parker)                           // in a goroutine that close ends and waits for
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	logs    map[partition]*parkedLog
	parkers map[int32]*parker // by broker
}

// parkedLog is a partition that somebody listens to.
type parkedLog struct {
	place
	ears map[*ear]int64 // the log end that the last read of each covered
}

// ear is one question that listens.
type ear struct {
	ring   func()
	failed chan error // room for one
	// rung is true from a ring until the next read: there is nothing more to
	// tell it.
	rung bool
	// came is when the work that rang arrived, zero where no record told.
	came time.Time
	gone bool // it listens no more, whatever a read beside it finds
	at   map[partition]place
}

func newBell(ctx context.Context, client *kgo.Client, connect func(int32) (*kgo.Client, error)) *bell {
	ctx, stop := context.WithCancel(ctx)
	b := &bell{
		client: client, connect: connect, stop: stop,
		logs: make(map[partition]*parkedLog), parkers: make(map[int32]*parker),
	}
	b.start = func(p *parker) { b.done.Go(func() { p.run(ctx) }) }
	return b
}

// close ends all fetches.
func (b *bell) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop()
	b.done.Wait()
}

// Listen rings when a record is appended to a partition of the question, until
// ctx ends. It rings as well for a partition that has moved: the read that
// follows finds its new leader, and the partition is parked there.
func (s *lagSource) Listen(ctx context.Context, listening, ring func()) error {
	places, err := s.whereabouts(ctx)
	if err != nil {
		return err
	}
	ear := &ear{ring: ring, failed: make(chan error, 1)}
	s.listen(ear)
	defer s.cluster.bell.leave(ear)
	defer s.listen(nil)
	s.cluster.bell.park(ear, places)
	listening()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-ear.failed:
		s.forget()
		return err
	}
}

// whereabouts are the places of the last read, or of a fresh one.
func (s *lagSource) whereabouts(ctx context.Context) (map[partition]place, error) {
	s.mu.Lock()
	places := s.places
	s.mu.Unlock()
	if places != nil {
		return places, nil
	}
	if err := s.cluster.readSoon(ctx, s); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.places, nil
}

func (s *lagSource) listen(ear *ear) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ear = ear
}

// forget drops places that turned out wrong.
func (s *lagSource) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places = nil
}

// park listens, for one ear, from the ends that a read saw. Others who know
// less about the same partitions hear of the news at once.
func (b *bell) park(e *ear, places map[partition]place) {
	b.mu.Lock()
	defer b.release(b.parkLocked(e, places))
}

func (b *bell) parkLocked(e *ear, places map[partition]place) (news []*ear) {
	if b.closed || e.gone {
		return nil
	}
	for at := range e.at {
		if _, still := places[at]; !still {
			b.drop(e, at)
		}
	}
	e.rung, e.came, e.at = false, time.Time{}, places
	for at, where := range places {
		if where.end < 0 { // left out of the answer: nowhere to park
			b.drop(e, at)
			continue
		}
		news = append(news, b.update(e, at, where)...)
	}
	return news
}

// update takes over what a read of e saw of one partition.
func (b *bell) update(e *ear, at partition, where place) (news []*ear) {
	log := b.logs[at]
	if log == nil {
		log = &parkedLog{ears: make(map[*ear]int64)}
		b.logs[at] = log
	}
	anew := len(log.ears) > 0 && log.topicID != where.topicID
	if log.leader != where.leader {
		b.wake(log.leader)
	}
	log.place = where
	log.ears[e] = where.end
	for other, seen := range log.ears {
		if other != e && !other.rung && (seen < where.end || anew) {
			other.rung = true
			news = append(news, other)
		}
	}
	b.wake(where.leader)
	return news
}

// leave ends listening for one ear.
func (b *bell) leave(e *ear) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(e)
}

func (b *bell) remove(e *ear) {
	for at := range e.at {
		b.drop(e, at)
	}
	e.gone, e.at = true, nil
}

func (b *bell) drop(e *ear, at partition) {
	log := b.logs[at]
	if log == nil {
		return
	}
	delete(log.ears, e)
	if len(log.ears) == 0 {
		delete(b.logs, at)
	}
	b.wake(log.leader)
}

// release unlocks and rings outside of the lock.
func (b *bell) release(ears []*ear) {
	b.mu.Unlock()
	for _, e := range ears {
		e.ring()
	}
}

// wanted are the log ends to park at a broker: of the partitions that an ear
// waits for. There are none once the broker leads nothing that anyone listens
// to, and then its parker may go.
func (b *bell) wanted(p *parker) (parked map[partition]int64, needed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	parked, needed = b.parkedAt(p.broker)
	p.out = parked
	p.join.wake()
	if !needed {
		delete(b.parkers, p.broker)
	}
	return parked, needed && !b.closed
}

// joining are those of the log ends to park at a broker that are not parked
// there yet.
func (b *bell) joining(p *parker) map[partition]int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	parked, _ := b.parkedAt(p.broker)
	maps.DeleteFunc(parked, func(at partition, end int64) bool {
		there, ok := p.out[at]
		return ok && there == end
	})
	return parked
}

func (b *bell) parkedAt(broker int32) (parked map[partition]int64, needed bool) {
	parked = make(map[partition]int64)
	for at, log := range b.logs {
		if log.leader != broker {
			continue
		}
		needed = true
		for e := range log.ears {
			if !e.rung {
				parked[at] = log.end
				break
			}
		}
	}
	return parked, needed
}

// wake tells a broker's parker to look again, and starts it where there is
// something to park.
func (b *bell) wake(broker int32) {
	p := b.parkers[broker]
	if p == nil {
		if b.closed || !b.leads(broker) {
			return
		}
		p = newParker(b, broker)
		b.parkers[broker] = p
		b.start(p)
	}
	p.stay.wake()
	p.join.wake()
}

func (b *bell) leads(broker int32) bool {
	for log := range maps.Values(b.logs) {
		if log.leader == broker {
			return true
		}
	}
	return false
}

// arrived says that a log has grown up to end, and when, if that is known.
func (b *bell) arrived(at partition, end int64, when time.Time) {
	b.mu.Lock()
	var news []*ear
	if log := b.logs[at]; log != nil {
		log.end = max(log.end, end)
		for e, seen := range log.ears {
			if seen >= end {
				continue
			}
			if e.came.IsZero() {
				e.came = when
			}
			if !e.rung {
				e.rung = true
				news = append(news, e)
			}
		}
		b.wake(log.leader)
	}
	b.release(news)
}

// heard is when the work that an ear was rung for arrived, zero where it was
// not rung or no record told.
func (b *bell) heard(e *ear) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return e.came
}

// vanished says that a log is not where it was parked: it has another leader,
// the topic was created anew, or records were lost.
func (b *bell) vanished(at partition) {
	b.mu.Lock()
	var news []*ear
	if log := b.logs[at]; log != nil {
		for e := range log.ears {
			if !e.rung {
				e.rung = true
				news = append(news, e)
			}
		}
		b.wake(log.leader)
	}
	b.release(news)
}

// refused deals with a partition that cannot be parked where it was: one that
// has moved, or is about to, is looked for by reading; anything else ends
// listening for all who wait for it.
func (b *bell) refused(at partition, err error) {
	if kerr.IsRetriable(err) {
		b.vanished(at)
		return
	}
	if errors.Is(err, kerr.TopicAuthorizationFailed) {
		err = fmt.Errorf("%w: fetching from topic %s needs the permission Read on it", scaler.ErrDoorbellRefused, at.topic)
	} else {
		err = failure(describe(at), err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	log := b.logs[at]
	if log == nil {
		return
	}
	for e := range log.ears {
		b.fail(e, err)
	}
}

// unreachable ends listening for all who wait for a broker.
func (b *bell) unreachable(broker int32, err error) {
	err = failure(fmt.Sprintf("broker %d", broker), err)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, log := range b.logs {
		if log.leader != broker {
			continue
		}
		for e := range log.ears {
			b.fail(e, err)
		}
	}
}

// fail ends listening for one ear and takes it from all its partitions.
func (b *bell) fail(e *ear, err error) {
	select {
	case e.failed <- err:
	default: // it has failed already
	}
	b.remove(e)
}
