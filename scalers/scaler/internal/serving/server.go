package serving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

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

	"github.com/sluice-autoscaler/sluice/identity"
	"github.com/sluice-autoscaler/sluice/identity/inbound"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/metrics"
)

// ListenAndServe serves gRPC and HTTP until ctx ends.
func (s *Server) ListenAndServe(ctx context.Context, set Listen) error {
	keys, stopFollowing, err := s.keys(ctx, set)
	if err != nil {
		return err
	}
	defer stopFollowing()
	entrances, err := open(ctx, set, keys)
	if err != nil {
		return err
	}
	httpListener, err := inbound.Listen(ctx, set.MetricsAddress)
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
		// One that had not begun when all were stopped says that it was.
		if ended := <-served; !errors.Is(ended, grpc.ErrServerStopped) {
			err = errors.Join(err, ended)
		}
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
		s.core.metrics.Registry.MustRegister(metrics.Certificate(keys.LifeLeft))
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
