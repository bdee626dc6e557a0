package credentials

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/store"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/computing"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

const shop = `
kind: Secret
metadata: {namespace: shop, name: login}
stringData: {user: ann, password: hunter2, empty: "", blank: "  "}
---
kind: ConfigMap
metadata: {namespace: shop, name: settings}
data: {host: broker, mode: fast}
binaryData: {logo: AAEC}
---
kind: Secret
metadata: {namespace: keda, name: login}
stringData: {user: cluster, password: swordfish}
---
kind: ServiceAccount
metadata: {namespace: shop, name: worker, annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::1:role/worker"}}
---
kind: ServiceAccount
metadata: {namespace: shop, name: plain}
`

func literal(s string) scalerv1.EnvVar { return scalerv1.EnvVar{Value: &s} }

func secretRef(name, key string) scalerv1.EnvVar {
	return scalerv1.EnvVar{SecretKeyRef: &scalerv1.KeyRef{Name: name, Key: key}}
}

// resolve reads a TriggerAuthentication with this spec, or the cluster's kind
// if cluster is true, in namespace shop.
func resolve(t *testing.T, r *Resolver, s *apiServer, spec string, cluster bool, edit func(*Reference)) (*Credentials, error) {
	t.Helper()
	ref := Reference{Namespace: "shop", Authentication: "TriggerAuthentication/auth", ServiceAccount: "worker"}
	kind, namespace := "TriggerAuthentication", "shop"
	if cluster {
		kind, namespace, ref.Authentication = "ClusterTriggerAuthentication", "", "ClusterTriggerAuthentication/auth"
	}
	s.put(t, "kind: "+kind+"\nmetadata: {namespace: \""+namespace+"\", name: auth}\nspec: "+spec)
	if edit != nil {
		edit(&ref)
	}
	return r.Resolve(t.Context(), ref)
}

func TestResolve(t *testing.T) {
	containers := []scalerv1.Container{
		{Name: "app", Env: map[string]scalerv1.EnvVar{"HOST": literal("broker"), "URL": literal("u:$(PW)@$(HOST)"), "PW": secretRef("login", "password")},
			EnvFrom: []scalerv1.EnvFrom{{Prefix: "DB_", Secret: "login"}, {ConfigMap: "gone", Optional: true}}},
		{Name: "sidecar", Env: map[string]scalerv1.EnvVar{"HOST": literal("elsewhere")}},
	}
	withContainers := func(ref *Reference) { ref.Containers = containers }
	type parameters = map[string]string
	tests := map[string]struct {
		spec       string
		cluster    bool
		edit       func(*Reference)
		parameters parameters
		identity   PodIdentity
	}{
		"secretTargetRef": {
			spec:       `{secretTargetRef: [{parameter: username, name: login, key: user}, {parameter: password, name: login, key: password}]}`,
			parameters: parameters{"username": "ann", "password": "hunter2"},
		},
		"the cluster's kind reads the cluster-object namespace": {
			spec: `{secretTargetRef: [{parameter: username, name: login, key: user}]}`, cluster: true,
			parameters: parameters{"username": "cluster"},
		},
		"configMapTargetRef, which a Secret outweighs": {
			spec:       `{configMapTargetRef: [{parameter: host, name: settings, key: host}, {parameter: username, name: settings, key: mode}], secretTargetRef: [{parameter: username, name: login, key: user}]}`,
			parameters: parameters{"host": "broker", "username": "ann"},
		},
		"env of the first container, expanded": {
			spec: `{env: [{parameter: host, name: URL}]}`, edit: withContainers,
			parameters: parameters{"host": "u:hunter2@broker"},
		},
		"env of another container": {
			spec: `{env: [{parameter: host, name: HOST, containerName: sidecar}]}`, edit: withContainers,
			parameters: parameters{"host": "elsewhere"},
		},
		"env out of envFrom, with its prefix": {
			spec: `{env: [{parameter: username, name: DB_user}]}`, edit: withContainers,
			parameters: parameters{"username": "ann"},
		},
		"what is outweighed may be missing": {
			spec: `{env: [{parameter: username, name: NOTHING}], secretTargetRef: [{parameter: username, name: login, key: user}]}`, edit: withContainers,
			parameters: parameters{"username": "ann"},
		},
		"a bound token": {
			spec:       `{boundServiceAccountToken: [{parameter: bearerToken, serviceAccountName: worker}]}`,
			parameters: parameters{"bearerToken": "token-1"},
		},
		"oauth2": {
			spec: `{oauth2: {type: clientCredentials, clientId: me, tokenUrl: "https://id/token", scopes: [a, b], tokenUrlParams: {x: "1 2"},
				clientSecret: {valueFrom: {secretKeyRef: {name: login, key: password}}}}}`,
			parameters: parameters{"oauthTokenURI": "https://id/token", "clientID": "me", "clientSecret": "hunter2", "scopes": "a,b", "endpointParams": "x=1+2"},
		},
		"the trigger's own Secrets outweigh the object's": {
			spec: `{secretTargetRef: [{parameter: username, name: login, key: password}]}`,
			edit: func(ref *Reference) {
				ref.Inline = map[string]scalerv1.KeyRef{"username": {Name: "login", Key: "user"}}
			},
			parameters: parameters{"username": "ann"},
		},
		"an identity that is none": {spec: `{podIdentity: {provider: none}}`, parameters: parameters{}},
		"azure": {
			spec:       `{podIdentity: {provider: azure-workload, identityId: id, identityTenantId: tenant, identityAuthorityHost: "https://login"}}`,
			parameters: parameters{}, identity: PodIdentity{Provider: "azure-workload", IdentityID: "id", TenantID: "tenant", AuthorityHost: "https://login"},
		},
		"aws with a role": {
			spec:       `{podIdentity: {provider: aws, roleArn: arn, externalID: ext}}`,
			parameters: parameters{"awsRoleArn": "arn"}, identity: PodIdentity{Provider: "aws", RoleARN: "arn", ExternalID: "ext"},
		},
		"aws with the workload's role": {
			spec:       `{podIdentity: {provider: aws, identityOwner: workload}}`,
			parameters: parameters{"awsRoleArn": "arn:aws:iam::1:role/worker"}, identity: PodIdentity{Provider: "aws", RoleARN: "arn:aws:iam::1:role/worker"},
		},
		"aws-eks without a role is the family's own": {
			spec:       `{podIdentity: {provider: aws-eks}}`,
			edit:       func(ref *Reference) { ref.ServiceAccount = "plain" },
			parameters: parameters{}, identity: PodIdentity{Provider: "aws-eks"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := startAPI(t)
			s.put(t, shop)
			creds, err := resolve(t, s.resolver(t, nil), s, tt.spec, tt.cluster, tt.edit)
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(creds.Parameters, tt.parameters) {
				t.Errorf("parameters = %v, want %v", creds.Parameters, tt.parameters)
			}
			if creds.PodIdentity != tt.identity {
				t.Errorf("identity = %+v, want %+v", creds.PodIdentity, tt.identity)
			}
			if creds.ReadAgain.IsZero() {
				t.Error("it is never read again")
			}
		})
	}
}

