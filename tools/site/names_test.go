package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// code is all that names something users see: programs, manifests and the chart.
func code(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, root := range []string{"controller", "metrics-adapter", "scalers", "identity", "outbound", "proto", "kubectl-sluice", "deploy", "test/e2e/series_test.go"} {
		err := filepath.WalkDir(filepath.Join("../..", root), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !slices.Contains([]string{".go", ".yaml", ".tpl"}, filepath.Ext(path)) ||
				strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, "series_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			all.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

var (
	// annotations, labels and reserved keys of ours, and those of KEDA's that are set on
	// objects.
	key = regexp.MustCompile(`\b(?:sluice\.dev|autoscaling\.keda\.sh|scaledjob\.keda\.sh|scaledobject\.keda\.sh)/[A-Za-z][A-Za-z-]*[A-Za-z]`)
	// series of ours and KEDA's.
	series = regexp.MustCompile(`\b(?:sluice|keda)_[a-z]+(?:_[a-z]+)*\b`)
	part   = regexp.MustCompile(`_(?:total|bucket|count|sum)$`)
	// flag is one that a sentence names.
	flag = regexp.MustCompile("`--([a-z][a-z-]*)")
	// manifest is a folder of deploy/ as commands and layers name it.
	manifest = regexp.MustCompile(`(?:-k |\[|, )(?:\.\./)?(deploy/[a-z/-]+)`)
)

// ofOthers are flags of other programs: kubectl, Helm, gcloud, the API server, and of libraries that add theirs.
var ofOthers = []string{"admission-control-config-file", "as", "atomic", "force-conflicts", "previous", "reuse-values", "set", "take-ownership", "workload-metadata", "zap-encoder"}

// TestNamesInPagesAreThoseOfTheCode: what a page has to be set, watched or applied is
// there by that name.
func TestNamesInPagesAreThoseOfTheCode(t *testing.T) {
	all, found := code(t), map[string]int{}
	pages(t, func(page, text string) {
		for _, name := range key.FindAllString(text, -1) {
			found["key"]++
			if _, local, _ := strings.Cut(name, "/"); !strings.Contains(all, name) && !strings.Contains(all, `"`+local+`"`) && local != "orders" {
				t.Errorf("docs/%s: %s: nothing has this key", page, name)
			}
		}
		for _, name := range series.FindAllString(text, -1) {
			found["series"]++
			if !strings.Contains(all, name) && !strings.Contains(all, part.ReplaceAllString(name, "")+`"`) {
				t.Errorf("docs/%s: %s: there is no such series", page, name)
			}
		}
		for _, match := range flag.FindAllStringSubmatch(text, -1) {
			found["flag"]++
			if !strings.Contains(all, `"`+match[1]+`"`) && !slices.Contains(ofOthers, match[1]) {
				t.Errorf("docs/%s: --%s: there is no such flag", page, match[1])
			}
		}
		for _, match := range manifest.FindAllStringSubmatch(text, -1) {
			found["manifest"]++
			folder := filepath.Join("../..", match[1])
			if _, err := os.Stat(folder); err != nil && !strings.Contains(text, match[1]+"<") {
				t.Errorf("docs/%s: %v", page, err)
			}
		}
	})
	for what, least := range map[string]int{"key": 80, "series": 60, "flag": 70, "manifest": 20} {
		if found[what] < least {
			t.Errorf("%d of %s, want %d at least", found[what], what, least)
		}
	}
}
