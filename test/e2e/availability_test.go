package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// ours are the components that we ship and that these scenarios need.
var ours = []string{"controller", "metrics-adapter", "scaler-kafka"}

// nobodyRestarts returns a check that every process of ours is still the one
// that it was.
func nobodyRestarts(t *testing.T) (check func()) {
	t.Helper()
	before := map[string]int{}
	for _, component := range ours {
		for _, i := range instances(t, component) {
			before[i.Name()] = i.PID()
		}
	}
	return func() {
		t.Helper()
		for _, component := range ours {
			for _, i := range instances(t, component) {
				if i.PID() != before[i.Name()] {
					t.Errorf("%s was started anew:\n%s", i.Name(), i.LogTail(20))
				}
			}
		}
	}
}

// logged is how often an instance's log says something.
func logged(t *testing.T, i *localcluster.Instance, what string) int {
	t.Helper()
	content, err := os.ReadFile(i.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(content, []byte(what))
}

// linesOf are the lines of an instance's log that hold all of the texts.
func linesOf(t *testing.T, i *localcluster.Instance, texts ...string) []string {
	t.Helper()
	content, err := os.ReadFile(i.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(content)) {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			found = append(found, line)
		}
	}
	return found
}

// waitLogged waits until an instance says something once more than before.
func waitLogged(t *testing.T, i *localcluster.Instance, what string, before int) {
	t.Helper()
	wait(t, i.Name()+" to say "+what, func() (bool, string) { return logged(t, i, what) > before, i.LogTail(5) })
}

const (
	saysLost = "this controller no longer leads"
	saysKEDA = "KEDA holds its lease"
)

// TestFaultControlPlaneAway takes the API server, or what it stores in, away from
// under objects at work. Nobody restarts and nothing changes; work that arrived
// meanwhile is done afterwards.
func TestFaultControlPlaneAway(t *testing.T) {
	ns := namespace(t)
	topic := kafkaTopic(t, "away")
	s := quick(topic.Trigger(5))
	s["pollingInterval"] = 1
	o := scale(t, ns, "worker", 0, s)
	o.waitCondition("Ready", "True", "")
	if err := topic.Produce(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	o.waitReplicas(2)
	bystander(t, ns, "other")
	backlog := 10

	for _, fault := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"API server stalled for a minute", func(t *testing.T) {
			api, first := world.cluster.Role(localcluster.APIServer), leader(t)
			before := logged(t, first, saysLost)
			minute := time.NewTimer(time.Minute)
			defer minute.Stop()
			if err := api.Stall(); err != nil {
				t.Fatal(err)
			}
			// Its term ends by its own clock: it has nobody to ask.
			waitLogged(t, first, saysLost, before)
			<-minute.C
			if err := api.Resume(); err != nil {
				t.Fatal(err)
			}
		}},
		{"etcd cut off from the API server", func(t *testing.T) {
			first := leader(t)
			before := logged(t, first, saysLost)
			heal := part(t, []string{world.cluster.Address()}, []string{world.cluster.RoleAddress(localcluster.Etcd)})
			waitLogged(t, first, saysLost, before)
			heal()
		}},
		{"etcd and API server restarted", func(t *testing.T) {
			restart(t, localcluster.Etcd)
			restart(t, localcluster.APIServer)
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			o := o
			o.t = t
			check, same := onlyChanged(t, o), nobodyRestarts(t)
			fault.do(t)
			backlog += 5
			if err := topic.Produce(t.Context(), 5); err != nil {
				t.Fatal(err)
			}
			wait(t, "the API server", func() (bool, string) {
				err := world.cluster.Client().Get(t.Context(), o.key(), o.scaledObject())
				return err == nil, fmt.Sprint(err)
			})
			o.waitReplicas(int32(backlog / 5))
			o.waitCondition("Ready", "True", "")
			check()
			same()
		})
	}
}

// restart kills a process of the control plane and starts it again.
func restart(t *testing.T, name string) {
	t.Helper()
	role := world.cluster.Role(name)
	if err := role.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := role.Start(); err != nil {
		t.Fatal(err)
	}
}

// TestFaultAnyAdapterMayDie kills each of three adapters in turn, under an object
// that grows meanwhile. Others look at the adapters, so it is not parallel.
func TestFaultAnyAdapterMayDie(t *testing.T) {
	ns := namespace(t)
	topic := kafkaTopic(t, "adapters")
	o := scale(t, ns, "worker", 0, quick(topic.Trigger(5)))
	o.waitCondition("Ready", "True", "")
	adapters := func(count int32) []*localcluster.Instance {
		deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "sluice-system", Name: "metrics-adapter"}}
		patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, count))
		if err := world.cluster.Client().Patch(t.Context(), deployment, patch); err != nil {
			t.Fatal(err)
		}
		all, err := world.cluster.WaitInstances(t.Context(), "metrics-adapter", int(count))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for n, adapter := range adapters(3) {
		if err := adapter.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := topic.Produce(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		o.waitReplicas(int32(2 * (n + 1)))
		adapter.Start()
	}
	adapters(2)
}