func TestWhatIsWrongWithAnAuthentication(t *testing.T) {
	about := "TriggerAuthentication shop/auth: "
	tests := map[string]struct {
		spec    string
		cluster bool
		edit    func(*Reference)
		code    codes.Code
		message string
	}{
		"no such object": {
			edit: func(ref *Reference) { ref.Authentication = "TriggerAuthentication/other" },
			code: codes.NotFound, message: "authenticationRef: TriggerAuthentication shop/other does not exist",
		},
		"a kind that is none": {
			edit: func(ref *Reference) { ref.Authentication = "Secret/login" },
			code: codes.InvalidArgument, message: `authenticationRef: kind "Secret" is neither TriggerAuthentication nor ClusterTriggerAuthentication`,
		},
		"a name with a path in it": {
			edit: func(ref *Reference) { ref.Authentication = "TriggerAuthentication/../../../secrets/x" },
			code: codes.InvalidArgument, message: `authenticationRef: "../../../secrets/x" is not the name of a TriggerAuthentication: those of other namespaces cannot be used`,
		},
		"more references than it may have": {
			spec: `{env: [` + strings.Repeat(`{parameter: p, name: V},`, mostReferences) + `{parameter: p, name: V}]}`,
			code: codes.InvalidArgument, message: "authenticationRef: TriggerAuthentication shop/auth names 251 Secrets, variables and the like, of 250 that it may name",
		},
		"no such Secret": {
			spec: `{secretTargetRef: [{parameter: password, name: gone, key: x}]}`,
			code: codes.NotFound, message: about + "secretTargetRef[0] (password): Secret shop/gone does not exist",
		},
		"a Secret of another namespace": {
			spec: `{secretTargetRef: [{parameter: password, name: keda/login, key: password}]}`,
			code: codes.InvalidArgument, message: about + `secretTargetRef[0] (password): "keda/login" is not the name of a Secret: those of other namespaces cannot be used`,
		},
		"every missing key at once": {
			spec: `{secretTargetRef: [{parameter: username, name: login, key: usr}, {parameter: password, name: login, key: pw}], configMapTargetRef: [{parameter: host, name: settings, key: hst}]}`,
			code: codes.NotFound, message: about + "configMapTargetRef[0] (host): ConfigMap shop/settings has no key hst; " +
				"secretTargetRef[0] (username): Secret shop/login has no key usr; secretTargetRef[1] (password): Secret shop/login has no key pw",
		},
		"binary data": {
			spec: `{configMapTargetRef: [{parameter: host, name: settings, key: logo}]}`,
			code: codes.InvalidArgument, message: about + "configMapTargetRef[0] (host): ConfigMap shop/settings has key logo in binaryData, which is not text",
		},
		"a target without containers": {
			spec: `{env: [{parameter: host, name: HOST}]}`,
			code: codes.FailedPrecondition, message: about + "env[0] (host): the scale target has no containers whose environment could be used",
		},
		"a container that is not there": {
			spec: `{env: [{parameter: host, name: HOST, containerName: proxy}]}`,
			edit: func(ref *Reference) { ref.Containers = []scalerv1.Container{{Name: "app"}} },
			code: codes.NotFound, message: about + "env[0] (host): the scale target has no container proxy",
		},
		"a variable that is not there": {
			spec: `{env: [{parameter: host, name: HOST}]}`,
			edit: func(ref *Reference) { ref.Containers = []scalerv1.Container{{Name: "app"}} },
			code: codes.NotFound, message: about + "env[0] (host): container app has no variable HOST",
		},
		"a variable that may have been too large": {
			spec: `{env: [{parameter: host, name: HOST}]}`,
			edit: func(ref *Reference) { ref.Containers = []scalerv1.Container{{Name: "app", Incomplete: true}} },
			code: codes.FailedPrecondition, message: about + "env[0] (host): variable HOST of container app is not known: the environment of the scale target is too large to be told in full; name a Secret or ConfigMap in the authentication instead",
		},
		"a container that may have been too large": {
			spec: `{env: [{parameter: host, name: HOST, containerName: proxy}]}`,
			edit: func(ref *Reference) { ref.Containers = []scalerv1.Container{{Name: "app", Incomplete: true}} },
			code: codes.FailedPrecondition, message: about + "env[0] (host): container proxy is not known: the environment of the scale target is too large to be told in full; name a Secret or ConfigMap in the authentication instead",
		},
		"variables in a circle": {
			spec: `{env: [{parameter: host, name: A}]}`,
			edit: func(ref *Reference) {
				ref.Containers = []scalerv1.Container{{Name: "app", Env: map[string]scalerv1.EnvVar{"A": literal("$(B)"), "B": literal("$(A)")}}}
			},
			code: codes.InvalidArgument, message: about + "env[0] (host): variable A refers to itself: A -> B -> A",
		},
		"a file for a namespaced object": {
			spec: `{filePath: login.json}`,
			code: codes.InvalidArgument, message: about + "filePath: is for ClusterTriggerAuthentications alone",
		},
		"a file and no directory for it": {
			spec: `{filePath: login.json}`, cluster: true,
			code: codes.FailedPrecondition, message: "ClusterTriggerAuthentication auth: filePath: the family is not started with --filepath-auth-root-path",
		},
		"a store that the family does not know": {
			spec: `{hashiCorpVault: {address: "http://vault"}}`,
			code: codes.Unimplemented, message: about + "hashiCorpVault: this family cannot read it",
		},
		"an account that is not there": {
			spec: `{boundServiceAccountToken: [{parameter: bearerToken, serviceAccountName: Worker}]}`,
			code: codes.InvalidArgument, message: about + `boundServiceAccountToken[0] (bearerToken): "Worker" is not the name of a ServiceAccount`,
		},
		"an identity that is empty": {
			spec: `{podIdentity: {provider: azure-workload, identityId: "", identityAuthorityHost: "https://login"}}`,
			code: codes.InvalidArgument, message: about + "podIdentity: identityId: is empty; leave it out to use the installation's own; identityAuthorityHost: needs identityTenantId",
		},
		"two roles": {
			spec: `{podIdentity: {provider: aws, roleArn: arn, identityOwner: workload}}`,
			code: codes.InvalidArgument, message: about + "podIdentity: roleArn: cannot be given with identityOwner workload",
		},
		"an external id without a role": {
			spec: `{podIdentity: {provider: aws, externalID: x}}`,
			code: codes.InvalidArgument, message: about + "podIdentity: externalID: needs roleArn",
		},
		"a workload without a role": {
			spec: `{podIdentity: {provider: aws, identityOwner: workload}}`,
			edit: func(ref *Reference) { ref.ServiceAccount = "plain" },
			code: codes.FailedPrecondition, message: about + "podIdentity: identityOwner: ServiceAccount shop/plain has no annotation eks.amazonaws.com/role-arn",
		},
		"a target without a ServiceAccount": {
			spec: `{podIdentity: {provider: aws, identityOwner: workload}}`,
			edit: func(ref *Reference) { ref.ServiceAccount = "" },
			code: codes.FailedPrecondition, message: about + "podIdentity: identityOwner: the scale target has no Pod template, so no ServiceAccount whose role could be used",
		},
		"a provider that is none": {
			spec: `{podIdentity: {provider: azure}}`,
			code: codes.InvalidArgument, message: about + `podIdentity: provider: "azure" is not one of azure-workload, gcp, aws, aws-eks, none`,
		},
		"an inline Secret that is not there": {
			spec: `{}`,
			edit: func(ref *Reference) { ref.Inline = map[string]scalerv1.KeyRef{"password": {Name: "gone", Key: "x"}} },
			code: codes.NotFound, message: "secretKeyRef (password): Secret shop/gone does not exist",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := startAPI(t)
			s.put(t, shop)
			if tt.spec == "" {
				tt.spec = "{}"
			}
			_, err := resolve(t, s.resolver(t, nil), s, tt.spec, tt.cluster, tt.edit)
			if status.Code(err) != tt.code || status.Convert(err).Message() != tt.message {
				t.Errorf("error = %v\nwant %v %q", err, tt.code, tt.message)
			}
		})
	}
}

