// Package probe asks for what an object is scaled on, now: its families by a
// forwarded port, or where they do not answer the user the metrics adapter.
package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/peers"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Who answered.
const (
	ByFamily  = "family"
	ByAdapter = "metrics adapter"
)

// Metric is one of a trigger's.
type Metric struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	// Target is what the value is brought to, absent where nobody said.
	Target *float64 `json:"target,omitempty"`
	// Age is how old the value is in seconds, where the metrics adapter said it.
	Age *float64 `json:"age,omitempty"`
}

// Answer is what there is to say of one trigger.
type Answer struct {
	Trigger int    `json:"trigger"`
	Type    string `json:"type"`
	// By is who answered, "" for nobody, and Pod which Pod of the family.
	By  string `json:"by,omitempty"`
	Pod string `json:"pod,omitempty"`
	// Metrics are the values, as far as there are some.
	Metrics []Metric `json:"metrics,omitempty"`
	// Active is whether there is work, absent where that is not known.
	Active *bool `json:"active,omitempty"`
	// Took is how long the question took, in milliseconds.
	Took int64 `json:"tookMilliseconds"`
	// Error is why there is no value, and what to do.
	Error string `json:"error,omitempty"`
	// Code is the error's gRPC code.
	Code string `json:"code,omitempty"`
	// Note is why the family was not asked, or has nothing to do with it.
	Note string `json:"note,omitempty"`
}

// Report is what there is to say of an object.
type Report struct {
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Answers   []Answer `json:"triggers"`
}

// Failed reports whether a trigger has no value.
func (r *Report) Failed() bool {
	for _, a := range r.Answers {
		if a.Error != "" {
			return true
		}
	}
	return false
}

// Options say what is asked for.
type Options struct {
	Kind, Namespace, Name string
	// Trigger is the only one that is asked for, nil for all.
	Trigger *int
	// Timeout is how long one trigger may take.
	Timeout time.Duration
}

// subject is the object whose triggers are asked for.
type subject struct {
	Options
	triggers []v1alpha1.ScaleTrigger
	// served are those that families serve, by place.
	served map[int]federation.Trigger
	// metrics are the names that the object's HPA has.
	metrics []string
}

// Run asks for the triggers of an object.
func Run(ctx context.Context, c *Cluster, o Options) (*Report, error) {
	s, err := c.subject(ctx, o)
	if err != nil {
		return nil, err
	}
	if o.Trigger != nil && (*o.Trigger < 0 || *o.Trigger >= len(s.triggers)) {
		has := fmt.Sprintf("triggers 0 to %d", len(s.triggers)-1)
		if len(s.triggers) < 2 {
			has = map[int]string{0: "no trigger", 1: "trigger 0 alone"}[len(s.triggers)]
		}
		return nil, fmt.Errorf("--trigger: %s %s/%s has %s", o.Kind, o.Namespace, o.Name, has)
	}
	r := &Report{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, Answers: []Answer{}}
	for i, t := range s.triggers {
		if o.Trigger != nil && *o.Trigger != i {
			continue
		}
		a := Answer{Trigger: i, Type: t.Type}
		if t.Builtin() {
			a.Note = "the HPA reads it from the metrics of Pods: kubectl describe hpa"
		} else {
			c.ask(ctx, s, i, &a)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.Answers = append(r.Answers, a)
	}
	return r, nil
}

// subject reads the object.
func (c *Cluster) subject(ctx context.Context, o Options) (*subject, error) {
	s := &subject{Options: o, served: map[int]federation.Trigger{}}
	var served []federation.Trigger
	if o.Kind == scalerv1.KindScaledJob {
		var sj v1alpha1.ScaledJob
		if err := c.read(ctx, v1alpha1.GroupVersion.WithResource("scaledjobs"), o.Namespace, o.Name, &sj); err != nil {
			return nil, err
		}
		if v1alpha1.DefaultLimits.CutScaledJob(&sj); sj.Spec.Exceeds != "" {
			return nil, sj.Validate()
		}
		s.triggers, served = sj.Spec.Triggers, federation.TriggersOfJob(&sj)
	} else {
		var so v1alpha1.ScaledObject
		if err := c.read(ctx, v1alpha1.GroupVersion.WithResource("scaledobjects"), o.Namespace, o.Name, &so); err != nil {
			return nil, err
		}
		if v1alpha1.DefaultLimits.CutScaledObject(&so); so.Spec.Exceeds != "" {
			return nil, so.Validate()
		}
		var w federation.Workload
		for _, t := range so.Spec.Triggers {
			if t.AuthenticationRef != nil || scalerv1.NameVariable(t.Metadata) {
				w = c.workload(ctx, &so)
				break
			}
		}
		s.triggers, served, s.metrics = so.Spec.Triggers, federation.TriggersOf(&so, w), so.Status.ExternalMetricNames
	}
	for _, t := range served {
		s.served[t.Index] = t
	}
	return s, nil
}

// ask asks for one trigger.
func (c *Cluster) ask(ctx context.Context, s *subject, i int, a *Answer) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	begin := time.Now()
	err := c.askFamily(ctx, s.served[i], a)
	a.Took = time.Since(begin).Milliseconds()
	var unaskable *peers.UnaskableError
	switch {
	case err == nil:
	case !errors.As(err, &unaskable):
		a.failed(err)
	case s.Kind == scalerv1.KindScaledJob:
		a.By, a.Pod = "", ""
		a.failed(fmt.Errorf("%s; a ScaledJob has no HPA whose metric could be asked for", unaskable.Why))
	default:
		a.Note, a.Pod = unaskable.Why, ""
		begin = time.Now()
		if err := c.askAdapter(ctx, s, i, a); err != nil {
			a.failed(err)
		}
		a.Took = time.Since(begin).Milliseconds()
	}
}

