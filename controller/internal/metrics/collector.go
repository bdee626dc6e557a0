// Package metrics exports what users of KEDA 2.x know from its operator's
// Prometheus endpoint. Every scrape is made from what the controller knows at
// that moment, so the series of an object end with the object.
package metrics

import (
	"cmp"
	"context"
	"errors"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/internal/series"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Names and labels are KEDA's.
var (
	perTrigger = []string{"namespace", "metric", "scaledObject", "scaler", "triggerIndex", "type"}
	perObject  = []string{"namespace", "scaledObject"}
	perJob     = []string{"namespace", "scaledJob"}

	buildInfo = desc("keda_build_info", "Always 1; labels tell the build.",
		"version", "git_commit", "goversion", "goos", "goarch")
	latency = desc("keda_scaler_metrics_latency_seconds", "How long the last reading of a metric took.", perTrigger...)
	value   = desc("keda_scaler_metrics_value", "Last value of a metric, in its own unit.", perTrigger...)
	active  = desc("keda_scaler_active", "1 while the metric asks for at least one replica.", perTrigger...)
	overdue = desc("sluice_trigger_overdue_seconds",
		"For how long nothing was heard of a trigger, beyond twice its polling interval; 0 while it is fresh.",
		"namespace", "scaledObject", "scaler", "triggerIndex", "type")
	atMaximum = desc("sluice_scaled_object_at_maximum", "1 while the HPA wants as many replicas as there may be.", perObject...)
	objective = desc("sluice_scaled_object_wake_objective_seconds",
		"How soon after its arrival work is to have replicas written, by annotation sluice.dev/wake-objective.", perObject...)
	paused = desc("keda_scaled_object_paused", "1 while scaling is paused, in part or altogether.", perObject...)

	triggers  = desc("keda_trigger_registered_total", "Triggers by type.", "type")
	resources = desc("keda_resource_registered_total", "Objects by kind and namespace.", "type", "namespace")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Collector makes the series at every scrape. Those of objects are the
// leader's: standbys know the same, and dashboards add up.
type Collector struct {
	client  client.Reader
	states  func(federation.ID) (federation.State, bool)
	version string
	leads   func() bool
	// formulas is what the formula of an object came to, nil for nothing.
	formulas func(types.NamespacedName) *scaling.ExplainedFormula
	out      *series.LeftOut
	now      func() time.Time
}

// New returns a Collector that reads objects from a cached client and readings
// from states. leads reports whether this process leads, and formulas what the
// formula of an object came to. Series that are too many are noted in out.
func New(
	client client.Reader, states func(federation.ID) (federation.State, bool), version string, leads func() bool,
	formulas func(types.NamespacedName) *scaling.ExplainedFormula, out *series.LeftOut,
) *Collector {
	return &Collector{client: client, states: states, version: version, leads: leads, formulas: formulas, out: out, now: time.Now}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{buildInfo, value, latency, active, overdue, atMaximum, objective, paused, triggers, resources} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	all := newScrape(ch)
	all.gauge(buildInfo, 1, c.version, Commit, goruntime.Version(), goruntime.GOOS, goruntime.GOARCH)
	if !c.leads() {
		return
	}
	var objects v1alpha1.ScaledObjectList
	var jobs v1alpha1.ScaledJobList
	var hpas autoscalingv2.HorizontalPodAutoscalerList
	ctx := context.Background()
	if err := errors.Join(
		c.client.List(ctx, &objects, client.UnsafeDisableDeepCopy), c.client.List(ctx, &jobs, client.UnsafeDisableDeepCopy),
		c.client.List(ctx, &hpas, client.UnsafeDisableDeepCopy),
	); err != nil {
		// The cache has not started: there is nothing to tell yet.
		return
	}
	owners := ownersOf(objects.Items, jobs.Items)
	wishes := wishesOf(hpas.Items)
	wanted := map[string]int{}
	for _, o := range owners {
		wanted[o.id.Namespace] += c.wants(o)
		if o.object != nil {
			if _, there := wishes[hpaOf(o.object)]; there {
				wanted[o.id.Namespace]++
			}
			if wish, err := o.object.WakeObjective(); wish > 0 && err == nil {
				wanted[o.id.Namespace]++
			}
		}
	}
	all.left = ofCollector.Shares(wanted)
	c.out.Note("keda_scaler_*", wanted, all.left)
	registered := map[[2]string]float64{} // by kind and namespace
	byType := typeCounts{}
	for _, o := range owners {
		registered[[2]string{registeredAs[o.kind], o.id.Namespace}]++
		if o.object != nil {
			all.of(paused, number(o.object.Status.Conditions.IsTrue(v1alpha1.ConditionPaused)), o.id.Namespace, o.id.Name)
			if wish, there := wishes[hpaOf(o.object)]; there {
				all.of(atMaximum, number(wantsAll(o.object, wish)), o.id.Namespace, o.id.Name)
			}
			if wish, err := o.object.WakeObjective(); wish > 0 && err == nil {
				all.of(objective, wish.Seconds(), o.id.Namespace, o.id.Name)
			}
		}
		left := v1alpha1.MostMetrics
		for index, trigger := range o.triggers {
			byType.add(o.id.Namespace, short(trigger.Type))
			left -= c.trigger(all, o, index, left)
		}
		if o.object != nil {
			c.composite(all, o.object)
		}
	}
	c.register(registered)
	for triggerType, count := range byType.named() {
		all.gauge(triggers, count, triggerType)
	}
	for what, count := range registered {
		all.gauge(resources, count, what[0], what[1])
	}
}

// wishesOf are the replicas that HPAs want.
func wishesOf(hpas []autoscalingv2.HorizontalPodAutoscaler) map[types.NamespacedName]int32 {
	wishes := make(map[types.NamespacedName]int32, len(hpas))
	for i := range hpas {
		wishes[client.ObjectKeyFromObject(&hpas[i])] = hpas[i].Status.DesiredReplicas
	}
	return wishes
}

// hpaOf is where an object's HPA is; nothing has no name while there is none.
func hpaOf(so *v1alpha1.ScaledObject) types.NamespacedName {
	return types.NamespacedName{Namespace: so.Namespace, Name: so.Status.HpaName}
}

// wantsAll reports whether an HPA wants all replicas that there may be. Of an
// object that may have one number alone nobody has to hear.
func wantsAll(so *v1alpha1.ScaledObject, wish int32) bool {
	return wish >= so.MaxReplicas() && so.MaxReplicas() > so.HPAMinReplicas()
}

// registeredAs is what kinds of objects are called where they are counted.
var registeredAs = map[string]string{kindObject: "scaled_object", kindJob: "scaled_job"}

// ownersOf are objects of both kinds, in an order that is the same at each scrape.
func ownersOf(objects []v1alpha1.ScaledObject, jobs []v1alpha1.ScaledJob) []owner {
	owners := make([]owner, 0, len(objects)+len(jobs))
	for i := range objects {
		o := ofObject(&objects[i])
		o.object, o.replaced = &objects[i], inFallback(&objects[i])
		owners = append(owners, o)
	}
	for i := range jobs {
		owners = append(owners, ofJob(&jobs[i]))
	}
	slices.SortFunc(owners, func(a, b owner) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.id.Namespace, b.id.Namespace), cmp.Compare(a.id.Name, b.id.Name))
	})
	return owners
}

