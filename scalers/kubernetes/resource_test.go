package main

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/kube/kubetest"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// resource is a valid trigger with changes; an empty text takes a key away.
func resource(changes map[string]string) map[string]string {
	metadata := map[string]string{"resourceKind": "ConfigMap", "resourceName": "limits", "key": "n", "targetValue": "2"}
	maps.Copy(metadata, changes)
	return metadata
}

func configMap(name, key, text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{key: text}}
}

func TestResource(t *testing.T) {
	const at = "ConfigMap default/limits, key n: "
	json := func(valueType string) map[string]string {
		return map[string]string{"format": "json", "valueLocation": "a.0", "valueType": valueType}
	}
	yaml := func(valueType string) map[string]string {
		return map[string]string{"format": "yaml", "valueLocation": "a.0", "valueType": valueType}
	}
	ofType := func(valueType string) map[string]string { return map[string]string{"valueType": valueType} }
	tests := map[string]struct {
		text     string
		metadata map[string]string
		want     float64
		inactive bool
		code     codes.Code
		message  string
	}{
		"a number":                        {text: " 7.5\n", want: 7.5},
		"at the threshold":                {text: "7.5", metadata: map[string]string{"activationTargetValue": "7.5"}, want: 7.5, inactive: true},
		"above the threshold":             {text: "7.6", metadata: map[string]string{"activationTargetValue": "7.5"}, want: 7.6},
		"zero":                            {text: "0"},
		"an exponent":                     {text: "1e3", want: 1000},
		"a number and more":               {text: "12abc", code: codes.FailedPrecondition, message: at + "the value is not a number"},
		"nothing":                         {text: "", code: codes.FailedPrecondition, message: at + "the value is not a number"},
		"no number is no data":            {text: "NaN", code: codes.NotFound, message: "no data"},
		"an integer":                      {text: "7", metadata: ofType("int64"), want: 7},
		"an integer with a fraction":      {text: "7.9", metadata: ofType("int64"), want: 7},
		"a quantity":                      {text: "500m", metadata: ofType("quantity"), want: 0.5},
		"a number as quantity":            {text: "3", metadata: ofType("quantity"), want: 3},
		"a quantity as number":            {text: "500m", code: codes.FailedPrecondition, message: at + "the value is not a number"},
		"no quantity":                     {text: "much", metadata: ofType("quantity"), code: codes.FailedPrecondition, message: at + "the value is neither a number nor a quantity"},
		"JSON number":                     {text: `{"a":[7.9]}`, metadata: json("float64"), want: 7.9},
		"JSON text is a quantity":         {text: `{"a":["1Ki"]}`, metadata: json("float64"), want: 1024},
		"JSON integer is truncated":       {text: `{"a":[7.9]}`, metadata: json("int64"), want: 7},
		"JSON integer is no text":         {text: `{"a":["7"]}`, metadata: json("int64"), code: codes.FailedPrecondition, message: at + "what stands at a.0 is a text and not an integer"},
		"JSON quantity":                   {text: `{"a":["2k"]}`, metadata: json("quantity"), want: 2000},
		"JSON number as quantity":         {text: `{"a":[2]}`, metadata: json("quantity"), want: 2},
		"JSON without it":                 {text: `{"a":[]}`, metadata: json("float64"), code: codes.NotFound, message: at + "nothing stands at a.0"},
		"no JSON":                         {text: `a: [1]`, metadata: json("float64"), code: codes.Unavailable, message: at + "the text is not JSON"},
		"YAML number":                     {text: "a: [7.9]", metadata: yaml("float64"), want: 7.9},
		"YAML integer is not truncated":   {text: "a: [7.9]", metadata: yaml("int64"), want: 7.9},
		"YAML text is a number":           {text: `a: ["7.9"]`, metadata: yaml("int64"), want: 7.9},
		"YAML text with more":             {text: `a: [7 jobs]`, metadata: yaml("float64"), code: codes.FailedPrecondition, message: at + "the value is not a number"},
		"YAML quantity":                   {text: "a: [1Mi]", metadata: yaml("quantity"), want: 1 << 20},
		"YAML number as quantity":         {text: "a: [7]", metadata: yaml("quantity"), want: 7},
		"no YAML":                         {text: "a: [", metadata: yaml("float64"), code: codes.Unavailable, message: at + "the text is not YAML"},
		"a key that is not there":         {text: "7", metadata: map[string]string{"key": "m"}, code: codes.NotFound, message: "ConfigMap default/limits, key m: the object has no such key"},
		"an object that is not there":     {text: "7", metadata: map[string]string{"resourceName": "other"}, code: codes.NotFound, message: "ConfigMap default/other, key n: the object does not exist"},
		"an object without data":          {text: "7", metadata: map[string]string{"resourceName": "empty"}, code: codes.NotFound, message: "ConfigMap default/empty, key n: the object has no such key"},
		"a Secret":                        {text: "7", metadata: map[string]string{"resourceKind": "Secret", "resourceName": "hidden"}, want: 9},
		"a Secret's text is not repeated": {text: "7", metadata: map[string]string{"resourceKind": "Secret", "resourceName": "hidden", "key": "password"}, code: codes.FailedPrecondition, message: "Secret default/hidden, key password: the value is not a number"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := kubetest.Start(t)
			server.Put(configMap("limits", "n", tt.text),
				&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "empty"}},
				&corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hidden"},
					Data:       map[string][]byte{"n": []byte("9"), "password": []byte("hush-hush")},
				})
			got, err := scalertest.Serve(t, triggers...).Observe(t.Context(), "kubernetes-resource", resource(tt.metadata))
			message := status.Convert(err).Message()
			if status.Code(err) != tt.code || err != nil && !strings.Contains(message, tt.message) {
				t.Fatalf("error = %v, want %v %q", err, tt.code, tt.message)
			}
			if got.Value != tt.want || got.Active != (tt.want > 0 && !tt.inactive) {
				t.Errorf("observation = %+v, want %v", got, tt.want)
			}
		})
	}
}

