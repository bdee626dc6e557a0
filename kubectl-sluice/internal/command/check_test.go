package command

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// run returns all that a command line prints, and its exit code.
func run(t *testing.T, stdin string, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = Run(t.Context(), "v1", args, Streams{In: strings.NewReader(stdin), Out: &o, Err: &e})
	return o.String(), e.String(), code
}

// secrets are values in the manifests that nobody may be shown.
var secrets = []string{"swordfish-1", "swordfish-2", "swordfish-3"}

// TestCheck: what is said of each kind of problem, all of it, and the exit code.
// No output shows a value of a Secret or of a variable, or a password, or has
// what a terminal takes for a command.
func TestCheck(t *testing.T) {
	codes := map[string]int{
		"unchanged": OK, "differs": OK, "grants": Needs, "trust": Needs, "settings": Failed, "targets": Failed,
		"types": Failed, "refused": Failed, "events": Failed, "hostile": Failed,
	}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) != len(codes) {
		t.Fatalf("%d files, %d codes, %v", len(files), len(codes), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		want, known := codes[name]
		if !known {
			t.Fatalf("%s: no exit code", name)
		}
		t.Run(name, func(t *testing.T) {
			text, errs, code := run(t, "", "migrate", "check", "-f", file)
			if code != want || errs != "" {
				t.Errorf("exit code %d, %s; want %d", code, errs, want)
			}
			golden(t, "testdata/"+name+".txt", text)
			exact, _, _ := run(t, "", "migrate", "check", "-f", file, "--roles")
			whole, _, _ := run(t, "", "migrate", "check", "-f", file, "--roles=namespace")
			if exact != "" {
				golden(t, "testdata/"+name+".roles", exact)
			}
			all := text + exact + whole
			for _, format := range []string{"json", "yaml"} {
				report, _, code := run(t, "", "migrate", "check", "-f", file, "-o", format)
				if code != want {
					t.Errorf("-o %s: exit code %d", format, code)
				}
				all += report
			}
			for _, secret := range secrets {
				if strings.Contains(all, secret) {
					t.Errorf("shows %q", secret)
				}
			}
			if at := strings.IndexFunc(all, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }); at >= 0 {
				t.Errorf("a control character in %q", all[max(0, at-20):at+1])
			}
		})
	}
}

func golden(t *testing.T, file, have string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(have), 0o644); err != nil { //nolint:gosec // a golden file is no secret
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if have != string(want) {
		t.Errorf("%s:\n%s\nwant (go test -update writes it)\n%s", file, have, want)
	}
}

// TestPublishedManifests: two articles about KEDA, and the example of every
// trigger type. Nothing of them cannot be served, but for what the examples leave
// to the reader.
func TestPublishedManifests(t *testing.T) {
	incomplete := map[string]bool{"reliable-scaler.yaml": true} // a parameter is missing
	for _, folder := range []string{"../../../test/e2e/testdata/articles", "../../../docs/examples"} {
		files, err := filepath.Glob(folder + "/*.yaml")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", folder, err)
		}
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) {
				if text, errs, code := run(t, "", "migrate", "check", "-f", file); (code == Failed) != incomplete[filepath.Base(file)] {
					t.Errorf("%s%s", text, errs)
				}
			})
		}
	}
}

// TestWordsOfTheCommandLine: what is wrong with it is told, and ends with 2.
func TestWordsOfTheCommandLine(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"unknown command": {[]string{"migrat"}, `unknown command "migrat" for "kubectl sluice", did you mean migrate?`},
		"unknown flag":    {[]string{"migrate", "check", "--role"}, "unknown flag: --role, did you mean --roles?"},
		"unrelated flag":  {[]string{"why", "so/a", "--frobnicate"}, "unknown flag: --frobnicate; kubectl sluice why --help says which there are"},
		"no object":       {[]string{"why"}, "name an object, such as so/orders or sj/batch: kubectl sluice why <kind>/<name>"},
		"two words":       {[]string{"why", "so", "orders"}, "write it as one word, so/orders: kubectl sluice why <kind>/<name>"},
		"no number":       {[]string{"pin", "so/orders"}, "it has 1 arguments, and takes 2: kubectl sluice pin <kind>/<name> <replicas>"},
		"too many":        {[]string{"resume", "so/orders", "x"}, "it has 2 arguments, and takes 1"},
		"a kind's slip":   {[]string{"why", "scaledobjct/orders"}, `"scaledobjct" is neither scaledobject (so) nor scaledjob (sj), did you mean scaledobject?`},
		"what is scaled":  {[]string{"why", "deploy/orders"}, `nor scaledjob (sj): name the one that scales it`},
		"no arguments":    {[]string{"top", "x"}, `"x": kubectl sluice top takes no arguments; kubectl sluice top --help`},
		"output":          {[]string{"migrate", "check", "-f", "-", "-o", "xml"}, `--output: "xml" is neither json nor yaml`},
		"roles":           {[]string{"migrate", "check", "-f", "-", "--roles=all"}, `--roles: "all" is neither exact nor namespace`},
		"both":            {[]string{"migrate", "check", "-f", "-", "--roles", "-o", "json"}, "--roles prints YAML alone"},
		"no such file":    {[]string{"migrate", "check", "-f", missing}, "missing.yaml: no such file"},
		"an argument":     {[]string{"migrate", "check", "orders.yaml"}, `"orders.yaml": files are named with -f`},
		"no cluster":      {[]string{"migrate", "check", "--kubeconfig", missing}, "missing.yaml: no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, code := run(t, "", tt.args...)
			if code != Failed || !strings.Contains(errs, tt.want) || out != "" {
				t.Errorf("exit code %d, %q, %q; want %s", code, out, errs, tt.want)
			}
		})
	}
}

