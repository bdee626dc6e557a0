package serving

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/identity"
	pki "github.com/sluice-autoscaler/sluice/identity/authority"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

const installation = "sluice-system"

// keysOf are the keys of one identity.
func keysOf(t *testing.T, signer *pki.Authority, who identity.Identity) *identity.Keys {
	t.Helper()
	certificate, key, err := signer.Sign(pki.Request{Identity: who, Installation: installation, Lifetime: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := identity.Parse(map[string][]byte{
		identity.CertificateKey: certificate, identity.PrivateKeyKey: key, identity.AuthoritiesKey: pki.Encode(signer.Certificate),
	}, who.In(installation))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// fortress is a family as Serve runs it, with both of its ways in.
type fortress struct {
	t      *testing.T
	signer *pki.Authority
	keys   *identity.Holder // the family's
	server *Server
	well   *well
	addresses
}

// addresses are where a family listens.
type addresses struct{ front, loopback string }

func guard(t *testing.T, args ...string) *fortress {
	t.Helper()
	return guardIn(t, nil, args...)
}

// guardIn is guard in an environment.
func guardIn(t *testing.T, env map[string]string, args ...string) *fortress {
	t.Helper()
	return guardWith(t, env, nil, args...)
}

// guardWith is guardIn with further triggers.
func guardWith(t *testing.T, env map[string]string, more []trigger.Trigger, args ...string) *fortress {
	t.Helper()
	var set Listen
	flags := flag.NewFlagSet("wells", flag.ContinueOnError)
	set.AddFlags(flags)
	if err := flags.Parse(append([]string{
		"--grpc-address=127.0.0.1:0", "--loopback-address=127.0.0.1:0", "--installation=" + installation,
	}, args...)); err != nil {
		t.Fatal(err)
	}
	var err error
	if set.Policy, err = identity.ServingPolicy(func(name string) string { return env[name] }); err != nil {
		t.Fatal(err)
	}
	g := &fortress{t: t, keys: &identity.Holder{}, well: &well{}}
	g.well.level.Store(7)
	if g.signer, err = pki.New(installation, time.Now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	keys := g.keys
	if set.Plaintext {
		keys = nil
	}
	entrances, err := open(t.Context(), set, keys)
	if err != nil {
		t.Fatal(err)
	}
	g.addresses = addresses{entrances[0].listener.Addr().String(), entrances[1].listener.Addr().String()}
	g.server = New(Config{Family: "wells", Triggers: append(more, g.well.trigger()), Resolver: &passwords{password: "right"}})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.server.serve(ctx, keys, entrances...) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return g
}

func (g *fortress) dial(address string, secure credentials.TransportCredentials) *grpc.ClientConn {
	g.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(secure))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	return conn
}

// as calls the front as an identity.
func (g *fortress) as(who identity.Identity) *grpc.ClientConn {
	g.t.Helper()
	h := &identity.Holder{}
	h.Set(keysOf(g.t, g.signer, who))
	return g.dial(g.front, h.Client(identity.Scaler("wells").In(installation)))
}

func (g *fortress) plaintext(address string) *grpc.ClientConn {
	g.t.Helper()
	return g.dial(address, insecure.NewCredentials())
}

func (g *fortress) haveKey() { g.keys.Set(keysOf(g.t, g.signer, identity.Scaler("wells"))) }

// wellRef is a request for one well, with reserved keys and their values.
func wellRef(namespace string, reserved ...string) *externalscaler.ScaledObjectRef {
	ref := &externalscaler.ScaledObjectRef{Name: "orders", Namespace: namespace, ScalerMetadata: map[string]string{"name": "a"}}
	for i := 0; i < len(reserved); i += 2 {
		ref.ScalerMetadata[reserved[i]] = reserved[i+1]
	}
	return ref
}

// TestReferencesAreForThoseWhoMay asks with every kind of reference, as each
// kind of caller, over each way in.
func TestReferencesAreForThoseWhoMay(t *testing.T) {
	references := map[string][]string{
		"authenticationRef TriggerAuthentication/well": {scalerv1.KeyAuthenticationRef, "TriggerAuthentication/well"},
		"variable PASSWORD":                            {scalerv1.KeyEnv, `{"PASSWORD":{"secretKeyRef":{"name":"s","key":"k"}}}`},
		"identityOwner operator":                       {"identityOwner", " operator "},
		"secretKeyRef":                                 {scalerv1.KeySecretKeyRef, `{"password":{"name":"s","key":"k"}}`},
	}
	callers := map[string]struct {
		args    []string
		conn    func(*fortress) *grpc.ClientConn
		refused string // what is said about namespace shop; "" for nothing
		other   string // about any other namespace
	}{
		"the controller": {conn: func(g *fortress) *grpc.ClientConn { return g.as(identity.Controller) }},
		"the adapter":    {conn: func(g *fortress) *grpc.ClientConn { return g.as(identity.MetricsAdapter) }},
		"a client, in its namespace alone": {
			args: []string{"--allow-client=keda=shop"}, conn: func(g *fortress) *grpc.ClientConn { return g.as(identity.Client("keda")) },
			other: "client keda may do so in the namespaces of --allow-client=keda=... alone",
		},
		"a client without namespaces": {
			args: []string{"--allow-client=keda"}, conn: func(g *fortress) *grpc.ClientConn { return g.as(identity.Client("keda")) },
			refused: "client keda may do so in the namespaces of --allow-client=keda=... alone",
			other:   "client keda may do so in the namespaces of --allow-client=keda=... alone",
		},
		"loopback": {
			conn:    func(g *fortress) *grpc.ClientConn { return g.plaintext(g.loopback) },
			refused: "over loopback that is so with --loopback-credentials alone",
			other:   "over loopback that is so with --loopback-credentials alone",
		},
		"loopback, when it may": {
			args: []string{"--loopback-credentials"}, conn: func(g *fortress) *grpc.ClientConn { return g.plaintext(g.loopback) },
		},
		"plaintext": {
			args: []string{"--plaintext"}, conn: func(g *fortress) *grpc.ClientConn { return g.plaintext(g.front) },
			refused: "this family was started with --plaintext and uses none",
			other:   "this family was started with --plaintext and uses none",
		},
	}
	for name, tt := range callers {
		t.Run(name, func(t *testing.T) {
			g := guard(t, tt.args...)
			g.haveKey()
			conn := tt.conn(g)
			if err := everyCall(t, conn, wellRef("shop")); err != nil {
				t.Errorf("without references: %v", err)
			}
			for what, reserved := range references {
				for namespace, remedy := range map[string]string{"shop": tt.refused, "orders": tt.other} {
					err := everyCall(t, conn, wellRef(namespace, reserved...))
					want := what + ` refers to credentials in namespace "` + namespace + `": ` + remedy
					switch {
					case remedy == "" && err != nil:
						t.Errorf("%s in %s: %v", what, namespace, err)
					case remedy != "" && (status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != want):
						t.Errorf("%s in %s: %v, want %q", what, namespace, err, want)
					}
				}
			}
		})
	}
}

// everyCall makes every call that a trigger can be sent with, and returns what
// they all say.
func everyCall(t *testing.T, conn *grpc.ClientConn, ref *externalscaler.ScaledObjectRef) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := externalscaler.NewExternalScalerClient(conn)
	calls := map[string]func() error{
		"GetMetricSpec": func() error { _, err := c.GetMetricSpec(ctx, ref); return err },
		"IsActive":      func() error { _, err := c.IsActive(ctx, ref); return err },
		"GetMetrics": func() error {
			_, err := c.GetMetrics(ctx, &externalscaler.GetMetricsRequest{ScaledObjectRef: ref})
			return err
		},
		"StreamIsActive": func() error {
			stream, err := c.StreamIsActive(ctx, ref)
			if err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		},
		"Watch": func() error {
			stream, err := scalerv1.NewScalerServiceClient(conn).Watch(ctx)
			if err != nil {
				return err
			}
			err = stream.Send(&scalerv1.WatchRequest{Request: &scalerv1.WatchRequest_Subscribe{Subscribe: &scalerv1.Subscribe{Id: "x", Ref: ref}}})
			if err != nil {
				return err
			}
			answer, err := stream.Recv()
			if rejected := answer.GetRejected(); rejected != nil {
				return status.Error(codes.Code(rejected.GetStatus().GetCode()), rejected.GetStatus().GetMessage()) //nolint:gosec // a code
			}
			return err
		},
	}
	var first error
	told := false
	for name, call := range calls {
		err := call()
		if told && status.Convert(err).String() != status.Convert(first).String() {
			t.Errorf("%s says %v, another call %v", name, err, first)
		}
		first, told = err, true
	}
	return first
}

// A guest must not answer for an object: what the adapter asks for by name is
// what the controller subscribed to, credentials included.
func TestGuestsDoNotAnswerForObjects(t *testing.T) {
	g := guard(t, "--loopback-credentials")
	g.haveKey()
	subscribe := func(conn *grpc.ClientConn, generation int64, reserved ...string) {
		t.Helper()
		stream, err := scalerv1.NewScalerServiceClient(conn).Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&scalerv1.WatchRequest{Request: &scalerv1.WatchRequest_Subscribe{Subscribe: &scalerv1.Subscribe{
			Id: "ScaledObject/shop/orders/0", Generation: generation, Ref: wellRef("shop", reserved...),
		}}}); err != nil {
			t.Fatal(err)
		}
		if answer, err := stream.Recv(); err != nil || answer.GetAccepted() == nil {
			t.Fatalf("%v, %v", answer, err)
		}
	}
	ask := func(conn *grpc.ClientConn, generation string) error {
		_, err := externalscaler.NewExternalScalerClient(conn).IsActive(t.Context(), &externalscaler.ScaledObjectRef{
			Name: "orders", Namespace: "shop", ScalerMetadata: map[string]string{
				scalerv1.KeyKind: "ScaledObject", scalerv1.KeyTriggerIndex: "0", scalerv1.KeyGeneration: generation,
			},
		})
		return err
	}
	adapter := g.as(identity.MetricsAdapter)
	subscribe(g.plaintext(g.loopback), 2)
	if err := ask(adapter, "2"); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a guest's subscription answers the adapter: %v", err)
	}
	subscribe(g.as(identity.Controller), 1, scalerv1.KeyAuthenticationRef, "TriggerAuthentication/well")
	if err := ask(adapter, "1"); err != nil {
		t.Errorf("the controller's subscription does not: %v", err)
	}

	closed := guard(t)
	closed.haveKey()
	g = closed
	subscribe(g.as(identity.Controller), 1, scalerv1.KeyAuthenticationRef, "TriggerAuthentication/well")
	if err := ask(g.plaintext(g.loopback), "1"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("loopback is answered from a subscription with credentials: %v", err)
	}
}