// TestWhatIsWrongIsToldInBounds has an authentication object quote as much as it
// can: no name is repeated that nothing can have, and of many problems and warnings
// the first are told.
func TestWhatIsWrongIsToldInBounds(t *testing.T) {
	long := strings.Repeat("k", 9_000)
	many := func(item string) string {
		var items []string
		for i := range mostReferences {
			items = append(items, fmt.Sprintf(item, i))
		}
		return `{secretTargetRef: [` + strings.Join(items, ",") + `]}`
	}
	for name, tt := range map[string]struct{ spec, message string }{
		"a key":        {`{secretTargetRef: [{parameter: p, name: login, key: ` + long + `}]}`, "secretTargetRef[0] (p): the key has 9000 bytes, and no name has more than 253"},
		"a parameter":  {`{secretTargetRef: [{parameter: ` + long + `, name: login, key: user}]}`, "secretTargetRef[0] (" + long[:60] + "...): the parameter has 9000 bytes, and no name has more than 253"},
		"a name":       {`{secretTargetRef: [{parameter: p, name: ` + long + `, key: user}]}`, "secretTargetRef[0] (p): the name of the Secret has 9000 bytes, and no name has more than 253"},
		"an account":   {`{boundServiceAccountToken: [{parameter: p, serviceAccountName: ` + long + `}]}`, "boundServiceAccountToken[0] (p): the name of the ServiceAccount has 9000 bytes, and no name has more than 253"},
		"a variable":   {`{env: [{parameter: p, name: ` + long + `}]}`, "the scale target has no containers"},
		"a provider":   {`{podIdentity: {provider: ` + long + `}}`, "podIdentity: provider: "},
		"many missing": {many(`{parameter: p%[1]d, name: login, key: "` + long[:240] + `%[1]d"}`), "secretTargetRef[0] (p0): Secret shop/login has no key k"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startAPI(t)
			s.put(t, shop)
			_, err := resolve(t, s.resolver(t, nil), s, tt.spec, false, nil)
			said := status.Convert(err).Message()
			if !strings.Contains(said, tt.message) {
				t.Errorf("error = %.2000s\nwant %s", said, tt.message)
			}
			if most := (mostProblems + 2) * (mostText + 100); len(said) > most {
				t.Errorf("%d bytes are told, want %d at most", len(said), most)
			}
		})
	}
	t.Run("many empty", func(t *testing.T) {
		s := startAPI(t)
		s.put(t, shop)
		s.put(t, `{kind: Secret, metadata: {name: hollow, namespace: shop}, data: {void: ""}}`)
		creds, err := resolve(t, s.resolver(t, nil), s, many(`{parameter: "`+long[:240]+`%d", name: hollow, key: void}`), false, nil)
		if err != nil || len(creds.Warnings) != mostWarnings || len(strings.Join(creds.Warnings, "")) > mostWarnings*mostText {
			t.Errorf("%d warnings, %v", len(creds.Warnings), err)
		}
	})
}

