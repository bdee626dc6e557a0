package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
)

const (
	// firstPause and longestPause bound the time between two attempts at a
	// stream.
	firstPause   = 2 * time.Second
	longestPause = time.Minute
	// settled is how long a stream that says nothing must last to count as
	// open: a server without it answers only after it took the request.
	settled = time.Second
	// mostMessages is how many messages a second a stream may bring. One
	// server must not take the processor from the triggers of all others.
	mostMessages = 1000
)

// errFlood ends a stream that brings more than mostMessages.
var errFlood = fmt.Errorf("the server sends more than %d messages a second", mostMessages)

// pace spreads the attempts at one stream: the first at once, then after 2 s,
// doubling up to 60 s, and 2 s again after a stream that brought a message or
// ended cleanly. Attempts are made one after the other.
type pace struct {
	pause time.Duration
	next  time.Time
}

// attempt waits until it is time and runs stream, which calls heard for every
// message. A flood is no good stream, however much it brought.
func (p *pace) attempt(ctx context.Context, stream func(ctx context.Context, heard func()) error) error {
	if err := wait(ctx, time.Until(p.next)); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	good := false
	err := stream(ctx, func() { good = true })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, errFlood) {
		good = false
	} else if errors.Is(err, io.EOF) {
		good = true
	}
	p.pause = min(2*p.pause, longestPause)
	if good || p.pause == 0 {
		p.pause = firstPause
	}
	p.next = time.Now().Add(jittered(p.pause))
	return err
}

// jittered is up to a fifth longer, so that the triggers of a server that was
// away do not all come back at once.
func jittered(pause time.Duration) time.Duration {
	return pause + rand.N(pause/5)
}

func wait(ctx context.Context, pause time.Duration) error {
	if pause <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

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
