package attacks

import (
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
)

// bystander is an object of somebody who does nothing wrong.
type bystander struct {
	scaled
	// work says how much is waiting.
	work func(int)
}

// standBy makes an object at rest for each family, all in one namespace.
func standBy(t *testing.T, families ...string) (all bystanders) {
	t.Helper()
	h := newHouse(t, nil)
	for _, family := range families {
		source, known := sources[family]
		if !known {
			t.Fatalf("family %s has no source here", family)
		}
		h.grant(family)
		trigger, work := source(h)
		all = append(all, bystander{h.scale("bystander-"+family, nil, trigger), work})
	}
	for _, b := range all {
		b.waitReady("True", "")
	}
	return all
}

type bystanders []bystander

// goOn has work come and go for each, and waits until their replicas did.
func (all bystanders) goOn() {
	for _, b := range all {
		b.t.Helper()
		b.work(50)
	}
	for _, b := range all {
		b.waitReplicas("work is noticed", func(n int32) bool { return n > 0 })
		b.work(0)
	}
	for _, b := range all {
		b.waitReplicas("rest", func(n int32) bool { return n == 0 })
	}
}

// sources make, by family, what a bystander scales on.
var sources = map[string]func(house) (trigger, func(int)){
	"http":  apiSource,
	"redis": redisSource,
}

// apiSource is a server that tells how much there is to do.
func apiSource(h house) (trigger, func(int)) {
	var waiting atomic.Int64
	s := web(h.t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"waiting": %d}`, waiting.Load()) })
	return triggerOf("metrics-api", map[string]string{"url": s.url(), "valueLocation": "waiting", "targetValue": "5"}),
		func(n int) { waiting.Store(int64(n)) }
}

// redisSource is a list on the server that all share, which wants to know who
// asks.
func redisSource(h house) (trigger, func(int)) {
	h.t.Helper()
	h.authentication("redis", map[string]string{"password": marked + "-redis"})
	list := h.namespace
	return triggerOf("redis", map[string]string{"address": world.redis.Addr(), "listName": list, "listLength": "5"}).with("redis"), func(n int) {
		h.t.Helper()
		command := []string{"DEL", list}
		if n > 0 {
			command = []string{"EVAL", "for i = 1, ARGV[1] do redis.call('RPUSH', KEYS[1], i) end", "1", list, strconv.Itoa(n)}
		}
		if _, err := world.redis.Do(h.t.Context(), command...); err != nil {
			h.t.Fatal(err)
		}
	}
}
