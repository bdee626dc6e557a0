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

// watcher learns of arrivals in all topics of a cluster that somebody listens to. It keeps a fetch
// without a group parked at the log ends of each broker, whatever the number of
// triggers. An arrival pauses its partition; the next read of a trigger that
// still listens parks it again, at the end which that read saw.
type watcher struct {
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
	listeners map[*listener]int64 // the log end that the last read of each covered
}

// listener is one question while its source is listened to.
type listener struct {
	ring   func()
	failed chan error // room for one
	// rung is true from a ring until the next read, which tells all there is.
	rung bool
	// came is when the work that rang arrived, zero where no record told.
	came time.Time
	gone bool // it listens no more, whatever a read beside it finds
	at   map[partition]place
}

func newWatcher(ctx context.Context, client *kgo.Client, connect func(int32) (*kgo.Client, error)) *watcher {
	ctx, stop := context.WithCancel(ctx)
	w := &watcher{
		client: client, connect: connect, stop: stop,
		logs: make(map[partition]*parkedLog), parkers: make(map[int32]*parker),
	}
	w.start = func(p *parker) { w.done.Go(func() { p.run(ctx) }) }
	return w
}

// close ends all fetches.
func (w *watcher) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.stop()
	w.done.Wait()
}

// Listen rings when a record is appended to a partition of the question, until
// ctx ends. It rings as well for a partition that has moved: the read that
// follows finds its new leader, and the partition is parked there.
func (s *lagSource) Listen(ctx context.Context, listening, ring func()) error {
	l := &listener{ring: ring, failed: make(chan error, 1)}
	places := s.setListener(l)
	defer s.cluster.watcher.leave(l)
	defer s.setListener(nil)
	s.cluster.watcher.park(l, places)
	listening()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-l.failed:
		return err
	}
}

// RingsAtWork has it ring above zero, too: a burst is noticed at once.
func (s *lagSource) RingsAtWork() {}

// setListener has reads tell l from now on where the partitions are. It returns
// what the last one found: Listen follows a completed Read.
func (s *lagSource) setListener(l *listener) map[partition]place {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = l
	return s.places
}

// park listens, for l, from the log ends that a read saw. It rings for the
// listeners to the same partitions whose last read saw an earlier end.
func (w *watcher) park(l *listener, places map[partition]place) {
	w.mu.Lock()
	defer w.release(w.parkLocked(l, places))
}

func (w *watcher) parkLocked(l *listener, places map[partition]place) (rung []*listener) {
	if w.closed || l.gone {
		return nil
	}
	for at := range l.at {
		if _, still := places[at]; !still {
			w.drop(l, at)
		}
	}
	l.rung, l.came, l.at = false, time.Time{}, places
	for at, where := range places {
		if where.end < 0 { // left out of the answer: nowhere to park
			w.drop(l, at)
			continue
		}
		rung = append(rung, w.update(l, at, where)...)
	}
	return rung
}

// update takes over what a read of e saw of one partition.
func (w *watcher) update(l *listener, at partition, where place) (rung []*listener) {
	log := w.logs[at]
	if log == nil {
		log = &parkedLog{listeners: make(map[*listener]int64)}
		w.logs[at] = log
	}
	anew := len(log.listeners) > 0 && log.topicID != where.topicID
	if log.leader != where.leader {
		w.wake(log.leader)
	}
	log.place = where
	log.listeners[l] = where.end
	for other, seen := range log.listeners {
		if other != l && !other.rung && (seen < where.end || anew) {
			other.rung = true
			rung = append(rung, other)
		}
	}
	w.wake(where.leader)
	return rung
}

// leave ends listening for l.
func (w *watcher) leave(l *listener) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remove(l)
}

func (w *watcher) remove(l *listener) {
	for at := range l.at {
		w.drop(l, at)
	}
	l.gone, l.at = true, nil
}

func (w *watcher) drop(l *listener, at partition) {
	log := w.logs[at]
	if log == nil {
		return
	}
	delete(log.listeners, l)
	if len(log.listeners) == 0 {
		delete(w.logs, at)
	}
	w.wake(log.leader)
}

