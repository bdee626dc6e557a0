// Package manager wires the controller's parts together and runs them.
package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
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
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/account"
	eventing "github.com/sluice-autoscaler/sluice/controller/api/eventing/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/equivalence"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/controller/federation/guard"
	"github.com/sluice-autoscaler/sluice/controller/internal/activation"
	"github.com/sluice-autoscaler/sluice/controller/internal/authentication"
	"github.com/sluice-autoscaler/sluice/controller/internal/cloudevents"
	"github.com/sluice-autoscaler/sluice/controller/internal/metrics"
	"github.com/sluice-autoscaler/sluice/controller/internal/registration"
	"github.com/sluice-autoscaler/sluice/controller/internal/scaledjob"
	"github.com/sluice-autoscaler/sluice/controller/internal/scaledobject"
	"github.com/sluice-autoscaler/sluice/controller/internal/series"
	"github.com/sluice-autoscaler/sluice/controller/internal/shadow"
	"github.com/sluice-autoscaler/sluice/controller/internal/status"
	"github.com/sluice-autoscaler/sluice/controller/internal/subscription"
	"github.com/sluice-autoscaler/sluice/controller/internal/target"
	"github.com/sluice-autoscaler/sluice/controller/kept"
	"github.com/sluice-autoscaler/sluice/controller/kinds"
	"github.com/sluice-autoscaler/sluice/identity"
)

// Run runs the controller until ctx is done.
func Run(ctx context.Context, o Options, version string) error {
	p := &process{Options: o, version: version, log: zap.New(zap.UseFlagOptions(&o.Log), zap.RawZapOpts(uberzap.WrapCore(lazily)))}
	for _, step := range []func(context.Context) error{
		p.takeOver,
		p.connect,
		p.elect,
		p.makeParts,
		p.addFederation,
		p.addKeys,
		p.addRegistration,
		p.addScaledObjects,
		p.addScaledJobs,
		p.addAuthentications,
		p.addWebhook,
		p.addCloudEvents,
		p.addProbes,
		p.addMetrics,
	} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("set up: %w", err)
		}
	}
	return p.mgr.Start(ctx)
}

// mostLooks is how often the API server is asked about groups within ten seconds.
const mostLooks = 100

// process is the controller's parts.
type process struct {
	Options
	version string
	log     logr.Logger

	mgr       ctrl.Manager
	clientset *kubernetes.Clientset

	leadership *leadership
	rival      *rival
	router     *router
	keys       *federation.Keys
	keysDue    *feed
	federation *federation.Federation

	workloads *federation.Workloads
	objects   *kept.Budget // of all else that tenants write
	told      *kept.Budget // of variables that families are told
	shown     *shown
	accounts  *kept.Budget // of decisions before the last
	kinds     *target.Kinds
	targets   *target.Client
	sinks     *cloudevents.Sinks
	events    *recorder
	status    *status.Writer

	failures  *metrics.Errors
	figures   *metrics.Figures
	leftOut   *series.LeftOut
	decisions *activation.Loop
	jobs      *scaledjob.Reconciler
	shadow    *shadow.Shadow
	// registration is whether the API server asks us.
	registration *registration.Registration
	// authentications are of objects of a namespace and of the cluster.
	authentications []*authentications
}

// named is the log of one part.
func (p *process) named(part string) *slog.Logger {
	return slog.New(logr.ToSlogHandler(p.log.WithName(part)))
}

// takeOver sets what holds for all of the process: logs, panics, memory.
func (p *process) takeOver(context.Context) error {
	guard.Install()
	slog.SetDefault(slog.New(logr.ToSlogHandler(p.log)))
	ctrl.SetLogger(p.log)
	klog.SetLogger(p.log) // of the libraries that talk to the API server
	if _, err := memlimit.Set(); err != nil {
		p.log.Error(err, "the garbage collector does not know the memory limit of the container")
	}
	return nil
}

