package scaling

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
)

// Formula computes one metric out of several triggers. It may be evaluated by
// several goroutines at once.
type Formula struct {
	program *vm.Program
	names   []string
}

// A formula is somebody's text that runs in everybody's controller and adapter.
// These are far beyond what anyone writes, and what keeps a text that is meant
// to do harm from filling the stack, the memory or the day; see also mostSteps.
const (
	longestFormula = 8192 // bytes: its parser calls itself for each parenthesis
	largestFormula = 1000 // nodes of its tree
	formulaMemory  = 1000 // elements of all lists that it makes
)

// costOfToken is what a name, a number or a sign of a formula takes once it is
// compiled, in bytes: a node of its tree, its instructions and where they are from.
const costOfToken = 200

// costOfInstruction is what one of the compiled formula takes, in bytes, and
// leastFormula what any formula may have of them.
const (
	costOfInstruction = 32
	leastFormula      = 2 << 10
)

// FormulaBytes is what a formula takes once it is compiled, at most, in bytes.
func FormulaBytes(formula string) int {
	if len(formula) > longestFormula {
		return 0 // it is not compiled
	}
	tokens, word := 0, false
	for _, r := range formula {
		within := r == '_' || r == '.' || unicode.IsLetter(r) || unicode.IsDigit(r)
		if !unicode.IsSpace(r) && (!word || !within) {
			tokens++
		}
		word = within
	}
	return tokens * costOfToken
}

// FormulaNames are the trigger names a formula may use: those of all triggers
// but cpu and memory that have one.
func FormulaNames(so *v1alpha1.ScaledObject) []string {
	var names []string
	for _, t := range so.Spec.Triggers {
		if t.Name != "" && !t.Builtin() {
			names = append(names, t.Name)
		}
	}
	return names
}

// FormulaOf compiles the formula of an object that has one. The error says why a
// trigger of it cannot be used.
func FormulaOf(so *v1alpha1.ScaledObject) (*Formula, error) {
	formula := so.Modifiers().Formula
	f, err := CompileFormula(formula, FormulaNames(so))
	if err == nil {
		return f, nil
	}
	for i, t := range so.Spec.Triggers {
		switch {
		case t.Name == "" || !strings.Contains(formula, t.Name):
		case t.Builtin():
			return nil, fmt.Errorf("%w: trigger %d (%s) has no value in a formula, the HPA reads it by itself", err, i, t.Type)
		case !isName(t.Name):
			return nil, fmt.Errorf("%w: the name %q of trigger %d cannot stand in a formula, where a name has letters, digits and _", err, t.Name, i)
		}
	}
	return nil, err
}

// isName reports whether a formula reads a text as one name.
func isName(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) < 0
}

// CompileFormula compiles a formula over trigger names and tries it once with
// every variable at -1, so that what can never work is known before it runs.
func CompileFormula(formula string, names []string) (*Formula, error) {
	if strings.TrimSpace(formula) == "" {
		return nil, errors.New("scalingModifiers.formula: missing")
	}
	if len(formula) > longestFormula {
		return nil, fmt.Errorf("scalingModifiers.formula: has %d characters, of %d that it may have", len(formula), longestFormula)
	}
	// A name may be nil at run time, so its type is not fixed: the trial run
	// below finds what a typed environment would have.
	env := types.Map{}
	for _, name := range names {
		env[name] = types.Any
	}
	options := []expr.Option{expr.Env(env), expr.MaxNodes(largestFormula), expr.Optimize(false)}
	if err := checkFormula(formula, options); err != nil {
		return nil, err
	}
	program, err := expr.Compile(formula, options...)
	if err != nil {
		return nil, formulaError(err)
	}
	// The middle of a chain of comparisons is compiled twice, and within it again.
	if len(program.Bytecode)*costOfInstruction > FormulaBytes(formula)+leastFormula {
		return nil, errors.New("scalingModifiers.formula: its chains of comparisons stand for too much")
	}
	f := &Formula{program: program, names: names}
	trial := map[string]float64{}
	for _, name := range names {
		trial[name] = -1
	}
	if _, err := f.run(trial); err != nil {
		return nil, err
	}
	return f, nil
}

// checkFormula bounds a formula before anything but its parser works on it.
func checkFormula(formula string, options []expr.Option) error {
	config := conf.CreateNew()
	for _, option := range options {
		option(config)
	}
	tree, err := parser.ParseWithConfig(formula, config)
	if err != nil {
		return formulaError(err)
	}
	return checkSteps(tree.Node)
}

// Eval computes the formula. A name without value is nil in it. some is false
// when the result is nil. A negative result becomes 0; one that is no finite
// number is an error.
func (f *Formula) Eval(values map[string]float64) (v float64, some bool, err error) {
	out, err := f.run(values)
	if err != nil || out == nil {
		return 0, false, err
	}
	if math.IsNaN(*out) || math.IsInf(*out, 0) {
		return 0, false, errors.New("scalingModifiers.formula: the result is not a finite number")
	}
	return max(*out, 0), true, nil
}

// run evaluates the formula; nil stands for the result nil.
func (f *Formula) run(values map[string]float64) (*float64, error) {
	env := make(map[string]any, len(f.names))
	for _, name := range f.names {
		env[name] = nil
		if v, ok := values[name]; ok {
			env[name] = v
		}
	}
	machine := vm.VM{MemoryBudget: formulaMemory}
	out, err := machine.Run(f.program, env)
	if err != nil {
		return nil, formulaError(err)
	}
	return number(out)
}

// number casts by the type of the result, never by how the formula is written.
func number(out any) (*float64, error) {
	var v float64
	switch n := out.(type) {
	case nil:
		return nil, nil
	case float64:
		v = n
	case float32:
		v = float64(n)
	case int:
		v = float64(n)
	case int64:
		v = float64(n)
	case int32:
		v = float64(n)
	default:
		return nil, fmt.Errorf("scalingModifiers.formula: the result is %T, not a number", out)
	}
	return &v, nil
}

// formulaError keeps the first line: the library appends a picture of the
// formula.
func formulaError(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New("scalingModifiers.formula: " + text)
}
