package equivalence

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/ptr"
)

func TestPrint(t *testing.T) {
	bad := worker(func(o *Object) { o.Name, o.Verdict, o.Problem = "bad", NotServed, "" }, func(o *Object) {
		o.Differences = []Difference{{Reason: Refused, What: "trigger 0 (kafka)", Text: "lagThreshold: \x1b[31mred\nline", Since: start}}
	})
	other := worker(func(o *Object) {
		o.Name, o.Verdict, o.Would = "other", Differs, ptr.To[int32](0)
		o.Past = []Difference{{Reason: Value, What: "s0-kafka-orders", Text: "the HPA was told 13, read here is 10", Since: start, Until: start.Add(time.Minute)}}
	})
	good := worker(func(o *Object) { o.Verdict = Agrees })
	jobs := worker(func(o *Object) {
		o.Kind, o.Name, o.Verdict, o.Would, o.Metrics = "ScaledJob", "batch", Unknown, ptr.To[int32](3), nil
	})
	d := Document{Mode: Shadow, Leader: "KEDA (keda-operator-0) in namespace keda", Since: start, Time: start.Add(time.Hour), Objects: []Object{good, other, jobs, bad}, Untold: 2}
	var b strings.Builder
	if err := d.Print(&b); err != nil {
		t.Fatal(err)
	}
	want := `In shadow of KEDA (keda-operator-0) in namespace keda for 1h0m0s. Of 4 objects 1 agree, 1 differ, 1 cannot be served, 1 are not known yet.
2 more objects were not compared: there was no room for them.

VERDICT           KIND          OBJECT       REPLICAS  WOULD  READ HERE (TOLD TO THE HPA)
cannot be served  ScaledObject  shop/bad     2         -      s0-kafka-orders 10 (10)
differs           ScaledObject  shop/other   2         0      s0-kafka-orders 10 (10)
not known yet     ScaledJob     shop/batch   2         +3     
agrees            ScaledObject  shop/worker  2         -      s0-kafka-orders 10 (10)

ScaledObject shop/bad
  refused, trigger 0 (kafka): lagThreshold:  [31mred line (since 2026-05-01T12:00:00Z)

ScaledObject shop/other
  value, s0-kafka-orders: the HPA was told 13, read here is 10 (from 2026-05-01T12:00:00Z to 2026-05-01T12:01:00Z)
`
	if b.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", b.String(), want)
	}
	if d.Equivalent() {
		t.Error("found to be equivalent")
	}
	if d = (Document{Mode: Shadow, Objects: []Object{good}}); !d.Equivalent() {
		t.Error("found not to be equivalent")
	}
	for mode, text := range map[Mode]string{Acting: "leads and scales", Standby: "controller-a leads"} {
		b.Reset()
		d := Document{Mode: mode, Leader: "controller-a"}
		if err := d.Print(&b); err != nil || !strings.Contains(b.String(), text) || d.Equivalent() {
			t.Errorf("%s: %q, %v", mode, b.String(), err)
		}
	}
}

// Whatever text of a Document has signs that a terminal acts on, none is printed.
func TestNoTextReachesATerminalAsItIs(t *testing.T) {
	texts := 0
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		if !v.CanSet() { // nobody decodes it
			return
		}
		switch v.Kind() {
		case reflect.String:
			texts++
			v.SetString("a\x1b[2Jb\u202ec\rd\x9be")
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[time.Time]() {
				v.Set(reflect.ValueOf(time.Unix(1e9, 0)))
				return
			}
			for i := range v.NumField() {
				fill(v.Field(i))
			}
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			for i := range v.Len() {
				fill(v.Index(i))
			}
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem())
		default: // numbers
		}
	}
	for _, mode := range []Mode{Shadow, Acting, Standby} {
		var d Document
		fill(reflect.ValueOf(&d).Elem())
		d.Mode = mode
		var b strings.Builder
		if err := d.Print(&b); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(b.String(), "\x1b\u202e\r\u009b") || strings.Contains(b.String(), "\x9b") {
			t.Errorf("%s: printed %q", mode, b.String())
		}
	}
	if texts < 10 {
		t.Errorf("%d texts were filled", texts)
	}
}

func TestFetch(t *testing.T) {
	pages := map[string]Document{
		"":                          {Mode: Shadow, Objects: []Object{worker()}, Continue: "ScaledObject/shop/worker"},
		"ScaledObject/shop/worker":  {Mode: Shadow, Objects: []Object{worker(func(o *Object) { o.Name = "worker2" })}, Continue: "ScaledObject/shop/worker2"},
		"ScaledObject/shop/worker2": {Mode: Shadow, Untold: 1},
	}
	get := func(_ context.Context, path string) ([]byte, error) {
		u, err := url.Parse(path)
		if err != nil || u.Path != Path || u.Query().Get("namespace") != "shop" {
			t.Fatalf("asked for %s: %v", path, err)
		}
		return json.Marshal(pages[u.Query().Get("after")])
	}
	d, err := Fetch(t.Context(), "shop", get)
	if err != nil || len(d.Objects) != 2 || d.Objects[1].Name != "worker2" || d.Untold != 1 || *d.Objects[0].Metrics[0].Theirs != (Reported{Value: 10}) {
		t.Errorf("%+v, %v", d, err)
	}
	refused := errors.New("forbidden")
	if _, err := Fetch(t.Context(), "", func(context.Context, string) ([]byte, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	if _, err := Fetch(t.Context(), "", func(context.Context, string) ([]byte, error) { return []byte("not found"), nil }); err == nil {
		t.Error("no error for what is no document")
	}
	if _, err := Fetch(t.Context(), "", func(context.Context, string) ([]byte, error) { return []byte(`{"continue": "x"}`), nil }); err == nil {
		t.Error("no error for a document without end")
	}
}
