package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"
)

// released writes a release and returns the objects of its manifests, by file.
func released(t *testing.T, registry string) (objects map[string][]string, texts map[string]string) {
	t.Helper()
	out := t.TempDir()
	if err := (release{repository: "../..", registry: registry, tag: "v1.2.3", out: out}).write(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(out, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	objects, texts = map[string][]string{}, map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		texts[name] = string(text)
		for _, document := range bytes.Split(text, []byte("\n---\n")) {
			var o struct {
				Kind     string
				Metadata struct{ Name, Namespace string }
			}
			if err := yaml.Unmarshal(document, &o); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			objects[name] = append(objects[name], o.Kind+" "+o.Metadata.Namespace+"/"+o.Metadata.Name)
		}
		slices.Sort(objects[name])
	}
	return objects, texts
}

// TestRelease renders once, which takes a few seconds, and looks at all of it.
func TestRelease(t *testing.T) {
	objects, texts := released(t, "localhost:5000/a_b/c")
	t.Run("one file has what the parts have", func(t *testing.T) {
		var parts []string
		for file, has := range objects {
			if file == "core.yaml" || strings.HasPrefix(file, "scaler-") {
				parts = append(parts, has...)
			}
		}
		slices.Sort(parts)
		if !slices.Equal(parts, objects["sluice.yaml"]) {
			t.Errorf("sluice.yaml has %v, its parts %v", objects["sluice.yaml"], parts)
		}
	})
	t.Run("a family alone and what goes over KEDA have their images", func(t *testing.T) {
		for file, image := range map[string]string{
			"under-keda-kafka.yaml":        "localhost:5000/a_b/c/scaler-kafka:v1.2.3",
			"sluice-in-place-of-keda.yaml": "localhost:5000/a_b/c/controller:v1.2.3",
		} {
			if !strings.Contains(texts[file], "image: "+image+"\n") || strings.Contains(texts[file], "image: localhost/") {
				t.Errorf("%s does not run %s: %v", file, image, objects[file])
			}
		}
		if strings.Contains(texts["sluice-in-place-of-keda.yaml"], "sluice-system") || !slices.Contains(objects["sluice-in-place-of-keda.yaml"], "Deployment keda/keda-operator") {
			t.Errorf("sluice-in-place-of-keda.yaml has %v", objects["sluice-in-place-of-keda.yaml"])
		}
	})
	// With a CRD go all objects of users.
	t.Run("what is uninstalled has no CRD", func(t *testing.T) {
		want := slices.DeleteFunc(slices.Clone(objects["sluice.yaml"]), func(o string) bool {
			return slices.Contains(objects["crds.yaml"], o)
		})
		if got := objects["sluice-uninstall.yaml"]; !slices.Equal(got, want) || len(objects["crds.yaml"]) == 0 {
			t.Errorf("sluice-uninstall.yaml has %v, want %v", got, want)
		}
	})
	t.Run("images are those that are built", func(t *testing.T) {
		var names types.Kustomization
		if err := yaml.Unmarshal([]byte(texts["kustomization.yaml"]), &names); err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for _, image := range names.Images {
			want = append(want, image.NewName+":"+image.NewTag)
		}
		for line := range strings.Lines(texts["sluice.yaml"]) {
			if _, image, is := strings.Cut(strings.TrimSpace(line), "image: "); is {
				got = append(got, image)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) || !slices.Contains(got, "localhost:5000/a_b/c/controller:v1.2.3") {
			t.Errorf("images %v, built are %v", got, want)
		}
	})
}

func TestRegistries(t *testing.T) {
	for registry, right := range map[string]bool{
		"": true, "ghcr.io/example": true, "localhost:5000": true, "a.example/b__c/d-e": true,
		"https://ghcr.io": false, "GHCR.io/x": false, "ghcr.io/": false, "ghcr.io/Example": false, "a b": false,
	} {
		if err := (release{registry: registry, tag: "v1", out: "dist"}).check(); (err == nil) != right {
			t.Errorf("registry %q: %v", registry, err)
		}
	}
}

// TestWrongFlags names all that is wrong at once, and writes nothing.
func TestWrongFlags(t *testing.T) {
	out := filepath.Join(t.TempDir(), "dist")
	err := release{repository: "../..", registry: "https://ghcr.io", tag: "a tag", out: out}.write()
	if err == nil || !strings.Contains(err.Error(), `-registry "https://ghcr.io"`) || !strings.Contains(err.Error(), `-tag "a tag"`) {
		t.Errorf("error: %v", err)
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("%s was written: %v", out, err)
	}
	if err := (release{repository: t.TempDir(), tag: "v1", out: out}).write(); err == nil || !strings.Contains(err.Error(), "kustomization.yaml") {
		t.Errorf("error without a repository: %v", err)
	}
}
