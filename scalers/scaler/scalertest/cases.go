package scalertest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// Cases are the contract's cases of a family, by trigger type, and the one place
// where its tests have valid metadata of every type. A type with more than one
// case has words behind its name: "rabbitmq" and "rabbitmq over HTTP". The tests
// of each type add its own, in the file beside the type's:
//
//	var _ = cases.Add("my-queue", func(t testing.TB) scalertest.Case {
//		server := newServer(t, 3)
//		return scalertest.Case{
//			Address: server.Addr(),
//			At:      func(address string) map[string]string { return map[string]string{"address": address, "queue": "jobs"} },
//		}
//	})
type Cases map[string]func(t testing.TB) Case

// Add adds a case, whose Trigger may be left out. It is for variables of a
// package, and what it returns means nothing.
func (all Cases) Add(name string, of func(t testing.TB) Case) bool {
	if all[name] != nil {
		panic("the case " + name + " is there twice")
	}
	all[name] = of
	return true
}

// Contract tries the contract on every case. A type that the family serves and
// that has none fails, as does a case of a type that it does not serve.
func (all Cases) Contract(t *testing.T, triggers []scaler.Trigger) {
	t.Helper()
	all.Each(t, triggers, Contract)
}

// Each runs a test for every case of a family, and fails as Contract does where
// cases and types differ.
func (all Cases) Each(t *testing.T, triggers []scaler.Trigger, test func(t *testing.T, c Case)) {
	t.Helper()
	for _, problem := range all.problems(".", triggers) {
		t.Error(problem)
	}
	for _, trigger := range triggers {
		for _, name := range all.names(trigger.Type) {
			t.Run(name, func(t *testing.T) { test(t, all.make(t, name, trigger)) })
		}
	}
}

// Of makes the case of a trigger type, the first one where it has more.
func (all Cases) Of(t testing.TB, trigger scaler.Trigger) Case {
	t.Helper()
	names := all.names(trigger.Type)
	if len(names) == 0 {
		t.Fatal(all.missing(".", trigger.Type))
	}
	return all.make(t, names[0], trigger)
}

func (all Cases) make(t testing.TB, name string, trigger scaler.Trigger) Case {
	c := all[name](t)
	if c.Trigger.Type == "" {
		c.Trigger = trigger
	}
	return c.whole()
}

// names are the cases of a type.
func (all Cases) names(triggerType string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if typeOf(name) == triggerType {
			names = append(names, name)
		}
	}
	return names
}

func typeOf(name string) string {
	triggerType, _, _ := strings.Cut(name, " ")
	return triggerType
}

// problems says where the cases and the types of a family differ, for tests in
// this folder.
func (all Cases) problems(folder string, triggers []scaler.Trigger) []string {
	var problems []string
	served := map[string]bool{}
	for _, trigger := range triggers {
		served[trigger.Type] = true
		if len(all.names(trigger.Type)) == 0 {
			problems = append(problems, all.missing(folder, trigger.Type))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !served[typeOf(name)] {
			problems = append(problems, fmt.Sprintf("the case %q is of a type that the family does not serve: add the type to main.go, or remove the case", name))
		}
	}
	return problems
}

// missing says which file of a folder gets the case of a type.
func (all Cases) missing(folder, triggerType string) string {
	where := "the test beside its file"
	if file, _ := find(folder, func(file, line string) bool {
		return !isTest(file) && strings.Contains(line, "Define") && strings.Contains(line, "("+strconv.Quote(triggerType)+",")
	}); file != "" {
		where = strings.TrimSuffix(file, ".go") + "_test.go"
	}
	example := fmt.Sprintf("var _ = cases.Add(%q, func(t testing.TB) scalertest.Case {", triggerType)
	model, line := find(folder, func(file, line string) bool {
		if !isTest(file) || !strings.HasPrefix(line, "var _ = ") {
			return false
		}
		for name := range all {
			if strings.Contains(line, "("+strconv.Quote(name)+",") {
				return true
			}
		}
		return false
	})
	if model != "" {
		before, after, _ := strings.Cut(line, `"`)
		_, after, _ = strings.Cut(after, `"`)
		example = fmt.Sprintf("%s%q%s\nand so on, as %s has it", before, triggerType, after, model)
	}
	return fmt.Sprintf("the family serves %s, which has no contract case. Add to %s:\n%s", triggerType, where, example)
}

func isTest(file string) bool { return strings.HasSuffix(file, "_test.go") }

// find looks for a line of the Go files of a folder.
func find(folder string, is func(file, line string) bool) (file, line string) {
	files, _ := filepath.Glob(filepath.Join(folder, "*.go"))
	for _, path := range files {
		text, err := os.ReadFile(path) //nolint:gosec // source beside the test
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimRight(line, "\n"); is(filepath.Base(path), line) {
				return filepath.Base(path), line
			}
		}
	}
	return "", ""
}

// whole has what At stands for filled in.
func (c Case) whole() Case {
	if c.At == nil {
		return c
	}
	if c.Metadata == nil {
		c.Metadata = c.At(c.Address)
	}
	at := func(address func(testing.TB) string) func(testing.TB) map[string]string {
		return func(t testing.TB) map[string]string { return c.At(address(t)) }
	}
	if c.Dead == nil {
		c.Dead = at(DeadAddress)
	}
	if c.Stalled == nil {
		c.Stalled = at(StalledAddress)
	}
	return c
}

// Serve runs a family of the case's type alone until the test ends, as seen by
// objects that have what its references resolve to.
func (c Case) Serve(t testing.TB) *Family {
	t.Helper()
	family := Serve(t, c.Trigger)
	if len(c.Auth) > 0 {
		family = family.WithAuth(c.Auth)
	}
	if len(c.Env) > 0 {
		family = family.WithEnv(c.Env)
	}
	if c.PodIdentity != (scaler.PodIdentity{}) {
		family = family.WithPodIdentity(c.PodIdentity)
	}
	return family
}

// OpenIn opens the source of a trigger of the case's type in the pool of
// connections of opening, a context of scaler.Opening.
func (c Case) OpenIn(opening context.Context, metadata map[string]string) (scaler.Source, error) {
	bound, err := c.bind(metadata)
	if err != nil {
		return nil, err
	}
	return bound.Open(opening)
}
