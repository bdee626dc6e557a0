package credentials

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
)

// teams are two namespaces with their own of what the cluster's object names, and
// the cluster's own, which nobody is to get.
const teams = `
kind: Secret
metadata: {namespace: red, name: broker}
stringData: {user: ruby, password: red-secret}
---
kind: ConfigMap
metadata: {namespace: red, name: broker}
data: {vhost: red}
---
kind: Secret
metadata: {namespace: blue, name: broker}
stringData: {user: navy, password: blue-secret}
---
kind: ConfigMap
metadata: {namespace: blue, name: broker}
data: {vhost: blue}
---
kind: Secret
metadata: {namespace: keda, name: broker}
stringData: {user: root, password: cluster-secret}
---
kind: ConfigMap
metadata: {namespace: keda, name: broker}
data: {vhost: cluster}
`

const (
	ofBroker = `{configMapTargetRef: [{parameter: vhostName, name: broker, key: vhost}],
		secretTargetRef: [{parameter: username, name: broker, key: user}, {parameter: password, name: broker, key: password}]}`
	ofEachObject = `sluice.dev/secret-namespace: object`
)

// share makes a ClusterTriggerAuthentication with annotations.
func share(t *testing.T, s *apiServer, annotations, spec string) {
	t.Helper()
	s.put(t, "kind: ClusterTriggerAuthentication\nmetadata: {name: shared, annotations: {"+annotations+"}}\nspec: "+spec)
}

func usedBy(namespace string) Reference {
	return Reference{Namespace: namespace, Authentication: "ClusterTriggerAuthentication/shared", ServiceAccount: "worker"}
}

func secretPath(namespace string) string {
	return "/api/v1/namespaces/" + namespace + "/secrets/broker"
}

// TestSecretsOfEachObject: one object for many teams, each with its own Secret.
// What one reads is never handed to another, whoever comes first.
func TestSecretsOfEachObject(t *testing.T) {
	s := startAPI(t)
	s.put(t, teams)
	share(t, s, ofEachObject, ofBroker)
	r := s.resolver(t, nil)
	want := map[string]map[string]string{
		"red":  {"vhostName": "red", "username": "ruby", "password": "red-secret"},
		"blue": {"vhostName": "blue", "username": "navy", "password": "blue-secret"},
	}
	var all sync.WaitGroup
	for range 20 {
		for namespace := range want {
			all.Go(func() {
				creds, err := r.Resolve(t.Context(), usedBy(namespace))
				if err != nil || !maps.Equal(creds.Parameters, want[namespace]) {
					t.Errorf("%s: %+v, %v", namespace, creds, err)
				} else if creds.FixedBy != "ClusterTriggerAuthentication shared" {
					t.Errorf("%s: what the object gives is fixed by %q", namespace, creds.FixedBy)
				}
			})
		}
	}
	all.Wait()
	for namespace := range want {
		if n := s.count("GET " + secretPath(namespace)); n != 1 {
			t.Errorf("the Secret of %s was read %d times", namespace, n)
		}
	}
	if n := s.count("GET " + secretPath("keda")); n != 0 {
		t.Errorf("the cluster's own Secret was read %d times", n)
	}
}

// TestTheAnnotationComesAndGoes: it counts as soon as the object is read again,
// in both directions, and the values of one place never stay for the other.
func TestTheAnnotationComesAndGoes(t *testing.T) {
	s := startAPI(t)
	s.put(t, teams)
	r := s.resolver(t, nil)
	r.authentications.paced, r.secrets.paced, r.configMaps.paced = 0, 0, 0 // as if much later
	for _, step := range []struct{ annotations, want string }{
		{"", "cluster-secret"}, {ofEachObject, "red-secret"}, {"", "cluster-secret"},
	} {
		share(t, s, step.annotations, ofBroker)
		ref := usedBy("red")
		ref.NotBefore = time.Now()
		creds, err := r.Resolve(t.Context(), ref)
		if err != nil || creds.Parameters["password"] != step.want {
			t.Errorf("annotations %q: %+v, %v, want %s", step.annotations, creds, err, step.want)
		}
	}
}