// wants is how many series an object has, before any is made.
func (c *Collector) wants(o owner) (n int) {
	if o.object != nil {
		n++
		if c.formulas(client.ObjectKeyFromObject(o.object)) != nil {
			n += 2
		}
	}
	left := v1alpha1.MostMetrics
	for index, trigger := range o.triggers {
		id := o.id
		id.Index = index
		if trigger.Builtin() {
			if o.builtins {
				n++
			}
		} else if state, ok := c.states(id); ok {
			specs, values := min(len(state.Specs), left), min(len(state.Values), left)
			most := max(specs, values)
			n += 2*most + specs
			if _, known := o.overdue(state, c.now()); known {
				n++
			}
			left -= most
		}
	}
	return n
}

// register counts objects that have no series of their own. Those of the whole
// cluster are told under namespace default, as in KEDA.
func (c *Collector) register(registered map[[2]string]float64) {
	for kind, list := range map[string]client.ObjectList{
		"trigger_authentication":         &v1alpha1.TriggerAuthenticationList{},
		"cluster_trigger_authentication": &v1alpha1.ClusterTriggerAuthenticationList{},
		"cloudevent_source":              &eventing.CloudEventSourceList{},
	} {
		if err := c.client.List(context.Background(), list, client.UnsafeDisableDeepCopy); err != nil {
			continue // as above
		}
		_ = meta.EachListItem(list, func(item runtime.Object) error { // never fails: neither does the function
			namespace := cmp.Or(item.(client.Object).GetNamespace(), metav1.NamespaceDefault)
			registered[[2]string{kind, namespace}]++
			return nil
		})
	}
}

// The values of label type.
const (
	kindObject = "scaledobject"
	kindJob    = "scaledjob"
)

// owner is an object as far as the series of its triggers are concerned.
type owner struct {
	id       federation.ID
	triggers []v1alpha1.ScaleTrigger
	kind     string // label type
	// interval is the longest between two readings.
	interval time.Duration
	// builtins says whether cpu and memory have a series.
	builtins bool
	// replaced are the replicas of the metrics in fallback, for a scrape.
	replaced map[string]int32
	// object is a ScaledObject, for a scrape.
	object *v1alpha1.ScaledObject
}

func (o owner) key() objectKey {
	return objectKey{o.kind, types.NamespacedName{Namespace: o.id.Namespace, Name: o.id.Name}}
}

func ofObject(so *v1alpha1.ScaledObject) owner {
	return owner{
		id:       federation.ID{Kind: scalerv1.KindScaledObject, Namespace: so.Namespace, Name: so.Name},
		triggers: so.Spec.Triggers, kind: kindObject, builtins: so.Modifiers() == nil,
		interval: longest(so.PollingInterval(), so.IdlePollingInterval),
	}
}

