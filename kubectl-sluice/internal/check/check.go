// Package check says what is wrong in manifests, with the line that it is in: what
// the admission webhook refuses and warns of, by the same rules.
package check

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/cures"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/migrate"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/peers"
)

// Level is how bad a problem is.
type Level string

// The levels, the worst first.
const (
	// Error: admission refuses the object, or a trigger of it cannot work.
	Error Level = "error"
	// Warning: it works, and not all of it as it reads.
	Warning Level = "warning"
	// Note: it is so in the cluster, of the object as it is there now.
	Note Level = "note"
)

// Problem is one thing to mend.
type Problem struct {
	Level Level `json:"level"`
	// File and Line are where it is. Line is 0 where only the file is known.
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
	// Kind, Namespace and Name are the object's, as far as it has some.
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	// Trigger is the place in spec.triggers, absent where it is about the object.
	Trigger *int `json:"trigger,omitempty"`
	// Type is the trigger's.
	Type string `json:"type,omitempty"`
	// Field is the parameter of the trigger, or the field of the object.
	Field string `json:"field,omitempty"`
	Text  string `json:"text"`
	// Reason is that of the condition that is not well, and Cure what helps.
	Reason string `json:"reason,omitempty"`
	Cure   string `json:"cure,omitempty"`
}

// Report is what there is to say.
type Report struct {
	Objects  int       `json:"objects"`
	Errors   int       `json:"errors"`
	Warnings int       `json:"warnings"`
	Problems []Problem `json:"problems"`
	// Untold are further problems, of which there are too many.
	Untold int `json:"untold,omitempty"`
	// Notes say whom of the cluster nobody asked, and why.
	Notes []string `json:"notes,omitempty"`
}

// mostProblems are told at most.
const mostProblems = 10_000

// longestText is how much of a problem is told, in characters: manifests may have
// names of any length.
const longestText = 2000

// Options say what counts.
type Options struct {
	// Strict makes errors of warnings.
	Strict bool
	// Differences adds what Sluice reads differently from KEDA, as warnings.
	Differences bool
	// Families are those of the cluster, nil for none: they say themselves what is
	// wrong with a trigger.
	Families *peers.Live
}

// Set judges all objects of a set; live is the cluster that they are held against,
// nil for none.
func Set(ctx context.Context, set *objects.Set, live *objects.Cluster, o Options) *Report {
	var m migrate.Options
	if o.Families != nil {
		m.Families = o.Families
	}
	judged := migrate.Check(ctx, set, live, m)
	slices.SortStableFunc(judged.Objects, func(a, b *migrate.Object) int {
		return set.From[a.Key()].Compare(set.From[b.Key()])
	})
	r := &Report{Objects: len(judged.Objects), Problems: []Problem{}}
	if o.Families != nil {
		r.Notes = o.Families.Notes()
	}
	r.Notes = append(r.Notes, set.Unasked...)
	lines := &objects.Lines{}
	for _, object := range judged.Objects {
		for _, f := range object.Findings {
			level, counts := o.level(f)
			if !counts {
				continue
			}
			from := set.From[object.Key()]
			r.add(Problem{
				Level: level, File: from.File(), Line: lineOf(lines, from, f),
				Kind: object.Kind, Namespace: object.Namespace, Name: object.Name,
				Trigger: f.Trigger, Type: f.Type, Field: f.Field, Text: f.Text,
			})
		}
		r.notWell(set, object, lines)
	}
	unread := slices.DeleteFunc(slices.Clone(set.Unread), func(u objects.Unread) bool { return !u.Ours() })
	slices.SortStableFunc(unread, func(a, b objects.Unread) int { return a.Source.Compare(b.Source) })
	for _, u := range unread {
		r.add(Problem{
			Level: Error, File: u.Source.File(), Line: u.Line(lines),
			Kind: u.Key.Kind, Namespace: u.Key.Namespace, Name: u.Key.Name, Text: ofParser.ReplaceAllString(u.Problem, ""),
		})
	}
	slices.SortStableFunc(r.Problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line)
	})
	return r
}

// ofParser is what a parser says of lines, by its own count.
var ofParser = regexp.MustCompile(`^(error converting YAML to JSON: )?yaml: (line [0-9]+: )?|^json: `)

// level is how bad a finding is in a manifest. What somebody has to grant is no
// problem of it.
func (o Options) level(f migrate.Finding) (level Level, counts bool) {
	level = Warning
	switch f.Class {
	case migrate.Needs:
		return "", false
	case migrate.Cannot:
		level = Error
		if f.Text == migrate.NobodyServes {
			if level = Warning; o.Families != nil && o.Families.Serves(f.Type) {
				return "", false
			}
		}
	case migrate.Differs:
		if f.Text != migrate.Dropped && !o.Differences {
			return "", false
		}
	case migrate.Warning:
		if strings.Contains(f.Text, objects.NotRead) {
			return "", false // it may be in another repository
		}
	}
	if o.Strict {
		level = Error
	}
	return level, true
}

// notWell notes how an object is in the cluster, with what helps. That is no problem
// of the file, which may be what mends it.
func (r *Report) notWell(set *objects.Set, object *migrate.Object, lines *objects.Lines) {
	from := set.From[object.Key()]
	for _, c := range cures.NotWell(set.Conditions[object.Key()]) {
		p := Problem{
			Level: Note, File: from.File(), Line: lineOf(lines, from, migrate.Finding{}),
			Kind: object.Kind, Namespace: object.Namespace, Name: object.Name, Text: "in the cluster " + c.String(), Reason: c.Reason,
		}
		if cure, is := cures.Of(c.Reason); is {
			p.Cure = cure.Cure
		}
		r.add(p)
	}
}

func (r *Report) add(p Problem) {
	switch p.Level {
	case Error:
		r.Errors++
	case Warning:
		r.Warnings++
	case Note:
	}
	if len(r.Problems) == mostProblems {
		r.Untold++
		return
	}
	p.Text, p.Type, p.Field = shortened(p.Text), shortened(p.Type), shortened(p.Field)
	r.Problems = append(r.Problems, p)
}

// shortened is the beginning of a text.
func shortened(text string) string {
	count := 0
	for i := range text {
		if count++; count > longestText {
			return text[:i] + "..."
		}
	}
	return text
}

// lineOf is the line of what a finding is about: the parameter or the field, or
// what is nearest above it.
func lineOf(lines *objects.Lines, from objects.Source, f migrate.Finding) int {
	var tries [][]string
	switch annotation, is := strings.CutPrefix(f.Text, "annotation "); {
	case f.Trigger != nil:
		trigger := []string{"spec", "triggers", strconv.Itoa(*f.Trigger)}
		under := func(path ...string) []string { return append(slices.Clone(trigger), path...) }
		if f.Field != "" {
			tries = append(tries, under("metadata", f.Field), under(objects.Path(f.Field)...))
		}
		tries = append(tries, trigger)
	case is:
		name, _, _ := strings.Cut(annotation, ": ")
		tries = append(tries, []string{"metadata", "annotations", name})
	case f.Field == "":
		tries = append(tries, nil)
	default:
		path := objects.Path(f.Field)
		tries = append(tries, path, append([]string{"spec"}, path...))
	}
	best := 0
	for _, path := range tries {
		line, whole := lines.Find(from, path...)
		if best = line; whole {
			break
		}
	}
	return best
}
