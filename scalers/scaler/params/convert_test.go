package params

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// TestListsAreFew: an element takes many times the byte that it may have, for as
// long as the trigger is there.
func TestListsAreFew(t *testing.T) {
	for element, typ := range map[string]reflect.Type{
		"a;":   reflect.TypeFor[[]string](),
		"1;":   reflect.TypeFor[[]int64](),
		"1-2;": reflect.TypeFor[Ranges](),
		"a=b;": reflect.TypeFor[map[string]string](),
		"a&":   reflect.TypeFor[url.Values](),
	} {
		value, ok := valueTypeOf(typ, syntax{separator: ";"})
		if !ok {
			t.Fatalf("%v is no parameter", typ)
		}
		text := strings.Repeat(element, mostElements)
		if _, err := value.parse(text[:len(text)-1]); err != nil {
			t.Errorf("%v: %v", typ, err)
		}
		if _, err := value.parse(text + element); err == nil || err.Error() != "has 1026 elements, of 1024 that there may be" {
			t.Errorf("%v of too many: %v", typ, err)
		}
	}
}
