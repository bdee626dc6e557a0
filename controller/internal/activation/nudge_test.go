package activation

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/testcluster"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// counting is an API server that counts the generations of HPAs, or is one of
// before Kubernetes 1.37.
type counting struct {
	client.Client
	old bool
}

func (c *counting) Update(ctx context.Context, o client.Object, opts ...client.UpdateOption) error {
	if hpa, ok := o.(*autoscalingv2.HorizontalPodAutoscaler); ok && !c.old {
		hpa.Generation++
	}
	return c.Client.Update(ctx, o, opts...)
}

var hpaKey = types.NamespacedName{Namespace: "shop", Name: "keda-hpa-worker"}

// working is an object with an HPA of at most 10 replicas, whose target has some.
func working(t *testing.T, replicas int32, change func(*v1alpha1.ScaledObject)) *fixture {
	t.Helper()
	f := newFixture(t, replicas, change)
	f.Client = &counting{Client: f.cluster.Client}
	so := f.object()
	hpa := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: hpaKey.Namespace, Name: hpaKey.Name, UID: "hpa", Generation: 1,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(so, v1alpha1.GroupVersion.WithKind("ScaledObject"))},
		},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			MinReplicas: ptr.To(int32(1)), MaxReplicas: 10,
			Metrics: []autoscalingv2.MetricSpec{scaling.External(so, "s0-m", 5, autoscalingv2.AverageValueMetricType)},
		},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{ObservedGeneration: ptr.To(int64(1))},
	}
	if err := f.cluster.Direct.Create(t.Context(), hpa); err != nil {
		t.Fatal(err)
	}
	f.store(func(s *v1alpha1.ScaledObjectStatus) { s.HpaName = hpaKey.Name })
	f.pods(replicas)
	return f
}

// pods has so many Pods of the target there and ready.
func (f *fixture) pods(n int32) {
	f.t.Helper()
	d := f.deployment()
	d.Spec.Replicas, d.Status.Replicas, d.Status.ReadyReplicas = &n, n, n
	if err := f.cluster.Direct.Update(f.t.Context(), d); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) hpa() *autoscalingv2.HorizontalPodAutoscaler {
	f.t.Helper()
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	if err := f.cluster.Direct.Get(f.t.Context(), hpaKey, hpa); err != nil {
		f.t.Fatal(err)
	}
	return hpa
}

func (f *fixture) setHPA(change func(*autoscalingv2.HorizontalPodAutoscaler)) {
	f.t.Helper()
	hpa := f.hpa()
	change(hpa)
	if err := f.cluster.Direct.Update(f.t.Context(), hpa); err != nil {
		f.t.Fatal(err)
	}
}

// looks is the HPA's controller, which has seen the spec as it is.
func (f *fixture) looks() {
	f.t.Helper()
	f.setHPA(func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.Status.ObservedGeneration = &hpa.Generation })
}

// nudges is how often the HPA was written since it was last asked.
func (f *fixture) nudges() (n int) {
	for _, w := range f.cluster.Writes() {
		if strings.HasPrefix(w, "update HPA") {
			n++
		}
	}
	return n
}

func (f *fixture) nudged(want int, when string) {
	f.t.Helper()
	if have := f.nudges(); have != want {
		f.t.Errorf("%s: %d nudges, want %d", when, have, want)
	}
}

func TestABurstHasTheHPALookAtOnce(t *testing.T) {
	f := working(t, 1, nil)
	m := &measured{}
	f.Figures = m
	f.says(3)
	f.decide()
	f.nudged(0, "nothing to add")
	f.says(40)
	if again := f.decide(); again > trialTime {
		t.Errorf("the trial is judged in %v", again)
	}
	f.nudged(1, "a burst")
	spec := f.hpa().Spec
	read, ok := scaling.NudgedBy(scaling.Nudged(spec.Metrics))
	if !ok || !read.Equal(f.clock.Now()) {
		t.Errorf("the nudge tells of a reading of %v, want %v", read, f.clock.Now())
	}
	if plain := scaling.WithoutNudge(spec.Metrics); len(plain[0].External.Metric.Selector.MatchLabels) != 1 {
		t.Errorf("more than the nudge was written: %v", plain[0].External.Metric.Selector)
	}
	f.decide()
	f.clock.Step(time.Second)
	f.says(41)
	f.decide()
	f.nudged(0, "the HPA is about to look")
	f.looks()
	f.decide()
	f.nudged(1, "a replica more is asked for than it was made to look for")
	f.looks()
	f.clock.Step(time.Second)
	f.says(41)
	f.decide()
	f.nudged(0, "it was made to look for that")
	f.pods(9)
	f.decide()
	f.clock.Step(time.Second)
	f.says(20)
	f.decide()
	f.nudged(0, "less work")
	f.says(50)
	f.decide()
	f.nudged(1, "the next burst")
	f.scaled() // never the replicas
	if m.nudged != 3 {
		t.Errorf("counted %d nudges", m.nudged)
	}
}

