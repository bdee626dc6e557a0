package dashboards

import (
	"encoding/json"
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
	all, err := All()
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	for _, d := range all {
		for _, path := range []string{folder + "/" + d.File + ".json", component + "/" + d.File + ".yaml"} {
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
}

// TestPanelsHaveTheirPlace: no two are in one, none is outside, and each is asked of
// the Prometheus that the reader chose.
func TestPanelsHaveTheirPlace(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		text, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			Panels []struct {
				ID         int
				Type       string
				Title      string
				GridPos    struct{ X, Y, W, H int }
				Datasource struct{ UID string }
				Targets    []struct{ RefID, Expr string }
			}
		}
		if err := json.Unmarshal(text, &board); err != nil {
			t.Fatal(err)
		}
		taken, ids := map[[2]int]string{}, map[int]bool{}
		for _, p := range board.Panels {
			g := p.GridPos
			if ids[p.ID] || g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > columns {
				t.Errorf("%s: %s: id %d, %+v", d.File, p.Title, p.ID, g)
			}
			ids[p.ID] = true
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other, there := taken[[2]int{x, y}]; there {
						t.Fatalf("%s: %s is over %s", d.File, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
			if p.Type != "row" && (p.Datasource.UID != "${datasource}" || len(p.Targets) == 0) {
				t.Errorf("%s: %s asks %q for %v", d.File, p.Title, p.Datasource.UID, p.Targets)
			}
		}
	}
}

// TestTheTableIsRefusedWhereItLacksSomething says which entry.
func TestTheTableIsRefusedWhereItLacksSomething(t *testing.T) {
	before := table
	t.Cleanup(func() { table = before })
	const whole = "- {file: f, title: T, about: a, rows: [{title: r, panels: [{title: P, queries: [{expr: up, legend: l}, {expr: up, legend: m}]}]}]}"
	for text, want := range map[string]string{
		whole: "",
		strings.Replace(whole, "about: a, ", "", 1):        `"T" lacks`,
		strings.Replace(whole, "title: P", "kind: pie", 1): `kind "pie"`,
		strings.Replace(whole, "{title: P, ", "{", 1):      "lacks its title",
		strings.Replace(whole, ", legend: m", "", 1):       `a query of "P"`,
		strings.Replace(whole, "title: P", "tilte: P", 1):  "tilte",
	} {
		table = []byte(text)
		_, err := All()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
