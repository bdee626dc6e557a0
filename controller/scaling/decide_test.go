package scaling

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// t0 is the moment of every decision that does not say otherwise.
var t0 = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

// given is a kafka-scaled Deployment that has 3 replicas, was created and last
// active an hour ago, and whose backlog is read as empty.
func given(change ...func(*Input)) Input {
	in := Input{
		Object: &v1alpha1.ScaledObject{
			ObjectMeta: metav1.ObjectMeta{
				Name: "orders", Namespace: "shop", Annotations: map[string]string{},
				CreationTimestamp: metav1.NewTime(t0.Add(-time.Hour)),
			},
			Spec: v1alpha1.ScaledObjectSpec{
				ScaleTargetRef: v1alpha1.ScaleTarget{Name: "orders"},
				Triggers:       []v1alpha1.ScaleTrigger{{Type: "kafka", Name: "lag"}},
			},
		},
		Now:        t0,
		Replicas:   ptr(int32(3)),
		LastActive: t0.Add(-time.Hour),
		Triggers:   []Trigger{reads(0, 0)},
	}
	for _, c := range change {
		c(&in)
	}
	return in
}

// reads is trigger i with a fresh value; above 0 is active, 10 per replica.
func reads(i int, value float64) Trigger {
	return Trigger{
		Index: i, Outcome: Value, Confirmed: t0, StaleAfter: time.Minute,
		Metrics: []Metric{{Name: MetricName(i, "m"), Target: 10, Value: value, Active: value > 0, Type: autoscalingv2.AverageValueMetricType}},
	}
}

// failsSince is trigger i after count failures, the first of them so long ago.
func failsSince(i int, count int32, ago time.Duration) Trigger {
	t := fails(i, count)
	t.Failures.Since = t0.Add(-ago)
	return t
}

// refused is trigger i whose source refuses us.
func refused(i int, count int32) Trigger {
	t := fails(i, count)
	t.Err = status.Error(codes.Unauthenticated, "login refused")
	return t
}

// fails is trigger i after count failures, the next of them due.
func fails(i int, count int32) Trigger {
	t := reads(i, 0)
	t.Outcome, t.Err = Failed, errors.New("Service scaler-kafka: no ready instance")
	if count > 0 {
		t.Failures = Failures{Count: count, Since: t0.Add(-2 * time.Minute), Last: t0.Add(-30 * time.Second)}
	}
	return t
}

func replicas(n int32) func(*Input) { return func(in *Input) { in.Replicas = &n } }
func triggers(ts ...Trigger) func(*Input) {
	return func(in *Input) {
		in.Triggers = ts
		in.Object.Spec.Triggers = nil
		names := []string{"a", "b", "c"}
		for i := range ts {
			in.Object.Spec.Triggers = append(in.Object.Spec.Triggers, v1alpha1.ScaleTrigger{Type: "kafka", Name: names[i]})
		}
	}
}
func bounds(lo, hi int32) func(*Input) {
	return func(in *Input) { in.Object.Spec.MinReplicaCount, in.Object.Spec.MaxReplicaCount = &lo, &hi }
}
func idle(n int32) func(*Input) { return func(in *Input) { in.Object.Spec.IdleReplicaCount = &n } }
func annotated(key, value string) func(*Input) {
	return func(in *Input) { in.Object.Annotations[key] = value }
}
func lastActive(ago time.Duration) func(*Input) {
	return func(in *Input) { in.LastActive = t0.Add(-ago) }
}
func neverActive(in *Input) { in.LastActive = time.Time{} }
func withFallback(threshold, n int32, b v1alpha1.FallbackBehavior) func(*Input) {
	return func(in *Input) {
		in.Object.Spec.Fallback = &v1alpha1.Fallback{FailureThreshold: threshold, Replicas: n, Behavior: b}
	}
}
func modifiers(formula, target string) func(*Input) {
	return func(in *Input) {
		advanced(in).ScalingModifiers = &v1alpha1.ScalingModifiers{Formula: formula, Target: target}
	}
}
func advanced(in *Input) *v1alpha1.AdvancedConfig {
	if in.Object.Spec.Advanced == nil {
		in.Object.Spec.Advanced = &v1alpha1.AdvancedConfig{}
	}
	return in.Object.Spec.Advanced
}
func changed(t Trigger, change func(*Trigger)) Trigger { change(&t); return t }

