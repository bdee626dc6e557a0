// Command site checks the site that MkDocs made of docs/: every link within it
// leads to a page and to a place on it, nothing is loaded from elsewhere, and no
// text is Markdown that was not understood.
//
//	site <folder>
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: site <folder>")
		os.Exit(2)
	}
	pages, problems, err := check(os.DirFS(os.Args[1]))
	if err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(2)
	}
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, problem)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
	fmt.Printf("%d pages, links checked\n", pages)
}
