package manager

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/controller/federation"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestParse(t *testing.T) {
	tests := map[string]struct {
		args    []string
		env     func(string) string
		check   func(Options) bool
		message string
	}{
		"defaults": {env: env(), check: func(o Options) bool {
			return o.Namespace == "keda" && len(o.WatchNamespaces) == 0 && o.Selector.Empty() && o.Workers == 5 && !o.LeaderElect &&
				o.LeaderElectionID == "operator.keda.sh" && o.LeaseDuration == 15*time.Second && o.RenewDeadline == 10*time.Second &&
				o.RetryPeriod == 500*time.Millisecond && o.MetricsAddress == ":8080" && o.HealthAddress == ":8081" &&
				o.WebhookAddress == ":9443" && !o.StrictAdmission && o.NoData == ""
		}},
		"webhook for some": {args: []string{"--webhook-client-ca=ca.crt", "--webhook-client-names=kube-apiserver, other"}, env: env(), check: func(o Options) bool {
			return o.WebhookClients.Authority == "ca.crt" && strings.Join(o.WebhookClients.Names, "+") == "kube-apiserver+other"
		}},
		"webhook for nobody": {args: []string{"--webhook-client-names=kube-apiserver"}, env: env(),
			message: "--webhook-client-names: needs --webhook-client-ca"},
		"no webhook":         {args: []string{"--webhook-bind-address=0"}, env: env(), check: func(o Options) bool { return o.WebhookAddress == webhookOff }},
		"webhook on IPv6":    {args: []string{"--webhook-bind-address=[::1]:65535"}, env: env(), check: func(o Options) bool { return true }},
		"webhook nowhere":    {args: []string{"--webhook-bind-address=9443"}, env: env(), message: `--webhook-bind-address: "9443" is not an address`},
		"webhook on port 0":  {args: []string{"--webhook-bind-address=:0"}, env: env(), message: `--webhook-bind-address: ":0" is not an address`},
		"webhook past ports": {args: []string{"--webhook-bind-address=:65536"}, env: env(), message: `--webhook-bind-address: ":65536" is not an address`},
		"no Prometheus": {args: []string{"--enable-prometheus-metrics=false"}, env: env(), check: func(o Options) bool {
			return o.MetricsAddress == "0"
		}},
		"profiling": {args: []string{"--profiling-bind-address=127.0.0.1:6060"}, env: env(), check: func(o Options) bool {
			return options(o, federation.NewWorkloads(), ofUsers(math.MaxInt)).PprofBindAddress == "127.0.0.1:6060"
		}},
		"OpenTelemetry": {args: []string{"--enable-opentelemetry-metrics"}, env: env(), check: func(o Options) bool {
			return o.OpenTelemetryMetrics && o.MetricsAddress == ":8080"
		}},
		"namespaces": {env: env("WATCH_NAMESPACE", "a, b,", "POD_NAMESPACE", "sluice-system"), check: func(o Options) bool {
			return strings.Join(o.WatchNamespaces, "+") == "a+b" && o.Namespace == "sluice-system"
		}},
		"quotes are no namespace": {env: env("WATCH_NAMESPACE", `""`), check: func(o Options) bool { return len(o.WatchNamespaces) == 0 }},
		"set-based selector": {env: env("WATCH_LABEL_SELECTOR", "shard in (a,b)"), check: func(o Options) bool {
			return o.Selector.String() == "shard in (a,b)"
		}},
		"selector of authentications": {env: env("WATCH_LABEL_SELECTOR_FOR_TRIGGERAUTH", "shard=a"), check: func(o Options) bool {
			return o.AuthenticationSelector.String() == "shard=a" && o.Selector.Empty()
		}},
		"periods": {
			args: []string{"--leader-elect", "--leader-election-id=mine"},
			env:  env("KEDA_OPERATOR_LEADER_ELECTION_LEASE_DURATION", "30s", "KEDA_SCALEDOBJECT_CTRL_MAX_RECONCILES", "9", "KEDA_SCALEDJOB_CTRL_MAX_RECONCILES", "3"),
			check: func(o Options) bool {
				return o.LeaderElect && o.LeaderElectionID == "mine" && o.LeaseDuration == 30*time.Second && o.Workers == 9 && o.JobWorkers == 3
			},
		},
		"strict admission":   {args: []string{"--admission=strict"}, env: env(), check: func(o Options) bool { return o.StrictAdmission }},
		"no data":            {args: []string{"--no-data=hold"}, env: env(), check: func(o Options) bool { return o.NoData == "hold" }},
		"bad no data":        {args: []string{"--no-data=guess"}, env: env(), message: `invalid value "guess" for flag -no-data: none of hold, error, zero`},
		"bad admission":      {args: []string{"--admission=lax"}, env: env(), message: `invalid value "lax" for flag -admission: not warn or strict`},
		"bad selector":       {env: env("WATCH_LABEL_SELECTOR", "a in"), message: "WATCH_LABEL_SELECTOR: "},
		"bad workers":        {env: env("KEDA_SCALEDOBJECT_CTRL_MAX_RECONCILES", "0"), message: `KEDA_SCALEDOBJECT_CTRL_MAX_RECONCILES: "0" is not a number greater than 0`},
		"bad job workers":    {env: env("KEDA_SCALEDJOB_CTRL_MAX_RECONCILES", "many"), message: `KEDA_SCALEDJOB_CTRL_MAX_RECONCILES: "many" is not a number greater than 0`},
		"TLS 1.3 by default": {env: env(), check: func(o Options) bool { return o.Serving.MinVersion == tls.VersionTLS13 }},
		"TLS 1.2": {env: env("KEDA_SERVICE_MIN_TLS_VERSION", "TLS12"), check: func(o Options) bool {
			var config tls.Config
			o.Serving.Apply(&config)
			return config.MinVersion == tls.VersionTLS12
		}},
		"bad TLS version": {env: env("KEDA_SERVICE_MIN_TLS_VERSION", "1.2"), message: `KEDA_SERVICE_MIN_TLS_VERSION: "1.2" is not one of`},
		"bad period": {env: env("KEDA_OPERATOR_LEADER_ELECTION_RETRY_PERIOD", "2"),
			message: `KEDA_OPERATOR_LEADER_ELECTION_RETRY_PERIOD: "2" is not a duration, such as 15s`},
		"unknown flag": {args: []string{"--nope"}, env: env(), message: "flag provided but not defined: -nope"},
		"no flag":      {args: []string{"nope"}, env: env(), message: `"nope": not a flag`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o, err := Parse(tt.args, tt.env)
			if tt.message != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.message) {
					t.Errorf("error %v, want %q", err, tt.message)
				}
				return
			}
			if err != nil || !tt.check(o) {
				t.Errorf("%+v, %v", o, err)
			}
		})
	}
}

