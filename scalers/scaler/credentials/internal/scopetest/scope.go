// Package scopetest is what a test lets a secret store use.
package scopetest

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Scope implements credentials.Scope from memory.
type Scope struct {
	// Secrets are values by "name/key".
	Secrets map[string]string
	// Tokens are tokens by service account.
	Tokens map[string]string
	// Files are contents by path.
	Files map[string]string
	// Stranger is an object of a namespace that may not use the family's own
	// identity.
	Stranger bool
	// Role is that of the workload.
	Role string
}

// Secret implements credentials.Scope.
func (s Scope) Secret(_ context.Context, name, key string) (string, error) {
	return find(s.Secrets, name+"/"+key)
}

// Token implements credentials.Scope.
func (s Scope) Token(_ context.Context, serviceAccount string, _ ...string) (string, error) {
	return find(s.Tokens, serviceAccount)
}

// File implements credentials.Scope.
func (s Scope) File(path string) ([]byte, error) {
	content, err := find(s.Files, path)
	return []byte(content), err
}

// OwnIdentity implements credentials.Scope.
func (s Scope) OwnIdentity() error {
	if s.Stranger {
		return status.Error(codes.PermissionDenied, "not for strangers")
	}
	return nil
}

// WorkloadRole implements credentials.Scope.
func (s Scope) WorkloadRole(context.Context) (string, error) {
	return find(map[string]string{"role": s.Role}, "role")
}

func find(in map[string]string, key string) (string, error) {
	if value := in[key]; value != "" {
		return value, nil
	}
	return "", status.Errorf(codes.NotFound, "%s is absent", key)
}