func (a *Answer) failed(err error) {
	a.Error = err.Error()
	if s, is := status.FromError(err); is {
		a.Error, a.Code = s.Message(), s.Code().String()
	}
	a.Error = externalscaler.Message(a.Error)
	a.Metrics = nil
}

// askFamily asks a Pod of the family.
func (c *Cluster) askFamily(ctx context.Context, t federation.Trigger, a *Answer) error {
	if t.Unread != nil && (t.Authentication != "" || scalerv1.NameVariable(t.Metadata)) {
		return &peers.UnaskableError{Why: fmt.Sprintf("the target was not read: %v", t.Unread)}
	}
	ref, err := t.Ref()
	if err != nil {
		return err
	}
	peer, err := c.families.Find(ctx, t.Type)
	if err != nil {
		return err
	}
	a.By, a.Pod = ByFamily, peer.Name
	session, err := peer.Open()
	if err != nil {
		return err
	}
	defer session.Close()
	return session.Why(ctx, values(ctx, externalscaler.NewExternalScalerClient(session), ref, a))
}

// values fills in what a family says.
func values(ctx context.Context, scaler externalscaler.ExternalScalerClient, ref *externalscaler.ScaledObjectRef, a *Answer) error {
	specs, err := scaler.GetMetricSpec(ctx, ref)
	if err != nil {
		return err
	}
	for _, spec := range specs.GetMetricSpecs() {
		got, err := scaler.GetMetrics(ctx, &externalscaler.GetMetricsRequest{ScaledObjectRef: ref, MetricName: spec.GetMetricName()})
		if err != nil {
			return err
		}
		m := Metric{Name: spec.GetMetricName()}
		target := number(spec.GetTargetSizeFloat(), spec.GetTargetSize()) //nolint:staticcheck // as the contract has it
		m.Target = &target
		for _, v := range got.GetMetricValues() {
			m.Value += number(v.GetMetricValueFloat(), v.GetMetricValue()) //nolint:staticcheck // as the contract has it
		}
		a.Metrics = append(a.Metrics, m)
	}
	active, err := scaler.IsActive(ctx, ref)
	if err != nil {
		return err
	}
	is := active.GetResult()
	a.Active = &is
	return nil
}

// number is the value, whichever field it is in.
func number(float float64, whole int64) float64 {
	if float != 0 {
		return float
	}
	return float64(whole)
}

// askAdapter asks for the trigger's metrics as the HPA does.
func (c *Cluster) askAdapter(ctx context.Context, s *subject, i int, a *Answer) error {
	a.By = ByAdapter
	found := false
	for _, name := range s.metrics {
		if !strings.HasPrefix(name, fmt.Sprintf("s%d-", i)) {
			continue
		}
		found = true
		r, err := c.adapter(ctx, s.Namespace, s.Name, name)
		if err != nil {
			return fmt.Errorf("metric %s: %w", name, err)
		}
		quantity, err := resource.ParseQuantity(r.Value)
		if err != nil {
			return fmt.Errorf("metric %s: %w", name, err)
		}
		m := Metric{Name: name, Value: quantity.AsApproximateFloat64()}
		if !r.Timestamp.IsZero() {
			age := max(time.Since(r.Timestamp.Time), 0).Seconds()
			m.Age = &age
		}
		a.Metrics = append(a.Metrics, m)
	}
	if !found {
		return fmt.Errorf("its status names no metric of trigger %d yet: kubectl describe scaledobject", i)
	}
	return nil
}