// twoMetrics is trigger 0 with two fresh values.
func twoMetrics(first, second float64) Trigger {
	t := reads(0, first)
	t.Metrics = append(t.Metrics, Metric{Name: MetricName(0, "n"), Target: 10, Value: second, Active: second > 0, Type: autoscalingv2.AverageValueMetricType})
	return t
}

const leave = int32(-1)

func TestDecide(t *testing.T) {
	stale := changed(reads(0, 50), func(t *Trigger) { t.Confirmed = t0.Add(-2 * time.Minute) })
	pending := Trigger{Index: 0, Confirmed: t0, StaleAfter: time.Minute}
	noData := changed(reads(0, 0), func(t *Trigger) { t.Outcome = NoData })
	tests := map[string]struct {
		in     []func(*Input)
		write  int32
		active string // reason of condition Active, "" for left alone
		ready  string
	}{
		"work wakes a target at zero":               {[]func(*Input){replicas(0), triggers(reads(0, 1))}, 1, "ScalerActive", "ScaledObjectReady"},
		"work wakes to the size it asks for":        {[]func(*Input){replicas(0), triggers(reads(0, 95))}, 10, "ScalerActive", "ScaledObjectReady"},
		"the larger demand wins":                    {[]func(*Input){replicas(0), triggers(reads(0, 20), reads(1, 70))}, 7, "ScalerActive", "ScaledObjectReady"},
		"never above max":                           {[]func(*Input){replicas(0), bounds(0, 5), triggers(reads(0, 950))}, 5, "ScalerActive", "ScaledObjectReady"},
		"to min at least":                           {[]func(*Input){replicas(0), bounds(4, 9), triggers(reads(0, 1))}, 4, "ScalerActive", "ScaledObjectReady"},
		"between is the HPA's":                      {[]func(*Input){replicas(2), triggers(reads(0, 950))}, leave, "ScalerActive", "ScaledObjectReady"},
		"from idle to min":                          {[]func(*Input){replicas(1), bounds(3, 9), idle(1), triggers(reads(0, 1))}, 3, "ScalerActive", "ScaledObjectReady"},
		"paused-scale-out stays at zero":            {[]func(*Input){replicas(0), triggers(reads(0, 9)), annotated(v1alpha1.AnnotationPausedScaleOut, "true")}, leave, "ScalerActive", "ScaledObjectReady"},
		"forced without work goes to min":           {[]func(*Input){replicas(0), bounds(2, 9), annotated(v1alpha1.AnnotationForceActivation, "true")}, 2, "ScalerActive", "ScaledObjectReady"},
		"forced stays":                              {[]func(*Input){annotated(v1alpha1.AnnotationForceActivation, "true")}, leave, "ScalerActive", "ScaledObjectReady"},
		"any metric of a trigger counts":            {[]func(*Input){replicas(0), triggers(twoMetrics(30, 0))}, 3, "ScalerActive", "ScaledObjectReady"},
		"any metric counts, the last as well":       {[]func(*Input){replicas(0), triggers(twoMetrics(0, 30))}, 3, "ScalerActive", "ScaledObjectReady"},
		"forced, paused-scale-out stays at zero":    {[]func(*Input){replicas(0), annotated(v1alpha1.AnnotationForceActivation, "true"), annotated(v1alpha1.AnnotationPausedScaleOut, "true")}, leave, "ScalerActive", "ScaledObjectReady"},
		"forced leaves idle for min":                {[]func(*Input){replicas(1), bounds(3, 9), idle(1), annotated(v1alpha1.AnnotationForceActivation, "true")}, 3, "ScalerActive", "ScaledObjectReady"},
		"forced although a trigger fails":           {[]func(*Input){replicas(0), triggers(fails(0, 0)), annotated(v1alpha1.AnnotationForceActivation, "true")}, 1, "ScalerActive", "PartialTriggerError"},
		"full pause wins over force":                {[]func(*Input){replicas(0), annotated(v1alpha1.AnnotationForceActivation, "true"), annotated(v1alpha1.AnnotationPaused, "true")}, leave, "", "ScaledObjectReady"},
		"no work goes to an idle above zero":        {[]func(*Input){replicas(5), bounds(3, 9), idle(1)}, 1, "ScalerNotActive", "ScaledObjectReady"},
		"between idle and min goes to idle":         {[]func(*Input){replicas(2), bounds(3, 9), idle(1)}, 1, "ScalerNotActive", "ScaledObjectReady"},
		"the cooldown holds for idle, too":          {[]func(*Input){replicas(5), bounds(3, 9), idle(0), lastActive(time.Minute)}, leave, "ScalerCooldown", "ScaledObjectReady"},
		"a pulse wakes no formula":                  {[]func(*Input){replicas(0), triggers(changed(reads(0, 0), func(t *Trigger) { t.Pulse = true })), modifiers("a", "5")}, leave, "ScalerNotActive", "ScaledObjectReady"},
		"a pulse that is over wakes":                {[]func(*Input){replicas(0), triggers(changed(reads(0, 0), func(t *Trigger) { t.Pulse = true }))}, 1, "ScalerActive", "ScaledObjectReady"},
		"no work goes to zero":                      {nil, 0, "ScalerNotActive", "ScaledObjectReady"},
		"no work goes to idle":                      {[]func(*Input){bounds(3, 9), idle(0)}, 0, "ScalerNotActive", "ScaledObjectReady"},
		"no work with min is the HPA's":             {[]func(*Input){bounds(2, 9)}, leave, "ScalerNotActive", "ScaledObjectReady"},
		"at zero already":                           {[]func(*Input){replicas(0)}, leave, "ScalerNotActive", "ScaledObjectReady"},
		"cooldown not over":                         {[]func(*Input){lastActive(299 * time.Second)}, leave, "ScalerCooldown", "ScaledObjectReady"},
		"cooldown just at its end":                  {[]func(*Input){lastActive(300 * time.Second)}, leave, "ScalerCooldown", "ScaledObjectReady"},
		"cooldown over":                             {[]func(*Input){lastActive(301 * time.Second)}, 0, "ScalerNotActive", "ScaledObjectReady"},
		"new object without initial cooldown":       {[]func(*Input){neverActive}, 0, "ScalerNotActive", "ScaledObjectReady"},
		"new object in its initial cooldown":        {[]func(*Input){neverActive, func(in *Input) { in.Object.Spec.InitialCooldownPeriod = ptr(int32(3600)) }}, leave, "ScalerCooldown", "ScaledObjectReady"},
		"initial cooldown ends with first activity": {[]func(*Input){func(in *Input) { in.Object.Spec.InitialCooldownPeriod = ptr(int32(7200)) }}, 0, "ScalerNotActive", "ScaledObjectReady"},
		"paused-scale-in stays":                     {[]func(*Input){annotated(v1alpha1.AnnotationPausedScaleIn, "true")}, leave, "ScalerNotActive", "ScaledObjectReady"},
		"below min is repaired without cooldown":    {[]func(*Input){replicas(0), bounds(2, 9), lastActive(0)}, 2, "ScalerNotActive", "ScaledObjectReady"},
		"below min is repaired while failing":       {[]func(*Input){replicas(0), bounds(2, 9), triggers(fails(0, 0))}, 2, "UnknownState", "TriggerError"},
		"below min waits for paused-scale-out":      {[]func(*Input){replicas(0), bounds(2, 9), annotated(v1alpha1.AnnotationPausedScaleOut, "")}, leave, "ScalerNotActive", "ScaledObjectReady"},
		"below min with idle is idle's business":    {[]func(*Input){replicas(0), bounds(2, 9), idle(0)}, leave, "ScalerNotActive", "ScaledObjectReady"},

		"an error keeps the replicas":                {[]func(*Input){triggers(fails(0, 0))}, leave, "UnknownState", "TriggerError"},
		"an error beside a quiet trigger keeps them": {[]func(*Input){triggers(fails(0, 0), reads(1, 0))}, leave, "UnknownState", "TriggerError"},
		"an error beside work":                       {[]func(*Input){triggers(fails(0, 0), reads(1, 50))}, leave, "ScalerActive", "PartialTriggerError"},
		"an error does not keep work from waking":    {[]func(*Input){replicas(0), triggers(fails(0, 0), reads(1, 50))}, 5, "ScalerActive", "PartialTriggerError"},
		"a stale reading is neither active nor zero": {[]func(*Input){triggers(stale)}, leave, "UnknownState", "TriggerError"},
		"a stale backlog does not wake":              {[]func(*Input){replicas(0), triggers(stale)}, leave, "UnknownState", "TriggerError"},
		"a first reading still to come keeps all":    {[]func(*Input){triggers(pending)}, leave, "", "ScaledObjectReady"},
		"nothing known of a trigger keeps all":       {[]func(*Input){func(in *Input) { in.Triggers = nil }}, leave, "", "ScaledObjectReady"},
		"no data keeps the replicas":                 {[]func(*Input){triggers(noData)}, leave, "ScalerNotActive", "ScaledObjectReady"},
		"one metric of a trigger is missing":         {[]func(*Input){triggers(changed(reads(0, 0), func(t *Trigger) { t.Metrics[0].Value = math.NaN() }))}, leave, "ScalerNotActive", "ScaledObjectReady"},
		"a trigger without metrics keeps all":        {[]func(*Input){triggers(changed(reads(0, 0), func(t *Trigger) { t.Metrics = nil }))}, leave, "ScalerNotActive", "ScaledObjectReady"},
		"replicas unknown":                           {[]func(*Input){func(in *Input) { in.Replicas = nil }}, leave, "", "ErrorGettingCurrentReplicas"},
		"paused freezes":                             {[]func(*Input){annotated(v1alpha1.AnnotationPaused, "true")}, leave, "", "ScaledObjectReady"},
		"paused replicas are written":                {[]func(*Input){annotated(v1alpha1.AnnotationPausedReplicas, "8")}, 8, "", "ScaledObjectReady"},
		"paused replicas may be zero":                {[]func(*Input){annotated(v1alpha1.AnnotationPausedReplicas, "0")}, 0, "", "ScaledObjectReady"},
		"paused replicas that are no count":          {[]func(*Input){annotated(v1alpha1.AnnotationPausedReplicas, "x")}, leave, "", "ScaledObjectCheckFailed"},
		"only cpu is always active":                  {[]func(*Input){func(in *Input) { in.Object.Spec.Triggers[0].Type = "cpu"; in.Triggers = nil }}, leave, "ScalerActive", "ScaledObjectReady"},
		"cpu beside a quiet trigger does not keep it": {[]func(*Input){func(in *Input) {
			in.Object.Spec.Triggers = append(in.Object.Spec.Triggers, v1alpha1.ScaleTrigger{Type: "cpu"})
		}}, 0, "ScalerNotActive", "ScaledObjectReady"},
		"below the failure threshold nothing moves":      {[]func(*Input){triggers(fails(0, 2)), withFallback(3, 6, "")}, leave, "UnknownState", "ScaledObjectReady"},
		"beyond the threshold fallback is active":        {[]func(*Input){triggers(fails(0, 3)), withFallback(3, 6, "")}, leave, "ScalerActive", "ScaledObjectReady"},
		"fallback wakes a target, the HPA does the rest": {[]func(*Input){replicas(0), triggers(fails(0, 3)), withFallback(3, 6, "")}, 1, "ScalerActive", "ScaledObjectReady"},
		"fallback of 0 keeps the replicas":               {[]func(*Input){triggers(fails(0, 3)), withFallback(3, 0, "")}, leave, "ScalerNotActive", "ScaledObjectReady"},
		"fallback of 0 does not wake":                    {[]func(*Input){replicas(0), triggers(fails(0, 3)), withFallback(3, 0, "")}, leave, "ScalerNotActive", "ScaledObjectReady"},
		"current replicas of a target at zero stay":      {[]func(*Input){replicas(0), triggers(fails(0, 3)), withFallback(3, 6, v1alpha1.FallbackCurrentReplicas)}, leave, "ScalerNotActive", "ScaledObjectReady"},

		"formula active":                            {[]func(*Input){replicas(0), triggers(reads(0, 30), reads(1, 0)), modifiers("a + b", "2.5")}, 1, "ScalerActive", "ScaledObjectReady"},
		"formula at rest":                           {[]func(*Input){triggers(reads(0, 30), reads(1, 30)), modifiers("a - b", "5")}, 0, "ScalerNotActive", "ScaledObjectReady"},
		"formula with a reading still to come":      {[]func(*Input){triggers(reads(0, 30), changed(pending, func(t *Trigger) { t.Index = 1 })), modifiers("a + b", "5")}, leave, "", "ScaledObjectReady"},
		"formula with a source without data":        {[]func(*Input){triggers(reads(0, 30), changed(noData, func(t *Trigger) { t.Index = 1 })), modifiers("a + b", "5")}, leave, "ScalerNotActive", "ScaledObjectReady"},
		"formula needs every trigger":               {[]func(*Input){triggers(reads(0, 30), fails(1, 0)), modifiers("a + b", "5")}, leave, "UnknownState", "TriggerError"},
		"formula that divides by zero keeps":        {[]func(*Input){triggers(reads(0, 30), reads(1, 0)), modifiers("a / b", "5")}, leave, "UnknownState", "TriggerError"},
		"formula over a dead source keeps":          {[]func(*Input){triggers(fails(0, 3), reads(1, 0)), modifiers("a + b", "5"), withFallback(3, 6, v1alpha1.FallbackScalingModifiers)}, leave, "UnknownState", "TriggerError"},
		"formula with a stand-in may rest":          {[]func(*Input){triggers(fails(0, 3), reads(1, 0)), modifiers("a ?? b", "5"), withFallback(3, 6, v1alpha1.FallbackScalingModifiers)}, 0, "ScalerNotActive", "ScaledObjectReady"},
		"formula that makes zero of failures keeps": {[]func(*Input){triggers(fails(0, 3)), modifiers("a ?? 0", "5"), withFallback(3, 6, v1alpha1.FallbackScalingModifiers)}, leave, "ScalerNotActive", "ScaledObjectReady"},
		"formula without result takes fallback":     {[]func(*Input){replicas(0), triggers(fails(0, 3)), modifiers("a ?? nil", "5"), withFallback(3, 6, v1alpha1.FallbackScalingModifiers)}, 1, "ScalerActive", "ScaledObjectReady"},
		"fallback replaces the computed metric":     {[]func(*Input){replicas(0), triggers(fails(0, 3), reads(1, 0)), modifiers("a + b", "2.5"), withFallback(3, 6, "")}, 1, "ScalerActive", "ScaledObjectReady"},
		"formula with an unreadable target":         {[]func(*Input){modifiers("lag", "x")}, leave, "UnknownState", "TriggerError"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := Decide(given(tt.in...))
			write := leave
			if d.Write != nil {
				write = *d.Write
			}
			if write != tt.write {
				t.Errorf("writes %d, want %d", write, tt.write)
			}
			active := ""
			if d.Active != nil {
				active = d.Active.Reason
			}
			if active != tt.active {
				t.Errorf("Active reason %q, want %q", active, tt.active)
			}
			if d.Ready.Reason != tt.ready {
				t.Errorf("Ready reason %q (%s), want %q", d.Ready.Reason, d.Ready.Message, tt.ready)
			}
		})
	}
}

