// Package guard keeps a panic over one object, one peer or one answer from
// ending the process, and with it the scaling of everybody else. All goroutines
// of the core are started here.
package guard

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// restart is how long Loop waits after a panic.
const restart = time.Second

// Panics counts those that were caught, by what was being done.
var Panics = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "sluice_panics_total", Help: "Panics that were caught, by what was being done.",
}, []string{"doing"})

// Error is a panic as whoever is told of it reads it.
type Error struct{ Doing string }

func (e *Error) Error() string {
	return "a defect of Sluice ended " + e.Doing + ": its log has the details"
}

// Do runs f. A panic is logged with the object that it was about, counted under
// doing, a constant, and returned as an Error.
func Do(doing, object string, f func()) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = caught(doing, object, cause)
		}
	}()
	f()
	return nil
}

// Call is Do for what returns an error.
func Call(doing, object string, f func() error) (err error) {
	if defect := Do(doing, object, func() { err = f() }); defect != nil {
		return defect
	}
	return err
}

func caught(doing, object string, cause any) error {
	Panics.WithLabelValues(doing).Inc()
	slog.Error("panic", "doing", doing, "object", object, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	return &Error{doing}
}

// Go runs f in a goroutine that belongs to a group. A panic ends it alone.
func Go(group *sync.WaitGroup, doing, object string, f func()) {
	group.Go(func() { _ = Do(doing, object, f) }) // logged
}

// AfterFunc runs f after a while, in a goroutine of its own.
func AfterFunc(after time.Duration, doing string, f func()) *time.Timer {
	return time.AfterFunc(after, func() { _ = Do(doing, "", f) }) // logged
}

// Loop runs f until it returns; after a panic it begins again.
func Loop(ctx context.Context, doing, object string, f func()) {
	for Do(doing, object, f) != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(restart):
		}
	}
}

// Parts are goroutines that do one thing together. A panic of one is that of
// whoever waits for them, who is guarded.
type Parts struct {
	running sync.WaitGroup
	mu      sync.Mutex
	failed  any
}

// Start runs one part.
func (p *Parts) Start(f func()) {
	p.running.Go(func() {
		defer func() {
			if cause := recover(); cause != nil {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.failed = fmt.Sprintf("%v\n%s", cause, debug.Stack())
			}
		}()
		f()
	})
}

// Wait returns when all parts have.
func (p *Parts) Wait() {
	p.running.Wait()
	if p.failed != nil {
		panic(p.failed)
	}
}

// Install guards the goroutines of client-go, which call our handlers, indexes
// and transforms: they begin again after a panic instead of ending the process.
func Install() {
	utilruntime.ReallyCrash = false                                                            //nolint:reassign // that is what it is for
	utilruntime.PanicHandlers = append(utilruntime.PanicHandlers, func(context.Context, any) { //nolint:reassign // as above
		Panics.WithLabelValues("an event of the API server").Inc()
	})
}

// Collector guards a collector: a scrape runs it on a goroutine of its own.
func Collector(c prometheus.Collector) prometheus.Collector { return collector{c} }

type collector struct{ prometheus.Collector }

func (c collector) Collect(ch chan<- prometheus.Metric) {
	_ = Do("a scrape", "", func() { c.Collector.Collect(ch) })
}
