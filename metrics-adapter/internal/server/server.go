// Package server wires the metrics adapter together and runs it.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/runtime"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/apiserver"
	basecmd "sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/identity"
	"github.com/sluice-autoscaler/sluice/identity/inbound"
	"github.com/sluice-autoscaler/sluice/metrics-adapter/internal/provider"
)

// Run serves until ctx is done.
func Run(ctx context.Context, args []string, version string) error {
	base := &basecmd.AdapterBase{Name: "sluice-metrics-adapter", FlagSet: pflag.NewFlagSet("metrics-adapter", pflag.ContinueOnError)}
	o, err := parse(base, args, os.Getenv)
	if err != nil {
		return err
	}
	if o.showVersion {
		fmt.Println("metrics-adapter", version)
		return nil
	}
	log := zap.New(zap.UseFlagOptions(&o.log))
	ctrl.SetLogger(log)
	klog.SetLogger(log) // of the API server's library and its clients
	slog.SetDefault(logger())
	guard.Install()
	if _, err := memlimit.Set(); err != nil {
		log.Error(err, "the garbage collector does not know the memory limit of the container")
	}
	config, err := base.ClientConfig()
	if err != nil {
		return err
	}
	// The API server's own priority and fairness is the only limit.
	config = rest.CopyConfig(config)
	config.QPS = -1
	mgr, err := ctrl.NewManager(config, managerOptions(o))
	if err != nil {
		return err
	}
	keys, err := federation.NewKeys(config, mgr.GetHTTPClient(), identity.MetricsAdapter, o.namespace, logger())
	if err != nil {
		return err
	}
	families, err := federate(mgr, config, o, keys)
	if err != nil {
		return err
	}
	cluster, err := client.New(config, client.Options{Scheme: mgr.GetScheme()})
	if err != nil {
		return err
	}
	pods, err := podReader(config, mgr.GetHTTPClient())
	if err != nil {
		return err
	}
	ready := &provider.ReadyPods{Cluster: cluster, Pods: pods, Now: time.Now}
	base.WithExternalMetrics(&provider.Provider{
		Objects: mgr.GetClient(), Namespaces: o.watchNamespaces, Ready: ready, Cluster: cluster, Families: families, Now: time.Now,
	})
	if err := errors.Join(freshness(), mgr.Add(metricsEndpoint(o.metricsAddress)), mgr.Add(ready)); err != nil {
		return err
	}
	return serve(ctx, base, mgr, families, ready, keys, o.serving)
}

func logger() *slog.Logger { return slog.New(logr.ToSlogHandler(klog.Background())) }

func managerOptions(o options) ctrl.Options {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err) // fails only by a programmer's mistake
		}
	}
	opts := ctrl.Options{
		Scheme:                 scheme,
		Metrics:                metricsserver.Options{BindAddress: "0"}, // see metrics.go
		HealthProbeBindAddress: "0",
		PprofBindAddress:       o.profilingAddress,
		Cache:                  cached(o, budget(int(debug.SetMemoryLimit(-1)))),
	}
	for _, namespace := range o.watchNamespaces {
		if opts.Cache.DefaultNamespaces == nil {
			opts.Cache.DefaultNamespaces = map[string]cache.Config{}
		}
		opts.Cache.DefaultNamespaces[namespace] = cache.Config{}
	}
	return opts
}

// budget is half of what the garbage collector keeps to, and for a namespace two
// thirds of that, which is 10,000 ordinary objects by the memory that the manifests
// give.
func budget(memory int) *kept.Budget { return kept.New(memory/3, memory/2) }

// cached are the objects that the cache holds, whose number and size tenants decide,
// within a budget.
func cached(o options, budget *kept.Budget) cache.Options {
	// Nobody changes an object that was read.
	shared := true
	workloads := federation.WorkloadsIn(budget)
	workload := cache.ByObject{Transform: workloads.Strip}
	return cache.Options{
		DefaultTransform:             workloads.StripOthers,
		DefaultUnsafeDisableDeepCopy: &shared,
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.ScaledObject{}:                 {Label: o.selector, Transform: o.kept(budget)},
			&autoscalingv2.HorizontalPodAutoscaler{}: {Label: o.selector, Transform: provider.StripHPA(budget)},
			&appsv1.Deployment{}:                     workload,
			&appsv1.StatefulSet{}:                    workload,
			&appsv1.ReplicaSet{}:                     workload,
		},
	}
}

// kept is what the cache holds of an object of users: what is read here of one that
// is within its limits, as far as there is room.
func (o options) kept(budget *kept.Budget) func(any) (any, error) {
	return kept.Transform(budget, "ScaledObject", func(so *v1alpha1.ScaledObject) {
		_, _ = o.limits.Transform(so) // has no errors
		v1alpha1.CutForeign(so)
	}, (*v1alpha1.ScaledObject).Stub)
}

