package command

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// pages calls f with every page of the documentation, the README among them.
func pages(t *testing.T, f func(name, text string)) {
	t.Helper()
	repository := os.DirFS("../../..")
	names := []string{"README.md", "CONTRIBUTING.md"}
	err := fs.WalkDir(repository, "docs", func(name string, _ fs.DirEntry, err error) error {
		if path.Ext(name) == ".md" {
			names = append(names, name)
		}
		return err
	})
	if err != nil || len(names) < 50 {
		t.Fatalf("%d pages, %v", len(names), err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(repository, name)
		if err != nil {
			t.Fatal(err)
		}
		f(name, string(text))
	}
}

var (
	// block is what is to be copied from a page: its indentation, language and text.
	block = regexp.MustCompile("(?ms)^( *)```([a-z]+)\n(.*?)^ *```$")
	// piped is a manifest within commands.
	piped = regexp.MustCompile(`(?ms)kubectl apply [^\n]*-f - <<'?END'?\n(.*?)^END$`)
	// separator stands between the documents of a block.
	separator = regexp.MustCompile(`(?m)^---$`)
	// ofKEDA is an object that is checked, fragment a part of one, by what it is of.
	ofKEDA         = regexp.MustCompile(`(?m)^apiVersion: keda\.sh/`)
	ofTriggers     = regexp.MustCompile(`(?m)\A(#[^\n]*\n)*triggers:`)
	ofCredentials  = regexp.MustCompile(`(?ms)\A(#[^\n]*\n)*spec:\n  (podIdentity|azureKeyVault|gcpSecretManager|awsSecretManager|hashiCorpVault|secretTargetRef):`)
	authentication = "apiVersion: keda.sh/v1alpha1\nkind: TriggerAuthentication\nmetadata: {name: fragment}\n"
	scaledObject   = "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: fragment}\nspec:\n  scaleTargetRef: {name: fragment}\n"
	// forKEDA is what only an object for another KEDA may have.
	forKEDA = regexp.MustCompile(`(?m)^ *sluice\.dev/.*\n`)
)

// copied are the manifests of a page, parts of objects made whole.
func copied(name, text string) []string {
	var all []string
	for _, b := range block.FindAllStringSubmatch(text, -1) {
		body := strings.ReplaceAll("\n"+b[3], "\n"+b[1], "\n")[1:]
		switch b[2] {
		case "sh":
			for _, p := range piped.FindAllStringSubmatch(body, -1) {
				all = append(all, p[1])
			}
		case "yaml":
			if name == "docs/under-keda.md" {
				body = forKEDA.ReplaceAllString(body, "")
			}
			if ofKEDA.MatchString(body) {
				all = append(all, body)
				continue
			}
			for _, part := range separator.Split(body, -1) {
				switch part = strings.TrimPrefix(part, "\n"); {
				case ofCredentials.MatchString(part):
					all = append(all, authentication+part)
				case ofTriggers.MatchString(part):
					all = append(all, scaledObject+"  "+strings.ReplaceAll(strings.TrimSpace(part), "\n", "\n  ")+"\n")
				}
			}
		}
	}
	return all
}

// TestManifestsInPagesAreRight: whoever copies a manifest from a page has nothing to
// mend in it.
func TestManifestsInPagesAreRight(t *testing.T) {
	found := 0
	pages(t, func(name, text string) {
		for _, manifest := range copied(name, text) {
			found++
			out, errs, code := run(t, manifest, "check", "--strict", "-f", "-")
			if name == "docs/authentication.md" && strings.Contains(manifest, "secretKeyRef:") {
				// The page says so itself.
				if !strings.Contains(out, "secretKeyRef") || !strings.Contains(out, "1 error,") {
					t.Errorf("%s: nothing is said of secretKeyRef: %s", name, out)
				}
				continue
			}
			if code != OK {
				t.Errorf("%s: %s%s\n%s", name, out, errs, manifest)
			}
		}
	})
	if found < 50 {
		t.Errorf("%d manifests, want more", found)
	}
}

// ours is a command line of the plugin, in a block or in a sentence.
var ours = regexp.MustCompile("kubectl sluice( [^`|#>&\n]*)?")

// TestCommandsInPagesAreKnown: every flag and every subcommand of ours that a page has
// is one of this version.
func TestCommandsInPagesAreKnown(t *testing.T) {
	found := 0
	pages(t, func(name, text string) {
		for _, code := range append(block.FindAllString(text, -1), regexp.MustCompile("`kubectl sluice[^`\n]*`").FindAllString(text, -1)...) {
			for _, line := range ours.FindAllString(code, -1) {
				args := strings.Fields(line)[2:]
				if len(args) == 0 || strings.HasPrefix(args[0], "<") {
					continue
				}
				found++
				_, errs, code := run(t, "", append(args, "--help")...)
				if code != OK {
					t.Errorf("%s: %s: %s", name, line, errs)
				}
				help, _, _ := run(t, "", "--help")
				if !strings.Contains(help, "\n  "+args[0]+" ") {
					t.Errorf("%s: %s: there is no such command", name, line)
				}
			}
		}
	})
	if found < 50 {
		t.Errorf("%d command lines, want more", found)
	}
}
