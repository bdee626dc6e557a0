package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-autoscaler/sluice/identity"
	"github.com/sluice-autoscaler/sluice/identity/authority"
	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// TestFaultAlerts has a real Prometheus scrape all processes, with the alerts as they
// are installed: each fires when what it is about breaks, about that and nothing
// else, and goes out when it is mended. In the same time every panel of the dashboards
// has data.
//
// A minute of the rules is a second here, so that nobody waits for a quarter of an
// hour.
func TestFaultAlerts(t *testing.T) {
	ns := namespace(t)
	began := time.Now()
	rules := inSeconds(t, "deploy/components/alerts/rules.yaml")
	prometheus := scraping(t, rules)
	// First, since a controller that begins anew counts anew.
	flap(t, prometheus)
	w := newWatched(t, ns)
	about := func(object string) map[string]string {
		return map[string]string{"exported_namespace": ns, "scaledObject": object}
	}
	var back, renew func()
	aged := instances(t, "scaler-rabbitmq")[0].Name()
	alerts := []alertOf{
		{"SluiceCertificateNearItsEnd", map[string]string{"pod": aged}, func() { renew = age(t, "rabbitmq") }, func() { renew() }},
		{"SluiceObjectAtMaximum", about(w.full.name), w.fill, func() { w.full.set(0) }},
		{"SluiceTriggerFailing", about(w.broken.name), func() { w.script.fail(w.broken.name) }, func() { w.broken.set(0) }},
		{"SluiceJobsFailing", map[string]string{"exported_namespace": ns, "scaledJob": "batch"}, func() { w.fails.Store(true) }, func() { w.fails.Store(false) }},
		{"SluiceFamilyDown", map[string]string{"type": "cron"}, func() { down(t, "scaler-cron") }, func() { up(t, "scaler-cron") }},
		{"SluiceReadingsOld", about("series-page"), func() { stall(t, "scaler-http") }, func() { resume(t, "scaler-http") }},
		{"SluiceWakeObjectiveMissed", about("late"), func() { w.late(t, ns, prometheus) }, func() {}},
		{"SluiceWakesLate", nil, func() { tooLate(t, ns) }, func() {}},
		{"SluiceNotAsked", map[string]string{"what": "metrics"}, func() { back = unregister(t) }, func() { back() }},
		{"SluiceAdapterCannotAnswer", nil, func() { down(t, "metrics-adapter") }, func() { up(t, "metrics-adapter") }},
	}
	var names []string
	for _, a := range alerts {
		names = append(names, a.name)
	}
	for _, installed := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		if name := installed[1]; name != flapping && !slices.Contains(names, name) {
			t.Errorf("nothing is broken for %s", name)
		}
	}
	if firing := prometheus.firing(t, names); len(firing) > 0 {
		t.Fatalf("fire before anything is broken: %v", firing)
	}
	w.wakes(t, ns, prometheus)
	for _, a := range alerts {
		a.breakIt()
	}
	// Who is gone is forgotten in an hour, which is a minute here: one alert may be
	// out again before another fires.
	fired := map[string]bool{}
	wait(t, "all of them to fire", func() (bool, string) {
		for _, f := range prometheus.firing(t, names) {
			for _, a := range alerts {
				fired[a.name] = fired[a.name] || a.name == f.Labels["alertname"] && f.has(a.labels)
			}
			if f.isNoneOfThese(w, aged) {
				t.Errorf("fires, too: %v", f)
			}
			f.speaks(t)
		}
		return !slices.ContainsFunc(names, func(name string) bool { return !fired[name] }), fmt.Sprint(fired)
	})
	for _, a := range alerts {
		a.mendIt()
	}
	wait(t, "all of them to go out", func() (bool, string) {
		left := slices.DeleteFunc(prometheus.firing(t, append(names, flapping)), func(f firing) bool {
			return f.Labels["alertname"] != flapping && !slices.ContainsFunc(alerts, func(a alertOf) bool { return a.name == f.Labels["alertname"] && f.has(a.labels) })
		})
		return len(left) == 0, fmt.Sprint(left)
	})
	wait(t, "data for every panel", func() (bool, string) {
		var without []string
		for _, file := range []string{"keda", "sluice"} {
			for _, p := range panels(t, file) {
				for _, target := range p.Targets {
					if !prometheus.hasData(t, everything(target.Expr), began) {
						without = append(without, file+", "+p.Title+": "+target.Expr)
					}
				}
			}
		}
		return len(without) == 0, strings.Join(without, "\n")
	})
}

// alertOf is an alert about something of ours that breaks.
type alertOf struct {
	name            string
	labels          map[string]string
	breakIt, mendIt func()
}

