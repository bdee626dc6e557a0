// Command bench measures Sluice on a local control plane: how fast objects
// become ready, what they cost at rest, how long an event takes to become
// replicas or a Job, and how fast metrics are read. It prints a table and writes
// bin/bench.json; it judges nothing.
//
// BROKER chooses the broker: kfake (the default, in this process) or kafka.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// gcPercent is GOGC of the control plane.
const gcPercent = 300

// options say what is measured.
type options struct {
	Broker     string        `json:"broker"`
	Objects    int           `json:"objects"`
	Topics     int           `json:"topics"`
	Partitions int           `json:"partitions"`
	Rest       time.Duration `json:"-"`
	Events     int           `json:"events"`
	AtOnce     int           `json:"atOnce"`
	Active     int           `json:"active"`
	Finished   int           `json:"finished"`
	Reading    time.Duration `json:"-"`
	QPS        int           `json:"-"`
	Rise       int           `json:"rise"`
	binaries   string
	onlyRise   bool
	onlyRush   bool
	pause      bool
}

func main() {
	if err := localcluster.Enter(); err != nil {
		fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := options{Broker: os.Getenv("BROKER")}
	asJSON := flag.Bool("json", false, "print JSON on standard output, and the table on standard error")
	flag.IntVar(&o.Objects, "objects", 1000, "ScaledObjects, each with a Deployment and a consumer group of its own")
	flag.IntVar(&o.Topics, "topics", 200, "topics of one Kafka cluster; half of them serve one object each, the others share the rest")
	flag.IntVar(&o.Partitions, "partitions", full, "partitions of each topic; no object gets more replicas than that")
	flag.DurationVar(&o.Rest, "rest", 2*time.Minute, "how long all objects stay at zero, and again above it, for the figures at rest and at work")
	flag.IntVar(&o.Events, "events", 200, "events measured one at a time, and again in groups")
	flag.IntVar(&o.AtOnce, "at-once", 20, "events of a group")
	flag.IntVar(&o.Active, "active", 100, "objects above zero while metrics are read")
	flag.IntVar(&o.Finished, "finished", 10_000, "finished Jobs of one ScaledJob that are cleaned up")
	flag.DurationVar(&o.Reading, "reading", 30*time.Second, "how long metrics are read, each way")
	flag.IntVar(&o.QPS, "controller-qps", 500, "request limit of kube-controller-manager; its default is 20")
	flag.IntVar(&o.Rise, "rise", 100, "objects at one replica that get work for ten")
	flag.BoolVar(&o.onlyRise, "only-rise", false, "measure these alone")
	flag.BoolVar(&o.onlyRush, "only-rush", false, "measure alone how long all objects take to wake at once")
	flag.StringVar(&o.binaries, "bin", "", "folder of the components' binaries (default bin of the repository)")
	flag.BoolVar(&o.pause, "pause", false, "wait for a line on standard input at rest and while metrics are read, to look inside; pprof is at :6060 meanwhile")
	flag.Parse()
	f, err := measure(ctx, o)
	if err := errors.Join(err, publish(f, *asJSON)); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// publish prints the figures and keeps them in bin/bench.json.
func publish(f *figures, asJSON bool) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	table, data := os.Stdout, []byte(nil)
	if asJSON {
		table, data = os.Stderr, append(text, '\n')
	}
	f.print(table)
	if _, err := os.Stdout.Write(data); err != nil {
		return err
	}
	repo, err := localcluster.FindRepo(".")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(repo, "bin", "bench.json"), append(text, '\n'), 0o644)
}

// bench is one run.
type bench struct {
	options
	cluster *localcluster.Cluster
	broker  *broker
	fleet   *fleet
	figures *figures
	// baseline are the API writes before the first object.
	baseline map[string]float64
}

// measure takes all figures, one after the other on one cluster.
func measure(ctx context.Context, o options) (f *figures, err error) {
	b := &bench{options: o, figures: &figures{Options: o, Environment: environment(ctx, o)}}
	// What was measured before something went wrong is worth keeping.
	defer func() {
		if err != nil {
			b.figures.Incomplete = err.Error()
		}
	}()
	if err := o.check(); err != nil {
		return b.figures, err
	}
	if !o.onlyRush {
		if b.figures.Rise, err = measureRise(ctx, o); err != nil || o.onlyRise {
			return b.figures, err
		}
	}
	b.say("starting a control plane and the kafka overlay")
	b.cluster, err = localcluster.Start(ctx, localcluster.Options{BinDir: o.binaries, NoAudit: true, ControllerQPS: o.QPS, GCPercent: gcPercent})
	if err != nil {
		return b.figures, err
	}
	defer func() { err = errors.Join(err, b.cluster.Stop()) }()
	installation := localcluster.Installation{Overlay: "deploy/overlays/kafka"}
	if o.pause {
		profiled := []string{"--profiling-bind-address=:6060"}
		installation.Args = map[string][]string{"controller": profiled, "metrics-adapter": profiled}
		// Heaps of some ten MiB want a finer look than one sample in 512 KiB.
		fine := []corev1.EnvVar{{Name: "GODEBUG", Value: "memprofilerate=8192"}}
		installation.Env = map[string][]corev1.EnvVar{"controller": fine, "metrics-adapter": fine}
	}
	if err := b.cluster.Install(ctx, installation); err != nil {
		return b.figures, err
	}
	if b.broker, err = startBroker(ctx, o, b.cluster.Address()); err != nil {
		return b.figures, err
	}
	defer b.broker.close()
	if b.fleet, err = newFleet(ctx, b.cluster, b.broker, o); err != nil {
		return b.figures, err
	}
	defer b.fleet.close()
	steps := []func(context.Context) error{b.create, b.atRest, b.events, b.reads, b.rush, b.atWork, b.jobs}
	if o.onlyRush {
		steps = []func(context.Context) error{b.create, b.atRest, b.rush}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return b.figures, err
		}
	}
	return b.figures, nil
}

func (o options) check() error {
	switch {
	case runtime.GOOS != "linux":
		return errors.New("what processes use is counted on Linux alone")
	case o.Topics < 2 || o.Objects < o.Topics:
		return fmt.Errorf("-objects %d -topics %d: at least two topics, and an object for each", o.Objects, o.Topics)
	case o.Partitions < full:
		return fmt.Errorf("-partitions %d: events ask for %d replicas", o.Partitions, full)
	case o.AtOnce > o.alone():
		return fmt.Errorf("-at-once %d: only %d topics serve one object each", o.AtOnce, o.alone())
	case o.Active > o.alone():
		return fmt.Errorf("-active %d: only %d topics serve one object each", o.Active, o.alone())
	}
	return nil
}

// alone is how many objects have a topic of their own, and so how many
// topics serve one object each.
func (o options) alone() int { return o.Topics / 2 }

// say tells on standard error how far the run is.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// look waits for a line on standard input where the run was told to: time
// for a profiler.
func (b *bench) look(when string) {
	if !b.pause {
		return
	}
	for _, i := range b.cluster.Instances("") {
		b.say("%s: %s %s pid %d", when, i.Name(), i.Address(), i.PID())
	}
	_, _ = fmt.Scanln() // an end of the input is as good as a line
}