func TestOnlyWhatIsWatchedIsSeen(t *testing.T) {
	o, err := Parse(nil, env("WATCH_NAMESPACE", "a,b", "WATCH_LABEL_SELECTOR", "shard=one"))
	if err != nil {
		t.Fatal(err)
	}
	seen := options(o, federation.NewWorkloads(), ofUsers(math.MaxInt)).Cache
	if len(seen.DefaultNamespaces) != 2 {
		t.Errorf("namespaces %v", seen.DefaultNamespaces)
	}
	selected := map[string]bool{}
	for object, by := range seen.ByObject {
		if by.Label != nil && by.Label.String() == "shard=one" {
			selected[fmt.Sprintf("%T", object)] = true
		}
	}
	for _, kind := range []string{"*v1alpha1.ScaledObject", "*v1alpha1.ScaledJob", "*v2.HorizontalPodAutoscaler"} {
		if !selected[kind] {
			t.Errorf("%s is not limited by the selector: %v", kind, selected)
		}
	}
	if everything := options(Options{Selector: labels.Everything()}, federation.NewWorkloads(), ofUsers(math.MaxInt)).Cache; everything.DefaultNamespaces != nil {
		t.Errorf("namespaces %v without a limit", everything.DefaultNamespaces)
	}
}

func newQueue(t *testing.T) queue {
	t.Helper()
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	t.Cleanup(q.ShutDown)
	return q
}