func TestNobodyIsNudgedInVain(t *testing.T) {
	for name, c := range map[string]struct {
		object func(*v1alpha1.ScaledObject)
		hpa    func(*autoscalingv2.HorizontalPodAutoscaler)
		state  func(*federation.State)
	}{
		"switched off": {object: func(so *v1alpha1.ScaledObject) {
			so.Annotations = map[string]string{v1alpha1.AnnotationHPANudge: "off"}
		}},
		"a controller that does not follow generations": {hpa: func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.Status.ObservedGeneration = nil }},
		"about to look anyway":                          {hpa: func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.Generation = 2 }},
		"limited by its policies": {hpa: func(hpa *autoscalingv2.HorizontalPodAutoscaler) {
			hpa.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.ScalingLimited, Reason: "ScaleUpLimit"}}
		}},
		"a window for rises": {hpa: func(hpa *autoscalingv2.HorizontalPodAutoscaler) {
			hpa.Spec.Behavior = scaling.Behavior(&v1alpha1.ScaledObject{Spec: v1alpha1.ScaledObjectSpec{Advanced: &v1alpha1.AdvancedConfig{
				HorizontalPodAutoscalerConfig: &v1alpha1.HorizontalPodAutoscalerConfig{Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{
					ScaleUp: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To(int32(60))},
				}},
			}}})
		}},
		"half a behavior": {hpa: func(hpa *autoscalingv2.HorizontalPodAutoscaler) {
			hpa.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{}
		}},
		"at its maximum":    {hpa: func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.Spec.MaxReplicas = 1 }},
		"somebody else's":   {hpa: func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.OwnerReferences[0].UID = "other" }},
		"nobody's":          {hpa: func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.OwnerReferences = nil }},
		"another metric":    {hpa: func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.Spec.Metrics[0].External.Metric.Name = "s1-m" }},
		"not read":          {state: func(s *federation.State) { s.Outcome, s.Err = scaling.Failed, errors.New("down") }},
		"without data":      {state: func(s *federation.State) { s.Outcome, s.Values = scaling.NoData, nil }},
		"held after a rise": {object: func(so *v1alpha1.ScaledObject) { so.Spec.Advanced = policy(1) }},
	} {
		t.Run(name, func(t *testing.T) {
			f := working(t, 1, c.object)
			if c.hpa != nil {
				f.setHPA(c.hpa)
			}
			if name == "held after a rise" {
				f.store(func(s *v1alpha1.ScaledObjectStatus) {
					s.Activation = &v1alpha1.Activation{Replicas: 1, Time: metav1.NewMicroTime(start)}
				})
			}
			f.says(40)
			if c.state != nil {
				f.state(c.state)
			}
			f.decide()
			f.nudged(0, name)
		})
	}
}

// policy lets replicas rise by some a minute.
func policy(by int32) *v1alpha1.AdvancedConfig {
	return &v1alpha1.AdvancedConfig{HorizontalPodAutoscalerConfig: &v1alpha1.HorizontalPodAutoscalerConfig{
		Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{
			Policies: []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: by, PeriodSeconds: 60}},
		}},
	}}
}

func TestAFormulaNudgesByItsResult(t *testing.T) {
	f := working(t, 1, func(so *v1alpha1.ScaledObject) {
		so.Spec.Triggers[0].Name = "q"
		so.Spec.Advanced = &v1alpha1.AdvancedConfig{ScalingModifiers: &v1alpha1.ScalingModifiers{Formula: "q / 10", Target: "5"}}
	})
	f.setHPA(func(hpa *autoscalingv2.HorizontalPodAutoscaler) {
		hpa.Spec.Metrics[0].External.Metric.Name = scaling.CompositeMetric
	})
	f.says(40) // 4: one replica
	f.decide()
	f.nudged(0, "a result of 4")
	f.says(400) // 40
	f.decide()
	f.nudged(1, "a result of 40")
}

