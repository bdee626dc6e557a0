package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/document"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/kube"
)

// kubernetesResource scales on a number that stands in a ConfigMap or Secret of
// the namespace.
var kubernetesResource = scaler.Define("kubernetes-resource", openResource,
	scaler.RingsAt("nothing: it is the watch on the one object that reads it"))

// resourceParams is the metadata of a kubernetes-resource trigger.
type resourceParams struct {
	scaler.Object `question:"namespace"`

	// ResourceKind is the kind of the object.
	ResourceKind string `param:"resourceKind,required" enum:"ConfigMap,Secret"`
	// ResourceName is the object's name, in the namespace of the scaled object.
	ResourceName string `param:"resourceName,required"`
	// Key is the key of the object's data.
	Key string `param:"key,required"`
	// Format is how to read what stands there.
	Format string `param:"format" default:"number" enum:"number,json,yaml"`
	// ValueLocation is where in it the number stands: a GJSON path of json, keys
	// and list positions with dots between them of yaml.
	ValueLocation string `param:"valueLocation"`
	// ValueType is what kind of number it is; a quantity is one such as 500m.
	ValueType string `param:"valueType" default:"float64" enum:"float64,int64,quantity"`
	// TargetValue is the target.
	TargetValue float64 `param:"targetValue,required" role:"target"`
	// ActivationTargetValue is the activation threshold.
	ActivationTargetValue float64 `param:"activationTargetValue" default:"0" role:"activation"`
}

// Validate checks the target, and that a location is given where there is one.
func (p resourceParams) Validate() error {
	var problems []error
	if p.TargetValue <= 0 && !p.MetricSource {
		problems = append(problems, errors.New("targetValue: must be a positive number"))
	}
	switch {
	case p.Format == number && p.ValueLocation != "":
		problems = append(problems, errors.New("valueLocation: is for format json and yaml; a number has none"))
	case p.Format != number && p.ValueLocation == "":
		problems = append(problems, fmt.Errorf("valueLocation: is required with format %s", p.Format))
	}
	return errors.Join(problems...)
}

// Metrics are named after the object and the key.
func (p resourceParams) Metrics() []scaler.Metric {
	return []scaler.Metric{{
		Name:       scaler.MetricName(strings.ToLower(p.ResourceKind), p.ResourceName, p.Key),
		Target:     p.TargetValue,
		Activation: p.ActivationTargetValue,
	}}
}

// The values of format and valueType that are no defaults of a switch.
const (
	number   = "number"
	float    = "float64"
	integer  = "int64"
	quantity = "quantity"
)

// data are the texts of one object.
type data map[string]string

// configMaps and secrets are watched one by one, by name.
var (
	configMaps = kube.Kind[*corev1.ConfigMap, data]{
		Group: corev1.SchemeGroupVersion, Resource: "configmaps", Role: role,
		Keep: func(c *corev1.ConfigMap) data { return c.Data },
	}
	secrets = kube.Kind[*corev1.Secret, data]{
		Group: corev1.SchemeGroupVersion, Resource: "secrets", Role: role,
		Keep: func(s *corev1.Secret) data {
			texts := data{}
			for key, value := range s.Data {
				texts[key] = string(value)
			}
			return texts
		},
	}
)

// resourceSource reads one key of one object.
type resourceSource struct {
	view   *kube.View[data]
	params resourceParams
}

func openResource(ctx context.Context, p resourceParams) (scaler.Source, error) {
	watch := configMaps.Watch
	if p.ResourceKind == "Secret" {
		watch = secrets.Watch
	}
	view, err := watch(ctx, kube.Selection{Namespace: p.Namespace, Name: p.ResourceName})
	if err != nil {
		return nil, err
	}
	return &resourceSource{view: view, params: p}, nil
}

// Read returns the number that stands there now. An error says where it looked
// and nothing of what it found.
func (s *resourceSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	object, exists := data(nil), false
	err := s.view.Visit(ctx, func(_ string, o data) { object, exists = o, true })
	if err != nil {
		return nil, err
	}
	value, err := 0.0, errAbsent
	if exists {
		value, err = s.params.find(object)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s %s/%s, key %s: %w", s.params.ResourceKind, s.params.Namespace, s.params.ResourceName, s.params.Key, err)
	case math.IsNaN(value), math.IsInf(value, 0):
		return nil, scaler.ErrNoData
	}
	return scaler.One(value), nil
}

var errAbsent = status.Error(codes.NotFound, "the object does not exist")

// find reads the object's key.
func (p resourceParams) find(object data) (float64, error) {
	text, found := object[p.Key]
	if !found {
		return 0, status.Error(codes.NotFound, "the object has no such key")
	}
	if p.Format == number {
		return p.ofText(text)
	}
	parsed, err := document.Parse(p.Format, []byte(text))
	if err != nil {
		return 0, err
	}
	value, err := parsed.Find(p.ValueLocation)
	switch {
	case err != nil:
		return 0, err
	case p.Format == "json":
		return p.ofJSON(value)
	default:
		return p.ofYAML(value)
	}
}

// ofText reads a number that stands alone. KEDA reads "12abc" as 12; that is
// more likely a mistake than a number.
func (p resourceParams) ofText(text string) (float64, error) {
	text = strings.TrimSpace(text)
	if p.ValueType == quantity {
		value, err := document.Quantity(text)
		return value, wrong(err)
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, status.Error(codes.FailedPrecondition, "the value is not a number")
	}
	return p.whole(value), nil
}

// ofJSON reads what JSON has: texts are quantities, and no integers.
func (p resourceParams) ofJSON(value document.Value) (float64, error) {
	if p.ValueType == integer && value.IsText {
		return 0, status.Error(codes.FailedPrecondition, "what stands at "+p.ValueLocation+" is a text and not an integer")
	}
	number, err := value.Number()
	return p.whole(number), err
}

// ofYAML reads what YAML has: a text is a number unless a quantity is meant.
// Numbers are never truncated here, as in KEDA.
func (p resourceParams) ofYAML(value document.Value) (float64, error) {
	if p.ValueType == quantity || !value.IsText {
		return value.Number()
	}
	text := p
	text.ValueType = float
	return text.ofText(value.Text)
}

// whole truncates where an integer is meant.
func (p resourceParams) whole(value float64) float64 {
	if p.ValueType == integer {
		return math.Trunc(value)
	}
	return value
}

func wrong(err error) error {
	if err == nil {
		return nil
	}
	return status.Error(codes.FailedPrecondition, "the value "+err.Error())
}

// Listen rings when the key's text changes.
func (s *resourceSource) Listen(ctx context.Context, listening, ring func()) error {
	return s.view.Listen(ctx, listening, ring, func(before, after *data) bool {
		return before == nil || after == nil || (*before)[s.params.Key] != (*after)[s.params.Key]
	})
}

// Close has nothing of its own to release: the view is shared.
func (s *resourceSource) Close() error { return nil }
