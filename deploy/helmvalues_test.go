package deploy

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/sluice-autoscaler/sluice/deploy/chart"
)

// named finds a rendered object by its kind and name.
func named(objects map[string]object, kindName string) object {
	kind, name, _ := strings.Cut(kindName, "/")
	for _, o := range objects {
		if o["kind"] == kind && o.at("metadata", "name") == name {
			return o
		}
	}
	return nil
}

// place is the JSON of what an object has at a path.
func place(t *testing.T, o object, path string) string {
	t.Helper()
	const pods = "spec.template.spec"
	for short, long := range map[string]string{"pod": pods, "main": pods + ".containers.0", "meta": "spec.template.metadata"} {
		if path == short || strings.HasPrefix(path, short+".") {
			path = long + strings.TrimPrefix(path, short)
		}
	}
	var steps []any
	for step := range strings.SplitSeq(path, ".") {
		if i, err := strconv.Atoi(step); err == nil {
			steps = append(steps, i)
		} else {
			steps = append(steps, step)
		}
	}
	text, err := json.Marshal(o.at(steps...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestEveryValueHasItsEffect renders the values of testdata/helm-values.yaml and
// looks for what each of them does, which is not so without it. No key is left
// out.
func TestEveryValueHasItsEffect(t *testing.T) {
	text, err := os.ReadFile("testdata/helm-values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Values  json.RawMessage `json:"values"`
		Effects string          `json:"effects"`
	}
	if err := yaml.UnmarshalStrict(text, &cases); err != nil {
		t.Fatal(err)
	}
	before := template(t, helmChart, "")
	seen := map[string]bool{}
	for _, c := range cases {
		after := template(t, helmChart, string(c.Values))
		for line := range strings.Lines(c.Effects) {
			fields := strings.SplitN(strings.TrimSpace(line), "|", 4)
			if len(fields) != 4 {
				t.Fatalf("%q", line)
			}
			for i := range fields {
				fields[i] = strings.TrimSpace(fields[i])
			}
			key, which, path, want := fields[0], fields[1], fields[2], fields[3]
			seen[key] = true
			old, now := named(before, which), named(after, which)
			switch {
			case want == "gone" && now != nil:
				t.Errorf("%s: %s is there", key, which)
			case want == "gone":
			case now == nil:
				t.Errorf("%s: %s is not there", key, which)
			case !strings.Contains(place(t, now, path), want):
				t.Errorf("%s: %s has %s at %s, want %s", key, which, place(t, now, path), path, want)
			case old != nil && strings.Contains(place(t, old, path), want):
				t.Errorf("%s: %s has %s at %s without it", key, which, want, path)
			}
		}
	}
	keys, err := chart.Keys()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if !seen[key.Path] && key.Class != "nothing" {
			t.Errorf("no effect of %s is looked for", key.Path)
		}
	}
}

// TestValuesThatDoNothing gives each of them another value than KEDA does.
func TestValuesThatDoNothing(t *testing.T) {
	keys, err := chart.Keys()
	if err != nil {
		t.Fatal(err)
	}
	values, given := map[string]any{}, 0
	for _, key := range keys {
		if key.Class != "nothing" {
			continue
		}
		given++
		at, path := values, strings.Split(key.Path, ".")
		for _, step := range path[:len(path)-1] {
			if at[step] == nil {
				at[step] = map[string]any{}
			}
			at = at[step].(map[string]any)
		}
		kind, _, _ := strings.Cut(key.Type, "|")
		at[path[len(path)-1]] = map[string]any{
			"string": "other", "integer": 77, "boolean": string(*key.Default) != "true", "object": map[string]any{"other": "1"},
			"map": map[string]any{"other": "1"}, "list": []any{map[string]any{"other": "1"}},
		}[kind]
	}
	text, err := yaml.Marshal(values)
	if err != nil || given == 0 {
		t.Fatal(err, given)
	}
	different(t, template(t, helmChart, string(text)), template(t, helmChart, ""))
	told := notes(t, string(text))
	for _, key := range keys {
		if key.Class == "nothing" && !strings.Contains(told, "\n  "+key.Path+"\n") && !strings.HasPrefix(key.Path, "extraArgs.") {
			t.Errorf("the notes do not tell of %s:\n%s", key.Path, told)
		}
	}
}

// TestKEDAsValuesAreAccepted renders with all that KEDA's chart has by itself
// and nothing that this one has, as an upgrade of its release with
// --reuse-values does.
func TestKEDAsValuesAreAccepted(t *testing.T) {
	text, err := os.ReadFile("testdata/keda-defaults.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects := template(t, bare(t), string(text))
	for _, o := range objects {
		strict(t, o.id(), []byte(asYAML(t, o)))
	}
	for id, o := range template(t, helmChart, "") {
		if o["kind"] != "Deployment" && o["kind"] != "ServiceAccount" && objects[id] == nil && !strings.Contains(id, "keda:") {
			t.Errorf("%s is missing", id)
		}
	}
	told := notes(t, string(text))
	if strings.Contains(told, "do nothing") || !strings.Contains(told, "may read every Secret") {
		t.Error(told)
	}
}
