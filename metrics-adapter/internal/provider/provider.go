// Package provider answers the HPA controller's questions for external
// metrics. It keeps no values: every answer comes from the family that has the
// reading, and what a family cannot tell comes from the verdict that the
// controller wrote into the object's status.
package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/metrics/pkg/apis/external_metrics"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// Budget is how long one answer may take in all. The HPA controller has five
// workers: a hundred objects on a stalled source must not delay the others.
const Budget = 500 * time.Millisecond

// Families is what the provider asks of the federation.
type Families interface {
	GetMetrics(ctx context.Context, t federation.Trigger, metric string) (float64, error)
}

// templateFor is how long the metrics of an object share a target's template
// that was read for one of them.
const templateFor = 5 * time.Second

// Provider implements provider.ExternalMetricsProvider. Its state is the cache
// of Objects, Ready, formulas that are compiled, and for a moment what Cluster said
// and what triggers know of their targets.
type Provider struct {
	// Objects reads from a cache: ScaledObjects, HPAs as StripHPA leaves them,
	// and workloads of apps/v1.
	Objects client.Reader
	// Namespaces are those whose ScaledObjects there are for the adapter; none
	// is all.
	Namespaces []string
	// Ready knows the pods that some answers are divided by.
	Ready *ReadyPods
	// Cluster reads targets of other kinds, uncached.
	Cluster  client.Reader
	Families Families
	Now      func() time.Time

	formulas  formulas
	templates recently[scaleTarget, readTarget]
	known     recently[edition, triggers]
	answering places
	reading   places
}

const (
	// mostAnswers are in the making at once, mostAnswersOfOne of a namespace:
	// whoever may read its metrics decides how many are asked for, and each may
	// take all of Budget.
	mostAnswers, mostAnswersOfOne = 128, 32
	// mostReads of targets are under way at once, mostReadsOfOne of a namespace,
	// which decides how large they are.
	mostReads, mostReadsOfOne = 4, 1
)

// GetExternalMetric answers for one metric of the ScaledObject that selector
// names.
func (p *Provider) GetExternalMetric(
	ctx context.Context, namespace string, selector labels.Selector, info provider.ExternalMetricInfo,
) (*external_metrics.ExternalMetricValueList, error) {
	ctx, cancel := context.WithTimeout(ctx, Budget)
	defer cancel()
	leave, ok := p.answering.enter(ctx, mostAnswers, mostAnswersOfOne, namespace)
	if !ok {
		return nil, apierrors.NewTooManyRequests(
			fmt.Sprintf("more than %d metrics of namespace %s are asked for at once, and their answers take long", mostAnswersOfOne, namespace), 1)
	}
	defer leave()
	so, err := p.object(ctx, namespace, selector)
	if err != nil {
		return nil, err
	}
	if age, nudged := p.nudged(selector); nudged {
		ctx = federation.NotOlderThan(ctx, age)
	}
	name, value, err := p.answer(ctx, so, asNamed(so, info.Metric))
	if err != nil {
		return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: 500, Reason: metav1.StatusReasonInternalError,
			Message: fmt.Sprintf("ScaledObject %s/%s, metric %s: %s", namespace, so.Name, info.Metric, oneLine(err)),
		}}
	}
	return &external_metrics.ExternalMetricValueList{Items: []external_metrics.ExternalMetricValue{{
		MetricName: name,
		Timestamp:  metav1.NewTime(p.Now()).Rfc3339Copy(),
		Value:      scaling.Quantity(value),
	}}}, nil
}

// ListAllExternalMetrics names one metric for all: discovery costs the same
// however many objects there are.
func (p *Provider) ListAllExternalMetrics() []provider.ExternalMetricInfo {
	return []provider.ExternalMetricInfo{{Metric: "externalmetrics"}}
}

