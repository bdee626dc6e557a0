package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// laden is a pod with all that tenants may write into one.
func laden(name string, ready bool) *corev1.Pod {
	p := pod(name, ready)
	p.Annotations = map[string]string{"a": `"}]\u0022 \` + strings.Repeat(`\"x`, 100), `"status":{`: "\x00 é \u2028"}
	p.Spec.Containers = []corev1.Container{{Name: "ready", Env: []corev1.EnvVar{{Name: "A", Value: `{"conditions":[{"type":"Ready","status":"True"}]}`}}}}
	p.Status.Conditions = append([]corev1.PodCondition{{Type: "ReadyToStart", Status: "True"}}, p.Status.Conditions...)
	p.Status.Message = strings.Repeat("m", 2*longestText)
	p.ResourceVersion = "7"
	return p
}

func TestPodStreams(t *testing.T) {
	list := &corev1.PodList{Items: []corev1.Pod{*laden("one", true), *laden("two", false)}}
	list.ResourceVersion = "41"
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	var got []seen
	put := func(p seen) error { got = append(got, p); return nil }
	version, err := newPodStream(strings.NewReader(string(text))).list(put)
	want := []seen{{name: "one", version: "7", ready: true}, {name: "two", version: "7"}}
	if err != nil || version != "41" || !reflect.DeepEqual(got, want) {
		t.Errorf("%q %+v, %v", version, got, err)
	}
	for i := range text {
		if _, err := newPodStream(strings.NewReader(string(text[:i]))).list(func(seen) error { return nil }); err == nil {
			t.Fatalf("the first %d bytes of %d are a list", i, len(text))
		}
	}
	full := errors.New("full")
	if _, err := newPodStream(strings.NewReader(string(text))).list(func(seen) error { return full }); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	expired := metav1.Status{Status: "Failure", Code: 410, Reason: "Expired", Message: "too old"}
	var events strings.Builder
	for _, e := range []any{
		map[string]any{"type": "ADDED", "object": laden("one", true)}, map[string]any{"object": laden("one", false), "type": "MODIFIED"},
		map[string]any{"type": "ERROR", "object": expired},
	} {
		if err := json.NewEncoder(&events).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	s := newPodStream(strings.NewReader(events.String()))
	for _, want := range []struct {
		kind string
		pod  seen
	}{{"ADDED", seen{name: "one", version: "7", ready: true}}, {"MODIFIED", seen{name: "one", version: "7"}}, {"ERROR", seen{code: 410, message: "too old"}}} {
		kind, p, err := s.event()
		if err != nil || kind != want.kind || p != want.pod {
			t.Errorf("%s %+v, %v; want %+v", kind, p, err, want)
		}
	}
	if _, _, err := s.event(); !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the end: %v", err)
	}
}

// endless is a list of so many pods of a MiB each, which stands nowhere as a whole.
type endless struct {
	pods int
	text string
}

func (e *endless) Read(into []byte) (int, error) {
	if e.text == "" {
		if e.pods == 0 {
			return 0, io.EOF
		}
		e.pods--
		e.text = fmt.Sprintf(`{"metadata":{"name":"%d","annotations":{"a":"%s"}},"spec":{"x":%s1%s},"status":{"phase":"Running"}},`,
			e.pods, strings.Repeat("a", 1<<20), strings.Repeat("[", 1<<16), strings.Repeat("]", 1<<16))
	}
	n := copy(into, e.text)
	e.text = e.text[n:]
	return n, nil
}

// TestReadingAListHoldsNoPod reads 40 MiB of pods, whose texts and depth are those
// of an attacker, and holds none of it.
func TestReadingAListHoldsNoPod(t *testing.T) {
	var before, now runtime.MemStats
	most := uint64(0)
	read := 0
	runtime.GC()
	runtime.ReadMemStats(&before)
	items := io.MultiReader(strings.NewReader(`{"items":[`), &endless{pods: 40}, strings.NewReader(`{"metadata":{"name":"last"}}]}`))
	_, err := newPodStream(items).list(func(p seen) error {
		if read++; read%4 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
		return nil
	})
	if err != nil || read != 41 {
		t.Fatalf("%d pods, %v", read, err)
	}
	if more := int64(most) - int64(before.HeapAlloc); more > 8<<20 { // two of the test's own texts
		t.Errorf("%d bytes more are held", more)
	}
}

// FuzzPodStream compares what is read with what encoding/json reads, of all that is
// JSON, and proves that nothing else does harm.
func FuzzPodStream(f *testing.F) {
	for _, p := range []*corev1.Pod{laden("one", true), pod("two", false)} {
		text, _ := json.Marshal(p)
		f.Add(string(text))
	}
	for _, text := range []string{
		"", "{", "[", `{"metadata":null,"status":"Failure","code":410.5e1,"message":"\ud83d\ude00"}`, `{"metadata":[{}],"status":{"conditions":{}}}`,
		`{"status":{"phase":"Running","conditions":[null,{"type":"Ready","status":true},{"status":"True","type":"Ready"}]}} {}`,
		`{"a":[],"b":{},"metadata":{"name":7}}`, `{"metadata":{"name":"a"}`, `{"a":}`, `{,}`, `[1,]`, "\"\\u12\"", strings.Repeat("[", 1000),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := newPodStream(strings.NewReader(text + " ")).pod()
		if !json.Valid([]byte(text)) {
			return
		}
		if err != nil {
			t.Fatalf("%v of JSON", err)
		}
		plain := &corev1.Pod{}
		if json.Unmarshal([]byte(text), plain) != nil {
			return // it is something else
		}
		again, err := json.Marshal(plain)
		if err != nil {
			t.Fatal(err)
		}
		if read, err := newPodStream(strings.NewReader(string(again))).pod(); err != nil || read.ready != isReady(plain) ||
			len(plain.Name) < longestText/6 && read.name != plain.Name {
			t.Errorf("%+v, %v of %s", read, err, again)
		}
	})
}

// isReady is how the HPA controller counts a pod.
func isReady(pod *corev1.Pod) bool {
	if pod.Status.Phase != corev1.PodRunning {
		return false
	}
	ready := false
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			ready = c.Status == corev1.ConditionTrue
		}
	}
	return ready
}
