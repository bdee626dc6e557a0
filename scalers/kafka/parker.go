package main

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// How long a broker holds a fetch that finds nothing. Each fetch has it look at
// all partitions parked there, so it is asked seldom; a partition that comes
// meanwhile waits in a second, small fetch until the first returns.
const (
	parkedTime   = 5 * time.Second
	newcomerTime = 250 * time.Millisecond
)

// Between two tries of the second fetch.
const (
	shortestPause = time.Second
	longestPause  = time.Minute
)

// parker keeps fetches parked at one broker.
type parker struct {
	watcher *watcher
	broker  int32
	stay    lane // for all partitions that are parked here
	join    lane // for those that came after stay's fetch was sent
	// out are the log ends in the fetch of stay, guarded by watcher.mu.
	out map[partition]int64
}

// lane is one fetch at a time over a connection of its own.
type lane struct {
	wait    time.Duration
	send    func(context.Context, *kmsg.FetchRequest) (kmsg.Response, error)
	changed chan struct{} // room for one: what is wanted may be different
	session fetchSession
}

func newParker(w *watcher, broker int32) *parker {
	p := &parker{watcher: w, broker: broker}
	p.stay = lane{wait: parkedTime, changed: make(chan struct{}, 1), send: func(ctx context.Context, req *kmsg.FetchRequest) (kmsg.Response, error) {
		return w.client.Broker(int(broker)).Request(ctx, req)
	}}
	p.join = lane{wait: newcomerTime, changed: make(chan struct{}, 1)}
	return p
}

// wake has a lane look again at what is wanted.
func (l *lane) wake() {
	select {
	case l.changed <- struct{}{}:
	default: // it is about to look
	}
}

// run fetches until ctx ends or nobody listens at this broker. A broker that
// does not answer ends listening there.
func (p *parker) run(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	var second sync.WaitGroup
	defer second.Wait()
	defer stop()
	second.Go(func() { p.newcomers(ctx) })
	for ctx.Err() == nil {
		wanted, needed := p.watcher.wanted(p)
		if !needed {
			return
		}
		if len(wanted) == 0 { // everybody has been rung and nobody has read yet
			p.stay.idle(ctx)
			continue
		}
		if err := p.fetch(ctx, &p.stay, wanted); err != nil && ctx.Err() == nil {
			p.stay.session.reset()
			p.watcher.unreachable(p.broker, err)
		}
	}
}

// newcomers fetches what the other lane does not have parked yet, so that arrivals
// there ring sooner. A failure only costs that: the other lane parks the same a
// little later, and reports what is wrong.
func (p *parker) newcomers(ctx context.Context) {
	var client *kgo.Client
	defer func() {
		if client != nil {
			client.Close()
		}
	}()
	p.join.send = func(ctx context.Context, req *kmsg.FetchRequest) (resp kmsg.Response, err error) {
		if client == nil {
			if client, err = p.watcher.connect(p.broker); err != nil {
				return nil, err
			}
		}
		return client.SeedBrokers()[0].Request(ctx, req)
	}
	again := shortestPause
	for ctx.Err() == nil {
		wanted := p.watcher.joining(p)
		if len(wanted) == 0 {
			p.join.idle(ctx)
			continue
		}
		if err := p.fetch(ctx, &p.join, wanted); err != nil {
			p.join.session.reset()
			pause(ctx, again)
			again = min(2*again, longestPause)
			continue
		}
		again = shortestPause
	}
}

// idle waits until what is wanted may be different.
func (l *lane) idle(ctx context.Context) {
	select {
	case <-l.changed:
	case <-ctx.Done():
	}
}

// fetch waits at the broker for an arrival, and hears what it answers.
func (p *parker) fetch(ctx context.Context, l *lane, wanted map[partition]int64) error {
	answer, err := l.send(ctx, l.session.request(wanted, l.wait))
	if err != nil {
		return err
	}
	resp := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		if lostSession(err) && l.session.established() {
			l.session.reset()
			return nil
		}
		return err
	}
	l.session.answered(resp.SessionID)
	for _, topic := range resp.Topics {
		for _, part := range topic.Partitions {
			p.hear(partition{topic.Topic, part.Partition}, part, wanted)
		}
	}
	return nil
}

// lostSession is true when the broker knows the session no more.
func lostSession(err error) bool {
	return errors.Is(err, kerr.FetchSessionIDNotFound) || errors.Is(err, kerr.InvalidFetchSessionEpoch)
}

