package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

const benchTriggers = 1000

// BenchmarkLengths reads a thousand triggers, each of a key of its own, and
// reports the connections and the keys per second.
func BenchmarkLengths(b *testing.B) {
	r := servers.SharedRedis(b)
	proxy, err := fault.Listen(r.Addr())
	if err != nil {
		b.Fatal(err)
	}
	defer proxy.Close()
	ctx, release := scaler.Opening(b.Context())
	defer release()
	var sources []scaler.Source
	for i := range benchTriggers {
		s, err := open(ctx, listParams{keyParams: keyParams{
			connectionParams: connectionParams{Address: []string{proxy.Addr()}}, ListName: fmt.Sprintf("bench-%d", i),
		}})
		if err != nil {
			b.Fatal(err)
		}
		sources = append(sources, s)
	}
	scalertest.ReadAll(b, sources, "keys/s")
	b.ReportMetric(float64(proxy.Stats().Accepted), "connections")
}

// BenchmarkIdleTriggers measures what the doorbells of idle triggers, each with
// a key of its own, cost a real server: its CPU and memory while nothing
// happens, how many unrelated keys others set, and how many elements others
// push to the triggers' own keys, for a second of its CPU. One iteration is a
// time of each, without the triggers and with them.
func BenchmarkIdleTriggers(b *testing.B) {
	for _, triggers := range []int{1, 100, 1000, 5000} {
		b.Run(fmt.Sprint(triggers), func(b *testing.B) {
			r := servers.Redis(b)
			load := &pressure{client: operator(b, &redis.UniversalOptions{Addrs: []string{r.Addr()}}), keys: triggers}
			var without, with cost
			for b.Loop() {
				load.measure(b, &without)
				stop := listenToAll(b, r.Addr(), triggers)
				load.measure(b, &with)
				stop()
			}
			with.report(b, without)
		})
	}
}

// idleKey is the key of a trigger.
func idleKey(i int) string { return fmt.Sprint("idle-", i) }

// listenToAll has that many triggers listen, each to a key of its own.
func listenToAll(b *testing.B, address string, triggers int) (stop func()) {
	b.Helper()
	return scalertest.ListenToAll(b, triggers, func(ctx context.Context, i int) (scaler.Source, error) {
		return open(ctx, listParams{keyParams: keyParams{connectionParams: connectionParams{Address: []string{address}}, ListName: idleKey(i)}})
	})
}

// pressure is what others do at the server, whose triggers have so many keys.
type pressure struct {
	client redis.UniversalClient
	keys   int
}

// cost is what the server used for what.
type cost struct {
	idle, idleFor, setting, pushing time.Duration
	sets, pushes                    int
	memory                          float64
}

func (l *pressure) measure(b *testing.B, c *cost) {
	const each = time.Second
	began, before := time.Now(), l.used(b)
	<-time.After(each)
	c.idle, c.idleFor = c.idle+l.used(b)-before, c.idleFor+time.Since(began)
	c.memory = max(c.memory, l.number(b, "used_memory"))
	before = l.used(b)
	c.sets += l.repeat(b, each, func(pipe redis.Pipeliner, i int) { pipe.Set(b.Context(), fmt.Sprint("other-", i%1000), i, 0) })
	c.setting += l.used(b) - before
	before = l.used(b)
	c.pushes += l.repeat(b, each, func(pipe redis.Pipeliner, i int) {
		pipe.RPush(b.Context(), idleKey(i%l.keys), i)
		pipe.LTrim(b.Context(), idleKey(i%l.keys), 0, 0)
	})
	c.pushing += l.used(b) - before
}

func (c cost) report(b *testing.B, without cost) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(1000*(c.idle.Seconds()/c.idleFor.Seconds()-without.idle.Seconds()/without.idleFor.Seconds()), "millicores-idle")
	b.ReportMetric((c.memory-without.memory)/1024, "KiB")
	fewer := func(name string, n, before int, used, usedBefore time.Duration) {
		rate, rateBefore := float64(n)/used.Seconds(), float64(before)/usedBefore.Seconds()
		b.ReportMetric(rateBefore, name+"/cpu-s-without")
		b.ReportMetric(100*(1-rate/rateBefore), "%-fewer-"+name)
	}
	fewer("sets", c.sets, without.sets, c.setting, without.setting)
	fewer("pushes", c.pushes, without.pushes, c.pushing, without.pushing)
}

// repeat does something for a time, in pipelines, and returns how often.
func (l *pressure) repeat(b *testing.B, long time.Duration, do func(pipe redis.Pipeliner, i int)) (n int) {
	b.Helper()
	const together = 100
	for end := time.Now().Add(long); time.Now().Before(end); n += together {
		pipe := l.client.Pipeline()
		for i := range together {
			do(pipe, n+i)
		}
		if _, err := pipe.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	return n
}

// used is the CPU time of the thread that does the server's work.
func (l *pressure) used(b *testing.B) time.Duration {
	b.Helper()
	seconds := l.number(b, "used_cpu_sys_main_thread") + l.number(b, "used_cpu_user_main_thread")
	return time.Duration(seconds * float64(time.Second))
}

// number is one that the server says of itself.
func (l *pressure) number(b *testing.B, name string) float64 {
	b.Helper()
	info, err := l.client.Info(b.Context(), "cpu", "memory").Result()
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(info, name+":")
	text, _, _ := strings.Cut(after, "\r")
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		b.Fatal(err)
	}
	return value
}
