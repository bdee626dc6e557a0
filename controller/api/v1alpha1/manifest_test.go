package v1alpha1

import (
	"bytes"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// documents reads a testdata file and splits it.
func documents(t *testing.T, file string) [][]byte {
	t.Helper()
	f, err := os.Open("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reader := utilyaml.NewDocumentDecoder(f)
	defer reader.Close()
	var docs [][]byte
	for {
		buf := make([]byte, 1<<16)
		n, err := reader.Read(buf)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, buf[:n])
	}
}

// strictly decodes a manifest as a strict API server does: an unknown or
// duplicate field is an error.
func strictly(t *testing.T, doc []byte) runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	obj, _, err := decoder.Decode(doc, nil, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, doc)
	}
	return obj
}

func TestEveryFieldSurvivesARoundTrip(t *testing.T) {
	doc := documents(t, "full.yaml")[0]
	obj := strictly(t, doc)
	back, err := yaml.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	if err := errors.Join(yaml.Unmarshal(doc, &want), yaml.Unmarshal(back, &got)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("came back as\n%s", back)
	}
	if again := obj.DeepCopyObject(); !reflect.DeepEqual(again, obj) {
		t.Errorf("the deep copy differs:\n%+v\n%+v", again, obj)
	}
}

func TestFullManifestNamesEveryField(t *testing.T) {
	so := strictly(t, documents(t, "full.yaml")[0]).(*ScaledObject)
	for _, empty := range empties("spec", reflect.ValueOf(so.Spec)) {
		t.Error("not in testdata/full.yaml: " + empty)
	}
	for _, empty := range empties("status", reflect.ValueOf(so.Status)) {
		t.Error("not in testdata/full.yaml: " + empty)
	}
}

// empties lists the fields of our own structs that hold nothing at all. A
// number that stands in the manifest as 0 counts as held.
func empties(path string, v reflect.Value) []string {
	var out []string
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return []string{path}
		}
		return empties(path, v.Elem())
	case reflect.Slice:
		if v.Len() == 0 {
			return []string{path}
		}
		return empties(path+"[0]", v.Index(0))
	case reflect.Map, reflect.String:
		if v.Len() == 0 {
			return []string{path}
		}
	case reflect.Struct:
		if !strings.HasSuffix(v.Type().PkgPath(), "/v1alpha1") {
			return nil
		}
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("json") == "-" {
				continue // ours alone
			}
			out = append(out, empties(path+"."+v.Type().Field(i).Name, v.Field(i))...)
		}
	}
	return out
}

func TestAbsentFieldsStayAbsent(t *testing.T) {
	so := ScaledObject{Spec: ScaledObjectSpec{
		ScaleTargetRef: ScaleTarget{Name: "orders"},
		Triggers:       []ScaleTrigger{{Type: "kafka", Metadata: map[string]string{"topic": "orders"}}},
	}}
	out, err := yaml.Marshal(so)
	if err != nil {
		t.Fatal(err)
	}
	want := `metadata: {}
spec:
  scaleTargetRef:
    name: orders
  triggers:
  - metadata:
      topic: orders
    type: kafka
status: {}
`
	if string(out) != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func TestPublishedManifestsApplyUnchanged(t *testing.T) {
	docs := documents(t, "published.yaml")
	if len(docs) != 7 {
		t.Fatalf("%d documents, want 7", len(docs))
	}
	for _, doc := range docs {
		so, ok := strictly(t, bytes.TrimSpace(doc)).(*ScaledObject)
		if !ok {
			continue
		}
		if err := so.Validate(); err != nil {
			t.Errorf("%s: %v", so.Name, err)
		}
	}
}