// TestObjectsOfManyValuesAreNotDecoded: an empty value of a Secret is a few bytes of
// text and many of memory.
func TestObjectsOfManyValuesAreNotDecoded(t *testing.T) {
	var keys strings.Builder
	for i := range mostValues {
		fmt.Fprintf(&keys, `k%d: "",`, i)
	}
	for _, kind := range []string{"Secret", "ConfigMap"} {
		s := startAPI(t)
		s.put(t, `{kind: `+kind+`, metadata: {name: many, namespace: shop}, data: {`+keys.String()+`}}`)
		field := strings.ToLower(kind[:1]) + kind[1:] + "TargetRef"
		_, err := resolve(t, s.resolver(t, nil), s, `{`+field+`: [{parameter: p, name: many, key: k1}]}`, false, nil)
		want := "TriggerAuthentication shop/auth: " + field + "[0] (p): " + kind + " shop/many has more than the 25000 values that are read of an object"
		if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != want {
			t.Errorf("error = %.500v\nwant %s", err, want)
		}
	}
}

// TestAttemptsTakeTurns has a namespace compute without end: another one's attempt is
// not kept from its credentials, and one of the same namespace has to wait, even for
// what was read before.
func TestAttemptsTakeTurns(t *testing.T) {
	s := startAPI(t)
	s.put(t, shop)
	s.put(t, "kind: TriggerAuthentication\nmetadata: {name: auth, namespace: shop}\nspec: {secretTargetRef: [{parameter: u, name: login, key: user}]}")
	r := s.resolver(t, nil)
	_, ofOne := computing.Places()
	greedy := make([]computing.Turn, ofOne)
	for i := range greedy {
		if err := greedy[i].Work(budget.Of(t.Context(), "greedy")); err != nil {
			t.Fatal(err)
		}
		defer greedy[i].Rest()
	}
	ref := Reference{Namespace: "shop", Authentication: "TriggerAuthentication/auth"}
	if creds, err := r.Resolve(t.Context(), ref); err != nil || creds.Parameters["u"] != "ann" {
		t.Errorf("credentials = %v, %v", creds, err)
	}
	for i := range greedy {
		greedy[i].Rest()
		if err := greedy[i].Work(budget.Of(t.Context(), "shop")); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if creds, err := r.Resolve(ctx, ref); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("out of turn: %v, %v", creds, err)
	}
}

func TestNotGranted(t *testing.T) {
	const spec = `{secretTargetRef: [{parameter: password, name: login, key: password}], boundServiceAccountToken: [{parameter: t, serviceAccountName: worker}]}`
	s := startAPI(t)
	s.put(t, shop)
	s.refuse("/api/v1/namespaces/shop/secrets/login", http.StatusForbidden)
	s.refuse("/api/v1/namespaces/shop/serviceaccounts/worker/token", http.StatusForbidden)
	_, err := resolve(t, s.resolver(t, nil), s, spec, false, nil)
	want := "TriggerAuthentication shop/auth: secretTargetRef[0] (password): ServiceAccount sluice-system/scaler-test may not get Secret shop/login; to grant it: " +
		"kubectl create rolebinding scaler-test -n shop --clusterrole=sluice-scaler-credentials --serviceaccount=sluice-system:scaler-test; " +
		"boundServiceAccountToken[0] (t): ServiceAccount sluice-system/scaler-test may not create token of ServiceAccount shop/worker; to grant it: " +
		"kubectl create role sluice-token-worker -n shop --verb=create --resource=serviceaccounts/token --resource-name=worker && " +
		"kubectl create rolebinding sluice-token-worker -n shop --role=sluice-token-worker --serviceaccount=sluice-system:scaler-test"
	if status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != want {
		t.Errorf("error = %v\nwant %q", err, want)
	}
}

