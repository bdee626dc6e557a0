package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// sockets are a client's connections to the broker, with the bytes that the
// open ones have carried.
type sockets struct {
	Open     int   `json:"open"`
	ToClient int64 `json:"toClient"`
	ToBroker int64 `json:"toBroker"`
}

// process is what one process of ours uses.
type process struct {
	Name string `json:"name"`
	// RSS, Own, Heap and Live are in bytes: memory in RAM, what of it is not
	// the program's file, the Go heap, and what of it the last garbage
	// collection left. The file's pages are shared by all processes that run
	// it, and the kernel drops them when it is short of memory.
	RSS  int64 `json:"rss"`
	Own  int64 `json:"own"`
	Heap int64 `json:"heap"`
	Live int64 `json:"live"`
	// Goroutines and Files are open now.
	Goroutines int `json:"goroutines"`
	Files      int `json:"files"`
	// CPU is in cores, over the time between two looks.
	CPU float64 `json:"cpu"`
	// Broker is what goes to and from the broker, in bytes per second.
	Broker sockets `json:"broker"`
	// Requests to the broker, by kind and per second.
	Requests map[string]rate `json:"requests,omitempty"`

	address netip.Addr
}

// rate is volume per second.
type rate struct {
	Requests float64 `json:"requests"`
	ToClient float64 `json:"toClient"`
	ToBroker float64 `json:"toBroker"`
}

// usage is one look at all processes; what counts up is still a count.
type usage struct {
	at        time.Time
	processes []process
	cpu       []float64
	wire      []map[string]volume
	machine   machine
}

// leaderName tells the controller that leads from the other.
const leaderName = "controller, leader"

// use looks at all processes.
func (b *bench) use(ctx context.Context) (*usage, error) {
	u := &usage{at: time.Now()}
	var err error
	if u.machine, err = lookAtMachine(); err != nil {
		return nil, err
	}
	open, err := socketsTo(b.broker.address)
	if err != nil {
		return nil, err
	}
	for _, i := range b.cluster.Instances("") {
		metrics, err := b.cluster.InstanceMetrics(ctx, i, "metrics")
		if err != nil {
			return nil, fmt.Errorf("metrics of %s: %w", i.Name(), err)
		}
		kernel, err := resourcesOf(i.PID())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", i.Name(), err)
		}
		p := process{
			Name:       i.Component(),
			RSS:        kernel.rss,
			Own:        kernel.rss - kernel.shared,
			Heap:       int64(sum(metrics, "go_memstats_heap_inuse_bytes")),
			Live:       int64(live(metrics)),
			Goroutines: int(sum(metrics, "go_goroutines")),
			Files:      kernel.files,
		}
		if p.Name == "controller" {
			p.Name = "controller, standby"
			if sum(metrics, "leader_election_master_status") > 0 {
				p.Name = leaderName
			}
		}
		if p.address, err = netip.ParseAddr(i.Address()); err != nil {
			return nil, err
		}
		p.Broker = open[p.address]
		u.processes = append(u.processes, p)
		u.cpu = append(u.cpu, kernel.cpu)
		if b.broker.wire != nil {
			u.wire = append(u.wire, b.broker.wire.from(p.address))
		}
	}
	return u, nil
}

// live is what the last garbage collection left, in bytes: the next one comes
// when so much more is there as the process's GOGC says.
func live(metrics map[string]*dto.MetricFamily) float64 {
	return sum(metrics, "go_memstats_next_gc_bytes") / (1 + sum(metrics, "go_gc_gogc_percent")/100)
}

// phase is what was used during a part of a run.
type phase struct {
	Processes []process `json:"processes"`
	// Machine is the CPU that each program used, in cores: the figures beside
	// it mean little where others kept the machine busy.
	Machine map[string]float64 `json:"machine"`
}

// since turns counts into rates since an earlier look.
func (u *usage) since(before *usage) phase {
	return phase{u.processesSince(before), u.machine.since(before.machine, u.at.Sub(before.at).Seconds())}
}

