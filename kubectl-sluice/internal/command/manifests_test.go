package command

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/check"
)

// TestManifests: every problem with its line, in all formats, and the exit code.
// Nothing that a manifest has begins a line of its own or is a terminal's command.
func TestManifests(t *testing.T) {
	for name, want := range map[string]struct{ code, strict int }{
		"wrong": {Needs, Needs}, "warned": {OK, Needs}, "right": {OK, OK}, "hostile": {Needs, Needs},
	} {
		t.Run(name, func(t *testing.T) {
			file := "testdata/manifests/" + name + ".yaml"
			text, errs, code := run(t, "", "check", "-f", file)
			if code != want.code || errs != "" {
				t.Errorf("exit code %d, %s; want %d", code, errs, want.code)
			}
			golden(t, "testdata/manifests/"+name+".txt", text)
			if _, _, code := run(t, "", "check", "-f", file, "--strict"); code != want.strict {
				t.Errorf("--strict: exit code %d, want %d", code, want.strict)
			}
			annotations, _, _ := run(t, "", "check", "-f", file, "-o", "github")
			document, _, _ := run(t, "", "check", "-f", file, "-o", "json")
			var report check.Report
			if err := json.Unmarshal([]byte(document), &report); err != nil {
				t.Fatal(err)
			}
			if have := strings.Count(annotations, "\n"); have != len(report.Problems) {
				t.Errorf("%d annotations of %d problems:\n%s", have, len(report.Problems), annotations)
			}
			for i, line := range strings.Split(strings.TrimSpace(annotations), "\n") {
				if len(report.Problems) == 0 {
					break
				}
				p := report.Problems[i]
				if begin := fmt.Sprintf("::%s file=%s,line=%d,title=kubectl sluice check::%s", p.Level, file, p.Line, p.Kind); !strings.HasPrefix(line, begin) {
					t.Errorf("%q does not begin with %q", line, begin)
				}
			}
			if have := strings.Count(text, "\n"); have != len(report.Problems)+1 {
				t.Errorf("%d lines of %d problems:\n%s", have, len(report.Problems), text)
			}
			all := text + annotations + document
			if at := strings.IndexFunc(all, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }); at >= 0 {
				t.Errorf("a control character in %q", all[max(0, at-20):at+1])
			}
		})
	}
}

// TestManifestsOfAFolder: all files in it are read, and what is piped in is.
func TestManifestsOfAFolder(t *testing.T) {
	out, errs, code := run(t, "", "check", "-f", "testdata/manifests")
	for _, file := range []string{"hostile.yaml:", "warned.yaml:", "wrong.yaml:"} {
		if !strings.Contains(out, filepath.Join("testdata/manifests", file)) {
			t.Errorf("nothing of %s: %s%s", file, out, errs)
		}
	}
	if code != Needs {
		t.Error(code)
	}
	text, err := os.ReadFile("testdata/manifests/warned.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if out, _, code := run(t, string(text), "check", "-f", "-"); code != OK || !strings.Contains(out, "standard input:10: warning: ") {
		t.Errorf("%d, %s", code, out)
	}
}

// TestOthersObjectsAreNobodysBusiness: the same Deployment in two overlays is none
// of what is judged, and a ScaledObject is.
func TestOthersObjectsAreNobodysBusiness(t *testing.T) {
	const workload = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}\n---\n"
	const object = "{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: a}, spec: {scaleTargetRef: {name: a}, triggers: [{type: activemq, metadata: {}}]}}\n---\n"
	if out, _, code := run(t, workload+workload+object, "check", "-f", "-"); code != OK || !strings.Contains(out, "1 object, 0 errors") {
		t.Errorf("%d, %s", code, out)
	}
	if out, _, code := run(t, object+object, "check", "-f", "-"); code != Needs || !strings.Contains(out, "standard input:3: error: ScaledObject default/a: is there already: standard input, document 1") {
		t.Errorf("%d, %s", code, out)
	}
}

// TestLinesOfJSON: a file of JSON has lines, too.
func TestLinesOfJSON(t *testing.T) {
	text := "{\n\"apiVersion\": \"keda.sh/v1alpha1\",\n\"kind\": \"ScaledObject\",\n\"metadata\": {\"name\": \"a\"},\n\"spec\": {\"scaleTargetRef\": {\"name\": \"a\"},\n\"triggers\": [\n{\"type\": \"redis\",\n\"metadata\": {\"address\": \"redis:6379\",\n\"listName\": \"jobs\",\n\"listLength\": \"x\"}}]}}"
	if out, errs, code := run(t, text, "check", "-f", "-"); code != Needs || !strings.Contains(out, "standard input:10: error: ScaledObject default/a: trigger 0 (redis): listLength: ") {
		t.Errorf("%d, %s%s", code, out, errs)
	}
}

// TestManifestsSaysWhatIsWrongWithTheQuestion: which is none of the files'.
func TestManifestsSaysWhatIsWrongWithTheQuestion(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"no file":        {nil, "--filename: name files"},
		"not there":      {[]string{"-f", "testdata/none"}, "no such file"},
		"another format": {[]string{"-f", "-", "-o", "xml"}, `"xml" is none of json, yaml, github`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, errs, code := run(t, "", append([]string{"check"}, tt.args...)...); code != Failed || !strings.Contains(errs, tt.says) {
				t.Errorf("%d, %s", code, errs)
			}
		})
	}
}

// TestDifferencesAreSaidWhereAskedFor: and are no problem else.
func TestDifferencesAreSaidWhereAskedFor(t *testing.T) {
	out, _, code := run(t, "", "check", "-f", "testdata/manifests/right.yaml", "--differences")
	if code != OK || !strings.Contains(out, "right.yaml:4: warning: ScaledObject default/worker: minReplicaCount: leaving zero") {
		t.Errorf("%d, %s", code, out)
	}
}

// TestProblemsAreBounded: a file with many has as many told as anybody reads.
func TestProblemsAreBounded(t *testing.T) {
	var text strings.Builder
	const many = 6000
	for i := range many {
		fmt.Fprintf(&text, "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: o-%d}\nspec: {scaleTargetRef: {name: t-%d}, minReplicaCount: 5, maxReplicaCount: 2, triggers: [{type: activemq, metadata: {}}]}\n---\n", i, i)
	}
	out, _, code := run(t, text.String(), "check", "-f", "-")
	if lines := strings.Count(out, "\n"); code != Needs || lines != 10_002 || !strings.Contains(out, "and 2000 more\n6000 objects, 6000 errors, 6000 warnings\n") {
		t.Errorf("%d, %d lines: %s", code, lines, out[max(0, len(out)-200):])
	}
}
