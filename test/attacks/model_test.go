package attacks

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// TestThreatModel holds the tables of docs/threat-model.md to what they promise:
// every cell says something, and the last one of each threat names tests that
// exist.
func TestThreatModel(t *testing.T) {
	t.Parallel()
	repo, err := localcluster.FindRepo(".")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(repo, "docs/threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	threats := 0
	var header []string
	for n, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "|") {
			header = nil
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case header == nil:
			header = cells
		case strings.Trim(cells[0], "-") == "":
			continue
		case len(cells) != len(header) || slices.Contains(cells, ""):
			t.Errorf("line %d: a cell is missing or empty: %s", n+1, line)
		case header[len(header)-1] == "test":
			threats++
			checkTests(t, repo, n+1, cells[len(cells)-1])
		}
	}
	if threats < 40 {
		t.Errorf("only %d threats were found", threats)
	}
}

// named is a test as the table names it: the folder and the function.
var named = regexp.MustCompile("`([a-z0-9/-]+)\\.((?:Test|Fuzz)[A-Za-z0-9]+)`")

func checkTests(t *testing.T, repo string, line int, cell string) {
	t.Helper()
	if left := strings.Trim(named.ReplaceAllString(cell, ""), ", "); left != "" {
		t.Errorf("line %d: %q is no test", line, left)
	}
	for _, test := range named.FindAllStringSubmatch(cell, -1) {
		files, err := filepath.Glob(filepath.Join(repo, test[1], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(file string) bool {
			source, err := os.ReadFile(file)
			return err == nil && strings.Contains(string(source), "func "+test[2]+"(")
		}) {
			t.Errorf("line %d: %s has no %s", line, test[1], test[2])
		}
	}
}