// TestATeamWithoutItsSecret: who has none, or has granted none, hears which and
// where. The others go on, and hear of a change as ever.
func TestATeamWithoutItsSecret(t *testing.T) {
	s := startAPI(t)
	s.put(t, teams)
	share(t, s, ofEachObject, ofBroker)
	s.refuse(secretPath("blue"), http.StatusForbidden)
	r := s.resolver(t, nil)
	const about = "ClusterTriggerAuthentication shared (sluice.dev/secret-namespace: object): "
	tests := map[string]struct {
		code    codes.Code
		message string
	}{
		"green": {codes.NotFound, about + "configMapTargetRef[0] (vhostName): ConfigMap green/broker does not exist; " +
			"secretTargetRef[0] (username): Secret green/broker does not exist; secretTargetRef[1] (password): Secret green/broker does not exist"},
		"blue": {codes.PermissionDenied, about + "secretTargetRef[0] (username): ServiceAccount sluice-system/scaler-test may not get Secret blue/broker; to grant it: " +
			"kubectl create rolebinding scaler-test -n blue --clusterrole=sluice-scaler-credentials --serviceaccount=sluice-system:scaler-test; "},
	}
	for namespace, tt := range tests {
		_, err := r.Resolve(t.Context(), usedBy(namespace))
		if status.Code(err) != tt.code || !strings.HasPrefix(status.Convert(err).Message(), tt.message) {
			t.Errorf("%s: %v, want %v %s", namespace, err, tt.code, tt.message)
		}
	}
	s.put(t, "kind: Secret\nmetadata: {namespace: red, name: broker}\nstringData: {user: ruby, password: rotated}")
	ref := usedBy("red")
	ref.NotBefore = time.Now()
	if creds, err := r.Resolve(t.Context(), ref); err != nil || creds.Parameters["password"] != "rotated" {
		t.Errorf("red: %+v, %v", creds, err)
	}
	s.refuse(secretPath("blue"), 0)
	ref = usedBy("blue")
	ref.NotBefore = time.Now()
	if creds, err := r.Resolve(t.Context(), ref); err != nil || creds.Parameters["password"] != "blue-secret" {
		t.Errorf("blue, granted: %+v, %v", creds, err)
	}
}

