package vault

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/outcome"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// answer is what Vault says of one path.
type answer struct {
	data      map[string]any
	readAgain time.Time // zero: as often as anything
	leased    bool      // it ends with the login
}

// read reads a path, or issues a certificate.
func (v *server) read(ctx context.Context, s secret) (*answer, error) {
	var got *api.Secret
	var err error
	if s.Type == pki {
		got, err = v.Logical().WriteWithContext(ctx, s.path(), s.body())
	} else {
		got, err = v.Logical().ReadWithContext(ctx, s.path())
	}
	if err != nil {
		return nil, v.failure("path "+s.path(), "is denied", err)
	}
	if got == nil {
		return nil, v.named(words.Errorf(codes.NotFound, "path %s does not exist", s.path()))
	}
	a := &answer{data: got.Data, leased: got.LeaseID != ""}
	switch {
	case s.Type == pki:
		if ends := expiration(got.Data); !ends.IsZero() {
			a.readAgain = beforeEnd(time.Now(), ends)
		}
	case a.leased && got.LeaseDuration > 0:
		a.readAgain = beforeEnd(time.Now(), end(got.LeaseDuration))
	}
	if s.Type == kv2 || s.Type == generic && hasData(got.Data) {
		inner, _ := got.Data["data"].(map[string]any)
		if inner == nil {
			return nil, v.named(words.Errorf(codes.NotFound, "path %s has no current version", s.path()))
		}
		a.data = inner
	}
	return a, nil
}

func hasData(data map[string]any) bool {
	_, has := data["data"]
	return has
}

// expiration is when an issued certificate ends; zero when Vault does not say.
func expiration(data map[string]any) time.Time {
	number, _ := data["expiration"].(json.Number)
	seconds, err := number.Int64()
	if err != nil || seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// text is the value of a key. A list, such as ca_chain, becomes lines.
func (a *answer) text(s secret, field string) (string, error) {
	value, there := a.data[s.Key]
	if !there {
		return "", words.Errorf(codes.NotFound, "path %s has no key %s (%s.key)", s.path(), s.Key, field)
	}
	switch value := value.(type) {
	case string:
		return value, nil
	case []any:
		var lines []string
		for _, line := range value {
			if text, ok := line.(string); ok {
				lines = append(lines, text)
			}
		}
		if len(lines) == len(value) && len(lines) > 0 {
			return strings.Join(lines, "\n"), nil
		}
	}
	return "", words.Errorf(codes.FailedPrecondition, "key %s of path %s is not text", s.Key, s.path())
}

// named says which Vault an error is of.
func (v *server) named(err error) error {
	return words.Errorf(status.Code(err), "Vault %s: %w", v.address, err)
}

// failure is the failure of a request in words for the user. Of a refusal
// nothing is told but that what is refused.
func (v *server) failure(what, refused string, err error) error {
	var answered *api.ResponseError
	if !errors.As(err, &answered) {
		code, cause := outcome.Unanswered(err)
		return v.named(words.Plain(code, cause))
	}
	code, text := outcome.Code(answered.StatusCode), outcome.Text(answered.StatusCode)
	switch answered.StatusCode {
	case http.StatusServiceUnavailable:
		text = "is sealed or in maintenance (503)"
	case http.StatusNotImplemented:
		text = "is not initialized (501)"
	case http.StatusBadRequest, http.StatusForbidden:
		code, text = codes.PermissionDenied, what+" "+refused+" ("+outcome.Text(answered.StatusCode)+")"
	default:
		text = what + ": " + text
	}
	return v.named(words.Plain(code, text))
}
