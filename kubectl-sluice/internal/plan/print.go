package plan

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// sides are the outcomes that there are, today's first.
func (report *Report) sides() []*Outcome {
	if report.Before == nil {
		return []*Outcome{report.After}
	}
	return []*Outcome{report.Before, report.After}
}

// rows are the figures as a person reads them, of each side.
var rows = []struct {
	name string
	of   func(*Outcome) string
}{
	{"most replicas", func(o *Outcome) string { return fmt.Sprint(o.MaxReplicas) }},
	{"mean replicas", func(o *Outcome) string { return fmt.Sprintf("%.2f", o.MeanReplicas) }},
	{"pod-hours", func(o *Outcome) string { return fmt.Sprintf("%.2f", o.PodHours) }},
	{"scaled up", func(o *Outcome) string { return times(o.ScaleUps) }},
	{"scaled down", func(o *Outcome) string { return times(o.ScaleDowns) }},
	{"flaps", func(o *Outcome) string { return fmt.Sprint(o.Flaps) }},
	{"at maxReplicaCount", func(o *Outcome) string { return seconds(o.AtMax) }},
	{"longest wait for a replica", func(o *Outcome) string {
		text := seconds(o.LongestWait)
		if o.Waiting {
			text += ", and waits"
		}
		return text
	}},
	{"longest time to drain", func(o *Outcome) string { return drained(o, func(d *Drain) string { return seconds(d.Longest) }) }},
	{"most work", func(o *Outcome) string {
		return drained(o, func(d *Drain) string { return fmt.Sprintf("%.0f", d.Most) })
	}},
	{"work left", func(o *Outcome) string {
		return drained(o, func(d *Drain) string { return fmt.Sprintf("%.0f", d.Left) })
	}},
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

// drained is empty for values as recorded.
func drained(o *Outcome, of func(*Drain) string) string {
	if o.Drain == nil {
		return ""
	}
	return of(o.Drain)
}

// Print writes the report for a person: what was replayed, both sides beside each
// other, and the replicas over time.
func (report *Report) Print(out io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "ScaledObject %s: %d values of %s, %s to %s (%s).\n%s.\nThe HPA looks every %s, a Pod is ready after %s.\n", report.Object, report.Points, report.Values,
		report.From.Format(time.RFC3339), report.To.Format(time.RFC3339), report.To.Sub(report.From).Round(time.Second), report.Model,
		seconds(report.SyncPeriod), seconds(report.StartTime))
	for _, note := range report.Notes {
		fmt.Fprintf(&text, "Note: %s.\n", note)
	}
	text.WriteString("\n")
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, o := range report.sides() {
		fmt.Fprintf(table, "\t%s", o.Name)
	}
	fmt.Fprintln(table)
	for _, row := range rows {
		cells := ""
		empty := true
		for _, o := range report.sides() {
			cell := row.of(o)
			empty = empty && cell == ""
			cells += "\t" + cell
		}
		if !empty {
			fmt.Fprintln(table, row.name+cells)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	report.lines(&text)
	_, err := io.WriteString(out, text.String())
	return err
}

// width is how many characters a line of replicas over time has.
const width = 60

// blocks are from nothing to the most.
var blocks = []rune(" ▁▂▃▄▅▆▇█")

// lines draws value and replicas over time. Each character is the most of its time.
func (report *Report) lines(out *strings.Builder) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	most := 0.0
	for _, o := range report.sides() {
		most = max(most, float64(o.MaxReplicas))
	}
	fmt.Fprintln(table)
	values := valueSteps(report.values)
	top := 0.0
	for _, s := range values {
		top = max(top, s.value)
	}
	fmt.Fprintf(table, "value\t%s\tat most %s\n", line(report, values, top), number(top))
	for _, o := range report.sides() {
		fmt.Fprintf(table, "%s\t%s\tat most %d\n", o.Name, line(report, o.steps(report.From), most), o.MaxReplicas)
	}
	_ = table.Flush() // a builder takes everything
	fmt.Fprintf(out, "Each column is %s.\n", (report.To.Sub(report.From) / width).Round(time.Second))
}

func number(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }

// stepped is what something is from a moment on.
type stepped struct {
	at    time.Time
	value float64
}

func (o *Outcome) steps(from time.Time) []stepped {
	all := []stepped{{from, float64(o.Start)}}
	for _, c := range o.Changes {
		all = append(all, stepped{c.At, float64(c.To)})
	}
	return all
}

// valueSteps has nothing where there was no value.
func valueSteps(points []Point) []stepped {
	all := make([]stepped, len(points))
	for i, p := range points {
		all[i].at = p.At
		if p.Outcome == scaling.Value {
			all[i].value = max(p.Value, 0)
		}
	}
	return all
}

// line is steps over time, in blocks.
func line(report *Report, steps []stepped, most float64) string {
	var text strings.Builder
	text.WriteRune('|')
	took := report.To.Sub(report.From)
	for column := range width {
		from, to := report.From.Add(took*time.Duration(column)/width), report.From.Add(took*time.Duration(column+1)/width)
		highest := 0.0
		for i, s := range steps {
			if s.at.Before(to) && (i+1 == len(steps) || steps[i+1].at.After(from)) {
				highest = max(highest, s.value)
			}
		}
		text.WriteRune(block(highest, most))
	}
	text.WriteRune('|')
	return text.String()
}

// block is never empty for what is more than nothing.
func block(value, most float64) rune {
	if !(value > 0) || !(most > 0) {
		return blocks[0]
	}
	return blocks[max(1, min(len(blocks)-1, int(value/most*float64(len(blocks)-1)+0.5)))]
}
