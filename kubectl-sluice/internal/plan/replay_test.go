package plan

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

var began = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

const rabbitmq = "type: rabbitmq, metadata: {protocol: amqp, queueName: orders, mode: QueueLength, value: '5', hostFromEnv: RABBITMQ}"

// side is a spec with one trigger, or with other fields.
func side(t *testing.T, spec string) *Side {
	t.Helper()
	if !strings.Contains(spec, "triggers:") {
		spec += ", triggers: [{" + rabbitmq + "}]"
	}
	so := &v1alpha1.ScaledObject{}
	head, annotations := "metadata: {name: orders, namespace: shop", ""
	if i := strings.Index(spec, "annotations:"); i >= 0 {
		spec, annotations = spec[:i]+"maxReplicaCount: 10"+spec[strings.LastIndex(spec, "}, triggers")+1:], ", "+spec[i:strings.LastIndex(spec, "}, triggers")+1]
	}
	text := head + annotations + "}\nspec: {scaleTargetRef: {name: orders}, " + strings.TrimPrefix(spec, ", ") + "}"
	if err := yaml.UnmarshalStrict([]byte(text), so); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return &Side{Name: "spec", Object: so}
}

// recorded are values of trigger 0 by the second: NaN is no data, -1 an error.
func recorded(values map[int]float64) *Recording {
	r := &Recording{From: "test", Series: map[string][]Point{}}
	for second, v := range values {
		p := Point{At: began.Add(time.Duration(second) * time.Second), Outcome: scaling.Value, Value: v}
		switch {
		case math.IsNaN(v):
			p.Outcome, p.Value = scaling.NoData, 0
		case v == -1:
			p.Outcome, p.Value = scaling.Failed, 0
		}
		r.Series["0"] = append(r.Series["0"], p)
	}
	slices.SortFunc(r.Series["0"], byTime)
	return r
}

var usual = Options{SyncPeriod: 15 * time.Second, StartTime: 20 * time.Second}