func TestMessagesNameTheTrigger(t *testing.T) {
	d := Decide(given(triggers(fails(0, 0), fails(1, 0))))
	const want = "trigger 0 (kafka): Service scaler-kafka: no ready instance; trigger 1 (kafka): Service scaler-kafka: no ready instance"
	if d.Ready.Message != want {
		t.Errorf("message %q\nwant    %q", d.Ready.Message, want)
	}
	const one = "trigger 0 (kafka): Service scaler-kafka: no ready instance"
	if d := Decide(given(triggers(fails(0, 0)), withFallback(3, 6, ""))); d.Active.Message != one {
		t.Errorf("waiting for fallback: Active %+v", d.Active)
	}
	if d := Decide(given(triggers(fails(0, 3)), withFallback(3, 6, ""))); d.Fallback.Message != one {
		t.Errorf("in fallback: Fallback %+v", d.Fallback)
	}
}

func TestEventsNameTargetCountsAndMetrics(t *testing.T) {
	up := Decide(given(replicas(0), triggers(reads(0, 30), reads(1, 95))))
	if want := "scaled Deployment shop/orders from 0 to 10, triggered by s0-m;s1-m"; up.Scaled == nil || up.Scaled.Note != want || up.Scaled.Reason != EventActivated {
		t.Errorf("activation: %+v", up.Scaled)
	}
	forced := Decide(given(replicas(0), annotated(v1alpha1.AnnotationForceActivation, "true")))
	if want := "scaled Deployment shop/orders from 0 to 1, activation is forced"; forced.Scaled.Note != want {
		t.Errorf("forced: %+v", forced.Scaled)
	}
	odd := Decide(given(replicas(0), triggers(reads(0, 30)), func(in *Input) {
		in.Object.Spec.ScaleTargetRef.Kind = "deployments"
		in.Object.Status.ScaleTargetGVKR = &v1alpha1.GroupVersionKindResource{Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments"}
	}))
	if want := "scaled Deployment shop/orders from 0 to 3, triggered by s0-m"; odd.Scaled.Note != want {
		t.Errorf("a kind as a plural: %+v", odd.Scaled)
	}
	down := Decide(given())
	if want := "could not scale Deployment shop/orders from 3 to 0, no trigger is active"; down.ScaleFailed.Note != want || down.ScaleFailed.Reason != EventDeactivationFailed {
		t.Errorf("deactivation: %+v", down.ScaleFailed)
	}
	if repair := Decide(given(replicas(0), bounds(2, 9))); repair.Scaled != nil {
		t.Errorf("a repair has no event: %+v", repair.Scaled)
	}
}

func TestLastActiveMovesWheneverActive(t *testing.T) {
	for name, in := range map[string]Input{
		"work":               given(triggers(reads(0, 1))),
		"work and an error":  given(triggers(fails(0, 0), reads(1, 1))),
		"forced":             given(annotated(v1alpha1.AnnotationForceActivation, "1")),
		"work but paused up": given(replicas(0), triggers(reads(0, 1)), annotated(v1alpha1.AnnotationPausedScaleOut, "1")),
	} {
		if got := Decide(in).LastActive; !got.Equal(t0) {
			t.Errorf("%s: last active %v", name, got)
		}
	}
	if got := Decide(given()).LastActive; !got.Equal(t0.Add(-time.Hour)) {
		t.Errorf("quiet: last active %v", got)
	}
}

func TestNextIsWhenTimeAloneDecides(t *testing.T) {
	tests := map[string]struct {
		in   []func(*Input)
		want time.Duration
	}{
		"cooldown ends":            {[]func(*Input){lastActive(290 * time.Second)}, 10*time.Second + 1},
		"a reading gets stale":     {[]func(*Input){triggers(reads(0, 5))}, time.Minute + 1},
		"the next failure counts":  {[]func(*Input){triggers(fails(0, 0)), withFallback(3, 6, "")}, 30 * time.Second},
		"no failure matters again": {[]func(*Input){triggers(fails(0, 9)), withFallback(3, 6, "")}, 8 * time.Minute}, // it lasts
		"failing without fallback": {[]func(*Input){triggers(fails(0, 0))}, 10 * time.Minute},
		"failing for long":         {[]func(*Input){triggers(failsSince(0, 9, time.Hour)), withFallback(3, 6, "")}, -1},
		"only cpu":                 {[]func(*Input){func(in *Input) { in.Object.Spec.Triggers[0].Type = "cpu" }}, -1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			next := Decide(given(tt.in...)).Next
			got := next.Sub(t0)
			if next.IsZero() {
				got = -1
			}
			if got != tt.want {
				t.Errorf("next in %v, want %v", got, tt.want)
			}
		})
	}
}