func TestResourceParameters(t *testing.T) {
	tests := map[string]struct {
		metadata map[string]string
		message  string
	}{
		"another kind":            {map[string]string{"resourceKind": "Pod"}, `resourceKind: "Pod" is not one of ConfigMap, Secret`},
		"a kind in small letters": {map[string]string{"resourceKind": "secret"}, `resourceKind: "secret" is not one of ConfigMap, Secret`},
		"no name":                 {map[string]string{"resourceName": ""}, "resourceName: is required (looked in metadata)"},
		"no key":                  {map[string]string{"key": ""}, "key: is required (looked in metadata)"},
		"another format":          {map[string]string{"format": "xml"}, `format: "xml" is not one of number, json, yaml`},
		"another type":            {map[string]string{"valueType": "int"}, `valueType: "int" is not one of float64, int64, quantity`},
		"no target":               {map[string]string{"targetValue": ""}, "targetValue: is required (looked in metadata)"},
		"a target of zero":        {map[string]string{"targetValue": "0"}, "targetValue: must be a positive number"},
		"a location of a number":  {map[string]string{"valueLocation": "a"}, "valueLocation: is for format json and yaml; a number has none"},
		"no location of json":     {map[string]string{"format": "json"}, "valueLocation: is required with format json"},
		"no location of yaml":     {map[string]string{"format": "yaml"}, "valueLocation: is required with format yaml"},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := family.Specs(t.Context(), "kubernetes-resource", resource(tt.metadata))
			if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "kubernetes-resource: "+tt.message {
				t.Errorf("error = %v, want %q", err, "kubernetes-resource: "+tt.message)
			}
		})
	}
	inFormula := family.WithReserved(map[string]string{scalerv1.KeyMetricSource: "true"})
	if _, err := inFormula.Specs(t.Context(), "kubernetes-resource", resource(map[string]string{"targetValue": "0"})); err != nil {
		t.Errorf("in a formula: %v", err)
	}
	specs, err := family.Specs(t.Context(), "kubernetes-resource", resource(map[string]string{"key": "a.b/c"}))
	if err != nil || specs[0].GetMetricName() != "configmap-limits-a-b-c" || specs[0].GetTargetSizeFloat() != 2 {
		t.Errorf("specs = %v, %v", specs, err)
	}
}