// TestExternalScalerDown takes a user's own scaler away: killed, stalled, and cut
// off from the family that asks it.
// Its objects keep what they have and say why; others notice nothing.
func TestExternalScalerDown(t *testing.T) {
	t.Parallel()
	ns, address := namespace(t), freeAddress(t)
	python := startPythonAt(t, address)
	trigger := brokers.Trigger{Type: "external", Metadata: map[string]string{"scalerAddress": address, "counter": "jobs", "perReplica": "5"}}
	s := quick(trigger)
	s["pollingInterval"] = 1
	working := scale(t, ns, "working", 0, s)
	working.waitCondition("Ready", "True", "")
	python.set("jobs", 15)
	working.waitReplicas(3)
	s["triggers"] = triggers(brokers.Trigger{Type: "external", Metadata: map[string]string{"scalerAddress": address, "counter": "none"}})
	resting := scale(t, ns, "resting", 0, s)
	resting.waitCondition("Ready", "True", "")

	heal := func() {}
	for _, fault := range []struct {
		name            string
		breakIt, mendIt func(t *testing.T)
	}{
		{"cut off", func(t *testing.T) {
			heal = part(t, addresses(instances(t, "scaler-external")...), []string{address})
		}, func(*testing.T) { heal() }},
		{"stalled", func(t *testing.T) { python.signal(t, syscall.SIGSTOP) }, func(t *testing.T) { python.signal(t, syscall.SIGCONT) }},
		{"killed", func(*testing.T) { python.end() }, func(t *testing.T) {
			python = startPythonAt(t, address)
			python.set("jobs", 15)
		}},
	} {
		fault.breakIt(t)
		for _, o := range []object{resting, working} {
			o.wait("Ready is not True, "+fault.name, func() (bool, string) { return o.condition("Ready")["status"] != "True", o.describe() })
		}
		fault.mendIt(t)
		for o, replicas := range map[object]int32{resting: 0, working: 3} {
			o.waitCondition("Ready", "True", "")
			if have := o.replicas(); have != replicas {
				t.Errorf("%s: %s has %d replicas, want %d", fault.name, o.name, have, replicas)
			}
		}
	}
}

func (p pythonScaler) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := p.process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// TestFaultKEDABeside has a KEDA hold its lease in another namespace: Sluice only
// reads, and scales once KEDA is gone. KEDA itself is played by its lease, which
// is all that Sluice goes by.
func TestFaultKEDABeside(t *testing.T) {
	ns := namespace(t)
	topic := kafkaTopic(t, "beside")
	s := quick(topic.Trigger(5))
	s["pollingInterval"] = 1
	o := scale(t, ns, "worker", 0, s)
	o.waitCondition("Ready", "True", "")
	check := onlyChanged(t)
	first := leader(t)
	before := logged(t, first, saysKEDA)
	leave := holdLease(t, ns)
	waitLogged(t, first, saysKEDA, before)
	if err := topic.Produce(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	wait(t, "the reading in the leader's metrics", func() (bool, string) {
		metrics, err := world.cluster.InstanceMetrics(t.Context(), first, "metrics")
		if err != nil {
			return false, err.Error()
		}
		for _, m := range metrics["keda_scaler_metrics_value"].GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "namespace" && l.GetValue() == ns && m.GetGauge().GetValue() == 10 {
					return true, ""
				}
			}
		}
		return false, "no such series"
	})
	waitShadow(t, first, ns, func(d compared) bool {
		return len(d.Objects) == 1 && d.Objects[0].Would != nil && *d.Objects[0].Would == 2 && strings.Contains(d.Leader, "keda-operator-0")
	})
	check()
	leave()
	o.waitReplicas(2)
	o.waitCondition("Ready", "True", "")
}

// failingSource is an object with a fallback whose source, once up, is gone.
func failingSource(t *testing.T, namespace string, s spec) (o object, mend func()) {
	t.Helper()
	source := &api{}
	source.start(t)
	s["triggers"] = triggers(brokers.Trigger{Type: "metrics-api", Metadata: map[string]string{
		"url": "http://" + source.address, "valueLocation": "waiting", "targetValue": "5",
	}})
	o = scale(t, namespace, "guarded", 0, s)
	o.waitCondition("Ready", "True", "")
	source.stop()
	return o, func() {
		source.start(t)
		t.Cleanup(source.stop)
	}
}

// failures is how many the object's status counts.
func (r row) failures() int64 {
	for _, health := range asMap(r.status("health")) {
		n, _ := asMap(health)["numberOfFailures"].(int64)
		return n
	}
	return 0
}