func federate(mgr ctrl.Manager, config *rest.Config, o options, keys *federation.Keys) (*federation.Federation, error) {
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	calls := callMetrics()
	if err := ctrlmetrics.Registry.Register(calls); err != nil {
		return nil, err
	}
	families := federation.New(federation.Config{
		Namespace:      o.namespace,
		Client:         clientset,
		Transport:      keys.Transport,
		AllowPlaintext: o.plaintextScalers,
		NoData:         o.noData,
		Dial: []grpc.DialOption{
			grpc.WithChainUnaryInterceptor(calls.UnaryClientInterceptor()),
			grpc.WithChainStreamInterceptor(calls.StreamClientInterceptor()),
		},
		Log: logger(),
	})
	for _, c := range []prometheus.Collector{guard.Panics, keys.Metrics(), guard.Collector(families.Metrics())} {
		if err := ctrlmetrics.Registry.Register(c); err != nil {
			return nil, err
		}
	}
	return families, errors.Join(mgr.Add(keys), mgr.Add(families))
}

// The library takes a header of 1 MiB from each connection, before it knows whose
// it is. An API server needs one or two of them.
const mostConnections, mostConnectionsOfOne = 128, 32

// secure has the API server show our key, ask of its callers what the environment
// says where no flag does, and bound what those who are not known can hold.
func secure(serving *genericserver.SecureServingInfo, base *basecmd.AdapterBase, keys *federation.Keys, policy identity.Policy) {
	serving.Listener = inbound.Listener(serving.Listener, mostConnections, mostConnectionsOfOne)
	if serving.HTTP2MaxStreamsPerConnection == 0 {
		serving.HTTP2MaxStreamsPerConnection = mostStreams
	}
	serving.Cert = &servingCertificate{keys: &keys.Holder, meanwhile: serving.Cert}
	if base.SecureServing.MinTLSVersion == "" {
		serving.MinTLSVersion = policy.MinVersion
	}
	if len(base.SecureServing.CipherSuites) == 0 {
		serving.CipherSuites = policy.CipherSuites
	}
}

// apiServer is the library's, within our bounds.
func apiServer(base *basecmd.AdapterBase, keys *federation.Keys, policy identity.Policy) (*apiserver.CustomMetricsAdapterServer, error) {
	config, err := base.Config()
	if err != nil {
		return nil, err
	}
	secure(config.GenericConfig.SecureServing, base, keys, policy)
	guarded(config.GenericConfig)
	return base.Server()
}

// serve runs manager and API server side by side; either one's end ends both.
func serve(
	ctx context.Context, base *basecmd.AdapterBase, mgr ctrl.Manager, families *federation.Federation, ready *provider.ReadyPods,
	keys *federation.Keys, policy identity.Policy,
) error {
	server, err := apiServer(base, keys, policy)
	if err != nil {
		return err
	}
	// The informers are asked for before the manager starts, so that its start
	// waits for the objects.
	objects, err := mgr.GetCache().GetInformer(ctx, &v1alpha1.ScaledObject{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	if _, err := objects.AddEventHandler(ready.Handler()); err != nil { //nolint:contextcheck // a watch outlives the event
		return err
	}
	if _, err := mgr.GetCache().GetInformer(ctx, &autoscalingv2.HorizontalPodAutoscaler{}, cache.BlockUntilSynced(false)); err != nil {
		return err
	}
	synced := healthz.NamedCheck("scaledobjects", func(r *http.Request) error {
		if !mgr.GetCache().WaitForCacheSync(r.Context()) {
			return errors.New("the ScaledObjects and HPAs have not been read yet")
		}
		return nil
	})
	known := healthz.NamedCheck("families", func(*http.Request) error { return families.Ready() })
	key := healthz.NamedCheck("key", keys.Ready)
	api, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return err
	}
	there := &contact{ask: func(ctx context.Context) error { return connection(ctx, api) }}
	connected := healthz.NamedCheck("connected", func(r *http.Request) error { return there.check(r.Context()) })
	if err := server.GenericAPIServer.AddReadyzChecks(synced, known, key, connected); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2)
	run := func(name string, start func(context.Context) error) {
		defer cancel()
		if err := start(ctx); err != nil {
			ended <- fmt.Errorf("%s: %w", name, err)
			return
		}
		ended <- nil
	}
	go run("manager", mgr.Start)
	go run("API server", server.GenericAPIServer.PrepareRun().RunWithContext)
	return errors.Join(<-ended, <-ended)
}
