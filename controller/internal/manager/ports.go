package manager

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/equivalence"
	"github.com/sluice-autoscaler/sluice/identity/inbound"
)

// lastScrapes is how long what was asked may take when the controller ends.
const lastScrapes = 2 * time.Second

// serveScrapes serves what the controller measures, in full what it decided, cold
// starts, what it knows of families, and what it compared in shadow.
// controller-runtime's own server has no bound on what anybody sends.
func serveScrapes(ctx context.Context, mgr ctrl.Manager, address string, decisions, cold, families, compared http.Handler) error {
	mux := http.NewServeMux()
	mux.Handle("/metrics", inbound.Scrapes(promhttp.HandlerFor(ctrlmetrics.Registry, promhttp.HandlerOpts{})))
	mux.Handle(account.Path, decisions)
	mux.Handle(account.ColdStartsPath, fromInside(cold))
	mux.Handle(account.FamiliesPath, fromInside(families))
	mux.Handle(equivalence.Path, fromInside(compared))
	return serve(ctx, mgr, "metrics", "--metrics-bind-address", address, mux)
}

// fromInside serves whoever may forward ports of the installation's Pods: the
// readings of every namespace are told. Few at once: an answer is some hundreds
// of kilobytes.
func fromInside(next http.Handler) http.Handler {
	bounded := inbound.Scrapes(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fromLoopback(r) {
			http.Error(w, "this is told over kubectl port-forward alone", http.StatusForbidden)
			return
		}
		bounded.ServeHTTP(w, r)
	})
}

// serveProbes serves the probes: the process answers, and it is ready to.
func serveProbes(ctx context.Context, mgr ctrl.Manager, address string, ready healthz.Checker) error {
	mux := http.NewServeMux()
	for path, checks := range map[string]map[string]healthz.Checker{
		"/healthz": {"ping": healthz.Ping},
		"/readyz":  {"ping": healthz.Ping, "key": ready},
	} {
		handler := http.StripPrefix(path, &healthz.Handler{Checks: checks})
		mux.Handle(path, handler)
		mux.Handle(path+"/", handler)
	}
	return serve(ctx, mgr, "health", "--health-probe-bind-address", address, mux)
}

// serve serves at an address from the manager's start on; "0" and "" are none.
func serve(ctx context.Context, mgr ctrl.Manager, name, flag, address string, handler http.Handler) error {
	if address == "0" || address == "" {
		return nil
	}
	listener, err := inbound.Listen(ctx, address)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	return mgr.Add(&manager.Server{Name: name, Server: inbound.Server(handler), Listener: listener, ShutdownTimeout: ptr.To(lastScrapes)})
}
