package alerts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWhatIsWrittenIsCommitted: a table that changed was not generated from.
func TestWhatIsWrittenIsCommitted(t *testing.T) {
	root := t.TempDir()
	if err := Write(root); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{rules, index} {
		want, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(filepath.Join("../..", path))
		if err != nil {
			t.Fatal(err)
		}
		if string(have) != string(want) {
			t.Errorf("%s is not what make generate writes", path)
		}
	}
}

// TestTheTableIsRefusedWhereItLacksSomething says which entry.
func TestTheTableIsRefusedWhereItLacksSomething(t *testing.T) {
	before := table
	t.Cleanup(func() { table = before })
	const whole = "- {alert: A, about: b, severity: warning, expr: up, summary: s, description: d}\n"
	for text, want := range map[string]string{
		whole: "", whole + whole: "A is there twice",
		strings.Replace(whole, "about: b, ", "", 1):        `"A" lacks`,
		strings.Replace(whole, "expr: up, ", "", 1):        `"A" lacks`,
		strings.Replace(whole, "warning", "loud", 1):       `severity "loud"`,
		strings.Replace(whole, "alert: A", "allert: A", 1): "allert",
	} {
		table = []byte(text)
		_, err := All()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
