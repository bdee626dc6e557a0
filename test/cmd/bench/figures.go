package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// figures are the result of a run.
type figures struct {
	Environment env     `json:"environment"`
	Options     options `json:"options"`
	// Incomplete says why the figures that follow are not all there.
	Incomplete string `json:"incomplete,omitempty"`
	// CreatedSeconds and ReadySeconds count from the first create.
	CreatedSeconds float64 `json:"createdSeconds"`
	ReadySeconds   float64 `json:"readySeconds"`
	// Webhook is the admission of the ScaledObjects.
	Webhook webhookFigures `json:"webhook"`
	Writes  apiWrites      `json:"apiWrites"`
	// Rest is what each process uses while all objects are at zero.
	Rest phase `json:"atRest"`
	// Creating is the machine's CPU from the first create until all are Ready.
	Creating map[string]float64 `json:"machineUntilReady"`
	// Single, AtOnce and Shared are events one at a time, several at once,
	// and on topics that several objects look at.
	Single     latency     `json:"eventsOneAtATime"`
	AtOnce     latency     `json:"eventsAtOnce"`
	Shared     latency     `json:"eventsOnSharedTopics"`
	Reads      readFigures `json:"metricReads"`
	PacedReads readFigures `json:"metricReadsPaced"`
	// Rush is all objects woken at once.
	Rush rushFigures `json:"rush"`
	// AwakeSeconds count from one event for all objects until each has a
	// replica; Work is what each process uses then.
	AwakeSeconds float64    `json:"awakeSeconds"`
	Work         phase      `json:"atWork"`
	Jobs         jobFigures `json:"scaledJobs"`
	// Rise is from one replica to ten through the HPA alone.
	Rise riseFigures `json:"rise"`
}

// apiWrites are writes of ours to the API server.
type apiWrites struct {
	// UntilReady and Settled are per object, by kind.
	UntilReady map[string]float64 `json:"perObjectUntilReady"`
	Settled    map[string]float64 `json:"perObjectSettled"`
	// PerMinuteAtRest is of all objects together.
	PerMinuteAtRest map[string]float64 `json:"perMinuteAtRest"`
}

// env is where a run took place.
type env struct {
	Time              time.Time `json:"time"`
	Commit            string    `json:"commit"`
	Go                string    `json:"go"`
	Platform          string    `json:"platform"`
	Cores             int       `json:"cores"`
	Load              string    `json:"loadAverage"`
	Kubernetes        string    `json:"kubernetes"`
	Broker            string    `json:"broker"`
	ControllerManager []string  `json:"controllerManagerFlags"`
	APIServer         []string  `json:"apiServerFlags"`
	Rest              string    `json:"rest"`
}

func environment(ctx context.Context, o options) env {
	e := env{
		Time: time.Now().UTC().Truncate(time.Second), Commit: commit(ctx), Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(),
		Kubernetes: module("k8s.io/client-go"), Broker: "Apache Kafka", Rest: o.Rest.String(),
		ControllerManager: []string{fmt.Sprintf("--kube-api-qps=%d", o.QPS), fmt.Sprintf("--kube-api-burst=%d", 2*o.QPS)},
		APIServer:         []string{"--max-requests-inflight=2000", "--max-mutating-requests-inflight=1000"},
	}
	if o.Broker != "kafka" {
		e.Broker = "kfake " + module("github.com/twmb/franz-go/pkg/kfake") + " in the process of the benchmark"
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		e.Load = strings.Join(strings.Fields(string(load))[:3], " ")
	}
	return e
}

func commit(ctx context.Context) string {
	text, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

// module is the version of a module that this program is built from.
func module(path string) string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "unknown"
}

// quantiles are in milliseconds.
type quantiles struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func quantilesOf(all []time.Duration) quantiles {
	if len(all) == 0 {
		return quantiles{}
	}
	slices.Sort(all)
	at := func(share float64) float64 {
		i := min(int(share*float64(len(all))), len(all)-1)
		return float64(all[i].Microseconds()) / 1000
	}
	return quantiles{at(0.5), at(0.9), at(0.99), at(1)}
}

func (q quantiles) String() string {
	return fmt.Sprintf("p50 %.1f ms\tp90 %.1f ms\tp99 %.1f ms\tmax %.1f ms", q.P50, q.P90, q.P99, q.Max)
}

const mib = 1 << 20

