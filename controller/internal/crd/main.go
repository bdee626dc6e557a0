// Command crd finishes generated CRDs, where types cannot say what is meant:
//
//   - Quantities are short and their exponents have three digits at most. The
//     parser writes an exponent out: 1e-999999999 would keep it busy for hours,
//     in whoever watches the objects.
//   - Descriptions below jobTargetRef of ScaledJobs go: they are Kubernetes'
//     own, and with them the CRD is too large for kubectl apply.
//   - Metadata of their templates keep fields that the schema does not name,
//     such as the creationTimestamp that kubectl prints.
//   - Their triggers have no metricType.
package main

import (
	"fmt"
	"os"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

func main() {
	for _, file := range os.Args[1:] {
		if err := finish(file); err != nil {
			fmt.Fprintln(os.Stderr, "crd:", err)
			os.Exit(1)
		}
	}
}

func finish(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &crd); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, version := range crd.Spec.Versions {
		if crd.Spec.Names.Kind == "ScaledJob" {
			finishScaledJob(version.Schema.OpenAPIV3Schema.Properties["spec"])
		}
		each(version.Schema.OpenAPIV3Schema, boundQuantity)
	}
	text, err = yaml.Marshal(struct {
		apiextensionsv1.CustomResourceDefinition `json:",inline"`
		// Status is the API server's.
		Status *struct{} `json:"status,omitempty"`
	}{CustomResourceDefinition: crd})
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte("---\n"), text...), 0o644)
}

func finishScaledJob(spec apiextensionsv1.JSONSchemaProps) {
	job := spec.Properties["jobTargetRef"]
	own := job.Description
	each(&job, strip)
	job.Description = own
	spec.Properties["jobTargetRef"] = job
	delete(spec.Properties["triggers"].Items.Schema.Properties, "metricType")
}

// each changes a schema and those in it, all the way down.
func each(schema *apiextensionsv1.JSONSchemaProps, change func(*apiextensionsv1.JSONSchemaProps)) {
	change(schema)
	for name, property := range schema.Properties {
		each(&property, change)
		schema.Properties[name] = property
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		each(schema.Items.Schema, change)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		each(schema.AdditionalProperties.Schema, change)
	}
}

// strip drops the description, and opens metadata.
func strip(schema *apiextensionsv1.JSONSchemaProps) {
	schema.Description = ""
	if metadata, ok := schema.Properties["metadata"]; ok && metadata.Type == "object" {
		metadata.XPreserveUnknownFields = ptr.To(true)
		schema.Properties["metadata"] = metadata
	}
}

// Any quantity, and one that is read at once.
const (
	anyQuantity   = `^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$`
	shortQuantity = `^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?[0-9]{1,3}))?$`
)

func boundQuantity(schema *apiextensionsv1.JSONSchemaProps) {
	if schema.Pattern == anyQuantity {
		schema.Pattern, schema.MaxLength = shortQuantity, ptr.To(int64(64))
	}
}
