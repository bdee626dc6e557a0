package e2e

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
)

// rogue is a third party's scaler that goes wrong, for each trigger in a way of
// its own. Like most it does not stream metrics.
type rogue struct{ *script }

// goWrong begins it, and ends it with "".
func (r rogue) goWrong(name, way string) { r.change(name, func(c *counter) { c.wrong = way }) }

func (r rogue) way(ref *externalscaler.ScaledObjectRef) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counter(ref.GetScalerMetadata()["counter"]).wrong
}

func (r rogue) GetMetricSpec(ctx context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	answer, err := r.script.GetMetricSpec(ctx, ref)
	if err != nil {
		return nil, err
	}
	spec := answer.GetMetricSpecs()[0]
	switch r.way(ref) {
	case "names no metrics":
		answer.MetricSpecs = nil
	case "gives no target":
		spec.TargetSizeFloat = math.NaN()
	case "renames its metric":
		spec.MetricName = "renamed"
	case "says integers":
		spec.TargetSizeFloat, spec.TargetSize = 0, 4 //nolint:staticcheck // as old ones do
	}
	return answer, nil
}

func (r rogue) GetMetrics(ctx context.Context, request *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	answer, err := r.script.GetMetrics(ctx, request)
	if err != nil {
		return nil, err
	}
	value := answer.GetMetricValues()[0]
	switch r.way(request.GetScaledObjectRef()) {
	case "has no value":
		answer.MetricValues = nil
	case "says NaN":
		value.MetricValueFloat = math.NaN()
	case "says less than nothing":
		value.MetricValueFloat = -1
	case "says more than there can be":
		value.MetricValueFloat = 1e300
	case "says integers":
		value.MetricValueFloat, value.MetricValue = 0, int64(value.GetMetricValueFloat()) //nolint:staticcheck // as old ones do
	case "never answers":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return answer, nil
}

// StreamIsActive hangs up at once, or pulses while there is nothing to do.
func (r rogue) StreamIsActive(ref *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
	pulse := time.NewTicker(50 * time.Millisecond)
	defer pulse.Stop()
	for active := true; ; active = !active {
		way := r.way(ref)
		value, changed, err := r.read(ref)
		switch {
		case way == "hangs up":
			return nil
		case err != nil:
			return err
		case way != "flaps":
			active = value > 0
		}
		if err := stream.Send(&externalscaler.IsActiveResponse{Result: active}); err != nil {
			return err
		}
		next := pulse.C
		if way != "flaps" {
			next = nil
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-changed:
		case <-next:
		}
	}
}

// wrongdoing is one object whose scaler goes wrong in one way.
type wrongdoing struct {
	object
	way   string
	steps []int32 // that its replicas take in all
	// soon are the steps where the HPA looks again within 15 s: the four at once of
	// its defaults are counted from what there was at the beginning of that time.
	soon []int32
	// says is in Ready while they are held.
	says string
	// silent is set when the HPA is told of nothing, too.
	silent bool
	// wrong waits for what follows where nothing is held.
	wrong func(object)
}

// TestThirdPartiesThatGoWrong has a scaler answer with what is no answer, through
// family external and as a trigger type of its own. Unknown is never zero:
// replicas stay, the object says why, and it goes on when the scaler does. What
// can be understood counts, and pushes raise alone.
func TestThirdPartiesThatGoWrong(t *testing.T) {
	t.Parallel()
	r := rogue{&script{counters: map[string]*counter{}}}
	r.address = serveScaler(t, r)
	serve(t, "scaler-rogue", r.address)
	recorder, err := world.cluster.RecordReplicas(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(recorder.Stop)
	scaledTo := func(replicas int32) func(object) { return func(o object) { o.waitReplicas(replicas) } }
	renamed := func(o object) {
		o.wait("the HPA to follow", func() (bool, string) {
			hpa := o.hpa()
			return hpa != nil && slices.Equal(metricNames(hpa), []string{"s0-renamed"}), o.describe()
		})
	}
	ways := []wrongdoing{
		{way: "names no metrics", says: "GetMetricSpec: names no metrics", steps: []int32{6}},
		{way: "gives no target", says: "GetMetricSpec: metric count: target 0 is not greater than 0", steps: []int32{6}},
		{way: "has no value", says: "metric count: no data: the answer is empty", silent: true, steps: []int32{6}},
		{way: "says NaN", says: "metric count: no data: NaN is not a finite number", silent: true, steps: []int32{6}},
		{way: "never answers", says: "answer in time", silent: true, steps: []int32{6}},
		{way: "says less than nothing", wrong: scaledTo(1), steps: []int32{1, 5, 6}, soon: []int32{1, 6}},
		{way: "says more than there can be", wrong: scaledTo(7), steps: []int32{7, 6}},
		{way: "says integers", wrong: scaledTo(5), steps: []int32{5, 6}},
		{way: "renames its metric", wrong: renamed, steps: []int32{6}},
		{way: "hangs up", wrong: func(object) {}, steps: []int32{6}},
		{way: "flaps", wrong: scaledTo(1), steps: []int32{1, 5, 6}, soon: []int32{1, 6}},
	}
	ns := namespace(t)
	var all []wrongdoing
	for _, triggerType := range []string{"external-push", "rogue"} {
		for _, w := range ways {
			w.object = object{t, ns, strings.ReplaceAll(w.way, " ", "-") + "-" + triggerType}
			w.name = strings.ToLower(w.name)
			r.start(w, triggerType)
			all = append(all, w)
		}
	}
	// They wait side by side, so that all take no longer than one.
	for _, phase := range []func(wrongdoing){
		func(w wrongdoing) { w.waitCondition("Ready", "True", "") },
		func(w wrongdoing) { r.goWrong(w.name, w.way) },
		wrongdoing.follows,
		func(w wrongdoing) { r.mend(w) },
		func(w wrongdoing) { w.waitReplicas(6) },
		func(w wrongdoing) { w.waitCondition("Ready", "True", "") },
	} {
		for _, w := range all {
			phase(w)
		}
	}
	for _, w := range all {
		t.Run(w.name, func(t *testing.T) {
			var steps []int32
			for _, change := range recorder.Changes() {
				if change.Object() == w.target() {
					steps = append(steps, change.To)
				}
			}
			if !slices.Equal(steps, w.steps) && (w.soon == nil || !slices.Equal(steps, w.soon)) {
				t.Errorf("scaled to %v, want %v", steps, w.steps)
			}
		})
	}
}

// start makes an object with the work that its replicas are for.
func (r rogue) start(w wrongdoing, triggerType string) {
	replicas := int32(4)
	if w.way == "flaps" {
		replicas = 0
	}
	r.set(w.name, 5*float64(replicas))
	if w.way == "hangs up" {
		r.goWrong(w.name, w.way)
	}
	trigger := r.trigger(w.name, nil)
	if trigger.Type = triggerType; triggerType == "rogue" {
		delete(trigger.Metadata, "scalerAddress")
	}
	w.deployment(replicas)
	// Who took nothing for zero would be seen at once.
	atOnce := map[string]any{"scaleDown": map[string]any{"stabilizationWindowSeconds": 0}}
	w.apply(spec{
		// All wait for a minute side by side: a target that pulses do not keep from
		// rest goes there, and a busy machine has the time to hear of them.
		"pollingInterval": 1, "cooldownPeriod": 10, "maxReplicaCount": 7, "triggers": triggers(trigger),
		"advanced": map[string]any{"horizontalPodAutoscalerConfig": map[string]any{"behavior": atOnce}},
	})
}

// follows waits for what the scaler's going wrong leads to.
func (w wrongdoing) follows() {
	if w.wrong != nil {
		w.wrong(w.object)
		return
	}
	w.waitCondition("Ready", "False", w.says)
	if w.silent {
		w.wait("the HPA to miss the metric", func() (bool, string) {
			return w.condition("HPAActive")["status"] == "False", w.describe()
		})
	}
}

// mend has the scaler say what is true, which is more work than before.
func (r rogue) mend(w wrongdoing) {
	if w.way != "hangs up" {
		r.goWrong(w.name, "")
	}
	r.set(w.name, 30)
}
