package alerts

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

const repository = "../.."

// alert is a rule as Prometheus reads it.
type alert struct {
	rulefmt.Rule
	expr parser.Expr
}

// installed are the alerts of a manifest, by name.
func installed(t *testing.T, file string) map[string]alert {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, file))
	if err != nil {
		t.Fatal(err)
	}
	var rule struct {
		Kind string         `json:"kind"`
		Spec map[string]any `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &rule); err != nil {
		t.Fatal(err)
	}
	if rule.Kind != "PrometheusRule" {
		t.Fatalf("%s has a %s", file, rule.Kind)
	}
	groups, err := yaml.Marshal(rule.Spec)
	if err != nil {
		t.Fatal(err)
	}
	promql := parser.NewParser(parser.Options{})
	parsed, errs := rulefmt.Parse(groups, false, model.UTF8Validation, promql, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Errorf("%s: %v", file, err)
	}
	if parsed == nil {
		t.FailNow()
	}
	all := map[string]alert{}
	for _, group := range parsed.Groups {
		for _, r := range group.Rules {
			expr, err := promql.ParseExpr(r.Expr)
			if err != nil {
				t.Fatalf("%s: %v", r.Alert, err)
			}
			if _, twice := all[r.Alert]; twice || r.Alert == "" {
				t.Errorf("alert %q is there twice, or is none", r.Alert)
			}
			all[r.Alert] = alert{r, expr}
		}
	}
	return all
}

func component(t *testing.T) map[string]alert {
	t.Helper()
	return installed(t, "deploy/components/alerts/rules.yaml")
}

// TestTheChartHasTheSameAlerts as the component.
func TestTheChartHasTheSameAlerts(t *testing.T) {
	chart, all := installed(t, "deploy/helm/sluice/files/alerts.yaml"), component(t)
	if len(all) == 0 || len(chart) != len(all) {
		t.Errorf("%d alerts in the chart, %d in the component", len(chart), len(all))
	}
	for name, a := range all {
		if chart[name].Expr != a.Expr || chart[name].For != a.For {
			t.Errorf("%s is another one in the chart", name)
		}
	}
}

// TestRunbooks: every alert leads to a page that says what a page has to, and
// every page belongs to an alert.
func TestRunbooks(t *testing.T) {
	const blob = "https://github.com/sluice-autoscaler/sluice/blob/main/"
	pages := map[string]bool{"README.md": true}
	for name, a := range component(t) {
		path, here := strings.CutPrefix(a.Annotations["runbook_url"], blob)
		if !here {
			t.Errorf("%s: runbook_url %q does not begin with %s", name, a.Annotations["runbook_url"], blob)
			continue
		}
		text, err := os.ReadFile(filepath.Join(repository, path))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		pages[filepath.Base(path)] = true
		if !strings.HasPrefix(string(text), "# "+name+"\n") {
			t.Errorf("%s is not titled %s", path, name)
		}
		for _, part := range []string{"## What it means for users", "## How to see it", "## Cures, in this order", "## When it goes out", "kubectl", "```promql"} {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s has no %q", path, part)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(repository, "docs/runbooks/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !pages[filepath.Base(file)] {
			t.Errorf("%s is of no alert", file)
		}
	}
}

// Whoever is woken is told what is the matter, and where to read on.
func TestAlertsSayWhatIsTheMatter(t *testing.T) {
	for name, a := range component(t) {
		if a.Labels["severity"] == "" || a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s lacks severity, summary or description", name)
		}
		if time.Duration(a.For) > time.Hour {
			t.Errorf("%s waits for %s", name, a.For)
		}
	}
}
