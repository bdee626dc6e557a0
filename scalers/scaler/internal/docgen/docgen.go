// Package docgen turns the doc comments of params structs into the ParamDocs
// methods that Describe reads, so that a parameter is described once: where it
// is declared.
package docgen

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// File is the name of what Generate writes.
const File = "zz_generated.docs.go"

// Generate returns the content of File for the package in dir. Every parameter
// and every trigger type must have a doc comment; an error names all that have
// none.
func Generate(dir string) ([]byte, error) {
	files, err := parse(dir)
	if err != nil {
		return nil, err
	}
	p := &pkg{structs: map[string]*ast.StructType{}, opens: map[string]ast.Expr{}, docs: map[string]map[string]string{}, names: map[string]bool{}, known: map[string]bool{}}
	for _, file := range files {
		p.declarations(file)
	}
	for _, file := range files {
		p.triggers(file)
	}
	for _, name := range slices.Sorted(maps.Keys(p.structs)) {
		p.fields(name)
	}
	p.checkWords()
	if len(p.problems) > 0 {
		return nil, errors.Join(p.problems...)
	}
	return p.print(files[0].Name.Name)
}

// parse reads the package's files without tests and without File.
func parse(dir string) ([]*ast.File, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") || filepath.Base(path) == File {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		return nil, &fs.PathError{Op: "no Go files in", Path: dir, Err: os.ErrNotExist}
	}
	return files, nil
}

// pkg is a package being documented.
type pkg struct {
	structs  map[string]*ast.StructType
	opens    map[string]ast.Expr          // second parameter's type, by function
	docs     map[string]map[string]string // by struct
	said     []said
	names    map[string]bool // of Go, which mean nothing to a user
	known    map[string]bool // what users write: words of tags
	problems []error
}

// said is a doc comment that users read.
type said struct{ about, text string }

// checkWords refuses comments that speak of variables and fields by their Go
// names.
func (p *pkg) checkWords() {
	for _, s := range p.said {
		for _, word := range words(s.text) {
			if word != s.about && p.names[word] && !p.known[word] {
				p.problems = append(p.problems, fmt.Errorf("%s: its doc comment names %s, which no user knows", s.about, word))
			}
		}
	}
}

func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// name notes a name of Go, if nobody could take it for a word.
func (p *pkg) name(name string) {
	if strings.IndexFunc(name[1:], unicode.IsUpper) >= 0 && strings.ToUpper(name) != name {
		p.names[name] = true
	}
}

// declarations notes what triggers refer to.
func (p *pkg) declarations(file *ast.File) {
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				p.opens[d.Name.Name] = second(d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if t, ok := spec.(*ast.TypeSpec); ok {
					if s, ok := t.Type.(*ast.StructType); ok {
						p.structs[t.Name.Name] = s
					}
				}
			}
		}
	}
}

// second returns the type of a function's second parameter, or nil.
func second(f *ast.FuncType) ast.Expr {
	var types []ast.Expr
	for _, field := range f.Params.List {
		for range max(1, len(field.Names)) {
			types = append(types, field.Type)
		}
	}
	if len(types) < 2 {
		return nil
	}
	return types[1]
}

// triggers notes the purpose of each trigger type: the comment of what calls
// Define for it.
func (p *pkg) triggers(file *ast.File) {
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			p.defined(d, d.Name.Name, d.Doc)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok {
					p.defined(v, v.Names[0].Name, firstOf(v.Doc, d.Doc))
				}
			}
		}
	}
}

func firstOf(docs ...*ast.CommentGroup) *ast.CommentGroup {
	for _, doc := range docs {
		if doc != nil {
			return doc
		}
	}
	return nil
}

// defined looks for calls of Define within what is called name.
func (p *pkg) defined(within ast.Node, name string, doc *ast.CommentGroup) {
	ast.Inspect(within, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok || len(call.Args) < 2 {
			return true
		}
		function, params := call.Fun, ast.Expr(nil)
		if indexed, ok := function.(*ast.IndexExpr); ok {
			function, params = indexed.X, indexed.Index
		}
		if last(function) != "Define" {
			return true
		}
		if params == nil {
			params = p.opened(call.Args[1])
		}
		p.purpose(call.Args[0], params, name, doc)
		return true
	})
}

