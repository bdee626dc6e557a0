package families

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWhatIsWrongIsNamed: a slip in own.yaml, or a description that says
// nothing, ends in an error and never in manifests that lack something.
func TestWhatIsWrongIsNamed(t *testing.T) {
	const toy = `{"family": "toy", "triggerTypes": [{"type": "toy"}]}`
	for name, test := range map[string]struct{ described, own, want string }{
		"no family":            {"", "", "no family is described"},
		"not JSON":             {"flag provided but not defined", "", "description 1: "},
		"no name":              {`{"triggerTypes": [{"type": "toy"}]}`, "", `description 1: family "" has 1 trigger types`},
		"no type":              {toy + `{"family": "bare"}`, "", `description 2: family "bare" has 0 trigger types`},
		"unknown field":        {toy, "resource: {requests: {cpu: 50m}}", `own.yaml: error unmarshaling JSON: while decoding JSON: json: unknown field "resource"`},
		"unknown rule":         {toy, "clusterRole: {granted: everywhere, rules: [{verb: [get]}]}", `unknown field "verb"`},
		"no quantity":          {toy, "resources: {requests: {cpu: much}}", "own.yaml: "},
		"granted nowhere":      {toy, "clusterRole: {rules: [{verbs: [get]}]}", `own.yaml: clusterRole.granted: "" is neither everywhere nor by-namespace`},
		"two keys of one name": {toy, "args: [a]\nargs: [b]", `key "args" already set in map`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "toy"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "toy", "own.yaml"), []byte(test.own), 0o600); err != nil {
				t.Fatal(err)
			}
			list, err := Read(strings.NewReader(test.described), dir)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%+v, %v, want %s", list, err, test.want)
			}
		})
	}
}
