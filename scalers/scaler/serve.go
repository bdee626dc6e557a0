package scaler

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sluice-autoscaler/sluice/identity"
	"github.com/sluice-autoscaler/sluice/identity/inbound"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/suspects"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/tracing"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// version is set at link time: -X .../scalers/scaler.version=v0.1.0
var version = "dev"

// settings are the flags of a family, each with an environment variable that
// is read when the flag is not given.
type settings struct {
	grpcAddress     string
	loopbackAddress string
	metricsAddress  string
	// plaintext serves grpcAddress without TLS.
	plaintext           bool
	loopbackCredentials bool
	// installation is the namespace of the core, and of this family's key.
	installation    string
	clients         []allowedClient
	serving         identity.Policy
	logLevel        slog.Level
	readTimeout     time.Duration
	maxReadTimeout  time.Duration
	shutdownTimeout time.Duration
	describe        bool
	// stateDir has what outlives the process.
	stateDir string
	// showVersion asks for the version, and for nothing else.
	showVersion bool
	// credentials is whether triggers may refer to some, which resolver makes a
	// resolver of.
	credentials bool
	resolver    OpenResolver
}

// environment names a flag's environment variable.
var environment = map[string]string{
	"grpc-address":     "SLUICE_GRPC_ADDRESS",
	"loopback-address": "SLUICE_LOOPBACK_ADDRESS",
	"installation":     "SLUICE_INSTALLATION",
	"metrics-address":  "SLUICE_METRICS_ADDRESS",
	"log-level":        "SLUICE_LOG_LEVEL",
	"read-timeout":     "SLUICE_READ_TIMEOUT",
	"max-read-timeout": "SLUICE_MAX_READ_TIMEOUT",
	"shutdown-timeout": "SLUICE_SHUTDOWN_TIMEOUT",
}

// parseSettings reads flags from args and what they leave out from getenv.
func parseSettings(family string, args []string, getenv func(string) string, output io.Writer, options ...ServeOption) (settings, error) {
	s := settings{resolver: withoutCredentials(family)}
	flags := flag.NewFlagSet(family, flag.ContinueOnError)
	flags.SetOutput(output)
	flags.StringVar(&s.grpcAddress, "grpc-address", ":9090", "where the gRPC services listen, with mTLS")
	flags.BoolVar(&s.plaintext, "plaintext", false, "serve --grpc-address without TLS; references to credentials are refused")
	flags.StringVar(&s.loopbackAddress, "loopback-address", "127.0.0.1:9091", "where they listen without TLS inside the Pod, for kubectl port-forward; empty for nowhere")
	flags.BoolVar(&s.loopbackCredentials, "loopback-credentials", false, "let requests over --loopback-address refer to credentials")
	flags.StringVar(&s.installation, "installation", "", "namespace of the core and of this family's key (default $POD_NAMESPACE)")
	flags.Func("allow-client", "<name>[=<namespace>,...]: also serve the client <name>.client.<installation>, which may refer to credentials in these namespaces; may be repeated",
		func(text string) error {
			c, err := parseClient(text)
			s.clients = append(s.clients, c)
			return err
		})
	flags.StringVar(&s.metricsAddress, "metrics-address", ":8080", "where /metrics, /healthz and /readyz listen")
	flags.TextVar(&s.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	flags.DurationVar(&s.readTimeout, "read-timeout", 10*time.Second, "the longest that one read of a source may take; a shorter polling interval shortens it, down to 3s")
	flags.DurationVar(&s.maxReadTimeout, "max-read-timeout", time.Minute, "the longest that one read may take where the trigger has a timeout of its own")
	flags.DurationVar(&s.shutdownTimeout, "shutdown-timeout", 10*time.Second, "how long open streams have to end at shutdown")
	flags.StringVar(&s.stateDir, "state-dir", "", "a folder of this process alone that outlives it, such as an emptyDir: endpoints that are read when it crashes are kept away from afterwards; empty for none")
	flags.BoolVar(&s.showVersion, "version", false, "print the version and exit")
	flags.BoolVar(&s.describe, "describe", false, "print what the family serves as JSON and exit")
	client.Flags(flags)
	var with serveOptions
	for _, option := range options {
		option(&with)
	}
	if with.credentials != nil {
		s.credentials, s.resolver = true, with.credentials(flags, getenv)
	}
	if err := flags.Parse(args); err != nil || s.showVersion {
		return s, err
	}
	if err := client.CheckEnvironment(getenv); err != nil {
		return s, err
	}
	var err error
	if s.serving, err = identity.ServingPolicy(getenv); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, variable := range environment {
		value := getenv(variable)
		if given[name] || value == "" {
			continue
		}
		if err := flags.Set(name, value); err != nil {
			return s, fmt.Errorf("%s: %w", variable, err)
		}
	}
	if s.installation == "" {
		s.installation = getenv("POD_NAMESPACE")
	}
	if s.installation == "" && !s.plaintext && !s.describe {
		return s, errors.New("--installation: is required for mTLS (or POD_NAMESPACE); --plaintext serves without")
	}
	return s, nil
}

// newLog writes lines as those of the controller and the adapter are: JSON with
// the time as ts and the level in small letters.
func newLog(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			switch {
			case len(groups) > 0:
			case a.Key == slog.TimeKey:
				return slog.String("ts", a.Value.Time().UTC().Format(time.RFC3339))
			case a.Key == slog.LevelKey:
				return slog.String(slog.LevelKey, strings.ToLower(a.Value.String()))
			}
			return a
		},
	}))
}

