package manager

import (
	"context"
	"os"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sluice-autoscaler/sluice/controller/internal/activation"
	"github.com/sluice-autoscaler/sluice/controller/internal/telemetry"
)

// lastExport bounds how long the last spans and metrics may take to be sent.
const lastExport = 2 * time.Second

// export sends traces and metrics to a collector, each where it is asked for.
// What cannot be set up is not sent: scaling does not depend on it.
func export(ctx context.Context, mgr ctrl.Manager, o Options, version string, loop *activation.Loop) error {
	log := mgr.GetLogger().WithName("telemetry")
	traces, err := telemetry.Traces(ctx, version, os.Getenv)
	if err != nil {
		log.Error(err, "no traces are sent")
	}
	if traces != nil {
		loop.Traces = traces
		if err := mgr.Add(shutdownAtTheEnd(traces.Shutdown)); err != nil {
			return err
		}
	}
	if !o.OpenTelemetryMetrics {
		return nil
	}
	meters, err := telemetry.Metrics(ctx, version, os.Getenv)
	if err != nil {
		log.Error(err, "no metrics are sent")
		return nil
	}
	if err := telemetry.Observe(meters, ctrlmetrics.Registry); err != nil {
		return err
	}
	return mgr.Add(shutdownAtTheEnd(meters.Shutdown))
}

func shutdownAtTheEnd(shutdown func(context.Context) error) manager.RunnableFunc {
	return func(ctx context.Context) error {
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastExport)
		defer cancel()
		return shutdown(last)
	}
}