// object finds the ScaledObject that a selector names. Further pairs are
// ignored, as in KEDA.
func (p *Provider) object(ctx context.Context, namespace string, selector labels.Selector) (*v1alpha1.ScaledObject, error) {
	name, err := named(selector)
	if err != nil {
		return nil, err
	}
	if len(p.Namespaces) > 0 && !slices.Contains(p.Namespaces, namespace) {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "scaledobjects"}, name)
	}
	so := &v1alpha1.ScaledObject{}
	err = p.Objects.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, so)
	return so, err
}

// named is the name of a ScaledObject in pairs of key=value.
func named(selector labels.Selector) (string, error) {
	name := ""
	requirements, _ := selector.Requirements()
	for _, r := range requirements {
		if r.Operator() != selection.Equals && r.Operator() != selection.DoubleEquals {
			return "", apierrors.NewBadRequest(fmt.Sprintf("label selector %q: only pairs of key=value can be answered", selector))
		}
		if r.Key() == v1alpha1.LabelScaledObjectName {
			name, _ = r.Values().PopAny()
		}
	}
	if name == "" {
		return "", apierrors.NewBadRequest(fmt.Sprintf(
			"label selector %q does not name a ScaledObject: %s=<name> is required", selector, v1alpha1.LabelScaledObjectName))
	}
	return name, nil
}

// nudgeFor is how long an HPA that was made to look is expected to do so; it keeps
// the pair that made it.
const nudgeFor = 5 * time.Second

// nudged is how old the reading is, by our own clock, for which an HPA was made to
// look. The answer is to be of that one or a later one.
func (p *Provider) nudged(selector labels.Selector) (age time.Duration, ok bool) {
	value, found := selector.RequiresExactMatch(v1alpha1.LabelNudge)
	if !found {
		return 0, false
	}
	read, ok := scaling.NudgedBy(value)
	age = max(p.Now().Sub(read), 0)
	return age, ok && age < nudgeFor
}

// asNamed is the object's own spelling of a metric's name: upper and lower case
// are the same to who asks, as in KEDA.
func asNamed(so *v1alpha1.ScaledObject, metric string) string {
	for _, name := range append([]string{scaling.CompositeMetric}, so.Status.ExternalMetricNames...) {
		if strings.EqualFold(name, metric) {
			return name
		}
	}
	return metric
}

// answer is what the HPA is told of one metric; name is how the answer is called.
func (p *Provider) answer(ctx context.Context, so *v1alpha1.ScaledObject, metric string) (name string, value float64, err error) {
	if so, err = p.risen(ctx, so, metric); err != nil {
		return "", 0, err
	}
	name, value, err = p.value(ctx, so, metric)
	if err == nil {
		value = p.held(ctx, so, name, value)
	}
	return name, value, err
}

// value answers for one metric; name is how the answer is called.
func (p *Provider) value(ctx context.Context, so *v1alpha1.ScaledObject, metric string) (name string, value float64, err error) {
	if so.Spec.Exceeds != "" { // the rest of it is not known
		return "", 0, errors.New(so.Spec.Exceeds)
	}
	ask, err := p.asking(ctx, so)
	if err != nil {
		return "", 0, err
	}
	if so.Modifiers() != nil {
		switch own, err := p.isOfTheHPA(ctx, so, metric); {
		case err != nil:
			return "", 0, err
		case !own:
			value, err = p.composite(ctx, so, ask)
			return scaling.CompositeMetric, value, err
		}
	}
	index, own, ok := scaling.SplitMetricName(metric)
	if !ok {
		return "", 0, errors.New("the name has no s<trigger index>- prefix")
	}
	for _, t := range ask.triggers {
		if t.Index == index {
			value, err = p.metric(ctx, so, ask, t, metric, own)
			return metric, value, err
		}
	}
	return "", 0, fmt.Errorf("there is no trigger %d", index)
}

// isOfTheHPA reports whether the HPA steers by a metric of one trigger although
// there is a formula: one that was added while the family could not be asked.
// The formula's result must not be divided by that metric's target. Otherwise
// every name means the formula's, as in KEDA. The error says that nobody knows.
func (p *Provider) isOfTheHPA(ctx context.Context, so *v1alpha1.ScaledObject, metric string) (bool, error) {
	if metric == scaling.CompositeMetric {
		return false, nil
	}
	_, _, err := p.target(ctx, so, metric)
	if errors.Is(err, errHPANotKept) {
		return false, err
	}
	return err == nil, nil
}