// TestWhereANudgeHasNoEffectItIsTriedAFewTimes has the effect found out once, and
// anew by whoever leads next.
func TestWhereANudgeHasNoEffectItIsTriedAFewTimes(t *testing.T) {
	burst := func(f *fixture, value float64) int {
		f.says(1)
		f.decide()
		f.says(value)
		f.decide()
		n := f.nudges()
		f.clock.Step(trialTime)
		f.says(value)
		f.decide() // judged: nobody has looked
		f.nudges() // perhaps for the next trial
		f.looks()  // at the end of its period
		f.says(1)  // it has nothing to add
		f.decide()
		f.clock.Step(time.Minute)
		return n + f.nudges()
	}
	t.Run("nobody looks", func(t *testing.T) {
		f := working(t, 1, nil)
		total := 0
		for range 10 {
			total += burst(f, 40)
		}
		if total < 1 || total > mostMisses {
			t.Errorf("%d nudges without effect", total)
		}
		f.Forget()
		if burst(f, 40) == 0 {
			t.Error("the next leader does not try")
		}
	})
	t.Run("the API server counts no generations", func(t *testing.T) {
		f := working(t, 1, nil)
		f.Client.(*counting).old = true
		total := 0
		for range 5 {
			total += burst(f, 40)
		}
		if total != 1 {
			t.Errorf("%d nudges, want one", total)
		}
	})
	t.Run("not allowed", func(t *testing.T) {
		f := working(t, 1, nil)
		tried := 0
		f.cluster.Fail(func(write string) error {
			if strings.HasPrefix(write, "update HPA") {
				tried++
				return apierrors.NewForbidden(schema.GroupResource{Resource: "horizontalpodautoscalers"}, "keda-hpa-worker", errors.New("no rule"))
			}
			return nil
		})
		for range 5 {
			burst(f, 40)
		}
		if tried != 1 {
			t.Errorf("tried %d times", tried)
		}
		f.cluster.Fail(nil)
		f.clock.Step(afterRefusal)
		if burst(f, 40) == 0 {
			t.Error("it is not tried again when it is allowed")
		}
	})
	t.Run("somebody looks", func(t *testing.T) {
		f := working(t, 1, nil)
		for range 5 {
			f.says(1)
			f.decide()
			f.says(40)
			f.decide()
			f.nudged(1, "a burst")
			f.looks()
			f.decide()
			f.clock.Step(time.Second)
		}
	})
}

func TestOneAtATimeIsTriedWhileNobodyKnowsTheEffect(t *testing.T) {
	first := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{UID: "1", Generation: 1}}
	second := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{UID: "2", Generation: 1}}
	var e effect
	if ok, _ := e.tries(first, start); !ok {
		t.Fatal("nobody is tried")
	}
	e.wrote(first, 2, start)
	if ok, wait := e.tries(second, start); ok || wait != trialTime {
		t.Errorf("the second is tried beside the first: %v in %v", ok, wait)
	}
	if wait := e.judge(second, start); wait != 0 {
		t.Errorf("the trial of another is judged in %v", wait)
	}
	first.Status.ObservedGeneration = ptr.To(int64(2))
	e.judge(first, start)
	if ok, _ := e.tries(second, start); !ok {
		t.Error("the second is not tried after the first")
	}
	e.wrote(second, 2, start)
	// Its object is deleted: nobody judges it.
	if ok, _ := e.tries(first, start.Add(2*trialTime)); !ok {
		t.Error("a trial that nobody judges lasts for ever")
	}
	e.drop(first)
	if ok, _ := e.tries(second, start.Add(2*trialTime)); !ok {
		t.Error("a trial that was not written lasts")
	}
}

func TestANudgeThatConflictsIsTriedAgainSoon(t *testing.T) {
	f := working(t, 1, nil)
	f.says(40)
	f.cluster.Fail(func(write string) error {
		if strings.HasPrefix(write, "update HPA") {
			return testcluster.Conflict("horizontalpodautoscalers")
		}
		return nil
	})
	if again := f.decide(); again != afterConflict {
		t.Errorf("tried again in %v", again)
	}
	f.cluster.Fail(nil)
	f.decide()
	f.nudged(1, "after the conflict")
}
