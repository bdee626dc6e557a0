package testcluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"
)

// statusSchema is of what a kind's status may hold.
type statusSchema struct {
	props     apiextensionsv1.JSONSchemaProps
	validator *validate.SchemaValidator
}

// statusSchemas are those of our CRDs by kind.
var statusSchemas = sync.OnceValues(func() (map[string]statusSchema, error) {
	folder, err := crds()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(folder, "*keda.sh_*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("%s has no CRDs: %w", folder, err)
	}
	schemas := map[string]statusSchema{}
	for _, file := range files {
		crd := apiextensionsv1.CustomResourceDefinition{}
		text, err := os.ReadFile(file)
		if err == nil {
			err = yaml.Unmarshal(text, &crd)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if schemas[crd.Spec.Names.Kind], err = statusOf(crd); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return schemas, nil
})

// crds is deploy/crds, seen from wherever a test runs.
func crds() (string, error) {
	folder, err := os.Getwd()
	for ; err == nil && folder != filepath.Dir(folder); folder = filepath.Dir(folder) {
		if found := filepath.Join(folder, "deploy", "crds"); exists(found) {
			return found, nil
		}
	}
	return "", errors.Join(errors.New("deploy/crds not found"), err)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func statusOf(crd apiextensionsv1.CustomResourceDefinition) (statusSchema, error) {
	s := statusSchema{props: crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"]}
	text, err := json.Marshal(s.props)
	if err != nil {
		return s, err
	}
	var openAPI spec.Schema
	if err := json.Unmarshal(text, &openAPI); err != nil {
		return s, err
	}
	s.validator = validate.NewSchemaValidator(&openAPI, nil, "status", strfmt.Default)
	return s, nil
}

// checkStatus refuses a status as an API server with our CRDs does, and one of
// which it would not keep every field.
func checkStatus(scheme *runtime.Scheme, o client.Object) error {
	gvk, err := apiutil.GVKForObject(o, scheme)
	if err != nil {
		return err
	}
	schemas, err := statusSchemas()
	if err != nil {
		return err
	}
	schema, ours := schemas[gvk.Kind]
	if !ours {
		return nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return err
	}
	var problems field.ErrorList
	for _, err := range schema.validator.Validate(content["status"]).Errors {
		problems = append(problems, field.Invalid(field.NewPath("status"), "", err.Error()))
	}
	problems = append(problems, unkept(field.NewPath("status"), content["status"], schema.props)...)
	if len(problems) > 0 {
		return apierrors.NewInvalid(gvk.GroupKind(), o.GetName(), problems)
	}
	return nil
}

// unkept are the fields that the schema does not know and the items that a list
// by key has twice.
func unkept(at *field.Path, value any, schema apiextensionsv1.JSONSchemaProps) (problems field.ErrorList) {
	switch value := value.(type) {
	case map[string]any:
		for key, item := range value {
			of, known := schema.Properties[key]
			if !known && schema.AdditionalProperties != nil {
				of, known = *schema.AdditionalProperties.Schema, true
			}
			if !known {
				problems = append(problems, field.Forbidden(at.Child(key), "unknown field"))
				continue
			}
			problems = append(problems, unkept(at.Child(key), item, of)...)
		}
	case []any:
		seen := map[string]bool{}
		for i, item := range value {
			problems = append(problems, unkept(at.Index(i), item, *schema.Items.Schema)...)
			if key := keyOf(item, schema.XListMapKeys); key != "" && seen[key] {
				problems = append(problems, field.Duplicate(at.Index(i), key))
			} else {
				seen[key] = true
			}
		}
	}
	return problems
}

// keyOf is the key of a list's item, "" in a list without.
func keyOf(item any, keys []string) string {
	object, _ := item.(map[string]any)
	key := ""
	for _, name := range keys {
		key += fmt.Sprint(object[name])
	}
	return key
}
