package admission

import (
	"fmt"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// TestNamespacesThatAreGoneAreForgotten has namespaces that come and go where
// nobody scrapes.
func TestNamespacesThatAreGoneAreForgotten(t *testing.T) {
	c := NewCounts(fake.NewClientBuilder().Build())
	var last string
	c.known = func(namespace string) bool { return namespace == last }
	most := 0
	for i := range 10_000 {
		last = fmt.Sprint("team-", i)
		c.judged(last, "create", nil)
		most = max(most, len(c.namespaces))
	}
	if most > 1100 {
		t.Errorf("%d namespaces are remembered, of which one is left", most)
	}
}

// TestAnUnknownNamespaceHoldsUpNobody has a look at a namespace that takes its
// time, and a review of another one meanwhile.
func TestAnUnknownNamespaceHoldsUpNobody(t *testing.T) {
	c := NewCounts(fake.NewClientBuilder().Build())
	looks, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	c.known = func(namespace string) bool {
		if namespace == "slow" {
			close(looks)
			<-goOn
		}
		return true
	}
	go func() {
		defer close(done)
		c.judged("slow", "create", nil)
	}()
	<-looks
	c.judged("quick", "create", nil)
	close(goOn)
	<-done
	for _, namespace := range []string{"slow", "quick"} {
		if n := c.validations.Of(namespace, whole{}, namespace, "create"); n != 1 {
			t.Errorf("%s: %v reviews are counted", namespace, n)
		}
	}
}
