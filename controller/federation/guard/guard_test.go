package guard

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

func TestPanicsAreCaught(t *testing.T) {
	was := testutil.ToFloat64(Panics.WithLabelValues("a test"))
	var defect *Error
	if err := Do("a test", "shop/orders", func() { panic("hit") }); !errors.As(err, &defect) || strings.Contains(err.Error(), "hit") {
		t.Errorf("%v", err)
	}
	own := errors.New("own")
	if err := Call("a test", "", func() error { return own }); !errors.Is(err, own) {
		t.Errorf("%v", err)
	}
	if err := Call("a test", "", func() error { panic("hit") }); !errors.As(err, &defect) {
		t.Errorf("%v", err)
	}
	var group sync.WaitGroup
	Go(&group, "a test", "", func() { panic("hit") })
	group.Wait()
	if n := testutil.ToFloat64(Panics.WithLabelValues("a test")) - was; n != 3 {
		t.Errorf("%v panics were counted, want 3", n)
	}
}

func TestLoopsBeginAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		times := 0
		Loop(t.Context(), "a test", "", func() {
			if times++; times < 3 {
				panic("hit")
			}
		})
		if times != 3 {
			t.Errorf("ran %d times, want 3", times)
		}
		ctx, cancel := context.WithCancel(t.Context())
		Loop(ctx, "a test", "", func() {
			cancel()
			panic("hit")
		})
	})
}

// A panic of a part is the panic of whom it works for.
func TestPanicsOfPartsAreTheirOwners(t *testing.T) {
	err := Do("a test", "", func() {
		var parts Parts
		done := false
		parts.Start(func() { panic("hit") })
		parts.Start(func() { done = true })
		defer func() {
			if !done {
				t.Error("not all parts were waited for")
			}
		}()
		parts.Wait()
	})
	if err == nil {
		t.Error("nobody heard of the panic")
	}
}

type bad struct{}

func (bad) Describe(ch chan<- *prometheus.Desc) { ch <- prometheus.NewDesc("bad", "Bad.", nil, nil) }
func (bad) Collect(chan<- prometheus.Metric)    { panic("hit") }

func TestScrapesAndEventsEndNothing(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(Collector(bad{}))
	if _, err := registry.Gather(); err != nil {
		t.Error(err)
	}
	crash, handlers := utilruntime.ReallyCrash, utilruntime.PanicHandlers
	defer func() { utilruntime.ReallyCrash, utilruntime.PanicHandlers = crash, handlers }()
	Install()
	was := testutil.ToFloat64(Panics.WithLabelValues("an event of the API server"))
	func() {
		defer utilruntime.HandleCrash()
		panic("hit")
	}()
	if n := testutil.ToFloat64(Panics.WithLabelValues("an event of the API server")) - was; n != 1 {
		t.Errorf("%v panics were counted, want 1", n)
	}
}

// own are goroutines that work on nothing that anybody else shapes.
var own = map[string]string{
	"controller/federation/guard/guard.go":       "starts all others",
	"controller/internal/admission/server.go":    "the listener, whose handlers net/http guards",
	"controller/internal/manager/leadership.go":  "cancels a context",
	"metrics-adapter/internal/server/metrics.go": "closes a listener",
	"metrics-adapter/internal/server/server.go":  "the two parts of the process, each guarded within",
}

// No goroutine of the core is started past the guard.
func TestEveryGoroutineIsGuarded(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	for _, module := range []string{"controller", "metrics-adapter"} {
		err := filepath.WalkDir(filepath.Join(root, module), func(path string, entry fs.DirEntry, err error) error {
			name, _ := filepath.Rel(root, path)
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || own[filepath.ToSlash(name)] != "" {
				return err
			}
			for _, place := range bareGoroutines(t, path) {
				t.Errorf("%s: a goroutine is started past package guard: a panic in it would end the process", place)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// bareGoroutines are the places of a file that start one by themselves.
func bareGoroutines(t *testing.T, path string) (places []string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.GoStmt:
			places = append(places, files.Position(n.Pos()).String())
		case *ast.CallExpr:
			called, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || called.Sel.Name != "Go" && called.Sel.Name != "AfterFunc" {
				return true
			}
			if by, ok := called.X.(*ast.Ident); !ok || by.Name != "guard" {
				places = append(places, files.Position(n.Pos()).String())
			}
		}
		return true
	})
	return places
}