func TestActivityIsKeptPerTrigger(t *testing.T) {
	d := Decide(given(triggers(reads(0, 30), reads(1, 0)), modifiers("a + b", "5")))
	want := map[string]v1alpha1.TriggerActivity{"s0-m": {IsActive: true}, "s1-m": {}}
	if !reflect.DeepEqual(d.Activity, want) {
		t.Errorf("activity %v, want %v", d.Activity, want)
	}
	if !reflect.DeepEqual(d.ActiveMetrics, []string{CompositeMetric}) {
		t.Errorf("active metrics %v", d.ActiveMetrics)
	}
}

func TestFallbackReport(t *testing.T) {
	in := given(replicas(4), triggers(fails(0, 3), reads(1, 0)), withFallback(3, 6, v1alpha1.FallbackCurrentReplicasIfHigher))
	d := Decide(in)
	want := []v1alpha1.FallbackVerdict{{
		Metric: "s0-m", Since: metav1.NewTime(t0.Add(-2 * time.Minute)),
		Behavior: v1alpha1.FallbackCurrentReplicasIfHigher, Replicas: ptr(int32(6)),
	}}
	if !reflect.DeepEqual(d.Replaced, want) {
		t.Errorf("replaced %+v", d.Replaced)
	}
	if d.Fallback.Reason != v1alpha1.ReasonFallbackExists {
		t.Errorf("condition %+v", d.Fallback)
	}
	if h := d.Health["s0-m"]; *h.NumberOfFailures != 4 || h.Status != v1alpha1.HealthFailing {
		t.Errorf("health %+v", h)
	}
	if h := d.Health["s1-m"]; *h.NumberOfFailures != 0 || h.Status != v1alpha1.HealthHappy {
		t.Errorf("health %+v", h)
	}
	in.Triggers[0] = reads(0, 0)
	if over := Decide(in); over.Fallback.Reason != v1alpha1.ReasonNoFallbackFound || len(over.Replaced) != 0 {
		t.Errorf("condition %+v, replaced %+v", over.Fallback, over.Replaced)
	}
}

