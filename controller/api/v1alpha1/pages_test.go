package v1alpha1

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestPagesHaveObjectsThatThereAre decodes the objects that pages have to be
// copied: a field that is none is a mistake of the page.
func TestPagesHaveObjectsThatThereAre(t *testing.T) {
	pages, err := filepath.Glob("../../../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	block := regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```$|<<'?END'?\n(.*?)^END$")
	found := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range block.FindAllSubmatch(text, -1) {
			content := strings.ReplaceAll("\n"+string(match[2])+string(match[3]), "\n"+string(match[1]), "\n")
			for _, document := range strings.Split(content, "\n---\n") {
				objects := objectsOf(t, document)
				if len(objects) == 0 {
					continue
				}
				found++
				var errs []error
				for _, object := range objects {
					if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
						errs = append(errs, err)
					}
				}
				if len(errs) == len(objects) {
					t.Errorf("%s: %v in\n%s", filepath.Base(page), errors.Join(errs...), document)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("%d objects, want more", found)
	}
}

// objectsOf are empty objects of the kinds that a document may be of: one where it
// says so, all where it is a spec alone, none where it is nothing of ours.
func objectsOf(t *testing.T, document string) []any {
	var header struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Spec       any    `json:"spec"`
	}
	err := yaml.Unmarshal([]byte(document), &header)
	switch {
	case err == nil && header.APIVersion == "" && header.Spec != nil:
		return []any{&ScaledObject{}, &ScaledJob{}, &TriggerAuthentication{}}
	case err != nil || header.APIVersion != GroupVersion.String():
		return nil
	}
	switch header.Kind {
	case "ScaledObject":
		return []any{&ScaledObject{}}
	case "ScaledJob":
		return []any{&ScaledJob{}}
	case "TriggerAuthentication":
		return []any{&TriggerAuthentication{}}
	case "ClusterTriggerAuthentication":
		return []any{&ClusterTriggerAuthentication{}}
	}
	t.Errorf("kind %q is none of %s", header.Kind, header.APIVersion)
	return nil
}
