package migrate

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"

	"sigs.k8s.io/yaml"
)

// Print writes the report for people.
func (r *Report) Print(to io.Writer) error {
	p := &printer{}
	p.line("%s", r.counted())
	p.part("Cannot be served as it is", Cannot, r.Objects)
	p.part("Needs something", Needs, r.Objects)
	p.part("Read differently", Differs, r.Objects)
	p.part("Warnings", Warning, r.Objects)
	if len(r.Unread) > 0 {
		p.head("Not read")
		for _, u := range r.Unread {
			p.line("  %s", strings.Join(slices.DeleteFunc([]string{u.From, u.Object, u.Problem}, func(s string) bool { return s == "" }), ": "))
		}
	}
	if len(r.Families) > 0 {
		p.head("Families to install")
		for _, f := range r.Families {
			p.line("  %s: %s", f.Name, counts(f.Types))
		}
	}
	p.grants(r.Grants)
	p.trust(r.Trust)
	if len(r.TargetKinds) > 0 {
		p.head("Kinds of targets to let controller and adapter scale")
		for _, t := range r.TargetKinds {
			guessed := ""
			if t.Guessed {
				guessed = " (a guess at the name of its resource: ask a cluster)"
			}
			p.line("  %s.%s: %s%s", t.Resource, t.Group, strings.Join(t.Objects, ", "), guessed)
		}
	}
	if len(r.Roles) > 0 {
		p.line("")
		p.line("--roles prints what grants it, for kubectl apply -f -.")
	}
	p.line("")
	p.line("%s", r.verdict())
	_, err := to.Write(p.out.Bytes())
	return err
}

// counted is how many objects of each kind there are.
func (r *Report) counted() string {
	kinds := map[string]int{}
	for _, o := range r.Objects {
		kinds[o.Kind]++
	}
	if len(kinds) == 0 {
		return "No object of KEDA was found."
	}
	return counts(kinds)
}

func (r *Report) verdict() string {
	c := r.Counts
	text := fmt.Sprintf("%d of %d objects work unchanged", c.Unchanged, c.Objects)
	if c.Needs > 0 {
		text += fmt.Sprintf(", %d need something", c.Needs)
	}
	if c.Cannot > 0 {
		text += fmt.Sprintf(", %d cannot be served as they are", c.Cannot)
	}
	if n := len(r.Unread); n > 0 {
		text += fmt.Sprintf("; %d could not be read", n)
	}
	return text + "."
}

func counts(of map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, of[name]))
	}
	return strings.Join(parts, ", ")
}

type printer struct{ out bytes.Buffer }

// line writes one line, without what a terminal would take for a command: names
// and texts are somebody else's.
func (p *printer) line(format string, args ...any) {
	p.out.WriteString(strings.TrimRight(printable(fmt.Sprintf(format, args...)), " ") + "\n")
}

func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, text)
}

func (p *printer) head(title string) {
	p.line("")
	p.line("%s", title)
}

// part writes all findings of a class. What is said of many objects is said once.
func (p *printer) part(title string, class Class, all []*Object) {
	type group struct {
		text    string
		objects []string
	}
	var groups []*group
	known := map[string]*group{}
	for _, o := range all {
		for _, f := range o.Findings {
			if f.Class != class {
				continue
			}
			where := ""
			if f.Trigger != nil {
				where = fmt.Sprintf(", trigger %d (%s)", *f.Trigger, f.Type)
			}
			text := f.Text
			if f.Field != "" {
				text = f.Field + ": " + text
			}
			g := known[text]
			if g == nil {
				g = &group{text: text}
				known[text] = g
				groups = append(groups, g)
			}
			g.objects = append(g.objects, o.Key().String()+where)
		}
	}
	if len(groups) == 0 {
		return
	}
	p.head(title)
	for _, g := range groups {
		p.line("  %s", g.text)
		const most = 10
		for _, name := range g.objects[:min(len(g.objects), most)] {
			p.line("    %s", name)
		}
		if more := len(g.objects) - most; more > 0 {
			p.line("    and %d more (-o yaml has all)", more)
		}
	}
}

func (p *printer) grants(grants []Grant) {
	if len(grants) == 0 {
		return
	}
	p.head("To let families read")
	for _, g := range grants {
		what := g.Words()
		if what == "" {
			what = "nothing that is known"
		}
		p.line("  %s, namespace %s: %s", g.Family, g.Namespace, what)
		for _, why := range g.Incomplete {
			p.line("    perhaps more: %s", why)
		}
	}
}

// Words are what is granted, "" for nothing.
func (g Grant) Words() string {
	var parts []string
	add := func(what string, names []string) {
		if len(names) > 0 {
			parts = append(parts, what+" "+strings.Join(names, ", "))
		}
	}
	add("Secrets", g.Secrets)
	add("ConfigMaps", g.ConfigMaps)
	add("ServiceAccounts", g.ServiceAccounts)
	add("tokens of", g.Tokens)
	if g.Role != "" {
		parts = append(parts, "what ClusterRole "+g.Role+" has")
	}
	return strings.Join(parts, "; ")
}

func (p *printer) trust(trusts []Trust) {
	if len(trusts) == 0 {
		return
	}
	p.head("Clouds to let trust a family")
	for _, t := range trusts {
		p.line("  %s, family %s: %s", t.Provider, t.Family, t.Text)
		for _, identity := range t.Identities {
			p.line("    named: %s", identity)
		}
		for _, mark := range slices.Sorted(maps.Keys(t.Annotations)) {
			p.line("    KEDA's account has %s: %s", mark, t.Annotations[mark])
		}
	}
	p.line("  A family shows its identity to services of that cloud alone; other hosts are named by --identity-hosts.")
}

// PrintRoles writes the objects that grant it all, as YAML.
func (r *Report) PrintRoles(to io.Writer) error { return WriteRoles(to, r.Grants, r.Roles) }

// WriteRoles writes objects that grant something as YAML, and what they may lack as
// comments.
func WriteRoles(to io.Writer, grants []Grant, roles []any) error {
	var out bytes.Buffer
	for _, g := range grants {
		for _, why := range g.Incomplete {
			fmt.Fprintf(&out, "# Perhaps more for family %s in namespace %s: %s\n", g.Family, g.Namespace, printable(why))
		}
	}
	for i, object := range roles {
		text, err := yaml.Marshal(object)
		if err != nil {
			return err
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(text)
	}
	_, err := to.Write(out.Bytes())
	return err
}
