package scalertest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// steady is a trigger type whose sources read 3.
func steady(triggerType string) scaler.Trigger {
	return scaler.Define(triggerType, func(context.Context, steadyParams) (scaler.Source, error) { return steadySource{}, nil })
}

// steadyParams is the metadata of a steady trigger.
type steadyParams struct {
	// Address is of nothing.
	Address string `param:"address,required"`
	// Target is the target.
	Target float64 `param:"target" default:"5" role:"target"`
}

func (steadyParams) Name() string { return "steady" }

type steadySource struct{}

func (steadySource) Read(context.Context) ([]scaler.Reading, error) { return scaler.One(3), nil }

// steadyCase is that of a steady trigger at an address.
func steadyCase(address string) func(testing.TB) Case {
	return func(testing.TB) Case {
		return Case{Address: address, At: func(address string) map[string]string { return map[string]string{"address": address} }}
	}
}

// TestTypesWithoutACase are named with the file that gets the case and a line to
// write there.
func TestTypesWithoutACase(t *testing.T) {
	folder := t.TempDir()
	for file, text := range map[string]string{
		"tank.go":      "package main\n\nvar tank = scaler.Define(\"water-tank\", openTank)\n",
		"pump.go":      "package main\n\nvar pump = scaler.Define(\"water-pump\", openPump)\n",
		"mill.go":      "package main\n\nvar mill = scaler.Define[millParams](\"water-mill\", open, rings)\n",
		"pump_test.go": "package main\n\nvar _ = contract(\"water-pump\", subject{\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	triggers := []scaler.Trigger{steady("water-pump"), steady("water-tank"), steady("water-mill"), steady("elsewhere")}
	cases := Cases{}
	cases.Add("water-pump", steadyCase("one"))
	cases.Add("water-pump by night", steadyCase("two"))
	cases.Add("gone", steadyCase("three"))
	want := []string{
		"the family serves water-tank, which has no contract case. Add to tank_test.go:\nvar _ = contract(\"water-tank\", subject{\nand so on, as pump_test.go has it",
		"the family serves water-mill, which has no contract case. Add to mill_test.go:\nvar _ = contract(\"water-mill\", subject{\nand so on, as pump_test.go has it",
		"the family serves elsewhere, which has no contract case. Add to the test beside its file:\nvar _ = contract(\"elsewhere\", subject{\nand so on, as pump_test.go has it",
		`the case "gone" is of a type that the family does not serve: add the type to main.go, or remove the case`,
	}
	if got := cases.problems(folder, triggers); !slices.Equal(got, want) {
		t.Errorf("problems:\n%q\nwant\n%q", got, want)
	}
	if got, want := (Cases{}).missing(folder, "water-tank"), "the family serves water-tank, which has no contract case. Add to tank_test.go:\n"+
		`var _ = cases.Add("water-tank", func(t testing.TB) scalertest.Case {`; got != want {
		t.Errorf("of the first type: %q\nwant %q", got, want)
	}
}

// TestCasesOfAType has one type with two cases and one with one.
func TestCasesOfAType(t *testing.T) {
	triggers := []scaler.Trigger{steady("pump"), steady("tank")}
	cases := Cases{}
	cases.Add("pump by night", steadyCase("two"))
	cases.Add("pump", steadyCase("one"))
	cases.Add("tank", steadyCase("three"))
	var seen []string
	cases.Each(t, triggers, func(t *testing.T, c Case) {
		seen = append(seen, c.Trigger.Type+" "+c.Metadata["address"])
		if c.Dead(t)["address"] == "" || c.Stalled(t)["address"] == "" {
			t.Error("no dead or no stalled backend is made of At")
		}
	})
	if want := []string{"pump one", "pump two", "tank three"}; !slices.Equal(seen, want) {
		t.Errorf("cases: %v, want %v", seen, want)
	}
	if got := cases.Of(t, triggers[0]).Metadata["address"]; got != "one" {
		t.Errorf("the first case of two: %s", got)
	}
	defer func() {
		if recover() == nil {
			t.Error("a second case of one name does not panic")
		}
	}()
	cases.Add("tank", steadyCase("again"))
}

// TestValueOfACase: a source that reads another one breaks the contract.
func TestValueOfACase(t *testing.T) {
	for value, broken := range map[float64]bool{0: false, 3: false, 4: true} {
		c := steadyCase("one")(t)
		c.Trigger, c.Value = steady("pump"), value
		if got := Violations(t, c, "a read answers for every metric"); (len(got) > 0) != broken {
			t.Errorf("want %v, violations: %v", value, got)
		}
	}
}
