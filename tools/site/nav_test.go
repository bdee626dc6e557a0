package main

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestNavigation finds every page of docs/ once in the navigation, and in it no
// page that is not there. MkDocs says the same only where Python is.
func TestNavigation(t *testing.T) {
	content, err := os.ReadFile("mkdocs.yml")
	if err != nil {
		t.Fatal(err)
	}
	var configuration struct {
		Nav yaml.Node `yaml:"nav"`
	}
	if err := yaml.Unmarshal(content, &configuration); err != nil {
		t.Fatal(err)
	}
	docs := os.DirFS("../../docs")
	listed := map[string]int{}
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		if n.Kind == yaml.MappingNode { // title: page, or title: list
			for _, value := range n.Content[1:] {
				walk(value)
			}
			return
		}
		for _, child := range n.Content {
			walk(child)
		}
		switch {
		case n.Kind != yaml.ScalarNode:
		case strings.HasSuffix(n.Value, "/"):
			pages, err := fs.Glob(docs, n.Value+"*.md")
			if err != nil || len(pages) == 0 {
				t.Errorf("line %d: no pages in %s (%v)", n.Line, n.Value, err)
			}
			for _, page := range pages {
				listed[page]++
			}
		default:
			listed[n.Value]++
			if _, err := fs.Stat(docs, n.Value); err != nil {
				t.Errorf("line %d: %v", n.Line, err)
			}
		}
	}
	walk(&configuration.Nav)

	var pages []string
	err = fs.WalkDir(docs, ".", func(name string, _ fs.DirEntry, err error) error {
		if path.Ext(name) == ".md" {
			pages = append(pages, name)
		}
		return err
	})
	if err != nil || len(pages) < 50 {
		t.Fatalf("%d pages in docs, %v", len(pages), err)
	}
	for _, page := range pages {
		if listed[page] != 1 {
			t.Errorf("docs/%s stands %d times in the navigation", page, listed[page])
		}
	}
	for page := range listed {
		if !slices.Contains(pages, page) {
			t.Errorf("%s stands in the navigation and is no page", page)
		}
	}
}