func TestOtherCommands(t *testing.T) {
	if out, _, code := run(t, "", "version"); out != "v1\n" || code != OK {
		t.Errorf("%q, %d", out, code)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out, errs, code := run(t, "", "completion", shell); code != OK || len(out) < 100 {
			t.Errorf("%s: %d, %q", shell, code, errs)
		}
	}
	if out, _, code := run(t, "", "migrate", "check", "--help"); code != OK || !strings.Contains(out, "kubectl sluice migrate check") {
		t.Errorf("%d, %q", code, out)
	}
}

// TestStandardInput: what helm template and the like print, JSON as kubectl has
// it, and namespaces that are not given.
func TestStandardInput(t *testing.T) {
	const object = `{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "orders"}, "spec": {"scaleTargetRef": {"name": "a"}, "minReplicaCount": 1, "triggers": [{"type": "redis", "metadata": {"address": "redis:6379", "listName": "a"}, "secretKeyRef": [{"parameter": "password", "name": "redis", "key": "p"}]}]}}`
	for name, text := range map[string]string{
		"one":       object,
		"a list":    `{"apiVersion": "v1", "kind": "List", "items": [` + object + `]}`,
		"its list":  `{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObjectList", "items": [` + object + `]}`,
		"documents": "---\n# Source: shop\n---\n" + object + "\n---\n",
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, code := run(t, text, "migrate", "check", "-n", "team", "-f", "-", "--roles")
			if code != Needs || !strings.Contains(out, "namespace: team") || !strings.Contains(out, "- redis\n") {
				t.Errorf("%d, %s%s", code, out, errs)
			}
		})
	}
}

// TestManyObjectsAreJudgedSoon: nobody waits for a target that is not there, and
// what is said of many objects is said once.
func TestManyObjectsAreJudgedSoon(t *testing.T) {
	var text strings.Builder
	const many = 2000
	for i := range many {
		fmt.Fprintf(&text, "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: o-%d}\nspec: {scaleTargetRef: {name: t-%d}, minReplicaCount: 1, triggers: [{type: cpu, metricType: Utilization, metadata: {value: '5'}}, {type: activemq, metadata: {}}]}\n---\n", i, i)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs bytes.Buffer
	code := Run(ctx, "v1", []string{"migrate", "check", "-f", "-"}, Streams{In: strings.NewReader(text.String()), Out: &out, Err: &errs})
	if want := fmt.Sprintf("and %d more (-o yaml has all)", many-10); code != Failed || strings.Count(out.String(), "no family of this version") != 1 || !strings.Contains(out.String(), want) {
		t.Errorf("%d, %s", code, errs.String())
	}
}

// TestNothingPrintedIsACommand: whatever a text of somebody else's comes in.
func TestNothingPrintedIsACommand(t *testing.T) {
	for _, args := range [][]string{
		{"migrate", "check", "-f", "-"}, {"migrate", "check", "-f", "-", "-o", "json"}, {"migrate", "check", "-f", "/\x1b[2J"}, {"\x1b]0;a\x07"},
	} {
		out, errs, _ := run(t, "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: a}\nspec: {scaleTargetRef: {name: \"\\e[2J\"}, triggers: [{type: \"\\e[31m\\u009b\\u202e\", metadata: {}}]}\n", args...)
		if strings.ContainsAny(out+errs, "\x1b\x07\u009b\u202e") || out+errs == "" {
			t.Errorf("%q: %q", args, out+errs)
		}
	}
}
