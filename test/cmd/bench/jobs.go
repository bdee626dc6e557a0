package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

var scaledJobs = schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledjobs"}

const (
	jobEvents = 100 // measured one at a time
	jobBurst  = 500 // Jobs of one object at once
)

// jobFigures are those of ScaledJobs.
type jobFigures struct {
	ReadySeconds float64 `json:"readySeconds"`
	// Leader is what the leading controller uses while all are at rest.
	Leader process `json:"leader"`
	// LivePerObject is what one ScaledJob adds to its live heap, in bytes.
	LivePerObject float64 `json:"liveBytesPerObject"`
	// Created is the time from the producer's acknowledgement to the watch
	// that shows the Job.
	Created quantiles `json:"created"`
	// PerSecond and Requests are of a burst: Jobs created per second, and what
	// the leading controller asked of the API server for each.
	PerSecond float64 `json:"perSecond"`
	Requests  float64 `json:"apiRequestsPerJob"`
	// CleanSeconds, CleanRequests and CleanReads are of finished Jobs of one
	// object that are all to go: how long that takes, what the leading
	// controller asks of the API server for each, and how often it reads there
	// meanwhile, for whatever reason.
	CleanSeconds  float64 `json:"cleanSeconds"`
	CleanRequests float64 `json:"apiRequestsPerCleanedJob"`
	CleanReads    float64 `json:"apiReadsWhileCleaning"`
}

// jobWatch sees Jobs come and end.
type jobWatch struct {
	mu      sync.Mutex
	changed chan struct{}
	first   map[string]time.Time // by ScaledJob, since the last reset
	count   map[string]int
	running map[types.UID]string // the ScaledJob of each
	left    map[string]int       // by ScaledJob, finished ones included
}

// jobs measures ScaledJobs in place of the ScaledObjects.
func (b *bench) jobs(ctx context.Context) error {
	b.say("replacing %d ScaledObjects by ScaledJobs", b.Objects)
	if err := b.fleet.removeScaledObjects(ctx); err != nil {
		return err
	}
	if err := parallel(ctx, b.Objects, func(ctx context.Context, i int) error {
		return b.broker.consume(ctx, topicName(b.topicOf(i)), objectName(i))
	}); err != nil {
		return err
	}
	w := &jobWatch{
		changed: make(chan struct{}), first: map[string]time.Time{}, count: map[string]int{}, running: map[types.UID]string{}, left: map[string]int{},
	}
	factory := informers.NewSharedInformerFactoryWithOptions(b.fleet.clientset, 0, informers.WithNamespace(namespace))
	if _, err := factory.Batch().V1().Jobs().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: w.came, UpdateFunc: func(_, now any) { w.moved(now) }, DeleteFunc: w.went,
	}); err != nil {
		return err
	}
	defer factory.Shutdown() // it waits for what stop ends
	watching, stop := context.WithCancel(ctx)
	defer stop()
	factory.Start(watching.Done())
	factory.WaitForCacheSync(ctx.Done())
	for _, step := range []func(context.Context, *jobWatch) error{b.createScaledJobs, b.jobEvents, b.jobBurst, b.jobHistory} {
		if err := step(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

func (w *jobWatch) came(o any) {
	if job, ok := o.(*batchv1.Job); ok {
		w.see(func() {
			owner := job.Labels["scaledjob.keda.sh/name"]
			if w.count[owner] == 0 {
				w.first[owner] = time.Now()
			}
			w.count[owner]++
			w.left[owner]++
			w.running[job.UID] = owner
		})
	}
}

func (w *jobWatch) moved(o any) {
	if job, ok := o.(*batchv1.Job); ok && job.Status.CompletionTime != nil {
		w.see(func() { delete(w.running, job.UID) })
	}
}

func (w *jobWatch) went(o any) {
	if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = last.Obj
	}
	if job, ok := o.(*batchv1.Job); ok {
		w.see(func() {
			w.left[job.Labels["scaledjob.keda.sh/name"]]--
			delete(w.running, job.UID)
		})
	}
}

func (w *jobWatch) see(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	close(w.changed)
	w.changed = make(chan struct{})
}

// reset forgets the Jobs of an object.
func (w *jobWatch) reset(owner string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.count, owner)
	delete(w.first, owner)
}

// wait waits for n Jobs of an object and returns when the first came.
func (w *jobWatch) wait(ctx context.Context, owner string, n int) (first time.Time, err error) {
	err = w.until(ctx, func() error {
		if first = w.first[owner]; w.count[owner] < n {
			return fmt.Errorf("%d of %d Jobs of %s", w.count[owner], n, owner)
		}
		return nil
	})
	return first, err
}