func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// TestFaultLeaderChangesWhileFailuresAreCounted stops the leader while a fallback
// waits for its time, and again while it is in force: the count goes on to a
// fallback that the API server stores, and that stands through the second change.
func TestFaultLeaderChangesWhileFailuresAreCounted(t *testing.T) {
	ns := namespace(t)
	s := quick()
	s["pollingInterval"], s["fallback"] = 1, map[string]any{"failureThreshold": 15, "replicas": 3}
	o, mend := failingSource(t, ns, s)
	r := row{object: o}
	change := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := leader(t).Terminate(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := world.cluster.WaitInstances(t.Context(), "controller", 2); err != nil {
			t.Fatal(err)
		}
	}
	o.wait("two failures", func() (bool, string) { return r.failures() >= 2, o.describe() })
	change()
	o.waitCondition("Fallback", "True", "")
	o.waitReplicas(3)
	since := fmt.Sprint(r.status("fallback"))

	change()
	o.wait("the next leader's decision", func() (bool, string) {
		if now := fmt.Sprint(r.status("fallback")); now != since {
			t.Fatalf("fallback was %s and is %s", since, now)
		}
		answer, err := decisions(t, leader(t), o)
		return err == nil && strings.Contains(string(answer), `"outcome": "error"`), fmt.Sprint(string(answer), err)
	})
	mend()
	o.waitCondition("Fallback", "False", "")
}

// TestFaultTakingOverFromKEDA has KEDA lead, and store what it stores, during an
// outage that began before and ends after: Sluice goes on with KEDA's count.
func TestFaultTakingOverFromKEDA(t *testing.T) {
	ns := namespace(t)
	s := quick()
	s["pollingInterval"], s["fallback"] = 1, map[string]any{"failureThreshold": 1000, "replicas": 3}
	o, mend := failingSource(t, ns, s)
	r := row{object: o}
	leave := holdLease(t, ns)
	waitShadow(t, leader(t), ns, func(d compared) bool { return d.Mode == "shadow" })
	name := ""
	for _, metric := range asList(r.status("externalMetricNames")) {
		name = fmt.Sprint(metric)
	}
	kedas := map[string]any{
		"lastActiveTime": "2026-05-01T12:00:00Z", "health": map[string]any{name: map[string]any{"numberOfFailures": 2000, "status": "Failing"}},
		"conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "ScaledObjectReady", "message": ""}},
	}
	text, err := json.Marshal(map[string]any{"status": kedas})
	if err != nil {
		t.Fatal(err)
	}
	if err := world.cluster.Client().Status().Patch(t.Context(), o.scaledObject(), client.RawPatch(types.MergePatchType, text)); err != nil {
		t.Fatal(err)
	}
	leave()
	o.waitCondition("Fallback", "True", "")
	o.waitReplicas(3)
	mend()
	o.waitCondition("Fallback", "False", "")
}

func asList(v any) []any {
	l, _ := v.([]any)
	return l
}

// holdLease renews KEDA's lease in a namespace until leave is called. Its account
// may write what a KEDA writes.
func holdLease(t *testing.T, namespace string) (leave func()) {
	t.Helper()
	rights := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "keda-operator-" + namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "sluice-controller"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "keda-operator"}},
	}
	if err := world.cluster.Client().Create(t.Context(), rights); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := world.cluster.Client().Delete(context.WithoutCancel(t.Context()), rights); err != nil {
			t.Error(err)
		}
	})
	const duration = 5
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "operator.keda.sh"},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To("keda-operator-0"), LeaseDurationSeconds: ptr.To[int32](duration), RenewTime: ptr.To(metav1.NowMicro()),
		},
	}
	if err := world.cluster.Client().Create(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var renewing sync.WaitGroup
	renewing.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			lease.Spec.RenewTime = ptr.To(metav1.NowMicro())
			if err := world.cluster.Client().Update(ctx, lease); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	leave = sync.OnceFunc(func() {
		cancel()
		renewing.Wait()
		if err := world.cluster.Client().Delete(context.WithoutCancel(t.Context()), lease); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(leave)
	return leave
}

// BenchmarkHandOver measures how long nobody leads when the leader is stopped
// cleanly, as at every rollout.
func BenchmarkHandOver(b *testing.B) {
	for b.Loop() {
		first := leader(b)
		ctx, cancel := context.WithTimeout(b.Context(), patience)
		ended := make(chan error, 1)
		go func() { ended <- first.Terminate(ctx) }()
		wait(b, "another leader", func() (bool, string) {
			holder := leaseHolder(b)
			return !strings.HasPrefix(holder, first.Name()), holder
		})
		b.StopTimer()
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
		cancel()
		if _, err := world.cluster.WaitInstances(b.Context(), "controller", 2); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