// connect makes the clients of the API server, and the manager.
func (p *process) connect(ctx context.Context) error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	// The API server's own priority and fairness is the only limit.
	config.QPS = -1
	room := int(debug.SetMemoryLimit(-1))
	p.workloads, p.objects = federation.WorkloadsIn(ofWorkloads(room)).OthersIn(ofOtherKinds(room)), ofUsers(room)
	p.told, p.accounts = ofTold(room), ofAccounts(room)
	p.shown = &shown{}
	managed := options(p.Options, p.workloads, p.objects)
	managed.Cache.NewInformer = p.shown.newInformer
	if p.mgr, err = ctrl.NewManager(config, managed); err != nil {
		return err
	}
	if p.clientset, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	return errors.Join(index(ctx, p.mgr), indexReferences(ctx, p.mgr))
}

// elect has one of several controllers lead, unless a KEDA does.
func (p *process) elect(context.Context) error {
	p.leadership = &leadership{log: p.named("leadership"), never: p.Shadow}
	if p.LeaderElect && !p.Shadow {
		var err error
		if p.leadership.elector, err = electorOf(p.mgr.GetConfig(), p.Options); err != nil {
			return err
		}
	}
	p.rival = &rival{
		client: p.clientset, watched: p.WatchNamespaces, now: time.Now, log: p.named("rival"),
		forget: p.leadership.forgetIfLeading, changed: p.followed,
	}
	if p.LeaderElect && p.LeaderElectionID == kedaLease {
		p.rival.namespace = p.Namespace
	}
	p.leadership.began = p.began
	p.leadership.forget = p.forget
	return errors.Join(p.mgr.Add(p.leadership), p.mgr.Add(p.rival))
}

// followed asks for what is done otherwise when a KEDA begins or ceases to lead.
func (p *process) followed(ctx context.Context) {
	p.leadership.beginAgain(ctx)
	p.keysDue.add(keysRequest)
}

// acts reports whether this controller writes: it leads, and no KEDA does.
func (p *process) acts() bool {
	_, hindered := p.rival.hinders()
	return p.leadership.leads() && !hindered
}

// follows is who scales in our place, and whether somebody does of whom this
// controller is the shadow: not another one of the installation.
func (p *process) follows() (who string, follows bool) {
	who, leads := p.rival.leads()
	return who, leads || p.Shadow
}

// keepsKeys reports whether this controller signs although it does not lead: a
// KEDA holds the lease by which one of us would be elected, or this controller
// never stands for election. What two of us write at once is a conflict, and
// looked at again.
func (p *process) keepsKeys() bool { return p.Shadow || p.rival.atHome() }

// role is what this controller does where it is nobody's shadow.
func (p *process) role(ctx context.Context) (role equivalence.Mode, leader string) {
	if p.leadership.leads() {
		return equivalence.Acting, ""
	}
	ctx, cancel := context.WithTimeout(ctx, leaderTimeout)
	defer cancel()
	leader, _ = leaderOf(p.clientset, p.Options)(ctx) // that nobody leads is no news
	return equivalence.Standby, leader
}

// began asks for everything there is when a term begins.
func (p *process) began(ctx context.Context) {
	p.router.everything(ctx, p.mgr.GetClient())
	for _, a := range p.authentications {
		a.all(ctx, p.mgr.GetClient())
	}
	p.keysDue.add(keysRequest)
}

// forget drops what was known in a term that has ended: another leader knows
// more.
func (p *process) forget() {
	p.decisions.Forget()
	p.jobs.ForgetAll()
	p.status.ForgetAll()
	p.failures.ForgetAll()
	p.figures.ForgetAll()
}

