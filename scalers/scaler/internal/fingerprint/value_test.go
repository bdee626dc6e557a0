package fingerprint

import (
	"testing"
	"time"
)

type login struct{ user, password string }

type endpoint struct {
	login
	Hosts   []string
	TLS     *bool
	Limits  map[string]int
	Timeout time.Duration
	Any     any
}

func yes() *bool { on := true; return &on }

// one returns an endpoint made anew, but for what change does to it.
func one(change func(*endpoint)) endpoint {
	e := endpoint{login{"u", "p"}, []string{"a", "b"}, yes(), map[string]int{"x": 1, "y": 2, "z": 3}, time.Second, 7}
	change(&e)
	return e
}

func TestEqualValuesHaveOneFingerprint(t *testing.T) {
	same := func(*endpoint) {}
	a, b := one(same), one(same)
	for range 20 { // maps are walked in any order
		if OfValue(a) != OfValue(b) || OfValue(&a) != OfValue(&b) || OfValue([]any{a, 1}) != OfValue([]any{b, 1}) {
			t.Fatal("equal values have different fingerprints")
		}
	}
}

func TestDifferentValuesHaveDifferentFingerprints(t *testing.T) {
	seen := map[string]string{}
	for name, value := range map[string]any{
		"an endpoint":           one(func(*endpoint) {}),
		"a hidden field":        one(func(e *endpoint) { e.password = "q" }),
		"a text cut elsewhere":  one(func(e *endpoint) { e.user, e.password = "up", "" }),
		"quotes in a text":      one(func(e *endpoint) { e.user = `u","p` }),
		"a list in one":         one(func(e *endpoint) { e.Hosts = []string{"a,b"} }),
		"a shorter list":        one(func(e *endpoint) { e.Hosts = []string{"a"} }),
		"behind a pointer":      one(func(e *endpoint) { *e.TLS = false }),
		"no pointer":            one(func(e *endpoint) { e.TLS = nil }),
		"a value of a map":      one(func(e *endpoint) { e.Limits["y"] = 3 }),
		"no map":                one(func(e *endpoint) { e.Limits = nil }),
		"a time":                one(func(e *endpoint) { e.Timeout++ }),
		"the type of any":       one(func(e *endpoint) { e.Any = int64(7) }),
		"nothing":               one(func(e *endpoint) { e.Any = nil }),
		"another type":          login{"u", "p"},
		"a list":                []any{"u", "p"},
		"a list of lists":       []any{[]any{"u"}, "p"},
		"a list of other lists": []any{[]any{"u", "p"}},
		"nil":                   nil,
	} {
		f := OfValue(value)
		if other, ok := seen[f]; ok {
			t.Errorf("%s has the fingerprint of %s", name, other)
		}
		seen[f] = name
	}
}

func TestWhatCannotBeComparedIsAMistake(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	OfValue(endpoint{Any: func() {}})
}