// replayed are the changes in seconds since the beginning: "60 controller 0>5".
func replayed(t *testing.T, s *Side, r *Recording, o Options) (*Outcome, []string) {
	t.Helper()
	report, err := Run(t.Context(), r, nil, s, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, c := range report.After.Changes {
		all = append(all, fmt.Sprintf("%.0f %s %d>%d", c.At.Sub(began).Seconds(), c.By, c.From, c.To))
	}
	return report.After, all
}

// TestReplays has cases that were worked out by hand.
func TestReplays(t *testing.T) {
	burst := map[int]float64{0: 0, 60: 25, 600: 0, 1800: 0}
	for name, tt := range map[string]struct {
		spec    string
		values  map[int]float64
		options func(*Options)
		want    []string
	}{
		// It is read every 30 s at rest and every 15 s at work. It was active last
		// at 585 s, and 300 s later it may go.
		"a burst": {spec: "maxReplicaCount: 10", values: burst, want: []string{"60 controller 0>5", "885 controller 5>0"}},
		// 70 comes at 70 s, and is read at 90.
		"noticed when it is read": {spec: "maxReplicaCount: 10", values: map[int]float64{0: 0, 70: 5, 120: 5}, want: []string{"90 controller 0>1"}},
		"a shorter cooldown":      {spec: "maxReplicaCount: 10, cooldownPeriod: 60", values: burst, want: []string{"60 controller 0>5", "645 controller 5>0"}},
		// Nothing the HPA has seen asks for less than 5 before 900 s: what it saw at
		// 585 s counts until then.
		"the HPA's window": {spec: "minReplicaCount: 1, maxReplicaCount: 10", values: burst,
			want: []string{"60 hpa 1>4", "75 hpa 4>5", "900 hpa 5>1"}},
		"no window and a policy": {spec: "minReplicaCount: 1, maxReplicaCount: 10, advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 0, policies: [{type: Pods, value: 2, periodSeconds: 60}]}}}}", values: burst,
			want: []string{"60 hpa 1>5", "600 hpa 5>3", "660 hpa 3>1"}},
		"the most": {spec: "maxReplicaCount: 3", values: burst, want: []string{"60 controller 0>3", "885 controller 3>0"}},
		"idle":     {spec: "idleReplicaCount: 0, minReplicaCount: 2, maxReplicaCount: 10", values: burst, want: []string{"60 controller 0>5", "885 controller 5>0"}},
		// The HPA has a minimum of its own.
		"idle with replicas": {
			spec: "idleReplicaCount: 1, minReplicaCount: 2, maxReplicaCount: 10", values: map[int]float64{0: 0, 20: 0},
			want: []string{"0 hpa 1>2", "0 controller 2>1", "15 hpa 1>2", "15 controller 2>1"},
		},
		"an activation threshold": {spec: "maxReplicaCount: 10, triggers: [{" + strings.Replace(rabbitmq, "value:", "activationValue: '25', value:", 1) + "}]", values: burst},
		"by one, as KEDA":         {spec: "annotations: {sluice.dev/activation: one}", values: burst, want: []string{"60 controller 0>1", "60 hpa 1>4", "75 hpa 4>5", "885 controller 5>0"}},
		"paused":                  {spec: "annotations: {autoscaling.keda.sh/paused: 'true'}", values: burst},
		"pinned":                  {spec: "annotations: {autoscaling.keda.sh/paused-replicas: '3'}", values: burst, want: []string{"0 controller 0>3"}},
		"not in":                  {spec: "annotations: {autoscaling.keda.sh/paused-scale-in: 'true'}", values: burst, want: []string{"60 controller 0>5"}},
		"not out":                 {spec: "annotations: {autoscaling.keda.sh/paused-scale-out: 'true'}", values: burst},
		"forced":                  {spec: "annotations: {autoscaling.keda.sh/force-activation: 'true'}", values: map[int]float64{0: 0, 900: 0}, want: []string{"0 controller 0>1"}},
		// Whoever cannot be read does not take replicas away.
		"an error":                              {spec: "maxReplicaCount: 10", values: map[int]float64{0: 25, 120: -1, 1800: -1}, want: []string{"0 controller 0>5"}},
		"no data, which is an error by default": {spec: "maxReplicaCount: 10", values: map[int]float64{0: 25, 120: math.NaN(), 1800: math.NaN()}, want: []string{"0 controller 0>5"}},
		"no data, which is nothing":             {spec: "annotations: {sluice.dev/no-data: zero}", values: map[int]float64{0: 25, 120: math.NaN(), 600: math.NaN()}, want: []string{"0 controller 0>5", "405 controller 5>0"}},
		"no data, which holds":                  {spec: "annotations: {sluice.dev/no-data: hold}", values: map[int]float64{0: 25, 120: math.NaN(), 1800: math.NaN()}, want: []string{"0 controller 0>5"}},
		// The fourth failure is at 150 s; the HPA without a behavior goes to 4 first.
		"a fallback": {spec: "maxReplicaCount: 10, fallback: {failureThreshold: 3, replicas: 6}", values: map[int]float64{0: 0, 60: -1, 300: -1},
			want: []string{"150 controller 0>1", "150 hpa 1>4", "165 hpa 4>6"}},
		"a formula": {spec: "maxReplicaCount: 10, advanced: {scalingModifiers: {formula: 'orders * 2', target: '10'}}, triggers: [{name: orders, " + rabbitmq + "}]", values: burst,
			want: []string{"60 controller 0>1", "60 hpa 1>4", "75 hpa 4>5", "885 controller 5>0"}},
		// Twice as many as are ready, which the second is at 110 s.
		"a value of all": {spec: "maxReplicaCount: 10, triggers: [{metricType: Value, " + rabbitmq + "}]", values: map[int]float64{0: 0, 60: 10, 130: 10},
			want: []string{"60 controller 0>1", "90 hpa 1>2", "120 hpa 2>4"}},
		"from more": {spec: "maxReplicaCount: 10", values: map[int]float64{0: 0, 600: 0}, options: func(o *Options) { o.Replicas = new(int32(7)) },
			want: []string{"300 controller 7>0"}},
		"a slower HPA": {spec: "minReplicaCount: 1, maxReplicaCount: 10", values: burst, options: func(o *Options) { o.SyncPeriod = time.Minute },
			want: []string{"60 hpa 1>4", "120 hpa 4>5", "900 hpa 5>1"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := usual
			if tt.options != nil {
				tt.options(&o)
			}
			if _, have := replayed(t, side(t, tt.spec), recorded(tt.values), o); !slices.Equal(have, tt.want) {
				t.Errorf("%q\nwant %q", have, tt.want)
			}
		})
	}
}

// TestFigures has those of a burst, worked out by hand.
func TestFigures(t *testing.T) {
	o, _ := replayed(t, side(t, "maxReplicaCount: 5"), recorded(map[int]float64{0: 0, 70: 25, 600: 0, 1800: 0}), usual)
	// 5 Pods from 90 s to 885 s, ready at 110 s.
	want := Figures{MaxReplicas: 5, MeanReplicas: 5 * 795. / 1800, PodHours: 5 * 795. / 3600, ScaleUps: 1, ScaleDowns: 1, AtMax: 795, LongestWait: 40}
	have := o.Figures
	for _, pair := range [][2]*float64{{&have.MeanReplicas, &want.MeanReplicas}, {&have.PodHours, &want.PodHours}, {&have.AtMax, &want.AtMax}} {
		if math.Abs(*pair[0]-*pair[1]) < 1e-6 {
			*pair[0] = *pair[1]
		}
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("%+v\nwant %+v", have, want)
	}
	// Up at 0 s, down 120 s after work ends at 60 s, up again at 300 s: each of the
	// last two undoes what came within ten minutes before it.
	o, changes := replayed(t, side(t, "maxReplicaCount: 5, cooldownPeriod: 60"), recorded(map[int]float64{0: 5, 60: 0, 300: 5, 330: 5}), usual)
	if o.Flaps != 2 || o.LongestWait != 20 {
		t.Errorf("%d flaps and %v s of waiting in %q, want 2 and 20", o.Flaps, o.LongestWait, changes)
	}
	// Nobody comes while scaling out is paused.
	o, _ = replayed(t, side(t, "annotations: {autoscaling.keda.sh/paused-scale-out: 'true'}"), recorded(map[int]float64{0: 0, 60: 5, 360: 5}), usual)
	if !o.Waiting || o.LongestWait != 300 {
		t.Errorf("%+v, want one who waits for 300 s", o.Figures)
	}
}

// TestClosedLoop has 100 pieces of work arrive within 100 s, and replicas that do
// one in a second.
func TestClosedLoop(t *testing.T) {
	r := recorded(map[int]float64{0: 0, 100: 100, 200: 0, 1000: 0})
	r.Replicas = []Point{{At: began, Outcome: scaling.Value}}
	o := usual
	o.DrainRate = 1
	s := side(t, "maxReplicaCount: 10")
	report, err := Run(t.Context(), r, nil, s, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	// Read at 30 s, when there are 30: six replicas, ready at 50 s. The HPA sees 45
	// at 45 s and has 9 then, ready at 65 s. So 50 at 50 s, 50 + 15 × (1 - 6) < 0.
	d := report.After.Drain
	if d == nil || d.Most != 50 || d.Left != 0 || d.Longest != 60 || report.After.MaxReplicas != 9 {
		t.Errorf("%+v, %+v, %v", d, report.After.Figures, report.After.Changes)
	}
	if !strings.HasPrefix(report.Model, "Closed loop: each ready replica takes 1 a second away") {
		t.Error(report.Model)
	}
}

// TestArrivals has what came while one replica worked off one in a second.
func TestArrivals(t *testing.T) {
	points := recorded(map[int]float64{0: 10, 10: 20, 20: -1, 30: 5, 40: 0, 50: 0}).Series["0"]
	first, all := arrivalsOf(points, func(time.Time) float64 { return 1 }, 1)
	var have []string
	for _, a := range all {
		have = append(have, fmt.Sprintf("%.0f %.2f", a.at.Sub(began).Seconds(), a.perSecond))
	}
	// 10 more in 10 s although 10 were done; 15 less in 20 s in which 20 were done;
	// from 5 to 0 nothing need have come.
	if want := []string{"0 2.00", "10 0.25", "30 0.00", "40 0.00", "50 0.00"}; first != 10 || !slices.Equal(have, want) {
		t.Errorf("%v, %q, want 10, %q", first, have, want)
	}
}

// TestAnyReplay has specs and values of any kind: replicas stay in their bounds,
// figures follow from the changes, and the same is replayed the same again.
func TestAnyReplay(t *testing.T) {
	moved := 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // a test
		lo, hi := r.IntN(3), 3+r.IntN(20)
		spec := fmt.Sprintf("minReplicaCount: %d, maxReplicaCount: %d, cooldownPeriod: %d, pollingInterval: %d", lo, hi, r.IntN(400), 1+r.IntN(60))
		if r.IntN(3) == 0 {
			spec += ", fallback: {failureThreshold: 2, replicas: 4}"
		}
		values, second := map[int]float64{0: 0}, 0
		for range 30 {
			second += 1 + r.IntN(200)
			values[second] = []float64{0, 0, -1, math.NaN(), float64(r.IntN(10)), float64(r.IntN(200))}[r.IntN(6)]
		}
		values[second+60] = 0
		s, recording := side(t, spec), recorded(values)
		o, _ := replayed(t, s, recording, usual)
		again, _ := replayed(t, s, recording, usual)
		if !reflect.DeepEqual(o, again) {
			t.Fatalf("seed %d: two replays differ", seed)
		}
		first, last := recording.span()
		at, replicas, area := first, o.Start, 0.0
		for _, c := range o.Changes {
			if c.From != replicas || c.To == c.From || c.To > int32(hi) || c.To < int32(lo) || c.At.Before(at) { //nolint:gosec // small
				t.Fatalf("seed %d, %s: %+v after %d", seed, spec, c, replicas)
			}
			area += float64(replicas) * c.At.Sub(at).Seconds()
			at, replicas = c.At, c.To
		}
		area += float64(replicas) * last.Sub(at).Seconds()
		if math.Abs(area/3600-o.PodHours) > 1e-6 || o.ScaleUps+o.ScaleDowns != len(o.Changes) || o.Flaps >= max(len(o.Changes), 1) {
			t.Fatalf("seed %d, %s: %+v of %d changes, %v pod-hours", seed, spec, o.Figures, len(o.Changes), area/3600)
		}
		if len(o.Changes) > 2 {
			moved++
		}
	}
	if moved < 30 {
		t.Errorf("%d of 60 replays moved anything", moved)
	}
}
