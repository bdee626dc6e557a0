package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

const (
	// soon is how long a broker is waited for before another is asked, and
	// before others go on without those who need this one.
	soon = 250 * time.Millisecond
	// silence is how long a broker may owe an answer. After that it is asked
	// nothing until it has answered the watch.
	silence = 2 * time.Second
	// watchPause is the pause between two tries to reach a silent broker.
	watchPause = time.Second
)

// brokers asks the brokers of a cluster, each by its number, and remembers
// which of them owe an answer: what any broker can answer is asked of another,
// and what only a silent one can answer fails at once until it is back.
//
// All methods return when their context ends. The client itself ignores contexts
// while it greets a broker: such a request is left behind and ends within a few
// answerLimits.
type brokers struct {
	client *kgo.Client
	seeds  []string
	held   *client.Holding             // for those that are known
	start  func(func(context.Context)) // in a goroutine that close ends and waits for
	// reading has what comes counted where no source is read.
	reading func() (done func())

	mu        sync.Mutex
	known     []kmsg.MetadataResponseBroker // in order, as the client was told last
	standings map[int32]*standing
	turn      int // the broker that is asked first what any can answer
}

// standing is how a broker has answered lately.
type standing struct {
	waiting int // requests without an answer yet
	// since is when the wait for an answer began, or its last answer came if that
	// is later; zero while nothing is waited for.
	since  time.Time
	slow   bool // a request to it was given up
	silent bool // it has owed an answer for longer than silence
	failed bool // its last answer was a failure, such as a refused connection
	// watched is true while somebody waits for it to be back.
	watched bool
}

// quiet is true when it has been waited for in vain for so long.
func (s *standing) quiet(limit time.Duration) bool {
	return !s.since.IsZero() && time.Since(s.since) >= limit
}

// well is true for a broker that is worth asking first.
func (s *standing) well() bool { return !s.failed && !s.slow && !s.quiet(soon) }

// brokerError is what went wrong between us and one broker, or with all that
// are named.
type brokerError struct {
	broker string
	err    error
}

func (e *brokerError) Error() string { return e.broker + ": " + e.err.Error() }
func (e *brokerError) Unwrap() error { return e.err }

// errNoAnswer is a broker's silence, errGone one that is not there.
var (
	errNoAnswer = errors.New("no answer in time")
	errGone     = errors.New("no part of the cluster any more")
)

// standing is guarded by b.mu.
func (b *brokers) standing(id int32) *standing {
	s := b.standings[id]
	if s == nil {
		s = new(standing)
		b.standings[id] = s
	}
	return s
}

// ask sends a request to one broker, if that is not known to be silent.
func (b *brokers) ask(ctx context.Context, id int32, req kmsg.Request) (kmsg.Response, error) {
	if !b.knows(id) {
		if err := b.learn(ctx); err != nil {
			return nil, err
		}
		if !b.knows(id) {
			return nil, b.named(id, errGone)
		}
	}
	if b.silent(id) {
		return nil, b.named(id, errNoAnswer)
	}
	return b.send(ctx, id, req)
}

// send sends a request and notes how the broker answers.
func (b *brokers) send(ctx context.Context, id int32, req kmsg.Request) (kmsg.Response, error) {
	b.mu.Lock()
	s := b.standing(id)
	b.mu.Unlock()
	sent := b.asked(s)
	resp, err := b.client.Broker(int(id)).RetriableRequest(ctx, req)
	b.ended(s, sent, err)
	if err != nil {
		return nil, b.named(id, err)
	}
	return resp, nil
}

func (b *brokers) asked(s *standing) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if s.waiting++; s.since.IsZero() {
		s.since = now
	}
	return now
}

// ended notes the end of a request.
func (b *brokers) ended(s *standing, sent time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.waiting--
	if timedOut(err) {
		s.slow = s.slow || time.Since(sent) >= soon
		s.silent = s.silent || s.quiet(silence)
	} else {
		s.slow, s.silent, s.failed = false, false, err != nil
		s.since = time.Now()
	}
	if s.waiting == 0 {
		s.since = time.Time{}
	}
}

// timedOut is true when the broker itself did not answer in time, and not another
// server that logging in needs.
func timedOut(err error) bool {
	var network net.Error
	var other withStatus
	if errors.As(err, &other) {
		return false
	}
	return errors.Is(err, errNoAnswer) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, context.Canceled) || errors.As(err, &network) && network.Timeout()
}

// named says which broker an error is about.
func (b *brokers) named(id int32, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := fmt.Sprintf("broker %d", id)
	if i, ok := b.find(id); ok {
		name += " (" + address(b.known[i]) + ")"
	}
	return &brokerError{broker: name, err: err}
}

func address(broker kmsg.MetadataResponseBroker) string {
	return net.JoinHostPort(broker.Host, strconv.Itoa(int(broker.Port)))
}

// address is where a broker is reached.
func (b *brokers) address(id int32) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, ok := b.find(id)
	if !ok {
		return "", errGone
	}
	return address(b.known[i]), nil
}

// find is guarded by b.mu.
func (b *brokers) find(id int32) (int, bool) {
	return slices.BinarySearchFunc(b.known, id, func(one kmsg.MetadataResponseBroker, id int32) int {
		return cmp.Compare(one.NodeID, id)
	})
}

func (b *brokers) knows(id int32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.find(id)
	return ok
}

// silent is true for a broker that has kept others waiting for long. It is
// watched then until it is back.
func (b *brokers) silent(id int32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.standing(id)
	s.silent = s.silent || s.quiet(silence)
	if s.silent && !s.watched {
		s.watched = true
		b.start(func(ctx context.Context) { b.watch(ctx, id, s) })
	}
	return s.silent
}