// isNoneOfThese reports an alert about something that is well.
func (f firing) isNoneOfThese(w *watched, aged string) bool {
	switch f.Labels["alertname"] {
	case "SluiceObjectAtMaximum":
		return f.Labels["scaledObject"] != w.full.name
	case "SluiceFamilyDown":
		// That of kafka stands still for some seconds, which are minutes here.
		return !slices.Contains([]string{"cron", "http", "kafka"}, f.Labels["family"])
	case "SluiceCertificateNearItsEnd":
		return !strings.HasPrefix(f.Labels["pod"], aged[:strings.LastIndex(aged, "-")])
	}
	return false
}

// watched are objects of every sort that has alerts and panels.
type watched struct {
	script       *script
	full, broken row
	// fails says whether Jobs fail.
	fails atomic.Bool
}

func newWatched(t *testing.T, ns string) *watched {
	t.Helper()
	w := &watched{script: startScript(t)}
	sink := &api{}
	sink.waiting.Store(1)
	sink.start(t)
	t.Cleanup(sink.stop)
	measured(t, row{object: object{t, ns, "series"}, script: w.script}, sink)

	w.full = row{object: object{t, ns, "full"}, script: w.script}
	w.full.start(0, spec{"maxReplicaCount": 3})
	w.broken = row{object: object{t, ns, "broken"}, script: w.script}
	w.broken.start(0, nil)
	scale(t, ns, "clock", 0, quick(brokers.Trigger{Type: "cron", Metadata: map[string]string{
		"timezone": "UTC", "start": "0 0 1 1 *", "end": "1 0 1 1 *", "desiredReplicas": "1",
	}})).waitCondition("Ready", "True", "")

	w.endPods(t, ns)
	w.script.set("batch", 1)
	scaleJobs(t, ns, "batch", spec{"triggers": triggers(w.script.trigger("batch", map[string]string{"perReplica": "1"})), "maxReplicaCount": 1, "jobTargetRef": map[string]any{
		"backoffLimit": 0,
		"template": map[string]any{
			"metadata": map[string]any{"labels": map[string]any{byHand: "true"}},
			"spec":     map[string]any{"restartPolicy": "Never", "containers": []any{map[string]any{"name": "worker", "image": "worker.invalid/worker"}}},
		},
	}})
	wait(t, "a Job to end", func() (bool, string) {
		var all batchv1.JobList
		if err := world.cluster.Client().List(t.Context(), &all, client.InNamespace(ns)); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(all.Items, func(j batchv1.Job) bool { return j.Status.Succeeded > 0 }), fmt.Sprint(len(all.Items), " Jobs")
	})
	return w
}

// fill gives an object more work than it may have replicas for, and waits until its
// HPA has heard of it: the adapter may be gone afterwards.
func (w *watched) fill() {
	w.full.t.Helper()
	w.full.set(500)
	w.full.wait("the HPA to want all there may be", func() (bool, string) {
		hpa := w.full.hpa()
		return hpa != nil && hpa.Status.DesiredReplicas == 3, fmt.Sprint(hpa)
	})
}

