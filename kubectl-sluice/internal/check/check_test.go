package check

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// FuzzManifests: whatever a manifest has, each problem is one line in a line of
// the file that there is.
func FuzzManifests(f *testing.F) {
	files, err := filepath.Glob("../command/testdata/manifests/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // of this module
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := objects.Files([]string{"-"}, bytes.NewReader(text), "default")
		if err != nil {
			return
		}
		r := Set(t.Context(), set, nil, Options{Differences: true})
		lines := bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) + 1
		for _, p := range r.Problems {
			if p.Line < 1 || p.Line > lines {
				t.Errorf("line %d of %d: %s", p.Line, lines, p.Text)
			}
		}
		var people, annotations bytes.Buffer
		if err := r.Print(&people); err != nil {
			t.Fatal(err)
		}
		if err := r.Annotate(&annotations); err != nil {
			t.Fatal(err)
		}
		if n := len(r.Problems); bytes.Count(people.Bytes(), []byte("\n")) != n+1 || bytes.Count(annotations.Bytes(), []byte("\n")) != n {
			t.Errorf("%d problems:\n%s%s", n, &people, &annotations)
		}
	})
}

// TestLongTexts: a name of any length is no page of text.
func TestLongTexts(t *testing.T) {
	const object = "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: a}\nspec: {scaleTargetRef: {name: a}, triggers: [{type: redis, metadata: {%: a}}]}\n"
	set, err := objects.Files([]string{"-"}, strings.NewReader(strings.ReplaceAll(object, "%", strings.Repeat("é", 100_000))), "default")
	if err != nil {
		t.Fatal(err)
	}
	r := Set(t.Context(), set, nil, Options{})
	if len(r.Problems) == 0 {
		t.Fatal("nothing is wrong")
	}
	for _, p := range r.Problems {
		if len([]rune(p.Text)) > longestText+3 || len([]rune(p.Field)) > longestText+3 || strings.ContainsRune(p.Text, '\uFFFD') {
			t.Errorf("a text of %d bytes", len(p.Text))
		}
	}
}
