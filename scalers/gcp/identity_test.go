package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers/gcloud"
)

// TestIdentities has every type asked by everybody who may be given, and in their
// order.
func TestIdentities(t *testing.T) {
	c := newCloud(t)
	subjects := everyType(c)
	c.Allow("shop", reader, gcloud.Node)
	stranger, err := c.issuer.Key("stranger@shop.iam.gserviceaccount.com", "shop")
	if err != nil {
		t.Fatal(err)
	}
	other, err := gcloud.StartIssuer("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	foreign, err := other.Key(reader, "shop") // another key of the same account
	if err != nil {
		t.Fatal(err)
	}
	foreign = strings.Replace(foreign, other.Address(), c.issuer.Address(), 1)
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, []byte(c.key), 0o600); err != nil {
		t.Fatal(err)
	}
	scalertest.Readable(t, filepath.Dir(file))
	t.Setenv("GCE_METADATA_HOST", c.issuer.Address())
	t.Setenv("CLOUDSDK_CORE_PROJECT", "shop")
	tests := map[string]struct {
		auth, env, metadata map[string]string
		identity            scaler.PodIdentity
		code                codes.Code
		message             string
	}{
		"a key":                        {auth: c.auth()},
		"a key of a variable":          {env: map[string]string{"KEY": c.key}, metadata: map[string]string{"credentialsFromEnv": "KEY"}},
		"a key of a file":              {env: map[string]string{"FILE": file}, metadata: map[string]string{"credentialsFromEnvFile": "FILE"}},
		"a file that is not listed":    {env: map[string]string{"FILE": "/etc/passwd"}, metadata: map[string]string{"credentialsFromEnvFile": "FILE"}, code: codes.PermissionDenied, message: "--readable-files does not list it"},
		"pod identity":                 {identity: scaler.PodIdentity{Provider: "gcp"}},
		"pod identity before a key":    {identity: scaler.PodIdentity{Provider: "gcp"}, auth: map[string]string{"GoogleApplicationCredentials": stranger}},
		"a key before one of env":      {auth: c.auth(), env: map[string]string{"KEY": stranger}, metadata: map[string]string{"credentialsFromEnv": "KEY"}},
		"a key of env before a file":   {env: map[string]string{"KEY": c.key, "FILE": "/etc/passwd"}, metadata: map[string]string{"credentialsFromEnv": "KEY", "credentialsFromEnvFile": "FILE"}},
		"an identity of another cloud": {identity: scaler.PodIdentity{Provider: "aws"}, code: codes.InvalidArgument, message: "GoogleApplicationCredentials: credentials not found"},
		"nobody":                       {code: codes.InvalidArgument, message: "GoogleApplicationCredentials: credentials not found"},
		"a literal has no part":        {metadata: map[string]string{"credentials": c.key}, code: codes.InvalidArgument, message: "GoogleApplicationCredentials: credentials not found"},
		"a variable without a value":   {env: map[string]string{}, metadata: map[string]string{"credentialsFromEnv": "KEY"}, code: codes.InvalidArgument, message: "credentialsFromEnv: variable KEY has no value"},
		"no permission":                {auth: map[string]string{"GoogleApplicationCredentials": stranger}, code: codes.PermissionDenied, message: "monitoring.timeSeries.list denied"},
		"a wrong key":                  {auth: map[string]string{"GoogleApplicationCredentials": foreign}, code: codes.Unauthenticated, message: "Google gives no token"},
		"a key that is none":           {auth: map[string]string{"GoogleApplicationCredentials": "hush-hush"}, code: codes.InvalidArgument, message: "is not JSON"},
		"another kind of credentials":  {auth: map[string]string{"GoogleApplicationCredentials": `{"type":"external_account","token_url":"http://127.0.0.1/hush-hush"}`}, code: codes.InvalidArgument, message: "are not the key of a service account"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, s := range subjects {
				family := scalertest.Serve(t, s.Trigger).WithAuth(tt.auth).WithEnv(tt.env).WithPodIdentity(tt.identity)
				got, err := family.Observe(within(t), s.Type, with(s.metadata, tt.metadata))
				if status.Code(err) != tt.code || err == nil && got.Value != s.value || err != nil && strings.Contains(err.Error(), "hush-hush") {
					t.Errorf("%s: observation = %+v, %v, want %v, %v", s.Type, got, err, s.value, tt.code)
				}
				if err != nil && !strings.Contains(status.Convert(err).Message(), tt.message) {
					t.Errorf("%s: error = %v, want %s", s.Type, err, tt.message)
				}
			}
		})
	}
}

