package federation

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// inHeap is what is in memory and not garbage.
func inHeap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// crowd is triggers of one namespace at one family, of which a test has it say what
// it likes.
type crowd struct {
	*Federation
	watcher *watcher
	names   []string
}

func newCrowd(n, memory int, parameters int) *crowd {
	f := New(Config{MostOfNamespace: n, Memory: memory})
	c := &crowd{Federation: f, watcher: newWatcher(&instance{fed: f})}
	c.watcher.inst.subscriber = c.watcher
	for i := range n {
		one := trigger("kafka", i/100)
		one.Namespace, one.Index, one.Metadata = "flood", i%100, map[string]string{}
		for p := range parameters {
			one.Metadata[fmt.Sprint("p", p)] = ""
		}
		if !f.Subscribe(one) {
			break
		}
		sub := f.subs[one.String()]
		sub.current = &assignment{sub: sub, inst: c.watcher.inst, subscriber: c.watcher, generation: one.Generation}
		c.watcher.assign(sub.current)
		c.names = append(c.names, sub.id)
	}
	return c
}

// hear takes a frame as it comes from the wire, in memory of its own.
func (c *crowd) hear(t *testing.T, frame *scalerv1.WatchResponse) {
	t.Helper()
	text, err := proto.Marshal(frame)
	if err != nil {
		t.Fatal(err)
	}
	heard := &scalerv1.WatchResponse{}
	if err := proto.Unmarshal(text, heard); err != nil {
		t.Fatal(err)
	}
	c.watcher.handle(heard, c.clock.Now())
}

// tell has the family say of a trigger so much.
func (c *crowd) tell(t *testing.T, id string, warnings, metrics int, text string) {
	t.Helper()
	accepted := &scalerv1.Accepted{Id: id, Generation: 1}
	for i := range warnings {
		accepted.Warnings = append(accepted.Warnings, fmt.Sprint(text, i))
	}
	c.hear(t, &scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Accepted{Accepted: accepted}})
	specs := &scalerv1.Specs{Id: id, Generation: 1}
	observed := &scalerv1.Observation{Id: id, Generation: 1, Outcome: scalerv1.Outcome_OUTCOME_VALUE, DetectionNote: text}
	for i := range metrics {
		name := fmt.Sprint("m", i, text)
		specs.Specs = append(specs.Specs, &externalscaler.MetricSpec{MetricName: name, TargetSizeFloat: 5})
		observed.Values = append(observed.Values, &scalerv1.Value{MetricName: name, Value: 1})
	}
	c.hear(t, &scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Specs{Specs: specs}})
	c.hear(t, &scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Observation{Observation: observed}})
}

// part is which part of the triggers, and of the memory, a test has.
const part = 20

// What 10,000 triggers of a namespace take in memory is what is counted for them,
// however large they are and whatever is said of them: a family, or a server of the
// tenant's own behind it, may say as much as it likes.
func TestWhatIsKeptOfTriggersIsCounted(t *testing.T) {
	const n, memory = 10_000 / part, 512 << 20 / 10 * 9 / 8 / part
	for name, says := range map[string]struct {
		parameters, warnings, metrics int
		text                          string
	}{
		"little":           {2, 0, 1, "lag-of-orders"},
		"many parameters":  {57, 0, 1, "x"},
		"warnings":         {2, 100, 1, "unknown key"},
		"metrics":          {2, 0, 100, strings.Repeat("x", 37)},
		"all there may be": {57, 100, 100, strings.Repeat("x", 37)},
		"long notes":       {2, 0, 2, strings.Repeat("x", 1900)},
	} {
		before := inHeap()
		c := newCrowd(n, memory, says.parameters)
		for _, id := range c.names {
			c.tell(t, id, says.warnings, says.metrics, says.text)
		}
		for _, ok := c.notifier.next(); ok; _, ok = c.notifier.next() {
		}
		took, counted := inHeap()-before, c.places.bytes
		t.Logf("%s: of %d triggers %d bytes each are counted, and %d taken", name, len(c.names), counted/len(c.names), took/len(c.names))
		if took > counted*11/10 {
			t.Errorf("%s: %d MiB are counted of %d", name, counted>>20, took>>20)
		}
		if counted > memory {
			t.Errorf("%s: %d MiB are kept of the %d that there are for all namespaces", name, counted>>20, memory>>20)
		}
		if name == "little" && len(c.names) < n {
			t.Errorf("a namespace has no more than %d ordinary triggers", len(c.names))
		}
		for _, id := range c.names {
			c.Unsubscribe(c.subs[id].trigger.ID)
		}
		if len(c.places.of) != 0 || c.places.bytes != 0 || len(c.places.silent) != 0 {
			t.Errorf("%s: %v, %d and %v are left", name, c.places.of, c.places.bytes, c.places.silent)
		}
	}
}

