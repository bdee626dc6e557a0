package uninstall

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Print writes the plan for people: one line for each object, and one for many of
// a kind.
func (p *Plan) Print(to io.Writer) error {
	var b strings.Builder
	where := "no namespace"
	if p.Namespace != "" {
		where = "namespace " + p.Namespace
	}
	fmt.Fprintf(&b, "Sluice in %s of %s\n", where, p.Server)
	if len(p.Refused) > 0 {
		b.WriteString("\nNothing is removed\n")
		for _, text := range p.Refused {
			fmt.Fprintf(&b, "  %s\n", text)
		}
	}
	if len(p.Steps) > 0 {
		b.WriteString("\nTo be done, in this order\n")
		for i := 0; i < len(p.Steps); {
			s, many := p.Steps[i], i+1
			for many < len(p.Steps) && p.Steps[many].Action == s.Action && p.Steps[many].Kind == s.Kind && p.Steps[many].Namespace == s.Namespace {
				many++
			}
			b.WriteString("  " + lineOf(p.Steps[i:many]) + "\n")
			i = many
		}
	}
	counted := func(title string, of map[string]int) {
		if len(of) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n%s\n", title)
		for _, kind := range slices.Sorted(maps.Keys(of)) {
			fmt.Fprintf(&b, "  %s %d\n", kind, of[kind])
		}
	}
	counted("Kept", p.Kept)
	counted("DELETED for good", p.Deleted)
	if len(p.Notes) > 0 {
		b.WriteString("\nTo know\n")
		for _, text := range p.Notes {
			fmt.Fprintf(&b, "  %s\n", text)
		}
	}
	if len(p.Steps) == 0 && len(p.Refused) == 0 {
		b.WriteString("\nNothing of Sluice is left to remove.\n")
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// lineOf is a line for steps of one kind in one namespace.
func lineOf(steps []*Step) string {
	s := steps[0]
	verb, object := "delete", s.object()
	if s.Action == Release {
		verb = "take the finalizer off"
	}
	if len(steps) > 1 {
		object = fmt.Sprintf("%d of %s", len(steps), s.Kind)
		if s.Namespace != "" {
			object += " in " + s.Namespace
		}
	}
	if s.ended {
		verb = "wait for the end of"
	}
	line := verb + " " + object
	if s.Why != "" && !s.ended {
		line += " (" + s.Why + ")"
	}
	if s.Error != "" {
		line += ": " + s.Error
	}
	return line
}

// Line is what a step was, when it is done.
func (s *Step) Line() string {
	return lineOf([]*Step{s})
}
