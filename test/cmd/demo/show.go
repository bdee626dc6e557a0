package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

const (
	messages   = 50
	perReplica = 5
	// workRate is how many messages a replica finishes in a second.
	workRate = 1
	// look is how often the table is brought up to date, and work is done.
	look = 500 * time.Millisecond
)

// show is the demo itself: a queue, a worker that is scaled by it, and a table.
type show struct {
	cluster *localcluster.Cluster
	queue   brokers.Queue

	begin time.Time
	last  row
	live  bool // the terminal can show a line that changes
	steps []step
}

// row is what the table shows of one moment.
type row struct {
	backlog  int64
	hpa      string
	replicas int32
	ready    int32
}

// step is how long something took since the burst.
type step struct {
	what string
	took time.Duration
}

const manifests = `
apiVersion: v1
kind: Namespace
metadata: {name: demo}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker, namespace: demo}
spec:
  replicas: 0
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec: {containers: [{name: worker, image: worker.invalid/worker}]}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: worker, namespace: demo}
spec:
  scaleTargetRef: {name: worker}
  maxReplicaCount: 20
  cooldownPeriod: 5
  triggers:
    - type: %s
      metadata:
%s`

func (s *show) run(ctx context.Context) error {
	trigger := s.queue.Trigger(perReplica)
	var metadata strings.Builder
	for _, key := range slices.Sorted(maps.Keys(trigger.Metadata)) {
		fmt.Fprintf(&metadata, "        %s: %q\n", key, trigger.Metadata[key])
	}
	text := fmt.Sprintf(manifests, trigger.Type, metadata.String())
	fmt.Println("applying a Deployment at 0 replicas and this ScaledObject:")
	fmt.Println(text[strings.Index(text, "apiVersion: keda.sh"):])
	if err := s.cluster.ApplyYAML(ctx, text); err != nil {
		return err
	}
	if err := s.waitReady(ctx); err != nil {
		return err
	}
	return s.burst(ctx)
}

// waitReady waits until the ScaledObject says that it is ready.
func (s *show) waitReady(ctx context.Context) error {
	begin := time.Now()
	for {
		so := &unstructured.Unstructured{}
		so.SetAPIVersion("keda.sh/v1alpha1")
		so.SetKind("ScaledObject")
		if err := s.cluster.Client().Get(ctx, client.ObjectKey{Namespace: "demo", Name: "worker"}, so); err != nil {
			return err
		}
		status, message := condition(so, "Ready")
		if status == "True" {
			fmt.Printf("ScaledObject is Ready after %.1f s\n\n", time.Since(begin).Seconds())
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("ScaledObject is not ready: %s", message)
		}
	}
}

func condition(so *unstructured.Unstructured, conditionType string) (status, message string) {
	conditions, _, _ := unstructured.NestedSlice(so.Object, "status", "conditions")
	for _, c := range conditions {
		fields, ok := c.(map[string]any)
		if ok && fields["type"] == conditionType {
			status, _ = fields["status"].(string)
			message, _ = fields["message"].(string)
		}
	}
	return status, message
}

// burst produces the messages and watches until all work is done and nobody
// is left.
func (s *show) burst(ctx context.Context) error {
	info, err := os.Stdout.Stat()
	s.live = err == nil && info.Mode()&os.ModeCharDevice != 0
	fmt.Printf("  %-10s %-9s %-14s %-9s %s\n", "time", "backlog", "HPA value", "replicas", "ready")
	if err := s.queue.Produce(ctx, messages); err != nil {
		return err
	}
	s.begin = time.Now()
	fmt.Printf("  %-10s %d messages produced\n", "0.0 s", messages)
	most := int32(0)
	for {
		now, err := s.look(ctx)
		if err != nil {
			return err
		}
		s.print(now)
		s.note(now, most)
		most = max(most, now.replicas)
		if most > 0 && now.backlog == 0 && now.replicas == 0 {
			s.summary(most)
			return nil
		}
		if err := s.queue.Consume(ctx, int(float64(now.ready)*workRate*look.Seconds()+0.5)); err != nil {
			return err
		}
		if err := pause(ctx, look); err != nil {
			return errors.New("it took too long")
		}
	}
}

// look takes one row.
func (s *show) look(ctx context.Context) (row, error) {
	backlog, err := s.queue.Backlog(ctx)
	if err != nil {
		return row{}, err
	}
	now := row{backlog: backlog, hpa: "-"}
	worker := &appsv1.Deployment{}
	if err := s.cluster.Client().Get(ctx, client.ObjectKey{Namespace: "demo", Name: "worker"}, worker); err != nil {
		return row{}, err
	}
	now.replicas, now.ready = *worker.Spec.Replicas, worker.Status.ReadyReplicas
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	if err := s.cluster.Client().Get(ctx, client.ObjectKey{Namespace: "demo", Name: "keda-hpa-worker"}, hpa); err != nil {
		return row{}, err
	}
	for _, m := range hpa.Status.CurrentMetrics {
		if m.External != nil && m.External.Current.AverageValue != nil {
			now.hpa = m.External.Current.AverageValue.String() + "/" + fmt.Sprint(perReplica)
		}
	}
	return now, nil
}

// print shows a row: on a terminal in place, and as a line of its own when the
// replicas changed; elsewhere as a line whenever anything changed.
func (s *show) print(now row) {
	if now == s.last {
		return
	}
	line := fmt.Sprintf("  %-10s %-9d %-14s %-9d %d",
		fmt.Sprintf("%.1f s", time.Since(s.begin).Seconds()), now.backlog, now.hpa, now.replicas, now.ready)
	switch {
	case s.live && now.replicas == s.last.replicas:
		fmt.Printf("\r%s\033[K", line)
	case s.live:
		fmt.Printf("\r%s\033[K\n", line)
	default:
		fmt.Println(line)
	}
	s.last = now
}

// note remembers when the steps of the way were reached.
func (s *show) note(now row, most int32) {
	const full = messages / perReplica
	for _, reached := range []struct {
		what string
		yes  bool
	}{
		{"first replica asked for", now.replicas > 0},
		{fmt.Sprintf("%d replicas asked for", full), now.replicas >= full},
		{"backlog worked off", most > 0 && now.backlog == 0},
		{"back to 0 replicas", most > 0 && now.backlog == 0 && now.replicas == 0},
	} {
		if reached.yes && !slices.ContainsFunc(s.steps, func(x step) bool { return x.what == reached.what }) {
			s.steps = append(s.steps, step{reached.what, time.Since(s.begin)})
		}
	}
}

func (s *show) summary(most int32) {
	if s.live {
		fmt.Println()
	}
	fmt.Printf("\nscaled 0 -> %d -> 0. Since the last message was acknowledged:\n", most)
	for _, x := range s.steps {
		fmt.Printf("  %-26s %6.1f s\n", x.what, x.took.Seconds())
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
