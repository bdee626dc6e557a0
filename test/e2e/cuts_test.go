package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// once makes of what heals something that it does so once, at the latest when the
// test ends.
func once(t *testing.T, do func() error) (heal func()) {
	heal = sync.OnceFunc(func() {
		if err := do(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(heal)
	return heal
}

// part cuts all parties of one side from all of the other until heal is called.
func part(t *testing.T, some, others []string) (heal func()) {
	t.Helper()
	var heals []func()
	for _, a := range some {
		for _, b := range others {
			one, err := world.cluster.CutBetween(a, b)
			if err != nil {
				t.Fatal(err)
			}
			heals = append(heals, once(t, one))
		}
	}
	return func() {
		for _, heal := range heals {
			heal()
		}
	}
}

func addresses(all ...*localcluster.Instance) (found []string) {
	for _, i := range all {
		found = append(found, i.Address())
	}
	return found
}

// addressesOf are the addresses of a port, by its name in the manifest.
func addressesOf(t *testing.T, port string, all ...*localcluster.Instance) (found []string) {
	t.Helper()
	for _, i := range all {
		address, err := i.PortAddress(port)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, address)
	}
	return found
}

// maker makes the objects of a case, of which alone the replicas may change.
type maker func(name string, s spec) object

// cutter cuts an instance off.
type cutter func(t *testing.T, i *localcluster.Instance) (heal func())

// fromAll cuts an instance off from everybody.
func fromAll(t *testing.T, i *localcluster.Instance) (heal func()) {
	t.Helper()
	if err := i.Cut(); err != nil {
		t.Fatal(err)
	}
	return once(t, i.Heal)
}

// fromAPIServer does so with the API server alone, which calls at the ports.
func fromAPIServer(ports ...string) cutter {
	return func(t *testing.T, i *localcluster.Instance) (heal func()) {
		t.Helper()
		asks := part(t, addresses(i), []string{world.cluster.RoleAddress(localcluster.APIServer)})
		var at []string
		for _, port := range ports {
			at = append(at, addressesOf(t, port, i)...)
		}
		isAsked := part(t, []string{world.cluster.Address()}, at)
		return func() {
			asks()
			isAsked()
		}
	}
}

// TestFaultCut cuts two parties that speak with one another from each other, or
// one off from everybody. Brokers and the scalers of users are cut off where they
// are killed and stalled (TestBrokerDown, TestExternalScalerDown). The cases of a
// group do not meet and go side by side. Who was cut off goes on without a
// restart.
func TestFaultCut(t *testing.T) {
	ns := namespace(t)
	bystander(t, ns, "other")
	recorder, err := world.cluster.RecordReplicas(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(recorder.Stop)
	same := nobodyRestarts(t)
	var mu sync.Mutex
	var made []string
	for name, group := range map[string]map[string]func(*testing.T, maker){
		"between": {
			"controller and family":  cutControllerAndFamily,
			"adapters and family":    cutAdaptersAndFamily,
			"family and API server":  cutFamilyAndAPIServer,
			"API server and webhook": cutAPIServerAndWebhook,
		},
		"from the API server": {
			"leading controller": cutLeader("leader-api", fromAPIServer()),
			"adapter":            cutAdapter("adapter-api", fromAPIServer("https")),
		},
		"from everybody": {
			"leading controller": cutLeader("leader", fromAll),
			"adapter":            cutAdapter("adapter", fromAll),
		},
	} {
		t.Run(name, func(t *testing.T) {
			for name, cut := range group {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					cut(t, func(name string, s spec) object {
						s["pollingInterval"] = 1
						o := scale(t, ns, name, 0, s)
						mu.Lock()
						defer mu.Unlock()
						made = append(made, o.target())
						return o
					})
				})
			}
		})
		if err := recorder.CheckOnly(t.Context(), made...); err != nil {
			t.Error(err)
		}
		same()
	}
}

// cutControllerAndFamily cuts the leader from a whole family, and then from one
// instance of it.
func cutControllerAndFamily(t *testing.T, scaled maker) {
	rest, work := kafkaTopic(t, "unseen-rest"), kafkaTopic(t, "unseen-work")
	resting, working := scaled("unseen-rest", quick(rest.Trigger(5))), scaled("unseen-work", quick(work.Trigger(5)))
	resting.waitCondition("Ready", "True", "")
	if err := work.Produce(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	working.waitReplicas(2)

	cut, family := leader(t), instances(t, "scaler-kafka")
	heal := part(t, addresses(cut), addresses(family[0]))
	part(t, addresses(cut), addresses(family[1]))
	for _, o := range []object{resting, working} {
		o.wait("the Service in the condition", func() (bool, string) {
			c := o.condition("Ready")
			return c["status"] != "True" && strings.Contains(c["message"], "Service scaler-kafka"), o.describe()
		})
	}
	if err := rest.Produce(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	if err := work.Produce(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	working.waitReplicas(4) // adapters ask for themselves
	resting.unmoved(0)
	heal()
	resting.waitReplicas(2)
	for _, o := range []object{resting, working} {
		o.waitCondition("Ready", "True", "")
	}
	working.unmoved(4)
}

// cutAdaptersAndFamily cuts one adapter from a family, then both.
func cutAdaptersAndFamily(t *testing.T, scaled maker) {
	queue := rabbitMQQueue(t, "unread", world.rabbitmq.AMQPURL("/"))
	o := scaled("unread", quick(queue.Trigger(5)))
	o.waitCondition("Ready", "True", "")
	if err := queue.Produce(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	o.waitReplicas(4)
	adapters, family := instances(t, "metrics-adapter"), addresses(instances(t, "scaler-rabbitmq")...)
	healOne := part(t, addresses(adapters[0]), family)
	answers, errors := 0, 0
	o.wait("answers of the one and errors of the other", func() (bool, string) {
		value, err := o.metricValue()
		switch {
		case err != nil:
			errors++
		case value != 20:
			t.Fatalf("the backlog is %v, want 20", value)
		default:
			answers++
		}
		return answers > 0 && errors > 0, fmt.Sprintf("%d answers, %d errors, %v", answers, errors, err)
	})
	healOther := part(t, addresses(adapters[1]), family)
	before := metricNames(o.hpa())
	o.wait("the HPA without a reading", func() (bool, string) {
		for _, c := range o.hpa().Status.Conditions {
			if c.Type == autoscalingv2.ScalingActive {
				return c.Status == corev1.ConditionFalse, c.Message
			}
		}
		return false, "no such condition"
	})
	if _, err := o.metricValue(); err == nil {
		t.Error("a reading came from nowhere")
	}
	o.waitCondition("Ready", "True", "")
	o.unmoved(4)
	if after := metricNames(o.hpa()); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("metrics of the HPA were %v and are %v", before, after)
	}
	if err := queue.Produce(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	healOne()
	healOther()
	o.waitReplicas(6)
}

// cutFamilyAndAPIServer cuts a family from where its credentials are.
func cutFamilyAndAPIServer(t *testing.T, scaled maker) {
	known, unknown := rabbitMQQueue(t, "known", world.rabbitmq.AMQPURL("/")), rabbitMQQueue(t, "unknown", world.rabbitmq.AMQPURL("/"))
	o := scaled("known", authenticated(known.Trigger(5), map[string]string{"host": ""}, authenticationRef("known")))
	c := credentials{t, o.namespace}
	for _, name := range []string{"known", "unknown"} {
		c.secret(name, map[string]string{"host": world.rabbitmq.AMQPURL("/")})
		c.authentication(name, "host")
	}
	grant(t, o.namespace, "rabbitmq", "sluice-scaler-credentials")
	o.waitCondition("Ready", "True", "")

	heal := part(t, addresses(instances(t, "scaler-rabbitmq")...), []string{world.cluster.RoleAddress(localcluster.APIServer)})
	other := scaled("unknown", authenticated(unknown.Trigger(5), map[string]string{"host": ""}, authenticationRef("unknown")))
	other.waitCondition("Ready", "False", "TriggerAuthentication")
	if err := known.Produce(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	o.waitReplicas(2)
	o.waitCondition("Ready", "True", "")
	heal()
	other.waitCondition("Ready", "True", "")
}

// cutAPIServerAndWebhook has nobody judge what is created.
func cutAPIServerAndWebhook(t *testing.T, _ maker) {
	cron := map[string]any{"type": "cron", "name": "twice", "metadata": map[string]any{}}
	o := object{t, "default", "unjudged"}
	unjudged := manifest(t, "ScaledObject", o.namespace, o.name, spec{
		"scaleTargetRef": map[string]any{"name": o.name}, "triggers": []any{cron, cron},
	}, nil)
	judged := func() (bool, string) {
		a := ask(t, unjudged, client.DryRunAll)
		return strings.Contains(a.refused, `name: "twice" is already the name of trigger 0`), a.String()
	}
	o.wait("the webhook to judge", judged)
	heal := part(t, []string{world.cluster.Address()}, addressesOf(t, "webhook", instances(t, "controller")...))
	if a := ask(t, unjudged, client.DryRunAll); a.refused != "" || len(a.warnings) > 0 {
		t.Errorf("without a webhook: %s", a)
	}
	heal()
	o.wait("the webhook to judge again", judged)
}

// cutLeader has another lead, whether or not the first still sees the families.
func cutLeader(name string, cut cutter) func(*testing.T, maker) {
	return func(t *testing.T, scaled maker) {
		topic := kafkaTopic(t, name)
		o := scaled(name, quick(topic.Trigger(5)))
		o.waitCondition("Ready", "True", "")
		first := leader(t)
		before := logged(t, first, saysLost)
		heal := cut(t, first)
		if err := topic.Produce(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		waitLogged(t, first, saysLost, before)
		o.waitReplicas(2)
		heal()
		if _, err := world.cluster.WaitInstances(t.Context(), "controller", 2); err != nil {
			t.Fatal(err)
		}
		o.waitCondition("Ready", "True", "")
	}
}

// cutAdapter has the other adapter answer. The first may still see the families,
// but cannot ask whether who asks may.
func cutAdapter(name string, cut cutter) func(*testing.T, maker) {
	return func(t *testing.T, scaled maker) {
		topic := kafkaTopic(t, name)
		o := scaled(name, quick(topic.Trigger(5)))
		o.waitCondition("Ready", "True", "")
		if err := topic.Produce(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		o.waitReplicas(2)
		adapter := instances(t, "metrics-adapter")[0]
		heal := cut(t, adapter)
		wait(t, "the adapter not to be ready", func() (bool, string) { return !adapter.Ready(), adapter.LogTail(5) })
		if err := topic.Produce(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		o.waitReplicas(4)
		heal()
		if _, err := world.cluster.WaitInstances(t.Context(), adapter.Component(), 2); err != nil {
			t.Fatal(err)
		}
		o.wait("a reading", func() (bool, string) {
			value, err := o.metricValue()
			return value == 20, fmt.Sprintf("%v, %v", value, err)
		})
	}
}
