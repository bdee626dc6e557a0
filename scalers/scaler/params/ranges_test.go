package params

import "testing"

func TestRangesHave(t *testing.T) {
	r, err := parseRanges("9, 1-3,5 - 6", ",")
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range []bool{false, true, true, true, false, true, true, false, false, true, false} {
		if r.Has(int64(n)) != want {
			t.Errorf("%d: %v", n, !want)
		}
	}
	if (Ranges)(nil).Has(0) {
		t.Error("none have a number")
	}
}