// Of a trigger for which there is no room for all that is said of it words go first,
// and then everything, which its state says. It is heard again once there is room.
func TestThereIsNoRoomForAllThatIsSaid(t *testing.T) {
	c := newCrowd(4, 20*SubscriptionBytes, 0)
	state := func(i int) State {
		s, ok := c.State(c.subs[c.names[i]].trigger.ID)
		if !ok {
			t.Fatalf("trigger %d is not kept", i)
		}
		return s
	}
	long := strings.Repeat("x", 300)
	c.tell(t, c.names[0], 0, 10, long)
	c.tell(t, c.names[1], 0, 1, "lag")
	c.tell(t, c.names[2], 1, 1, long)
	c.tell(t, c.names[3], 0, 15, strings.Repeat("x", 150))
	if s := state(0); len(s.Values) != 10 || s.Note != long {
		t.Errorf("of the first are kept %d values, and %q", len(s.Values), s.Note)
	}
	if s := state(1); len(s.Values) != 1 || s.Values[0].Metric != "m0lag" {
		t.Errorf("an ordinary one is %+v", s)
	}
	if s := state(2); len(s.Values) != 1 || !slices.Equal(s.Warnings, noRoomForWarnings) || len(s.Note) > shortest+3 {
		t.Errorf("of one without room for words are kept %d values, %q, and %q", len(s.Values), s.Warnings, s.Note)
	}
	if s := state(3); s.HaveSpecs || s.Outcome != scaling.Failed || status.Code(s.Err) != codes.ResourceExhausted || !strings.Contains(s.Err.Error(), "namespace flood") {
		t.Errorf("one without room for its metrics is %+v", s)
	}
	c.hear(t, &scalerv1.WatchResponse{Response: &scalerv1.WatchResponse_Observation{Observation: &scalerv1.Observation{
		Id: c.names[3], Generation: 1, Outcome: scalerv1.Outcome_OUTCOME_VALUE, Values: []*scalerv1.Value{{MetricName: "m", Value: 1}},
	}}})
	if s := state(3); s.Outcome != scaling.Failed || s.Values != nil {
		t.Errorf("without its metrics it is %+v", s)
	}
	if got := c.places.anew(c.clock.Now()); len(got) != 0 {
		t.Errorf("%d are told of anew while there is no room", len(got))
	}
	was := c.subs[c.names[3]].current
	c.Unsubscribe(c.subs[c.names[0]].trigger.ID)
	c.places.heard = c.places.heard.Add(-silenceCheck)
	c.mu.Lock()
	c.hearAnew()
	c.mu.Unlock()
	if now := c.subs[c.names[3]].current; now == was || c.watcher.assignments[c.names[3]] != now || !was.closed {
		t.Error("it is not told of anew once there is room")
	}
	c.tell(t, c.names[3], 0, 15, strings.Repeat("x", 150))
	if s := state(3); len(s.Values) != 15 || s.Err != nil {
		t.Errorf("it is %+v", s)
	}
}

// A trigger takes as many bytes as its parameters have, also once it grows.
func TestLargeTriggersTakeMoreMemory(t *testing.T) {
	c := newCrowd(100, 100*SubscriptionBytes, 100)
	if n := len(c.names); n > 30 || n < 10 {
		t.Errorf("%d triggers of 100 parameters are kept in %d bytes", n, c.places.bytes)
	}
	refused := trigger("kafka", 1)
	refused.Namespace = "flood"
	if s, ok := c.State(refused.ID); !ok || !s.Unkept || status.Code(s.Unreachable) != codes.ResourceExhausted {
		t.Errorf("one without room is %+v", s)
	}
	grown := c.subs[c.names[0]].snapshot()
	grown.Generation++
	grown.Metadata = map[string]string{"x": strings.Repeat("x", 100*SubscriptionBytes)}
	if c.Subscribe(grown) {
		t.Error("one that grew is kept")
	}
}
