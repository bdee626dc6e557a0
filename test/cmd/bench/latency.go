package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// full is how many replicas an event asks for.
const full = 10

// latency is the time from the producer's acknowledgement to replicas.
type latency struct {
	Events int `json:"events"`
	// First is until spec.replicas is at least 1, Full until it is 10, for
	// each object.
	First quantiles `json:"first"`
	Full  quantiles `json:"full"`
	// Steps say where the time until the first replica goes, each since the
	// one before.
	Steps []named `json:"steps,omitempty"`
	// Machine is the CPU that each program used meanwhile, in cores.
	Machine map[string]float64 `json:"machine"`
}

// named is one step on the way.
type named struct {
	Name string    `json:"name"`
	Took quantiles `json:"took"`
}

// events measures events of objects that are alone on their topic, one at a
// time and in groups, and events that wake all objects of a shared topic.
func (b *bench) events(ctx context.Context) error {
	alone := numbers(0, b.alone())
	b.say("%d events, one at a time", b.Events)
	single, err := b.rounds(ctx, b.Events, alone, 1)
	if err != nil {
		return err
	}
	b.figures.Single = single
	b.say("%d events, %d at once", b.Events, b.AtOnce)
	if b.figures.AtOnce, err = b.rounds(ctx, b.Events, alone, b.AtOnce); err != nil {
		return err
	}
	shared := numbers(b.alone(), b.Topics) // the first object of each shared topic
	b.say("events on %d shared topics, one at a time", b.sharedEvents())
	b.figures.Shared, err = b.rounds(ctx, b.sharedEvents(), shared, 1)
	return err
}

// sharedEvents are events on shared topics: enough for figures of two hundred
// objects, each of which costs the control plane ten Pods.
func (o options) sharedEvents() int {
	topics := o.Topics - o.alone()
	each := max(1, (o.Objects-o.alone())/topics)
	return max(3, min(topics, 20, 200/each))
}

// rounds measures n events on the topics of some objects, so many at once.
// An object that had its turn goes back to zero before the next one.
func (b *bench) rounds(ctx context.Context, n int, objects []int, atOnce int) (latency, error) {
	var all []sample
	idle, err := lookAtMachine()
	if err != nil {
		return latency{}, err
	}
	begin, events := time.Now(), 0
	for events < n {
		rand.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
		used := objects[:min(n-events, len(objects))]
		for group := range slices.Chunk(used, atOnce) {
			samples, err := b.together(ctx, group)
			if err != nil {
				return latency{}, err
			}
			all = append(all, samples...)
			// What Pods cost the control plane is not the next event's.
			if err := b.fleet.wait(ctx, "Pods", b.sharing(group), hasPods(full)); err != nil {
				return latency{}, err
			}
			// Events come at any time, not in step with anything of ours.
			if err := pause(ctx, rand.N(300*time.Millisecond)); err != nil {
				return latency{}, err
			}
		}
		events += len(used)
		if err := b.fleet.drain(ctx, used); err != nil {
			return latency{}, err
		}
	}
	busy, err := lookAtMachine()
	l := summarize(events, all)
	l.Machine = busy.since(idle, time.Since(begin).Seconds())
	return l, err
}

// sample is what one object did about one event.
type sample struct {
	first, full time.Duration
	steps       [steps]time.Duration // since the acknowledgement; 0 for not seen
}