func TestAClusterAuthenticationNamesItsUsers(t *testing.T) {
	s := startAPI(t)
	s.put(t, shop)
	put := func(annotations string) {
		s.put(t, "kind: ClusterTriggerAuthentication\nmetadata: {name: shared, annotations: {"+annotations+"}}\nspec: {secretTargetRef: [{parameter: u, name: login, key: user}]}")
	}
	tests := map[string]struct {
		annotations string
		namespace   string
		message     string
		hosts       []string
	}{
		"anybody without annotations":       {namespace: "anywhere"},
		"a namespace that is named":         {annotations: `sluice.dev/allowed-namespaces: "shop, team-*"`, namespace: "team-a"},
		"a namespace that is not":           {annotations: `sluice.dev/allowed-namespaces: "shop, team-*"`, namespace: "steam-a", message: "authenticationRef: ClusterTriggerAuthentication shared may not be used in namespace steam-a: its annotation sluice.dev/allowed-namespaces does not name it"},
		"nobody with an empty list":         {annotations: `sluice.dev/allowed-namespaces: ""`, namespace: "shop", message: "authenticationRef: ClusterTriggerAuthentication shared may not be used in namespace shop: its annotation sluice.dev/allowed-namespaces does not name it"},
		"hosts go along":                    {annotations: `sluice.dev/allowed-hosts: "*.kafka.svc,broker"`, namespace: "shop", hosts: []string{"*.kafka.svc", "broker"}},
		"an empty list of hosts goes along": {annotations: `sluice.dev/allowed-hosts: ""`, namespace: "shop", hosts: []string{}},
		"a pattern that is none":            {annotations: `sluice.dev/allowed-hosts: "[a"`, namespace: "shop", message: `authenticationRef: ClusterTriggerAuthentication shared: annotation sluice.dev/allowed-hosts: "[a" is not a pattern`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			put(tt.annotations)
			creds, err := s.resolver(t, nil).Resolve(t.Context(), Reference{Namespace: tt.namespace, Authentication: "ClusterTriggerAuthentication/shared"})
			if status.Convert(err).Message() != tt.message {
				t.Fatalf("error = %v, want %q", err, tt.message)
			}
			if err == nil && !reflect.DeepEqual(creds.Hosts, tt.hosts) {
				t.Errorf("hosts = %#v, want %#v", creds.Hosts, tt.hosts)
			}
		})
	}
}

// TestNothingIsBesideAClusterAuthentication: a Secret of the trigger could
// replace the token endpoint, which is sent the client secret.
func TestNothingIsBesideAClusterAuthentication(t *testing.T) {
	s := startAPI(t)
	s.put(t, shop)
	const spec = `{oauth2: {type: clientCredentials, clientId: me, tokenUrl: "https://id/token"}}`
	inline := func(ref *Reference) {
		ref.Inline = map[string]scalerv1.KeyRef{"oauthTokenURI": {Name: "login", Key: "user"}}
	}
	_, err := resolve(t, s.resolver(t, nil), s, spec, true, inline)
	const want = "secretKeyRef: cannot be beside a ClusterTriggerAuthentication; name the Secrets in a TriggerAuthentication"
	if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != want {
		t.Errorf("beside the cluster's: %v", err)
	}
	creds, err := resolve(t, s.resolver(t, nil), s, spec, true, nil)
	if err != nil || creds.FixedBy != "ClusterTriggerAuthentication auth" {
		t.Errorf("the cluster's alone: %+v, %v", creds, err)
	}
	creds, err = resolve(t, s.resolver(t, nil), s, spec, false, inline)
	if err != nil || creds.Parameters["oauthTokenURI"] != "ann" || creds.FixedBy != "" {
		t.Errorf("beside the namespace's own: %+v, %v", creds, err)
	}
}

// TestIdentityNamespaces: the namespace is the object's, whoever wrote the
// authentication.
func TestIdentityNamespaces(t *testing.T) {
	s := startAPI(t)
	lending.SetNamespaces([]string{"ops"})
	t.Cleanup(func() { lending.SetNamespaces(nil) })
	for _, provider := range []string{"aws", "aws-eks", "azure-workload", "gcp"} {
		for _, cluster := range []bool{false, true} {
			_, err := resolve(t, s.resolver(t, nil), s, "{podIdentity: {provider: "+provider+"}}", cluster, nil)
			want := "podIdentity: namespace shop may not use this family's own identity: its flag --identity-namespaces does not name it"
			if status.Code(err) != codes.PermissionDenied || !strings.HasSuffix(status.Convert(err).Message(), want) {
				t.Errorf("%s: %v", provider, err)
			}
		}
	}
	if _, err := resolve(t, s.resolver(t, nil), s, "{podIdentity: {provider: none}}", false, nil); err != nil {
		t.Error(err)
	}
	if _, err := resolve(t, s.resolver(t, nil), s, "{podIdentity: {provider: gcp}}", true, func(ref *Reference) { ref.Namespace = "ops" }); err != nil {
		t.Error(err)
	}
}

func TestEnvironmentOfTheTrigger(t *testing.T) {
	s := startAPI(t)
	s.put(t, shop)
	env := map[string]scalerv1.EnvVar{
		"URL": literal("amqp://$(USER):$(PW)@broker"), "USER": secretRef("login", "user"), "PW": secretRef("login", "password"),
		"GONE":     secretRef("login", "gone"),
		"OPTIONAL": {SecretKeyRef: &scalerv1.KeyRef{Name: "gone", Key: "x", Optional: true}},
		"FROM":     {EnvFrom: []scalerv1.EnvVar{secretRef("login", "mode"), {ConfigMapKeyRef: &scalerv1.KeyRef{Name: "settings", Key: "mode"}}}},
		"NEEDED":   {EnvFrom: []scalerv1.EnvVar{secretRef("gone", "x")}},
	}
	tests := map[string]struct {
		names   []string
		want    map[string]string
		message string
	}{
		"values are put together":            {names: []string{"URL"}, want: map[string]string{"URL": "amqp://ann:hunter2@broker"}},
		"what is optional is left out":       {names: []string{"OPTIONAL"}, want: map[string]string{}},
		"the first source with the key":      {names: []string{"FROM"}, want: map[string]string{"FROM": "fast"}},
		"a name that nobody defines":         {names: []string{"NOBODY"}, want: map[string]string{}},
		"a key that must be there":           {names: []string{"GONE"}, message: "variable GONE: Secret shop/login has no key gone"},
		"an object that must be there":       {names: []string{"NEEDED"}, message: "variable NEEDED: Secret shop/gone does not exist"},
		"what is not named is not looked at": {names: []string{"USER"}, want: map[string]string{"USER": "ann"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			creds, err := s.resolver(t, nil).Resolve(t.Context(), Reference{Namespace: "shop", Variables: tt.names, Env: env})
			if status.Convert(err).Message() != tt.message {
				t.Fatalf("error = %v, want %q", err, tt.message)
			}
			if err == nil && !maps.Equal(creds.Env, tt.want) {
				t.Errorf("env = %v, want %v", creds.Env, tt.want)
			}
		})
	}
}