// wakes has an object with an objective wake while a Prometheus looks on: rates need
// what was before.
func (w *watched) wakes(t *testing.T, ns string, prometheus watcher) {
	t.Helper()
	since := time.Now()
	for _, name := range []string{"woken", "woken-again"} {
		topic, o := kafkaTopic(t, "alerts-"+name), object{t, ns, name}
		o.deployment(0)
		if err := o.applyWith(map[string]any{"sluice.dev/wake-objective": "2s"}, quick(topic.Trigger(5))); err != nil {
			t.Fatal(err)
		}
		o.wait("its wakes to be told of", func() (bool, string) {
			return prometheus.hasData(t, fmt.Sprintf("sluice_scaled_object_wakes_total{exported_namespace=%q, scaledObject=%q}", ns, name), since), o.describe()
		})
		if err := topic.Produce(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		o.waitReplicas(2)
		waitMeasured(t, "kafka")
	}
}

// late has an object wake again and again whose objective nobody can meet.
func (w *watched) late(t *testing.T, ns string, prometheus watcher) {
	t.Helper()
	since := time.Now()
	topic, o := kafkaTopic(t, "alerts-late"), object{t, ns, "late"}
	o.deployment(0)
	if err := o.applyWith(map[string]any{"sluice.dev/wake-objective": "1ns"}, quick(topic.Trigger(5))); err != nil {
		t.Fatal(err)
	}
	o.wait("its wakes to be told of", func() (bool, string) {
		return prometheus.hasData(t, fmt.Sprintf("sluice_scaled_object_wakes_total{exported_namespace=%q, scaledObject=%q}", ns, o.name), since), o.describe()
	})
	for range 3 {
		if err := topic.Produce(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
		o.waitReplicas(1)
		if err := topic.Consume(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
		o.waitReplicas(0)
	}
}

// tooLate has work wait for longer than the five seconds in which all wakes should
// follow: who reads it stands still meanwhile.
func tooLate(t *testing.T, ns string) {
	t.Helper()
	topics, objects := make([]*brokers.KafkaTopic, 3), make([]object, 3)
	for i := range objects {
		name := fmt.Sprintf("too-late-%d", i)
		topics[i] = kafkaTopic(t, "alerts-"+name)
		objects[i] = scale(t, ns, name, 0, quick(topics[i].Trigger(5)))
		objects[i].waitCondition("Ready", "True", "")
		objects[i].waitCondition("Active", "False", "")
	}
	stall(t, "scaler-kafka")
	for _, topic := range topics {
		if err := topic.Produce(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
	}
	since := time.Now()
	wait(t, "the work to have waited for too long", func() (bool, string) {
		return time.Since(since) > 5500*time.Millisecond, time.Since(since).String()
	})
	resume(t, "scaler-kafka")
	for _, o := range objects {
		o.waitReplicas(1)
	}
}

// flapping is about the lease of the controllers.
const flapping = "SluiceLeaseFlapping"

// flap has whoever leads end and be started again, until an alert fires: the other
// one takes the lease each time.
func flap(t *testing.T, prometheus watcher) {
	t.Helper()
	if firing := prometheus.firing(t, []string{flapping}); len(firing) > 0 {
		t.Fatalf("fires before the lead changes: %v", firing)
	}
	ended := ""
	wait(t, "an alert about the changes of lead", func() (bool, string) {
		for _, f := range prometheus.firing(t, []string{flapping}) {
			f.speaks(t)
			return f.Labels["name"] == "operator.keda.sh", fmt.Sprint(f)
		}
		holder, first := leaseHolder(t), leader(t)
		if holder == ended || !prometheus.leads(t, first.Name()) {
			return false, holder + " leads"
		}
		process, err := os.FindProcess(first.PID())
		if err == nil {
			err = process.Signal(syscall.SIGTERM)
		}
		if err != nil {
			return false, err.Error() // it is on its way out
		}
		ended = holder
		return false, holder + " was ended"
	})
	if _, err := world.cluster.WaitInstances(t.Context(), "controller", 2); err != nil {
		t.Fatal(err)
	}
}

// leads reports whether a Pod leads by its newest figures.
func (w watcher) leads(t *testing.T, pod string) bool {
	t.Helper()
	var now struct {
		Result []struct{} `json:"result"`
	}
	w.get(t, "query", url.Values{"query": {fmt.Sprintf("leader_election_master_status{pod=%q} == 1", pod)}}, &now)
	return len(now.Result) > 0
}

// age gives a family a certificate of whose life a sixth is left, in a Secret that the
// controller may not change, and returns what puts an empty one in its place.
func age(t *testing.T, family string) (renew func()) {
	t.Helper()
	api, who := world.cluster.Client(), identity.Scaler(family)
	of := func(namespace, name string) *corev1.Secret {
		secret := &corev1.Secret{}
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, secret); err != nil {
			t.Fatal(err)
		}
		return secret
	}
	ca := of("sluice-pki", "sluice-ca")
	signer, err := authority.Load(ca.Data[identity.CertificateKey], ca.Data[identity.PrivateKeyKey])
	if err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-50 * time.Minute)
	certificate, key, err := signer.Sign(authority.Request{Identity: who, Installation: "sluice-system", Lifetime: time.Hour}, then)
	if err != nil {
		t.Fatal(err)
	}
	renew = func() {
		ctx := context.WithoutCancel(t.Context())
		empty := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "sluice-system", Name: who.Secret()}}
		had := &corev1.Secret{}
		if err := api.Get(ctx, client.ObjectKeyFromObject(empty), had); err != nil {
			t.Error(err)
			return
		}
		if had.Immutable == nil || !*had.Immutable {
			return // it was renewed before
		}
		empty.Labels, empty.Annotations, empty.Type = had.Labels, had.Annotations, had.Type
		if err := api.Delete(ctx, had); err != nil {
			t.Error(err)
		}
		if err := api.Create(ctx, empty); err != nil {
			t.Error(err)
		}
		// Not to wait for the controller's next round.
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "sluice-system", Name: "scaler-" + family}}
		touch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"sluice.dev/touched":"%d"}}}`, then.Unix()))
		if err := api.Patch(ctx, service, touch); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(renew)
	// The controller may be at it at this moment.
	wait(t, "the old key in its Secret", func() (bool, string) {
		secret := of("sluice-system", who.Secret())
		secret.Data[identity.CertificateKey], secret.Data[identity.PrivateKeyKey] = certificate, key
		secret.Immutable = ptr.To(true)
		err := api.Update(t.Context(), secret)
		return err == nil, fmt.Sprint(err)
	})
	return renew
}

// stall has all of a component stand still, resume has them go on.
func stall(t *testing.T, component string) {
	t.Helper()
	t.Cleanup(func() { resume(t, component) })
	for _, i := range instances(t, component) {
		if err := i.Stall(); err != nil {
			t.Fatal(err)
		}
	}
}

func resume(t *testing.T, component string) {
	t.Helper()
	for _, i := range world.cluster.Instances(component) {
		if err := i.Resume(); err != nil {
			t.Error(err)
		}
	}
}

// unregister takes the APIService of external metrics away, and returns what puts it
// back.
func unregister(t *testing.T) (back func()) {
	t.Helper()
	service := func() *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		u.SetAPIVersion("apiregistration.k8s.io/v1")
		u.SetKind("APIService")
		u.SetName("v1beta1.external.metrics.k8s.io")
		return u
	}
	before := service()
	if err := world.cluster.Client().Get(t.Context(), client.ObjectKeyFromObject(before), before); err != nil {
		t.Fatal(err)
	}
	back = func() {
		again := service()
		again.SetLabels(before.GetLabels())
		again.Object["spec"] = before.Object["spec"]
		if err := world.cluster.Client().Create(context.WithoutCancel(t.Context()), again); client.IgnoreAlreadyExists(err) != nil {
			t.Error(err)
		}
	}
	t.Cleanup(back)
	if err := world.cluster.Client().Delete(t.Context(), service()); err != nil {
		t.Fatal(err)
	}
	return back
}

// endPods ends Pods of Jobs as soon as they run, well or not.
func (w *watched) endPods(t *testing.T, ns string) {
	t.Helper()
	clientset, err := kubernetes.NewForConfig(world.cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	end := func(o any) {
		pod, ok := o.(*corev1.Pod)
		if !ok || pod.Labels[byHand] == "" || pod.Status.Phase != corev1.PodRunning {
			return
		}
		phase, code := corev1.PodSucceeded, 0
		if w.fails.Load() {
			phase, code = corev1.PodFailed, 1
		}
		patch, err := json.Marshal(map[string]any{"status": map[string]any{
			"phase": phase,
			"containerStatuses": []any{map[string]any{
				"name": "worker", "image": "worker.invalid/worker", "imageID": "", "ready": false, "restartCount": 0,
				"state": map[string]any{"terminated": map[string]any{"exitCode": code, "reason": "Ended", "finishedAt": metav1.Now()}},
			}},
		}})
		if err == nil {
			_, err = clientset.CoreV1().Pods(ns).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
		}
		if client.IgnoreNotFound(err) != nil && ctx.Err() == nil {
			t.Errorf("%s: %v", pod.Name, err)
		}
	}
	factory := informers.NewSharedInformerFactoryWithOptions(clientset, 0, informers.WithNamespace(ns))
	_, err = factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: end, UpdateFunc: func(_, o any) { end(o) },
	})
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	t.Cleanup(func() {
		cancel()
		factory.Shutdown()
	})
}

// down kills all of a component, up starts them again.
func down(t *testing.T, component string) {
	t.Helper()
	for _, i := range instances(t, component) {
		if err := i.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { up(t, component) })
}

func up(t *testing.T, component string) {
	t.Helper()
	for _, i := range world.cluster.Instances(component) {
		i.Start()
	}
	if _, err := world.cluster.WaitInstances(context.WithoutCancel(t.Context()), component, 2); err != nil {
		t.Error(err)
	}
}

// inSeconds is a file of rules with those of a manifest, of which each minute is a
// second. promtool has no objection to them as they are.
func inSeconds(t *testing.T, manifest string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", manifest))
	if err != nil {
		t.Fatal(err)
	}
	var rule struct {
		Spec struct {
			Groups []struct {
				Name  string           `json:"name"`
				Rules []map[string]any `json:"rules"`
			} `json:"groups"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &rule); err != nil {
		t.Fatal(err)
	}
	whole, err := yaml.Marshal(rule.Spec)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := servers.CheckRules(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	for _, group := range rule.Spec.Groups {
		for _, r := range group.Rules {
			for _, key := range []string{"for", "expr"} {
				if written, ok := r[key].(string); ok {
					r[key] = duration.ReplaceAllStringFunc(written, func(d string) string {
						took, err := time.ParseDuration(strings.Trim(d, "[]"))
						if err != nil {
							t.Fatal(err)
						}
						return strings.Replace(d, strings.Trim(d, "[]"), strconv.Itoa(int(took/time.Minute))+"s", 1)
					})
				}
			}
		}
	}
	quick, err := yaml.Marshal(rule.Spec)
	if err != nil {
		t.Fatal(err)
	}
	return string(quick)
}