// makeParts makes what decides, and what that needs.
func (p *process) makeParts(ctx context.Context) (err error) {
	cluster := p.mgr.GetClient()
	p.router, p.keysDue = &router{leads: p.leadership.leads}, &feed{}
	p.keys, err = federation.NewKeys(p.mgr.GetConfig(), p.mgr.GetHTTPClient(), identity.Controller, p.Namespace, p.named("key"))
	if err != nil {
		return err
	}
	p.federation = federation.New(federation.Config{
		Namespace:      p.Namespace,
		Client:         p.clientset,
		Transport:      p.keys.Transport,
		AllowPlaintext: p.PlaintextScalers,
		NoData:         p.NoData,

		MostOfNamespace: p.NamespaceTriggers,
		Memory:          ofSubscriptions(int(debug.SetMemoryLimit(-1))),
		Changed:         p.router.changed,
		ServicesChanged: func() { p.keysDue.add(keysRequest) },
		Log:             p.named("federation"),
	})
	p.router.states = p.federation.State
	p.kinds = &target.Kinds{
		Cache: p.mgr.GetCache(), Client: cluster, Namespaces: p.WatchNamespaces, Now: time.Now,
		Changed: func(key types.NamespacedName) { p.router.target(ctx, cluster, key) },
	}
	p.targets = &target.Client{
		Reader: cluster, Direct: p.mgr.GetAPIReader(), Kinds: p.kinds, Workloads: p.workloads,
		Discovery: &kinds.Discovery{API: p.clientset.Discovery(), Now: time.Now, Looks: mostLooks},
	}
	p.sinks = cloudevents.NewSinks(p.ClusterName, p.ClusterObjectNamespace, p.named("cloudevents"))
	p.events = newRecorder(p.mgr.GetEventRecorder("keda-operator"), time.Now)
	p.status = &status.Writer{
		Client: cluster, Now: time.Now,
		Events: cloudevents.Recorder{EventRecorder: p.events, Sinks: p.sinks},
	}
	p.leftOut = metrics.LeftOut(p.named("metrics"))
	p.failures, p.figures = metrics.NewErrors(p.leftOut), metrics.NewFigures(p.leftOut)
	p.decisions = &activation.Loop{
		Client: cluster, Targets: p.targets, Status: p.status, States: p.federation.State, Errors: p.failures,
		Resubscribe: p.router.subscriptions.add, Figures: p.figures, Room: p.accounts, Now: time.Now,
	}
	p.jobs = &scaledjob.Reconciler{
		Client: cluster, Shown: p.shown, Direct: p.mgr.GetAPIReader(), Events: p.status.Events, States: p.federation.State, Room: p.objects.Room,
		Strip:     scaledjob.Stripped(p.objects),
		Told:      p.accounts,
		WatchPods: (&pods{cache: p.mgr.GetCache(), router: p.router}).watch,
		Measures:  metrics.Jobs{Errors: p.failures, Figures: p.figures}, Version: p.version, Now: time.Now,
	}
	p.shadow = &shadow.Shadow{
		Client: cluster, Jobs: p.shown.Jobs, Targets: p.targets, States: p.federation.State, Leader: p.follows, Mode: p.role, Now: time.Now, Log: p.named("shadow"),
	}
	return nil
}

// addFederation follows families, and the kinds of targets.
func (p *process) addFederation(context.Context) error {
	start := banner{p.clientset.Discovery().RESTClient(), p.version, p.named("start")}
	return errors.Join(p.mgr.Add(p.federation), p.mgr.Add(start), p.mgr.Add(p.kinds), p.mgr.Add(p.shadow))
}

// addKeys follows this process's own key, and signs those of all others.
func (p *process) addKeys(context.Context) error {
	return errors.Join(p.mgr.Add(p.keys), p.addSigning())
}

// addRegistration follows whether the API server asks us.
func (p *process) addRegistration(context.Context) error {
	direct, err := client.New(p.mgr.GetConfig(), client.Options{
		HTTPClient: p.mgr.GetHTTPClient(), Scheme: p.mgr.GetScheme(), Mapper: p.mgr.GetRESTMapper(),
	})
	if err != nil {
		return err
	}
	name := p.Trust.WebhookName
	if p.WebhookAddress == webhookOff {
		name = ""
	}
	p.registration = &registration.Registration{
		Client: direct, Namespace: p.Namespace, MetricsService: p.Trust.MetricsService, Webhook: name, WebhookService: p.Trust.WebhookService,
		Restore: p.Restore, Acts: p.acts,
		Shadow: func() bool { _, follows := p.follows(); return follows },
		Tell: func(about runtime.Object, kind, reason, action, note string) {
			status.Emit(p.events, about, kind, reason, action, note)
		},
		Changed: p.followed, Now: time.Now, Log: p.named("registration"),
	}
	return p.mgr.Add(p.registration)
}

