package manager

import (
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/internal/cloudevents"
)

// sending keeps the sinks in line with what users ask for.
func sending(mgr ctrl.Manager, sinks *cloudevents.Sinks, leads func() bool) error {
	var ofNamespaces, ofCluster outlet
	sinks.GaveUp = func(key types.NamespacedName) {
		if key.Namespace == "" {
			ofCluster.ask(key)
		} else {
			ofNamespaces.ask(key)
		}
	}
	for _, one := range []struct {
		name   string
		empty  func() eventing.Source
		outlet *outlet
	}{
		{"cloudeventsource", func() eventing.Source { return &eventing.CloudEventSource{} }, &ofNamespaces},
		{"clustercloudeventsource", func() eventing.Source { return &eventing.ClusterCloudEventSource{} }, &ofCluster},
	} {
		r := &cloudevents.Reconciler{Client: mgr.GetClient(), Sinks: sinks, New: one.empty, Leads: leads}
		err := ctrl.NewControllerManagedBy(mgr).Named(one.name).
			For(one.empty(), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
			WatchesRawSource(source.Func(one.outlet.attach)).
			WithOptions(controller.Options{RateLimiter: retries(), NeedLeaderElection: ptr.To(false)}).
			Complete(againAfterConflict(admittingDefects{r, "a CloudEventSource", r.Defective}))
		if err != nil {
			return err
		}
	}
	if err := ctrlmetrics.Registry.Register(sinks.Metrics()); err != nil {
		return err
	}
	return mgr.Add(sinks)
}