// TestAbsentInTheClusterObjectNamespace: by default the Secret is the cluster's,
// and whoever keeps it beside the workload is told how to have it read there.
func TestAbsentInTheClusterObjectNamespace(t *testing.T) {
	s := startAPI(t)
	share(t, s, "", `{secretTargetRef: [{parameter: password, name: broker, key: password}]}`)
	_, err := s.resolver(t, nil).Resolve(t.Context(), usedBy("red"))
	const want = "ClusterTriggerAuthentication shared: secretTargetRef[0] (password): Secret keda/broker does not exist " +
		"(a ClusterTriggerAuthentication names those of namespace keda, and with annotation sluice.dev/secret-namespace: object those of the namespace of each object)"
	if status.Code(err) != codes.NotFound || status.Convert(err).Message() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

// TestNothingForeignIsBesideATeamsSecret: a Secret of a team may fill the address,
// and with it decide where an identity or a secret of somebody else's goes. So
// there is none beside it.
func TestNothingForeignIsBesideATeamsSecret(t *testing.T) {
	const beside = "cannot be beside annotation sluice.dev/secret-namespace: object, since it is not of the object's namespace; give it by a ClusterTriggerAuthentication without"
	tests := map[string]struct{ spec, message string }{
		"an identity of the family":         {`{podIdentity: {provider: azure-workload}, secretTargetRef: [{parameter: host, name: broker, key: user}]}`, "podIdentity: " + beside},
		"the role of the workload":          {`{podIdentity: {provider: aws, identityOwner: workload}}`, "podIdentity: " + beside},
		"a file of the family":              {`{filePath: login.json}`, "filePath: " + beside},
		"Vault by a token for everybody":    {`{hashiCorpVault: {address: "http://vault", authentication: token, credential: {token: t}, secrets: [{parameter: p, path: a, key: k}]}}`, "hashiCorpVault.authentication token: " + beside},
		"Vault as the family":               {`{hashiCorpVault: {address: "http://vault", authentication: kubernetes, role: r, mount: m, secrets: [{parameter: p, path: a, key: k}]}}`, "hashiCorpVault.credential.serviceAccountName: is required beside annotation sluice.dev/secret-namespace: object"},
		"Key Vault as the family":           {`{azureKeyVault: {vaultUri: "https://v", podIdentity: {provider: azure-workload}, secrets: [{parameter: p, name: n}]}}`, "azureKeyVault.podIdentity: " + beside},
		"Secret Manager as the family":      {`{gcpSecretManager: {podIdentity: {provider: gcp}, secrets: [{parameter: p, id: n}]}}`, "gcpSecretManager.podIdentity: " + beside},
		"Secrets Manager as the family":     {`{awsSecretManager: {region: r, podIdentity: {provider: aws}, secrets: [{parameter: p, name: n}]}}`, "awsSecretManager.podIdentity: " + beside},
		"several of them, all told at once": {`{podIdentity: {provider: gcp}, filePath: login.json}`, "podIdentity: " + beside + "; filePath: " + beside},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := startAPI(t)
			s.put(t, teams)
			share(t, s, ofEachObject, tt.spec)
			_, err := s.resolver(t, func(c *Config) { c.FilePathRoot = t.TempDir() }).Resolve(t.Context(), usedBy("red"))
			const about = "ClusterTriggerAuthentication shared (sluice.dev/secret-namespace: object): "
			if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != about+tt.message {
				t.Errorf("error = %v\nwant %s", err, about+tt.message)
			}
			if n := s.count("GET " + secretPath("red")); n != 0 {
				t.Error("a Secret was read all the same")
			}
		})
	}
	t.Run("identities that are none", func(t *testing.T) {
		s := startAPI(t)
		s.put(t, teams)
		share(t, s, ofEachObject, `{podIdentity: {provider: none}, secretTargetRef: [{parameter: password, name: broker, key: password}]}`)
		if creds, err := s.resolver(t, nil).Resolve(t.Context(), usedBy("red")); err != nil || creds.Parameters["password"] != "red-secret" {
			t.Errorf("%+v, %v", creds, err)
		}
	})
}

// TestNothingOfATeamReplacesTheObject: its Secrets fill what the object names, and
// nothing else: the token endpoint of the object's oauth2 counts more than a
// Secret, the trigger's own Secrets are refused, and namespaces and hosts are
// bounded as ever.
func TestNothingOfATeamReplacesTheObject(t *testing.T) {
	s := startAPI(t)
	s.put(t, teams)
	share(t, s, ofEachObject+", sluice.dev/allowed-namespaces: red, sluice.dev/allowed-hosts: broker", `{
		secretTargetRef: [{parameter: oauthTokenURI, name: broker, key: user}],
		oauth2: {type: clientCredentials, clientId: me, tokenUrl: "https://id/token", clientSecret: {valueFrom: {secretKeyRef: {name: broker, key: password}}}}}`)
	r := s.resolver(t, nil)
	creds, err := r.Resolve(t.Context(), usedBy("red"))
	if err != nil || creds.Parameters["oauthTokenURI"] != "https://id/token" || creds.Parameters["clientSecret"] != "red-secret" ||
		len(creds.Hosts) != 1 || creds.FixedBy == "" {
		t.Errorf("%+v, %v", creds, err)
	}
	ref := usedBy("red")
	ref.Inline = map[string]scalerv1.KeyRef{"oauthTokenURI": {Name: "broker", Key: "user"}}
	if _, err := r.Resolve(t.Context(), ref); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "cannot be beside a ClusterTriggerAuthentication") {
		t.Errorf("secretKeyRef beside it: %v", err)
	}
	if _, err := r.Resolve(t.Context(), usedBy("blue")); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "may not be used in namespace blue") {
		t.Errorf("a namespace that is not allowed: %v", err)
	}
}

