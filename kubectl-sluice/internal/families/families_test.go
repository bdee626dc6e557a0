package families

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/controller/federation"
)

// TestFamiliesAreThoseOfTheController: what is embedded is what the controller
// and the reference pages were made from.
func TestFamiliesAreThoseOfTheController(t *testing.T) {
	pages, err := filepath.Glob("../../../docs/triggers/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		if name == "README" {
			continue
		}
		f := Of(name)
		if f == nil {
			t.Errorf("%s: no family", name)
			continue
		}
		if said := federation.Absent(name, "sluice-system", nil).Error(); !strings.Contains(said, "family "+f.Name+",") {
			t.Errorf("%s is of %s; the controller says %s", name, f.Name, said)
		}
	}
	if have, want := len(Types()), len(pages)-1+2; have != want {
		t.Errorf("%d types, want %d", have, want)
	}
	if Of("cpu") != nil || Of("activemq") != nil {
		t.Error("a type that no family serves has one")
	}
}
