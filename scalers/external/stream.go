package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

const (
	// settled is how long a stream that says nothing must last to count as
	// open: a server without it answers only after it took the request.
	settled = time.Second
	// opensWithin bounds how long a stream waits for room at a server that has as
	// many open as it takes.
	opensWithin = 15 * time.Second
	// mostMessages is how many messages a second a stream may bring. One
	// server must not take the processor from the triggers of all others.
	mostMessages = 1000
	// mostOfNamespace is how many those of a namespace may bring together: beyond it,
	// streams with more than fewMessages end.
	mostOfNamespace = 4000
	fewMessages     = 10
)

var (
	// errFlood ends a stream that brings more than mostMessages.
	errFlood = fmt.Errorf("the server sends more than %d messages a second", mostMessages)
	// errCrowd ends one that brings much in a namespace whose streams bring too much.
	errCrowd = fmt.Errorf("%w, or too many beside what other servers of the namespace send", errFlood)
	// errNotOpened ends the wait for one.
	errNotOpened = fmt.Errorf("the stream did not open within %v: the server may have as many open as it takes", opensWithin)
)

// receive calls message with what a stream brings, until the stream ends or
// ctx does. It calls opened once the stream counts as open. Both are called on
// the caller's goroutine. of counts the messages of the namespace.
func receive[M any](ctx context.Context, of *limiter, open func(context.Context) (grpc.ServerStreamingClient[M], error), opened func(), message func(*M)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(opensWithin, func() { cancel(errNotOpened) })
	stream, err := open(ctx)
	if !late.Stop() { // it ends as it opens, or has
		<-ctx.Done()
	}
	if errors.Is(context.Cause(ctx), errNotOpened) {
		return errNotOpened
	}
	if err != nil {
		return err
	}
	messages, ended := make(chan *M), make(chan error, 1)
	var receiving sync.WaitGroup
	receiving.Go(func() { ended <- pump(ctx, stream, messages) })
	defer receiving.Wait()
	defer cancel(nil)

	opened = sync.OnceFunc(opened)
	timer := time.NewTimer(settled)
	defer timer.Stop()
	var own second
	for {
		select {
		case m := <-messages:
			if err := of.exceeded(&own, time.Now()); err != nil {
				return err
			}
			opened()
			message(m)
		case <-timer.C:
			opened()
		case err := <-ended:
			return err
		}
	}
}

// pump hands over what the stream brings and returns why it ended.
func pump[M any](ctx context.Context, stream grpc.ServerStreamingClient[M], messages chan<- *M) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case messages <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// limiter counts the messages of a second that the streams of a namespace bring.
type limiter struct {
	mu  sync.Mutex
	all second
}

// second counts the messages of one.
type second struct {
	since time.Time
	count int
}

func (s *second) add(now time.Time) int {
	if now.Sub(s.since) >= time.Second {
		s.since, s.count = now, 0
	}
	s.count++
	return s.count
}

// limiterOf returns the one of a namespace. ctx is that of an Open.
func limiterOf(ctx context.Context, namespace string) (*limiter, error) {
	return client.Shared(ctx, []any{"messages", namespace}, func(context.Context) (*limiter, error) { return &limiter{}, nil })
}

// Part implements client.Part.
func (*limiter) Part() {}

// exceeded counts one message more of a stream and says whether it is one too many.
func (l *limiter) exceeded(own *second, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, all := own.add(now), l.all.add(now)
	switch {
	case n > mostMessages:
		return errFlood
	case all > mostOfNamespace && n > fewMessages:
		return errCrowd
	default:
		return nil
	}
}
