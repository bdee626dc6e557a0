package main

import (
	"context"
	"time"
)

// rushReplicas is what each object of a rush has work for: more than one, so that
// the rise is recorded for the HPA.
const rushReplicas = 2

// rushFigures are about objects that all get work in one moment.
type rushFigures struct {
	// Woken is until an object has its replicas, Told until its status has the
	// record of them, HPA or not.
	Woken quantiles `json:"woken"`
	Told  quantiles `json:"told"`
	// Writes are of ours, per object, until all of that was done.
	Writes map[string]float64 `json:"writesPerWake"`
	// Machine is the CPU that each program used until the last was woken.
	Machine map[string]float64 `json:"machine"`
}

// rush wakes all objects at once.
func (b *bench) rush(ctx context.Context) error {
	b.say("work for %d replicas of each of %d objects, at once", rushReplicas, b.Objects)
	earlier := map[int]seen{}
	for _, i := range b.fleet.all() {
		earlier[i] = b.fleet.of(objectName(i))
	}
	writes, err := b.writes(ctx)
	if err != nil {
		return err
	}
	idle, err := lookAtMachine()
	if err != nil {
		return err
	}
	begin := time.Now()
	err = parallel(ctx, b.Topics, func(ctx context.Context, topic int) error {
		return b.broker.produce(ctx, topicName(topic), rushReplicas*perReplica)
	})
	if err != nil {
		return err
	}
	if err := b.fleet.wait(ctx, "replicas", b.fleet.all(), func(s seen) bool { return s.replicas >= rushReplicas }); err != nil {
		return err
	}
	busy, err := lookAtMachine()
	if err != nil {
		return err
	}
	b.figures.Rush.Machine = busy.since(idle, time.Since(begin).Seconds())
	var woken, told []time.Duration
	for _, i := range b.fleet.all() {
		was := earlier[i].activations
		if err := b.fleet.wait(ctx, "status.activation", []int{i}, func(s seen) bool { return s.activations != was }); err != nil {
			return err
		}
		s := b.fleet.of(objectName(i))
		told = append(told, s.activatedAt.Sub(begin))
		for _, change := range s.history[len(earlier[i].history):] {
			if change.to >= rushReplicas {
				woken = append(woken, change.at.Sub(begin))
				break
			}
		}
	}
	b.figures.Rush.Woken, b.figures.Rush.Told = quantilesOf(woken), quantilesOf(told)
	b.figures.Rush.Writes = b.perObject(b.writesAfter(ctx, writes))
	if err := b.fleet.wait(ctx, "Pods", b.fleet.all(), func(s seen) bool { return s.settled }); err != nil {
		return err
	}
	return b.fleet.drain(ctx, b.fleet.all())
}

func (f rushFigures) print(line func(string, ...any)) {
	line("\nwork for %d replicas of all objects at once, until each has them\t%s", rushReplicas, f.Woken)
	line("  until its status has the record\t%s", f.Told)
	line("  machine until the last was woken, in cores: %s", cores(f.Machine))
	for _, name := range sortedKeys(f.Writes) {
		line("  API writes per object, %s\t%.2f", name, f.Writes[name])
	}
}
