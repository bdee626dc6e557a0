package kept

import (
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// TestRefusalsAreShort: what the API server says of thousands of wrong parts is kept
// as its beginning, and stays what it is.
func TestRefusalsAreShort(t *testing.T) {
	var wrong field.ErrorList
	for range 2600 {
		wrong = append(wrong, field.Invalid(field.NewPath("spec"), "", strings.Repeat("x", 200)))
	}
	long := apierrors.NewInvalid(schema.GroupKind{Kind: "Job"}, "batch", wrong)
	short := Refusal(long)
	if !apierrors.IsInvalid(short) || !strings.HasPrefix(short.Error(), `Job "batch" is invalid`) {
		t.Errorf("is another error: %.100s", short)
	}
	if n := Size(short); n > 2*mostOfRefusal {
		t.Errorf("%d bytes are kept", n)
	}
	if len(long.ErrStatus.Details.Causes) == 0 {
		t.Error("the error itself was changed")
	}
	if other := errors.New("killed"); !errors.Is(Refusal(other), other) || Refusal(nil) != nil {
		t.Error("another error is not left alone")
	}
}
