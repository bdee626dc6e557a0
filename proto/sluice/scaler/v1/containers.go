package scalerv1

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
)

// Container is the environment of one container of a scale target.
type Container struct {
	// Name is the container's.
	Name string `json:"name"`
	// Env has the variables that it defines, each with what it refers to.
	Env map[string]EnvVar `json:"env,omitempty"`
	// EnvFrom are the objects whose keys are variables, the one that counts
	// most first.
	EnvFrom []EnvFrom `json:"envFrom,omitempty"`
	// Incomplete is true when Env and EnvFrom do not have all of the container,
	// or containers behind it are missing: they were too large. What is not
	// found in them may be there all the same.
	Incomplete bool `json:"incomplete,omitempty"`
}

// EnvFrom is an object in the namespace of the workload whose keys are
// variables. Exactly one of Secret and ConfigMap is set.
type EnvFrom struct {
	// Prefix stands before each key.
	Prefix string `json:"prefix,omitempty"`
	// Secret is the name of a Secret.
	Secret string `json:"secret,omitempty"`
	// ConfigMap is the name of a ConfigMap.
	ConfigMap string `json:"configMap,omitempty"`
	// Optional is true when the Pod starts without the object.
	Optional bool `json:"optional,omitempty"`
}

// Variable returns where among the sources a variable may be, the most
// important first, and false where it cannot be.
func Variable(sources []EnvFrom, name string) (EnvVar, bool) {
	var v EnvVar
	for _, from := range sources {
		key, ok := strings.CutPrefix(name, from.Prefix)
		if !ok || key == "" {
			continue
		}
		if from.Secret != "" {
			v.EnvFrom = append(v.EnvFrom, EnvVar{SecretKeyRef: &KeyRef{Name: from.Secret, Key: key, Optional: from.Optional}})
		} else {
			v.EnvFrom = append(v.EnvFrom, EnvVar{ConfigMapKeyRef: &KeyRef{Name: from.ConfigMap, Key: key, Optional: from.Optional}})
		}
	}
	return v, len(v.EnvFrom) > 0
}

// EncodeContainers returns the value of KeyContainers: a JSON list in the order
// of the Pod template.
func EncodeContainers(containers []Container) (string, error) {
	if err := checkContainers(containers); err != nil {
		return "", err
	}
	text, err := json.Marshal(containers)
	return string(text), err
}

// DecodeContainers reads what EncodeContainers wrote; an empty text has no
// containers. Its errors quote no value.
func DecodeContainers(text string) ([]Container, error) {
	if text == "" {
		return nil, nil
	}
	if err := externalscaler.Values(text); err != nil {
		return nil, fmt.Errorf("%s: %w", KeyContainers, err)
	}
	var containers []Container
	if err := json.Unmarshal([]byte(text), &containers); err != nil {
		return nil, fmt.Errorf("%s: is not a JSON list of containers", KeyContainers)
	}
	return containers, checkContainers(containers)
}

func checkContainers(containers []Container) error {
	for _, c := range containers {
		for name, v := range c.Env {
			if err := v.check(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// EncodeKeyRefs returns the value of KeySecretKeyRef: a JSON object of keys of
// Secrets in the object's namespace, by parameter.
func EncodeKeyRefs(refs map[string]KeyRef) (string, error) {
	text, err := json.Marshal(refs)
	return string(text), err
}

// DecodeKeyRefs reads what EncodeKeyRefs wrote; an empty text has none.
func DecodeKeyRefs(text string) (map[string]KeyRef, error) {
	if text == "" {
		return nil, nil
	}
	if err := externalscaler.Values(text); err != nil {
		return nil, fmt.Errorf("%s: %w", KeySecretKeyRef, err)
	}
	var refs map[string]KeyRef
	if err := json.Unmarshal([]byte(text), &refs); err != nil {
		return nil, fmt.Errorf("%s: is not a JSON object of keys by parameter", KeySecretKeyRef)
	}
	return refs, nil
}