// print writes the table.
func (f *figures) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer t.Flush()
	line := func(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }
	e := f.Environment
	line("%d objects over %d topics of %d partitions; %s", f.Options.Objects, f.Options.Topics, f.Options.Partitions, e.Broker)
	line("%d cores, %s, %s, client-go %s, commit %s, load before %s", e.Cores, e.Platform, e.Go, e.Kubernetes, e.Commit, e.Load)
	line("kube-controller-manager %s; kube-apiserver %s, no audit log; all of the control plane with GOGC=%d", strings.Join(e.ControllerManager, " "), strings.Join(e.APIServer, " "), gcPercent)
	if f.Incomplete != "" {
		line("NOT COMPLETE, what is missing shows as 0: %s", f.Incomplete)
	}
	line("\ncreated after\t%.1f s", f.CreatedSeconds)
	line("all Ready after\t%.1f s", f.ReadySeconds)
	line("admission webhook\t%s", f.Webhook)
	line("machine meanwhile, in cores: %s", cores(f.Creating))
	line("\nAPI writes per object\tuntil Ready\tsettled\tper minute at rest, all objects")
	for _, name := range sortedKeys(f.Writes.Settled) {
		line("  %s\t%.2f\t%.2f\t%.1f", name, f.Writes.UntilReady[name], f.Writes.Settled[name], f.Writes.PerMinuteAtRest[name])
	}
	line("\nat rest")
	f.Rest.print(line)
	line("\nevent -> replicas")
	for _, l := range []struct {
		name string
		latency
	}{
		{"one at a time", f.Single},
		{fmt.Sprintf("%d at once", f.Options.AtOnce), f.AtOnce},
		{"shared topic, all its objects", f.Shared},
	} {
		line("  %s, first\t%s", l.name, l.First)
		line("  %s, %d\t%s", l.name, full, l.Full)
		if l.Machine != nil {
			line("    machine, in cores: %s", cores(l.Machine))
		}
		for _, s := range l.Steps {
			line("    %s\t%s", s.Name, s.Took)
		}
	}
	for _, r := range []struct {
		name string
		readFigures
	}{{"as fast as they can", f.Reads}, {"at the pace of the HPA controller", f.PacedReads}} {
		line("\nmetric reads, %d readers %s\t%s", readers, r.name, r.Took)
		line("  %d reads, %.0f per second, %d errors %s", r.Reads, r.PerSecond, r.Errors, r.LastError)
		r.Phase.print(line)
	}
	f.Rush.print(line)
	line("\nwork for all objects at once, each at a replica after\t%.1f s; then", f.AwakeSeconds)
	f.Work.print(line)
	f.Rise.print(line)
	j := f.Jobs
	line("\n%d ScaledJobs, all Ready after\t%.1f s", f.Options.Objects, j.ReadySeconds)
	line("  the leader at rest\tRSS %.1f MiB\tlive %.1f MiB\t%.1f KiB of it for each", float64(j.Leader.RSS)/mib, float64(j.Leader.Live)/mib, j.LivePerObject/1024)
	line("  event -> Job\t%s", j.Created)
	line("  %d Jobs of one ScaledJob\t%.0f per second\t%.2f API requests each, clean-up included", jobBurst, j.PerSecond, j.Requests)
	line("  %d finished Jobs cleaned up\tafter %.1f s\t%.3f API requests each\t%.0f of all are reads", f.Options.Finished, j.CleanSeconds, j.CleanRequests, j.CleanReads)
}

// cores names programs by what they used, the hungriest first.
func cores(machine map[string]float64) string {
	names := sortedKeys(machine)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(machine[b], machine[a]) })
	var all []string
	for _, name := range names {
		all = append(all, fmt.Sprintf("%s %.2f", name, machine[name]))
	}
	return strings.Join(all, ", ")
}

func (p phase) print(line func(string, ...any)) {
	all := p.Processes
	line("  machine, in cores: %s", cores(p.Machine))
	line("  process\tRSS MiB\town MiB\theap MiB\tlive MiB\tgoroutines\tfiles\tcores\tto broker\tread B/s\tsent B/s")
	total := process{Name: "all"}
	row := func(p process) {
		line("  %s\t%.1f\t%.1f\t%.1f\t%.1f\t%d\t%d\t%.4f\t%d\t%d\t%d", p.Name, float64(p.RSS)/mib, float64(p.Own)/mib, float64(p.Heap)/mib, float64(p.Live)/mib,
			p.Goroutines, p.Files, p.CPU, p.Broker.Open, p.Broker.ToClient, p.Broker.ToBroker)
	}
	for _, p := range all {
		row(p)
		total.RSS, total.Own, total.Heap, total.Live = total.RSS+p.RSS, total.Own+p.Own, total.Heap+p.Heap, total.Live+p.Live
		total.Goroutines, total.Files, total.CPU = total.Goroutines+p.Goroutines, total.Files+p.Files, total.CPU+p.CPU
		total.Broker.Open += p.Broker.Open
		total.Broker.ToClient += p.Broker.ToClient
		total.Broker.ToBroker += p.Broker.ToBroker
	}
	row(total)
	for _, p := range all {
		for _, name := range sortedKeys(p.Requests) {
			r := p.Requests[name]
			line("    %s: %s\t%.2f/s\t%.0f B/s read\t%.0f B/s sent", p.Name, name, r.Requests, r.ToClient, r.ToBroker)
		}
	}
}