// What one caller may have a family remember is bounded, and for a guest far
// lower than for the core.
func TestSubscriptionsOfAGuestAreBounded(t *testing.T) {
	g := guard(t)
	g.haveKey()
	stream, err := scalerv1.NewScalerServiceClient(g.plaintext(g.loopback)).Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	subscribe := func(id string) {
		t.Helper()
		err := stream.Send(&scalerv1.WatchRequest{Request: &scalerv1.WatchRequest_Subscribe{Subscribe: &scalerv1.Subscribe{
			Id: id, Generation: 1, Ref: wellRef("shop"),
		}}})
		if err != nil && !errors.Is(err, io.EOF) { // which says that the stream has ended
			t.Fatal(err)
		}
	}
	for i := range mostOfGuest + 1 {
		subscribe(fmt.Sprint(i))
	}
	for err = nil; err == nil; {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("after %d subscriptions: %v", mostOfGuest+1, err)
	}
	if stream, err = scalerv1.NewScalerServiceClient(g.plaintext(g.loopback)).Watch(t.Context()); err != nil {
		t.Fatal(err)
	}
	subscribe(strings.Repeat("x", longestID+1))
	if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a long id: %v", err)
	}

	client := externalscaler.NewExternalScalerClient(g.plaintext(g.loopback))
	for i := range mostOfGuest + 1 {
		ref := wellRef("shop")
		ref.Name = fmt.Sprint(i)
		_, err := client.IsActive(t.Context(), ref)
		if want := i >= mostOfGuest; (status.Code(err) == codes.ResourceExhausted) != want || !want && err != nil {
			t.Fatalf("trigger %d that a guest asks for: %v", i, err)
		}
	}
	long := wellRef("shop")
	long.ScalerMetadata["name"] = strings.Repeat("x", longestFrame)
	if _, err := client.IsActive(t.Context(), long); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a long request: %v", err)
	}
	many := wellRef("shop") // a few bytes each, and much more once they are decoded
	for i := range externalscaler.FewElements / 3 {
		many.ScalerMetadata[fmt.Sprint(i)] = ""
	}
	if _, err := client.IsActive(t.Context(), many); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "the caller sent") {
		t.Errorf("a request of many parameters: %v", err)
	}
}

