package scaler

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// defaultPollingInterval is KEDA's, for requests that name none.
const defaultPollingInterval = 30 * time.Second

// facts is what the reserved keys of a request say.
type facts struct {
	object           Object     // without Metadata
	useCachedMetrics bool       // the snapshot lasts as long as the interval
	noData           NoDataRule // the user's, "" leaves it to the trigger
	references       Reference
}

// userMetadata returns the trigger's own metadata, without reserved keys.
func (r request) userMetadata() map[string]string {
	own := maps.Clone(r.ref.GetScalerMetadata())
	maps.DeleteFunc(own, func(key, _ string) bool { return scalerv1.IsReserved(key) })
	return own
}

// triggerType is the type that the request names, or "".
func (r request) triggerType() string { return r.ref.GetScalerMetadata()[scalerv1.KeyTriggerType] }

// same reports whether both ask for the same. The environment and the service
// account of the target change without a new generation of the object.
func (r request) same(other request) bool {
	without := func(r request) map[string]string {
		own := maps.Clone(r.ref.GetScalerMetadata())
		delete(own, scalerv1.KeyMode)
		delete(own, scalerv1.KeyPollingInterval)
		return own
	}
	return maps.Equal(without(r), without(other))
}

// variables are those that the metadata names.
func (r request) variables() []string {
	var names []string
	for key, name := range r.ref.GetScalerMetadata() {
		if name = strings.TrimSpace(name); name != "" && scalerv1.NamesVariable(key) && !scalerv1.IsReserved(key) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// refers returns what of the request leads to credentials, or "".
func (r request) refers() string {
	reserved := r.ref.GetScalerMetadata()
	if ref := reserved[scalerv1.KeyAuthenticationRef]; ref != "" {
		return "authenticationRef " + ref
	}
	if reserved[scalerv1.KeySecretKeyRef] != "" {
		return "secretKeyRef"
	}
	if strings.TrimSpace(reserved["identityOwner"]) == "operator" { // of AWSIdentity
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

// facts reads the reserved keys. Absent ones have defaults, so that a request
// made by hand or by KEDA is as good as one by the core.
func (r request) facts() (facts, problems) {
	reserved := r.ref.GetScalerMetadata()
	f := facts{references: Reference{
		Namespace:      r.ref.GetNamespace(),
		Variables:      r.variables(),
		Authentication: reserved[scalerv1.KeyAuthenticationRef],
		ServiceAccount: reserved[scalerv1.KeyServiceAccount],
	}, object: Object{
		Kind:            scalerv1.KindScaledObject,
		Namespace:       r.ref.GetNamespace(),
		Name:            r.ref.GetName(),
		TriggerName:     reserved[scalerv1.KeyTriggerName],
		PollingInterval: defaultPollingInterval,
		MetricType:      AverageValue,
	}}
	reading := reservedReader{from: reserved}
	reading.key(scalerv1.KeyKind, func(text string) error {
		f.object.Kind = text
		return nil
	})
	reading.key(scalerv1.KeyTriggerIndex, func(text string) (err error) {
		f.object.TriggerIndex, err = strconv.Atoi(text)
		return notA("integer", text, err)
	})
	reading.key(scalerv1.KeyPollingInterval, func(text string) (err error) {
		f.object.PollingInterval, err = positiveDuration(text)
		return err
	})
	reading.key(scalerv1.KeyMetricType, func(text string) (err error) {
		f.object.MetricType, err = parseMetricType(text)
		return err
	})
	reading.key(scalerv1.KeyMetricSource, func(text string) (err error) {
		f.object.MetricSource, err = strconv.ParseBool(text)
		return notA("bool", text, err)
	})
	reading.key(scalerv1.KeyUseCachedMetrics, func(text string) (err error) {
		f.useCachedMetrics, err = strconv.ParseBool(text)
		return notA("bool", text, err)
	})
	reading.key(scalerv1.KeyNoData, func(text string) (err error) {
		f.noData, err = parseNoDataRule(text)
		return err
	})
	reading.key(scalerv1.KeyEnv, func(text string) (err error) {
		f.references.Env, err = scalerv1.DecodeEnv(text)
		return err
	})
	reading.key(scalerv1.KeyContainers, func(text string) (err error) {
		f.references.Containers, err = scalerv1.DecodeContainers(text)
		return err
	})
	reading.key(scalerv1.KeySecretKeyRef, func(text string) (err error) {
		f.references.Inline, err = scalerv1.DecodeKeyRefs(text)
		return err
	})
	return f, reading.problems
}

// reservedReader reads reserved keys and collects what is wrong with them.
type reservedReader struct {
	from     map[string]string
	problems problems
}

func (r *reservedReader) key(key string, set func(text string) error) {
	if text := r.from[key]; text != "" {
		if err := set(text); err != nil {
			r.problems.add(key, err)
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

func parseNoDataRule(text string) (NoDataRule, error) {
	switch rule := NoDataRule(text); rule {
	case NoDataHold, NoDataError, NoDataZero:
		return rule, nil
	default:
		return "", fmt.Errorf("%q is none of hold, error, zero", text)
	}
}

// parseMetricType accepts what an external metric can be.
func parseMetricType(text string) (MetricType, error) {
	switch t := MetricType(text); t {
	case AverageValue, Value:
		return t, nil
	case "Utilization":
		return "", fmt.Errorf("%q is for cpu and memory alone: external metrics are AverageValue or Value", text)
	default:
		return "", fmt.Errorf("%q is not one of AverageValue, Value", text)
	}
}
