package credentials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/computing"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/refusal"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// Config is what a Resolver is made of.
type Config struct {
	// Cluster is how the API server is reached, as the family itself; nil where
	// there is none.
	Cluster *rest.Config
	// ClusterNamespace has the Secrets and ConfigMaps of
	// ClusterTriggerAuthentications.
	ClusterNamespace string
	// Stores are the secret stores that authentication objects may name.
	Stores []store.Store
	// FilePathRoot is the directory of spec.filePath; "" allows none.
	FilePathRoot string
	// TokenExpiry is how long bound tokens last; default 1 h.
	TokenExpiry time.Duration
	// RestrictSecrets refuses Secrets outside of ClusterNamespace.
	RestrictSecrets bool
	// Log receives what an operator acts on; default slog.Default().
	Log *slog.Logger
}

// Resolver turns references into credentials. What it read is shared by all
// triggers of the process and kept for a bounded time.
type Resolver struct {
	Config
	api    *api
	stores map[string]store.Store

	authentications *shelf[object, *authentication]
	secrets         *shelf[object, *secret]
	configMaps      *shelf[object, *configMap]
	accounts        *shelf[object, *serviceAccount]
	tokens          *shelf[tokenKey, bearer]
	values          *shelf[storeKey, storeValues]
}

// New makes a Resolver.
func New(config Config) (*Resolver, error) {
	var api *api
	if config.Cluster != nil {
		var err error
		if api, err = newAPI(config.Cluster); err != nil {
			return nil, fmt.Errorf("connect to the API server: %w", err)
		}
	}
	return newResolver(config, api), nil
}

func newResolver(config Config, api *api) *Resolver {
	if config.Log == nil {
		config.Log = slog.Default()
	}
	if config.TokenExpiry <= 0 {
		config.TokenExpiry = time.Hour
	}
	r := &Resolver{
		Config: config, api: api, stores: map[string]store.Store{},
		authentications: newShelf[object, *authentication]("authentication", retryAfter, config.Log),
		secrets:         newShelf[object, *secret]("Secret", retryAfter, config.Log),
		configMaps:      newShelf[object, *configMap]("ConfigMap", retryAfter, config.Log),
		accounts:        newShelf[object, *serviceAccount]("ServiceAccount", retryAfter, config.Log),
		tokens:          newShelf[tokenKey, bearer]("token", refusal.Every, config.Log),
		values:          newShelf[storeKey, storeValues]("secret store", refusal.Every, config.Log),
	}
	for _, s := range config.Stores {
		r.stores[s.Block()] = s
	}
	return r
}

// Close ends what is being read and forgets what was.
func (r *Resolver) Close() {
	r.values.close() // its reads wait for the others
	r.tokens.close()
	r.accounts.close()
	r.configMaps.close()
	r.secrets.close()
	r.authentications.close()
	if r.api != nil {
		r.api.client.CloseIdleConnections()
	}
}

// Resolve reads what ref refers to. Its error has every problem, each with the
// place, the object and what to do, and a gRPC code; it holds no secret.
func (r *Resolver) Resolve(ctx context.Context, ref Reference) (*Credentials, error) {
	ctx = budget.Of(ctx, ref.Namespace)
	w := &work{
		Resolver: r, ref: ref, namespace: ref.Namespace,
		creds: &Credentials{Parameters: map[string]string{}},
	}
	w.turn = &computing.Turn{}
	defer w.turn.Rest()
	w.environment(ctx)
	w.authentication(ctx)
	w.inline(ctx)
	if err := w.wrong.err(""); err != nil {
		return nil, err
	}
	return w.creds, nil
}

const (
	// mostReferences is what one authentication object may name.
	mostReferences = 250
	// mostWarnings is how many are kept of one trigger: more than are told.
	mostWarnings = 50
	mostBytes    = store.MostBytes
)

// work is one resolution.
type work struct {
	*Resolver
	ref       Reference
	namespace string // of what the authentication object names
	cluster   bool   // the authentication object is the cluster's
	ofObject  bool   // and what it names is of the object's namespace
	absent    bool   // what it names is not in the cluster-object namespace
	about     string // the authentication object, in front of what is odd about it
	creds     *Credentials
	bytes     int // of all values so far
	wrong     problems
	full      bool            // of bytes
	turn      *computing.Turn // nil for what is done in the turn of another
}

// take has a value from a shelf, and sees to it that the references are resolved
// again when that is read again.
func take[K keyed, V sized](ctx context.Context, w *work, s *shelf[K, V], key K, get read[V]) (V, error) {
	value, again, err := s.take(ctx, w.ref.Namespace, key, w.ref.NotBefore, w.rest, get)
	if err == nil {
		err = w.work(ctx)
	}
	if err == nil && (w.creds.ReadAgain.IsZero() || again.Before(w.creds.ReadAgain)) {
		w.creds.ReadAgain = again
	}
	return value, err
}

// rest gives the turn to others while something is waited for. What is at hand is
// taken within one: a turn for each reference would never come to the last of many
// while others compute.
func (w *work) rest() {
	if w.turn != nil {
		w.turn.Rest()
	}
}

