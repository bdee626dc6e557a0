package e2e

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

const (
	soakBatch  = 50
	soakCycles = 1000
)

// TestSoak creates and deletes ScaledObjects a thousand times: no process may
// keep a goroutine, a socket or memory of those that are gone. It runs alone,
// so that what it counts is its own.
//
// Every object is new to the controller; the questions come again, because a
// family keeps one for a minute after its last user.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	for range 2 { // pools and caches fill with the first
		s.batch()
	}
	before := s.footprints()
	for range soakCycles / soakBatch {
		s.batch()
	}
	var after []footprint
	wait(t, "what the objects needed to be given back", func() (bool, string) {
		after = s.footprints()
		return compare(before, after) == "", compare(before, after)
	})
	for i, f := range after {
		t.Logf("%s: goroutines %d -> %d, files %d -> %d, live heap %.1f -> %.1f MiB", f.name,
			before[i].goroutines, f.goroutines, before[i].files, f.files, before[i].live/mib, f.live/mib)
	}
}

// soak is a namespace in which objects come and go.
type soak struct {
	t         *testing.T
	namespace string
	topic     *brokers.KafkaTopic
	batches   int
	instances []*localcluster.Instance
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	s := &soak{t: t, namespace: namespace(t), topic: kafkaTopic(t, "soak")}
	for i := range soakBatch {
		object{t, s.namespace, worker(i)}.deployment(0)
	}
	for _, component := range []string{"controller", "metrics-adapter", "scaler-kafka"} {
		s.instances = append(s.instances, world.cluster.Instances(component)...)
	}
	return s
}

func worker(i int) string { return "worker-" + strconv.Itoa(i) }

// batch creates objects, waits until all are Ready, deletes them and waits
// until all are gone.
func (s *soak) batch() {
	s.t.Helper()
	s.batches++
	inParallel(s.t, soakBatch, func(i int) error {
		return world.cluster.Client().Create(s.t.Context(), s.object(i))
	})
	wait(s.t, "objects to be Ready", func() (bool, string) {
		ready := 0
		for _, so := range s.live() {
			if conditionStatus(&so, "Ready") == "True" {
				ready++
			}
		}
		return ready == soakBatch, fmt.Sprintf("%d of %d", ready, soakBatch)
	})
	inParallel(s.t, soakBatch, func(i int) error {
		return world.cluster.Client().Delete(s.t.Context(), s.object(i))
	})
	wait(s.t, "objects to be gone", func() (bool, string) {
		left := len(s.live())
		return left == 0, fmt.Sprintf("%d left", left)
	})
}

// object is one of the present batch: its name is new, its question is not.
func (s *soak) object(i int) *unstructured.Unstructured {
	trigger := s.topic.Trigger(5)
	metadata := map[string]any{
		"consumerGroup":              "soak-" + strconv.Itoa(i),
		"scaleToZeroOnInvalidOffset": "true", // these groups have committed nothing
	}
	for key, value := range trigger.Metadata {
		if metadata[key] == nil {
			metadata[key] = value
		}
	}
	so := object{s.t, s.namespace, fmt.Sprintf("soak-%d-%d", s.batches, i)}.scaledObject()
	so.Object["spec"] = map[string]any{
		"scaleTargetRef": map[string]any{"name": worker(i)},
		"triggers":       []any{map[string]any{"type": trigger.Type, "metadata": metadata}},
	}
	return so
}

func (s *soak) live() []unstructured.Unstructured {
	s.t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("keda.sh/v1alpha1")
	list.SetKind("ScaledObjectList")
	if err := world.cluster.Client().List(s.t.Context(), list, client.InNamespace(s.namespace)); err != nil {
		s.t.Fatal(err)
	}
	return list.Items
}

func conditionStatus(so *unstructured.Unstructured, conditionType string) string {
	conditions, _, _ := unstructured.NestedSlice(so.Object, "status", "conditions")
	for _, c := range conditions {
		if fields, ok := c.(map[string]any); ok && fields["type"] == conditionType {
			status, _ := fields["status"].(string)
			return status
		}
	}
	return ""
}

// inParallel calls do for all numbers below n, a few at once.
func inParallel(t *testing.T, n int, do func(int) error) {
	t.Helper()
	var all sync.WaitGroup
	for first := range 8 {
		all.Go(func() {
			for i := first; i < n; i += 8 {
				if err := do(i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

const mib = 1 << 20

// footprint is what a process keeps.
type footprint struct {
	name              string
	goroutines, files int
	live              float64 // bytes of heap that a garbage collection leaves
}

// footprints looks at every process, each after a garbage collection.
func (s *soak) footprints() []footprint {
	s.t.Helper()
	all := make([]footprint, len(s.instances))
	for i, instance := range s.instances {
		metrics := s.collected(instance)
		all[i] = footprint{
			name:       instance.Name(),
			goroutines: int(gauge(metrics, "go_goroutines")),
			files:      s.files(instance),
			live:       gauge(metrics, "go_memstats_next_gc_bytes") / (1 + gauge(metrics, "go_gc_gogc_percent")/100),
		}
	}
	return all
}

// collected asks for metrics until two more garbage collections have ended:
// the first may have begun before the question. Asking is what makes garbage.
func (s *soak) collected(instance *localcluster.Instance) map[string]*dto.MetricFamily {
	s.t.Helper()
	begin := uint64(0)
	for first := true; s.t.Context().Err() == nil; first = false {
		metrics, err := world.cluster.InstanceMetrics(s.t.Context(), instance, "metrics")
		if err != nil {
			s.t.Fatal(err)
		}
		collections := metrics["go_gc_duration_seconds"].GetMetric()[0].GetSummary().GetSampleCount()
		if first {
			begin = collections
		}
		if collections >= begin+2 {
			return metrics
		}
	}
	s.t.Fatal(s.t.Context().Err())
	return nil
}

func gauge(metrics map[string]*dto.MetricFamily, name string) float64 {
	return metrics[name].GetMetric()[0].GetGauge().GetValue()
}

// files counts what a process holds open, sockets above all; only Linux tells.
func (s *soak) files(instance *localcluster.Instance) int {
	s.t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", instance.PID()))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(files)
}

// compare says what grew by more than chance; "" for nothing.
func compare(before, after []footprint) string {
	grown := ""
	for i, now := range after {
		was := before[i]
		if now.goroutines > was.goroutines+10 {
			grown += fmt.Sprintf("%s: goroutines %d -> %d; ", now.name, was.goroutines, now.goroutines)
		}
		if now.files > was.files+5 {
			grown += fmt.Sprintf("%s: files %d -> %d; ", now.name, was.files, now.files)
		}
		if now.live > 1.2*was.live+10*mib {
			grown += fmt.Sprintf("%s: live heap %.1f -> %.1f MiB; ", now.name, was.live/mib, now.live/mib)
		}
	}
	return grown
}
