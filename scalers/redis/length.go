package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// lengthText is the number of elements of a key of any kind, or the kind's
// name when it has none. Commands are written out: servers that check them
// beforehand refuse names that are computed.
const lengthText = `
local kind = redis.call('type', KEYS[1]).ok
if kind == 'list' then return redis.call('llen', KEYS[1]) end
if kind == 'set' then return redis.call('scard', KEYS[1]) end
if kind == 'zset' then return redis.call('zcard', KEYS[1]) end
if kind == 'hash' then return redis.call('hlen', KEYS[1]) end
if kind == 'none' then return 0 end
return kind
`

var lengthScript = redis.NewScript(lengthText)

// lengthCommands are the same for servers that allow no scripts.
var lengthCommands = map[string]string{"list": "LLEN", "set": "SCARD", "zset": "ZCARD", "hash": "HLEN"}

// scripts remembers whether the server lets us run them.
type scripts struct{ denied atomic.Bool }

// length reads a key's number of elements, by the script where the server runs
// one.
func (s *server) length(key string) *step {
	return s.script(lengthScript, lengthSaid, func() *step {
		return command(func(cmd *redis.Cmd) (float64, *step, error) { return lengthOf(key, cmd) }, "TYPE", key)
	}, key)
}

// lengthSaid is what the script says of a key.
func lengthSaid(said any) (float64, *step, error) {
	switch said := said.(type) {
	case int64:
		return float64(said), nil, nil
	case string:
		return 0, nil, wrongKind(said)
	default:
		return 0, nil, fmt.Errorf("the script answered %T", said)
	}
}

// script is a step that runs a script: the one that the server knows already,
// its text when it does not, and another step when it runs none for us.
func (s *server) script(script *redis.Script, answer func(said any) (float64, *step, error), otherwise func() *step, key string, args ...any) *step {
	if s.scripts.denied.Load() {
		return otherwise()
	}
	ran := func(cmd *redis.Cmd) (float64, *step, error) {
		said, err := cmd.Result()
		switch {
		case deniesScripts(err):
			s.scripts.denied.Store(true)
			return 0, otherwise(), nil
		case err != nil:
			return 0, nil, err
		}
		return answer(said)
	}
	byText := &step{
		ask: func(ctx context.Context, pipe redis.Pipeliner) *redis.Cmd {
			return script.Eval(ctx, pipe, []string{key}, args...)
		},
		answer: ran,
	}
	return &step{
		ask: func(ctx context.Context, pipe redis.Pipeliner) *redis.Cmd {
			return script.EvalSha(ctx, pipe, []string{key}, args...)
		},
		answer: func(cmd *redis.Cmd) (float64, *step, error) {
			if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
				return 0, byText, nil
			}
			return ran(cmd)
		},
	}
}

// deniesScripts is true when it is the script, and not the key, that the user
// may not have, or that the server does not know.
func deniesScripts(err error) bool {
	if err == nil {
		return false
	}
	text := strings.ToLower(err.Error())
	return strings.HasPrefix(text, "noperm") && strings.Contains(text, "eval") ||
		strings.HasPrefix(text, "err unknown command") && strings.Contains(text, "eval")
}

// lengthOf asks for the length by the command that fits the kind.
func lengthOf(key string, kind *redis.Cmd) (float64, *step, error) {
	name, err := kind.Text()
	if err != nil || name == "none" {
		return 0, nil, err
	}
	command, known := lengthCommands[name]
	if !known {
		return 0, nil, wrongKind(name)
	}
	return 0, integer(command, key), nil
}

// wrongKind names the kinds of Redis itself; of what a module or something else
// says, nobody knows what it holds.
func wrongKind(kind string) error {
	if kind == "string" || kind == "stream" {
		return scaler.Errorf(codes.FailedPrecondition, "is a %s, not a list, set, sorted set or hash", kind)
	}
	return scaler.Errorf(codes.FailedPrecondition, "is not a list, set, sorted set or hash")
}