// TestResourceRings: the interval is an hour, so only the watch can tell.
func TestResourceRings(t *testing.T) {
	server := kubetest.Start(t)
	server.Put(configMap("limits", "n", "0"))
	watching := scalertest.Serve(t, triggers...).Watch(t, "kubernetes-resource", resource(nil), scalerv1.Mode_MODE_IDLE, time.Hour)
	for _, step := range []struct {
		text      string
		satisfied func(*scalerv1.Observation) bool
	}{{"0", scalertest.Inactive}, {"3", scalertest.Active}, {"0", scalertest.Inactive}} {
		server.Put(configMap("limits", "n", step.text))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if _, err := watching.Until(ctx, step.text, step.satisfied); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
}

// TestThousandKeysShareOneWatch has a thousand triggers on one object.
func TestThousandKeysShareOneWatch(t *testing.T) {
	server := kubetest.Start(t)
	many := configMap("limits", "n", "0")
	for i := range 1000 {
		many.Data[fmt.Sprintf("k%d", i)] = fmt.Sprint(i)
	}
	server.Put(many)
	family := scalertest.Serve(t, triggers...)
	for i := range 1000 {
		got, err := family.External.IsActive(t.Context(), family.Ref("kubernetes-resource", resource(map[string]string{"key": fmt.Sprintf("k%d", i)})))
		if err != nil || got.GetResult() != (i > 0) {
			t.Fatalf("key %d: %v, %v", i, got, err)
		}
	}
	if got := server.Requests("configmaps"); got > 2 {
		t.Errorf("%d requests, want at most a list and a watch", got)
	}
}

// TestSecretIsReadOnce has a thousand keys of one Secret in one batch, and
// proves that Secrets are neither listed nor watched.
func TestSecretIsReadOnce(t *testing.T) {
	server := kubetest.Start(t)
	many := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "many"}, Data: map[string][]byte{}}
	ctx, release := scaler.Opening(t.Context())
	defer release()
	var sources []scaler.Source
	for i := range 1000 {
		key := fmt.Sprintf("k%d", i)
		many.Data[key] = []byte(fmt.Sprint(i))
		source, err := openResource(ctx, resourceParams{
			Object: scaler.Object{Namespace: "default"}, ResourceKind: "Secret", ResourceName: "many", Key: key, Format: number, ValueType: float,
		})
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, source)
	}
	server.Put(many)
	batch := sources[0].(scaler.Batched).Batch()
	if batch != sources[999].(scaler.Batched).Batch() {
		t.Fatal("keys of one Secret are not read together")
	}
	results := scaler.ReadTogether(t.Context(), batch, sources...)
	for i, result := range results {
		if result.Err != nil || result.Readings[0].Value != float64(i) {
			t.Fatalf("key %d: %v, %v", i, result.Readings, result.Err)
		}
	}
	if got := server.Requests("secrets"); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
}

// TestRestrictedSecrets has a process that may read Secrets of one namespace.
func TestRestrictedSecrets(t *testing.T) {
	server := kubetest.Start(t)
	server.Put(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hidden"}, Data: map[string][]byte{"n": []byte("9")}})
	t.Setenv("KEDA_RESTRICT_SECRET_ACCESS", "true")
	metadata := resource(map[string]string{"resourceKind": "Secret", "resourceName": "hidden"})
	_, err := scalertest.Serve(t, triggers...).Observe(t.Context(), "kubernetes-resource", metadata)
	const want = "kubernetes-resource: Secret default/hidden is not read: KEDA_RESTRICT_SECRET_ACCESS allows those of namespace keda alone"
	if status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != want {
		t.Errorf("error = %v, want %q", err, want)
	}
	t.Setenv("KEDA_CLUSTER_OBJECT_NAMESPACE", "default")
	got, err := scalertest.Serve(t, triggers...).Observe(t.Context(), "kubernetes-resource", metadata)
	if err != nil || got.Value != 9 {
		t.Errorf("in the namespace of cluster-wide objects: %+v, %v", got, err)
	}
}