// longest is the longer interval; an annotation that is wrong counts as none.
func longest(polling time.Duration, idle func() (time.Duration, error)) time.Duration {
	if resting, err := idle(); err == nil {
		return max(polling, resting)
	}
	return polling
}

// inFallback are the replicas of the metrics in fallback: of two verdicts about
// one metric the first counts.
func inFallback(so *v1alpha1.ScaledObject) map[string]int32 {
	replaced := map[string]int32{}
	for _, verdict := range so.Status.Fallback {
		if _, there := replaced[verdict.Metric]; !there && verdict.Replicas != nil {
			replaced[verdict.Metric] = *verdict.Replicas
		}
	}
	return replaced
}

func ofJob(sj *v1alpha1.ScaledJob) owner {
	return owner{
		id:       federation.ID{Kind: scalerv1.KindScaledJob, Namespace: sj.Namespace, Name: sj.Name},
		triggers: sj.Spec.Triggers, kind: kindJob, interval: longest(sj.PollingInterval(), sj.IdlePollingInterval),
	}
}

// trigger tells of one trigger, by at most so many names, and returns how many
// it took.
func (c *Collector) trigger(all scrape, o owner, index, most int) int {
	if trigger := o.triggers[index]; trigger.Builtin() {
		if o.builtins {
			all.of(active, 1, o.labels(index, trigger.Type)...)
		}
		return 0
	}
	id := o.id
	id.Index = index
	state, ok := c.states(id)
	if !ok {
		return 0
	}
	if late, known := o.overdue(state, c.now()); known {
		all.of(overdue, late.Seconds(), o.id.Namespace, o.id.Name, scalerOf(o.triggers[index]), strconv.Itoa(index), o.kind)
	}
	specs, values := state.Specs[:min(len(state.Specs), most)], state.Values[:min(len(state.Values), most)]
	// What stands in for a metric comes before what was read of it last.
	for _, spec := range specs {
		o.fallback(all, index, spec)
	}
	for _, v := range values {
		labels := o.labels(index, scaling.MetricName(index, v.Metric))
		all.of(value, v.Value, labels...)
		all.of(active, number(v.Active), labels...)
	}
	for _, spec := range specs {
		if state.Outcome != scaling.Pending {
			all.of(latency, state.Took.Seconds(), o.labels(index, scaling.MetricName(index, spec.Name))...)
		}
	}
	return max(len(specs), len(values))
}

// alwaysFresh is how old what is known of a trigger may be whatever its polling
// interval says: a family tells every five seconds that nothing has changed.
const alwaysFresh = 30 * time.Second

// overdue is for how long a trigger should have been heard of again. It is not
// known of one that its family has refused, which fails and is not late.
func (o owner) overdue(state federation.State, now time.Time) (late time.Duration, known bool) {
	heard := state.HeardAt
	if heard.IsZero() {
		heard = state.Since
	}
	if heard.IsZero() || state.Rejected != nil {
		return 0, false
	}
	return max(0, now.Sub(heard)-max(2*o.interval, alwaysFresh)), true
}

// fallback tells what stands in for a metric that keeps failing. What a Value
// target comes to depends on the ready pods, which only the adapter counts.
func (o owner) fallback(all scrape, index int, spec federation.MetricSpec) {
	kind, metric := o.triggers[index].TargetType(), scaling.MetricName(index, spec.Name)
	replicas, replaced := o.replaced[metric]
	if !replaced || kind == autoscalingv2.ValueMetricType {
		return
	}
	if v, err := scaling.FallbackValue(spec.Target, kind, replicas, 0); err == nil {
		all.of(value, v, o.labels(index, metric)...)
		all.of(active, 1, o.labels(index, metric)...)
	}
}

// composite tells what the formula of an object came to at the last decision.
func (c *Collector) composite(all scrape, so *v1alpha1.ScaledObject) {
	formula := c.formulas(client.ObjectKeyFromObject(so))
	if formula == nil {
		return
	}
	labels := []string{so.Namespace, scaling.CompositeMetric, so.Name, scaling.CompositeMetric, "0", kindObject}
	all.of(value, formula.Value, labels...)
	all.of(active, number(formula.Active), labels...)
}

// labels are the values of perTrigger. KEDA calls a ScaledJob scaledObject here,
// too.
func (o owner) labels(index int, metric string) []string {
	return []string{o.id.Namespace, metric, o.id.Name, scalerOf(o.triggers[index]), strconv.Itoa(index), o.kind}
}

// scalerOf is the value of label scaler.
func scalerOf(trigger v1alpha1.ScaleTrigger) string {
	if trigger.Name != "" {
		return short(trigger.Name)
	}
	return short(scalerLabel(trigger.Type))
}

// mostOfLabel is more than any name of an object has. What users write is in
// every series of each of the trigger's metrics.
const mostOfLabel = 256

// short cuts a label's value, between two characters.
func short(text string) string {
	if len(text) <= mostOfLabel {
		return text
	}
	return strings.ToValidUTF8(text[:mostOfLabel], "")
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