// What is not known is neither active nor inactive, whether the trigger or the
// formula is at fault.
func TestActiveIsUnknownWhileATriggerFails(t *testing.T) {
	for name, tt := range map[string]struct {
		in   Input
		want metav1.ConditionStatus
	}{
		"a family is down":              {given(triggers(fails(0, 0))), metav1.ConditionUnknown},
		"beside a quiet trigger":        {given(triggers(reads(0, 0), fails(1, 0))), metav1.ConditionUnknown},
		"beside an active trigger":      {given(triggers(reads(0, 5), fails(1, 0))), metav1.ConditionTrue},
		"while fallback waits":          {given(triggers(fails(0, 1)), withFallback(3, 6, "")), metav1.ConditionUnknown},
		"while fallback stands in":      {given(triggers(fails(0, 9)), withFallback(3, 6, "")), metav1.ConditionTrue},
		"fallback says: none":           {given(triggers(fails(0, 9)), withFallback(3, 0, "")), metav1.ConditionFalse},
		"the source has nothing to say": {given(triggers(Trigger{Outcome: NoData, Confirmed: t0, StaleAfter: time.Minute})), metav1.ConditionFalse},
		"the formula is broken":         {given(triggers(reads(0, 3), reads(1, 0)), modifiers("a / b", "5")), metav1.ConditionUnknown},
	} {
		if d := Decide(tt.in); d.Active.Status != tt.want {
			t.Errorf("%s: Active is %s (%s), want %s", name, d.Active.Status, d.Active.Message, tt.want)
		}
	}
}

