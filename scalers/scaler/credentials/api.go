package credentials

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// maxObject bounds what is read of one object. The API server stores nothing
// larger.
const maxObject = 4 << 20

// mostValues is how many values, one within another, an object may have: decoded,
// an empty one takes more than many bytes of text. A Secret has a hundred.
const mostValues = 25_000

// api reads single objects from the API server. The typed clients of client-go
// would link every kind of Kubernetes into every family; this needs five.
type api struct {
	base   *url.URL
	client *http.Client

	mu   sync.Mutex
	user string // who we are, once known
}

func newAPI(config *rest.Config) (*api, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	return &api{base: base, client: client}, nil
}

// The objects that are read, as far as they are.
type (
	secret struct {
		measured
		Data map[string][]byte `json:"data"`
	}
	configMap struct {
		measured
		Data       map[string]string `json:"data"`
		BinaryData map[string][]byte `json:"binaryData"`
	}
	serviceAccount struct {
		measured
		Metadata metadata `json:"metadata"`
	}
	metadata struct {
		Annotations map[string]string `json:"annotations"`
	}
)

// measured is an object that knows how much of it there was.
type measured struct{ bytes int }

func (m *measured) measure(text []byte) {
	m.bytes = len(text) + store.PerValue*bytes.Count(text, []byte(","))
}

func (m *measured) size() int { return m.bytes }

// object names one object of the API.
type object struct {
	kind      string // as users know it
	namespace string // "" for the cluster's
	name      string
}

func (o object) String() string {
	if o.namespace == "" {
		return o.kind + " " + o.name
	}
	return o.kind + " " + o.namespace + "/" + o.name
}

func (o object) tenant() string { return o.namespace }

func (o object) size() int { return len(o.namespace) + len(o.name) }

// places are the paths of kinds: the group's, and the kind's plural.
var places = map[string]struct{ group, plural string }{
	"Secret":                       {"/api/v1", "secrets"},
	"ConfigMap":                    {"/api/v1", "configmaps"},
	"ServiceAccount":               {"/api/v1", "serviceaccounts"},
	"TriggerAuthentication":        {"/apis/keda.sh/v1alpha1", "triggerauthentications"},
	"ClusterTriggerAuthentication": {"/apis/keda.sh/v1alpha1", "clustertriggerauthentications"},
}

// path is where an object is. Its name was checked to be one.
func (o object) path(sub string) string {
	place := places[o.kind]
	path := place.group
	if o.namespace != "" {
		path += "/namespaces/" + o.namespace
	}
	path += "/" + place.plural + "/" + o.name
	if sub != "" {
		path += "/" + sub
	}
	return path
}

// get reads an object into a pointer. The error is a status for the user.
func (a *api) get(ctx context.Context, o object, into any) error {
	if a == nil {
		return unconnected(o)
	}
	code, err := a.call(ctx, http.MethodGet, o.path(""), nil, into)
	return a.failure(ctx, o, "get", code, err)
}

// token mints a token of a service account.
func (a *api) token(ctx context.Context, o object, request, into any) error {
	if a == nil {
		return unconnected(o)
	}
	code, err := a.call(ctx, http.MethodPost, o.path("token"), request, into)
	return a.failure(ctx, o, "create token of", code, err)
}

// call returns the status code that the API server answered, 0 for none.
func (a *api) call(ctx context.Context, method, path string, send, into any) (int, error) {
	var body io.Reader
	if send != nil {
		text, err := json.Marshal(send)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.base.JoinPath(path).String(), body)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Content-Type", "application/json")
	response, err := a.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		outbound.Drain(response.Body)
		return response.StatusCode, nil
	}
	text, err := outbound.ReadBody(response.Body, maxObject)
	if err != nil {
		return 0, err
	}
	if externalscaler.CountValues(string(text)) > mostValues {
		return 0, errManyValues
	}
	if m, ok := into.(interface{ measure(text []byte) }); ok {
		m.measure(text)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return 0, errNotTheObject // the decoder's words may quote it
	}
	return response.StatusCode, nil
}

