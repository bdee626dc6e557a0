package trigger

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/params"
)

// Request is one trigger of one object as it came over the wire.
type Request struct {
	Ref *externalscaler.ScaledObjectRef
	// values are those of variables that came in place of their names; see Asked.
	values map[string]string
}

// Facts is what the reserved keys of a request say.
type Facts struct {
	Object           contract.Object     // without Metadata
	UseCachedMetrics bool                // the snapshot lasts as long as the interval
	noData           contract.NoDataRule // the user's, "" leaves it to the trigger
	References       contract.Reference
}

// Identity is how a request by reference names its subscription.
func (r Request) Identity() (id, generation string) {
	m := r.Ref.GetScalerMetadata()
	return strings.Join([]string{m[scalerv1.KeyKind], r.Ref.GetNamespace(), r.Ref.GetName(), m[scalerv1.KeyTriggerIndex]}, "/"), m[scalerv1.KeyGeneration]
}

// ByReference is true when the request carries no trigger, only its identity.
func (r Request) ByReference() bool {
	m := r.Ref.GetScalerMetadata()
	return m[scalerv1.KeyTriggerType] == "" && m[scalerv1.KeyKind] != "" && m[scalerv1.KeyTriggerIndex] != "" && m[scalerv1.KeyGeneration] != ""
}

const (
	// ofEach is what is kept of a trigger beside its texts, in bytes: its source, its
	// share in it, and why it failed last.
	ofEach = 4 << 10
	// shortText is a text which is there once or is nothing, in bytes. The address,
	// the name of a metric and the errors that are made of a longer one are as much
	// again, three bytes for one where it is escaped.
	shortText  = 256
	madeOfText = 5
)

// Weight is what is kept of the request, in bytes.
func (r Request) Weight() int {
	bytes := ofEach + proto.Size(r.Ref)
	for key, value := range r.Ref.GetScalerMetadata() {
		bytes += madeOfText * (max(len(key)-shortText, 0) + max(len(value)-shortText, 0))
	}
	for key, value := range r.values {
		bytes += len(key) + len(value)
	}
	return bytes
}

// userMetadata returns the trigger's own metadata, without reserved keys.
func (r Request) userMetadata() map[string]string {
	own := maps.Clone(r.Ref.GetScalerMetadata())
	maps.DeleteFunc(own, func(key, _ string) bool { return scalerv1.IsReserved(key) })
	return own
}

// TriggerType is the type that the request names, or "".
func (r Request) TriggerType() string { return r.Ref.GetScalerMetadata()[scalerv1.KeyTriggerType] }

// Same reports whether both ask for the same. The environment and the service
// account of the target change without a new generation of the object.
func (r Request) Same(other Request) bool {
	without := func(r Request) map[string]string {
		own := maps.Clone(r.Ref.GetScalerMetadata())
		delete(own, scalerv1.KeyMode)
		delete(own, scalerv1.KeyPollingInterval)
		return own
	}
	return maps.Equal(without(r), without(other))
}

