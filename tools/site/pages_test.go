package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// pages calls f with every page of docs/.
func pages(t *testing.T, f func(name, text string)) {
	t.Helper()
	docs := os.DirFS("../../docs")
	err := fs.WalkDir(docs, ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".md" {
			return err
		}
		text, err := fs.ReadFile(docs, name)
		f(name, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

var fence = regexp.MustCompile("(?ms)^( *)```(yaml|json)\n(.*?)^ *```$")

// TestExamplesParse reads what pages have to be copied.
func TestExamplesParse(t *testing.T) {
	found := 0
	pages(t, func(name, text string) {
		for _, block := range fence.FindAllStringSubmatchIndex(text, -1) {
			found++
			indent, language, content := text[block[2]:block[3]], text[block[4]:block[5]], text[block[6]:block[7]]
			content = strings.ReplaceAll("\n"+content, "\n"+indent, "\n")
			if err := parses(language, content); err != nil {
				t.Errorf("docs/%s:%d: %v", name, 1+strings.Count(text[:block[0]], "\n"), err)
			}
		}
	})
	if found < 50 {
		t.Errorf("%d blocks, want more", found)
	}
}

func parses(language, content string) error {
	var value any
	if language == "json" {
		return json.Unmarshal([]byte(content), &value)
	}
	documents := yaml.NewDecoder(strings.NewReader(content))
	for {
		if err := documents.Decode(&value); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// account is a ServiceAccount of a family, as commands and policies name it.
var account = regexp.MustCompile(`(?:sluice-system[:/](?:sa/)?|serviceaccount |--service-account )(scaler-[a-z]+)`)

// TestAccountsAreThoseOfTheManifests finds each ServiceAccount that pages have
// trusted in the manifests.
func TestAccountsAreThoseOfTheManifests(t *testing.T) {
	found := 0
	pages(t, func(name, text string) {
		for _, match := range account.FindAllStringSubmatch(text, -1) {
			found++
			manifest := fmt.Sprintf("../../deploy/scalers/%s/deployment.yaml", strings.TrimPrefix(match[1], "scaler-"))
			content, err := os.ReadFile(manifest)
			want := "kind: ServiceAccount\nmetadata:\n  name: " + match[1] + "\n  namespace: sluice-system\n"
			if err != nil || !strings.Contains(string(content), want) {
				t.Errorf("docs/%s: %s: no ServiceAccount of that name in %s (%v)", name, match[1], manifest, err)
			}
		}
	})
	if found < 20 {
		t.Errorf("%d accounts, want more", found)
	}
}

// TestTypesThatNobodyServesAreNamed compares KEDA's trigger types, as the
// controller has them, with the pages of types and the list of what is missing.
func TestTypesThatNobodyServesAreNamed(t *testing.T) {
	code, err := os.ReadFile("../../controller/federation/types.go")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?s)var others = \[\]string\{(.*?)\n\}`).FindSubmatch(code)
	if list == nil {
		t.Fatal("the controller has no list of KEDA's types any more")
	}
	page, err := os.ReadFile("../../docs/keda.md")
	if err != nil {
		t.Fatal(err)
	}
	missing := 0
	for _, match := range regexp.MustCompile(`"([^"]+)"`).FindAllSubmatch(list[1], -1) {
		name := string(match[1])
		_, err := os.Stat("../../docs/triggers/" + name + ".md")
		served, named := err == nil, strings.Contains(string(page), "`"+name+"`, ") || strings.Contains(string(page), "`"+name+"`.")
		if served == named {
			t.Errorf("%s: served %v, among those that are not in docs/keda.md %v", name, served, named)
		}
		if !served {
			missing++
		}
	}
	if missing == 0 {
		t.Error("every type is served: the list can go")
	}
}