// podsParams are of a trigger that answers for the object's namespace.
type podsParams struct {
	contract.Object `question:"namespace"`
	Target          float64 `param:"target" default:"5" role:"target"`
}

func (p podsParams) Metrics() []contract.Metric {
	return []contract.Metric{{Name: "pods", Target: p.Target}}
}

type podsSource struct{}

func (podsSource) Read(context.Context) ([]contract.Reading, error) { return contract.One(1), nil }

// A guest sees by the name of an object only what it could ask for by itself:
// not what the core subscribed to for somebody else, and not what a family
// reads by its own rights in a namespace that anybody may name.
func TestGuestsSeeNothingByTheNamesOfOthers(t *testing.T) {
	pods := trigger.Define("pods", func(context.Context, podsParams) (contract.Source, error) { return podsSource{}, nil })
	g := guardWith(t, nil, []trigger.Trigger{pods}, "--allow-client=keda=shop")
	g.haveKey()
	stream, err := scalerv1.NewScalerServiceClient(g.as(identity.Controller)).Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"shop", "bank"} {
		err := stream.Send(&scalerv1.WatchRequest{Request: &scalerv1.WatchRequest_Subscribe{Subscribe: &scalerv1.Subscribe{
			Id: "ScaledObject/" + namespace + "/orders/0", Generation: 1, Ref: wellRef(namespace, scalerv1.KeyTriggerType, "well"),
		}}})
		if err != nil {
			t.Fatal(err)
		}
		for accepted := false; !accepted; {
			answer, err := stream.Recv()
			if err != nil || answer.GetRejected() != nil {
				t.Fatalf("%v, %v", answer, err)
			}
			accepted = answer.GetAccepted() != nil
		}
	}
	callers := map[string]struct {
		conn *grpc.ClientConn
		want map[string]codes.Code
	}{
		"the adapter": {g.as(identity.MetricsAdapter), map[string]codes.Code{"shop": codes.OK, "bank": codes.OK}},
		"a client":    {g.as(identity.Client("keda")), map[string]codes.Code{"shop": codes.OK, "bank": codes.PermissionDenied}},
		"loopback":    {g.plaintext(g.loopback), map[string]codes.Code{"shop": codes.PermissionDenied, "bank": codes.PermissionDenied}},
	}
	for who, caller := range callers {
		client := externalscaler.NewExternalScalerClient(caller.conn)
		for namespace, want := range caller.want {
			named := &externalscaler.ScaledObjectRef{Name: "orders", Namespace: namespace, ScalerMetadata: map[string]string{
				scalerv1.KeyKind: "ScaledObject", scalerv1.KeyTriggerIndex: "0", scalerv1.KeyGeneration: "1",
			}}
			if _, err := client.IsActive(t.Context(), named); status.Code(err) != want {
				t.Errorf("%s is answered by the name of an object in %s with %v, want %v", who, namespace, err, want)
			}
			of := wellRef(namespace, scalerv1.KeyTriggerType, "pods")
			if _, err := client.IsActive(t.Context(), of); status.Code(err) != want {
				t.Errorf("%s is answered for namespace %s with %v, want %v", who, namespace, err, want)
			}
			whole := wellRef(namespace, scalerv1.KeyTriggerType, "well")
			if _, err := client.IsActive(t.Context(), whole); err != nil {
				t.Errorf("%s is not answered what it asks by itself: %v", who, err)
			}
		}
	}
}

