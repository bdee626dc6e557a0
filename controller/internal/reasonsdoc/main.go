// Command reasonsdoc writes the page of all reasons, docs/reasons.md, to standard
// output.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sluice-autoscaler/sluice/controller/reasons"
)

func main() {
	out := bufio.NewWriter(os.Stdout)
	write(out)
	if err := out.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "reasonsdoc:", err)
		os.Exit(1)
	}
}

func write(out io.Writer) {
	fmt.Fprint(out, `<!-- Generated from controller/reasons. Change it there. -->

# Reasons of conditions and events

Every reason that stands in a condition or an event of Sluice, with its cause and its cure. Conditions: `+"`kubectl describe scaledobject NAME`"+`, or in one line each

`+"```sh"+`
kubectl get scaledobject NAME -o jsonpath='{range .status.conditions[*]}{.type} {.status} {.reason}: {.message}{"\n"}{end}'
`+"```"+`

The message is more exact than this page: it names trigger, parameter and object. For symptoms: [Troubleshooting](troubleshooting.md).
`)
	for _, group := range reasons.Groups {
		fmt.Fprintf(out, "\n## %s\n\n%s\n", group.Title, group.Text)
		for _, r := range group.Reasons {
			fmt.Fprintf(out, "\n### %s\n\n*%s.* %s\n", r.Name, strings.Join(r.Seen, "; "), r.Cause)
			if r.Cure != "" {
				fmt.Fprintf(out, "\n**Cure:** %s\n", r.Cure)
			}
		}
	}
}