func (u *usage) processesSince(before *usage) []process {
	seconds := u.at.Sub(before.at).Seconds()
	var all []process
	for i, p := range u.processes {
		p.CPU = (u.cpu[i] - before.cpu[i]) / seconds
		p.Broker.ToClient = int64(float64(p.Broker.ToClient-before.processes[i].Broker.ToClient) / seconds)
		p.Broker.ToBroker = int64(float64(p.Broker.ToBroker-before.processes[i].Broker.ToBroker) / seconds)
		if u.wire != nil {
			p.Requests = map[string]rate{}
			for name, v := range u.wire[i] {
				d := v.minus(before.wire[i][name])
				if d.Requests > 0 {
					p.Requests[name] = rate{float64(d.Requests) / seconds, float64(d.ToClient) / seconds, float64(d.ToBroker) / seconds}
				}
			}
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b process) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// sum adds up all series of a metric.
func sum(metrics map[string]*dto.MetricFamily, name string, which ...func(labels map[string]string) bool) float64 {
	total := 0.0
	for _, m := range metrics[name].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if slices.ContainsFunc(which, func(yes func(map[string]string) bool) bool { return !yes(labels) }) {
			continue
		}
		total += m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue()
	}
	return total
}

// atRest measures what objects cost that have nothing to do.
func (b *bench) atRest(ctx context.Context) error {
	// The first mirror of an HPA's state comes a polling interval after Ready.
	settling := max(b.Rest/4, 45*time.Second)
	b.say("letting everything come to rest, %s", settling)
	if err := pause(ctx, settling); err != nil {
		return err
	}
	b.figures.Writes.Settled = b.writesSince(ctx)
	b.look("at rest")
	writes, err := b.writes(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	if b.figures.Rest, err = b.during(ctx, "at rest"); err != nil {
		return err
	}
	minutes := time.Since(begin).Minutes()
	for name, n := range b.writesAfter(ctx, writes) {
		if b.figures.Writes.PerMinuteAtRest == nil {
			b.figures.Writes.PerMinuteAtRest = map[string]float64{}
		}
		b.figures.Writes.PerMinuteAtRest[name] = n / minutes
	}
	return nil
}

// during waits for Rest and returns what was used meanwhile.
func (b *bench) during(ctx context.Context, what string) (phase, error) {
	before, err := b.use(ctx)
	if err != nil {
		return phase{}, err
	}
	b.say("%s, %s", what, b.Rest)
	if err := pause(ctx, b.Rest); err != nil {
		return phase{}, err
	}
	after, err := b.use(ctx)
	if err != nil {
		return phase{}, err
	}
	return after.since(before), nil
}

// atWork measures what objects cost that are all above zero, most of them at one
// replica, so that the HPA controller reads the metric of each every 15 s.
func (b *bench) atWork(ctx context.Context) error {
	// Those that had their metrics read are at ten replicas.
	if err := b.fleet.drain(ctx, numbers(0, b.Active)); err != nil {
		return err
	}
	b.say("waking all objects")
	begin := time.Now()
	err := parallel(ctx, b.Topics, func(ctx context.Context, topic int) error {
		return b.broker.produce(ctx, topicName(topic), 1)
	})
	if err != nil {
		return err
	}
	if err := b.fleet.wait(ctx, "replicas", b.fleet.all(), func(s seen) bool { return s.replicas >= 1 }); err != nil {
		return err
	}
	b.figures.AwakeSeconds = time.Since(begin).Seconds()
	// Some may have more: an HPA does not forget in minutes what it asked for.
	if err := b.fleet.wait(ctx, "Pods", b.fleet.all(), func(s seen) bool { return s.replicas >= 1 && s.settled }); err != nil {
		return err
	}
	if b.figures.Work, err = b.during(ctx, "all at work"); err != nil {
		return err
	}
	return b.fleet.drain(ctx, b.fleet.all())
}

// pause waits, which here is what is measured.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
