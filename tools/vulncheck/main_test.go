package main

import (
	"strings"
	"testing"
)

const messages = `{"config":{"protocol_version":"v1.0.0"}}
{"osv":{"id":"GO-1"}}
{"finding":{"osv":"GO-1","fixed_version":"v1.2.3","trace":[{"module":"example.com/linked","version":"v1.2.2","package":"example.com/linked/p"}]}}
{"finding":{"osv":"GO-2","fixed_version":"v1.2.3","trace":[{"module":"example.com/required","version":"v1.2.2"}]}}
{"finding":{"osv":"GO-3","fixed_version":"v1.26.9","trace":[{"module":"stdlib","version":"v1.26.8","package":"net/http"}]}}
`

// TestWhatIsLinkedFails: a dependency that is only required, and the standard
// library, do not.
func TestWhatIsLinkedFails(t *testing.T) {
	found, err := findings(strings.NewReader(messages))
	if err != nil {
		t.Fatal(err)
	}
	err = report(found)
	want := "known vulnerabilities in what is linked:\n  GO-1: example.com/linked v1.2.2, mended in v1.2.3"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	if err := report(found[1:]); err != nil {
		t.Errorf("the standard library alone: %v", err)
	}
}
