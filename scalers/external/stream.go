package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
)

const (
	// settled is how long a stream that says nothing must last to count as
	// open: a server without it answers only after it took the request.
	settled = time.Second
	// mostMessages is how many messages a second a stream may bring. One
	// server must not take the processor from the triggers of all others.
	mostMessages = 1000
)

// errFlood ends a stream that brings more than mostMessages.
var errFlood = fmt.Errorf("the server sends more than %d messages a second", mostMessages)

// receive calls message with what a stream brings, until the stream ends or
// ctx does. It calls opened once the stream counts as open. Both are called on
// the caller's goroutine.
func receive[M any](ctx context.Context, open func(context.Context) (grpc.ServerStreamingClient[M], error), opened func(), message func(*M)) error {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := open(ctx)
	if err != nil {
		cancel()
		return err
	}
	messages, ended := make(chan *M), make(chan error, 1)
	var receiving sync.WaitGroup
	receiving.Go(func() { ended <- pump(ctx, stream, messages) })
	defer receiving.Wait()
	defer cancel()

	opened = sync.OnceFunc(opened)
	timer := time.NewTimer(settled)
	defer timer.Stop()
	var rate limiter
	for {
		select {
		case m := <-messages:
			if rate.exceeded(time.Now()) {
				return errFlood
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

// limiter counts the messages of a second.
type limiter struct {
	since time.Time
	count int
}

// exceeded counts one message more and reports whether it is one too many.
func (l *limiter) exceeded(now time.Time) bool {
	if now.Sub(l.since) >= time.Second {
		l.since, l.count = now, 0
	}
	l.count++
	return l.count > mostMessages
}
