package ui

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const (
	// MostInstances is how many instances are asked, instancesAtOnce how many at
	// once.
	MostInstances   = 100
	instancesAtOnce = 8
	// instanceTime is how long each may take.
	instanceTime = 5 * time.Second
)

// Instance is one Pod of a family, and how its metrics are asked for. Get is nil
// where it cannot be asked, which Problem explains.
type Instance struct {
	Family, Pod, Problem string
	Ready                bool
	Get                  func(ctx context.Context) ([]byte, error)
}

// Looks asks instances of families again and again. It is safe for concurrent use.
type Looks struct {
	// Instances are those that there are.
	Instances func(ctx context.Context) ([]Instance, error)

	mu   sync.Mutex
	last map[string]look // by Pod
}

// look is what an instance told at a time.
type look struct {
	at     time.Time
	series map[string]*dto.MetricFamily
}

// Families asks all of them.
func (l *Looks) Families(ctx context.Context) ([]Family, error) {
	listing, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	instances, err := l.Instances(listing)
	if err != nil {
		return nil, err
	}
	instances = instances[:min(len(instances), MostInstances)]
	all := make([]Family, len(instances))
	looks := make([]look, len(instances))
	var asking sync.WaitGroup
	places := make(chan struct{}, instancesAtOnce)
	for i, one := range instances {
		all[i] = Family{Family: one.Family, Pod: one.Pod, Ready: one.Ready, Problem: one.Problem}
		if one.Get == nil {
			continue
		}
		places <- struct{}{}
		asking.Go(func() {
			defer func() { <-places }()
			told, err := read(ctx, one)
			if err != nil {
				all[i].Problem = err.Error()
				return
			}
			looks[i] = told
		})
	}
	asking.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	last := map[string]look{}
	for i := range all {
		if looks[i].series != nil {
			all[i].tell(looks[i], l.last[all[i].Pod])
			last[all[i].Pod] = looks[i]
		}
	}
	l.last = last
	slices.SortFunc(all, func(a, b Family) int { return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Pod, b.Pod)) })
	return all, ctx.Err()
}

func read(ctx context.Context, one Instance) (look, error) {
	ctx, cancel := context.WithTimeout(ctx, instanceTime)
	defer cancel()
	text, err := one.Get(ctx)
	if err != nil {
		return look{}, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	series, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	return look{time.Now(), series}, err
}

// tell takes what an instance tells now, and what became of it since it was asked
// last.
func (f *Family) tell(now, before look) {
	sum := func(of look, name, label, value string) *float64 {
		family := of.series[name]
		if family == nil {
			return nil
		}
		total := 0.0
		for _, m := range family.GetMetric() {
			if label != "" && !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == label && l.GetValue() == value }) {
				continue
			}
			total += m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue()
		}
		return &total
	}
	rate := func(label, value string) *float64 {
		a, b := sum(before, "sluice_scaler_reads_total", label, value), sum(now, "sluice_scaler_reads_total", label, value)
		seconds := now.at.Sub(before.at).Seconds()
		if a == nil || b == nil || *b < *a || seconds <= 0 {
			return nil
		}
		rate := (*b - *a) / seconds
		return &rate
	}
	f.Questions = sum(now, "sluice_scaler_questions", "", "")
	f.Subscriptions = sum(now, "sluice_scaler_subscriptions", "", "")
	f.Connections = sum(now, "sluice_scaler_shared_connections", "", "")
	// What the limit is about: all but what was given back.
	if all, back := sum(now, "go_memstats_sys_bytes", "", ""), sum(now, "go_memstats_heap_released_bytes", "", ""); all != nil && back != nil {
		has := *all - *back
		f.Memory = &has
	}
	f.MemoryLimit = sum(now, "go_gc_gomemlimit_bytes", "", "")
	if f.MemoryLimit != nil && *f.MemoryLimit >= math.MaxInt64 {
		f.MemoryLimit = nil
	}
	f.Reads, f.Errors = rate("", ""), rate("outcome", "error")
	took, total := took(now, before)
	f.Median, f.P99 = quantile(took, total, 0.5), quantile(took, total, 0.99)
}

// took is how many reads since before took no longer than each bound, and how many
// there were.
func took(now, before look) (map[float64]float64, float64) {
	const name = "sluice_scaler_read_duration_seconds"
	within, total := map[float64]float64{}, 0.0
	for sign, of := range map[float64]look{1: now, -1: before} {
		for _, m := range of.series[name].GetMetric() {
			total += sign * float64(m.GetHistogram().GetSampleCount())
			for _, b := range m.GetHistogram().GetBucket() {
				within[b.GetUpperBound()] += sign * float64(b.GetCumulativeCount())
			}
		}
	}
	return within, total
}

// quantile is the bound that a part of the reads is within, nil where there were
// none or none of the bounds is.
func quantile(within map[float64]float64, total, part float64) *float64 {
	if total <= 0 {
		return nil
	}
	for _, bound := range slices.Sorted(maps.Keys(within)) {
		if within[bound] >= part*total && !math.IsInf(bound, 1) {
			return &bound
		}
	}
	return nil
}