// together produces for some objects at once and waits until all that look at
// their topics have all their replicas.
func (b *bench) together(ctx context.Context, objects []int) ([]sample, error) {
	woken := b.sharing(objects)
	earlier := map[int]seen{}
	for _, i := range woken {
		earlier[i] = b.fleet.of(objectName(i))
	}
	var trail *trail
	if b.broker.wire != nil && len(objects) == 1 && len(woken) == 1 {
		trail = follow(b.broker.wire, topicName(b.topicOf(objects[0])), b.families())
	}
	acknowledged := make([]time.Time, b.Topics)
	err := parallel(ctx, len(objects), func(ctx context.Context, i int) error {
		topic := b.topicOf(objects[i])
		err := b.broker.produce(ctx, topicName(topic), full*perReplica)
		acknowledged[topic] = time.Now()
		return err
	})
	if err != nil {
		return nil, err
	}
	err = b.fleet.wait(ctx, "replicas", woken, func(s seen) bool { return s.replicas >= full })
	marks := trail.end()
	if err != nil {
		return nil, err
	}
	if trail != nil { // the two watches are not in step
		was := earlier[objects[0]].activations
		if err := b.fleet.wait(ctx, "status.activation", objects, func(s seen) bool { return s.activations != was }); err != nil {
			return nil, err
		}
	}
	var samples []sample
	for _, i := range woken {
		s := b.fleet.of(objectName(i))
		ack := acknowledged[b.topicOf(i)]
		one := sample{}
		for _, change := range s.history[len(earlier[i].history):] {
			took := change.at.Sub(ack)
			if change.to >= 1 && one.first == 0 {
				one.first = took
			}
			if change.to >= full && one.full == 0 {
				one.full = took
			}
		}
		for step, at := range marks {
			if !at.IsZero() {
				one.steps[step] = at.Sub(ack)
			}
		}
		if trail != nil {
			one.steps[written], one.steps[told] = one.first, s.activatedAt.Sub(ack)
		}
		samples = append(samples, one)
	}
	return samples, nil
}

// sharing are all objects that look at the topics of some.
func (o options) sharing(some []int) []int {
	var all []int
	for i := range o.Objects {
		if slices.ContainsFunc(some, func(s int) bool { return o.topicOf(s) == o.topicOf(i) }) {
			all = append(all, i)
		}
	}
	return all
}

// families are the addresses of the families' processes.
func (b *bench) families() []netip.Addr {
	var all []netip.Addr
	for _, i := range b.cluster.Instances("scaler-kafka") {
		if address, err := netip.ParseAddr(i.Address()); err == nil {
			all = append(all, address)
		}
	}
	return all
}

// The steps from an event to a replica.
const (
	rung = iota
	reading
	read
	written
	told
	steps
)

var stepNames = [steps]string{
	rung:    "acknowledgement -> broker answers the parked fetch",
	reading: "-> family asks for the lag",
	read:    "-> broker has answered all",
	written: "-> watch shows spec.replicas",
	told:    "-> watch shows status.activation",
}

// Kinds of request, by their numbers in Kafka's protocol.
const (
	fetchKey       = 1
	listOffsetsKey = 2
	metadataKey    = 3
	offsetFetchKey = 9
)

// trail is what the broker saw of one event.
type trail struct {
	wire  *wire
	mu    sync.Mutex
	marks [steps]time.Time
}

// follow watches for the traces of one event on a topic.
func follow(w *wire, topic string, families []netip.Addr) *trail {
	t := &trail{wire: w}
	name := []byte(topic)
	w.tell(func(f frame) {
		// Of topics with longer names that begin the same, there is no event.
		if !slices.Contains(families, f.client) || !bytes.Contains(f.body, name) && f.key != offsetFetchKey {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		switch {
		case f.key == fetchKey && f.answer && t.marks[rung].IsZero():
			t.marks[rung] = f.at
		case t.marks[rung].IsZero():
		case f.key == metadataKey && !f.answer && t.marks[reading].IsZero():
			t.marks[reading] = f.at
		case !t.marks[reading].IsZero() && t.marks[read].IsZero() && f.key == listOffsetsKey && f.answer:
			t.marks[read] = f.at
		}
	})
	return t
}

// end stops watching and returns what was seen; a nil trail saw nothing.
func (t *trail) end() [steps]time.Time {
	if t == nil {
		return [steps]time.Time{}
	}
	t.wire.tell(nil)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.marks
}

func summarize(events int, samples []sample) latency {
	var first, whole []time.Duration
	var between [steps][]time.Duration
	for _, s := range samples {
		first, whole = append(first, s.first), append(whole, s.full)
		if slices.Contains(s.steps[:], 0) {
			continue // something was not seen, so nothing can be said
		}
		before := time.Duration(0)
		for step, at := range s.steps {
			between[step] = append(between[step], at-before)
			before = at
		}
	}
	l := latency{Events: events, First: quantilesOf(first), Full: quantilesOf(whole)}
	for step, took := range between {
		if len(took) > 0 {
			l.Steps = append(l.Steps, named{stepNames[step], quantilesOf(took)})
		}
	}
	return l
}