// watch asks a silent broker something small until it answers, refuses, or is
// no part of the cluster any more.
func (b *brokers) watch(ctx context.Context, id int32, s *standing) {
	again := time.NewTicker(watchPause)
	defer again.Stop()
	for b.away(id, s) {
		try, cancel := context.WithTimeout(ctx, 2*answerLimit)
		done := b.reading()
		_, _ = b.send(try, id, brokersOnly()) // send notes the outcome
		done()
		cancel()
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// away is true while a broker is to be watched.
func (b *brokers) away(id int32, s *standing) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.watched = s.silent && b.standings[id] == s
	return s.watched
}

// askAny asks brokers until one answers: the next when the one before has
// failed or not answered soon. Those that answered lately come first.
func (b *brokers) askAny(ctx context.Context, request func() kmsg.Request) (resp kmsg.Response, err error) {
	if ids := b.order(); len(ids) > 0 {
		if resp, err = b.askOneOf(ctx, ids, request); err == nil || ctx.Err() != nil {
			return resp, err
		}
	}
	if lost := b.learn(ctx); lost != nil {
		return nil, cmp.Or(err, lost)
	}
	return b.askOneOf(ctx, b.order(), request)
}

func (b *brokers) askOneOf(ctx context.Context, ids []int32, request func() kmsg.Request) (kmsg.Response, error) {
	return oneAfterTheOther(ctx, len(ids), func(ctx context.Context, i int) (kmsg.Response, error) {
		return b.send(ctx, ids[i], request())
	})
}

// order is the order in which brokers are asked what any can answer.
func (b *brokers) order() []int32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	var well, unwell []int32
	for i := range b.known {
		id := b.known[(b.turn+i)%len(b.known)].NodeID
		if b.standing(id).well() {
			well = append(well, id)
		} else {
			unwell = append(unwell, id)
		}
	}
	b.turn++
	return append(well, unwell...)
}

// errNoBroker is an answer that names none.
var errNoBroker = errors.New("the cluster names no broker")

// oneAfterTheOther asks up to n, the next when one fails or does not answer
// soon, and returns the first answer, else the first failure.
func oneAfterTheOther[A any](ctx context.Context, n int, ask func(context.Context, int) (A, error)) (answer A, err error) {
	if n == 0 {
		return answer, errNoBroker
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		answer A
		err    error
	}
	outcomes := make(chan outcome, n)
	for asked, ended := 0, 0; ended < n; {
		var late <-chan time.Time
		if asked < n && (asked == 0 || ctx.Err() == nil) {
			i := asked
			go func() {
				answer, err := ask(ctx, i)
				outcomes <- outcome{answer, err}
			}()
			asked++
			late = time.After(soon)
		}
		if ended == asked {
			break
		}
		select {
		case o := <-outcomes:
			if o.err == nil {
				return o.answer, nil
			}
			ended++
			err = cmp.Or(err, o.err)
		case <-late:
		}
	}
	return answer, err
}

// learn has the client find the brokers anew, by those it knows and by the
// bootstrap servers.
func (b *brokers) learn(ctx context.Context) error {
	b.mu.Lock()
	tries := len(b.known) + len(b.seeds)
	b.mu.Unlock()
	resp, err := oneAfterTheOther(ctx, tries, func(ctx context.Context, _ int) (*kmsg.MetadataResponse, error) {
		return b.bootstrap(ctx)
	})
	if err != nil {
		return err
	}
	// The cost of the first broker is in that of the cluster.
	if err := b.held.Set(max(0, len(resp.Brokers)-1) * client.UsualCost); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known = sorted(resp.Brokers)
	for id := range b.standings {
		if _, still := b.find(id); !still {
			delete(b.standings, id)
		}
	}
	return nil
}

// bootstrap asks whom the client takes next.
func (b *brokers) bootstrap(ctx context.Context) (*kmsg.MetadataResponse, error) {
	type outcome struct {
		resp *kmsg.MetadataResponse
		err  error
	}
	done := make(chan outcome, 1)
	b.start(func(context.Context) {
		defer b.reading()()
		resp, err := brokersOnly().RequestWith(ctx, b.client)
		done <- outcome{resp, err}
	})
	asked := "bootstrap servers " + strings.Join(b.seeds, ", ")
	select {
	case o := <-done:
		if o.err != nil {
			return nil, &brokerError{asked, o.err}
		}
		return o.resp, nil
	case <-ctx.Done():
		return nil, &brokerError{asked, ctx.Err()}
	}
}

// brokersOnly asks for no topic.
func brokersOnly() *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	req.AllowAutoTopicCreation = false
	return req
}

// met has the client learn the brokers anew when an answer names others than
// it knows. Where that fails, those it knows may still do.
func (b *brokers) met(ctx context.Context, brokers []kmsg.MetadataResponseBroker) {
	b.mu.Lock()
	same := slices.EqualFunc(b.known, sorted(brokers), func(one, other kmsg.MetadataResponseBroker) bool {
		return one.NodeID == other.NodeID && one.Host == other.Host && one.Port == other.Port
	})
	b.mu.Unlock()
	if !same {
		_ = b.learn(ctx)
	}
}

func sorted(brokers []kmsg.MetadataResponseBroker) []kmsg.MetadataResponseBroker {
	return slices.SortedFunc(slices.Values(brokers), func(one, other kmsg.MetadataResponseBroker) int {
		return cmp.Compare(one.NodeID, other.NodeID)
	})
}