// metric answers for one metric of one trigger: the family's value, raised for
// a while after a jump from zero, or else what fallback says.
func (p *Provider) metric(ctx context.Context, so *v1alpha1.ScaledObject, ask *asking, t federation.Trigger, metric, own string) (float64, error) {
	value, err := ask.family(ctx, t, own)
	if err != nil {
		return p.fallback(ctx, so, metric, failed(t, err))
	}
	a := so.Status.Activation
	if a == nil || a.Metric != metric || p.Now().Sub(a.Time.Time) >= scaling.ActivationWindow {
		return value, nil
	}
	if target, _, err := p.target(ctx, so, metric); err == nil {
		value = scaling.ActivationValue(value, target, metric, a, p.Now())
	}
	return value, nil
}

// held is what of a value the HPA may be told after a rise from zero, which its
// memory of scaleUp policies does not know.
func (p *Provider) held(ctx context.Context, so *v1alpha1.ScaledObject, metric string, value float64) float64 {
	ceiling, held := scaling.Ceiling(so, p.Now())
	if !held {
		return value
	}
	target, kind, err := p.target(ctx, so, metric)
	if err != nil {
		return value // the HPA has no such metric
	}
	most, err := p.fallbackValue(ctx, so, target, kind, ceiling, nil)
	if err != nil {
		return value // without a ready pod a target of type Value asks for nothing
	}
	return min(value, most)
}

// composite reads every trigger and computes the formula, or what stands in for it.
func (p *Provider) composite(ctx context.Context, so *v1alpha1.ScaledObject, ask *asking) (float64, error) {
	formula, err := p.formulas.of(so)
	if err != nil {
		return 0, err
	}
	read, failures := p.readAll(ctx, so, ask)
	value, standIn, cause := scaling.Composite(so, formula, read, failures)
	if standIn == nil {
		return value, cause
	}
	target, err := so.Modifiers().TargetValue()
	if err != nil {
		return 0, err
	}
	return p.fallbackValue(ctx, so, target, so.Modifiers().TargetType(), *standIn, cause)
}

// readAll reads all metrics of all triggers at once.
func (p *Provider) readAll(ctx context.Context, so *v1alpha1.ScaledObject, ask *asking) ([]scaling.Trigger, []*scaling.TriggerError) {
	var wg guard.Parts
	read := make([]scaling.Trigger, len(ask.triggers))
	errs := make([]error, len(ask.triggers))
	for i, t := range ask.triggers {
		wg.Start(func() { read[i], errs[i] = p.read(ctx, so, ask, t) })
	}
	wg.Wait()
	var good []scaling.Trigger
	var failures []*scaling.TriggerError
	for i, t := range ask.triggers {
		if errs[i] != nil {
			failures = append(failures, failed(t, errs[i]))
			continue
		}
		good = append(good, read[i])
	}
	return good, failures
}

func (p *Provider) read(ctx context.Context, so *v1alpha1.ScaledObject, ask *asking, t federation.Trigger) (scaling.Trigger, error) {
	read := scaling.Trigger{Index: t.Index, Outcome: scaling.Value}
	for _, name := range so.Status.ExternalMetricNames {
		index, own, ok := scaling.SplitMetricName(name)
		if !ok || index != t.Index {
			continue
		}
		value, err := ask.family(ctx, t, own)
		if err != nil {
			return read, err
		}
		read.Metrics = append(read.Metrics, scaling.Metric{Name: name, Value: value})
	}
	if len(read.Metrics) == 0 {
		return read, errors.New("its metrics are not known yet")
	}
	return read, nil
}

// failed says which trigger could not be read.
func failed(t federation.Trigger, err error) *scaling.TriggerError {
	return &scaling.TriggerError{Index: t.Index, Type: t.Type, Err: err}
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
