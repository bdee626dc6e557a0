package trigger

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
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/params"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Define makes a trigger type out of a params struct and the function that
// opens its source. The params' tags are described at plan; one that makes no
// sense panics, as a mistake of the family and not of its users.
func Define[P contract.Params](triggerType string, open contract.Open[P], options ...Option) Trigger {
	d := &definition[P]{
		triggerType: triggerType,
		open:        open,
		plan:        params.Of(reflect.TypeFor[P]()),
		traits:      traits{noData: contract.NoDataError, detection: scalerv1.Detection_DETECTION_POLLING},
	}
	for _, option := range options {
		option(&d.traits)
	}
	d.checkMetrics()
	d.description = describe(triggerType, d.plan, d.traits)
	return Trigger{Type: triggerType, ofObject: d.plan.OfObject(), bind: d.bind, description: d.description}
}

// definition is a trigger type.
type definition[P contract.Params] struct {
	triggerType string
	open        contract.Open[P]
	plan        *params.Plan
	traits      traits
	description *scalerv1.TriggerType
}

// bind understands one trigger of one object. Without credentials (nil) the
// binding is partial when the trigger refers to any: it has metrics, unless a
// variable may be part of their names, but no question and no source yet. An
// error is InvalidArgument and has every problem.
func (d *definition[P]) bind(r Request, creds *contract.Credentials) (*Binding, error) {
	f, wrong := r.Facts()
	var values P
	target := reflect.ValueOf(&values).Elem()
	from := params.Given{Lookup: lookupFor(r, f, creds), Object: &f.Object, PassThrough: d.traits.passThrough}
	var warnings []string
	if creds != nil {
		from.Identity, warnings = &creds.PodIdentity, slices.Clone(creds.Warnings)
	}
	filled := d.plan.Fill(target, from)
	wrong, warnings = append(wrong, filled.Problems...), append(warnings, filled.Warnings...)
	var metrics []contract.Metric
	if len(wrong) == 0 {
		metrics = named(d.metrics(values))
		checkMetrics(&wrong, metrics, d.plan.TargetKey(), f.Object.MetricSource)
	}
	unknown := d.description.Unknown(from.Metadata)
	if err := wrong.Err(d.triggerType, append(slices.Clone(warnings), unknown...)...); err != nil {
		return nil, &RejectionError{err, d.knownMetrics(values), wrong.Texts()}
	}

	b := &Binding{
		Object:   f.Object,
		Metrics:  metrics,
		Open:     openUnresolved,
		Shape:    shapeOf(values),
		Timeout:  readTimeoutOf(values),
		NoData:   cmp.Or(f.noData, noDataOf(values, d.traits.noData)),
		Silent:   silenceOf(values),
		Warnings: append(warnings, unknown...),
	}
	if !filled.Pending {
		b.Warnings = append(b.Warnings, warningsOf(values)...)
		if creds != nil {
			b.Hosts = creds.Hosts
		}
		b.Question = d.plan.Question(d.triggerType, target, b.Hosts)
		b.Open = func(ctx context.Context) (contract.Source, error) { return d.open(ctx, values) }
	}
	return b, nil
}

// checkMetrics panics where the metrics of the type cannot be known.
func (d *definition[P]) checkMetrics() {
	typ := reflect.TypeFor[P]()
	switch {
	case typ.Implements(reflect.TypeFor[contract.Metered]()):
	case !typ.Implements(reflect.TypeFor[contract.Named]()):
		panic(fmt.Sprintf("%s: has neither a Name nor Metrics", typ))
	case d.plan.TargetKey() == "":
		panic(fmt.Sprintf("%s: one parameter has the role target where there are no Metrics", typ))
	}
}

// metrics are what the params say themselves, else the one that they name.
func (d *definition[P]) metrics(values P) []contract.Metric {
	switch p := any(values).(type) {
	case contract.Metered:
		return p.Metrics()
	case contract.Named:
		if name := p.Name(); name != "" {
			target, activation := d.plan.Thresholds(reflect.ValueOf(values))
			return []contract.Metric{{Name: name, Target: target, Activation: activation}}
		}
	}
	return nil
}