// release unlocks and rings outside of the lock.
func (w *watcher) release(rung []*listener) {
	w.mu.Unlock()
	for _, l := range rung {
		l.ring()
	}
}

// wanted are the log ends to park at a broker: those of the partitions with a
// listener that has not been rung. needed is false once the broker leads nothing
// that anyone listens to, and then its parker may go.
func (w *watcher) wanted(p *parker) (parked map[partition]int64, needed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	parked, needed = w.parkedAt(p.broker)
	p.out = parked
	p.join.wake()
	if !needed {
		delete(w.parkers, p.broker)
	}
	return parked, needed && !w.closed
}

// joining are those of the log ends to park at a broker that are not parked
// there yet.
func (w *watcher) joining(p *parker) map[partition]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	parked, _ := w.parkedAt(p.broker)
	maps.DeleteFunc(parked, func(at partition, end int64) bool {
		there, ok := p.out[at]
		return ok && there == end
	})
	return parked
}

func (w *watcher) parkedAt(broker int32) (parked map[partition]int64, needed bool) {
	parked = make(map[partition]int64)
	for at, log := range w.logs {
		if log.leader != broker {
			continue
		}
		needed = true
		for l := range log.listeners {
			if !l.rung {
				parked[at] = log.end
				break
			}
		}
	}
	return parked, needed
}

// wake tells a broker's parker to look again, and starts it where there is
// something to park.
func (w *watcher) wake(broker int32) {
	p := w.parkers[broker]
	if p == nil {
		if w.closed || !w.leads(broker) {
			return
		}
		p = newParker(w, broker)
		w.parkers[broker] = p
		w.start(p)
	}
	p.stay.wake()
	p.join.wake()
}

func (w *watcher) leads(broker int32) bool {
	for log := range maps.Values(w.logs) {
		if log.leader == broker {
			return true
		}
	}
	return false
}

// arrived notes that a log has grown up to end, and when, if that is known.
func (w *watcher) arrived(at partition, end int64, when time.Time) {
	w.mu.Lock()
	var rung []*listener
	if log := w.logs[at]; log != nil {
		log.end = max(log.end, end)
		for l, seen := range log.listeners {
			if seen >= end {
				continue
			}
			if l.came.IsZero() {
				l.came = when
			}
			if !l.rung {
				l.rung = true
				rung = append(rung, l)
			}
		}
		w.wake(log.leader)
	}
	w.release(rung)
}

// arrivedAt is when the work that l was rung for arrived, zero where it was not
// rung or no record told.
func (w *watcher) arrivedAt(l *listener) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return l.came
}

// vanished notes that a log is not where it was parked: it has another leader,
// the topic was created anew, or records were lost.
func (w *watcher) vanished(at partition) {
	w.mu.Lock()
	var rung []*listener
	if log := w.logs[at]; log != nil {
		for l := range log.listeners {
			if !l.rung {
				l.rung = true
				rung = append(rung, l)
			}
		}
		w.wake(log.leader)
	}
	w.release(rung)
}

// refused deals with a partition that cannot be parked where it was. One that has
// moved, or is about to, is found again by a read; anything else ends listening
// for all who listen to it.
func (w *watcher) refused(at partition, err error) {
	if kerr.IsRetriable(err) {
		w.vanished(at)
		return
	}
	if errors.Is(err, kerr.TopicAuthorizationFailed) {
		err = fmt.Errorf("%w: fetching from topic %s needs the permission Read on it", scaler.ErrDoorbellRefused, at.topic)
	} else {
		err = failure(describe(at), err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.logs[at]
	if log == nil {
		return
	}
	for l := range log.listeners {
		w.fail(l, err)
	}
}

// unreachable ends listening for all who listen to a partition that the broker
// leads.
func (w *watcher) unreachable(broker int32, err error) {
	err = failure(fmt.Sprintf("broker %d", broker), err)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, log := range w.logs {
		if log.leader != broker {
			continue
		}
		for l := range log.listeners {
			w.fail(l, err)
		}
	}
}

// fail ends listening for l, in all its partitions.
func (w *watcher) fail(l *listener, err error) {
	select {
	case l.failed <- err:
	default: // it has failed already
	}
	w.remove(l)
}
