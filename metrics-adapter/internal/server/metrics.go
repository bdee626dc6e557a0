package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	apimetrics "sigs.k8s.io/custom-metrics-apiserver/pkg/apiserver/metrics"

	"github.com/sluice-autoscaler/sluice/identity/inbound"
)

// freshness counts how old answers are; the API server's library leaves it to
// us to register it.
func freshness() error { return apimetrics.RegisterMetrics(legacyregistry.Register) }

// callMetrics counts the calls to families as KEDA's metrics server counts
// those to its operator.
func callMetrics() *grpcprom.ClientMetrics {
	const prefix = "keda_internal_metricsservice"
	return grpcprom.NewClientMetrics(
		grpcprom.WithClientCounterOptions(grpcprom.WithNamespace(prefix)),
		grpcprom.WithClientHandlingTimeHistogram(
			grpcprom.WithHistogramNamespace(prefix),
			grpcprom.WithHistogramBuckets([]float64{.001, .01, .1, .3, .6, 1, 3, 6, 9, 20, 30, 60, 90, 120}),
		),
	)
}

// metricsEndpoint serves what the process measures and what its API server
// does, which has a registry of its own, at one place.
func metricsEndpoint(address string) manager.RunnableFunc {
	return func(ctx context.Context) error {
		if address == "0" {
			return nil
		}
		listener, err := inbound.Listen(ctx, address)
		if err != nil {
			return fmt.Errorf("--metrics-bind-address: %w", err)
		}
		mux := http.NewServeMux()
		mux.Handle("/metrics", inbound.Scrapes(promhttp.HandlerFor(
			prometheus.Gatherers{ctrlmetrics.Registry, prometheus.GathererFunc(apiServerMetrics)}, promhttp.HandlerOpts{})))
		endpoint := inbound.Server(mux)
		stop := context.AfterFunc(ctx, func() { endpoint.Close() })
		defer stop()
		if err := endpoint.Serve(listener); ctx.Err() == nil {
			return err
		}
		return nil
	}
}

// apiServerMetrics are those of the API server; what every Go process has is
// in the other registry already.
func apiServerMetrics() ([]*dto.MetricFamily, error) {
	all, err := legacyregistry.DefaultGatherer.Gather()
	kept := all[:0]
	for _, family := range all {
		if strings.HasPrefix(family.GetName(), "apiserver_") || strings.HasPrefix(family.GetName(), "metrics_apiserver_") {
			kept = append(kept, family)
		}
	}
	return kept, err
}