// describe says what a trigger type is.
func describe(triggerType string, p *params.Plan, t traits) *scalerv1.TriggerType {
	return &scalerv1.TriggerType{
		Type:                   triggerType,
		Purpose:                p.Purpose(triggerType),
		Detection:              t.detection,
		DetectionCost:          t.detectionCost,
		AcceptsOtherParameters: t.passThrough,
		Parameters:             p.Parameters(),
	}
}

// lookupFor gathers the sources of a request. Without credentials only what
// the request carries itself is known.
func lookupFor(r Request, f Facts, creds *contract.Credentials) params.Lookup {
	l := params.Lookup{Metadata: r.userMetadata(), Env: scalerv1.LiteralEnv(f.References.Env)}
	if creds == nil {
		l.AuthPending = f.References.Authentication != "" || len(f.References.Inline) > 0
		l.EnvPending = true
		return l
	}
	l.Auth, l.FixedBy = creds.Parameters, creds.FixedBy
	for name, text := range creds.Env {
		l.Env[name] = text
	}
	return l
}

// RejectionError says why a trigger cannot be served, and which metrics it would
// have as far as what is wrong leaves them known.
type RejectionError struct {
	error
	Metrics  []contract.Metric
	Problems []string
}

// GRPCStatus makes the status package see the code and the text alone.
func (r *RejectionError) GRPCStatus() *status.Status { return status.Convert(r.error) }

// knownMetrics are the metrics of params of which something is wrong, none where
// they cannot be told.
func (d *definition[P]) knownMetrics(values P) (metrics []contract.Metric) {
	defer func() {
		if recover() != nil { // Metrics relies on what Validate has refused
			metrics = nil
		}
	}()
	metrics = named(d.metrics(values))
	var wrong params.Problems
	if checkMetrics(&wrong, metrics, "", false); len(wrong) > 0 {
		return nil
	}
	return metrics
}

// named returns the metrics unless a name is made of what is not resolved yet:
// an HPA must not be built on it.
func named(metrics []contract.Metric) []contract.Metric {
	for _, m := range metrics {
		if strings.Contains(m.Name, params.Unresolved) {
			return nil
		}
	}
	return metrics
}

// openUnresolved is the source of a partial binding.
func openUnresolved(context.Context) (contract.Source, error) {
	return nil, status.Error(codes.FailedPrecondition, "credentials are not resolved yet")
}

func shapeOf(params any) func([]contract.Reading) []contract.Reading {
	if s, ok := params.(contract.Shaper); ok {
		return s.Shape
	}
	return func(raw []contract.Reading) []contract.Reading { return raw }
}

func silenceOf(params any) string {
	if s, ok := params.(contract.Silent); ok {
		return s.Silent()
	}
	return ""
}

func readTimeoutOf(params any) time.Duration {
	if p, ok := params.(contract.ReadTimeouter); ok {
		return p.ReadTimeout()
	}
	return 0
}

func noDataOf(params any, usual contract.NoDataRule) contract.NoDataRule {
	if m, ok := params.(contract.Missing); ok {
		return m.NoData()
	}
	return usual
}

func warningsOf(params any) []string {
	if w, ok := params.(contract.Warner); ok {
		return w.Warnings()
	}
	return nil
}

// longestName is that of a metric, in bytes.
const longestName = 4 << 10

// checkMetrics refuses targets that make no HPA, and names that are there twice or
// long.
// Triggers that only feed a formula need no target.
func checkMetrics(p *params.Problems, metrics []contract.Metric, key string, metricSource bool) {
	seen := map[string]bool{}
	for _, m := range metrics {
		if len(m.Name) > longestName {
			p.Add("name of a metric", fmt.Errorf("has %d bytes, more than %d", len(m.Name), longestName))
			continue
		}
		if seen[m.Name] {
			p.Add("metric "+m.Name, errors.New("is there twice"))
		}
		seen[m.Name] = true
		if key == "" || len(metrics) > 1 {
			key = "target of metric " + m.Name
		}
		if err := checkTarget(m.Target); err != nil && !metricSource && !p.About(key) {
			p.Add(key, err)
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
