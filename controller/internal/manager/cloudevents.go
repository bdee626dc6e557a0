package manager

import (
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/internal/admission"
	"github.com/sluice-autoscaler/sluice/controller/internal/cloudevents"
)

// addSinks keeps the sinks in line with what users ask for.
func addSinks(mgr ctrl.Manager, sinks *cloudevents.Sinks, leads func() bool) error {
	var ofNamespaces, ofCluster feed
	sinks.Inhabited = func(namespace string) bool { return admission.Inhabited(mgr.GetClient(), namespace) }
	sinks.GaveUp = func(key types.NamespacedName) {
		if key.Namespace == "" {
			ofCluster.add(key)
		} else {
			ofNamespaces.add(key)
		}
	}
	for _, one := range []struct {
		name  string
		empty func() eventing.Source
		feed  *feed
	}{
		{"cloudeventsource", func() eventing.Source { return &eventing.CloudEventSource{} }, &ofNamespaces},
		{"clustercloudeventsource", func() eventing.Source { return &eventing.ClusterCloudEventSource{} }, &ofCluster},
	} {
		r := &cloudevents.Reconciler{Client: mgr.GetClient(), Sinks: sinks, New: one.empty, Leads: leads}
		err := ctrl.NewControllerManagedBy(mgr).Named(one.name).
			For(one.empty(), builder.WithPredicates(predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, roomChanged()))).
			WatchesRawSource(source.Func(one.feed.attach)).
			WithOptions(inTurns(fewWorkers, controller.Options{RateLimiter: retries(), NeedLeaderElection: ptr.To(false)})).
			Complete(againAfterConflict(reportingPanics{r, "a CloudEventSource", r.Defective}))
		if err != nil {
			return err
		}
	}
	if err := ctrlmetrics.Registry.Register(guard.Collector(sinks.Metrics())); err != nil {
		return err
	}
	return mgr.Add(sinks)
}