var (
	// errNotTheObject is the failure of an answer that cannot be read.
	errNotTheObject = errors.New("the API server's answer is not the object that was asked for")
	errManyValues   = fmt.Errorf("has more than the %d values that are read of an object", mostValues)
)

func unconnected(o object) error {
	return words.Errorf(codes.FailedPrecondition, "%s: this family has no access to an API server", o)
}

// failure puts an answer other than success into words and a code.
func (a *api) failure(ctx context.Context, o object, verb string, code int, err error) error {
	switch {
	case err != nil && ctx.Err() != nil:
		return words.Errorf(codes.DeadlineExceeded, "%s: the API server does not answer in time", o)
	case errors.Is(err, errManyValues):
		return words.Errorf(codes.InvalidArgument, "%s %v", o, err)
	case errors.Is(err, errNotTheObject):
		return words.Errorf(codes.Unavailable, "%s: %v", o, err)
	case err != nil:
		return words.Errorf(codes.Unavailable, "%s: the API server does not answer: %v", o, err)
	case code < 300:
		return nil
	case code == http.StatusNotFound:
		return words.Errorf(codes.NotFound, "%s does not exist", o)
	case code == http.StatusForbidden:
		return a.notGranted(ctx, o, verb)
	default:
		return words.Errorf(codes.Unavailable, "%s: the API server answers %d %s", o, code, http.StatusText(code))
	}
}

// notGranted says who may not do what, and how to let them.
func (a *api) notGranted(ctx context.Context, o object, verb string) error {
	user, err := a.whoami(ctx)
	if err != nil {
		return words.Errorf(codes.PermissionDenied, "this family may not %s %s", verb, o)
	}
	g := granteeOf(user)
	return words.Errorf(codes.PermissionDenied, "%s may not %s %s; to grant it: %s", g.title, verb, o, g.command(o, verb))
}

// grantee is who would be granted something.
type grantee struct {
	title   string // for a sentence
	name    string // for a binding
	subject string // flag of kubectl
}

func granteeOf(user string) grantee {
	if account, ok := strings.CutPrefix(user, "system:serviceaccount:"); ok {
		namespace, name, _ := strings.Cut(account, ":")
		return grantee{title: "ServiceAccount " + namespace + "/" + name, name: name, subject: "--serviceaccount=" + account}
	}
	return grantee{title: "user " + user, name: "sluice", subject: "--user=" + user}
}

// credentialsRole is the ClusterRole of the installation that lets a family
// read what credentials are made of, in the namespaces where it is bound.
const credentialsRole = "sluice-scaler-credentials"

// command is what an administrator runs.
func (g grantee) command(o object, verb string) string {
	switch {
	case verb != "get":
		// Whoever may mint a token acts as the account: only this one.
		name := "sluice-token-" + o.name
		return fmt.Sprintf("kubectl create role %s -n %s --verb=create --resource=serviceaccounts/token --resource-name=%s && kubectl create rolebinding %s -n %s --role=%s %s",
			name, o.namespace, o.name, name, o.namespace, name, g.subject)
	case strings.HasSuffix(o.kind, "TriggerAuthentication"):
		return fmt.Sprintf("kubectl create clusterrolebinding %s-authentications --clusterrole=sluice-scaler-authentications %s", g.name, g.subject)
	default:
		return fmt.Sprintf("kubectl create rolebinding %s -n %s --clusterrole=%s %s", g.name, o.namespace, credentialsRole, g.subject)
	}
}

// whoami is the user that the API server takes us for.
func (a *api) whoami(ctx context.Context) (string, error) {
	a.mu.Lock()
	user := a.user
	a.mu.Unlock()
	if user != "" {
		return user, nil
	}
	request := map[string]string{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
	var review struct {
		Status struct {
			UserInfo struct {
				Username string `json:"username"`
			} `json:"userInfo"`
		} `json:"status"`
	}
	code, err := a.call(ctx, http.MethodPost, "/apis/authentication.k8s.io/v1/selfsubjectreviews", request, &review)
	user = review.Status.UserInfo.Username
	if err != nil || code >= 300 || user == "" {
		return "", words.Errorf(codes.Unavailable, "the API server does not say who we are")
	}
	a.mu.Lock()
	a.user = user
	a.mu.Unlock()
	return user, nil
}
