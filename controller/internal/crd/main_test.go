package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// TestQuantitiesOfObjectsAreReadAtOnce looks at what the API server lets in:
// whoever watches the objects parses each quantity in them.
func TestQuantitiesOfObjectsAreReadAtOnce(t *testing.T) {
	files, err := filepath.Glob("../../../deploy/crds/*keda.sh_*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		each(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, func(schema *apiextensionsv1.JSONSchemaProps) {
			if !schema.XIntOrString || schema.Pattern == "" {
				return
			}
			found++
			form := regexp.MustCompile(schema.Pattern)
			if schema.MaxLength == nil || *schema.MaxLength > 64 || form.MatchString("1e-999999999") || !form.MatchString("500m") || !form.MatchString("1e-9") {
				t.Errorf("%s: quantity %s of at most %v characters", file, schema.Pattern, schema.MaxLength)
			}
		})
	}
	if found == 0 {
		t.Error("no quantity found")
	}
}
