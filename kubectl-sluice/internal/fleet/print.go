package fleet

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/terminal"
)

const (
	// mostRows are printed: types that no family serves are what tenants write.
	mostRows = 200
	// longestWord is how much of a name is printed, in bytes.
	longestWord = 64
)

// Print writes the report for people.
func (r *Report) Print(to io.Writer) error {
	var text strings.Builder
	if r.Version != "" {
		fmt.Fprintf(&text, "controller %s\n\n", word(r.Version))
	}
	rows := r.Families[:min(len(r.Families), mostRows)]
	if len(rows) == 0 {
		text.WriteString("no family is installed, and none is needed\n")
	} else if err := table(&text, rows); err != nil {
		return err
	}
	if more := len(r.Families) - len(rows); more > 0 {
		fmt.Fprintf(&text, "and %d more (-o yaml has all)\n", more)
	}
	var todo []string
	for _, f := range rows {
		if f.ToDo != "" {
			todo = append(todo, fmt.Sprintf("%s: %s", word(f.Name), f.ToDo))
		}
		for _, i := range f.Instances {
			if i.State == federation.InstanceDown {
				todo = append(todo, fmt.Sprintf("%s: %s is down: %s", word(f.Name), i.Address, i.Reason))
			}
		}
	}
	part(&text, "What to look after", todo)
	part(&text, "What could not be found out", r.Missing)
	_, err := io.WriteString(to, text.String())
	return err
}

func table(to io.Writer, rows []Family) error {
	columns := tabwriter.NewWriter(to, 0, 0, 3, ' ', 0)
	fmt.Fprintln(columns, "FAMILY\tSTATE\tVERSION\tINSTANCES\tTRIGGERS\tTYPES")
	for _, f := range rows {
		version, instances := "-", "-"
		if len(f.Versions) > 0 {
			version = word(strings.Join(f.Versions, ", "))
		}
		if len(f.Instances) > 0 {
			instances = fmt.Sprintf("%d/%d", f.ready(), len(f.Instances))
		}
		triggers := 0
		var types []string
		for _, t := range f.Types {
			if triggers += t.Triggers; t.Triggers > 0 {
				types = append(types, fmt.Sprintf("%s %d", word(t.Name), t.Triggers))
			}
		}
		if len(types) == 0 {
			types = []string{"-"}
		}
		fmt.Fprintf(columns, "%s\t%s\t%s\t%s\t%d\t%s\n", word(f.Name), f.State, version, instances, triggers, strings.Join(types, ", "))
	}
	return columns.Flush()
}

func part(to io.Writer, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(to, "\n%s\n", title)
	for _, line := range lines {
		fmt.Fprintf(to, "  %s\n", terminal.Line(line))
	}
}

// word is a name of somebody else's.
func word(text string) string {
	if text = terminal.Line(text); len(text) > longestWord {
		text = strings.ToValidUTF8(text[:longestWord], "") + "..."
	}
	return text
}
