package probe

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/terminal"
)

// Print writes the report for people.
func (r *Report) Print(to io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s/%s\n", r.Kind, r.Namespace, r.Name)
	for _, a := range r.Answers {
		fmt.Fprintf(&text, "\ntrigger %d (%s)", a.Trigger, terminal.Line(a.Type))
		switch {
		case a.By == ByFamily && a.Pod != "":
			fmt.Fprintf(&text, ", asked of Pod %s: %v", a.Pod, time.Duration(a.Took)*time.Millisecond)
		case a.By == ByAdapter:
			fmt.Fprintf(&text, ", asked of the metrics adapter, as the HPA does: %v", time.Duration(a.Took)*time.Millisecond)
		}
		text.WriteString("\n")
		if a.Note != "" {
			fmt.Fprintf(&text, "  note: %s\n", terminal.Line(a.Note))
		}
		if a.Error != "" {
			fmt.Fprintf(&text, "  error: %s\n", terminal.Line(a.Error))
			continue
		}
		columns := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
		for _, m := range a.Metrics {
			fmt.Fprintf(columns, "  %s\t%s", terminal.Line(m.Name), numeral(m.Value))
			if m.Target != nil {
				fmt.Fprintf(columns, "\ttarget %s", numeral(*m.Target))
			}
			if m.Age != nil {
				fmt.Fprintf(columns, "\t%s old", time.Duration(*m.Age*float64(time.Second)).Round(time.Millisecond))
			}
			fmt.Fprintln(columns)
		}
		if err := columns.Flush(); err != nil {
			return err
		}
		if a.Active != nil {
			fmt.Fprintf(&text, "  active: %s\n", map[bool]string{true: "yes", false: "no"}[*a.Active])
		}
	}
	_, err := io.WriteString(to, text.String())
	return err
}

func numeral(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