// TestValuesOfATriggerAreBounded: together they have no more than a Secret may,
// wherever they are from, and what is too much is named.
func TestValuesOfATriggerAreBounded(t *testing.T) {
	half := strings.Repeat("x", mostBytes/2)
	names := func(spec string) func(*testing.T, *apiServer) (*Credentials, error) {
		return func(t *testing.T, s *apiServer) (*Credentials, error) {
			t.Helper()
			return resolve(t, s.resolver(t, func(c *Config) { c.Stores = []store.Store{giver{"a": half, "b": half, "c": half}} }), s, spec, false, nil)
		}
	}
	for name, tt := range map[string]struct {
		resolve func(*testing.T, *apiServer) (*Credentials, error)
		want    string // how the error goes on, "" for none
	}{
		"two of a Secret": {names(`{secretTargetRef: [{parameter: a, name: large, key: x}, {parameter: b, name: large, key: x}]}`), ""},
		"one of them twice": {names(`{configMapTargetRef: [{parameter: a, name: settings, key: x}], secretTargetRef: [
			{parameter: a, name: large, key: x}, {parameter: b, name: large, key: x}]}`), ""},
		"three of a Secret": {names(`{secretTargetRef: [{parameter: a, name: large, key: x}, {parameter: b, name: large, key: x}, {parameter: c, name: large, key: x}]}`),
			"TriggerAuthentication shop/auth: secretTargetRef[2] (c): with c all"},
		"a ConfigMap beside Secrets": {names(`{configMapTargetRef: [{parameter: a, name: settings, key: x}], secretTargetRef: [
			{parameter: b, name: large, key: x}, {parameter: c, name: large, key: x}]}`),
			"TriggerAuthentication shop/auth: secretTargetRef[1] (c): with c all"},
		"a store": {names(`{hashiCorpVault: {}}`), "TriggerAuthentication shop/auth: hashiCorpVault: with c all"},
		"variables": {func(t *testing.T, s *apiServer) (*Credentials, error) {
			t.Helper()
			return s.resolver(t, nil).Resolve(t.Context(), Reference{Namespace: "shop", Variables: []string{"A", "B", "C"}, Env: map[string]scalerv1.EnvVar{
				"A": secretRef("large", "x"), "B": secretRef("large", "x"), "C": secretRef("large", "x"),
			}})
		}, "variable C: with it all"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startAPI(t)
			s.put(t, "kind: Secret\nmetadata: {namespace: shop, name: large}\nstringData: {x: "+half+"}")
			s.put(t, "kind: ConfigMap\nmetadata: {namespace: shop, name: settings}\ndata: {x: "+half+"}")
			_, err := tt.resolve(t, s)
			if tt.want == "" {
				if err != nil {
					t.Errorf("error = %v", err)
				}
				return
			}
			if want := tt.want + " values together have more than 1048576 bytes"; status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != want {
				t.Errorf("error = %v, want %q", err, want)
			}
		})
	}
}

// giver is a store with these values.
type giver map[string]string

func (giver) Block() string { return "hashiCorpVault" }

func (g giver) Read(context.Context, json.RawMessage, store.Scope) (*store.Values, error) {
	return &store.Values{Parameters: g}, nil
}

func TestRestrictedSecrets(t *testing.T) {
	s := startAPI(t)
	s.put(t, shop)
	r := s.resolver(t, func(c *Config) { c.RestrictSecrets = true })
	const spec = `{secretTargetRef: [{parameter: username, name: login, key: user}]}`
	if creds, err := resolve(t, r, s, spec, true, nil); err != nil || creds.Parameters["username"] != "cluster" {
		t.Errorf("the cluster's: %v, %v", creds, err)
	}
	_, err := resolve(t, r, s, spec, false, nil)
	want := "TriggerAuthentication shop/auth: secretTargetRef[0] (username): Secret shop/login is not read: KEDA_RESTRICT_SECRET_ACCESS allows those of namespace keda alone"
	if status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != want {
		t.Errorf("error = %v, want %q", err, want)
	}
}

func TestFilePath(t *testing.T) {
	root := t.TempDir()
	writeFile(t, filepath.Join(root, "login.json"), `{"username": "ann", "password": "hunter2"}`)
	writeFile(t, filepath.Join(root, "broken.json"), `{"password": 5}`)
	writeFile(t, filepath.Join(filepath.Dir(root), "outside.json"), `{}`)
	if err := os.Symlink(filepath.Join(filepath.Dir(root), "outside.json"), filepath.Join(root, "link.json")); err != nil {
		t.Fatal(err)
	}
	s := startAPI(t)
	s.put(t, shop)
	r := s.resolver(t, func(c *Config) { c.FilePathRoot = root })
	creds, err := resolve(t, r, s, `{filePath: login.json, podIdentity: {provider: gcp}, secretTargetRef: [{parameter: x, name: gone, key: z}]}`, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"username": "ann", "password": "hunter2"}; !maps.Equal(creds.Parameters, want) || creds.PodIdentity.Provider != "gcp" {
		t.Errorf("credentials = %+v, want the file's and the identity", creds)
	}
	writeFile(t, filepath.Join(root, "login.json"), `{"username": "ann", "password": "swordfish"}`)
	if creds, err := resolve(t, r, s, `{filePath: login.json}`, true, nil); err != nil || creds.Parameters["password"] != "swordfish" {
		t.Errorf("after the file changed: %+v, %v", creds, err)
	}
	for path, message := range map[string]string{
		"/etc/passwd":     `filePath: "/etc/passwd" is not a path below the root directory`,
		"../outside.json": `filePath: "../outside.json" is not a path below the root directory`,
		"link.json":       `filePath: file "link.json": path escapes from parent`,
		"gone.json":       `filePath: file "gone.json": no such file or directory`,
		"broken.json":     `filePath: file "broken.json": is not a JSON object of texts`,
	} {
		r := s.resolver(t, func(c *Config) { c.FilePathRoot = root })
		_, err := resolve(t, r, s, `{filePath: `+path+`}`, true, nil)
		if want := "ClusterTriggerAuthentication auth: " + message; status.Convert(err).Message() != want {
			t.Errorf("%s: error = %v, want %q", path, err, want)
		}
	}
}

