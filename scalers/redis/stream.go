package main

import (
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// redisStreams scales on a stream: on its length, or on what a consumer group
// has pending or has not got yet.
var redisStreams = scaler.Define[streamParams]("redis-streams", open, rings)

// redisClusterStreams scales on a stream of a Redis Cluster: on its length, or on
// what a consumer group has pending or has not got yet.
var redisClusterStreams = scaler.Define[clusterStreamParams]("redis-cluster-streams", open, rings)

// redisSentinelStreams scales on a stream at the master that Sentinels name: on
// its length, or on what a consumer group has pending or has not got yet.
var redisSentinelStreams = scaler.Define[sentinelStreamParams]("redis-sentinel-streams", open, rings)

// entriesParams are what the types for a stream have in common.
//
// Without consumerGroup the length of the stream counts, towards streamLength.
// With it the entries that are pending count, towards pendingEntriesCount, or,
// with lagCount, those that were not delivered yet, towards lagCount.
type entriesParams struct {
	connectionParams

	// Stream is the key.
	Stream string `param:"stream,required"`
	// ConsumerGroup selects a group of consumers.
	ConsumerGroup string `param:"consumerGroup"`
	// PendingEntriesCount is the target of a group's entries that were
	// delivered and not acknowledged. They are 0 while there is no consumer:
	// to start from zero replicas, use lagCount.
	PendingEntriesCount int64 `param:"pendingEntriesCount" default:"5" role:"target" unit:"entries"`
	// StreamLength is the target of the stream's length.
	StreamLength int64 `param:"streamLength" default:"5" role:"target" unit:"entries"`
	// LagCount is the target of a group's entries that were not delivered yet;
	// 0 counts those that are pending instead. It needs Redis 7. It says what
	// is read, and so has no role.
	LagCount int64 `param:"lagCount" default:"0" unit:"entries"`
	// ActivationLagCount is the activation threshold of whatever counts.
	ActivationLagCount int64 `param:"activationLagCount" default:"0" role:"activation" unit:"entries"`
}

// target is that of what counts.
func (p entriesParams) target() int64 {
	switch {
	case p.ConsumerGroup == "":
		return p.StreamLength
	case p.LagCount == 0:
		return p.PendingEntriesCount
	default:
		return p.LagCount
	}
}

// Metrics is the same for all three types.
func (p entriesParams) Metrics() []scaler.Metric {
	return []scaler.Metric{{
		Name:       scaler.MetricName("redis-streams", p.Stream),
		Target:     float64(p.target()),
		Activation: float64(p.ActivationLagCount),
	}}
}

// Warnings tell of a choice that cannot leave zero.
func (p entriesParams) Warnings() []string {
	if p.ConsumerGroup == "" || p.LagCount != 0 {
		return nil
	}
	return []string{"pendingEntriesCount: entries are pending only while there are consumers, so the target never leaves zero replicas; lagCount counts those that were not delivered yet"}
}

// streamParams is the metadata of a redis-streams trigger.
type streamParams struct {
	entriesParams
	databaseParams
}

// clusterStreamParams is the metadata of a redis-cluster-streams trigger.
type clusterStreamParams struct {
	entriesParams
	clusterDatabase
}

// sentinelStreamParams is the metadata of a redis-sentinel-streams trigger.
type sentinelStreamParams struct {
	entriesParams
	sentinelDatabase
}

// source reads the number of entries that count.
func (p entriesParams) source(s *server) *source {
	first := integer("XLEN", p.Stream)
	switch {
	case p.ConsumerGroup == "":
	case p.LagCount == 0:
		first = pending(p.Stream, p.ConsumerGroup)
	default:
		first = s.lag(p.Stream, p.ConsumerGroup)
	}
	return &source{server: s, what: "stream " + p.Stream, key: p.Stream, first: func() *step { return first }}
}

// pending reads how many entries the group has got and not acknowledged. All
// entries of a stream without the group are still to be had, and there are none
// in a stream that is missing.
func pending(stream, group string) *step {
	return command(func(cmd *redis.Cmd) (float64, *step, error) {
		summary, err := cmd.Slice()
		switch {
		case redis.HasErrorPrefix(err, "NOGROUP"):
			return 0, integer("XLEN", stream), nil
		case err != nil:
			return 0, nil, err
		case len(summary) == 0:
			return 0, nil, errors.New("the summary of pending entries is empty")
		}
		count, ok := summary[0].(int64)
		if !ok {
			return 0, nil, fmt.Errorf("the number of pending entries is a %T", summary[0])
		}
		return float64(count), nil, nil
	}, "XPENDING", stream, group)
}

// lag reads how many entries the group has not got yet. Without the group
// those are all of the stream's; a stream that is missing has none.
func (s *server) lag(stream, group string) *step {
	return command(func(cmd *redis.Cmd) (float64, *step, error) {
		groups, err := cmd.Slice()
		switch {
		case err != nil && err.Error() == "ERR no such key":
			return 0, nil, nil
		case err != nil:
			return 0, nil, err
		}
		for _, one := range groups {
			if facts := pairs(one); facts["name"] == group {
				return s.lagOf(stream, facts)
			}
		}
		return 0, integer("XLEN", stream), nil
	}, "XINFO", "GROUPS", stream)
}

// lagOf is the lag that the server reports. It cannot tell after entries were
// deleted behind the group's position; then they are counted.
func (s *server) lagOf(stream string, group map[string]any) (float64, *step, error) {
	reported, has := group["lag"]
	if !has {
		return 0, nil, scaler.Errorf(codes.FailedPrecondition, "lagCount: the server reports no lag, which needs Redis 7 or later")
	}
	switch value := reported.(type) {
	case int64:
		return float64(value), nil, nil
	case nil:
		return 0, s.undelivered(stream, fmt.Sprint(group["last-delivered-id"])), nil
	default:
		return 0, nil, fmt.Errorf("the lag is a %T", reported)
	}
}

// mostCounted bounds how many entries are looked at to count them.
const mostCounted = 100

// countScript counts entries where they are: nothing else of them is needed.
var countScript = redis.NewScript("return #redis.call('xrange', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])")

// undelivered counts the entries behind a position. When there are many the
// stream's length stands in, which is never less.
func (s *server) undelivered(stream, last string) *step {
	counted := func(count int64) (float64, *step) {
		if count == mostCounted {
			return 0, integer("XLEN", stream)
		}
		return float64(count), nil
	}
	said := func(said any) (float64, *step, error) {
		count, ok := said.(int64)
		if !ok {
			return 0, nil, fmt.Errorf("the script answered %T", said)
		}
		value, next := counted(count)
		return value, next, nil
	}
	fetched := func() *step {
		return command(func(cmd *redis.Cmd) (float64, *step, error) {
			entries, err := cmd.Slice()
			if err != nil {
				return 0, nil, err
			}
			value, next := counted(int64(len(entries)))
			return value, next, nil
		}, "XRANGE", stream, "("+last, "+", "COUNT", mostCounted)
	}
	return s.script(countScript, said, fetched, stream, "("+last, mostCounted)
}

// pairs is a flat list of names and values as a map.
func pairs(list any) map[string]any {
	flat, _ := list.([]any)
	facts := make(map[string]any, len(flat)/2)
	for i := 0; i+1 < len(flat); i += 2 {
		if name, ok := flat[i].(string); ok {
			facts[name] = flat[i+1]
		}
	}
	return facts
}
