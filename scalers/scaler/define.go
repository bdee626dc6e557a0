package scaler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Define makes a trigger type out of a params struct and the function that
// opens its source. The params' tags are described at plan; one that makes no
// sense panics, as a mistake of the family and not of its users.
func Define[P Params](triggerType string, open Open[P], options ...Option) Trigger {
	d := &definition[P]{
		triggerType: triggerType,
		open:        open,
		plan:        planOf(reflect.TypeFor[P]()),
		traits:      traits{noData: NoDataError, detection: scalerv1.Detection_DETECTION_POLLING},
	}
	for _, option := range options {
		option(&d.traits)
	}
	d.description = d.plan.describe(triggerType, d.traits)
	return Trigger{Type: triggerType, ofObject: d.plan.asksObject != "", bind: d.bind, description: d.description}
}

// definition is a trigger type.
type definition[P Params] struct {
	triggerType string
	open        Open[P]
	plan        *plan
	traits      traits
	description *scalerv1.TriggerType
}

// bind understands one trigger of one object. Without credentials (nil) the
// binding is partial when the trigger refers to any: it has metrics, unless a
// variable may be part of their names, but no question and no source yet. An error is InvalidArgument and has every
// problem.
func (d *definition[P]) bind(r request, creds *Credentials) (*binding, error) {
	f, wrong := r.facts()
	var params P
	work := &filling{
		lookup:   lookupFor(r, f, creds),
		target:   reflect.ValueOf(&params).Elem(),
		problems: wrong,
	}
	if creds != nil {
		work.warnings = slices.Clone(creds.Warnings)
	}
	work.fields(d.plan.fields)
	work.object(d.plan, &f.object, d.traits.passThrough)
	work.identity(d.plan, creds)
	if !work.pending {
		work.problems.merge(d.plan.validate(work.target))
		work.lending(d.plan, f.object.Namespace)
	}
	var metrics []Metric
	if len(work.problems) == 0 {
		metrics = named(params.Metrics())
		work.problems.metrics(metrics, d.plan.targetKey(), f.object.MetricSource)
	}
	unknown := d.description.Unknown(work.metadata)
	if err := work.problems.err(d.triggerType, append(slices.Clone(work.warnings), unknown...)...); err != nil {
		return nil, &rejection{err, knownMetrics(params), work.problems.texts()}
	}

	b := &binding{
		object:   f.object,
		metrics:  metrics,
		open:     openUnresolved,
		shape:    shapeOf(params),
		timeout:  readTimeoutOf(params),
		noData:   cmp.Or(f.noData, noDataOf(params, d.traits.noData)),
		silent:   silenceOf(params),
		warnings: work.warnings,
	}
	b.warnings = append(b.warnings, unknown...)
	if !work.pending {
		b.warnings = append(b.warnings, warningsOf(params)...)
		if creds != nil {
			b.hosts = creds.Hosts
		}
		b.question = d.plan.question(d.triggerType, work.target, b.hosts)
		b.open = func(ctx context.Context) (Source, error) { return d.open(ctx, params) }
	}
	return b, nil
}

// rejection says why a trigger cannot be served, and which metrics it would
// have as far as what is wrong leaves them known.
type rejection struct {
	error
	metrics  []Metric
	problems []string
}

// GRPCStatus makes the status package see the code and the text alone.
func (r *rejection) GRPCStatus() *status.Status { return status.Convert(r.error) }

// knownMetrics are the metrics of params of which something is wrong, none where
// they cannot be told.
func knownMetrics(params Params) (metrics []Metric) {
	defer func() {
		if recover() != nil { // Metrics relies on what Validate has refused
			metrics = nil
		}
	}()
	metrics = named(params.Metrics())
	var wrong problems
	if wrong.metrics(metrics, "", false); len(wrong) > 0 {
		return nil
	}
	return metrics
}

// named returns the metrics unless a name is made of what is not resolved yet:
// an HPA must not be built on it.
func named(metrics []Metric) []Metric {
	for _, m := range metrics {
		if strings.Contains(m.Name, unresolved) {
			return nil
		}
	}
	return metrics
}

// openUnresolved is the source of a partial binding.
func openUnresolved(context.Context) (Source, error) {
	return nil, status.Error(codes.FailedPrecondition, "credentials are not resolved yet")
}

func shapeOf(params any) func([]Reading) []Reading {
	if s, ok := params.(Shaper); ok {
		return s.Shape
	}
	return func(raw []Reading) []Reading { return raw }
}

func silenceOf(params any) string {
	if s, ok := params.(Silent); ok {
		return s.Silent()
	}
	return ""
}

func readTimeoutOf(params any) time.Duration {
	if p, ok := params.(ReadTimeouter); ok {
		return p.ReadTimeout()
	}
	return 0
}

func noDataOf(params any, usual NoDataRule) NoDataRule {
	if m, ok := params.(Missing); ok {
		return m.NoData()
	}
	return usual
}

func warningsOf(params any) []string {
	if w, ok := params.(Warner); ok {
		return w.Warnings()
	}
	return nil
}

// metrics refuses targets that make no HPA, and names that are there twice.
// Triggers that only feed a formula need no target.
func (p *problems) metrics(metrics []Metric, key string, metricSource bool) {
	seen := map[string]bool{}
	for _, m := range metrics {
		if seen[m.Name] {
			p.add("metric "+m.Name, errors.New("is there twice"))
		}
		seen[m.Name] = true
		if key == "" || len(metrics) > 1 {
			key = "target of metric " + m.Name
		}
		if err := checkTarget(m.Target); err != nil && !metricSource && !p.about(key) {
			p.add(key, err)
		}
	}
}

// checkTarget refuses what the autoscaler cannot divide by. Targets are told
// to it in thousandths.
func checkTarget(target float64) error {
	switch {
	case math.IsNaN(target) || math.IsInf(target, 0):
		return fmt.Errorf("target %v is not a finite number", target)
	case target <= 0:
		return fmt.Errorf("target %v is not greater than 0", target)
	case math.Round(target*1000) == 0:
		return fmt.Errorf("target %v is 0 when rounded to thousandths", target)
	}
	return nil
}