// Serve runs a family until ctx ends: flags, logs, gRPC with health and
// reflection, metrics and graceful stop. A family's main calls nothing else.
func Serve(ctx context.Context, family string, triggers []trigger.Trigger, options ...ServeOption) error {
	s, err := parseSettings(family, os.Args[1:], os.Getenv, os.Stderr, options...)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case s.showVersion:
		fmt.Println("scaler-"+family, version)
		return nil
	}
	if err := checkCredentials(triggers, s.credentials); err != nil {
		return err
	}
	if s.describe {
		return printDescription(os.Stdout, family, triggers)
	}
	log := newLog(os.Stderr, s.logLevel).With("family", family)
	slog.SetDefault(log)
	if _, err := memlimit.Set(); err != nil {
		log.Warn("the garbage collector does not know the memory limit of the container", "error", err)
	}
	resolver, err := s.resolver(log)
	if err != nil {
		return err
	}
	defer resolver.Close()
	traces, stopTraces, err := tracing.Provider(ctx, family, version, os.Getenv)
	if err != nil {
		log.Error("no traces are sent", "error", err)
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = stopTraces(last) // nobody is left to tell
	}()
	book := openBook(s.stateDir, log)
	defer book.Close()
	defer context.AfterFunc(ctx, book.Close)() // whatever becomes of the end
	server := New(Config{
		Family: family, Version: version, Triggers: triggers, Log: log, Resolver: resolver, Traces: traces,
		ReadTimeout: s.readTimeout, MaxReadTimeout: s.maxReadTimeout, ShutdownTimeout: s.shutdownTimeout,
		pool: pool.Config{Book: book},
	})
	return server.listenAndServe(ctx, s)
}

// openBook opens the memory of which endpoints are read. It is nil, which
// remembers nothing, without a folder for it or where that cannot be used.
func openBook(dir string, log *slog.Logger) *suspects.Book {
	if dir == "" {
		return nil
	}
	book, err := suspects.Open(filepath.Join(dir, "endpoints"), time.Now(), log)
	if err != nil {
		log.Error("endpoints that end the process are not remembered", "flag", "--state-dir", "error", err)
	}
	return book
}

func printDescription(w io.Writer, family string, triggers []trigger.Trigger) error {
	text, err := describeJSON(family, version, triggers)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}

// listenAndServe serves gRPC and HTTP until ctx ends.
func (s *Server) listenAndServe(ctx context.Context, set settings) error {
	keys, stopFollowing, err := s.keys(ctx, set)
	if err != nil {
		return err
	}
	defer stopFollowing()
	entrances, err := open(ctx, set, keys)
	if err != nil {
		return err
	}
	httpListener, err := inbound.Listen(ctx, set.metricsAddress)
	if err != nil {
		return errors.Join(fmt.Errorf("--metrics-address: %w", err), closeAll(entrances))
	}
	web := inbound.Server(s.handler())
	webDone := make(chan error, 1)
	go func() { webDone <- web.Serve(httpListener) }()
	s.core.Log.Info("serving", "version", s.core.Version, "types", s.core.types(), "grpc", entrances[0].listener.Addr().String(), "metrics", httpListener.Addr().String())
	err = s.serve(ctx, keys, entrances...)
	web.Close() // probes and scrapes have nothing to finish
	if webErr := <-webDone; err == nil && !errors.Is(webErr, http.ErrServerClosed) {
		err = webErr
	}
	return err
}

// Server is a family in memory: what Serve runs, without flags.
type Server struct {
	core   *core
	health *health.Server
}

// New makes a family that serves nothing yet.
func New(cfg Config) *Server { return &Server{core: newCore(cfg), health: health.NewServer()} }

// Serve serves plaintext gRPC on l until ctx ends, then stops gracefully
// within Config.ShutdownTimeout. It closes l and everything it opened.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return s.serve(ctx, nil, entrance{listener: l, credentials: insecure.NewCredentials()})
}

