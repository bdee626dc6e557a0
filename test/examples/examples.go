// Package examples has docs/examples, where every trigger type has a trigger,
// for tests that ask something of every type: one that is added is among them.
package examples

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// Trigger is that of a type's example.
type Trigger struct {
	Family, Type string
	Metadata     map[string]string // without what is in Secrets
}

// Triggers are those of all types, as the repository at root has them.
func Triggers(root string) ([]Trigger, error) {
	files, err := filepath.Glob(filepath.Join(root, "deploy/scalers/*/services.yaml"))
	if err != nil {
		return nil, err
	}
	var all []Trigger
	for _, file := range files {
		services, err := decode(file)
		if err != nil {
			return nil, err
		}
		for _, service := range services {
			t := Trigger{Family: service.GetLabels()["sluice.dev/family"], Type: strings.TrimPrefix(service.GetName(), "scaler-")}
			if t.Metadata, err = metadata(filepath.Join(root, "docs/examples", t.Type+".yaml"), t.Type); err != nil {
				return nil, err
			}
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no trigger types in %s", root)
	}
	return all, nil
}

func decode(file string) ([]*unstructured.Unstructured, error) {
	text, err := os.ReadFile(file) //nolint:gosec // of the repository
	if err != nil {
		return nil, err
	}
	return localcluster.Decode(text)
}

// metadata is that of the first trigger of a type in a file.
func metadata(file, triggerType string) (map[string]string, error) {
	objects, err := decode(file)
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		triggers, _, _ := unstructured.NestedSlice(object.Object, "spec", "triggers")
		for _, trigger := range triggers {
			fields, _ := trigger.(map[string]any)
			if fields["type"] == triggerType {
				values, _, err := unstructured.NestedStringMap(fields, "metadata")
				return values, err
			}
		}
	}
	return nil, fmt.Errorf("%s has no trigger of type %s", file, triggerType)
}

// addresses are names of parameters that say where a source is.
var addresses = regexp.MustCompile(`(?i)(address|addresses|endpoint|hosts?|servers?|urls?)$`)

// LedTo has all addresses of the metadata replaced by one, and tells whether
// there are any.
func (t Trigger) LedTo(address string) (led map[string]string, leads bool) {
	led = map[string]string{}
	for name, value := range t.Metadata {
		if addresses.MatchString(name) {
			scheme, _, isURL := strings.Cut(value, "://")
			value, leads = address, true
			if isURL {
				value = scheme + "://" + address + "/"
			}
		}
		led[name] = value
	}
	return led, leads
}
