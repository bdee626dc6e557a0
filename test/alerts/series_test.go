package alerts

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

// promqlBlock is a block of expressions in a page, one a line.
var promqlBlock = regexp.MustCompile("(?s)```promql\n(.*?)```")

// TestSeriesExist: what rules and runbooks ask for is what the code of a process
// names, or, of the libraries' own, what the end-to-end test of series finds in the
// real processes.
func TestSeriesExist(t *testing.T) {
	named := names(t)
	for name, a := range component(t) {
		exist(t, named, name, a.expr)
	}
	pages, err := filepath.Glob(filepath.Join(repository, "docs/runbooks/Sluice*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range promqlBlock.FindAllStringSubmatch(string(text), -1) {
			for line := range strings.Lines(block[1]) {
				expr, err := parser.NewParser(parser.Options{}).ParseExpr(strings.TrimSpace(line))
				if err != nil {
					t.Errorf("%s: %s: %v", page, line, err)
					continue
				}
				exist(t, named, page, expr)
			}
		}
	}
	for _, file := range []string{"keda", "sluice"} {
		for title, queries := range panels(t, file) {
			for _, query := range queries {
				expr, err := parser.NewParser(parser.Options{}).ParseExpr(variable.ReplaceAllString(query, "5m"))
				if err != nil {
					t.Errorf("%s: %s: %v", file, title, err)
					continue
				}
				exist(t, named, file+": "+title, expr)
			}
		}
	}
	if named["sluice_family_instance"] {
		t.Error("a name that is not there is found")
	}
}

// variable is what Grafana puts into a query.
var variable = regexp.MustCompile(`\$[a-zA-Z_]+`)

// panels are the queries of a dashboard by the title of their panel, and of a variable
// by its name.
func panels(t *testing.T, file string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "deploy/dashboards", file+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil || len(board.Panels) == 0 {
		t.Fatal(len(board.Panels), err)
	}
	queries := map[string][]string{}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			queries[p.Title] = append(queries[p.Title], target.Expr)
		}
	}
	for _, v := range board.Templating.List {
		if values, of := strings.CutPrefix(v.Definition, "label_values("); of {
			queries[v.Name] = append(queries[v.Name], values[:strings.LastIndex(values, ",")])
		}
	}
	return queries
}

// exist looks for every series of an expression.
func exist(t *testing.T, named map[string]bool, where string, expr parser.Expr) {
	t.Helper()
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		selector, is := node.(*parser.VectorSelector)
		if !is {
			return nil
		}
		found := named[selector.Name]
		for _, part := range []string{"_bucket", "_count", "_sum"} {
			whole, cut := strings.CutSuffix(selector.Name, part)
			found = found || cut && named[whole]
		}
		if !found {
			t.Errorf("%s: there is no series %s", where, selector.Name)
		}
		return nil
	})
}

// names are all texts in quotes that might be names of series.
func names(t *testing.T) map[string]bool {
	t.Helper()
	quoted, found := regexp.MustCompile(`"([a-z]+(?:_[a-z]+)+)"`), map[string]bool{}
	read := func(path string) error {
		text, err := os.ReadFile(path)
		for _, match := range quoted.FindAllSubmatch(text, -1) {
			found[string(match[1])] = true
		}
		return err
	}
	if err := read(filepath.Join(repository, "test/e2e/series_test.go")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"controller", "metrics-adapter", "scalers/scaler"} {
		err := filepath.WalkDir(filepath.Join(repository, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			return read(path)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}
