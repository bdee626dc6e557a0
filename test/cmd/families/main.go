// Command families measures what scaler families cost and how soon they notice
// work, each with its real server: memory and CPU of a family's process at rest
// and with a thousand triggers, and the time from an event to the first replica
// on a local control plane. It prints two tables; it judges nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// options say what is measured.
type options struct {
	triggers, events int
	rest, work       time.Duration
	interval, idle   time.Duration
	binaries, only   string
	cost, latency    bool
}

func main() {
	if err := localcluster.Enter(); err != nil {
		fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.IntVar(&o.triggers, "triggers", 1000, "triggers of one family, each with a question of its own")
	flag.DurationVar(&o.rest, "rest", 20*time.Second, "how long a family without triggers is looked at")
	flag.DurationVar(&o.work, "work", time.Minute, "how long a family is looked at that has read all its triggers once")
	flag.IntVar(&o.events, "events", 10, "events of each trigger type and way to notice them, each of an object of its own")
	flag.DurationVar(&o.interval, "interval", 30*time.Second, "pollingInterval of all triggers")
	flag.DurationVar(&o.idle, "idle", 2*time.Second, "the annotation sluice.dev/idle-polling-interval")
	flag.StringVar(&o.binaries, "bin", "../bin", "folder of the families' binaries")
	flag.StringVar(&o.only, "only", "", "measure memory and CPU of this trigger type alone")
	flag.BoolVar(&o.cost, "cost", true, "measure memory and CPU")
	flag.BoolVar(&o.latency, "latency", true, "measure events")
	flag.Parse()
	if err := run(ctx, o); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "families:", err)
	os.Exit(1)
}

func run(ctx context.Context, o options) (err error) {
	if o.cost {
		if err := costs(ctx, o); err != nil {
			return err
		}
	}
	if o.latency {
		return latencies(ctx, o)
	}
	return nil
}

// table prints rows under a heading.
func table(rows [][]string) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for _, cell := range row {
			fmt.Fprint(w, cell, "\t")
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
	fmt.Println()
}

// median and longest of some times.
func median(all []time.Duration) (middle, longest time.Duration) {
	slices.Sort(all)
	return all[len(all)/2], all[len(all)-1]
}

// closing ends what was started, the last first.
type closing []func() error

func (c *closing) add(end func() error) { *c = append(*c, end) }

func (c *closing) close() error {
	var errs []error
	for _, end := range slices.Backward(*c) {
		errs = append(errs, end())
	}
	return errors.Join(errs...)
}
