// Package block reads blocks of authentication objects as users wrote them, and
// says all that is wrong with one at once.
package block

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// Problems are all that is wrong with a block, each as "<field>: <text>" below
// the block's own name.
type Problems struct {
	name  string
	wrong []error
}

// Decode reads the block called name into to. What does not decode is
// InvalidArgument.
func Decode(name string, raw json.RawMessage, to any) (*Problems, error) {
	if err := json.Unmarshal(raw, to); err != nil {
		return nil, words.Errorf(codes.InvalidArgument, "%s: has a field of the wrong kind", name)
	}
	return &Problems{name: name}, nil
}

// Require adds a problem for each pair of field and value whose value is empty.
func (p *Problems) Require(fieldsAndValues ...string) {
	for i := 0; i < len(fieldsAndValues); i += 2 {
		if strings.TrimSpace(fieldsAndValues[i+1]) == "" {
			p.Add(fieldsAndValues[i], "is required")
		}
	}
}

// Add adds a problem of one field.
func (p *Problems) Add(field, format string, args ...any) {
	p.wrong = append(p.wrong, words.Errorf(codes.InvalidArgument, p.name+"."+field+": "+format, args...))
}

// Item names a field of one element of a list.
func Item(list string, i int, field string) string { return fmt.Sprintf("%s[%d].%s", list, i, field) }

// Err is InvalidArgument with all problems, or nil without any.
func (p *Problems) Err() error {
	if len(p.wrong) == 0 {
		return nil
	}
	return words.Join(codes.InvalidArgument, "; ", p.wrong)
}

// SecretKey refers to a key of a Secret, as in "valueFrom.secretKeyRef".
type SecretKey struct {
	ValueFrom struct {
		SecretKeyRef struct {
			Name string `json:"name"`
			Key  string `json:"key"`
		} `json:"secretKeyRef"`
	} `json:"valueFrom"`
}

// RequireSecretKey adds what is missing of a reference in field.
func (p *Problems) RequireSecretKey(field string, ref SecretKey) {
	field += ".valueFrom.secretKeyRef."
	p.Require(field+"name", ref.ValueFrom.SecretKeyRef.Name, field+"key", ref.ValueFrom.SecretKeyRef.Key)
}

// Secrets resolves keys of Secrets.
type Secrets interface {
	Secret(ctx context.Context, name, key string) (string, error)
}

// Read resolves the reference.
func (s SecretKey) Read(ctx context.Context, secrets Secrets) (string, error) {
	return secrets.Secret(ctx, s.ValueFrom.SecretKeyRef.Name, s.ValueFrom.SecretKeyRef.Key)
}