func TestReadyWithAKey(t *testing.T) {
	g := guard(t)
	health := healthv1.NewHealthClient(g.plaintext(g.loopback))
	handler := g.server.handler()
	check := func(want healthv1.HealthCheckResponse_ServingStatus, code int) {
		t.Helper()
		answer, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{})
		if err != nil || answer.GetStatus() != want {
			t.Errorf("health %v, %v, want %v", answer, err, want)
		}
		for path, code := range map[string]int{"/readyz": code, "/healthz": http.StatusOK} {
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
			if recorder.Code != code {
				t.Errorf("%s: %d, want %d", path, recorder.Code, code)
			}
		}
	}
	check(healthv1.HealthCheckResponse_NOT_SERVING, http.StatusServiceUnavailable)
	if err := everyCall(t, g.plaintext(g.loopback), wellRef("shop")); err != nil {
		t.Errorf("inside its Pod it can be asked meanwhile: %v", err)
	}
	g.haveKey()
	check(healthv1.HealthCheckResponse_SERVING, http.StatusOK)
	if err := everyCall(t, g.as(identity.Controller), wellRef("shop")); err != nil {
		t.Errorf("with a key: %v", err)
	}
}

func TestCallersWithAnOldTLS(t *testing.T) {
	for name, tt := range map[string]struct {
		env      map[string]string
		admitted bool
	}{
		"by default":         {nil, false},
		"when it is allowed": {map[string]string{"KEDA_SERVICE_MIN_TLS_VERSION": "TLS12"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := guardIn(t, tt.env)
			g.haveKey()
			k := keysOf(t, g.signer, identity.Controller)
			conn := g.dial(g.front, credentials.NewTLS(&tls.Config{
				MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, ServerName: identity.Scaler("wells").In(installation),
				RootCAs: k.Authorities, Certificates: []tls.Certificate{k.Certificate},
			}))
			if err := everyCall(t, conn, wellRef("shop")); (err == nil) != tt.admitted {
				t.Errorf("error = %v, want admitted = %t", err, tt.admitted)
			}
		})
	}
}

func TestAddressesThatCannotBe(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, tt := range map[string]struct {
		set  Listen
		want string
	}{
		"loopback is no loopback": {Listen{GRPCAddress: "127.0.0.1:0", LoopbackAddress: "0.0.0.0:0"}, "--loopback-address: is not an address of the loopback device"},
		"loopback is everywhere":  {Listen{GRPCAddress: "127.0.0.1:0", LoopbackAddress: ":0"}, "--loopback-address: is not an address of the loopback device"},
		"loopback has no port":    {Listen{GRPCAddress: "127.0.0.1:0", LoopbackAddress: "127.0.0.1"}, "--loopback-address: address 127.0.0.1: missing port"},
		"loopback is taken":       {Listen{GRPCAddress: "127.0.0.1:0", LoopbackAddress: taken.Addr().String()}, "--loopback-address: listen"},
		"the front is taken":      {Listen{GRPCAddress: taken.Addr().String()}, "--grpc-address: listen"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := open(t.Context(), tt.set, nil); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