// rest waits until no Job of an object runs.
func (w *jobWatch) rest(ctx context.Context, owner string) error {
	return w.until(ctx, func() error {
		for _, of := range w.running {
			if of == owner {
				return fmt.Errorf("a Job of %s still runs", owner)
			}
		}
		return nil
	})
}

// none waits until no Job of an object is left.
func (w *jobWatch) none(ctx context.Context, owner string) error {
	return w.until(ctx, func() error {
		if n := w.left[owner]; n > 0 {
			return fmt.Errorf("%d Jobs of %s are left", n, owner)
		}
		return nil
	})
}

// until waits until nothing is missing.
func (w *jobWatch) until(ctx context.Context, missing func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		w.mu.Lock()
		err, changed := missing(), w.changed
		w.mu.Unlock()
		if err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// leader is what the leading controller says of itself.
func (b *bench) leader(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	for _, i := range b.cluster.Instances("controller") {
		metrics, err := b.cluster.InstanceMetrics(ctx, i, "metrics")
		if err != nil {
			return nil, err
		}
		if sum(metrics, "leader_election_master_status") > 0 {
			return metrics, nil
		}
	}
	return nil, errors.New("no controller leads")
}

// requests are those of the leading controller to the API server until now,
// all and those that only read.
func (b *bench) requests(ctx context.Context) (all, reads float64, err error) {
	metrics, err := b.leader(ctx)
	const name = "rest_client_requests_total"
	return sum(metrics, name), sum(metrics, name, func(labels map[string]string) bool { return labels["method"] == "GET" }), err
}

func (b *bench) createScaledJobs(ctx context.Context, _ *jobWatch) error {
	// Two rounds of garbage collection at rest say what is left of the objects.
	if err := pause(ctx, b.Rest/4); err != nil {
		return err
	}
	before, err := b.leader(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := parallel(ctx, b.Objects, func(ctx context.Context, i int) error {
		_, err := b.fleet.dynamic.Resource(scaledJobs).Namespace(namespace).Create(ctx, b.scaledJob(i), metav1.CreateOptions{})
		return err
	}); err != nil {
		return err
	}
	if err := b.waitScaledJobs(ctx); err != nil {
		return err
	}
	b.figures.Jobs.ReadySeconds = time.Since(begin).Seconds()
	b.say("all Ready after %.1f s", b.figures.Jobs.ReadySeconds)
	if err := pause(ctx, b.Rest/4); err != nil {
		return err
	}
	after, err := b.use(ctx)
	if err != nil {
		return err
	}
	for _, p := range after.processes {
		if p.Name == leaderName {
			b.figures.Jobs.Leader = p
			b.figures.Jobs.LivePerObject = (float64(p.Live) - live(before)) / float64(b.Objects)
		}
	}
	return nil
}

// scaledJob watches what the ScaledObject of the same number watched.
func (b *bench) scaledJob(i int) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
		"metadata": map[string]any{"name": objectName(i), "namespace": namespace},
		"spec": map[string]any{
			"maxReplicaCount": int64(jobBurst), "successfulJobsHistoryLimit": int64(0),
			"jobTargetRef": map[string]any{"template": map[string]any{
				"spec": map[string]any{"containers": []any{map[string]any{"name": "app", "image": "app.invalid/app"}}},
			}},
			"triggers": []any{map[string]any{"type": "kafka", "metadata": map[string]any{
				"bootstrapServers": b.broker.address.String(), "consumerGroup": objectName(i), "topic": topicName(b.topicOf(i)),
				"lagThreshold": strconv.Itoa(1), "allowIdleConsumers": "true",
			}}},
		},
	}}
}

// waitScaledJobs waits until all are Ready and at rest.
func (b *bench) waitScaledJobs(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		list, err := b.fleet.dynamic.Resource(scaledJobs).Namespace(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := 0
		for i := range list.Items {
			if hasCondition(&list.Items[i], "Ready", "True") && hasCondition(&list.Items[i], "Active", "False") {
				ready++
			}
		}
		if ready == b.Objects {
			return nil
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d ScaledJobs are ready: %w", ready, b.Objects, err)
		}
	}
}

// hasCondition reports whether a condition of an object has a status.
func hasCondition(o *unstructured.Unstructured, kind, status string) bool {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		if fields, ok := c.(map[string]any); ok && fields["type"] == kind && fields["status"] == status {
			return true
		}
	}
	return false
}

