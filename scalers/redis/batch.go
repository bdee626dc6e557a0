package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// source reads one number about one key.
type source struct {
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

// Read asks now.
func (s *source) Read(ctx context.Context) ([]scaler.Reading, error) {
	return scaler.ReadAlone(ctx, s.server, s)
}

// Batch is the server: its sources are read together.
func (s *source) Batch() scaler.Batch { return s.server }

// Close has nothing of its own to release: the client is shared.
func (s *source) Close() error { return nil }

// question is one source on its way through its steps.
type question struct {
	source *source
	step   *step
	answer func(scaler.Result)
	cmd    *redis.Cmd
}

// ReadBatch sends the commands of all sources in one pipeline for each server,
// and once more for those that need a further step.
func (s *server) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	left := make([]*question, len(sources))
	for i, one := range sources {
		one := one.(*source)
		left[i] = &question{source: one, step: one.first(), answer: func(r scaler.Result) { answer(i, r) }}
	}
	for range mostSteps {
		if len(left) == 0 {
			return nil
		}
		pipe := s.client.Pipeline()
		for _, q := range left {
			q.cmd = q.step.ask(ctx, pipe)
		}
		_, err := pipe.Exec(ctx)
		left = answered(s, left, err)
	}
	for _, q := range left {
		q.answer(scaler.Result{Err: fmt.Errorf("%s: changes faster than it can be read", q.source.what)})
	}
	return nil
}

// answered takes the answers and returns the questions that need another step.
// A command that was not even sent has neither an answer nor an error of its
// own: then it is the pipeline's.
func answered(s *server, asked []*question, pipeline error) (left []*question) {
	for _, q := range asked {
		if q.cmd.Err() == nil && q.cmd.Val() == nil {
			q.cmd.SetErr(cmp.Or(pipeline, errNoAnswer))
		}
		value, next, err := q.step.answer(q.cmd)
		switch {
		case err != nil:
			q.answer(scaler.Result{Err: failure(s.what, q.source.what, err)})
		case next != nil:
			q.step = next
			left = append(left, q)
		default:
			q.answer(scaler.Result{Readings: scaler.One(value)})
		}
	}
	return left
}

var errNoAnswer = errors.New("did not answer")

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
