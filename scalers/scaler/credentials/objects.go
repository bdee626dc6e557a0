package credentials

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/readable"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// secretObject returns a Secret, read once for all who name it.
func (w *work) secretObject(ctx context.Context, namespace, name string) (*secret, error) {
	if err := checkName("Secret", name); err != nil {
		return nil, err
	}
	o := object{kind: "Secret", namespace: namespace, name: name}
	if w.RestrictSecrets && namespace != w.ClusterNamespace {
		return nil, words.Errorf(codes.PermissionDenied, "%s is not read: KEDA_RESTRICT_SECRET_ACCESS allows those of namespace %s alone", o, w.ClusterNamespace)
	}
	s, err := take(ctx, w, w.secrets, o, func(ctx context.Context) (*secret, time.Time, error) {
		s := new(secret)
		return s, time.Time{}, w.api.get(ctx, o, s)
	})
	w.missed(o, err)
	return s, err
}

// missed notes that what the cluster's authentication object names is absent
// where it is looked for by default: its author may mean another namespace.
func (w *work) missed(o object, err error) {
	w.absent = w.absent || w.cluster && !w.ofObject && o.namespace == w.ClusterNamespace && status.Code(err) == codes.NotFound
}

// configMapObject returns a ConfigMap, read once for all who name it.
func (w *work) configMapObject(ctx context.Context, namespace, name string) (*configMap, error) {
	if err := checkName("ConfigMap", name); err != nil {
		return nil, err
	}
	o := object{kind: "ConfigMap", namespace: namespace, name: name}
	m, err := take(ctx, w, w.configMaps, o, func(ctx context.Context) (*configMap, time.Time, error) {
		m := new(configMap)
		return m, time.Time{}, w.api.get(ctx, o, m)
	})
	w.missed(o, err)
	return m, err
}

// secretKey returns the value of one key, which is there. An empty one is an
// *emptyError.
func (w *work) secretKey(ctx context.Context, namespace, name, key string) (string, error) {
	s, err := w.secretObject(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	value, ok := s.Data[key]
	return needed("Secret "+namespace+"/"+name, key, string(value), ok)
}

// configMapKey returns the value of one key, which is there. An empty one is an
// *emptyError.
func (w *work) configMapKey(ctx context.Context, namespace, name, key string) (string, error) {
	m, err := w.configMapObject(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	if _, binary := m.BinaryData[key]; binary {
		return "", words.Errorf(codes.InvalidArgument, "ConfigMap %s/%s has key %s in binaryData, which is not text", namespace, name, key)
	}
	value, ok := m.Data[key]
	return needed("ConfigMap "+namespace+"/"+name, key, value, ok)
}

func needed(what, key, value string, ok bool) (string, error) {
	switch {
	case len(key) > mostName:
		return "", tooLong("the key", key)
	case len(validation.IsConfigMapKey(key)) > 0:
		return "", invalid("%q is not a key of a Secret or ConfigMap", key)
	case !ok:
		return "", words.Errorf(codes.NotFound, "%s has no key %s", what, key)
	case strings.TrimSpace(value) == "":
		return "", empty("%s: the value of key %s is empty", what, key)
	}
	return value, nil
}

// emptyError is a value that is there and empty: an error for what cannot do
// without, else absent.
type emptyError struct{ error }

func empty(format string, args ...any) error { return &emptyError{invalid(format, args...)} }

// Unwrap gives the error its code.
func (e *emptyError) Unwrap() error { return e.error }

// tokenKey tells tokens apart.
type tokenKey struct {
	account   object
	audiences string // joined
}

func (k tokenKey) tenant() string { return k.account.tenant() }

func (k tokenKey) size() int { return k.account.size() + len(k.audiences) }

// bearer is a token.
type bearer string

func (b bearer) size() int { return len(b) }

// token mints a token of a service account, or returns one that has most of
// its life ahead.
func (w *work) token(ctx context.Context, namespace, account string, audiences ...string) (string, error) {
	if err := checkName("ServiceAccount", account); err != nil {
		return "", err
	}
	key := tokenKey{object{kind: "ServiceAccount", namespace: namespace, name: account}, strings.Join(audiences, " ")}
	token, err := take(ctx, w, w.tokens, key, func(ctx context.Context) (bearer, time.Time, error) {
		request := tokenRequest{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"}
		request.Spec.ExpirationSeconds = int64(w.TokenExpiry.Seconds())
		request.Spec.Audiences = audiences
		var issued tokenRequest
		begun := time.Now()
		if err := w.api.token(ctx, key.account, request, &issued); err != nil {
			return "", time.Time{}, err
		}
		// The server may have shortened it.
		life := issued.Status.ExpirationTimestamp.Sub(begun)
		return bearer(issued.Status.Token), begun.Add(life * 4 / 5), nil
	})
	return string(token), err
}

type tokenRequest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		Audiences         []string `json:"audiences,omitempty"`
		ExpirationSeconds int64    `json:"expirationSeconds,omitempty"`
	} `json:"spec"`
	Status struct {
		Token               string    `json:"token,omitempty"`
		ExpirationTimestamp time.Time `json:"expirationTimestamp,omitzero"`
	} `json:"status,omitzero"`
}

// scope is a work as a Store may use it.
type scope struct{ w *work }

func (s scope) Secret(ctx context.Context, name, key string) (string, error) {
	return s.w.secretKey(ctx, s.w.namespace, name, key)
}

func (s scope) Token(ctx context.Context, account string, audiences ...string) (string, error) {
	return s.w.token(ctx, s.w.ref.Namespace, account, audiences...)
}

func (s scope) File(path string) ([]byte, error) { return readable.Read(path) }

func (s scope) OwnIdentity() error {
	if s.w.ofObject {
		return errLent
	}
	return lending.CheckNamespace(s.w.ref.Namespace)
}

func (s scope) WorkloadRole(ctx context.Context) (string, error) { return s.w.workloadRole(ctx) }
