package grants

import (
	"fmt"
	"io"
	"strings"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/migrate"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/terminal"
)

// Print writes the report for people.
func (r *Report) Print(to io.Writer) error {
	var text strings.Builder
	line := func(format string, args ...any) {
		text.WriteString(strings.TrimRight("  "+terminal.Line(fmt.Sprintf(format, args...)), " ") + "\n")
	}
	last := "?"
	for _, a := range r.Accesses {
		if a.Namespace != last {
			if last != "?" {
				text.WriteString("\n")
			}
			last = a.Namespace
			where := "Namespace " + last
			if last == "" {
				where = "Every namespace"
			}
			fmt.Fprintln(&text, terminal.Line(where))
		}
		line("%s may read %s", a.Family, words(a.May))
		if needs := a.Needs.Words(); needs != "" {
			line("  - needs %s", needs)
		}
		if lacks := a.Missing.Words(); lacks != "" {
			line("  - MISSING %s", lacks)
		}
		for _, why := range a.Needs.Incomplete {
			line("  - perhaps more: %s", why)
		}
	}
	if len(r.Accesses) == 0 {
		text.WriteString("No family may read anything of users here, and no trigger needs that.\n")
	}
	if len(r.Unread) > 0 {
		text.WriteString("\nNot read\n")
		for _, why := range r.Unread {
			line("%s", why)
		}
	}
	if len(r.Accesses) > 0 {
		switch {
		case r.Failed():
			text.WriteString("\n--roles prints what grants what is missing, for kubectl apply -f -.\n")
		default:
			text.WriteString("\nNothing is missing.\n")
		}
	}
	_, err := io.WriteString(to, text.String())
	return err
}

// words are what a family may read; * is all of a kind.
func words(g migrate.Grant) string {
	text := g.Words()
	if text == "" {
		return "nothing of users"
	}
	for _, kind := range []string{"Secrets", "ConfigMaps", "ServiceAccounts"} {
		text = strings.Replace(text, kind+" *", "all "+kind, 1)
	}
	return strings.Replace(text, "tokens of *", "tokens of all ServiceAccounts", 1)
}

// PrintRoles writes the objects that grant what is missing, as YAML.
func (r *Report) PrintRoles(to io.Writer) error {
	var lacking []migrate.Grant
	for _, a := range r.Accesses {
		lacking = append(lacking, a.Needs)
	}
	return migrate.WriteRoles(to, lacking, r.Roles)
}
