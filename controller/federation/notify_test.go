package federation

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Whoever has very many triggers changed has nobody else wait for all of them.
func TestNoticesOfNamespacesTakeTurns(t *testing.T) {
	n := newNotifier()
	for i := range 10_000 {
		n.mark(ID{Namespace: "flood", Name: fmt.Sprint(i)})
		n.mark(ID{Namespace: "flood", Name: fmt.Sprint(i)})
	}
	n.mark(ID{Namespace: "shop", Name: "0"})
	n.mark(ID{Namespace: "shop", Name: "1"})
	for i, want := range []ID{{Namespace: "flood", Name: "0"}, {Namespace: "shop", Name: "0"}, {Namespace: "flood", Name: "1"}, {Namespace: "shop", Name: "1"}} {
		if id, ok := n.next(); !ok || id != want {
			t.Errorf("number %d is %v, want %v", i, id, want)
		}
	}
	n.mark(ID{Namespace: "flood", Name: "0"}) // again, since it was told
	told := 0
	for _, ok := n.next(); ok; _, ok = n.next() {
		told++
	}
	if told != 10_000-2+1 || len(n.dirty) != 0 || len(n.of) != 0 || len(n.turns) != 0 {
		t.Errorf("%d are told of, %d and %d are left", told, len(n.dirty), len(n.of))
	}
}

// A key is made of what stands in the trigger: variables that are expanded would be
// half a megabyte for each, while everybody waits.
func TestKeysExpandNoVariables(t *testing.T) {
	long, many := strings.Repeat("x", 1000), strings.Repeat("$(A)", 128)
	one := trigger("kafka", 0)
	one.Metadata = map[string]string{}
	one.Env = map[string]scalerv1.EnvVar{"A": {Value: &long}}
	description := &scalerv1.TriggerType{Type: "kafka"}
	for i := range 4 {
		variable, parameter := fmt.Sprint("V", i), fmt.Sprint("p", i)
		one.Env[variable] = scalerv1.EnvVar{Value: &many}
		one.Metadata[parameter+"FromEnv"] = variable
		description.Parameters = append(description.Parameters, &scalerv1.Parameter{Name: parameter, Question: true})
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	key := questionKey(one, description)
	runtime.ReadMemStats(&after)
	if made := after.TotalAlloc - before.TotalAlloc; made > 64<<10 {
		t.Errorf("a key takes %d bytes", made)
	}
	other := "y"
	one.Env["V0"] = scalerv1.EnvVar{Value: &other}
	if questionKey(one, description) == key {
		t.Error("another value has the same key")
	}
}
