package serving

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/trigger"
)

// onLoopback serves a family over TCP until the test ends.
func onLoopback(t *testing.T, s *Server) *grpc.ClientConn {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return conn
}

// TestStopBeforeTheStart: who is told to end before it has begun has done so.
func TestStopBeforeTheStart(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	var ended sync.WaitGroup
	for range 200 { // at once, so that either may come first
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended.Go(func() {
			if err := New(Config{Family: "wells", Triggers: []trigger.Trigger{(&well{}).trigger()}}).Serve(stopped, l); err != nil {
				t.Error(err)
			}
		})
	}
	ended.Wait()
}

func TestHealthAndReflectionAreServed(t *testing.T) {
	conn := onLoopback(t, New(Config{Family: "wells", Triggers: []trigger.Trigger{(&well{}).trigger()}}))
	for _, service := range []string{"", "externalscaler.ExternalScaler", "sluice.scaler.v1.ScalerService"} {
		answer, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		if err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q = %v, %v", service, answer, err)
		}
	}
	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range answer.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	if !slices.Contains(names, "externalscaler.ExternalScaler") || !slices.Contains(names, "sluice.scaler.v1.ScalerService") {
		t.Errorf("services = %v", names)
	}
}

func TestProbesAndMetrics(t *testing.T) {
	s := New(Config{Family: "wells", Triggers: []trigger.Trigger{(&well{}).trigger()}})
	web := s.handler()
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		web.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	if code, _ := get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz = %d", code)
	}
	conn := onLoopback(t, s)
	ref := &externalscaler.ScaledObjectRef{Name: "app", ScalerMetadata: map[string]string{"name": "deep"}}
	if _, err := externalscaler.NewExternalScalerClient(conn).IsActive(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if code, _ := get("/readyz"); code != http.StatusOK {
		t.Errorf("/readyz = %d", code)
	}
	_, body := get("/metrics")
	for _, want := range []string{
		`sluice_scaler_reads_total{cause="poll",family="wells",outcome="value",type="well"} 1`,
		`sluice_scaler_questions{family="wells",type="well"} 1`,
		`sluice_scaler_answer_age_seconds_count{family="wells",type="well"} 0`,
		`sluice_scaler_subscriptions{family="wells",type="well"} 1`,
		`sluice_scaler_read_errors_total{code="Unavailable",family="wells",type="well"} 0`,
		`keda_internal_metricsservice_grpc_server_handled_total`,
		`keda_internal_metricsservice_grpc_server_handling_seconds_bucket`,
		`go_goroutines`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	s.health.Shutdown()
	if code, _ := get("/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz = %d while it goes", code)
	}
}

func TestRequestsOfAllKinds(t *testing.T) {
	other := trigger.Define("spring", func(context.Context, wellParams) (contract.Source, error) { return podsSource{}, nil })
	tests := map[string]struct {
		triggers []trigger.Trigger
		metadata map[string]string
		metric   string
		option   grpc.DialOption
		want     float64
		code     codes.Code
		message  string
	}{
		"a family of one type needs no type": {metadata: map[string]string{"name": "deep"}, metric: "well-deep", want: 3},
		"a family of several needs one": {
			triggers: []trigger.Trigger{other}, metadata: map[string]string{"name": "deep"}, metric: "well-deep",
			code: codes.InvalidArgument, message: "sluice.dev/triggerType: is required by family wells, which serves spring, well",
		},
		"or the name of its Service": {
			triggers: []trigger.Trigger{other}, metadata: map[string]string{"name": "deep"}, metric: "well-deep",
			option: grpc.WithAuthority("scaler-well.sluice-system:9090"), want: 3,
		},
		"an unknown type": {
			metadata: map[string]string{scalerv1.KeyTriggerType: "brook"},
			code:     codes.Unimplemented, message: `trigger type "brook" is not served by family wells, which serves well`,
		},
		"an unknown metric": {
			metadata: map[string]string{"name": "deep"}, metric: "wel-deep",
			code: codes.InvalidArgument, message: `well: metric "wel-deep" is none of this trigger's: well-deep`,
		},
		"a missing parameter": {
			metadata: map[string]string{}, metric: "well-",
			code: codes.InvalidArgument, message: "well: name: is required (looked in metadata)",
		},
		"credentials that nobody resolves": {
			metadata: map[string]string{"name": "deep", scalerv1.KeyAuthenticationRef: "TriggerAuthentication/secret"}, metric: "well-deep",
			code: codes.InvalidArgument, message: "well: authenticationRef: TriggerAuthentication/secret is not read: family wells takes no credentials",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := &well{}
			w.level.Store(3)
			s := New(Config{Family: "wells", Triggers: append(tt.triggers, w.trigger())})
			conn := onLoopback(t, s)
			if tt.option != nil {
				var err error
				if conn, err = grpc.NewClient(conn.Target(), grpc.WithTransportCredentials(insecure.NewCredentials()), tt.option); err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
			}
			answer, err := externalscaler.NewExternalScalerClient(conn).GetMetrics(t.Context(), &externalscaler.GetMetricsRequest{
				ScaledObjectRef: &externalscaler.ScaledObjectRef{Name: "app", ScalerMetadata: tt.metadata}, MetricName: tt.metric,
			})
			if status.Code(err) != tt.code || status.Convert(err).Message() != tt.message {
				t.Fatalf("err = %v, want %v %q", err, tt.code, tt.message)
			}
			if err != nil {
				return
			}
			v := answer.GetMetricValues()[0]
			//nolint:staticcheck // older clients read only the integer
			if v.GetMetricValueFloat() != tt.want || v.GetMetricValue() != int64(tt.want) {
				t.Errorf("answer = %v, want %v in both fields", answer, tt.want)
			}
		})
	}
}
