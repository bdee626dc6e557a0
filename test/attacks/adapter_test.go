package attacks

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestAdapter has a tenant whose objects are in fallback by Value select Pods that
// are as large as the API server takes them, and meanwhile somebody without any
// identity ask the adapter whatever comes to their mind. Who scales by the adapter
// goes on, and nothing is left of what was asked.
func TestAdapter(t *testing.T) {
	t.Parallel()
	others := standBy(t, "http", "redis")
	enemy := tenant(t)
	for i := range 60 {
		heavy := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: enemy.namespace, Name: fmt.Sprint("heavy-", i), Labels: map[string]string{"crowd": "yes"}},
			Spec: corev1.PodSpec{
				SchedulerName: "nobody", // it waits forever, and costs only whoever reads it
				Containers: []corev1.Container{{
					Name: "app", Image: "app.invalid/app", Env: []corev1.EnvVar{{Name: "A", Value: strings.Repeat("x", 1<<20)}},
				}},
			},
		}
		if err := enemy.client.Create(t.Context(), heavy); err != nil {
			t.Fatal(err)
		}
	}
	const objects = 20
	for i := range objects {
		name := fmt.Sprint("crowd-", i)
		labels := map[string]any{"crowd": "yes"}
		if i == 0 { // no HPA asks for objects that share their Pods
			labels = map[string]any{"crowd": "first"}
		}
		enemy.apply("Deployment", name, map[string]any{"spec": map[string]any{
			"replicas": 0, "selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{
				"metadata": map[string]any{"labels": labels},
				"spec":     map[string]any{"containers": []map[string]any{{"name": "app", "image": "app.invalid/app"}}},
			},
		}})
		gone := triggerOf("metrics-api", map[string]string{"url": "http://" + net.JoinHostPort(world.cluster.Address(), "1"), "valueLocation": "value", "targetValue": "1"})
		gone["metricType"] = "Value"
		fallback := map[string]any{"minReplicaCount": 1, "fallback": map[string]any{"failureThreshold": 1, "replicas": 2}}
		if err := (scaled{enemy, name}).tryScale(fallback, gone); err != nil {
			t.Fatal(err)
		}
	}
	var flood sync.WaitGroup
	for _, adapter := range world.cluster.Instances("metrics-adapter") {
		flood.Go(func() { askAnything(t.Context(), "https://"+net.JoinHostPort(adapter.Address(), "6443")) })
	}
	wait(t, "fallback, for which Pods are counted", func() (bool, string) {
		in := 0
		for i := range objects {
			if status, _ := enemy.condition("ScaledObject", fmt.Sprint("crowd-", i), "Fallback"); status == "True" {
				in++
			}
		}
		return in == objects, fmt.Sprint(in)
	})
	wait(t, "an answer by the Pods that are counted", func() (bool, string) {
		hpa := &autoscalingv2.HorizontalPodAutoscaler{}
		if err := world.cluster.Client().Get(t.Context(), client.ObjectKey{Namespace: enemy.namespace, Name: "keda-hpa-crowd-0"}, hpa); err != nil {
			return false, err.Error()
		}
		for _, c := range hpa.Status.Conditions {
			if c.Type == autoscalingv2.ScalingActive {
				return c.Status == corev1.ConditionTrue || strings.Contains(c.Message, "no pod of the scale target is ready"), c.Message
			}
		}
		return false, fmt.Sprint(hpa.Status)
	})
	others.goOn()
	flood.Wait()
	others.goOn()
	for _, adapter := range world.cluster.Instances("metrics-adapter") {
		metrics, err := world.cluster.InstanceMetrics(t.Context(), adapter, "metrics")
		if err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprint(metrics); strings.Contains(text, forged) {
			t.Errorf("%s counts what strangers made up", adapter.Name())
		}
		peak, _ := peakMemory(adapter)
		t.Logf("%s had %d MiB at the most", adapter.Name(), peak>>20)
	}
	unharmed(t)
}

// askAnything makes up paths, queries, headers and bodies, in numbers, and has
// requests end before they are answered.
func askAnything(ctx context.Context, url string) {
	stranger := &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // whoever attacks does not care who answers
		ForceAttemptHTTP2: true, MaxConnsPerHost: 16,
	}}
	defer stranger.CloseIdleConnections()
	long := strings.Repeat("a%3Db,", 150_000)
	requests := []func(n int) (path, header string, body io.Reader){
		func(n int) (string, string, io.Reader) {
			return fmt.Sprintf("/%s-%d?timeout=1ns", forged, n), "", http.NoBody
		},
		func(n int) (string, string, io.Reader) {
			return fmt.Sprintf("/apis/%[1]s-%[2]d/v1/namespaces/%[1]s/%[1]s-%[2]d?timeout=1ns", forged, n), "", http.NoBody
		},
		func(int) (string, string, io.Reader) {
			return "/apis/external.metrics.k8s.io/v1beta1/namespaces/" + forged + "/s0-a?labelSelector=" + long, "", http.NoBody
		},
		func(int) (string, string, io.Reader) { return "/readyz", long, http.NoBody },
		func(int) (string, string, io.Reader) { return "/readyz", "", io.LimitReader(endless{}, 64<<20) },
		func(int) (string, string, io.Reader) { return "/readyz", "", http.NoBody },
	}
	var all sync.WaitGroup
	for _, request := range requests {
		for worker := range 8 {
			all.Go(func() {
				for n := range 25 {
					path, header, body := request(worker*1000 + n)
					r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, body)
					if err != nil {
						return
					}
					r.Header.Set("Forged", header)
					answer, err := stranger.Do(r)
					if err != nil {
						continue // refused, which is as good as any answer
					}
					_, _ = io.Copy(io.Discard, answer.Body)
					answer.Body.Close()
				}
			})
		}
	}
	all.Wait()
}
