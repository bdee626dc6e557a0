// Package store is what a secret store is to the resolver of credentials, and the
// resolver to a store.
package store

import (
	"context"
	"encoding/json"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// Store reads what one block of an authentication object asks for, such as
// hashiCorpVault. It is written once for all families and holds no state that
// belongs to a trigger.
type Store interface {
	// Block is the block's field in the spec, such as "hashiCorpVault".
	Block() string
	// Read reads everything that the block asks for within ctx's deadline: all
	// of it or an error, never a part. The block is as the user wrote it; what
	// is wrong with it is InvalidArgument, all problems at once, each starting
	// with its field ("hashiCorpVault.role: is required with kubernetes").
	//
	// The error is the trigger's, so it has a gRPC code and holds no secret and
	// nothing that the store answered beyond its status:
	//
	//	Unauthenticated, PermissionDenied  the store refuses the login or the path
	//	NotFound                           path, secret, version or key is absent
	//	Unavailable, DeadlineExceeded      sealed, down or slow
	//
	// Results are shared by all triggers for which block and Scope lead to the
	// same, and are kept until Values.ReadAgain.
	Read(ctx context.Context, block json.RawMessage, scope Scope) (*Values, error)
}

const (
	// MostBytes is what the values of one trigger may have together: as much as a
	// Secret.
	MostBytes = 1 << 20
	// PerValue is what a value takes beside its text.
	PerValue = 64
)

// Values is what a store has to say.
type Values struct {
	// Parameters are the authentication parameters by name. One whose value is
	// empty in the store has an empty one here, which counts as absent.
	Parameters map[string]string
	// ReadAgain is when the store should be asked again: well before a lease or
	// certificate ends. Zero means as often as a Secret is read. After the
	// source has refused the values they are read again in any case.
	ReadAgain time.Time

	bytes int
}

// Set gives a parameter its value, unless all of them would have more than
// MostBytes: one value may stand in many parameters.
func (v *Values) Set(parameter, value string) error {
	if v.bytes += len(parameter) + len(value) + PerValue; v.bytes > MostBytes {
		return words.Errorf(codes.InvalidArgument, "with parameter %s all values together have more than %d bytes", words.Clip(parameter, 60), MostBytes)
	}
	if v.Parameters == nil {
		v.Parameters = map[string]string{}
	}
	v.Parameters[parameter] = value
	return nil
}

// Scope is what a Store may use of the trigger and of the cluster. Its errors
// have codes and words for the user, and are returned as they are.
type Scope interface {
	// Secret returns the key of a Secret in the namespace of the
	// authentication object (for the cluster-scoped kind: the cluster-object
	// namespace, or by annotation the trigger's). An absent or empty value is
	// an error.
	Secret(ctx context.Context, name, key string) (string, error)
	// Token mints a token of a service account in the trigger's namespace,
	// kept until it needs to be renewed. Without audiences it is the API
	// server's.
	Token(ctx context.Context, serviceAccount string, audiences ...string) (string, error)
	// File returns the content of a file of the family, if its flag
	// --readable-files lists it: regular, at most 1 MiB.
	File(path string) ([]byte, error)
	// OwnIdentity is an error where the trigger's namespace may not use the
	// identity of the family itself, at all or beside Secrets of its own. A
	// Store asks before it logs in with anything that is not of the
	// authentication object.
	OwnIdentity() error
	// WorkloadRole is the AWS role in the annotation eks.amazonaws.com/role-arn
	// of the workload's service account. A workload without is an error.
	WorkloadRole(ctx context.Context) (string, error)
}
