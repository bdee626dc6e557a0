package e2e

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	"github.com/sluice-autoscaler/sluice/test/localcluster"
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
	if r.way(ref) == "hangs up" {
		return nil
	}
	pulse := time.NewTicker(50 * time.Millisecond)
	defer pulse.Stop()
	for active := true; r.way(ref) == "flaps"; active = !active {
		if err := stream.Send(&externalscaler.IsActiveResponse{Result: active}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-pulse.C:
		}
	}
	return r.script.StreamIsActive(ref, stream)
}

// TestThirdPartiesThatGoWrong has a scaler answer with what is no answer, through
// the families' external triggers and as a type of its own. Unknown is never
// zero: replicas stay, the object says why, and it goes on when the scaler does.
// What can be understood counts.
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
	w := wrongdoing{rogue: r, recorder: recorder, namespace: namespace(t)}
	for way, test := range map[string]func(*testing.T, wrongdoing){
		"names no metrics":            held("GetMetricSpec: names no metrics", false),
		"gives no target":             held("GetMetricSpec: metric count: target 0 is not greater than 0", false),
		"has no value":                held("metric count: no data: the answer is empty", true),
		"says NaN":                    held("metric count: no data: NaN is not a finite number", true),
		"never answers":               held("answer in time", true),
		"says less than nothing":      understood(1),
		"says more than there can be": understood(7),
		"says integers":               understood(5),
		"renames its metric":          renamed,
		"hangs up":                    unheard,
		"flaps":                       flapping,
	} {
		for _, triggerType := range []string{"external-push", "rogue"} {
			name := fmt.Sprintf("%s-%s", strings.ReplaceAll(way, " ", "-"), triggerType)
			t.Run(way+" to "+triggerType, func(t *testing.T) {
				t.Parallel()
				w := w
				w.object, w.way, w.triggerType = object{t, w.namespace, strings.ToLower(name)}, way, triggerType
				test(t, w)
			})
		}
	}
}

// wrongdoing is one object whose scaler goes wrong in one way.
type wrongdoing struct {
	rogue
	object
	recorder         *localcluster.ReplicaRecorder
	namespace        string
	way, triggerType string
}

// start makes the object with replicas and the number of jobs that they are for.
func (w wrongdoing) start(replicas int32, jobs float64) {
	w.t.Helper()
	w.set(w.name, jobs)
	trigger := w.rogue.trigger(w.name, nil)
	if trigger.Type = w.triggerType; trigger.Type == "rogue" {
		delete(trigger.Metadata, "scalerAddress")
	}
	w.deployment(replicas)
	// Who took nothing for zero would be seen at once.
	atOnce := map[string]any{"scaleDown": map[string]any{"stabilizationWindowSeconds": 0}}
	w.apply(spec{
		"pollingInterval": 1, "cooldownPeriod": 3, "maxReplicaCount": 7, "triggers": triggers(trigger),
		"advanced": map[string]any{"horizontalPodAutoscalerConfig": map[string]any{"behavior": atOnce}},
	})
	w.waitCondition("Ready", "True", "")
}

// steps are all numbers of replicas that the target was scaled to.
func (w wrongdoing) steps() []int32 {
	var steps []int32
	for _, change := range w.recorder.Changes() {
		if change.Object() == w.target() {
			steps = append(steps, change.To)
		}
	}
	return steps
}

func (w wrongdoing) wantSteps(want ...int32) {
	w.t.Helper()
	if have := w.steps(); !slices.Equal(have, want) {
		w.t.Errorf("%s was scaled to %v, want %v", w.target(), have, want)
	}
}

// held expects the replicas to stay and Ready to say why; with silent the HPA is
// told of nothing, too.
func held(says string, silent bool) func(*testing.T, wrongdoing) {
	return func(_ *testing.T, w wrongdoing) {
		w.start(4, 20)
		w.goWrong(w.name, w.way)
		w.waitCondition("Ready", "False", says)
		if silent {
			w.wait("the HPA to miss the metric", func() (bool, string) {
				return w.condition("HPAActive")["status"] == "False", w.describe()
			})
		}
		w.goWrong(w.name, "")
		w.set(w.name, 30)
		w.waitReplicas(6)
		w.waitCondition("Ready", "True", "")
		w.wantSteps(6)
	}
}

// understood expects what the scaler says to count.
func understood(replicas int32) func(*testing.T, wrongdoing) {
	return func(_ *testing.T, w wrongdoing) {
		w.start(4, 20)
		w.goWrong(w.name, w.way)
		w.waitReplicas(replicas)
		w.waitCondition("Ready", "True", "")
		w.wantSteps(replicas)
	}
}

func renamed(_ *testing.T, w wrongdoing) {
	w.start(4, 20)
	w.goWrong(w.name, w.way)
	w.wait("the HPA to follow", func() (bool, string) {
		hpa := w.hpa()
		return hpa != nil && slices.Equal(metricNames(hpa), []string{"s0-renamed"}), w.describe()
	})
	w.set(w.name, 30)
	w.waitReplicas(6)
	w.waitCondition("Ready", "True", "")
	w.wantSteps(6)
}

// unheard polls a scaler whose stream ends whenever it is opened.
func unheard(_ *testing.T, w wrongdoing) {
	w.goWrong(w.name, w.way)
	w.start(0, 0)
	w.set(w.name, 30)
	w.waitReplicas(6)
	w.waitCondition("Ready", "True", "")
	w.set(w.name, 0)
	w.waitReplicas(0)
	w.wantSteps(6, 0)
}

// flapping raises, and lowers nothing as long as it goes on: that is for the
// polls, which have said all the time that there is nothing to do.
func flapping(_ *testing.T, w wrongdoing) {
	w.start(0, 0)
	w.goWrong(w.name, w.way)
	w.set(w.name, 0) // has the stream that stands look again
	w.waitReplicas(1)
	w.goWrong(w.name, "")
	w.waitReplicas(0)
	w.wantSteps(1, 0)
}