// work is called before each piece of work: many triggers may have very much of it.
func (w *work) work(ctx context.Context) error {
	if w.turn == nil {
		return nil
	}
	return w.turn.Work(ctx)
}

// authentication reads the authentication object and everything that it names.
func (w *work) authentication(ctx context.Context) {
	if w.ref.Authentication == "" {
		return
	}
	o, a, err := w.authenticationObject(ctx)
	if err != nil {
		// The object is named in it.
		w.wrong.add("authenticationRef", err)
		return
	}
	if n := a.Spec.references(); n > mostReferences {
		w.wrong.add("authenticationRef", invalid("%s names %d Secrets, variables and the like, of %d that it may name", o, n, mostReferences))
		return
	}
	name := o.String()
	if w.ofObject {
		name += " (" + secretNamespace + ": " + ofObject + ")"
		if err := a.Spec.foreign(); err != nil {
			w.wrong.add("", words.Errorf(status.Code(err), "%s: %w", name, err))
			return
		}
	}
	outer := w.wrong
	w.wrong, w.about = problems{}, name+": "
	w.blocks(ctx, &a.Spec)
	err = w.wrong.err(name)
	if err != nil && w.absent {
		err = words.Errorf(status.Code(err), "%w (a ClusterTriggerAuthentication names those of namespace %s, and with annotation %s: %s those of the namespace of each object)",
			err, w.ClusterNamespace, secretNamespace, ofObject)
	}
	outer.add("", err)
	w.wrong, w.about = outer, ""
}

// blocks reads every block of an authentication object in the order in which
// they count.
func (w *work) blocks(ctx context.Context, s *spec) {
	w.identity(ctx, s.PodIdentity)
	if s.FilePath != "" {
		// It stands alone: nothing else of the object counts.
		w.wrong.add("filePath", w.filePath(s.FilePath))
		return
	}
	w.env(ctx, s.Env)
	for i, t := range s.ConfigMapTargetRef {
		value, err := w.configMapKey(ctx, w.namespace, t.Name, t.Key)
		w.set(t.Parameter, value, place("configMapTargetRef", i, t.Parameter), err)
	}
	for i, t := range s.SecretTargetRef {
		value, err := w.secretKey(ctx, w.namespace, t.Name, t.Key)
		w.set(t.Parameter, value, place("secretTargetRef", i, t.Parameter), err)
	}
	for _, b := range s.storeBlocks() {
		w.store(ctx, b)
	}
	for i, t := range s.BoundServiceAccountToken {
		value, err := w.token(ctx, w.namespace, t.ServiceAccountName)
		w.set(t.Parameter, value, place("boundServiceAccountToken", i, t.Parameter), err)
	}
	w.oauth2(ctx, s.OAuth2)
	if role := w.creds.PodIdentity.RoleARN; role != "" {
		w.set("awsRoleArn", role, "", nil) // the name that KEDA's scalers know it by
	}
}

// authenticationObject reads the object that the reference means.
func (w *work) authenticationObject(ctx context.Context) (object, *authentication, error) {
	kind, name, _ := strings.Cut(w.ref.Authentication, "/")
	o := object{kind: kind, name: name}
	switch kind {
	case "TriggerAuthentication":
		o.namespace = w.ref.Namespace
	case "ClusterTriggerAuthentication":
		w.cluster, w.namespace = true, w.ClusterNamespace
	default:
		return o, nil, invalid("kind %q is neither TriggerAuthentication nor ClusterTriggerAuthentication", kind)
	}
	if err := checkName(kind, name); err != nil {
		return o, nil, err
	}
	a, err := take(ctx, w, w.authentications, o, func(ctx context.Context) (*authentication, time.Time, error) {
		a := new(authentication)
		return a, time.Time{}, w.api.get(ctx, o, a)
	})
	if err == nil && w.cluster {
		w.creds.FixedBy = o.String()
		err = w.admit(o, a)
	}
	return o, a, err
}

// admit refuses namespaces that may not use a cluster's authentication object,
// and notes whose Secrets it names and where its credentials may be sent.
func (w *work) admit(o object, a *authentication) error {
	namespaces, err := a.Metadata.patterns(allowedNamespaces)
	if err != nil {
		return invalid("%s: %v", o, err)
	}
	if namespaces != nil && !contract.Matches(namespaces, w.ref.Namespace) {
		return words.Errorf(codes.PermissionDenied, "%s may not be used in namespace %s: its annotation %s does not name it",
			o, w.ref.Namespace, allowedNamespaces)
	}
	if w.creds.Hosts, err = a.Metadata.patterns(contract.AllowedHosts); err != nil {
		return invalid("%s: %v", o, err)
	}
	if w.ofObject, err = a.Metadata.ofObject(); err != nil {
		return invalid("%s: %v", o, err)
	}
	if w.ofObject {
		w.namespace = w.ref.Namespace
	}
	return nil
}

