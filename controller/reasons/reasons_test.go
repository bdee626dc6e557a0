package reasons

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The test reads the code of the controller: what it gives to a parameter, a
// variable, a result or a field called reason is a reason.

// elsewhere has folders whose reasons are no user's to see in an object: why an
// instance is not ready, labels of the webhook's metrics, differences of a
// shadow, help of tests.
var elsewhere = []string{"equivalence", "federation", "internal/admission", "internal/shadow", "internal/testcluster", "kept/kepttest", "reasons", "rules"}

// notOurs are reasons that the code passes on and does not name.
var notOurs = []string{"FailedGetContainerResourceMetric", "FailedGetExternalMetric", "FailedGetResourceMetric", "InvalidSelector"}

// word is what a reason looks like, as Kubernetes has them.
var word = regexp.MustCompile(`^[A-Z][A-Za-z]+$`)

type source struct {
	files     *token.FileSet
	constants map[string]string // by name, all packages together
	// takes has, by the name of a function and how many parameters it has, which
	// of them are reasons; gives has, by its name, which of its results is one.
	takes map[call][]int
	gives map[string]int
	// found are reasons, with where one stands.
	found    map[string]string
	problems []string
}

type call struct {
	function   string
	parameters int
}

func TestEveryReasonIsExplained(t *testing.T) {
	s := &source{
		files: token.NewFileSet(), constants: map[string]string{}, found: map[string]string{},
		takes: map[call][]int{}, gives: map[string]int{},
	}
	for arguments := range 4 {
		s.takes[call{"Eventf", 6 + arguments}] = []int{3}
	}
	var parsed []*ast.File
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel("..", path)
		switch {
		case entry.IsDir() && slices.Contains(elsewhere, filepath.ToSlash(name)):
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(s.files, path, nil, parser.SkipObjectResolution)
		parsed = append(parsed, file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range parsed {
		ast.Inspect(file, s.declared)
	}
	for _, file := range parsed {
		ast.Inspect(file, s.used)
	}
	for _, problem := range s.problems {
		t.Error(problem)
	}
	// Less would mean that the test sees nothing any more.
	if len(s.found) < 40 {
		t.Errorf("%d reasons in the code, want more", len(s.found))
	}
	for name, at := range s.found {
		if _, ok := Find(name); !ok {
			t.Errorf("%s: reason %s is not in controller/reasons", at, name)
		}
	}
	for _, group := range Groups {
		for _, r := range group.Reasons {
			if _, ok := s.found[r.Name]; !ok && !slices.Contains(notOurs, r.Name) {
				t.Errorf("reason %s is explained, and nowhere in the code", r.Name)
			}
		}
	}
}

// declared takes note of constants, and of functions that are given reasons.
func (s *source) declared(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ValueSpec:
		for i, name := range n.Names {
			if i < len(n.Values) {
				if text, ok := literal(n.Values[i]); ok {
					s.constants[name.Name] = text
				}
			}
		}
	case *ast.FuncDecl:
		s.parameters(n.Name.Name, n.Type)
		s.results(n)
	case *ast.Field: // of a struct or an interface
		if f, ok := n.Type.(*ast.FuncType); ok && len(n.Names) == 1 {
			s.parameters(n.Names[0].Name, f)
		}
	}
	return true
}

func (s *source) parameters(function string, f *ast.FuncType) {
	names := namesOf(f.Params)
	for at, name := range names {
		if isReason(name) {
			c := call{function, len(names)}
			if !slices.Contains(s.takes[c], at) {
				s.takes[c] = append(s.takes[c], at)
			}
		}
	}
}

// results takes note of a function that gives a reason: in a result of that
// name, or if the function itself is called so.
func (s *source) results(f *ast.FuncDecl) {
	if f.Type.Results == nil {
		return
	}
	if at := slices.IndexFunc(namesOf(f.Type.Results), isReason); at >= 0 {
		s.gives[f.Name.Name] = at
	} else if isReason(f.Name.Name) {
		s.gives[f.Name.Name] = 0
	}
}

// namesOf are the names of parameters or results, "" for one without.
func namesOf(list *ast.FieldList) []string {
	var names []string
	for _, field := range list.List {
		for _, name := range field.Names {
			names = append(names, name.Name)
		}
		if len(field.Names) == 0 {
			names = append(names, "")
		}
	}
	return names
}

// used takes note of reasons.
func (s *source) used(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ValueSpec: // a constant that is called a reason
		for i, name := range n.Names {
			if i < len(n.Values) && isReason(name.Name) {
				s.reason(n.Values[i])
			}
		}
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Reason" {
			s.reason(n.Value)
		}
	case *ast.AssignStmt:
		for i, left := range n.Lhs {
			if len(n.Lhs) == len(n.Rhs) && isReason(last(left)) {
				s.reason(n.Rhs[i])
			}
		}
	case *ast.CallExpr:
		for _, at := range s.takes[call{last(n.Fun), len(n.Args)}] {
			s.reason(n.Args[at])
		}
	case *ast.FuncDecl:
		if at, ok := s.gives[n.Name.Name]; ok && n.Body != nil {
			s.returned(n, at)
		}
	}
	return true
}