// A fallback must not hide for weeks that nobody reads the source, and Ready is
// not Unknown for ever.
func TestATroubleThatLastsShowsInReady(t *testing.T) {
	guarded := withFallback(3, 6, "")
	for name, tt := range map[string]struct {
		in             Input
		status, reason string
	}{
		"a passing trouble, fallback waits":    {given(triggers(fails(0, 1)), guarded), "True", "ScaledObjectReady"},
		"a passing trouble, fallback in force": {given(triggers(fails(0, 5)), guarded), "True", "ScaledObjectReady"},
		"refused, fallback waits":              {given(triggers(refused(0, 1)), guarded), "False", "TriggerError"},
		"refused, fallback in force":           {given(triggers(refused(0, 5)), guarded), "False", "PartialTriggerError"},
		"refused, fallback of 0":               {given(triggers(refused(0, 5)), withFallback(3, 0, "")), "False", "TriggerError"},
		"refused, another trigger works":       {given(triggers(reads(0, 5), refused(1, 1)), guarded), "False", "PartialTriggerError"},
		"a passing trouble, another works":     {given(triggers(reads(0, 5), fails(1, 1))), "Unknown", "PartialTriggerError"},
		"for long, another works":              {given(triggers(reads(0, 5), failsSince(1, 20, lastingAfter))), "False", "PartialTriggerError"},
		"for long, fallback in force":          {given(triggers(failsSince(0, 20, lastingAfter)), guarded), "False", "PartialTriggerError"},
		"not quite as long, fallback in force": {given(triggers(failsSince(0, 20, lastingAfter-1)), guarded), "True", "ScaledObjectReady"},
	} {
		d := Decide(tt.in)
		if string(d.Ready.Status) != tt.status || d.Ready.Reason != tt.reason {
			t.Errorf("%s: Ready is %s %s (%s), want %s %s", name, d.Ready.Status, d.Ready.Reason, d.Ready.Message, tt.status, tt.reason)
		}
		if tt.status == "False" && !strings.Contains(d.Ready.Message, "trigger ") {
			t.Errorf("%s: Ready names no trigger: %q", name, d.Ready.Message)
		}
	}
}

