package why

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
)

// toldEarlier is how many decisions before are printed; programs have all.
const toldEarlier = 5

// Print writes the report for people.
func (r *Report) Print(to io.Writer) error {
	var out bytes.Buffer
	line := func(format string, args ...any) { out.WriteString(oneLine(fmt.Sprintf(format, args...)) + "\n") }
	part := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		out.WriteString("\n" + title + "\n")
		for _, text := range lines {
			line("  %s", text)
		}
	}
	line("%s %s/%s: %s.", r.Kind, r.Namespace, r.Name, r.Summary)
	var inputs []string
	for _, in := range r.Inputs {
		inputs = append(inputs, in.words(r.Time))
	}
	part("What is looked at", inputs)
	var result []string
	for _, text := range []string{r.Formula, r.Result} {
		if text != "" {
			result = append(result, text)
		}
	}
	part("What came of it", result)
	// What helps is said once, at the first line that it is about.
	told := map[string]bool{}
	beside := func(lines []string, text, cure string) []string {
		lines = append(lines, text)
		if cure != "" && !told[cure] {
			told[cure] = true
			lines = append(lines, "  what helps: "+cure)
		}
		return lines
	}
	var limits []string
	for _, text := range r.Limits {
		limits = beside(limits, text, r.cured[text])
	}
	part("What limits it", limits)
	part("Who acts next", r.Next)
	part("What would change it", r.Changes)
	if r.ColdStart != nil {
		if words := r.ColdStart.Words(); words != "" {
			part("How long the last start from 0 took", []string{words})
		}
	}
	var earlier, events []string
	for _, l := range r.Earlier[:min(len(r.Earlier), toldEarlier)] {
		text := clock(l.Since) + "  " + l.Text
		if l.Times > 1 {
			text += fmt.Sprintf(" (%d alike)", l.Times)
		}
		earlier = append(earlier, text)
	}
	if more := len(r.Earlier) - toldEarlier; more > 0 {
		earlier = append(earlier, fmt.Sprintf("and %d more (-o yaml has all)", more))
	}
	part("Decisions before, the latest first", earlier)
	for _, e := range r.Events {
		text := clock(e.Time) + "  " + e.Reason + ": " + e.Message
		if e.Times > 1 {
			text += fmt.Sprintf(" (%d times)", e.Times)
		}
		events = beside(events, text, e.Cure)
	}
	part("Events, the latest first", events)
	part("What is missing", r.Missing)
	_, err := to.Write(out.Bytes())
	return err
}

// words is an input as it is read aloud.
func (in Input) words(now time.Time) string {
	text := in.Metric + ": "
	switch {
	case in.Value != nil:
		text += number(*in.Value)
		switch {
		case in.Target == 0:
		case in.Whole:
			text += " at a target of " + number(in.Target) + " in all"
		default:
			text += " at a target of " + number(in.Target) + " each"
		}
		if in.Asks != nil && in.Active {
			text += fmt.Sprintf(", asks for %d", *in.Asks)
		}
		text += ", " + activity(in.Active)
	case in.Outcome == "no data":
		text += "no data: the source answers and has nothing to say"
	case in.Outcome == "pending":
		text += "not read yet"
	case in.Outcome == "error":
		text += "error"
		if in.Error != "" {
			text += ": " + in.Error
		}
		if in.Failures > 0 {
			text += fmt.Sprintf(", %d times in a row", in.Failures)
		}
	default:
		text += "value " + in.Outcome + ", " + activity(in.Active)
	}
	if in.Fallback {
		text += "; fallback stands in for it"
	}
	return text + in.noticed(now)
}

// noticed is how old an input is, and how it came.
func (in Input) noticed(now time.Time) string {
	text := ""
	if !in.ReadAt.IsZero() && in.Outcome != "pending" {
		text = "; " + map[bool]string{true: "read ", false: "known "}[in.Value != nil] + age(now.Sub(in.ReadAt)) + " ago"
	}
	switch in.Noticed {
	case "doorbell":
		text += ", when the source rang"
	case "polling":
		text += ", by polling"
	case "timer":
		text += ", by the clock"
	case "HPA":
		text += "; as the HPA read it"
	}
	return text
}

func age(d time.Duration) string {
	if d = max(d, 0); d < time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// oneLine keeps what others wrote from looking like more of the report.
func oneLine(text string) string {
	return strings.TrimRight(strings.NewReplacer("\n", " ", "\t", " ").Replace(text), " ")
}
