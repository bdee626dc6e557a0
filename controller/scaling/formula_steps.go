package scaling

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// steps counts what one evaluation of a formula takes at most, before it is
// compiled, and refuses what has no bound that its text shows. Lists are
// written out, and stand only where a function takes one: then no list grows
// and no predicate runs more often than its list has elements. So nothing is
// left to be stopped while it runs.
type steps struct {
	taken int
	// each is how often what is being counted runs: the length of the list
	// within a predicate, otherwise 1.
	each      int
	predicate bool
}

// mostSteps is a millisecond's work at most. What an expression like 1 < x < 2
// has in its middle stands twice in the tree; so the count ends there, too.
const mostSteps = 10_000

// operators are those of numbers and conditions.
var operators = []string{
	"+", "-", "*", "/", "%", "**", "^", "==", "!=", "<", "<=", ">", ">=", "and", "&&", "or", "||", "not", "!", "??",
}

// What functions take.
var (
	ofNumbers     = []string{"abs", "ceil", "floor", "round", "int", "float"}
	ofBoth        = []string{"min", "max", "mean", "median"}
	ofList        = []string{"len", "first", "last", "sum", "count"}
	withPredicate = []string{"sum", "count", "all", "any", "none", "one", "find", "findIndex", "findLast", "findLastIndex"}
	toList        = []string{"filter", "map"}
)

// checkSteps refuses a formula that may take too long.
func checkSteps(formula ast.Node) error { return (&steps{each: 1}).value(formula) }

func (s *steps) take(n int) error {
	if s.taken += n * s.each; s.taken > mostSteps {
		return fmt.Errorf("scalingModifiers.formula: takes more than the %d steps that it may take", mostSteps)
	}
	return nil
}

// value counts what makes one number or condition.
func (s *steps) value(node ast.Node) error {
	if err := s.take(1); err != nil {
		return err
	}
	switch n := node.(type) {
	case *ast.NilNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return nil
	case *ast.IdentifierNode:
		return allowed(n.Value != "$env", n.Value)
	case *ast.PointerNode:
		return allowed(n.Name == "" || n.Name == "index", "#"+n.Name)
	case *ast.UnaryNode:
		return s.operator(n.Operator, n.Node)
	case *ast.BinaryNode:
		if n.Operator == "in" {
			return s.element(n.Left, n.Right)
		}
		return s.operator(n.Operator, n.Left, n.Right)
	case *ast.ConditionalNode:
		return s.values(n.Cond, n.Exp1, n.Exp2)
	case *ast.MemberNode:
		return s.element(n.Property, n.Node)
	case *ast.BuiltinNode:
		return s.function(n)
	}
	return notInFormula(node)
}

func (s *steps) values(nodes ...ast.Node) error {
	for _, node := range nodes {
		if err := s.value(node); err != nil {
			return err
		}
	}
	return nil
}

func (s *steps) operator(operator string, operands ...ast.Node) error {
	if err := allowed(slices.Contains(operators, operator), operator); err != nil {
		return err
	}
	return s.values(operands...)
}

// element counts looking for one element of a list.
func (s *steps) element(which, list ast.Node) error {
	if err := s.value(which); err != nil {
		return err
	}
	_, err := s.list(list)
	return err
}

func (s *steps) function(n *ast.BuiltinNode) error {
	switch {
	case slices.Contains(ofNumbers, n.Name):
		return s.values(n.Arguments...)
	case slices.Contains(ofBoth, n.Name):
		return s.valuesOrLists(n.Arguments)
	case len(n.Arguments) == 1 && slices.Contains(ofList, n.Name):
		_, err := s.list(n.Arguments[0])
		return err
	case len(n.Arguments) == 2 && slices.Contains(withPredicate, n.Name):
		_, err := s.loop(n)
		return err
	}
	return allowed(false, n.Name)
}

func (s *steps) valuesOrLists(nodes []ast.Node) error {
	for _, node := range nodes {
		if !isList(node) {
			if err := s.value(node); err != nil {
				return err
			}
		} else if _, err := s.list(node); err != nil {
			return err
		}
	}
	return nil
}

func isList(node ast.Node) bool {
	switch n := node.(type) {
	case *ast.ArrayNode:
		return true
	case *ast.BuiltinNode:
		return n.Name == "sort" || slices.Contains(toList, n.Name)
	}
	return false
}

// list counts what makes a list and one look at each element, and returns how
// many it has at most.
func (s *steps) list(node ast.Node) (length int, err error) {
	switch n := node.(type) {
	case *ast.ArrayNode:
		if err := s.values(n.Nodes...); err != nil {
			return 0, err
		}
		return len(n.Nodes), s.take(len(n.Nodes) + 1)
	case *ast.BuiltinNode:
		switch {
		case len(n.Arguments) == 2 && slices.Contains(toList, n.Name):
			return s.loop(n)
		case n.Name == "sort" && len(n.Arguments) > 0:
			return s.sorted(n)
		}
	}
	return 0, errNoList
}

func (s *steps) sorted(n *ast.BuiltinNode) (length int, err error) {
	if len(n.Arguments) > 1 {
		return 0, allowed(false, "sort with an order")
	}
	if length, err = s.list(n.Arguments[0]); err != nil {
		return 0, err
	}
	return length, s.take(length * bits.Len(uint(length)))
}

// loop counts a function that runs a predicate for each element of a list.
func (s *steps) loop(n *ast.BuiltinNode) (length int, err error) {
	if s.predicate {
		return 0, allowed(false, n.Name+" within a predicate")
	}
	if length, err = s.list(n.Arguments[0]); err != nil {
		return 0, err
	}
	predicate, ok := n.Arguments[1].(*ast.PredicateNode)
	if !ok {
		return 0, notInFormula(n.Arguments[1])
	}
	inner := steps{taken: s.taken, each: max(length, 1), predicate: true}
	err = inner.value(predicate.Node)
	s.taken = inner.taken
	return length, err
}

var errNoList = errors.New("scalingModifiers.formula: a list must be written out, as in [a, b]")

// notInFormula says what a formula must not have.
func notInFormula(node ast.Node) error {
	what := "such an expression"
	switch n := node.(type) {
	case *ast.VariableDeclaratorNode:
		what = "let"
	case *ast.SequenceNode:
		what = ";"
	case *ast.ArrayNode:
		what = "a list in place of a number"
	case *ast.StringNode, *ast.BytesNode:
		what = "text"
	case *ast.MapNode:
		what = "a map"
	case *ast.SliceNode:
		what = "a part of a list"
	case *ast.CallNode:
		what = "a call"
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok {
			what = callee.Value
		}
	}
	return allowed(false, what)
}

func allowed(is bool, what string) error {
	if is {
		return nil
	}
	return fmt.Errorf("scalingModifiers.formula: %s cannot be used in a formula", what)
}
