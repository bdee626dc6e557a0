package params

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// TestListsAreFew: an element takes many times the byte that it may have, for as
// long as the trigger is there.
func TestListsAreFew(t *testing.T) {
	for element, tt := range map[string]struct {
		typ  reflect.Type
		most int
	}{
		"a;":   {reflect.TypeFor[[]string](), mostElements},
		"1;":   {reflect.TypeFor[[]int64](), mostElements},
		"1-2;": {reflect.TypeFor[Ranges](), mostElements},
		"a=b;": {reflect.TypeFor[map[string]string](), mostPairs},
		"a&":   {reflect.TypeFor[url.Values](), mostPairs},
	} {
		value, ok := valueTypeOf(tt.typ, syntax{separator: ";"})
		if !ok {
			t.Fatalf("%v is no parameter", tt.typ)
		}
		text := strings.Repeat(element, tt.most)
		if _, err := value.parse(text[:len(text)-1]); err != nil {
			t.Errorf("%v: %v", tt.typ, err)
		}
		if _, err := value.parse(text + element); err == nil || err.Error() != fmt.Sprintf("has %d elements, of %d that there may be", tt.most+2, tt.most) {
			t.Errorf("%v of too many: %v", tt.typ, err)
		}
	}
}
