package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/document"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/kube"
)

// kubernetesResource scales on a number that stands in a ConfigMap or Secret of
// the namespace.
var kubernetesResource = scaler.Define("kubernetes-resource", openResource,
	scaler.RingsAt("nothing for a ConfigMap, whose watch reads it; a Secret is read by name every interval, because nobody lists and watches Secrets"))

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
	// ValueLocation is where in it the number stands. In json it is a path such as
	// jobs.0.waiting, jobs.# (how many there are), jobs.#(name=="a").waiting (of
	// the first that fits) or jobs.#(state=="new")#|# (how many fit): GJSON's
	// syntax with keys, * and ?, #, queries, pipes, .. for lines and the modifiers
	// @this, @keys, @values and @flatten, in up to 32 steps and 512 bytes. In yaml
	// it is keys and list positions with dots between them.
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
	if p.ValueLocation != "" {
		if _, err := document.ParsePlace(p.Format, p.ValueLocation); err != nil {
			problems = append(problems, fmt.Errorf("valueLocation: %w", err))
		}
	}
	return errors.Join(problems...)
}

// Name is that of the object and the key.
func (p resourceParams) Name() string {
	return scaler.MetricName(strings.ToLower(p.ResourceKind), p.ResourceName, p.Key)
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

// configMaps are watched one by one, secrets read by name.
var (
	configMaps = kube.Kind[*corev1.ConfigMap, data]{
		Group: corev1.SchemeGroupVersion, Resource: "configmaps", Role: role,
		Keep: func(c *corev1.ConfigMap) data { return c.Data },
		Size: func(d data) int { return kube.SizeOf(d) },
	}
	secrets = kube.Kind[*corev1.Secret, data]{
		Group: corev1.SchemeGroupVersion, Resource: "secrets", Role: role,
		Size: func(d data) int { return kube.SizeOf(d) },
		Keep: func(s *corev1.Secret) data {
			texts := data{}
			for key, value := range s.Data {
				texts[key] = string(value)
			}
			return texts
		},
	}
)

// lookup is params with the place understood once.
type lookup struct {
	resourceParams
	place document.Place
}

func newLookup(p resourceParams) (l lookup, err error) {
	l.resourceParams = p
	if p.Format == number {
		return l, nil
	}
	if l.place, err = document.ParsePlace(p.Format, p.ValueLocation); err != nil {
		return l, fmt.Errorf("valueLocation: %w", err)
	}
	return l, nil
}

func openResource(ctx context.Context, p resourceParams) (scaler.Source, error) {
	l, err := newLookup(p)
	if err != nil {
		return nil, err
	}
	if p.ResourceKind == "Secret" {
		if err := restricted(os.Getenv, p); err != nil {
			return nil, err
		}
		reader, err := secrets.ByName(ctx, p.Namespace, p.ResourceName)
		if err != nil {
			return nil, err
		}
		object, err := client.Shared(ctx, []any{p.Namespace, p.ResourceName}, func(context.Context) (*secret, error) { return &secret{reader}, nil })
		return scaler.Join(object, &secretSource{lookup: l}), err
	}
	view, err := configMaps.Watch(ctx, kube.Selection{Namespace: p.Namespace, Name: p.ResourceName})
	return &configMapSource{view: view, lookup: l}, err
}

// restricted refuses Secrets of other namespaces than that of cluster-wide
// objects where the process is told to, by KEDA's variables.
func restricted(getenv func(string) string, p resourceParams) error {
	allowed := cmp.Or(getenv("KEDA_CLUSTER_OBJECT_NAMESPACE"), "keda")
	if on, _ := strconv.ParseBool(getenv("KEDA_RESTRICT_SECRET_ACCESS")); !on || p.Namespace == allowed {
		return nil
	}
	return scaler.Errorf(codes.PermissionDenied, "Secret %s/%s is not read: KEDA_RESTRICT_SECRET_ACCESS allows those of namespace %s alone",
		p.Namespace, p.ResourceName, allowed)
}

// configMapSource reads one key of one ConfigMap, which is watched.
type configMapSource struct {
	view   *kube.View[data]
	lookup lookup
}

// Read returns the number that stands there now.
func (s *configMapSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	object, exists := data(nil), false
	err := s.view.Visit(ctx, func(_ string, o data) { object, exists = o, true })
	if err != nil {
		return nil, err
	}
	return s.lookup.reading(ctx, object, exists)
}

// Listen rings when the key's text changes.
func (s *configMapSource) Listen(ctx context.Context, listening, ring func()) error {
	return s.view.Listen(ctx, listening, ring, func(before, after *data) bool {
		return before == nil || after == nil || (*before)[s.lookup.Key] != (*after)[s.lookup.Key]
	})
}

// secret is one Secret, read by its name: nobody lists and watches Secrets. It
// is the batch of its sources.
type secret struct{ reader *kube.Reader[data] }

// Part says that the connection is that of all readers.
func (s *secret) Part() {}

// ReadBatch reads the Secret once for all of its keys.
func (s *secret) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	object, exists, err := s.reader.Read(ctx)
	if err != nil {
		return err
	}
	for i, source := range sources {
		readings, err := source.(*secretSource).lookup.reading(ctx, object, exists)
		answer(i, scaler.Result{Readings: readings, Err: err})
	}
	return nil
}

// Undivided says that a key by itself is read like all of them.
func (s *secret) Undivided() {}

// secretSource reads one key of one Secret.
type secretSource struct {
	scaler.Member
	lookup lookup
}

// reading makes a reading of an object. An error says where it looked and
// nothing of what it found.
func (l lookup) reading(ctx context.Context, object data, exists bool) ([]scaler.Reading, error) {
	value, err := 0.0, errAbsent
	if exists {
		value, err = l.find(ctx, object)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s %s/%s, key %s: %w", l.ResourceKind, l.Namespace, l.ResourceName, l.Key, err)
	case math.IsNaN(value), math.IsInf(value, 0):
		return nil, scaler.ErrNoData
	}
	return scaler.One(value), nil
}

var errAbsent = scaler.Errorf(codes.NotFound, "the object does not exist")

// find reads the object's key.
func (l lookup) find(ctx context.Context, object data) (float64, error) {
	text, found := object[l.Key]
	if !found {
		return 0, scaler.Errorf(codes.NotFound, "the object has no such key")
	}
	if l.Format == number {
		return l.ofText(text)
	}
	ctx, release := client.Held(ctx)
	defer release()
	parsed, err := document.Parse(ctx, l.Format, []byte(text))
	if err != nil {
		return 0, err
	}
	value, err := parsed.Find(ctx, l.place)
	switch {
	case err != nil:
		return 0, err
	case l.Format == "json":
		return l.ofJSON(value)
	default:
		return l.ofYAML(value)
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
		return 0, scaler.Errorf(codes.FailedPrecondition, "the value is not a number")
	}
	return p.whole(value), nil
}

// ofJSON reads what JSON has: texts are quantities, and no integers.
func (p resourceParams) ofJSON(value document.Value) (float64, error) {
	if p.ValueType == integer && value.IsText {
		return 0, scaler.Errorf(codes.FailedPrecondition, "what stands at %s is a text and not an integer", p.ValueLocation)
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
	return scaler.Errorf(codes.FailedPrecondition, "the value %w", err)
}
