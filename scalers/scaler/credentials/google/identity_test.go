package google

import (
	"testing"

	"golang.org/x/oauth2"
)

// TestAFetchThatPanicsEnds: who waits for a token is not left waiting, and the next
// one fetches anew.
func TestAFetchThatPanicsEnds(t *testing.T) {
	a := &ahead{fetch: func() (*oauth2.Token, error) { panic("a library") }}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("nothing is told of the panic")
			}
		}()
		_, _ = a.in(t.Context())
	}()
	a.fetch = func() (*oauth2.Token, error) { return &oauth2.Token{AccessToken: "new"}, nil }
	if token, err := a.in(t.Context()); err != nil || token.AccessToken != "new" {
		t.Errorf("afterwards: %v, %v", token, err)
	}
}