// returned takes note of what a function returns as a reason.
func (s *source) returned(f *ast.FuncDecl, at int) {
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if r, ok := n.(*ast.ReturnStmt); ok && at < len(r.Results) {
			s.reason(r.Results[at])
		}
		return true
	})
}

func isReason(name string) bool { return strings.HasPrefix(strings.ToLower(name), "reason") }

// last is the last name of a, a.b or a.b.c.
func last(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// reason takes note of the reasons that an expression may be.
func (s *source) reason(e ast.Expr) {
	at := s.files.Position(e.Pos()).String()
	note := func(text string) {
		if word.MatchString(text) {
			s.found[text] = at
		}
	}
	if text, ok := literal(e); ok {
		note(text)
		return
	}
	switch e := e.(type) {
	case *ast.Ident, *ast.SelectorExpr:
		if text, ok := s.constants[last(e)]; ok {
			note(text)
		} else if !isReason(last(e)) {
			s.problems = append(s.problems, at+": what reason "+last(e)+" is cannot be seen here; call it reason")
		}
	case *ast.CallExpr: // its results are seen there
		if _, ok := s.gives[last(e.Fun)]; !ok {
			s.problems = append(s.problems, at+": what reason "+last(e.Fun)+" returns cannot be seen here; name its result reason")
		}
	case *ast.BinaryExpr: // the kind of an authentication, and what happened to it
		end, ok := literal(e.Y)
		switch {
		case last(e.X) == "kind" && ok:
			note("TriggerAuthentication" + end)
			note("ClusterTriggerAuthentication" + end)
		case last(e.X) == "kind" && isReason(last(e.Y)): // seen where it is given
		default:
			s.problems = append(s.problems, at+": a reason is made of parts that cannot be seen here")
		}
	default:
		s.problems = append(s.problems, at+": what reason this is cannot be seen here")
	}
}

func literal(e ast.Expr) (string, bool) {
	if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
		text, err := strconv.Unquote(l.Value)
		return text, err == nil
	}
	return "", false
}

// TestReasonsAreWhole finds what a reader would miss.
func TestReasonsAreWhole(t *testing.T) {
	page, err := os.ReadFile("../../docs/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, group := range Groups {
		if group.Title == "" || group.Text == "" || len(group.Reasons) == 0 {
			t.Errorf("group %q says nothing", group.Title)
		}
		for _, r := range group.Reasons {
			switch {
			case seen[r.Name]:
				t.Errorf("%s stands twice", r.Name)
			case !word.MatchString(r.Name) || len(r.Seen) == 0 || !strings.HasSuffix(r.Cause, "."):
				t.Errorf("%+v is not whole", r)
			case strings.Contains(strings.Join(r.Seen, " "), "Warning") && r.Cure == "" && !strings.HasSuffix(r.Name, "Deleted"):
				t.Errorf("%s is a warning without a cure", r.Name)
			case !bytes.Contains(page, []byte("\n### "+r.Name+"\n")) || !bytes.Contains(page, []byte(r.Cause)) || !bytes.Contains(page, []byte(r.Cure)):
				t.Errorf("docs/reasons.md does not say what this says of %s: make generate", r.Name)
			}
			seen[r.Name] = true
		}
	}
}

// TestAdviceIsWhole: whoever reads the cure of one reason alone is not sent to
// another's.
func TestAdviceIsWhole(t *testing.T) {
	for _, group := range Groups {
		for _, r := range group.Reasons {
			if advice := r.Advice(); (advice == "") != (r.Cure == "") || strings.HasPrefix(advice, "As ") {
				t.Errorf("%s: %q", r.Name, advice)
			}
		}
	}
	container, _ := Find("FailedGetContainerResourceMetric")
	if have := container.Advice(); !strings.HasPrefix(have, "`kubectl top pod` has to work") || !strings.HasSuffix(have, " The container has to have that name.") {
		t.Error(have)
	}
	activation, _ := Find("KEDAScaleTargetActivationFailed")
	if have := activation.Advice(); have != "The message has the API server's words. It is tried again until it succeeds." {
		t.Error(have)
	}
}