// hear tells the watcher what the answer to a fetch says of one partition: the log
// has grown beyond where it was parked, or it cannot be parked here.
func (p *parker) hear(at partition, answer kmsg.FetchResponseTopicPartition, wanted map[partition]int64) {
	parked, ok := wanted[at]
	if !ok {
		return
	}
	err := kerr.ErrorForCode(answer.ErrorCode)
	switch {
	case errors.Is(err, kerr.OffsetOutOfRange):
		p.watcher.vanished(at)
	case err != nil:
		p.watcher.refused(at, err)
	case answer.HighWatermark > parked:
		p.watcher.arrived(at, answer.HighWatermark, arrival(answer.RecordBatches, parked, time.Now()))
	case len(answer.RecordBatches) > 0:
		p.watcher.arrived(at, parked+1, arrival(answer.RecordBatches, parked, time.Now()))
	}
}

// longestWay bounds how long a record may be on its way. A producer may write any
// time into a record, such as that of an order of last year.
const longestWay = time.Minute

// arrival is when the record at an offset arrived, as its batch says: when the
// broker appended it or, by Kafka's default, when its producer made it. It is zero
// where the batch does not tell, and where the time lies ahead or more than
// longestWay back.
func arrival(batches []byte, offset int64, now time.Time) time.Time {
	const logAppendTime, magic = 1 << 3, 2
	var batch kmsg.RecordBatch
	if batch.ReadFrom(batches) != nil || batch.Magic != magic || batch.FirstOffset != offset {
		return time.Time{}
	}
	at := time.UnixMilli(batch.FirstTimestamp)
	if batch.Attributes&logAppendTime != 0 {
		at = time.UnixMilli(batch.MaxTimestamp) // the first one is still the producer's
	}
	if at.After(now) || now.Sub(at) > longestWay {
		return time.Time{}
	}
	return at
}

// fetchSession is the client's side of an incremental fetch session: after the
// first request only differences cross the wire.
//
// Source: KIP-227.
type fetchSession struct {
	id     int32
	epoch  int32 // 0 asks for a new session
	parked map[partition]int64
}

// request asks for what is wanted: all of it in a new session, else what is
// different from the request before.
func (s *fetchSession) request(wanted map[partition]int64, wait time.Duration) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID = -1 // a consumer
	req.MaxWaitMillis = int32(wait.Milliseconds())
	req.MinBytes = 1
	// One batch at most: what counts is that the log has grown, which is told
	// of every partition whatever the limit.
	req.MaxBytes = 1
	req.SessionID, req.SessionEpoch = s.id, s.epoch
	news := make(map[string][]kmsg.FetchRequestTopicPartition)
	for at, offset := range wanted {
		if before, ok := s.parked[at]; s.epoch == 0 || !ok || before != offset {
			news[at.topic] = append(news[at.topic], fetchFrom(at, offset))
		}
	}
	for topic, parts := range news {
		added := kmsg.NewFetchRequestTopic()
		added.Topic, added.Partitions = topic, parts
		req.Topics = append(req.Topics, added)
	}
	if s.epoch != 0 {
		req.ForgottenTopics = s.forgotten(wanted)
	}
	s.parked = wanted
	return req
}

func fetchFrom(at partition, offset int64) kmsg.FetchRequestTopicPartition {
	from := kmsg.NewFetchRequestTopicPartition()
	from.Partition, from.FetchOffset = at.number, offset
	from.PartitionMaxBytes = 1
	return from
}

func (s *fetchSession) forgotten(wanted map[partition]int64) []kmsg.FetchRequestForgottenTopic {
	gone := make(map[string][]int32)
	for at := range s.parked {
		if _, still := wanted[at]; !still {
			gone[at.topic] = append(gone[at.topic], at.number)
		}
	}
	var topics []kmsg.FetchRequestForgottenTopic
	for topic, numbers := range gone {
		dropped := kmsg.NewFetchRequestForgottenTopic()
		dropped.Topic, dropped.Partitions = topic, numbers
		topics = append(topics, dropped)
	}
	return topics
}

// answered goes on in the session that the broker gave; without one, the next
// request is complete again.
func (s *fetchSession) answered(id int32) {
	switch {
	case id == 0:
		s.reset()
		s.id = 0
	case s.epoch == math.MaxInt32:
		s.id, s.epoch = id, 1
	default:
		s.id, s.epoch = id, s.epoch+1
	}
}

// reset makes the next request a complete one, which ends the old session.
func (s *fetchSession) reset() { s.epoch, s.parked = 0, nil }

func (s *fetchSession) established() bool { return s.epoch != 0 }