// last returns the last name of "Define" or "scaler.Define".
func last(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// opened returns the params type of an open function.
func (p *pkg) opened(open ast.Expr) ast.Expr {
	if f, ok := open.(*ast.FuncLit); ok {
		return second(f.Type)
	}
	return p.opens[last(open)]
}

func (p *pkg) purpose(triggerType, params ast.Expr, name string, doc *ast.CommentGroup) {
	literal, isLiteral := triggerType.(*ast.BasicLit)
	ident, isIdent := params.(*ast.Ident)
	if !isLiteral || !isIdent {
		return // a helper that passes on what it was given: its caller says it
	}
	text, err := strconv.Unquote(literal.Value)
	if err != nil {
		return
	}
	said := Sentence(name, doc.Text())
	if said == "" {
		p.problems = append(p.problems, fmt.Errorf("trigger type %s: %s has no doc comment", text, name))
	}
	p.heard(name, doc)
	p.say(ident.Name, text, firstSentence(said))
}

// heard notes the part of a comment that users read, and the name that it is
// about.
func (p *pkg) heard(name string, doc *ast.CommentGroup) {
	text, _, _ := strings.Cut(doc.Text(), "\n\n")
	p.said = append(p.said, said{name, text})
	p.name(name)
}

func (p *pkg) say(structName, key, text string) {
	if p.docs[structName] == nil {
		p.docs[structName] = map[string]string{}
	}
	p.docs[structName][key] = text
}

// fields notes what the parameters of a struct mean.
func (p *pkg) fields(structName string) {
	for _, field := range p.structs[structName].Fields.List {
		if field.Tag == nil || len(field.Names) == 0 {
			continue
		}
		tag, err := strconv.Unquote(field.Tag.Value)
		if err != nil || reflect.StructTag(tag).Get("param") == "" {
			continue
		}
		for _, word := range words(tag) {
			p.known[word] = true
		}
		for _, name := range field.Names {
			said := Sentence(name.Name, field.Doc.Text())
			if said == "" {
				p.problems = append(p.problems, fmt.Errorf("%s.%s has no doc comment", structName, name.Name))
			}
			p.heard(name.Name, field.Doc)
			p.say(structName, name.Name, said)
		}
	}
}

// Sentence turns a doc comment about name into text that stands alone:
// "Name is the target." becomes "The target.", "Name counts x." becomes
// "Counts x.".
func Sentence(name, comment string) string {
	comment, _, _ = strings.Cut(comment, "\n\n") // the first paragraph
	words := strings.Fields(comment)
	if len(words) > 0 && words[0] == name {
		words = words[1:]
		if len(words) > 0 && (words[0] == "is" || words[0] == "are") {
			words = words[1:]
		}
	}
	text := strings.Join(words, " ")
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 {
		return ""
	}
	return string(unicode.ToUpper(first)) + text[size:]
}

func firstSentence(text string) string {
	if end := strings.Index(text, ". "); end >= 0 {
		return text[:end+1]
	}
	return text
}

// print writes the methods.
func (p *pkg) print(pkgName string) ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "// Code generated by docgen from doc comments. DO NOT EDIT.\n\npackage %s\n", pkgName)
	for _, structName := range slices.Sorted(maps.Keys(p.docs)) {
		fmt.Fprintf(&out, "\n// ParamDocs says what the parameters mean.\n")
		fmt.Fprintf(&out, "func (%s) ParamDocs() map[string]string {\n\treturn map[string]string{\n", structName)
		for _, key := range slices.Sorted(maps.Keys(p.docs[structName])) {
			fmt.Fprintf(&out, "\t\t%q: %q,\n", key, p.docs[structName][key])
		}
		fmt.Fprint(&out, "\t}\n}\n")
	}
	return format.Source(out.Bytes())
}