// duration is a range of an expression, or all of what a rule waits for.
var duration = regexp.MustCompile(`\[\d+[mh]\]|^\d+[mh]$`)

// watcher is a Prometheus.
type watcher struct{ *servers.PrometheusServer }

// scraping starts a Prometheus that scrapes every instance of ours as one of
// Prometheus' operator does, with PodMonitors.
func scraping(t *testing.T, rules string) watcher {
	t.Helper()
	targets := map[string]map[string]string{}
	for _, component := range world.scraper.components {
		for _, i := range world.cluster.Instances(component) {
			targets[net.JoinHostPort(i.Address(), metricsPort)] = map[string]string{
				"namespace": i.Namespace(), "pod": i.Name(), "container": i.Component(), "endpoint": "metrics",
			}
		}
	}
	w := watcher{servers.Prometheus(t, servers.PrometheusOptions{Address: world.cluster.Address(), Labels: targets, Rules: rules})}
	wait(t, "all targets to be scraped", func() (bool, string) {
		var up struct {
			Result []struct {
				Value []any `json:"value"`
			} `json:"result"`
		}
		w.get(t, "query", url.Values{"query": {"sum(up)"}}, &up)
		return len(up.Result) == 1 && up.Result[0].Value[1] == strconv.Itoa(len(targets)), fmt.Sprint(up, " of ", len(targets))
	})
	return w
}

