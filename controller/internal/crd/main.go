// Command crd finishes the generated CRD of ScaledJobs, where types cannot say
// what is meant:
//
//   - Descriptions below jobTargetRef go: they are Kubernetes' own, and with
//     them the CRD is too large for kubectl apply.
//   - Metadata of templates keep fields that the schema does not name, such as
//     the creationTimestamp that kubectl prints.
//   - Triggers have no metricType.
package main

import (
	"fmt"
	"os"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := finish(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "crd:", err)
		os.Exit(1)
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
		spec := version.Schema.OpenAPIV3Schema.Properties["spec"]
		job := spec.Properties["jobTargetRef"]
		own := job.Description
		strip(&job)
		job.Description = own
		spec.Properties["jobTargetRef"] = job
		delete(spec.Properties["triggers"].Items.Schema.Properties, "metricType")
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

// strip drops descriptions and opens metadata, all the way down.
func strip(schema *apiextensionsv1.JSONSchemaProps) {
	schema.Description = ""
	for name, property := range schema.Properties {
		strip(&property)
		if name == "metadata" && property.Type == "object" {
			property.XPreserveUnknownFields = ptr.To(true)
		}
		schema.Properties[name] = property
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		strip(schema.Items.Schema)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		strip(schema.AdditionalProperties.Schema)
	}
}
