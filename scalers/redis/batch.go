package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// source reads one number about one key.
type source struct {
	scaler.Member
	server *server
	what   string // for errors: kind and name of the key
	key    string
	first  func() *step
}

// step is one command and what its answer means: a value, or a further step
// when that alone does not tell.
type step struct {
	ask    func(context.Context, redis.Pipeliner) *redis.Cmd
	answer func(*redis.Cmd) (value float64, next *step, err error)
}

// mostSteps bounds the commands for one number, whatever the answers.
const mostSteps = 5

// question is one source on its way through its steps.
type question struct {
	source *source
	step   *step
	answer func(scaler.Result)
	cmd    *redis.Cmd
}

// fail answers with an error; from is what it comes from.
func (q *question) fail(from string, err error) {
	q.answer(scaler.Result{Err: failure(from, q.source.what, err)})
}

// ReadBatch asks each server by itself, so that none waits for another.
func (s *server) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	ctx, cancel := early(ctx)
	defer cancel()
	if s.sentinels != nil {
		s.sentinels.check()
	}
	parts := map[*redis.Client][]*question{}
	for i, one := range sources {
		one := one.(*source)
		q := &question{source: one, step: one.first(), answer: func(r scaler.Result) { answer(i, r) }}
		node, err := s.find(ctx, one.key)
		if err != nil {
			q.fail(s.what, err)
			continue
		}
		parts[node] = append(parts[node], q)
	}
	var asking sync.WaitGroup
	for node, questions := range parts {
		at := target{node: node, redirects: mostRedirects}
		asking.Go(func() { s.askSafely(ctx, at, questions) })
	}
	asking.Wait()
	return nil
}

// askSafely is ask for a goroutine of its own.
func (s *server) askSafely(ctx context.Context, to target, questions []*question) {
	from := s.named(to.node.Options().Addr)
	err := scaler.Safely("ask "+from, func() error {
		s.ask(ctx, to, from, questions)
		return nil
	})
	if err != nil {
		for _, q := range questions {
			q.answer(scaler.Result{Err: err}) // counts where there is none yet
		}
	}
}

// early leaves time to say which server does not answer.
func early(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-time.Until(deadline)/10))
}

// triesToLocate is how often the time for a reading is divided to learn the
// servers of a cluster. Any of them is asked at first, also one that stalls.
const triesToLocate = 3

// find returns the client of the server that has a key.
func (s *server) find(ctx context.Context, key string) (*redis.Client, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return s.node(ctx, key)
	}
	share := time.Until(deadline) / triesToLocate
	for {
		limited, cancel := context.WithTimeout(ctx, share)
		node, err := s.node(limited, key)
		again := err != nil && limited.Err() != nil && ctx.Err() == nil
		cancel()
		if !again {
			return node, err
		}
	}
}

// target is a server that questions are put to.
type target struct {
	node *redis.Client
	// asking is true for a key that moves there and is not all there yet.
	asking bool
	// redirects is how often it may say that a key is elsewhere.
	redirects int
}

// mostRedirects is how often a key is looked for where a server says that it is.
const mostRedirects = 2

// ask sends the commands of questions in one pipeline, and once more for those
// that need a further step. What is elsewhere by now is asked there, without
// the others waiting for it.
func (s *server) ask(ctx context.Context, to target, from string, left []*question) {
	var elsewhere sync.WaitGroup
	defer elsewhere.Wait()
	for range mostSteps {
		if len(left) == 0 {
			return
		}
		pipe := to.node.Pipeline()
		for _, q := range left {
			if to.asking {
				pipe.Do(ctx, "ASKING")
			}
			q.cmd = q.step.ask(ctx, pipe)
		}
		_, err := pipe.Exec(ctx)
		here, moved := s.redirected(left)
		for where, questions := range moved {
			elsewhere.Go(func() { s.follow(ctx, to, where, questions) })
		}
		left = answered(from, here, err)
	}
	for _, q := range left {
		q.answer(scaler.Result{Err: fmt.Errorf("%s: changes faster than it can be read", q.source.what)})
	}
}

// follow asks where a server says that keys are. The library would do so by
// itself, and make a client for each address that it is told.
func (s *server) follow(ctx context.Context, from target, to redirect, questions []*question) {
	if from.redirects == 0 {
		lost(ctx, s.named(to.address), questions)
		return
	}
	node, err := s.nodes.at(to.address, from.node)
	if err != nil {
		for _, q := range questions {
			q.fail(s.what, err)
		}
		return
	}
	if !to.asking {
		s.nodes.refresh(ctx) // other keys have moved, too
	}
	s.askSafely(ctx, target{node: node, asking: to.asking, redirects: from.redirects - 1}, questions)
}

// redirect is where a server says that a key is.
type redirect struct {
	address string
	asking  bool
}

// redirected takes out, by address, what a server of a cluster says is at
// another.
func (s *server) redirected(asked []*question) (here []*question, elsewhere map[redirect][]*question) {
	if s.mode != cluster {
		return asked, nil
	}
	elsewhere = map[redirect][]*question{}
	for _, q := range asked {
		if to, moved := movedTo(q.cmd.Err()); moved {
			elsewhere[to] = append(elsewhere[to], q)
		} else {
			here = append(here, q)
		}
	}
	return here, elsewhere
}

// movedTo reads "MOVED 3999 127.0.0.1:6381", and the same with ASK.
func movedTo(err error) (to redirect, moved bool) {
	asking := redis.HasErrorPrefix(err, "ASK")
	if !asking && !redis.HasErrorPrefix(err, "MOVED") {
		return redirect{}, false
	}
	words := strings.Fields(err.Error())
	return redirect{words[len(words)-1], asking}, true
}

// lost answers questions that the cluster itself did not find a server for.
func lost(ctx context.Context, from string, questions []*question) {
	for _, q := range questions {
		q.fail(from, cmp.Or(ctx.Err(), errMoving))
	}
}

// answered takes the answers and returns the questions that need another step.
// A command that was not even sent has neither an answer nor an error of its
// own: then it is the pipeline's.
func answered(from string, asked []*question, pipeline error) (left []*question) {
	for _, q := range asked {
		if q.cmd.Err() == nil && q.cmd.Val() == nil {
			q.cmd.SetErr(cmp.Or(pipeline, errNoAnswer))
		}
		value, next, err := q.step.answer(q.cmd)
		switch {
		case err != nil:
			q.fail(from, err)
		case next != nil:
			q.step = next
			left = append(left, q)
		default:
			q.answer(scaler.Result{Readings: scaler.One(value)})
		}
	}
	return left
}

var (
	errNoAnswer = errors.New("did not answer")
	errMoving   = errors.New("does not answer for the key, which moves between servers")
)

// command is a step of one command, and what its answer means.
func command(answer func(*redis.Cmd) (float64, *step, error), args ...any) *step {
	return &step{
		ask:    func(ctx context.Context, pipe redis.Pipeliner) *redis.Cmd { return pipe.Do(ctx, args...) },
		answer: answer,
	}
}

// integer is the step of a command whose answer is the value.
func integer(args ...any) *step {
	return command(func(cmd *redis.Cmd) (float64, *step, error) {
		value, err := cmd.Int64()
		return float64(value), nil, err
	}, args...)
}