// serve serves on all entrances. With keys it is ready once there are some.
func (s *Server) serve(ctx context.Context, keys *identity.Holder, entrances ...entrance) error {
	s.reportHealth(keys)
	common := s.interceptors()
	servers := make([]*grpc.Server, len(entrances))
	for i, in := range entrances {
		// Who calls is known before anything is counted, logged or answered.
		g := grpc.NewServer(append(in.options(), common...)...) //nolint:contextcheck // interceptors have their call's
		externalscaler.RegisterExternalScalerServer(g, &externalService{core: s.core})
		scalerv1.RegisterScalerServiceServer(g, &watchService{core: s.core})
		healthv1.RegisterHealthServer(g, s.health)
		reflection.Register(g)
		servers[i] = g
	}

	// The sampler outlives ctx: it serves until the last stream has ended.
	sampling, stopSampling := context.WithCancel(context.WithoutCancel(ctx))
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		s.core.sampler.Start(sampling, s.core.ShutdownTimeout)
	}()
	served := make(chan error, len(entrances))
	for i, g := range servers {
		go func() { served <- g.Serve(entrances[i].listener) }()
	}

	var err error
	open := len(servers)
	select {
	case err = <-served: // one that fails ends all
		open--
	case <-ctx.Done():
	}
	s.stop(servers)
	for range open {
		err = errors.Join(err, <-served)
	}
	s.core.forgetAll()
	stopSampling()
	<-sampled
	s.core.running.Wait()
	return err
}

// reportHealth says whether the family can be used: it cannot as long as it
// has no key to be recognised by.
func (s *Server) reportHealth(keys *identity.Holder) {
	report := func() {
		state := healthv1.HealthCheckResponse_SERVING
		if keys != nil {
			if _, err := keys.Keys(); err != nil {
				state = healthv1.HealthCheckResponse_NOT_SERVING
			}
		}
		for _, name := range []string{"", externalscaler.ExternalScaler_ServiceDesc.ServiceName, scalerv1.ScalerService_ServiceDesc.ServiceName} {
			s.health.SetServingStatus(name, state)
		}
	}
	if keys != nil {
		keys.OnChange(report)
	}
	report()
}

// stop lets streams end by themselves, but not for ever: one open stream must
// not block a rollout.
func (s *Server) stop(servers []*grpc.Server) {
	s.health.Shutdown()
	s.core.startDraining()
	var graceful sync.WaitGroup
	for _, g := range servers {
		graceful.Go(g.GracefulStop)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		graceful.Wait()
	}()
	timer := time.NewTimer(s.core.ShutdownTimeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		for _, g := range servers {
			g.Stop()
		}
		<-done
	}
}

// interceptors do what every call needs. The outermost counts and logs what
// the innermost has turned a panic into.
func (s *Server) interceptors() []grpc.ServerOption {
	// As KEDA's operator counts the calls of its metrics server.
	const prefix = "keda_internal_metricsservice"
	counted := prometheus.NewServerMetrics(
		prometheus.WithServerCounterOptions(prometheus.WithNamespace(prefix)),
		prometheus.WithServerHandlingTimeHistogram(
			prometheus.WithHistogramNamespace(prefix),
			prometheus.WithHistogramBuckets([]float64{.001, .01, .1, .3, .6, 1, 3, 6, 9, 20, 30, 60, 90, 120}),
		),
	)
	s.core.metrics.Registry.MustRegister(counted)
	onPanic := recovery.WithRecoveryHandlerContext(func(ctx context.Context, cause any) error {
		s.core.Log.ErrorContext(ctx, "panic in a call", "panic", defect.Text(cause), "stack", string(debug.Stack()))
		return status.Error(codes.Internal, defect.Err.Error())
	})
	logger := logging.LoggerFunc(func(ctx context.Context, _ logging.Level, message string, fields ...any) {
		// Calls are the steady state; an operator who wants them asks for them.
		s.core.Log.Log(ctx, slog.LevelDebug, message, fields...)
	})
	logged := logging.WithLogOnEvents(logging.FinishCall)
	return []grpc.ServerOption{
		// What a call has opened is closed before the family ends, also when
		// its stream is cut.
		grpc.WaitForHandlers(true),
		grpc.ChainUnaryInterceptor(
			counted.UnaryServerInterceptor(),
			logging.UnaryServerInterceptor(logger, logged),
			recovery.UnaryServerInterceptor(onPanic),
		),
		grpc.ChainStreamInterceptor(
			counted.StreamServerInterceptor(),
			logging.StreamServerInterceptor(logger, logged),
			recovery.StreamServerInterceptor(onPanic),
		),
	}
}

// handler serves probes and metrics. Readiness never depends on a source: a
// broker that is down is no reason to take its family away.
func (s *Server) handler() http.Handler {
	s.core.metrics.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		answer, err := s.health.Check(r.Context(), &healthv1.HealthCheckRequest{})
		if err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			http.Error(w, "not serving", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("/metrics", inbound.Scrapes(promhttp.HandlerFor(s.core.metrics.Registry, promhttp.HandlerOpts{})))
	return mux
}

// Refresh has every question that is asked read again and returns when the
// answers stand. It is for tests that changed what a source will say.
func (s *Server) Refresh(ctx context.Context) error { return s.core.sampler.Refresh(ctx) }

// describeJSON is the answer to Describe as the flag --describe prints it.
func describeJSON(family, version string, triggers []trigger.Trigger) ([]byte, error) {
	return protojson.MarshalOptions{Multiline: true}.Marshal(trigger.Describe(family, version, triggers))
}