// Whoever takes over goes on with what was stored until it has read the source.
func TestAStoredFallbackStandsUntilSomethingIsKnown(t *testing.T) {
	inherited := func(count int32) Trigger {
		t := reads(0, 0)
		t.Outcome, t.Failures = Pending, SeedFailures(count, time.Time{}, t0)
		return t
	}
	guarded := withFallback(3, 6, "")
	stands := Decide(given(replicas(0), triggers(inherited(4)), guarded))
	if stands.Fallback == nil || stands.Fallback.Status != metav1.ConditionTrue || len(stands.Replaced) != 1 || stands.Replaced[0].Since.IsZero() {
		t.Errorf("fallback %+v, %+v", stands.Fallback, stands.Replaced)
	}
	if stands.Active == nil || stands.Active.Status != metav1.ConditionTrue || !stands.Activity["s0-m"].IsActive {
		t.Errorf("active %+v, %+v", stands.Active, stands.Activity)
	}
	for _, count := range []int32{2, 4} {
		d := Decide(given(triggers(inherited(count)), guarded))
		if h := d.Health["s0-m"]; h.Status != v1alpha1.HealthFailing || *h.NumberOfFailures != count {
			t.Errorf("health after %d failures: %+v", count, h)
		}
	}
	read := reads(0, 0)
	read.Failures = SeedFailures(4, time.Time{}, t0)
	if d := Decide(given(triggers(read), guarded)); d.Fallback.Status != metav1.ConditionFalse || len(d.Replaced) > 0 {
		t.Errorf("after a reading: fallback %+v, %+v", d.Fallback, d.Replaced)
	}
}
