package check

import (
	"fmt"
	"io"
	"strings"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/terminal"
)

// Print writes a line for each problem, as compilers do, and a sum.
func (r *Report) Print(to io.Writer) error {
	var text strings.Builder
	for _, p := range r.Problems {
		fmt.Fprintf(&text, "%s: %s: %s\n", p.place(), p.Level, p.sentence())
	}
	if r.Untold > 0 {
		fmt.Fprintf(&text, "and %d more\n", r.Untold)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&text, "note: %s\n", terminal.Line(note))
	}
	fmt.Fprintf(&text, "%s, %s, %s\n", count(r.Objects, "object"), count(r.Errors, "error"), count(r.Warnings, "warning"))
	_, err := io.WriteString(to, text.String())
	return err
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// place is file:line.
func (p Problem) place() string {
	if p.Line > 0 {
		return fmt.Sprintf("%s:%d", terminal.Line(p.File), p.Line)
	}
	return terminal.Line(p.File)
}

// object names the object as a user says it.
func (p Problem) object() string {
	switch {
	case p.Name == "":
		return p.Kind
	case p.Namespace == "":
		return p.Kind + " " + p.Name
	}
	return p.Kind + " " + p.Namespace + "/" + p.Name
}

// sentence is what is wrong, in one line.
func (p Problem) sentence() string {
	var parts []string
	if object := p.object(); object != "" {
		parts = append(parts, object)
	}
	if p.Trigger != nil {
		parts = append(parts, fmt.Sprintf("trigger %d (%s)", *p.Trigger, p.Type))
	}
	if p.Field != "" {
		parts = append(parts, p.Field)
	}
	text := strings.Join(append(parts, p.Text), ": ")
	if p.Cure != "" {
		text = strings.TrimRight(text, ". ") + ". What helps: " + p.Cure
	}
	return terminal.Line(text)
}

var (
	// ofMessages and ofProperties are how GitHub's commands have what means
	// something in them.
	ofMessages   = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	ofProperties = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// Annotate writes the problems as annotations of a pull request on GitHub.
func (r *Report) Annotate(to io.Writer) error {
	var text strings.Builder
	for _, p := range r.Problems {
		level := p.Level
		if level == Note {
			level = "notice" // GitHub's word
		}
		fmt.Fprintf(&text, "::%s file=%s", level, ofProperties.Replace(p.File))
		if p.Line > 0 {
			fmt.Fprintf(&text, ",line=%d", p.Line)
		}
		fmt.Fprintf(&text, ",title=kubectl sluice check::%s\n", ofMessages.Replace(p.sentence()))
	}
	if r.Untold > 0 {
		fmt.Fprintf(&text, "::error title=kubectl sluice check::and %d more\n", r.Untold)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&text, "::notice title=kubectl sluice check::%s\n", ofMessages.Replace(terminal.Line(note)))
	}
	_, err := io.WriteString(to, text.String())
	return err
}
