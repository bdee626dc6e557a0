package federation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// identityRef names the trigger and carries nothing of it: a family that has
// the subscription answers from it.
func (t Trigger) identityRef() *externalscaler.ScaledObjectRef {
	return t.ref(map[string]string{
		scalerv1.KeyKind:         t.Kind,
		scalerv1.KeyTriggerIndex: strconv.Itoa(t.Index),
		scalerv1.KeyGeneration:   strconv.FormatInt(t.Generation, 10),
	})
}

// Ref is the trigger as its family takes it, for whoever asks that outside of the
// federation.
func (t Trigger) Ref() (*externalscaler.ScaledObjectRef, error) { return t.fullRef() }

// fullRef carries the whole trigger to a peer that serves sluice.scaler.v1.
func (t Trigger) fullRef() (*externalscaler.ScaledObjectRef, error) {
	metadata := t.ownMetadata()
	metadata[scalerv1.KeyKind] = t.Kind
	metadata[scalerv1.KeyTriggerIndex] = strconv.Itoa(t.Index)
	metadata[scalerv1.KeyGeneration] = strconv.FormatInt(t.Generation, 10)
	metadata[scalerv1.KeyTriggerType] = t.Type
	metadata[scalerv1.KeyPollingInterval] = t.polling().String()
	metadata[scalerv1.KeyMode] = string(t.mode())
	setIf(metadata, scalerv1.KeyTriggerName, t.TriggerName)
	setIf(metadata, scalerv1.KeyMetricType, t.MetricType)
	setIf(metadata, scalerv1.KeyNoData, t.NoData)
	setIf(metadata, scalerv1.KeyServiceAccount, t.ServiceAccount)
	setIf(metadata, scalerv1.KeyAuthenticationRef, t.Authentication)
	if t.MetricSource {
		metadata[scalerv1.KeyMetricSource] = "true"
	}
	if t.UseCachedMetrics {
		metadata[scalerv1.KeyUseCachedMetrics] = "true"
	}
	if len(t.Env) > 0 {
		env, err := scalerv1.EncodeEnv(t.Env)
		if err != nil {
			return nil, coded(codes.InvalidArgument, "%v", err)
		}
		metadata[scalerv1.KeyEnv] = env
	}
	if len(t.Containers) > 0 {
		containers, err := scalerv1.EncodeContainers(t.Containers)
		if err != nil {
			return nil, coded(codes.InvalidArgument, "%v", err)
		}
		metadata[scalerv1.KeyContainers] = containers
	}
	if len(t.Inline) > 0 {
		refs, err := scalerv1.EncodeKeyRefs(t.Inline)
		if err != nil {
			return nil, coded(codes.InvalidArgument, "%v", err)
		}
		metadata[scalerv1.KeySecretKeyRef] = refs
	}
	return t.ref(metadata), nil
}

// plainRef carries the trigger as KEDA would to an external scaler: its
// metadata, each "<key>FromEnv" with the variable's value under its full key. What
// only a reference could tell is left out, since the core reads no Secret, and
// named in the warnings.
func (t Trigger) plainRef() (*externalscaler.ScaledObjectRef, []string) {
	var warnings []string
	metadata := t.ownMetadata()
	literals := scalerv1.LiteralEnv(t.Env)
	for key, variable := range metadata {
		if !strings.HasSuffix(key, scalerv1.FromEnvSuffix) {
			continue
		}
		if value := literals[strings.TrimSpace(variable)]; strings.TrimSpace(value) != "" {
			metadata[key] = value
			continue
		}
		delete(metadata, key)
		warnings = append(warnings, fmt.Sprintf("%s: variable %s has no literal value and is not sent to Service %s%s",
			key, variable, servicePrefix, t.Type))
	}
	if t.Authentication != "" {
		warnings = append(warnings, fmt.Sprintf("authenticationRef: %s is not sent to Service %s%s, which does not serve sluice.scaler.v1",
			t.Authentication, servicePrefix, t.Type))
	}
	for parameter := range t.Inline {
		warnings = append(warnings, fmt.Sprintf("secretKeyRef of %s: is not sent to Service %s%s, which does not serve sluice.scaler.v1",
			parameter, servicePrefix, t.Type))
	}
	slices.Sort(warnings)
	return t.ref(metadata), warnings
}

// subscribe is the frame that adds the trigger to a Watch stream.
func (t Trigger) subscribe() (*scalerv1.Subscribe, error) {
	ref, err := t.fullRef()
	if err != nil {
		return nil, err
	}
	frame := &scalerv1.Subscribe{
		Id:         t.String(),
		Generation: t.Generation,
		Ref:        ref,
		Interval:   durationpb.New(t.interval()),
		Mode:       scalerv1.Mode_MODE_IDLE,
	}
	if t.Mode == Active {
		frame.Mode = scalerv1.Mode_MODE_ACTIVE
	}
	switch t.Doorbell {
	case DoorbellOn:
		frame.Doorbell = scalerv1.Doorbell_DOORBELL_ON
	case DoorbellOff:
		frame.Doorbell = scalerv1.Doorbell_DOORBELL_OFF
	case DoorbellAuto:
	}
	return frame, nil
}

// reference returns what of the trigger must not cross a plaintext connection,
// or "".
func (t Trigger) reference() string {
	if t.Authentication != "" {
		return t.Authentication
	}
	for parameter := range t.Inline {
		return "secretKeyRef of " + parameter
	}
	for name, v := range t.Env {
		if v.Value == nil {
			return "variable " + name
		}
	}
	return ""
}

func (t Trigger) ref(metadata map[string]string) *externalscaler.ScaledObjectRef {
	return &externalscaler.ScaledObjectRef{Name: t.Name, Namespace: t.Namespace, ScalerMetadata: metadata}
}

// ownMetadata is a copy of what the user wrote, without reserved keys.
func (t Trigger) ownMetadata() map[string]string {
	own := make(map[string]string, len(t.Metadata)+12)
	for key, value := range t.Metadata {
		if !scalerv1.IsReserved(key) {
			own[key] = value
		}
	}
	return own
}

func (t Trigger) mode() Mode {
	if t.Mode == Active {
		return Active
	}
	return Idle
}

func setIf(metadata map[string]string, key, value string) {
	if value != "" {
		metadata[key] = value
	}
}