func TestBell(t *testing.T) {
	id := federation.ID{Kind: "ScaledObject", Namespace: "shop", Name: "worker"}
	states := map[federation.ID]federation.State{}
	lead := false
	b := &router{
		states: func(id federation.ID) (federation.State, bool) { s, ok := states[id]; return s, ok },
		leads:  func() bool { return lead },
	}
	b.changed(id) // before the controllers run nobody listens
	observations, specs := newQueue(t), newQueue(t)
	if err := errors.Join(b.observations.attach(t.Context(), observations), b.specs.attach(t.Context(), specs)); err != nil {
		t.Fatal(err)
	}
	if b.changed(id); observations.Len() != 0 || len(b.known) != 0 {
		t.Error("a standby listens")
	}
	lead = true
	heard := func(what string, reconciler bool) {
		t.Helper()
		b.changed(id)
		if observations.Len() != 1 || (specs.Len() == 1) != reconciler {
			t.Errorf("%s: loop %d, reconciler %d", what, observations.Len(), specs.Len())
		}
		for _, q := range []queue{observations, specs} {
			if q.Len() > 0 {
				request, _ := q.Get()
				q.Done(request)
				if request.NamespacedName != (types.NamespacedName{Namespace: "shop", Name: "worker"}) {
					t.Errorf("%s: asked for %s", what, request)
				}
			}
		}
	}
	set := func(change func(*federation.State)) {
		s := states[id]
		change(&s)
		states[id] = s
	}
	set(func(s *federation.State) { s.Generation = 1 })
	heard("the first word", true)
	set(func(s *federation.State) { s.Specs = []federation.MetricSpec{{Name: "m", Target: 5}} })
	heard("specs", true)
	set(func(s *federation.State) { s.HeardAt = time.Now() })
	heard("a beat", false)
	set(func(s *federation.State) { s.Values, s.Err = []federation.Value{{Metric: "m"}}, errors.New("dial") })
	heard("an observation", false)
	set(func(s *federation.State) { s.Specs = []federation.MetricSpec{{Name: "m", Target: 6}} })
	heard("another target", true)
	set(func(s *federation.State) { s.Unreachable = errors.New("no ready instance") })
	heard("nobody there", true)
	set(func(s *federation.State) { s.Unreachable = nil })
	heard("there again", true)
	set(func(s *federation.State) { s.Rejected = errors.New("topic: missing") })
	heard("rejected", true)
	set(func(s *federation.State) { s.Warnings = []string{"tpoic: unknown"} })
	heard("odd", true)
	set(func(s *federation.State) { s.Note = "polled" })
	heard("a note", true)
	set(func(s *federation.State) { s.Generation = 2 })
	heard("another generation", true)
	delete(states, id)
	heard("unsubscribed", false)
	if n := len(b.known); n != 0 {
		t.Errorf("%d triggers remembered", n)
	}
}

func TestUnsubscribedTriggersLeaveNothing(t *testing.T) {
	f := federation.New(federation.Config{Client: fake.NewClientset()})
	b := &router{states: f.State, leads: func() bool { return true }}
	s := subscriptions{f, b}
	for i := range 1000 {
		id := federation.ID{Kind: "ScaledObject", Namespace: "shop", Name: "worker", Index: i}
		s.Subscribe(federation.Trigger{ID: id, Type: "kafka"})
		b.changed(id)
		s.Unsubscribe(id)
	}
	if n := len(b.known); n != 0 {
		t.Errorf("%d triggers remembered", n)
	}
}