// variables are those that the metadata names.
func (r Request) variables() []string {
	var names []string
	for key, name := range r.Ref.GetScalerMetadata() {
		if name = strings.TrimSpace(name); name != "" && scalerv1.NamesVariable(key) && !scalerv1.IsReserved(key) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Refers returns what of the request leads to credentials, or "".
func (r Request) Refers() string {
	reserved := r.Ref.GetScalerMetadata()
	if ref := reserved[scalerv1.KeyAuthenticationRef]; ref != "" {
		return "authenticationRef " + ref
	}
	if reserved[scalerv1.KeySecretKeyRef] != "" {
		return "secretKeyRef"
	}
	if strings.TrimSpace(reserved["identityOwner"]) == "operator" { // of amazon.Params
		return "identityOwner operator"
	}
	env, err := scalerv1.DecodeEnv(reserved[scalerv1.KeyEnv])
	if err != nil {
		return "" // refused as malformed, by all who read it
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if env[name].Value == nil {
			return "variable " + name
		}
	}
	return ""
}

// Facts reads the reserved keys. Absent ones have defaults, so that a request
// made by hand or by KEDA is as good as one by the core.
func (r Request) Facts() (Facts, params.Problems) {
	reserved := r.Ref.GetScalerMetadata()
	f := Facts{References: contract.Reference{
		Namespace:      r.Ref.GetNamespace(),
		Variables:      r.variables(),
		Authentication: reserved[scalerv1.KeyAuthenticationRef],
		ServiceAccount: reserved[scalerv1.KeyServiceAccount],
	}, Object: contract.Object{
		Kind:            scalerv1.KindScaledObject,
		Namespace:       r.Ref.GetNamespace(),
		Name:            r.Ref.GetName(),
		TriggerName:     reserved[scalerv1.KeyTriggerName],
		PollingInterval: scalerv1.DefaultPollingInterval,
		MetricType:      contract.AverageValue,
	}}
	reading := reservedReader{from: reserved}
	reading.key(scalerv1.KeyKind, func(text string) error {
		f.Object.Kind = text
		return nil
	})
	reading.key(scalerv1.KeyTriggerIndex, func(text string) (err error) {
		f.Object.TriggerIndex, err = strconv.Atoi(text)
		return notA("integer", text, err)
	})
	reading.key(scalerv1.KeyPollingInterval, func(text string) (err error) {
		f.Object.PollingInterval, err = positiveDuration(text)
		return err
	})
	reading.key(scalerv1.KeyMetricType, func(text string) (err error) {
		f.Object.MetricType, err = parseMetricType(text)
		f.Object.MetricTypeGiven = true
		return err
	})
	reading.key(scalerv1.KeyMetricSource, func(text string) (err error) {
		f.Object.MetricSource, err = strconv.ParseBool(text)
		return notA("bool", text, err)
	})
	reading.key(scalerv1.KeyUseCachedMetrics, func(text string) (err error) {
		f.UseCachedMetrics, err = strconv.ParseBool(text)
		return notA("bool", text, err)
	})
	reading.key(scalerv1.KeyNoData, func(text string) (err error) {
		f.noData, err = parseNoDataRule(text)
		return err
	})
	reading.key(scalerv1.KeyEnv, func(text string) (err error) {
		f.References.Env, err = scalerv1.DecodeEnv(text)
		return err
	})
	reading.key(scalerv1.KeyContainers, func(text string) (err error) {
		f.References.Containers, err = scalerv1.DecodeContainers(text)
		return err
	})
	reading.key(scalerv1.KeySecretKeyRef, func(text string) (err error) {
		f.References.Inline, err = scalerv1.DecodeKeyRefs(text)
		return err
	})
	return f, reading.problems
}

// reservedReader reads reserved keys and collects what is wrong with them.
type reservedReader struct {
	from     map[string]string
	problems params.Problems
}

func (r *reservedReader) key(key string, set func(text string) error) {
	if text := r.from[key]; text != "" {
		if err := set(text); err != nil {
			r.problems.Add(key, err)
		}
	}
}

func notA(kind, text string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%q is not a valid %s", text, kind)
}

func positiveDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a duration above 0", text)
	}
	return d, nil
}

func parseNoDataRule(text string) (contract.NoDataRule, error) {
	switch rule := contract.NoDataRule(text); rule {
	case contract.NoDataHold, contract.NoDataError, contract.NoDataZero:
		return rule, nil
	default:
		return "", fmt.Errorf("%q is none of hold, error, zero", text)
	}
}

// parseMetricType accepts what an external metric can be.
func parseMetricType(text string) (contract.MetricType, error) {
	switch t := contract.MetricType(text); t {
	case contract.AverageValue, contract.Value:
		return t, nil
	case "Utilization":
		return "", fmt.Errorf("%q is for cpu and memory alone: external metrics are AverageValue or Value", text)
	default:
		return "", fmt.Errorf("%q is not one of AverageValue, Value", text)
	}
}