// TestUnknownSecretNamespaces are nobody's: a slip of the pen reads no Secret of
// another place than was meant.
func TestUnknownSecretNamespaces(t *testing.T) {
	s := startAPI(t)
	s.put(t, teams)
	for _, value := range []string{`""`, "Object", "red", "keda"} {
		share(t, s, "sluice.dev/secret-namespace: "+value, ofBroker)
		_, err := s.resolver(t, nil).Resolve(t.Context(), usedBy("red"))
		want := "authenticationRef: ClusterTriggerAuthentication shared: annotation sluice.dev/secret-namespace: \"" + strings.Trim(value, `"`) + "\" is not object, the only value that it may have"
		if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != want {
			t.Errorf("%s: %v, want %s", value, err, want)
		}
	}
}

// TestRestrictedSecretsStayRestricted: the flag of KEDA counts more than the
// annotation.
func TestRestrictedSecretsStayRestricted(t *testing.T) {
	s := startAPI(t)
	s.put(t, teams)
	share(t, s, ofEachObject, ofBroker)
	_, err := s.resolver(t, func(c *Config) { c.RestrictSecrets = true }).Resolve(t.Context(), usedBy("red"))
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "Secret red/broker is not read: KEDA_RESTRICT_SECRET_ACCESS") {
		t.Errorf("error = %v", err)
	}
}

// TestTokensOfEachObject: a bound token is of a ServiceAccount of the team, and of
// the cluster-object namespace without the annotation.
func TestTokensOfEachObject(t *testing.T) {
	s := startAPI(t)
	r := s.resolver(t, nil)
	const spec = `{boundServiceAccountToken: [{parameter: token, serviceAccountName: broker}]}`
	for annotations, namespace := range map[string]string{ofEachObject: "red", "": "keda"} {
		share(t, s, annotations, spec)
		ref := usedBy("red")
		ref.NotBefore = time.Now()
		if _, err := r.Resolve(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if n := s.count("POST /api/v1/namespaces/" + namespace + "/serviceaccounts/broker/token"); n != 1 {
			t.Errorf("annotations %q: %d tokens of namespace %s", annotations, n, namespace)
		}
	}
}

// loginStore tells what a store may log in with.
type loginStore struct{}

func (loginStore) Block() string { return "azureKeyVault" }

func (loginStore) Read(ctx context.Context, _ json.RawMessage, scope store.Scope) (*store.Values, error) {
	password, err := scope.Secret(ctx, "broker", "password")
	if err != nil {
		return nil, err
	}
	values := map[string]string{"password": password, "own": "lent"}
	if err := scope.OwnIdentity(); err != nil {
		values["own"] = status.Convert(err).Message()
	}
	return &store.Values{Parameters: values}, nil
}

// TestStoresOfEachObject: what a store logs in with is of the object's namespace
// and never the family's identity; what it says is kept for that namespace, and
// apart from what the same block says without the annotation.
func TestStoresOfEachObject(t *testing.T) {
	s := startAPI(t)
	s.put(t, teams)
	r := s.resolver(t, func(c *Config) { c.Stores = []store.Store{loginStore{}} })
	const spec = `{azureKeyVault: {vaultUri: "https://v"}}`
	s.put(t, "kind: TriggerAuthentication\nmetadata: {namespace: red, name: own}\nspec: "+spec)
	share(t, s, ofEachObject, spec)
	own := Reference{Namespace: "red", Authentication: "TriggerAuthentication/own", ServiceAccount: "worker"}
	for range 2 { // the second time from what is kept
		for _, tt := range []struct {
			ref            Reference
			password, lent string
		}{
			{own, "red-secret", "lent"},
			{usedBy("red"), "red-secret", "cannot be beside annotation"},
			{usedBy("blue"), "blue-secret", "cannot be beside annotation"},
		} {
			creds, err := r.Resolve(t.Context(), tt.ref)
			if err != nil || creds.Parameters["password"] != tt.password || !strings.HasPrefix(creds.Parameters["own"], tt.lent) {
				t.Errorf("%s of %s: %+v, %v", tt.ref.Authentication, tt.ref.Namespace, creds, err)
			}
		}
	}
}
