package main

import (
	"go/ast"
	"go/types"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/analysis"
)

var analyzer = &analysis.Analyzer{
	Name: "dials",
	Doc: `dials refuses connections that pass by the rules of package outbound

Whatever opens connections by itself, or clients whose zero value does, may be
used in package outbound alone. Elsewhere the line says why it is no way around:

	//dials:through <where the client gets a dialer or a transport of the rules>
	//dials:nothing <why it opens no connection by itself>
	//dials:administered <who chooses the address, if no user does; see outbound/exceptions.go>

on the same line or the one above. Tests may dial as they like.`,
	Run: run,
}

// rulesPath is the package that may do it all.
const rulesPath = "github.com/sluice-autoscaler/sluice/outbound"

func run(pass *analysis.Pass) (any, error) {
	if pass.Pkg.Path() == rulesPath {
		return nil, nil
	}
	for _, file := range pass.Files {
		name := filepath.Base(pass.Fset.Position(file.Package).Filename)
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		c := &checker{pass: pass, reasons: reasonsIn(pass, file)}
		ast.Inspect(file, c.look)
		c.unused()
	}
	return nil, nil
}

// checker looks at one file.
type checker struct {
	pass    *analysis.Pass
	reasons map[int]*reason // by the line that each is about
}

func (c *checker) look(node ast.Node) bool {
	switch node := node.(type) {
	case *ast.Ident:
		c.use(node)
	case *ast.CompositeLit:
		made := c.pass.TypesInfo.TypeOf(node)
		if pointer, ok := made.(*types.Pointer); ok { // an element of a list
			made = pointer.Elem()
		}
		c.value(node, made)
	case *ast.ValueSpec:
		c.value(node, c.pass.TypesInfo.TypeOf(node.Type))
	case *ast.Field:
		c.value(node, c.pass.TypesInfo.TypeOf(node.Type))
	case *ast.CallExpr:
		if made, ok := node.Fun.(*ast.Ident); ok && len(node.Args) == 1 && c.pass.TypesInfo.Uses[made] == types.Universe.Lookup("new") {
			c.value(node, c.pass.TypesInfo.TypeOf(node.Args[0]))
		}
	}
	return true
}

// use refuses the functions and variables that dial.
func (c *checker) use(ident *ast.Ident) {
	object := c.pass.TypesInfo.Uses[ident]
	if object == nil || object.Pkg() == nil {
		return
	}
	switch object := object.(type) {
	case *types.Func:
		if object.Signature().Recv() != nil {
			return
		}
	case *types.Var:
		if object.IsField() || object.Parent() != object.Pkg().Scope() {
			return
		}
	default:
		return
	}
	c.refuse(ident, object, functions)
}

// value refuses types whose zero value dials, where one is made: a pointer may
// lead to one of package outbound.
func (c *checker) value(at ast.Node, made types.Type) {
	if made == nil {
		return
	}
	if named, ok := types.Unalias(made).(*types.Named); ok && named.Obj().Pkg() != nil {
		c.refuse(at, named.Obj(), values)
	}
}

func (c *checker) refuse(at ast.Node, object types.Object, rules []rule) {
	for _, r := range rules {
		if !r.matches(object) {
			continue
		}
		if given := c.reasons[c.pass.Fset.Position(at.Pos()).Line]; given != nil {
			given.used = true
			return
		}
		c.pass.ReportRangef(at, "%s.%s passes by the rules of addresses: %s", object.Pkg().Name(), object.Name(), r.instead)
		return
	}
}

// reason is a comment that says why a line is no way around the rules.
type reason struct {
	comment *ast.Comment
	used    bool
}

// kinds of reasons.
var kinds = map[string]bool{"through": true, "nothing": true, "administered": true}

func reasonsIn(pass *analysis.Pass, file *ast.File) map[int]*reason {
	found := make(map[int]*reason)
	for _, group := range file.Comments {
		for _, comment := range group.List {
			text, ok := strings.CutPrefix(comment.Text, "//dials:")
			if !ok {
				continue
			}
			kind, words, _ := strings.Cut(text, " ")
			if !kinds[kind] || strings.TrimSpace(words) == "" {
				pass.ReportRangef(comment, "a reason is //dials:through, :nothing or :administered, and words")
				continue
			}
			found[about(pass, comment)] = &reason{comment: comment}
		}
	}
	return found
}

// about is the line of a comment, or the next one if it stands alone.
func about(pass *analysis.Pass, comment *ast.Comment) int {
	at := pass.Fset.Position(comment.Pos())
	content, err := pass.ReadFile(at.Filename)
	if err != nil {
		return at.Line
	}
	lines := strings.Split(string(content), "\n")
	if strings.HasPrefix(strings.TrimSpace(lines[at.Line-1]), "//") {
		return at.Line + 1
	}
	return at.Line
}

// unused refuses reasons for nothing: they would excuse what comes next.
func (c *checker) unused() {
	for _, r := range c.reasons {
		if !r.used {
			c.pass.ReportRangef(r.comment, "nothing here dials")
		}
	}
}
