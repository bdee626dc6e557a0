package main

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// site is one in which nothing is wrong.
func site() fstest.MapFS {
	page := func(body string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("<html><head><link rel=stylesheet href=assets/main.css></head><body>" + body + "</body></html>")}
	}
	return fstest.MapFS{
		"assets/main.css": {Data: []byte("a { background: url(data:image/png;base64,AAAA) }")},
		"index.html": page(`<h1 id="top">Sluice</h1><a href="guide.html#second">on</a> <a href="#top">up</a>
			<a href="https://kubernetes.io/docs/">elsewhere</a> <a href="guide.html"><img src="assets/picture.svg"></a>`),
		"guide.html": page(`<h1 id="first">First</h1><h2 id="second">Second</h2><p>1.5 times - and <code>- code</code></p>
			<pre>- no list</pre><ul><li>a list</li></ul><a href="index.html">back</a>`),
		"assets/picture.svg": {Data: []byte("<svg/>")},
	}
}

func TestCheck(t *testing.T) {
	pages, problems, err := check(site())
	if err != nil || pages != 2 || len(problems) > 0 {
		t.Fatalf("a site that is right: %d pages, %v, %v", pages, problems, err)
	}
	for name, test := range map[string]struct{ body, want string }{
		"page that is not there":    {`<a href="gone.html">x</a>`, "gone.html is not there"},
		"place that is not there":   {`<a href="guide.html#third">x</a>`, "guide.html#third: the page has no such place"},
		"place on the same page":    {`<a href="#bottom">x</a>`, "#bottom: the page has no such place"},
		"folder that is not there":  {`<a href="guide/">x</a>`, "guide/ is not there"},
		"root of a server":          {`<a href="/guide.html">x</a>`, "/guide.html begins at the root of a server"},
		"picture that is not there": {`<img src="gone.svg">`, "gone.svg is not there"},
		"script of elsewhere":       {`<script src="https://unpkg.com/x"></script>`, "https://unpkg.com/x is loaded from elsewhere"},
		"script without a scheme":   {`<script src="//unpkg.com/x"></script>`, "//unpkg.com/x is loaded from elsewhere"},
		"style of elsewhere":        {`<link rel=stylesheet href="https://fonts.example/css">`, "https://fonts.example/css is loaded from elsewhere"},
		"font within a style":       {`<style>@font-face { src: url("https://fonts.example/a.woff2") }</style>`, "https://fonts.example/a.woff2 is loaded from elsewhere"},
		"import within a style":     {`<style>@import "https://fonts.example/b.css";</style>`, "https://fonts.example/b.css is loaded from elsewhere"},
		"picture within an element": {`<div style="background: url(https://fonts.example/c.png)"></div>`, "https://fonts.example/c.png is loaded from elsewhere"},
		"list taken for text":       {"<p>These are\n- one\n- two</p>", "Markdown is left"},
		"numbers taken for text":    {"<p>These are\n1. one</p>", "Markdown is left"},
		"code taken for text":       {"<p>```sh\nmake\n```</p>", "Markdown is left"},
		"table taken for text":      {"<p>| a | b |\n|---|---|</p>", "Markdown is left"},
	} {
		t.Run(name, func(t *testing.T) {
			broken := site()
			broken["index.html"].Data = append(broken["index.html"].Data, test.body...)
			_, problems, err := check(broken)
			if err != nil {
				t.Fatal(err)
			}
			if len(problems) == 0 || !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, "index.html: "+test.want) }) {
				t.Errorf("got %q, want one with %q", problems, test.want)
			}
		})
	}
	t.Run("style sheet", func(t *testing.T) {
		broken := site()
		broken["assets/main.css"].Data = []byte(`@import url("https://fonts.example/d.css");`)
		if _, problems, _ := check(broken); len(problems) != 1 || !strings.Contains(problems[0], "assets/main.css: https://fonts.example/d.css is loaded") {
			t.Errorf("got %q", problems)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		if _, _, err := check(fstest.MapFS{}); err == nil {
			t.Error("an empty folder is a site")
		}
	})
}
