package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
)

// byHand keeps kwok from finishing a Pod: the crew does, after its work.
const byHand = "test.sluice.dev/by-hand"

// jobs is one ScaledJob of a scenario.
type jobs struct {
	t               *testing.T
	namespace, name string
}

// scaleJobs makes a ScaledJob.
func scaleJobs(t *testing.T, namespace, name string, s spec) jobs {
	t.Helper()
	all := map[string]any{
		"pollingInterval": 1,
		"jobTargetRef": map[string]any{"template": map[string]any{
			"metadata": map[string]any{"labels": map[string]any{byHand: "true"}},
			"spec":     map[string]any{"containers": []any{map[string]any{"name": "worker", "image": "worker.invalid/worker"}}},
		}},
	}
	for key, value := range s {
		all[key] = value
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
		"metadata": map[string]any{"namespace": namespace, "name": name},
		"spec":     all,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := world.cluster.ApplyYAML(t.Context(), string(text)); err != nil {
		t.Fatal(err)
	}
	j := jobs{t, namespace, name}
	t.Cleanup(func() {
		err := world.cluster.Client().Delete(context.WithoutCancel(t.Context()), j.scaledJob())
		if client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
	return j
}

func (j jobs) scaledJob() *unstructured.Unstructured {
	sj := &unstructured.Unstructured{}
	sj.SetAPIVersion("keda.sh/v1alpha1")
	sj.SetKind("ScaledJob")
	sj.SetNamespace(j.namespace)
	sj.SetName(j.name)
	return sj
}

func (j jobs) condition(conditionType string) map[string]string {
	j.t.Helper()
	return conditionOf(j.t, j.scaledJob(), conditionType)
}

// describe says what the object is like, for a failure's message.
func (j jobs) describe() string {
	sj := j.scaledJob()
	if err := world.cluster.Client().Get(j.t.Context(), client.ObjectKeyFromObject(sj), sj); err != nil {
		return err.Error()
	}
	text, _ := json.Marshal(sj.Object["status"])
	return string(text)
}

func (j jobs) wait(what string, done func() (bool, string)) {
	j.t.Helper()
	wait(j.t, j.namespace+"/"+j.name+": "+what, done)
}

// waitCondition waits until a condition has the status and its message holds
// the text.
func (j jobs) waitCondition(conditionType, status, text string) {
	j.t.Helper()
	j.wait(fmt.Sprintf("%s=%s with %q", conditionType, status, text), func() (bool, string) {
		c := j.condition(conditionType)
		return c["status"] == status && strings.Contains(c["message"], text), j.describe()
	})
}

// crew plays the containers of Jobs: each takes one message and ends. kwok
// plays the rest of the Pods.
type crew struct {
	t         *testing.T
	clientset kubernetes.Interface
	queue     brokers.Queue
	workers   sync.WaitGroup

	mu      sync.Mutex
	hired   map[types.UID]bool // Pods at work or done
	created map[types.UID]bool // Jobs ever: a name may come again after a restart
	running map[types.UID]bool
	most    int // Jobs that ran at once
	done    int // messages taken
	surplus []string
}

// newCrew works off a queue in a namespace until the test ends.
func newCrew(t *testing.T, namespace string, queue brokers.Queue) *crew {
	t.Helper()
	clientset, err := kubernetes.NewForConfig(world.cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	c := &crew{
		t: t, clientset: clientset, queue: queue,
		hired: map[types.UID]bool{}, created: map[types.UID]bool{}, running: map[types.UID]bool{},
	}
	ctx, cancel := context.WithCancel(t.Context())
	factory := informers.NewSharedInformerFactoryWithOptions(clientset, 0, informers.WithNamespace(namespace))
	_, err = factory.Batch().V1().Jobs().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { c.saw(o.(*batchv1.Job)) },
		UpdateFunc: func(_, o any) { c.saw(o.(*batchv1.Job)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { c.hire(ctx, o.(*corev1.Pod)) },
		UpdateFunc: func(_, o any) { c.hire(ctx, o.(*corev1.Pod)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	t.Cleanup(func() {
		cancel()
		factory.Shutdown()
		c.workers.Wait()
	})
	return c
}

func (c *crew) saw(job *batchv1.Job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.created[job.UID] = true
	c.running[job.UID] = true
	for _, condition := range job.Status.Conditions {
		if condition.Type == batchv1.JobComplete && condition.Status == corev1.ConditionTrue {
			delete(c.running, job.UID)
		}
	}
	c.most = max(c.most, len(c.running))
}

// hire lets a Pod that has started do its work, once.
func (c *crew) hire(ctx context.Context, pod *corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pod.Status.Phase != corev1.PodRunning || c.hired[pod.UID] {
		return
	}
	c.hired[pod.UID] = true
	c.workers.Go(func() {
		if err := c.work(ctx, pod); err != nil && ctx.Err() == nil {
			c.t.Errorf("%s: %v", pod.Name, err)
		}
	})
}

// work takes one message and ends the Pod's container.
func (c *crew) work(ctx context.Context, pod *corev1.Pod) error {
	if err := c.take(ctx, pod.Name); err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"phase": corev1.PodSucceeded,
		"containerStatuses": []any{map[string]any{
			"name": "worker", "image": "worker.invalid/worker", "imageID": "", "ready": false, "restartCount": 0,
			"state": map[string]any{"terminated": map[string]any{"exitCode": 0, "reason": "Completed", "finishedAt": metav1.Now()}},
		}},
	}})
	if err != nil {
		return err
	}
	_, err = c.clientset.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// take takes one message. The crew is one after the other here, so that each
// message is one's alone.
func (c *crew) take(ctx context.Context, who string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	left, err := c.queue.Backlog(ctx)
	if err != nil {
		return err
	}
	if left == 0 {
		c.surplus = append(c.surplus, who)
		return nil
	}
	if err := c.queue.Consume(ctx, 1); err != nil {
		return err
	}
	c.done++
	return nil
}

// report is what the crew did.
func (c *crew) report() (done, created, running, most int, surplus []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done, len(c.created), len(c.running), c.most, c.surplus
}

// String is for a failure's message.
func (c *crew) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	left, err := c.queue.Backlog(c.t.Context())
	return fmt.Sprintf("%d messages done by %d Jobs, %d run, %d messages left (%v)", c.done, len(c.created), len(c.running), left, err)
}

// waitAllDone waits until messages are done and the object has noticed, and
// checks that every Job had one of them.
func (c *crew) waitAllDone(o jobs, messages, limit int) {
	c.t.Helper()
	o.wait(fmt.Sprintf("%d messages done", messages), func() (bool, string) {
		done, _, running, _, _ := c.report()
		return done == messages && running == 0, fmt.Sprintf("%s; %s", c, o.describe())
	})
	o.waitCondition("Active", "False", "") // a reading later than the last Job
	_, created, _, most, surplus := c.report()
	if created != messages || len(surplus) > 0 {
		c.t.Errorf("%d Jobs for %d messages, %d found nothing to do", created, messages, len(surplus))
	}
	if most > limit {
		c.t.Errorf("%d Jobs ran at once, the limit is %d", most, limit)
	}
	if left, err := c.queue.Backlog(c.t.Context()); left != 0 || err != nil {
		c.t.Errorf("%d messages are left, error %v", left, err)
	}
	c.t.Logf("%d messages, %d Jobs, at most %d at once", messages, created, most)
}

// allPartitions lets Kafka's lag count in full: by default it is cut to the
// number of partitions, since that many consumers can work.
func allPartitions(t brokers.Trigger) brokers.Trigger {
	t.Metadata["allowIdleConsumers"] = "true"
	return t
}

// TestEachMessageHasItsJob covers both kinds of queue: one in which a message
// that is worked on is no longer counted, and one in which it is.
func TestEachMessageHasItsJob(t *testing.T) {
	const messages, limit = 40, 10
	tests := map[string]struct {
		strategy string
		queue    func(t *testing.T) brokers.Queue
	}{
		"rabbitmq by AMQP": {"accurate", func(t *testing.T) brokers.Queue {
			return rabbitMQQueue(t, "jobs-amqp", world.rabbitmq.AMQPURL("/"))
		}},
		"kafka": {"default", func(t *testing.T) brokers.Queue { return kafkaTopic(t, "jobs") }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns, queue := namespace(t), tt.queue(t)
			crew := newCrew(t, ns, queue)
			trigger := queue.Trigger(1)
			if trigger.Type == "kafka" {
				trigger = allPartitions(trigger)
			}
			o := scaleJobs(t, ns, "batch", spec{
				"maxReplicaCount": limit, "successfulJobsHistoryLimit": 5,
				"scalingStrategy": map[string]any{"strategy": tt.strategy}, "triggers": triggers(trigger),
			})
			o.waitCondition("Active", "False", "")
			if err := queue.Produce(t.Context(), messages); err != nil {
				t.Fatal(err)
			}
			crew.waitAllDone(o, messages, limit)
			o.wait("history cut to its limit", func() (bool, string) {
				var jobs batchv1.JobList
				if err := world.cluster.Client().List(t.Context(), &jobs, client.InNamespace(ns)); err != nil {
					t.Fatal(err)
				}
				return len(jobs.Items) == 5, fmt.Sprintf("%d Jobs", len(jobs.Items))
			})
		})
	}
}

// TestFaultJobsSurviveTheirController kills the controller again and again while
// Jobs are started for a queue of each broker; JOB_KILLS sets how often, ten
// messages of each for one. The lease of the dead is taken away, as time would
// do, so that the other one goes on at once.
func TestFaultJobsSurviveTheirController(t *testing.T) {
	kills := 10
	if text := os.Getenv("JOB_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	messages, limit := 10*kills, min(2*kills, 50)
	type batch struct {
		jobs
		crew *crew
	}
	var all []batch
	start := func(name string, queue brokers.Queue, triggersIn func(namespace string) []map[string]any) {
		ns := namespace(t)
		crew := newCrew(t, ns, queue)
		o := scaleJobs(t, ns, name, spec{"maxReplicaCount": limit, "triggers": triggersIn(ns)})
		o.waitCondition("Active", "False", "")
		all = append(all, batch{o, crew})
	}
	rabbitmq, kafka, sqs := rabbitMQQueue(t, "jobs-kills", world.rabbitmq.HTTPURL("/")), kafkaTopic(t, "jobs-kills"), newSQSQueue(t)
	start("rabbitmq", rabbitmq, func(string) []map[string]any { return triggers(rabbitmq.Trigger(1)) })
	start("kafka", kafka, func(string) []map[string]any { return triggers(allPartitions(kafka.Trigger(1))) })
	start("sqs", sqs, func(ns string) []map[string]any { return sqs.authenticated(t, ns) })
	for _, b := range all {
		if err := b.crew.queue.Produce(t.Context(), messages); err != nil {
			t.Fatal(err)
		}
	}
	for kill := range kills {
		for _, b := range all {
			b.wait("work to go on", func() (bool, string) {
				done, created, _, _, _ := b.crew.report()
				return created > 0 && done >= kill*messages/kills, fmt.Sprintf("%s after %d kills; %s", b.crew, kill, b.describe())
			})
		}
		killLeader(t)
	}
	for _, b := range all {
		b.crew.waitAllDone(b.jobs, messages, limit)
	}
}

// killLeader kills the controller that leads, starts it again and lets the
// other one lead.
func killLeader(t *testing.T) {
	t.Helper()
	holder := leaseHolder(t)
	for _, i := range world.cluster.Instances("controller") {
		if !strings.HasPrefix(holder, i.Name()) {
			continue
		}
		if err := i.Kill(); err != nil {
			t.Fatal(err)
		}
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"holderIdentity":""}}`))
		lease := &unstructured.Unstructured{}
		lease.SetAPIVersion("coordination.k8s.io/v1")
		lease.SetKind("Lease")
		lease.SetNamespace("sluice-system")
		lease.SetName("operator.keda.sh")
		if err := world.cluster.Client().Patch(t.Context(), lease, patch); err != nil {
			t.Fatal(err)
		}
		i.Start()
		if _, err := world.cluster.WaitInstances(t.Context(), "controller", 2); err != nil {
			t.Fatal(err)
		}
		wait(t, "another leader", func() (bool, string) {
			now := leaseHolder(t)
			return now != "" && now != holder, now
		})
		return
	}
	t.Fatalf("no controller holds the lease, %q does", holder)
}

// TestJobsAtOnce: with a doorbell nobody waits for the next poll.
func TestJobsAtOnce(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	topic := kafkaTopic(t, "jobs-doorbell")
	crew := newCrew(t, ns, topic)
	o := scaleJobs(t, ns, "batch", spec{"pollingInterval": 3600, "triggers": triggers(allPartitions(topic.Trigger(1)))})
	o.waitCondition("Active", "False", "")
	began := time.Now()
	if err := topic.Produce(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	o.wait("the Job", func() (bool, string) {
		done, _, _, _, _ := crew.report()
		return done == 1, fmt.Sprintf("%s; %s", crew, o.describe())
	})
	t.Logf("message produced to message taken: %v", time.Since(began))
}
