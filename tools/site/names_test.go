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

var (
	// documented is a key of the chart in the tables of docs/helm.md.
	documented = regexp.MustCompile("(?m)^\\| `([A-Za-z][A-Za-z.<>]*)` \\|")
	// given is one that a command or a sentence names.
	given = regexp.MustCompile(`(?:--set '?|` + "`" + `)((?:sluice|families|prometheus|operator|metricsServer|podIdentity|certificates|crds|extraArgs|resources|webhooks|networkPolicy|permissions|rbac|imagePullSecrets|serviceAccount)[.\[][A-Za-z.<>\[\]0-9-]*)`)
)

// otherNames look like keys: files, a proto package, KEDA's lease.
var otherNames = regexp.MustCompile(`\.yaml$|^sluice\.(dev|scaler\.v1)\b|^operator\.keda\.sh$`)

// TestValuesInPagesAreThoseOfTheChart: a key of the chart that a page names is one, or
// a part of one.
func TestValuesInPagesAreThoseOfTheChart(t *testing.T) {
	keys, found := []string{}, 0
	pages(t, func(page, text string) {
		if page == "helm.md" {
			for _, match := range documented.FindAllStringSubmatch(text, -1) {
				keys = append(keys, match[1])
			}
		}
	})
	if len(keys) < 150 {
		t.Fatalf("%d keys, want more", len(keys))
	}
	family := regexp.MustCompile(`^families\.[a-z]+\.`)
	pages(t, func(page, text string) {
		for _, match := range given.FindAllStringSubmatch(text, -1) {
			name := match[1]
			if otherNames.MatchString(name) {
				continue
			}
			found++
			whole := name
			if family.MatchString(name) && !strings.HasPrefix(name, "families.select") {
				whole = family.ReplaceAllString(name, "families.<name>.")
			}
			if !slices.ContainsFunc(keys, func(key string) bool {
				return key == whole || strings.HasPrefix(key, whole+".") || strings.HasPrefix(whole, key+".") || strings.HasPrefix(whole, key+"[")
			}) {
				t.Errorf("docs/%s: %s: the chart has no such key", page, name)
			}
		}
	})
	if found < 40 {
		t.Errorf("%d names of keys, want more", found)
	}
}
