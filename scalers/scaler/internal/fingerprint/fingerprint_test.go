package fingerprint

import (
	"fmt"
	"testing"
)

func TestFingerprint(t *testing.T) {
	seen := map[string]string{}
	for _, secrets := range [][]string{nil, {""}, {"ab"}, {"a", "b"}, {"ab", ""}, {"b", "a"}} {
		f := Of(secrets...)
		if f != Of(secrets...) {
			t.Errorf("%q has two fingerprints", secrets)
		}
		if other, ok := seen[f]; ok {
			t.Errorf("%q has the fingerprint of %s", secrets, other)
		}
		seen[f] = fmt.Sprintf("%q", secrets)
	}
}