// TestProjectOfTheNode is where a subscription is without a project, for pod
// identity and without CLOUDSDK_CORE_PROJECT.
func TestProjectOfTheNode(t *testing.T) {
	c := newCloud(t)
	t.Setenv("GCE_METADATA_HOST", c.issuer.Address())
	here := undelivered("orders", 4)
	here.Project = "node-project"
	c.Set(here)
	family := scalertest.Serve(t, triggers...).WithPodIdentity(scaler.PodIdentity{Provider: "gcp"})
	got, err := family.Observe(within(t), "gcp-pubsub", map[string]string{"subscriptionName": "orders"})
	if err != nil || got.Value != 4 {
		t.Errorf("observation = %+v, %v", got, err)
	}
	nowhere, err := c.issuer.Key(reader, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = family.WithPodIdentity(scaler.PodIdentity{}).WithAuth(map[string]string{"GoogleApplicationCredentials": nowhere}).
		Observe(within(t), "gcp-pubsub", map[string]string{"subscriptionName": "orders"})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "projects/<project>/subscriptions/orders") {
		t.Errorf("error = %v", err)
	}
}

// TestNobodyAsksForAProjectThatIsNamed: the node knows the project of its account,
// which a trigger that names its own does not need.
func TestNobodyAsksForAProjectThatIsNamed(t *testing.T) {
	c := newCloud(t)
	t.Setenv("GCE_METADATA_HOST", c.issuer.Address())
	family := scalertest.Serve(t, triggers...).WithPodIdentity(scaler.PodIdentity{Provider: "gcp"})
	for _, s := range everyType(c) {
		metadata := s.metadata
		if s.Type == "gcp-pubsub" {
			metadata = map[string]string{"subscriptionName": "projects/shop/subscriptions/orders"}
		}
		if got, err := family.Observe(within(t), s.Type, metadata); err != nil || got.Value != s.value {
			t.Errorf("%s: %+v, %v", s.Type, got, err)
		}
	}
	if n := c.issuer.Projects(); n != 0 || c.issuer.Given() != 1 {
		t.Errorf("the node was asked for its project %d times, and for %d tokens", n, c.issuer.Given())
	}
	for range 2 { // it is asked once where it is needed
		_, _ = family.Observe(within(t), "gcp-pubsub", map[string]string{"subscriptionName": "orders", "timeHorizon": "3m"})
	}
	if n := c.issuer.Projects(); n != 1 {
		t.Errorf("the node was asked for its project %d times", n)
	}
}

// TestAnnouncements are KEDA's: of every trigger on Cloud Tasks and by a filter, and
// of Pub/Sub where a value is given.
func TestAnnouncements(t *testing.T) {
	c := newCloud(t)
	const announcement = ": KEDA has announced this trigger type as deprecated (https://keda.sh/blog/2025-09-15-gcp-deprecations); here it stays"
	begins := map[string]string{"gcp-cloudtasks": "projectID", "gcp-stackdriver": "filter"}
	for _, s := range contractedTypes(t, c) {
		for _, metadata := range []map[string]string{s.metadata, with(s.metadata, map[string]string{"value": " "}), with(s.metadata, map[string]string{"value": "7"})} {
			want := begins[s.Type]
			if s.Type == "gcp-pubsub" && metadata["value"] == "7" {
				want = "value"
			}
			f := scalertest.Family{}
			bound, err := s.Bind(f.Ref(s.Type, metadata), &scaler.Credentials{Parameters: c.auth()})
			if err != nil {
				t.Fatal(err)
			}
			said := slices.ContainsFunc(bound.Warnings, func(w string) bool { return w == want+announcement })
			about := slices.ContainsFunc(bound.Warnings, func(w string) bool { return strings.HasSuffix(w, announcement) })
			if said != (want != "") || about != said {
				t.Errorf("%s, %v: %q", s.Type, metadata, bound.Warnings)
			}
		}
	}
}

// TestIDs has what no id is made of in every parameter that is one: it is refused
// before it is a part of headers.
func TestIDs(t *testing.T) {
	bind := func(triggerType string, metadata map[string]string) error {
		f := scalertest.Family{}
		s := triggers[slices.IndexFunc(triggers, func(s scaler.Trigger) bool { return s.Type == triggerType })]
		_, err := s.Bind(f.Ref(triggerType, metadata), &scaler.Credentials{Parameters: map[string]string{"GoogleApplicationCredentials": "k"}})
		return err
	}
	for triggerType, metadata := range map[string]map[string]string{
		"gcp-spanner":     with(ordersAt, map[string]string{"query": "count"}),
		"gcp-cloudtasks":  {"projectID": "shop", "queueName": "orders"},
		"gcp-stackdriver": {"projectId": "shop", "filter": "x"},
	} {
		for _, parameter := range []string{"projectId", "projectID", "instanceId", "databaseId"} {
			if metadata[parameter] == "" {
				continue
			}
			for _, id := range []string{"a\nb", "a\x01b", "a b", "a/instances/b", "ä", strings.Repeat("x", 256)} {
				err := bind(triggerType, with(metadata, map[string]string{parameter: id}))
				if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), triggerType+": "+parameter+": ") || len(err.Error()) > 400 {
					t.Errorf("%s, %s %q: %v", triggerType, parameter, id, err)
				}
			}
			if err := bind(triggerType, with(metadata, map[string]string{parameter: "example.com:shop_a-1"})); err != nil {
				t.Errorf("%s, %s: %v", triggerType, parameter, err)
			}
		}
	}
}

