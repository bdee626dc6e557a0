package failure

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestCodesOfASourceAreFew has a source that answers each read with another
// number: codes are labels of metrics, and of the calls that passed them on.
func TestCodesOfASourceAreFew(t *testing.T) {
	seen := map[string]bool{}
	for n := range uint32(5000) {
		err := fmt.Errorf("read: %w", status.Error(codes.Code(n), "no"))
		code, _ := Explain(err)
		seen[code.String()] = true
		seen[Status("external", err).Code().String()] = true
		switch {
		case n >= 1 && n <= 16 && code != codes.Code(n):
			t.Errorf("%v becomes %v", codes.Code(n), code)
		case n > 16 && code != codes.Unknown:
			t.Errorf("code %d becomes %v", n, code)
		}
	}
	if len(seen) != 16 || seen["OK"] {
		t.Errorf("%d codes of failures: %v", len(seen), seen)
	}
}
