package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// document is what the check needs to know of one page.
type document struct {
	// places are what a fragment may name.
	places map[string]bool
	// links are followed by a reader, loads by the browser itself.
	links, loads []string
	// raw are texts that Markdown should have become something else of.
	raw []string
}

// check returns how many pages the site has, and what is wrong with them.
func check(site fs.FS) (pages int, problems []string, err error) {
	documents, files := map[string]*document{}, map[string]bool{}
	err = fs.WalkDir(site, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files[name] = true
		content, err := fs.ReadFile(site, name)
		if err != nil {
			return err
		}
		switch path.Ext(name) {
		case ".html":
			documents[name], err = parse(content)
		case ".css":
			for _, load := range loadsOf(string(content)) {
				problems = append(problems, foreign(name, load)...)
			}
		}
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	if len(documents) == 0 {
		return 0, nil, fmt.Errorf("no pages")
	}
	for _, name := range slices.Sorted(maps.Keys(documents)) {
		d := documents[name]
		for _, load := range d.loads {
			problems = append(problems, foreign(name, load)...)
		}
		// The page for addresses that are not there has the root's.
		if name != "404.html" {
			for _, link := range slices.Concat(d.links, d.loads) {
				problems = append(problems, dead(name, link, documents, files)...)
			}
		}
		for _, text := range d.raw {
			problems = append(problems, fmt.Sprintf("%s: Markdown is left: %.80q", name, text))
		}
	}
	return len(documents), problems, nil
}

// foreign tells of what a browser would load from another host.
func foreign(name, load string) []string {
	if u, err := url.Parse(load); err != nil || u.Host != "" {
		return []string{fmt.Sprintf("%s: %s is loaded from elsewhere", name, load)}
	}
	return nil
}

// dead tells of a link that leads nowhere within the site.
func dead(name, link string, documents map[string]*document, files map[string]bool) []string {
	u, err := url.Parse(link)
	if err != nil {
		return []string{fmt.Sprintf("%s: %s: %v", name, link, err)}
	}
	if u.Host != "" || u.Scheme == "mailto" || u.Scheme == "data" || u.Scheme == "javascript" {
		return nil
	}
	target := name
	if u.Path != "" {
		target = path.Join(path.Dir(name), u.Path)
		if strings.HasPrefix(u.Path, "/") {
			return []string{fmt.Sprintf("%s: %s begins at the root of a server", name, link)}
		}
		if strings.HasSuffix(u.Path, "/") || u.Path == "." || u.Path == ".." {
			target = path.Join(target, "index.html")
		}
	}
	if !files[target] {
		return []string{fmt.Sprintf("%s: %s is not there", name, link)}
	}
	d := documents[target]
	if u.Fragment == "" || d == nil || d.places[u.Fragment] {
		return nil
	}
	return []string{fmt.Sprintf("%s: %s: the page has no such place", name, link)}
}

// parse reads a page.
func parse(content []byte) (*document, error) {
	root, err := html.Parse(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	d := &document{places: map[string]bool{}}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			d.element(n)
		}
	}
	return d, nil
}

// element takes note of one element.
func (d *document) element(n *html.Node) {
	attributes := map[string]string{}
	for _, a := range n.Attr {
		attributes[a.Key] = a.Val
	}
	for _, key := range []string{"id", "name"} {
		if attributes[key] != "" {
			d.places[attributes[key]] = true
		}
	}
	if href, ok := attributes["href"]; ok {
		// Of links of the head those to other pages are for machines that follow
		// them; all else is loaded.
		switch rel := attributes["rel"]; {
		case n.DataAtom != atom.Link:
			d.links = append(d.links, href)
		case rel != "canonical" && rel != "next" && rel != "prev":
			d.loads = append(d.loads, href)
		}
	}
	for _, key := range []string{"src", "poster"} {
		if attributes[key] != "" {
			d.loads = append(d.loads, attributes[key])
		}
	}
	d.loads = append(d.loads, loadsOf(attributes["style"])...)
	if n.DataAtom == atom.Style {
		d.loads = append(d.loads, loadsOf(textOf(n))...)
	}
	if text := textOf(n); n.DataAtom == atom.P && markdown.MatchString(text) {
		d.raw = append(d.raw, text)
	}
}

var (
	// markdown is what a list, a table or code looks like that its parser took
	// for text: most often for want of an empty line before it, or of four spaces.
	markdown = regexp.MustCompile("(?m)^\\s*([-*]|\\d+\\.) |```|^\\s*\\|.*\\|\\s*$")
	// loaded is what a style loads.
	loaded = regexp.MustCompile(`(?:url\(\s*["']?|@import\s+["'])([^"')\s]+)`)
)

func loadsOf(style string) []string {
	var all []string
	for _, match := range loaded.FindAllStringSubmatch(style, -1) {
		// A picture within the style is no load.
		if !strings.HasPrefix(match[1], "data:") && !strings.HasPrefix(match[1], "#") {
			all = append(all, match[1])
		}
	}
	return all
}

// textOf is the text of an element, without that of code in it.
func textOf(n *html.Node) string {
	var text strings.Builder
	for child := range n.ChildNodes() {
		switch {
		case child.Type == html.TextNode:
			text.WriteString(child.Data)
		case child.DataAtom == atom.Code:
			text.WriteString("code")
		default:
			text.WriteString(textOf(child))
		}
	}
	return text.String()
}