// onLeader is a reconciler that writes: in the terms of this process alone, and
// not while a KEDA leads. A panic in it is told by the object.
func (p *process) onLeader(r reconcile.Reconciler, doing string, tell tellPanic, notices *notices) admitting {
	return onLeader{unlessRival{admitting: reportingPanics{r, doing, tell}, rival: p.rival, notices: notices}, p.leadership}
}

// addScaledObjects subscribes triggers of ScaledObjects, builds their HPAs and
// decides about them.
func (p *process) addScaledObjects(context.Context) error {
	cluster := p.mgr.GetClient()
	defective := inScaledObject(cluster, p.status.Defective)
	subscriptions := &subscription.Reconciler{Client: cluster, Targets: p.targets, Federation: subscriptions{p.federation, p.router}, Told: p.told}
	hpas := &scaledobject.Reconciler{
		Client: cluster, Targets: p.targets, Status: p.status, States: p.federation.State, Version: p.version,
		Selecting: keysOf(p.Selector), Room: p.objects.Room, Unasked: p.registration.Metrics, Now: time.Now,
	}
	told := &notices{client: cluster, empty: func() client.Object { return &v1alpha1.ScaledObject{} }}
	return errors.Join(
		addSubscriptions(p.mgr, p.router, reportingPanics{subscriptions, "a subscription", byLeader(p.acts, defective)}),
		addHPAs(p.mgr, p.router, p.Workers, p.onLeader(hpas, "a reconcile", inScaledObject(cluster, notReconciled(p.status)), told)),
		addDecisions(p.mgr, p.router, p.onLeader(p.decisions, "a decision", defective, nil)),
	)
}

// addScaledJobs subscribes triggers of ScaledJobs and starts Jobs.
func (p *process) addScaledJobs(context.Context) error {
	cluster := p.mgr.GetClient()
	subscriptions := &subscription.JobReconciler{Client: cluster, Federation: subscriptions{p.federation, p.router}, Told: p.told}
	told := &notices{client: cluster, empty: func() client.Object { return &v1alpha1.ScaledJob{} }}
	return errors.Join(
		// The ScaledJob's memory is its own reconciler's, so that it says nothing of this.
		addJobSubscriptions(p.mgr, reportingPanics{subscriptions, "a subscription", inMetrics}),
		addJobs(p.mgr, p.router, p.JobWorkers, p.acts, p.jobs.Ended, p.onLeader(p.jobs, "a ScaledJob", p.jobs.Defective, told)),
	)
}

// addAuthentications keeps the status of authentications.
func (p *process) addAuthentications(context.Context) error {
	for _, kind := range []string{authentication.Namespaced, authentication.Cluster} {
		a := &authentications{kind: kind, leads: p.acts, recorder: p.status.Events}
		r := &authentication.Reconciler{Client: p.mgr.GetClient(), Kind: kind}
		if err := a.add(p.mgr, p.onLeader(r, "an authentication", a.defective(p.mgr.GetClient()), nil)); err != nil {
			return err
		}
		p.authentications = append(p.authentications, a)
	}
	return nil
}

// addWebhook judges objects as they are applied.
func (p *process) addWebhook(ctx context.Context) error {
	return addAdmission(ctx, p.mgr, p.Options, p.targets, p.federation, p.keys.GetCertificate)
}

// addCloudEvents sends events to the sinks that users name.
func (p *process) addCloudEvents(context.Context) error {
	return addSinks(p.mgr, p.sinks, p.acts) //nolint:contextcheck // a scrape has none
}

// addProbes says whether the process lives, and whether it can be used.
func (p *process) addProbes(ctx context.Context) error {
	return serveProbes(ctx, p.mgr, p.HealthAddress, p.keys.Ready)
}

