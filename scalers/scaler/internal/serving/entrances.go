package serving

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/identity"
	"github.com/sluice-autoscaler/sluice/identity/inbound"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/cluster"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// This file is the one place that decides how a family is reached, by whom,
// and what they may ask for.

// keepaliveTime is how often an idle connection is checked, by either side.
const keepaliveTime = 30 * time.Second

const (
	// longestFrame is what a call or a frame may have: what the core sends at
	// most, and a little.
	longestFrame = 1<<20 + 64<<10
	// mostCalls are open at once on one connection.
	mostCalls = 10_000
	// guestConnections are those over loopback, guestCalls what each carries, and
	// longestGuestFrame what a call has there: a trigger, and room to spare. All of
	// them together are held before anything is known of them.
	guestConnections, guestCalls, longestGuestFrame = 16, 16, 256 << 10
)

// entrance is one way in: where it listens, who may come, and what they may.
type entrance struct {
	listener    net.Listener
	credentials credentials.TransportCredentials
	// guest tells who calls; nil is somebody who may do anything.
	guest func(context.Context) guest
	// narrow is set where anybody may call as often as they like.
	narrow bool
}

// guest is a caller that may not do everything.
type guest struct {
	// namespaces in which the guest may use references; all when everywhere is
	// set.
	namespaces []string
	everywhere bool
	// core marks the installation's own processes, whose subscriptions answer
	// the requests of others that name them.
	core bool
	// remedy says who could let the guest in, and how.
	remedy string
}

type guestKey struct{}

// admit refuses a request that refers to credentials which its caller may not
// use. Whom a family serves decides what it can be made to read.
func admit(ctx context.Context, req trigger.Request) error {
	g, ok := ctx.Value(guestKey{}).(guest)
	what := req.Refers()
	if !ok || what == "" || g.belongs(req) {
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "%s refers to credentials in namespace %q: %s", what, req.Ref.GetNamespace(), g.remedy)
}

// admitToObject refuses what is answered by the name of an object alone, such as
// what somebody else subscribed for it or a count of Pods in its namespace, to a
// guest who has no say there: anybody may name any object.
func admitToObject(ctx context.Context, req trigger.Request, what string) error {
	g, ok := ctx.Value(guestKey{}).(guest)
	if !ok || g.core || g.belongs(req) {
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "%s is answered for namespace %q: %s", what, req.Ref.GetNamespace(), g.remedy)
}

// belongs reports whether a guest may speak for the namespace of a request.
func (g guest) belongs(req trigger.Request) bool {
	return g.everywhere || slices.Contains(g.namespaces, req.Ref.GetNamespace())
}

// isCore reports whether the caller's subscriptions are those of the objects
// that they name. A guest's are its own affair.
func isCore(ctx context.Context) bool {
	g, ok := ctx.Value(guestKey{}).(guest)
	return !ok || g.core
}

// payerOf is the namespace whose share of what the family holds a trigger uses.
// A guest names any; all that it may not speak for are one.
func payerOf(ctx context.Context, req trigger.Request) string {
	g, ok := ctx.Value(guestKey{}).(guest)
	if !ok || g.core || g.belongs(req) {
		return req.Ref.GetNamespace()
	}
	return allGuests
}

// allGuests stands for all who may speak for no namespace.
const allGuests = "(guests)"

// Client is whom a family admits beside the core.
type Client struct {
	Name       string
	Namespaces []string
}

// parseClient reads <name>[=<namespace>,...].
func parseClient(text string) (Client, error) {
	name, list, _ := strings.Cut(text, "=")
	c := Client{Name: strings.TrimSpace(name)}
	for _, namespace := range strings.Split(list, ",") {
		if namespace = strings.TrimSpace(namespace); namespace != "" {
			c.Namespaces = append(c.Namespaces, namespace)
		}
	}
	return c, identity.Client(c.Name).Check()
}

// Listen is where a family is reached, and by whom.
type Listen struct {
	// GRPCAddress is that of the core, LoopbackAddress one inside the Pod, and
	// MetricsAddress that of probes and metrics.
	GRPCAddress     string
	LoopbackAddress string
	MetricsAddress  string
	// Plaintext serves GRPCAddress without TLS.
	Plaintext           bool
	LoopbackCredentials bool
	// Installation is the namespace of the core, and of this family's key.
	Installation string
	Clients      []Client
	Policy       identity.Policy // of TLS
}

// AddFlags adds the flags that say so.
func (l *Listen) AddFlags(flags *flag.FlagSet) {
	flags.StringVar(&l.GRPCAddress, "grpc-address", ":9090", "where the gRPC services listen, with mTLS")
	flags.BoolVar(&l.Plaintext, "plaintext", false, "serve --grpc-address without TLS; references to credentials are refused")
	flags.StringVar(&l.LoopbackAddress, "loopback-address", "127.0.0.1:9091", "where they listen without TLS inside the Pod, for kubectl port-forward; empty for nowhere")
	flags.BoolVar(&l.LoopbackCredentials, "loopback-credentials", false, "let requests over --loopback-address refer to credentials")
	flags.StringVar(&l.Installation, "installation", "", "namespace of the core and of this family's key (default $POD_NAMESPACE)")
	flags.Func("allow-client", "<name>[=<namespace>,...]: also serve the client <name>.client.<installation>, which may refer to credentials in these namespaces; may be repeated",
		func(text string) error {
			c, err := parseClient(text)
			l.Clients = append(l.Clients, c)
			return err
		})
	flags.StringVar(&l.MetricsAddress, "metrics-address", ":8080", "where /metrics, /healthz and /readyz listen")
}

