package google

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/refusal"
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

// TestATokenThatWasRefusedServesWhileThereIsNoOther: whoever refused it may not speak
// for all that use it. Only the present one is forgotten.
func TestATokenThatWasRefusedServesWhileThereIsNoOther(t *testing.T) {
	synctest.Test(t, aTokenThatWasRefused)
}

func aTokenThatWasRefused(t *testing.T) {
	given, fails := 0, false
	a := &ahead{fetch: func() (*oauth2.Token, error) {
		if fails {
			return nil, errors.New("no")
		}
		given++
		return &oauth2.Token{AccessToken: fmt.Sprint("t", given), Expiry: time.Now().Add(time.Hour)}, nil
	}}
	present := func(when, want string) {
		t.Helper()
		if token, err := a.in(t.Context()); err != nil || token.AccessToken != want {
			t.Errorf("%s: %v, %v, want %s", when, token, err, want)
		}
	}
	present("at first", "t1")
	a.forget("another")
	present("after another was refused", "t1")
	fails = true
	a.forget("t1")
	present("while there is no other", "t1")
	fails = false
	present("as soon as there is one", "t2")
	a.forget("t1")
	present("after the last one was refused once more", "t2")
	a.forget("t2")
	present("refused within a minute", "t2")
	<-time.After(refusal.Every)
	a.forget("t2")
	present("refused a minute later", "t3")
}