// metricsPort is where all of ours have their metrics.
const metricsPort = "8080"

// get asks the server's API and reads what it says.
func (w watcher) get(t *testing.T, what string, values url.Values, into any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL()+"/api/v1/"+what+"?"+values.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer := struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   any    `json:"data"`
	}{Data: into}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v: %s", values, err, body)
	}
}

// firing is an alert that was sent.
type firing struct {
	State       string            `json:"state"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func (f firing) has(labels map[string]string) bool {
	for name, value := range labels {
		if f.Labels[name] != value {
			return false
		}
	}
	return true
}

// speaks refuses what says nothing, or nothing that leads on.
func (f firing) speaks(t *testing.T) {
	t.Helper()
	if said := f.Annotations["summary"] + f.Annotations["description"]; strings.Contains(said, "<no value>") || f.Annotations["runbook_url"] == "" {
		t.Errorf("says %v", f.Annotations)
	}
}

// firing are those of the alerts that fire.
func (w watcher) firing(t *testing.T, names []string) []firing {
	t.Helper()
	var all struct {
		Alerts []firing `json:"alerts"`
	}
	w.get(t, "alerts", nil, &all)
	return slices.DeleteFunc(all.Alerts, func(f firing) bool {
		return f.State != "firing" || !slices.Contains(names, f.Labels["alertname"])
	})
}

// hasData reports what a panel would show of the time since a moment: anything.
func (w watcher) hasData(t *testing.T, expr string, since time.Time) bool {
	t.Helper()
	var data struct {
		Result []struct {
			Values [][]any `json:"values"`
		} `json:"result"`
	}
	at := func(m time.Time) string { return strconv.FormatInt(m.Unix(), 10) }
	w.get(t, "query_range", url.Values{"query": {expr}, "start": {at(since)}, "end": {at(time.Now())}, "step": {"1"}}, &data)
	for _, series := range data.Result {
		if slices.ContainsFunc(series.Values, func(point []any) bool { return point[1] != "NaN" }) {
			return true
		}
	}
	return false
}

// panel is one of a dashboard that asks for something.
type panel struct {
	Title   string `json:"title"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

// panels are those of a dashboard as Grafana imports it.
func panels(t *testing.T, file string) []panel {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy/dashboards", file+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []panel `json:"panels"`
	}
	if err := json.Unmarshal(text, &board); err != nil || len(board.Panels) == 0 {
		t.Fatal(len(board.Panels), err)
	}
	return board.Panels
}

// everything is a query as Grafana sends it when a reader chose all there is.
func everything(expr string) string {
	expr = strings.ReplaceAll(expr, "$__rate_interval", "10s")
	return regexp.MustCompile(`\$[a-zA-Z]+`).ReplaceAllString(expr, ".*")
}
