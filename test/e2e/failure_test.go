package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/localcluster"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// The scenarios of this file break what others use, so none of them is
// parallel.

// onlyChanged starts to record and returns a check that no replicas changed
// but those of the allowed objects.
func onlyChanged(t *testing.T, allowed ...object) (check func()) {
	t.Helper()
	recorder, err := world.cluster.RecordReplicas(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(recorder.Stop)
	var names []string
	for _, o := range allowed {
		names = append(names, o.target())
	}
	return func() {
		t.Helper()
		if err := recorder.CheckOnly(t.Context(), names...); err != nil {
			t.Error(err)
		}
	}
}

// bystander is an object at work that nothing may change.
func bystander(t *testing.T, namespace, name string) object {
	t.Helper()
	topic := kafkaTopic(t, namespace+"-"+name)
	o := scale(t, namespace, name, 0, quick(topic.Trigger(5)))
	o.waitCondition("Ready", "True", "")
	if err := topic.Produce(t.Context(), 15); err != nil {
		t.Fatal(err)
	}
	o.waitReplicas(3)
	return o
}

func instances(t testing.TB, component string) []*localcluster.Instance {
	t.Helper()
	found := world.cluster.Instances(component)
	if len(found) != 2 {
		t.Fatalf("%d instances of %s, want 2", len(found), component)
	}
	return found
}

// TestFaultFamilyDown takes one of two families away from an object, and the only
// one from another that falls back.
func TestFaultFamilyDown(t *testing.T) {
	ns := namespace(t)
	other := bystander(t, ns, "other")
	topic, queue := kafkaTopic(t, "down"), rabbitMQQueue(t, "down", world.rabbitmq.AMQPURL("/"))
	s := quick(topic.Trigger(5), queue.Trigger(5))
	s["pollingInterval"] = 1
	o := scale(t, ns, "worker", 0, s)
	o.waitCondition("Ready", "True", "")
	if err := queue.Produce(t.Context(), 15); err != nil {
		t.Fatal(err)
	}
	o.waitReplicas(3)
	s["triggers"], s["fallback"] = triggers(rabbitMQQueue(t, "guarded", world.rabbitmq.AMQPURL("/")).Trigger(5)), map[string]any{"failureThreshold": 2, "replicas": 2}
	guarded := scale(t, ns, "guarded", 0, s)
	guarded.waitCondition("Ready", "True", "")
	s["triggers"] = triggers(topic.Trigger(5), queue.Trigger(5))
	delete(s, "fallback")
	check := onlyChanged(t, o, guarded)

	family := instances(t, "scaler-rabbitmq")
	for _, i := range family {
		if err := i.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	o.wait("the Service in the condition", func() (bool, string) {
		c := o.condition("Ready")
		return c["status"] != "True" && strings.Contains(c["message"], "trigger 1 (rabbitmq): Service scaler-rabbitmq"), o.describe()
	})
	o.waitCondition("Active", "Unknown", "")
	guarded.waitCondition("Fallback", "True", "Service scaler-rabbitmq")
	guarded.waitReplicas(2)
	before := metricNames(o.hpa())

	s["minReplicaCount"] = 2
	o.apply(s)
	o.wait("the HPA with the new minimum", func() (bool, string) {
		hpa := o.hpa()
		return *hpa.Spec.MinReplicas == 2, fmt.Sprint(*hpa.Spec.MinReplicas)
	})
	if after := metricNames(o.hpa()); !slices.Equal(before, after) {
		t.Errorf("metrics of the HPA were %v and are %v", before, after)
	}
	if err := topic.Produce(t.Context(), 40); err != nil {
		t.Fatal(err)
	}
	o.waitReplicas(8)

	for _, i := range family {
		i.Start()
	}
	o.waitCondition("Ready", "True", "")
	guarded.waitCondition("Fallback", "False", "")
	check()
	if have := other.replicas(); have != 3 {
		t.Errorf("the bystander has %d replicas, want 3", have)
	}
}

// TestBrokerDown kills a broker, brings it back, stalls it and cuts it off from the
// family, under objects at rest, at work and with a fallback.
func TestBrokerDown(t *testing.T) {
	broker, err := servers.StartKafka(t.Context(), servers.KafkaOptions{Address: world.cluster.Address()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	topicOn := func(name string) *brokers.KafkaTopic {
		topic, err := brokers.NewKafkaTopic(t.Context(), broker.Bootstrap(), name, name, 10)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(topic.Close)
		return topic
	}
	ns := namespace(t)
	bystander(t, ns, "other")
	rest, work := topicOn("rest"), topicOn("work")
	s := quick(rest.Trigger(5))
	s["pollingInterval"] = 1
	resting := scale(t, ns, "resting", 0, s)
	s["triggers"] = triggers(work.Trigger(5))
	working := scale(t, ns, "working", 0, s)
	resting.waitCondition("Ready", "True", "")
	working.waitCondition("Ready", "True", "")
	if err := work.Produce(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	working.waitReplicas(4)
	s["triggers"], s["fallback"] = triggers(rest.Trigger(5)), map[string]any{"failureThreshold": 3, "replicas": 1}
	guarded := scale(t, ns, "guarded", 0, s)
	guarded.waitCondition("Ready", "True", "")
	check := onlyChanged(t, guarded)

	heal := func() {}
	for name, fault := range map[string]struct{ breakIt, mendIt func() error }{
		"killed":  {broker.Kill, func() error { return broker.Restart(t.Context()) }},
		"stalled": {broker.Stop, broker.Continue},
		"cut off": {
			func() error {
				heal = part(t, addresses(instances(t, "scaler-kafka")...), []string{broker.Bootstrap()})
				return nil
			},
			func() error {
				heal()
				return nil
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := fault.breakIt(); err != nil {
				t.Fatal(err)
			}
			for _, o := range []object{resting, working} {
				o.t = t
				o.wait("Ready=False", func() (bool, string) { return o.condition("Ready")["status"] != "True", o.describe() })
			}
			guarded.t = t
			guarded.waitCondition("Fallback", "True", "")
			guarded.waitReplicas(1)
			if err := fault.mendIt(); err != nil {
				t.Fatal(err)
			}
			for _, o := range []object{resting, working, guarded} {
				o.t = t
				o.waitCondition("Ready", "True", "")
			}
			guarded.waitCondition("Fallback", "False", "")
		})
	}
	check()
}

// TestStalledBrokerDelaysNobody has many objects at work on a stalled broker
// beside as many healthy ones, and counts the syncs of the HPA controller.
func TestStalledBrokerDelaysNobody(t *testing.T) {
	const each = 200
	broker, err := servers.StartKafka(t.Context(), servers.KafkaOptions{Address: world.cluster.Address()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	ns := namespace(t)
	sick, err := brokers.NewKafkaTopic(t.Context(), broker.Bootstrap(), "sick", "sick", 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sick.Close)
	healthy := kafkaTopic(t, "healthy")
	var all []object
	for i := range each {
		for name, topic := range map[string]*brokers.KafkaTopic{"sick": sick, "healthy": healthy} {
			all = append(all, object{t, ns, fmt.Sprintf("%s-%d", name, i)})
			o, trigger := all[len(all)-1], topic.Trigger(5)
			o.deployment(1)
			o.apply(spec{"minReplicaCount": 1, "triggers": triggers(trigger)})
		}
	}
	for _, o := range all {
		o.waitCondition("Ready", "True", "")
	}
	check := onlyChanged(t)
	if err := broker.Stop(); err != nil {
		t.Fatal(err)
	}
	syncs := func() float64 {
		metrics, err := world.cluster.ControllerManagerMetrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var n float64
		for _, m := range metrics["horizontal_pod_autoscaler_controller_reconciliations_total"].GetMetric() {
			n += m.GetCounter().GetValue()
		}
		return n
	}
	sickReady := func() (bool, string) {
		o := all[0]
		if !strings.HasPrefix(o.name, "sick") {
			o = all[1]
		}
		return o.condition("Ready")["status"] != "True", o.describe()
	}
	wait(t, "the stall to be noticed", sickReady)
	// The HPA controller has five workers. If each sync of a sick HPA waited for the
	// broker as long as a read may take (3 s), two rounds would need four minutes,
	// more than wait has.
	start := syncs()
	wait(t, "two syncs of every HPA", func() (bool, string) {
		done := syncs() - start
		return done >= float64(2*len(all)), fmt.Sprintf("%v syncs", done)
	})
	check()
	if err := broker.Continue(); err != nil {
		t.Fatal(err)
	}
}

// TestFaultProcessesDie ends what we ship, piece by piece, under objects at work and
// at rest: no replicas change anywhere, and scaling goes on.
func TestFaultProcessesDie(t *testing.T) {
	ns := namespace(t)
	topic := kafkaTopic(t, "die")
	s := quick(topic.Trigger(5))
	s["pollingInterval"] = 1
	o := scale(t, ns, "worker", 0, s)
	o.waitCondition("Ready", "True", "")
	if err := topic.Produce(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	o.waitReplicas(2)
	bystander(t, ns, "other")

	cut := func(i *localcluster.Instance) (func(), error) {
		return func() {
			if err := i.Heal(); err != nil {
				t.Error(err)
			}
		}, i.Cut()
	}
	kill := func(i *localcluster.Instance) (func(), error) { return i.Start, i.Kill() }
	drain := func(i *localcluster.Instance) (func(), error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return func() {}, i.Terminate(ctx)
	}
	faults := []struct {
		name string
		of   func(t testing.TB) *localcluster.Instance
		do   func(*localcluster.Instance) (mend func(), err error)
	}{
		{"controller killed", leader, kill},
		{"controller drained", leader, drain},
		{"adapter killed", func(t testing.TB) *localcluster.Instance { return instances(t, "metrics-adapter")[0] }, kill},
		{"family instance killed", func(t testing.TB) *localcluster.Instance { return instances(t, "scaler-kafka")[0] }, kill},
		{"the other family instance killed", func(t testing.TB) *localcluster.Instance { return instances(t, "scaler-kafka")[1] }, kill},
		{"family instance drained", func(t testing.TB) *localcluster.Instance { return instances(t, "scaler-kafka")[0] }, drain},
		{"family instance cut off", func(t testing.TB) *localcluster.Instance { return instances(t, "scaler-kafka")[1] }, cut},
	}
	backlog := 10
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			o := o
			o.t = t
			check := onlyChanged(t, o)
			instance := fault.of(t)
			mend, err := fault.do(instance)
			if err != nil {
				t.Fatal(err)
			}
			backlog += 5
			if err := topic.Produce(t.Context(), 5); err != nil {
				t.Fatal(err)
			}
			o.waitReplicas(int32(backlog / 5))
			mend()
			if _, err := world.cluster.WaitInstances(t.Context(), instance.Component(), 2); err != nil {
				t.Fatal(err)
			}
			o.waitCondition("Ready", "True", "")
			check()
		})
	}
}

// TestFaultRestartAtWork starts the whole core anew at once.
func TestFaultRestartAtWork(t *testing.T) {
	ns := namespace(t)
	o := bystander(t, ns, "worker")
	check := onlyChanged(t)
	all := slices.Concat(instances(t, "controller"), instances(t, "metrics-adapter"), instances(t, "scaler-kafka"))
	var wg sync.WaitGroup
	for _, i := range all {
		wg.Go(func() {
			if err := i.Kill(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// The webhook is gone, too, and locks nobody out.
	higher := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"maxReplicaCount":7}}`))
	if err := world.cluster.Client().Patch(t.Context(), o.scaledObject(), higher); err != nil {
		t.Error(err)
	}
	// Nobody is there to judge, so what only the webhook refuses is let in.
	cron := map[string]any{"type": "cron", "name": "twice", "metadata": map[string]any{}}
	unjudged := manifest(t, "ScaledObject", ns, "unjudged", spec{
		"scaleTargetRef": map[string]any{"name": "unjudged"}, "triggers": []any{cron, cron},
	}, nil)
	if a := ask(t, unjudged, client.DryRunAll); a.refused != "" || len(a.warnings) > 0 {
		t.Errorf("without a webhook: %s", a)
	}
	for _, i := range all {
		i.Start()
	}
	o.wait("the webhook to judge again", func() (bool, string) {
		a := ask(t, unjudged, client.DryRunAll)
		return strings.Contains(a.refused, `name: "twice" is already the name of trigger 0`), a.String()
	})
	for _, component := range []string{"controller", "metrics-adapter", "scaler-kafka"} {
		if _, err := world.cluster.WaitInstances(t.Context(), component, 2); err != nil {
			t.Fatal(err)
		}
	}
	// The HPA reads again, and a decision was taken, before we look.
	o.wait("HPAActive=True", func() (bool, string) { return o.condition("HPAActive")["status"] == "True", o.describe() })
	o.waitCondition("Active", "True", "")
	o.wait("the HPA with the new maximum", func() (bool, string) {
		hpa := o.hpa()
		return hpa.Spec.MaxReplicas == 7, fmt.Sprint(hpa.Spec.MaxReplicas)
	})
	check()
}
