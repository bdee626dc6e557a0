// Package manager wires the controller's parts together and runs them.
package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/go-logr/logr"
	uberzap "go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/internal/activation"
	"github.com/sluice-autoscaler/sluice/controller/internal/authentication"
	"github.com/sluice-autoscaler/sluice/controller/internal/cloudevents"
	"github.com/sluice-autoscaler/sluice/controller/internal/metrics"
	"github.com/sluice-autoscaler/sluice/controller/internal/scaledjob"
	"github.com/sluice-autoscaler/sluice/controller/internal/scaledobject"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/internal/subscription"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/identity"
)

// Run runs the controller until ctx is done.
func Run(ctx context.Context, o Options, version string) error {
	log := zap.New(zap.UseFlagOptions(&o.Log), zap.RawZapOpts(uberzap.WrapCore(lazily)))
	guard.Install()
	slog.SetDefault(slog.New(logr.ToSlogHandler(log)))
	ctrl.SetLogger(log)
	klog.SetLogger(log) // of the libraries that talk to the API server
	if _, err := memlimit.Set(); err != nil {
		log.Error(err, "the garbage collector does not know the memory limit of the container")
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	// The API server's own priority and fairness is the only limit.
	config.QPS = -1
	mgr, err := ctrl.NewManager(config, options(o))
	if err != nil {
		return err
	}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	lead := &leadership{log: slog.New(logr.ToSlogHandler(log.WithName("leadership")))}
	if o.LeaderElect {
		if lead.elector, err = electorOf(config, o); err != nil {
			return err
		}
	}
	keys, err := federation.NewKeys(config, mgr.GetHTTPClient(), identity.Controller, o.Namespace, slog.New(logr.ToSlogHandler(log.WithName("key"))))
	if err != nil {
		return err
	}
	wired := &bell{leads: lead.leads}
	keysDue := &outlet{}
	families := federation.New(federation.Config{
		Namespace:      o.Namespace,
		Client:         clientset,
		Transport:      keys.Transport,
		AllowPlaintext: o.PlaintextScalers,
		NoData:         o.NoData,

		MostOfNamespace: o.NamespaceTriggers,
		Changed:         wired.changed,
		ServicesChanged: func() { keysDue.ask(keysRequest) },
		Log:             slog.New(logr.ToSlogHandler(log.WithName("federation"))),
	})
	wired.states = families.State
	if err := mgr.Add(families); err != nil {
		return err
	}
	rival := &rival{
		client: clientset, now: time.Now, log: slog.New(logr.ToSlogHandler(log.WithName("rival"))),
		forget: lead.forgetIfLeading, changed: lead.beginAgain,
	}
	if o.LeaderElect && o.LeaderElectionID == kedaLease {
		rival.namespace = o.Namespace
	}
	if err := mgr.Add(rival); err != nil {
		return err
	}
	if err := errors.Join(index(ctx, mgr), indexReferences(ctx, mgr)); err != nil {
		return err
	}
	kinds := &target.Kinds{
		Cache: mgr.GetCache(), Client: mgr.GetClient(), Namespaces: o.WatchNamespaces, Now: time.Now,
		Changed: func(key types.NamespacedName) { wired.target(ctx, mgr.GetClient(), key) },
	}
	targets := &target.Client{Reader: mgr.GetClient(), Direct: mgr.GetAPIReader(), Kinds: kinds,
		Discovery: &target.Discovery{API: clientset.Discovery(), Now: time.Now}}
	sinks := cloudevents.NewSinks(o.ClusterName, o.ClusterObjectNamespace, slog.New(logr.ToSlogHandler(log.WithName("cloudevents"))))
	events := cloudevents.Recorder{EventRecorder: mgr.GetEventRecorder("keda-operator"), Sinks: sinks}
	writer := &status.Writer{Client: mgr.GetClient(), Events: events, Now: time.Now}
	failures, figures := metrics.NewErrors(), metrics.NewFigures()
	loop := &activation.Loop{
		Client: mgr.GetClient(), Targets: targets, Status: writer, States: families.State, Errors: failures,
		Resubscribe: wired.subscriptions.ask, Figures: figures, Now: time.Now,
	}
	podsOfJobs := &pods{cache: mgr.GetCache(), bell: wired}
	jobs := &scaledjob.Reconciler{
		Client: mgr.GetClient(), Direct: mgr.GetAPIReader(), Events: writer.Events, States: families.State,
		WatchPods: podsOfJobs.watch, Measures: metrics.Jobs{Errors: failures, Figures: figures}, Version: version, Now: time.Now,
	}
	lead.forget = func() {
		loop.Forget()
		jobs.ForgetAll()
		writer.ForgetAll()
		failures.ForgetAll()
		figures.ForgetAll()
	}
	logins := []*authentications{
		{kind: authentication.Namespaced, leads: lead.leads, recorder: writer.Events},
		{kind: authentication.Cluster, leads: lead.leads, recorder: writer.Events},
	}
	lead.began = func(ctx context.Context) {
		wired.everything(ctx, mgr.GetClient())
		for _, a := range logins {
			a.all(ctx, mgr.GetClient())
		}
		keysDue.ask(keysRequest)
	}
	for _, add := range []func() error{
		func() error {
			return mgr.Add(banner{clientset.Discovery().RESTClient(), version, slog.New(logr.ToSlogHandler(log.WithName("start")))})
		},
		func() error { return mgr.Add(lead) },
		func() error { return mgr.Add(kinds) },
		func() error { return mgr.Add(keys) },
		func() error { return signing(mgr, families, keysDue, lead, o) },
		func() error {
			return subscribing(mgr, wired, admittingDefects{
				&subscription.Reconciler{Client: mgr.GetClient(), Targets: targets, Federation: subscriptions{families, wired}},
				"a subscription", byLeader(lead.leads, inScaledObject(mgr.GetClient(), writer.Defective)),
			})
		},
		func() error {
			return reconciling(mgr, wired, o.Workers, leading{gated{Reconciler: admittingDefects{&scaledobject.Reconciler{
				Client: mgr.GetClient(), Targets: targets, Status: writer, States: families.State, Version: version,
				Selecting: keysOf(o.Selector), Now: time.Now,
			}, "a reconcile", inScaledObject(mgr.GetClient(), notReconciled(writer))}, rival: rival, notices: &notices{client: mgr.GetClient(), empty: func() client.Object { return &v1alpha1.ScaledObject{} }}}, lead})
		},
		func() error {
			return deciding(mgr, wired, leading{gated{
				Reconciler: admittingDefects{loop, "a decision", inScaledObject(mgr.GetClient(), writer.Defective)}, rival: rival,
			}, lead})
		},
		func() error {
			return subscribingJobs(mgr, admittingDefects{
				&subscription.JobReconciler{Client: mgr.GetClient(), Federation: subscriptions{families, wired}},
				"a subscription", inMetrics, // the ScaledJob's memory is its own reconciler's
			})
		},
		func() error {
			return startingJobs(mgr, wired, o.JobWorkers, jobs.Ended, leading{gated{
				Reconciler: admittingDefects{jobs, "a ScaledJob", jobs.Defective}, rival: rival, notices: &notices{client: mgr.GetClient(), empty: func() client.Object { return &v1alpha1.ScaledJob{} }},
			}, lead})
		},
		func() error { return admitting(ctx, mgr, o, targets, families, keys.GetCertificate) },
		func() error {
			for _, a := range logins {
				r := &authentication.Reconciler{Client: mgr.GetClient(), Kind: a.kind}
				admitting := admittingDefects{r, "an authentication", a.defective(mgr.GetClient())}
				if err := a.following(mgr, leading{gated{Reconciler: admitting, rival: rival}, lead}); err != nil {
					return err
				}
			}
			return nil
		},
		func() error { return mgr.AddHealthzCheck("ping", healthz.Ping) },
		func() error { return mgr.AddReadyzCheck("ping", healthz.Ping) },
		func() error { return mgr.AddReadyzCheck("key", keys.Ready) },
		func() error { return ctrlmetrics.Registry.Register(guard.Panics) },
		func() error { return ctrlmetrics.Registry.Register(failures) },
		func() error { return ctrlmetrics.Registry.Register(figures) },
		func() error { return ctrlmetrics.Registry.Register(rival.metric()) },
		func() error { return ctrlmetrics.Registry.Register(guard.Collector(families.Metrics())) },
		func() error { return sending(mgr, sinks, lead.leads) },
		func() error { return export(ctx, mgr, o, version, loop) },
		func() error {
			return mgr.AddMetricsServerExtraHandler(decisionsPath, decisions{
				record: loop.Record, leads: lead.leads, leader: leaderOf(clientset, o),
			})
		},
		func() error {
			return ctrlmetrics.Registry.Register(guard.Collector(metrics.New(mgr.GetClient(), families.State, version, lead.leads, loop.Formula)))
		},
	} {
		if err := add(); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
	}
	return mgr.Start(ctx)
}

// keysOf are the labels that a selector looks at.
func keysOf(s labels.Selector) (keys []string) {
	requirements, _ := s.Requirements()
	for _, r := range requirements {
		keys = append(keys, r.Key())
	}
	return keys
}

func options(o Options) ctrl.Options {
	scheme := runtime.NewScheme()
	must(clientgoscheme.AddToScheme(scheme))
	must(v1alpha1.AddToScheme(scheme))
	must(eventing.AddToScheme(scheme))
	selected := cache.ByObject{Label: o.Selector, Transform: o.kept}
	selectedLogins := cache.ByObject{Label: o.AuthenticationSelector, Transform: o.kept}
	// Nobody changes a workload that was read; only its scale is written.
	shared := true
	workload := cache.ByObject{UnsafeDisableDeepCopy: &shared, Transform: federation.StripWorkload}
	opts := ctrl.Options{
		Scheme:                 scheme,
		Metrics:                metricsserver.Options{BindAddress: o.MetricsAddress},
		HealthProbeBindAddress: o.HealthAddress,
		PprofBindAddress:       o.ProfilingAddress,
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{
				&v1alpha1.ScaledObject{}:                 selected,
				&v1alpha1.ScaledJob{}:                    selected,
				&v1alpha1.TriggerAuthentication{}:        selectedLogins,
				&v1alpha1.ClusterTriggerAuthentication{}: selectedLogins,
				&batchv1.Job{}:                           ofScaledJobs(),
				&corev1.Pod{}:                            ofScaledJobs(),
				&autoscalingv2.HorizontalPodAutoscaler{}: {Label: o.Selector, Transform: scaledobject.Stripped},
				&appsv1.Deployment{}:                     workload,
				&appsv1.StatefulSet{}:                    workload,
				&appsv1.ReplicaSet{}:                     workload,
			},
		},
	}
	for _, namespace := range o.WatchNamespaces {
		if opts.Cache.DefaultNamespaces == nil {
			opts.Cache.DefaultNamespaces = map[string]cache.Config{}
		}
		opts.Cache.DefaultNamespaces[namespace] = cache.Config{}
	}
	return opts
}

// kept is what the cache holds of an object of users.
func (o Options) kept(object any) (any, error) {
	stripped, err := cache.TransformStripManagedFields()(object)
	if err != nil {
		return nil, err
	}
	return o.Limits.Transform(stripped)
}

// must is for registrations that fail only by a programmer's mistake.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
