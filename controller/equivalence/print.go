package equivalence

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// mostPages is how many pages a Document may have.
const mostPages = 10_000

// Fetch reads the whole Document of a controller, of one namespace or with "" of
// all. get asks for a path with its parameters.
func Fetch(ctx context.Context, namespace string, get func(ctx context.Context, path string) ([]byte, error)) (whole Document, err error) {
	parameters := url.Values{}
	if namespace != "" {
		parameters.Set("namespace", namespace)
	}
	var objects []Object
	for range mostPages {
		text, err := get(ctx, Path+"?"+parameters.Encode())
		if err != nil {
			return Document{}, err
		}
		whole = Document{}
		if err := json.Unmarshal(text, &whole); err != nil {
			return Document{}, fmt.Errorf("what the controller tells: %w", err)
		}
		objects = append(objects, whole.Objects...)
		if whole.Continue == "" {
			whole.Objects = objects
			return whole, nil
		}
		parameters.Set("after", whole.Continue)
	}
	return Document{}, errors.New("what the controller tells has no end")
}

// Count is how many objects have each verdict.
func (d Document) Count() map[Verdict]int {
	count := map[Verdict]int{}
	for _, o := range d.Objects {
		count[o.Verdict]++
	}
	return count
}

// Equivalent reports whether both were found to do the same, for all objects.
func (d Document) Equivalent() bool {
	return d.Mode == Shadow && d.Untold == 0 && d.Count()[Agrees] == len(d.Objects)
}

// Print writes the report: one line for each object, what needs attention first,
// and below each why.
func (d Document) Print(w io.Writer) error {
	if d.Mode != Shadow {
		_, err := fmt.Fprintln(w, d.instead())
		return err
	}
	count := d.Count()
	_, err := fmt.Fprintf(w, "In shadow of %s for %s. Of %d objects %d agree, %d differ, %d cannot be served, %d are not known yet.\n",
		cmp.Or(clean(d.Leader), "nobody"), d.Time.Sub(d.Since).Round(time.Second), len(d.Objects), count[Agrees], count[Differs], count[NotServed], count[Unknown])
	if d.Untold > 0 {
		_, more := fmt.Fprintf(w, "%d more objects were not compared: there was no room for them.\n", d.Untold)
		err = errors.Join(err, more)
	}
	if err != nil || len(d.Objects) == 0 {
		return err
	}
	sorted := slices.Clone(d.Objects)
	slices.SortStableFunc(sorted, func(a, b Object) int {
		return cmp.Or(cmp.Compare(rank(a.Verdict), rank(b.Verdict)), cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VERDICT\tKIND\tOBJECT\tREPLICAS\tWOULD\tREAD HERE (TOLD TO THE HPA)")
	for _, o := range sorted {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", clean(string(o.Verdict)), clean(o.Kind), clean(o.Namespace+"/"+o.Name), count32(o.Replicas), o.would(), clean(o.values()))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, o := range sorted {
		if err := o.print(w); err != nil {
			return err
		}
	}
	return nil
}

// instead is what a controller says that is not in shadow.
func (d Document) instead() string {
	if d.Mode == Acting {
		return "This controller leads and scales: there is nobody to compare it with."
	}
	return fmt.Sprintf("This controller stands by, %s leads: there is nobody to compare it with.", cmp.Or(clean(d.Leader), "another"))
}

func rank(v Verdict) int { return slices.Index([]Verdict{NotServed, Differs, Unknown, Agrees}, v) }

func count32(n *int32) string {
	if n == nil {
		return "?"
	}
	return strconv.Itoa(int(*n))
}

func (o Object) would() string {
	switch {
	case o.Would == nil:
		return "-"
	case o.Kind == "ScaledJob":
		return "+" + count32(o.Would)
	}
	return count32(o.Would)
}

// values are the metrics on both sides.
func (o Object) values() string {
	var all []string
	for _, m := range o.Metrics {
		ours, theirs := "-", "-"
		if m.Value != nil {
			ours = number(*m.Value)
		}
		if m.Theirs != nil {
			theirs = number(m.Theirs.Value)
		}
		all = append(all, fmt.Sprintf("%s %s (%s)", m.Name, ours, theirs))
	}
	return strings.Join(all, ", ")
}

// print writes why an object does not agree, and where it did not before.
func (o Object) print(w io.Writer) error {
	if len(o.Differences) == 0 && len(o.Past) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s %s/%s\n", clean(o.Kind), clean(o.Namespace), clean(o.Name))
	for _, d := range slices.Concat(o.Differences, o.Past) {
		what := clean(string(d.Reason))
		if d.What != "" {
			what += ", " + clean(d.What)
		}
		when := "since " + d.Since.UTC().Format(time.RFC3339)
		if !d.Until.IsZero() {
			when = "from " + d.Since.UTC().Format(time.RFC3339) + " to " + d.Until.UTC().Format(time.RFC3339)
		}
		_, more := fmt.Fprintf(w, "  %s: %s (%s)\n", what, clean(d.Text), when)
		err = errors.Join(err, more)
	}
	return err
}

// clean takes out what a terminal would act on: names and errors are others'.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
}