// jobEvents measures single messages of objects that have their topic alone.
func (b *bench) jobEvents(ctx context.Context, w *jobWatch) error {
	b.say("%d events of ScaledJobs, one at a time", jobEvents)
	var all []time.Duration
	for n := range jobEvents {
		i := n % b.alone()
		topic, owner := topicName(b.topicOf(i)), objectName(i)
		// By the default strategy a Job that runs stands for a message: the next
		// one would wait for the poll after its end.
		if err := w.rest(ctx, owner); err != nil {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		w.reset(owner)
		if err := b.broker.produce(ctx, topic, 1); err != nil {
			return err
		}
		acknowledged := time.Now()
		first, err := w.wait(ctx, owner, 1)
		if err != nil {
			return fmt.Errorf("event %d: %w: %s", n, err, b.fleet.describe(context.WithoutCancel(ctx), scaledJobs, owner))
		}
		all = append(all, first.Sub(acknowledged))
		if err := b.broker.consume(ctx, topic, owner); err != nil {
			return err
		}
	}
	b.figures.Jobs.Created = quantilesOf(all)
	return nil
}

// jobBurst measures many Jobs of one object.
func (b *bench) jobBurst(ctx context.Context, w *jobWatch) error {
	b.say("%d Jobs of one ScaledJob", jobBurst)
	if err := b.waitScaledJobs(ctx); err != nil {
		return err
	}
	const i = 0
	topic, owner := topicName(b.topicOf(i)), objectName(i)
	if err := w.rest(ctx, owner); err != nil {
		return err
	}
	w.reset(owner)
	before, _, err := b.requests(ctx)
	if err != nil {
		return err
	}
	if err := b.broker.produce(ctx, topic, jobBurst); err != nil {
		return err
	}
	first, err := w.wait(ctx, owner, jobBurst)
	if err != nil {
		return fmt.Errorf("%w: %s", err, b.fleet.describe(context.WithoutCancel(ctx), scaledJobs, owner))
	}
	b.figures.Jobs.PerSecond = jobBurst / time.Since(first).Seconds()
	if err := b.broker.consume(ctx, topic, owner); err != nil {
		return err
	}
	if err := b.waitScaledJobs(ctx); err != nil {
		return err
	}
	after, _, err := b.requests(ctx)
	b.figures.Jobs.Requests = (after - before) / jobBurst
	return err
}

// jobHistory measures how the finished Jobs of one object are cleaned up. They
// are made here, out of the reach of Kubernetes' own controller, while the
// object is paused.
func (b *bench) jobHistory(ctx context.Context, w *jobWatch) error {
	if b.Finished == 0 {
		return nil
	}
	b.say("making %d finished Jobs of one ScaledJob", b.Finished)
	owner := objectName(0)
	if err := w.none(ctx, owner); err != nil {
		return err
	}
	if err := b.pauseScaledJob(ctx, owner, "true"); err != nil {
		return err
	}
	sj, err := b.fleet.dynamic.Resource(scaledJobs).Namespace(namespace).Get(ctx, owner, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := parallel(ctx, b.Finished, func(ctx context.Context, i int) error { return b.finishedJob(ctx, sj, i) }); err != nil {
		return err
	}
	b.say("cleaning them up")
	before, reads, err := b.requests(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := b.pauseScaledJob(ctx, owner, "false"); err != nil {
		return err
	}
	if err := w.none(ctx, owner); err != nil {
		return err
	}
	b.figures.Jobs.CleanSeconds = time.Since(begin).Seconds()
	after, readsAfter, err := b.requests(ctx)
	b.figures.Jobs.CleanRequests = (after - before) / float64(b.Finished)
	b.figures.Jobs.CleanReads = readsAfter - reads
	return err
}

func (b *bench) pauseScaledJob(ctx context.Context, name, value string) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"autoscaling.keda.sh/paused":%q}}}`, value)
	_, err := b.fleet.dynamic.Resource(scaledJobs).Namespace(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// finishedJob makes a Job as the ScaledJob would, and ends it.
func (b *bench) finishedJob(ctx context.Context, owner *unstructured.Unstructured, i int) error {
	jobs, nobody := b.fleet.clientset.BatchV1().Jobs(namespace), "bench.sluice.dev/nobody"
	job, err := jobs.Create(ctx, &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("finished-%d", i), Labels: map[string]string{"scaledjob.keda.sh/name": owner.GetName()},
			Annotations:     map[string]string{"scaledjob.keda.sh/generation": strconv.FormatInt(owner.GetGeneration(), 10)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, owner.GroupVersionKind())},
		},
		Spec: batchv1.JobSpec{ManagedBy: &nobody, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "app", Image: "app.invalid/app"}},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	now := metav1.Now()
	job.Status.StartTime, job.Status.CompletionTime = &now, &now
	for _, c := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete} {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	_, err = jobs.UpdateStatus(ctx, job, metav1.UpdateOptions{})
	return err
}

// removeScaledObjects deletes all of them and waits until none is left.
func (f *fleet) removeScaledObjects(ctx context.Context) error {
	objects := f.dynamic.Resource(scaledObjects).Namespace(namespace)
	if err := objects.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return err
	}
	for {
		left, err := objects.List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil || len(left.Items) == 0 {
			return err
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return err
		}
	}
}