// TestTokensThatAreRefused has Google forget its tokens, and a key be replaced.
func TestTokensThatAreRefused(t *testing.T) {
	c := newCloud(t)
	s := everyType(c)[0]
	family := scalertest.Serve(t, triggers...).WithAuth(c.auth())
	source := c.opener(t)(s)
	read := func(when string, want codes.Code) {
		t.Helper()
		if _, err := source.Read(within(t)); status.Code(err) != want {
			t.Errorf("%s: error = %v, want %v", when, err, want)
		}
	}
	read("at first", codes.OK)
	c.issuer.Refuse(true)
	read("while no token is given, with the last one", codes.OK)
	c.issuer.Revoke()
	read("after that one was revoked", codes.Unauthenticated)
	read("and none is given", codes.Unauthenticated)
	c.issuer.Refuse(false)
	read("and then one is", codes.OK)
	// Another one is fetched once a minute at most, however often they are refused.
	c.issuer.Revoke()
	read("after that was revoked", codes.Unauthenticated)
	read("within a minute", codes.Unauthenticated)
	if n := c.issuer.Given(); n != 2 {
		t.Errorf("%d tokens were given, want 2", n)
	}

	replaced, err := c.issuer.Key(reader, "shop")
	if err != nil {
		t.Fatal(err)
	}
	c.issuer.Revoke()
	if _, err := family.Observe(within(t), s.Type, s.metadata); status.Code(err) != codes.Unauthenticated {
		t.Errorf("with the old key: %v", err)
	}
	family.Rotate(map[string]string{"GoogleApplicationCredentials": replaced})
	if got, err := family.Observe(within(t), s.Type, s.metadata); err != nil || got.Value != s.value {
		t.Errorf("with the new key: %+v, %v", got, err)
	}
}

// TestTokensAreSharedAndRenewed reads many sources of one account, with tokens that
// last and with such that are about to end.
func TestTokensAreSharedAndRenewed(t *testing.T) {
	c := newCloud(t)
	var sources []scaler.Source
	open := c.opener(t)
	for range 10 {
		for _, s := range everyType(c) {
			sources = append(sources, open(s))
		}
	}
	scalertest.ReadAtOnce(t, sources)
	if n := c.issuer.Given(); n != 1 {
		t.Errorf("%d tokens for one account", n)
	}
	c.issuer.Lasting(time.Minute)
	c.issuer.Revoke()
	_, _ = sources[0].Read(within(t))
	for _, source := range sources[:2] {
		if _, err := source.Read(within(t)); err != nil {
			t.Error(err)
		}
	}
	if n := c.issuer.Given(); n < 3 {
		t.Errorf("%d tokens, although each is about to end", n)
	}
}

// TestIdentityIsNotLentElsewhere: who starts the family with another endpoint says
// so twice before its own identity goes there.
func TestIdentityIsNotLentElsewhere(t *testing.T) {
	c := newCloud(t)
	subjects := everyType(c)
	thief := scalertest.NewThief(t)
	askAt(t, &monitoringAt, thief.Addr())
	scalertest.LendTo(t, "")
	t.Setenv("GCE_METADATA_HOST", c.issuer.Address())
	t.Setenv("CLOUDSDK_CORE_PROJECT", "shop")
	family := scalertest.Serve(t, triggers...)
	for _, s := range subjects {
		family.KeepsItsIdentity(t, s.Type, scaler.PodIdentity{Provider: "gcp"}, s.metadata)
	}
	if got := thief.Taken(); got != "" {
		t.Errorf("the thief got %q", got)
	}
	// A key whose tokens would come from somewhere else is refused.
	_, err := family.WithAuth(c.auth()).Observe(within(t), subjects[0].Type, subjects[0].metadata)
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "token_uri") {
		t.Errorf("error = %v", err)
	}
}

// TestNamespacesWithoutTheIdentity may not use a file of the family.
func TestNamespacesWithoutTheIdentity(t *testing.T) {
	c := newCloud(t)
	s := everyType(c)[0]
	scalertest.LendOnlyTo(t, "platform")
	family := scalertest.Serve(t, triggers...).WithEnv(map[string]string{"FILE": "/keys/key.json"})
	_, err := family.Observe(within(t), s.Type, with(s.metadata, map[string]string{"credentialsFromEnvFile": "FILE"}))
	if err == nil || !strings.Contains(err.Error(), "--identity-namespaces") {
		t.Errorf("error = %v", err)
	}
}
