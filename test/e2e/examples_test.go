package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// TestExamples applies the example of every trigger type's page: the API server
// takes it, and admission, which knows what each family says of its parameters,
// has nothing to warn of.
func TestExamples(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../docs/triggers/*.md")
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	pages = slices.DeleteFunc(pages, func(page string) bool { return filepath.Base(page) == "README.md" })
	for _, page := range pages {
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile("../../docs/examples/" + name + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			if shown, err := os.ReadFile(page); err != nil || !strings.Contains(string(shown), strings.TrimSpace(string(text))) {
				t.Errorf("the page does not show the example, %v", err)
			}
			objects, err := localcluster.Decode(text)
			if err != nil {
				t.Fatal(err)
			}
			ns := namespace(t)
			object{t, ns, "worker"}.deployment(0)
			for _, object := range objects {
				object.SetNamespace(ns)
				text, err := json.Marshal(object)
				if err != nil {
					t.Fatal(err)
				}
				if said := ask(t, string(text), client.DryRunAll); said.refused != "" || len(said.warnings) > 0 {
					t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), said)
				}
			}
		})
	}
}