// addMetrics tells operators what is done: /metrics, OpenTelemetry, /decisions.
func (p *process) addMetrics(ctx context.Context) error {
	objects := metrics.New(p.mgr.GetClient(), p.federation.State, p.version, p.leadership.leads, p.decisions.Formula, p.leftOut)
	for _, c := range []prometheus.Collector{
		guard.Panics, guard.Collector(p.failures), guard.Collector(p.figures), p.rival.metric(), p.keys.Metrics(), guard.Collector(p.federation.Metrics()), guard.Collector(objects),
		guard.Collector(p.shadow), p.registration, p.leftOut, p.events.leftOut,
	} {
		if err := ctrlmetrics.Registry.Register(c); err != nil {
			return err
		}
	}
	told := decisions{
		accounts: map[string]func(types.NamespacedName) (account.Account, bool){
			account.ScaledObject: p.decisions.Account, account.ScaledJob: p.jobs.Account,
		},
		leads: p.leadership.leads, leader: leaderOf(p.clientset, p.Options), now: time.Now,
	}
	return errors.Join(
		export(ctx, p.mgr, p.Options, p.version, p.decisions),
		serveScrapes(ctx, p.mgr, p.MetricsAddress, told, coldStarts{told, p.decisions.ColdStarts}, families{survey: p.federation.Survey, version: p.version, now: time.Now}, p.shadow),
	)
}

// keysOf are the labels that a selector looks at.
func keysOf(s labels.Selector) (keys []string) {
	requirements, _ := s.Requirements()
	for _, r := range requirements {
		keys = append(keys, r.Key())
	}
	return keys
}

func options(o Options, workloads *federation.Workloads, objects *kept.Budget) ctrl.Options {
	scheme := runtime.NewScheme()
	must(clientgoscheme.AddToScheme(scheme))
	must(v1alpha1.AddToScheme(scheme))
	must(eventing.AddToScheme(scheme))
	// Nobody changes a workload that was read; only its scale is written.
	shared := true
	workload := cache.ByObject{UnsafeDisableDeepCopy: &shared, Transform: workloads.Strip}
	opts := ctrl.Options{
		Scheme:                 scheme,
		Metrics:                metricsserver.Options{BindAddress: "0"}, // see ports.go
		HealthProbeBindAddress: "0",
		PprofBindAddress:       o.ProfilingAddress,
		Cache: cache.Options{
			DefaultTransform: workloads.StripOthers,
			ByObject: map[client.Object]cache.ByObject{
				&v1alpha1.ScaledObject{}: {Label: o.Selector, Transform: keptObject(o, objects, "ScaledObject", (*v1alpha1.ScaledObject).Stub)},
				&v1alpha1.ScaledJob{}:    {Label: o.Selector, Transform: keptObject(o, objects, "ScaledJob", (*v1alpha1.ScaledJob).Stub)},
				&v1alpha1.TriggerAuthentication{}: {
					Label: o.AuthenticationSelector, Transform: keptObject(o, objects, "TriggerAuthentication", (*v1alpha1.TriggerAuthentication).Stub),
				},
				&v1alpha1.ClusterTriggerAuthentication{}: {
					Label: o.AuthenticationSelector, Transform: keptObject(o, objects, "ClusterTriggerAuthentication", (*v1alpha1.ClusterTriggerAuthentication).Stub),
				},
				&eventing.CloudEventSource{}:             {Transform: keptSource[eventing.CloudEventSource](objects, "CloudEventSource")},
				&eventing.ClusterCloudEventSource{}:      {Transform: keptSource[eventing.ClusterCloudEventSource](objects, "ClusterCloudEventSource")},
				&batchv1.Job{}:                           ofScaledJobs(objects),
				&corev1.Pod{}:                            ofScaledJobs(objects),
				&autoscalingv2.HorizontalPodAutoscaler{}: {Label: o.Selector, Transform: scaledobject.Stripped(objects)},
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

// must is for registrations that fail only by a programmer's mistake.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