// set gives a parameter its value, or notes why it has none. What is set later
// counts. An empty value is as good as none, which is no mistake: a server
// without a password has an empty one.
func (w *work) set(parameter, value, place string, err error) {
	var empty *emptyError
	switch {
	case len(parameter) > mostName:
		w.wrong.add(place, tooLong("the parameter", parameter))
	case errors.As(err, &empty):
		if len(w.creds.Warnings) < mostWarnings {
			w.creds.Warnings = append(w.creds.Warnings, fmt.Sprintf("%s%s: %v, which counts as absent", w.about, place, empty.error))
		}
	case err != nil:
		w.wrong.addFor(parameter, place, err)
	case !w.fits(len(value) - len(w.creds.Parameters[parameter])):
		w.wrong.addFor(parameter, place, invalid("with %s all values together have more than %d bytes", parameter, mostBytes))
	default:
		w.wrong.settle(parameter)
		w.creds.Parameters[parameter] = value
	}
}

// fits counts more bytes of values, if there may be so many.
func (w *work) fits(bytes int) bool {
	if w.bytes+bytes > mostBytes {
		w.full = true
		return false
	}
	w.bytes += bytes
	return true
}

// store asks a secret store.
func (w *work) store(ctx context.Context, b storeBlock) {
	values, err := w.stored(ctx, b)
	if err != nil {
		where := b.name
		if text := status.Convert(err).Message(); strings.HasPrefix(text, b.name+":") || strings.HasPrefix(text, b.name+".") {
			where = "" // stores start with the block or field at fault
		}
		w.wrong.add(where, err)
		return
	}
	for _, parameter := range slices.Sorted(maps.Keys(values.Parameters)) {
		var err error
		if strings.TrimSpace(values.Parameters[parameter]) == "" {
			err = empty("the value of %s is empty", parameter)
		}
		w.set(parameter, values.Parameters[parameter], b.name, err)
	}
}

// storeKey tells results of stores apart. Everything that they may depend on is
// part of it.
type storeKey struct {
	block, text string
	namespace   string // of the Secrets
	trigger     string // namespace of the object
	account     string // of the workload
	ofObject    bool   // it may not be read under the family's identity
}

func (k storeKey) tenant() string { return k.trigger }

func (k storeKey) size() int { return len(k.text) + len(k.namespace) + len(k.trigger) + len(k.account) }

// String is what logs show of it.
func (k storeKey) String() string { return k.block + " of namespace " + k.namespace }

// storeValues are what a store has to say, as a shelf keeps it.
type storeValues struct{ *store.Values }

func (v storeValues) size() (bytes int) {
	for parameter, value := range v.Parameters {
		bytes += len(parameter) + len(value) + store.PerValue
	}
	return bytes
}

func (w *work) stored(ctx context.Context, b storeBlock) (storeValues, error) {
	from := w.stores[b.name]
	if from == nil {
		return storeValues{}, words.Errorf(codes.Unimplemented, "this family cannot read it")
	}
	key := storeKey{block: b.name, text: string(b.text), namespace: w.namespace, trigger: w.ref.Namespace, account: w.ref.ServiceAccount, ofObject: w.ofObject}
	return take(ctx, w, w.values, key, func(ctx context.Context) (storeValues, time.Time, error) {
		// What the login is made of is read anew with it, so that two ages do
		// not add up.
		inner := &work{Resolver: w.Resolver, ref: w.ref, namespace: w.namespace, ofObject: w.ofObject, creds: new(Credentials)}
		inner.ref.NotBefore = time.Now().Add(-retryAfter)
		values, err := from.Read(ctx, json.RawMessage(key.text), scope{inner})
		if err != nil {
			return storeValues{}, time.Time{}, err
		}
		return storeValues{values}, values.ReadAgain, nil
	})
}

// oauth2 hands the block on; the token is fetched by whoever sends it.
func (w *work) oauth2(ctx context.Context, o *oauth2) {
	if o == nil {
		return
	}
	for parameter, value := range o.parameters() {
		w.set(parameter, value, "", nil)
	}
	if o.ClientSecret != nil {
		ref := o.ClientSecret.ValueFrom.SecretKeyRef
		value, err := w.secretKey(ctx, w.namespace, ref.Name, ref.Key)
		w.set("clientSecret", value, "oauth2.clientSecret", err)
	}
}

// inline reads the Secrets that the trigger itself names. Beside a
// ClusterTriggerAuthentication they could replace what it fixes, such as the
// endpoint that its client secret is sent to.
func (w *work) inline(ctx context.Context) {
	if w.cluster && len(w.ref.Inline) > 0 {
		w.wrong.add("secretKeyRef", invalid("cannot be beside a ClusterTriggerAuthentication; name the Secrets in a TriggerAuthentication"))
		return
	}
	for _, parameter := range slices.Sorted(maps.Keys(w.ref.Inline)) {
		ref := w.ref.Inline[parameter]
		value, err := w.secretKey(ctx, w.ref.Namespace, ref.Name, ref.Key)
		w.set(parameter, value, fmt.Sprintf("secretKeyRef (%s)", parameter), err)
	}
}