func TestHPAChanges(t *testing.T) {
	tests := map[string]struct {
		change          func(*autoscalingv2.HorizontalPodAutoscaler)
		changed, active bool
	}{
		"nothing":     {change: func(*autoscalingv2.HorizontalPodAutoscaler) {}},
		"spec":        {change: func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Spec.MaxReplicas = 9 }, changed: true},
		"labels":      {change: func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Labels = map[string]string{"a": "b"} }, changed: true},
		"annotations": {change: func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Annotations = map[string]string{"a": "b"} }, changed: true},
		"owner": {change: func(h *autoscalingv2.HorizontalPodAutoscaler) {
			h.OwnerReferences = []metav1.OwnerReference{{Name: "x"}}
		}, changed: true},
		"status": {change: func(h *autoscalingv2.HorizontalPodAutoscaler) { h.Status.CurrentReplicas = 9 }},
		"what the HPA says of itself": {change: func(h *autoscalingv2.HorizontalPodAutoscaler) {
			h.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionTrue}}
		}, active: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := &autoscalingv2.HorizontalPodAutoscaler{}
			after := before.DeepCopy()
			tt.change(after)
			e := event.UpdateEvent{ObjectOld: before, ObjectNew: after}
			if have := hpaChanged().Update(e); have != tt.changed {
				t.Errorf("reconciler asked: %v", have)
			}
			if have := scalingActiveChanged().Update(e); have != tt.active {
				t.Errorf("loop asked: %v", have)
			}
		})
	}
}

// TestFirstReadyReplicaIsLookedAt, as the end of a cold start; the others are not.
func TestFirstReadyReplicaIsLookedAt(t *testing.T) {
	deployment := func(ready int32) client.Object {
		return &appsv1.Deployment{Status: appsv1.DeploymentStatus{ReadyReplicas: ready}}
	}
	stateful := func(ready int32) client.Object {
		return &appsv1.StatefulSet{Status: appsv1.StatefulSetStatus{ReadyReplicas: ready}}
	}
	for name, tt := range map[string]struct {
		before, after client.Object
		looked        bool
	}{
		"the first":                  {deployment(0), deployment(1), true},
		"the first of a StatefulSet": {stateful(0), stateful(3), true},
		"another":                    {deployment(1), deployment(2), false},
		"none yet":                   {deployment(0), deployment(0), false},
		"the last goes":              {deployment(1), deployment(0), false},
		"nobody knows":               {&corev1.Pod{}, &corev1.Pod{}, false},
	} {
		stripped := func(o client.Object) client.Object {
			kept, err := federation.StripWorkload(o)
			if err != nil {
				t.Fatal(err)
			}
			return kept.(client.Object)
		}
		if have := firstReady().Update(event.UpdateEvent{ObjectOld: stripped(tt.before), ObjectNew: stripped(tt.after)}); have != tt.looked {
			t.Errorf("%s: looked at: %v", name, have)
		}
	}
}

// Thousands of objects that fail at once do not wait for each other, and none of
// them is left alone for long, however often it failed.
func TestRetriesOfManyObjects(t *testing.T) {
	limiter := retries()
	for i := range 5000 {
		if wait := limiter.When(reconcile.Request{NamespacedName: types.NamespacedName{Name: fmt.Sprint(i)}}); wait > 10*time.Millisecond {
			t.Fatalf("object %d of many waits %v", i, wait)
		}
	}
	var last time.Duration
	for range 100 {
		last = limiter.When(reconcile.Request{})
	}
	if last != time.Minute {
		t.Errorf("after 100 failures the next try is in %v", last)
	}
}

func TestVersionNeedsNoCluster(t *testing.T) {
	o, err := Parse([]string{"--version"}, env("WATCH_LABEL_SELECTOR", "a in"))
	if err != nil || !o.ShowVersion {
		t.Errorf("%v, %v", o.ShowVersion, err)
	}
	if text := Version("v1.2.3"); !strings.HasPrefix(text, "controller v1.2.3, commit ") || !strings.HasSuffix(text, ", for Kubernetes 1.34 to 1.37") {
		t.Errorf("version %q", text)
	}
}