// counted is a secret store that is asked and counts.
type counted struct {
	mu    sync.Mutex
	reads int
	read  func(context.Context, json.RawMessage, store.Scope) (*store.Values, error)
}

func (*counted) Block() string { return "hashiCorpVault" }

func (s *counted) Read(ctx context.Context, block json.RawMessage, scope store.Scope) (*store.Values, error) {
	s.mu.Lock()
	s.reads++
	s.mu.Unlock()
	return s.read(ctx, block, scope)
}

func TestAStoreIsAskedOnceForAll(t *testing.T) {
	api := startAPI(t)
	api.put(t, shop)
	vault := &counted{read: func(ctx context.Context, block json.RawMessage, scope store.Scope) (*store.Values, error) {
		if string(block) != `{"address":"http://vault"}` {
			return nil, invalid("hashiCorpVault.address: %s", block)
		}
		password, err := scope.Secret(ctx, "login", "password")
		if err != nil {
			return nil, err
		}
		token, err := scope.Token(ctx, "worker", "vault")
		if err != nil {
			return nil, err
		}
		role, err := scope.WorkloadRole(ctx)
		return &store.Values{Parameters: map[string]string{"a": password, "b": token, "c": role}}, err
	}}
	r := api.resolver(t, func(c *Config) { c.Stores = []store.Store{vault} })
	const spec = `{hashiCorpVault: {address: "http://vault"}}`
	for range 3 {
		creds, err := resolve(t, r, api, spec, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"a": "hunter2", "b": "token-1vault", "c": "arn:aws:iam::1:role/worker"}
		if !maps.Equal(creds.Parameters, want) {
			t.Errorf("parameters = %v, want %v", creds.Parameters, want)
		}
	}
	if vault.reads != 1 {
		t.Errorf("the store was asked %d times, want once", vault.reads)
	}
	// After the source refused what was read, it is asked again.
	refused := time.Now()
	if _, err := resolve(t, r, api, spec, false, func(ref *Reference) { ref.NotBefore = refused }); err != nil {
		t.Fatal(err)
	}
	if vault.reads != 2 {
		t.Errorf("the store was asked %d times, want twice", vault.reads)
	}
}

