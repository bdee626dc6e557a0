package kept

import (
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// mostOfRefusal is how much is kept of what the API server says, in bytes.
const mostOfRefusal = 2 << 10

// Refusal is an error of the API server as it is kept and told: what it says of an
// object it says of each part that is wrong, in a text and once more in pieces, which
// is many times the object.
func Refusal(err error) error {
	said, ok := err.(*apierrors.StatusError) //nolint:errorlint // what wraps one says more, and stays
	if !ok {
		return err
	}
	short := *said
	if text := short.ErrStatus.Message; len(text) > mostOfRefusal {
		short.ErrStatus.Message = strings.ToValidUTF8(text[:mostOfRefusal], "") + "…"
	}
	if details := short.ErrStatus.Details; details != nil {
		few := *details
		few.Causes = nil
		short.ErrStatus.Details = &few
	}
	return &short
}