// keys follows the Secret with this family's key until the returned function
// is called. Both are nil for a family that serves plaintext.
func (s *Server) keys(ctx context.Context, set Listen) (*identity.Holder, func(), error) {
	if set.Plaintext {
		return nil, func() {}, nil
	}
	me, keys := identity.Scaler(s.core.Family), &identity.Holder{}
	watch, err := watchKey(me, set.Installation)
	if err != nil {
		return nil, nil, fmt.Errorf("find this family's key: %w; --plaintext serves without", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	following.Go(func() { keys.Follow(ctx, me, set.Installation, s.core.Log, watch) })
	return keys, func() {
		cancel()
		following.Wait()
	}, nil
}

// watchKey follows a key as the process's own ServiceAccount.
func watchKey(who identity.Identity, installation string) (identity.Watch, error) {
	config, err := cluster.Config()
	if err != nil {
		return nil, err
	}
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return identity.WatchSecret(client, server, who, installation), nil
}

// open opens the ways in: that of the core first.
func open(ctx context.Context, set Listen, keys *identity.Holder) ([]entrance, error) {
	in, err := front(ctx, set, keys)
	if err != nil {
		return nil, fmt.Errorf("--grpc-address: %w", err)
	}
	entrances := []entrance{in}
	if set.LoopbackAddress == "" {
		return entrances, nil
	}
	in, err = loopback(ctx, set)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--loopback-address: %w", err), closeAll(entrances))
	}
	return append(entrances, in), nil
}

func closeAll(entrances []entrance) error {
	var errs []error
	for _, in := range entrances {
		errs = append(errs, in.listener.Close())
	}
	return errors.Join(errs...)
}

// loopback is the way in from inside the Pod: kubectl port-forward ends there.
func loopback(ctx context.Context, set Listen) (entrance, error) {
	host, _, err := net.SplitHostPort(set.LoopbackAddress)
	if err != nil {
		return entrance{}, err
	}
	if address := net.ParseIP(host); address == nil || !address.IsLoopback() {
		return entrance{}, errors.New("is not an address of the loopback device")
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", set.LoopbackAddress)
	g := guest{
		everywhere: set.LoopbackCredentials,
		remedy:     "over loopback that is so with --loopback-credentials alone",
	}
	if err != nil {
		return entrance{}, err
	}
	return entrance{
		listener:    inbound.Listener(l, guestConnections, guestConnections),
		credentials: insecure.NewCredentials(),
		guest:       func(context.Context) guest { return g },
		narrow:      true,
	}, nil
}

// front is the way in for the core and for the clients named by the flags.
func front(ctx context.Context, set Listen, keys *identity.Holder) (entrance, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", set.GRPCAddress)
	if err != nil {
		return entrance{}, err
	}
	if keys == nil {
		// Nobody can tell who calls; the core sends no references this way.
		g := guest{core: true, remedy: "this family was started with --plaintext and uses none"}
		return entrance{listener: inbound.Bounded(l), credentials: insecure.NewCredentials(), guest: func(context.Context) guest { return g }}, nil
	}
	guests := map[string]guest{
		identity.Controller.In(set.Installation):     {everywhere: true, core: true},
		identity.MetricsAdapter.In(set.Installation): {everywhere: true, core: true},
	}
	for _, c := range set.Clients {
		guests[identity.Client(c.Name).In(set.Installation)] = guest{
			namespaces: c.Namespaces,
			remedy:     fmt.Sprintf("client %s may do so in the namespaces of --allow-client=%s=... alone", c.Name, c.Name),
		}
	}
	var names []string
	for name := range guests {
		names = append(names, name)
	}
	who := func(ctx context.Context) guest { return guests[identity.Caller(ctx, names...)] }
	return entrance{listener: l, credentials: inbound.Handshakes(keys.Server(set.Policy, names...)), guest: who}, nil
}

// options are the server options that the entrance needs.
func (e entrance) options() []grpc.ServerOption {
	frame, elements, calls := longestFrame, externalscaler.MostElements, uint32(mostCalls)
	if e.narrow {
		frame, elements, calls = longestGuestFrame, externalscaler.FewElements, guestCalls
	}
	options := []grpc.ServerOption{
		grpc.Creds(e.credentials),
		grpc.MaxRecvMsgSize(frame),
		grpc.ForceServerCodecV2(externalscaler.Codec("the caller", elements)),
		grpc.MaxConcurrentStreams(calls),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			// Half of what our clients use: a ping a little early is no abuse.
			MinTime:             keepaliveTime / 2,
			PermitWithoutStream: true,
		}),
	}
	if e.guest == nil {
		return options
	}
	return append(options,
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			return handle(context.WithValue(ctx, guestKey{}, e.guest(ctx)), req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			known := middleware.WrapServerStream(stream)
			known.WrappedContext = context.WithValue(stream.Context(), guestKey{}, e.guest(stream.Context()))
			return handle(srv, known)
		}))
}