// TestWhatIsMadeForATriggerHasAPace: whoever refuses what a store gave, or a token of
// a service account, may do so all the time. It is asked for again at once, and then
// once a minute at most, for all triggers together.
func TestWhatIsMadeForATriggerHasAPace(t *testing.T) {
	s := startAPI(t)
	s.put(t, shop)
	vault := &counted{read: func(context.Context, json.RawMessage, store.Scope) (*store.Values, error) {
		return &store.Values{Parameters: map[string]string{"a": "of the store"}}, nil
	}}
	r := s.resolver(t, func(c *Config) { c.Stores = []store.Store{vault} })
	const spec = `{hashiCorpVault: {address: "http://vault"}, boundServiceAccountToken: [{parameter: token, serviceAccountName: worker}]}`
	for range 10 {
		refused := time.Now()
		if _, err := resolve(t, r, s, spec, false, func(ref *Reference) { ref.NotBefore = refused }); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.count("POST /api/v1/namespaces/shop/serviceaccounts/worker/token"); n != 2 || vault.reads != 2 {
		t.Errorf("%d tokens and %d reads of the store, want 2 of each", n, vault.reads)
	}
}

func TestAStoreMayFail(t *testing.T) {
	api := startAPI(t)
	vault := &counted{read: func(context.Context, json.RawMessage, store.Scope) (*store.Values, error) {
		return nil, status.Error(codes.Unavailable, "hashiCorpVault: Vault is sealed")
	}}
	r := api.resolver(t, func(c *Config) { c.Stores = []store.Store{vault} })
	_, err := resolve(t, r, api, `{hashiCorpVault: {address: "http://vault"}}`, false, nil)
	if want := "TriggerAuthentication shop/auth: hashiCorpVault: Vault is sealed"; status.Code(err) != codes.Unavailable || status.Convert(err).Message() != want {
		t.Errorf("error = %v, want %q", err, want)
	}
}

func TestErrorsHoldNothingThatWasRead(t *testing.T) {
	s := startAPI(t)
	s.put(t, shop)
	s.refuse("/api/v1/namespaces/shop/secrets/login", http.StatusInternalServerError)
	_, err := resolve(t, s.resolver(t, nil), s, `{secretTargetRef: [{parameter: p, name: login, key: password}]}`, false, nil)
	if err == nil || strings.Contains(err.Error(), "planted") {
		t.Errorf("error = %v, want the status alone", err)
	}
}

func TestWithoutACluster(t *testing.T) {
	r, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	creds, err := r.Resolve(t.Context(), Reference{Namespace: "shop", Variables: []string{"A", "B"}, Env: map[string]scalerv1.EnvVar{"A": literal("a")}})
	if err != nil || !maps.Equal(creds.Env, map[string]string{"A": "a"}) {
		t.Errorf("literals: %+v, %v", creds, err)
	}
	_, err = r.Resolve(t.Context(), Reference{Namespace: "shop", Authentication: "TriggerAuthentication/auth"})
	if want := "authenticationRef: TriggerAuthentication shop/auth: this family has no access to an API server"; status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != want {
		t.Errorf("error = %v, want %q", err, want)
	}
}

// Whoever resolves at that time meets what is read anew: else a change would
// take twice as long to be seen.
func TestReferencesAreResolvedWhenTheirObjectsAreRead(t *testing.T) {
	s := startAPI(t)
	s.put(t, shop)
	r := s.resolver(t, nil)
	const spec = `{secretTargetRef: [{parameter: username, name: login, key: user}]}`
	begun := time.Now()
	first, err := resolve(t, r, s, spec, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := resolve(t, r, s, spec, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !first.ReadAgain.Equal(second.ReadAgain) {
		t.Errorf("resolved again at %v and %v, want one time: nothing was read in between", first.ReadAgain, second.ReadAgain)
	}
	if after := first.ReadAgain.Sub(begun); after < readEvery {
		t.Errorf("read again after %v, want %v", after, readEvery)
	}
	if n := s.count("GET /api/v1/namespaces/shop/secrets/login"); n != 1 {
		t.Errorf("the Secret was read %d times, want once", n)
	}
}

func TestAnAPIServerThatIsAwayTakesNothingAway(t *testing.T) {
	s := startAPI(t)
	s.put(t, shop)
	r := s.resolver(t, nil)
	const spec = `{secretTargetRef: [{parameter: username, name: login, key: user}]}`
	if _, err := resolve(t, r, s, spec, false, nil); err != nil {
		t.Fatal(err)
	}
	s.away(true)
	refused := time.Now()
	creds, err := resolve(t, r, s, spec, false, func(ref *Reference) { ref.NotBefore = refused })
	if err != nil || creds.Parameters["username"] != "ann" {
		t.Errorf("credentials = %+v, %v, want what was known", creds, err)
	}
	// What was never read is not known.
	_, err = r.Resolve(t.Context(), Reference{Namespace: "shop", Inline: map[string]scalerv1.KeyRef{"p": {Name: "other", Key: "x"}}})
	want := "secretKeyRef (p): Secret shop/other: the API server answers 503 Service Unavailable"
	if status.Code(err) != codes.Unavailable || status.Convert(err).Message() != want {
		t.Errorf("error = %v, want %q", err, want)
	}
}

// TestWhatIsEmptyIsAbsent: nothing may be what is meant, so it is told and no
// mistake.
func TestWhatIsEmptyIsAbsent(t *testing.T) {
	about := "TriggerAuthentication shop/auth: "
	vault := &counted{read: func(context.Context, json.RawMessage, store.Scope) (*store.Values, error) {
		return &store.Values{Parameters: map[string]string{"username": "ann", "password": ""}}, nil
	}}
	tests := map[string]struct {
		spec string
		edit func(*Reference)
		want map[string]string
		told []string
	}{
		"of a Secret": {
			spec: `{secretTargetRef: [{parameter: username, name: login, key: user}, {parameter: password, name: login, key: empty}]}`,
			want: map[string]string{"username": "ann"},
			told: []string{about + "secretTargetRef[1] (password): Secret shop/login: the value of key empty is empty, which counts as absent"},
		},
		"blank": {
			spec: `{secretTargetRef: [{parameter: password, name: login, key: blank}]}`,
			told: []string{about + "secretTargetRef[0] (password): Secret shop/login: the value of key blank is empty, which counts as absent"},
		},
		"of a variable": {
			spec: `{env: [{parameter: host, name: HOST}]}`,
			edit: func(ref *Reference) {
				ref.Containers = []scalerv1.Container{{Name: "app", Env: map[string]scalerv1.EnvVar{"HOST": literal("")}}}
			},
			told: []string{about + "env[0] (host): variable HOST of container app is empty, which counts as absent"},
		},
		"of a Secret that the trigger names": {
			edit: func(ref *Reference) {
				ref.Inline = map[string]scalerv1.KeyRef{"password": {Name: "login", Key: "empty"}}
			},
			told: []string{"secretKeyRef (password): Secret shop/login: the value of key empty is empty, which counts as absent"},
		},
		"of a store": {
			spec: `{hashiCorpVault: {}}`,
			want: map[string]string{"username": "ann"},
			told: []string{about + "hashiCorpVault: the value of password is empty, which counts as absent"},
		},
		"of the client of OAuth": {
			spec: `{oauth2: {clientId: me, tokenUrl: "https://login", clientSecret: {valueFrom: {secretKeyRef: {name: login, key: empty}}}}}`,
			want: map[string]string{"clientID": "me", "oauthTokenURI": "https://login"},
			told: []string{about + "oauth2.clientSecret: Secret shop/login: the value of key empty is empty, which counts as absent"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := startAPI(t)
			s.put(t, shop)
			if tt.spec == "" {
				tt.spec = "{}"
			}
			creds, err := resolve(t, s.resolver(t, func(c *Config) { c.Stores = []store.Store{vault} }), s, tt.spec, false, tt.edit)
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(creds.Parameters, tt.want) || !slices.Equal(creds.Warnings, tt.told) {
				t.Errorf("parameters = %v, want %v; warnings = %q\nwant %q", creds.Parameters, tt.want, creds.Warnings, tt.told)
			}
		})
	}
}
