package e2e

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/localcluster"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// article is a published manifest: what a reader who types it in is promised.
type article struct {
	target   string            // the Deployment that it scales, "" for none
	replicas int32             // of it before
	rewrite  map[string]string // of the text
	prepare  func(row)
	check    func(r row, target object)
}

// TestArticles applies every manifest of two articles about KEDA, each in a
// namespace of its own, and checks what their text promises.
func TestArticles(t *testing.T) {
	t.Parallel()
	// None of the queues exists, and what the articles leave out is named; what
	// matters is what becomes of the object.
	const sqs = "trigger 0 (aws-sqs-queue): "
	articles := map[string]article{
		"job-processor": {target: "job-processor-deployment", check: func(r row, target object) {
			// Its failures wait for the fallback; until then the floor is kept.
			r.waitScaled(target, 2)
			r.waitHPA("with its behavior", func(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
				return hpa != nil && hpa.Spec.MaxReplicas == 100 && len(hpa.Spec.Behavior.ScaleUp.Policies) == 2 &&
					hpa.Spec.Behavior.ScaleDown.Policies[0].Value == 50
			})
		}},
		"sqs-scaler": {target: "queue-worker", replicas: 9, check: func(r row, target object) {
			r.waitCondition("Ready", "False", sqs)
			r.waitCondition("Ready", "False", "keda-aws-credentials")
			target.wantReplicas(9) // nobody knows that the queue is empty
		}},
		"eventless-scaler": {target: "api-server", replicas: 1, check: func(r row, target object) {
			r.waitCondition("Ready", "False", sqs)
			target.wantReplicas(1)
		}},
		"dual-scaler": {target: "api-server", check: func(r row, target object) {
			r.waitCondition("Ready", "False", sqs)
			r.waitScaled(target, 3)
		}},
		"reliable-scaler": {target: "api-server", check: func(r row, target object) {
			r.waitCondition("Ready", "False", sqs)
			r.waitCondition("Ready", "False", "awsRegion: ")
			r.waitReason("Fallback", "True", "FallbackExists")
			r.waitScaled(target, 5) // "if scaler fails, maintain 5 replicas"
		}},
		"kafka-consumer": {
			target: "kafka-processor", replicas: 8,
			rewrite: map[string]string{"kafka-broker-1:9092,kafka-broker-2:9092,kafka-broker-3:9092": world.kafka.Bootstrap()},
			prepare: func(r row) {
				grant(r.t, r.namespace, "kafka", "sluice-scaler-credentials")
				authentication(r, "kafka-auth", map[string]string{"sasl": "none"})
			},
			check: func(r row, target object) {
				topic, err := brokers.NewKafkaTopic(r.t.Context(), world.kafka.Bootstrap(), "orders", "order-processor", 20)
				if err != nil {
					r.t.Fatal(err)
				}
				r.t.Cleanup(topic.Close)
				r.waitCondition("Ready", "True", "")
				if err := topic.Produce(r.t.Context(), 1000); err != nil {
					r.t.Fatal(err)
				}
				r.waitScaled(target, 10) // lag 1000 at 100 each
			},
		},
		"scheduled-scaler": {target: "api-server", check: func(r row, target object) {
			r.wait("as many as the schedule says", func() (bool, string) {
				want := int32(5)
				if at := inNewYork(r.t); at.Weekday() >= time.Monday && at.Weekday() <= time.Friday && at.Hour() >= 9 && at.Hour() < 18 {
					want = 20
				}
				have := target.replicas()
				return have == want, fmt.Sprintf("%d of %d; %s", have, want, r.describe())
			})
		}},
		"prometheus-scaler": {
			target:  "api-server",
			rewrite: map[string]string{"http://prometheus:9090": busyPrometheus(t)},
			prepare: func(r row) {
				grant(r.t, r.namespace, "prometheus", "sluice-scaler-credentials")
				authentication(r, "prometheus-auth", map[string]string{"customAuthHeader": "X-Team", "customAuthValue": "web"})
			},
			check: func(r row, target object) {
				r.wait("more than the floor", func() (bool, string) {
					have := target.replicas()
					return have > 2, fmt.Sprintf("%d; %s", have, r.describe())
				})
			},
		},
		"rabbitmq-consumer": {
			target:  "consumer",
			rewrite: rabbitMQSecret(t),
			prepare: func(r row) { grant(r.t, r.namespace, "rabbitmq", "sluice-scaler-credentials") },
			check: func(r row, target object) {
				queue := rabbitMQQueue(r.t, "queue001", world.rabbitmq.AMQPURL("/"))
				if err := queue.Produce(r.t.Context(), 100); err != nil {
					r.t.Fatal(err)
				}
				r.waitScaled(target, 20) // "100 messages, target = 5 -> 20 pods"
				r.waitCondition("Ready", "True", "")
				r.wait("the TriggerAuthentication names its user", func() (bool, string) {
					login := &unstructured.Unstructured{}
					login.SetAPIVersion("keda.sh/v1alpha1")
					login.SetKind("TriggerAuthentication")
					key := client.ObjectKey{Namespace: r.namespace, Name: "rabbitmq-trigger-auth"}
					if err := world.cluster.Client().Get(r.t.Context(), key, login); err != nil {
						r.t.Fatal(err)
					}
					users, _, _ := unstructured.NestedString(login.Object, "status", "scaledobjects")
					return users == "rabbitmq-consumer", users
				})
			},
		},
		"tuned": {target: "api-server", check: func(r row, target object) {
			r.waitHPA("with the behavior", func(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
				return hpa != nil && *hpa.Spec.MinReplicas == 2 && len(hpa.Spec.Behavior.ScaleUp.Policies) == 2 &&
					hpa.Spec.Behavior.ScaleUp.Policies[0].Value == 200 && *hpa.Spec.Behavior.ScaleDown.StabilizationWindowSeconds == 300
			})
			r.waitScaled(target, 2)
		}},
		// The API has no such field in a template, KEDA's no more than ours.
		"batch-processor": {rewrite: map[string]string{"      backoffLimit: 3\n": "    backoffLimit: 3\n"}, check: func(r row, target object) {
			r.wait("Ready=False that names the trigger", func() (bool, string) {
				job := &unstructured.Unstructured{}
				job.SetAPIVersion("keda.sh/v1alpha1")
				job.SetKind("ScaledJob")
				if err := world.cluster.Client().Get(r.t.Context(), r.key(), job); err != nil {
					r.t.Fatal(err)
				}
				text := fmt.Sprint(job.Object["status"])
				return strings.Contains(text, sqs), text
			})
		}},
		"pod-api-server":      {check: func(row, object) {}}, // an ordinary Pod
		"pod-kafka-processor": {check: func(row, object) {}},
	}
	files, err := filepath.Glob("testdata/articles/*.yaml")
	if err != nil || len(files) != len(articles) {
		t.Fatalf("%d manifests, %d promises, %v", len(files), len(articles), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		a, known := articles[name]
		if !known {
			t.Fatalf("%s: nothing is promised", file)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := row{object: object{t, namespace(t), name}}
			target := object{t, r.namespace, a.target}
			if a.target != "" {
				target.deployment(a.replicas)
			}
			if a.prepare != nil {
				a.prepare(r)
			}
			r.publish(file, a.rewrite)
			a.check(r, target)
		})
	}
}

// waitScaled waits until the target that the row's object scales has count.
func (r row) waitScaled(target object, count int32) {
	r.t.Helper()
	r.wait(fmt.Sprintf("%d replicas", count), func() (bool, string) {
		have := target.replicas()
		return have == count, fmt.Sprintf("%d replicas; %s", have, r.describe())
	})
}

// objectsOf are those of a manifest, but for rewrites.
func objectsOf(t *testing.T, file string, rewrite map[string]string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	manifest := string(text)
	for from, to := range rewrite {
		manifest = strings.ReplaceAll(manifest, from, to)
	}
	objects, err := localcluster.Decode([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// publish applies a manifest as published, but for namespace and rewrites.
func (r row) publish(file string, rewrite map[string]string) {
	r.t.Helper()
	objects := objectsOf(r.t, file, rewrite)
	for _, o := range objects {
		o.SetNamespace(r.namespace)
	}
	if err := world.cluster.Apply(r.t.Context(), objects...); err != nil {
		r.t.Fatal(err)
	}
}

// authentication makes the TriggerAuthentication that an article takes for
// granted, and its Secret.
func authentication(r row, name string, parameters map[string]string) {
	r.t.Helper()
	var refs, data strings.Builder
	for key, value := range parameters {
		fmt.Fprintf(&refs, "\n  - {parameter: %s, name: %s, key: %s}", key, name, key)
		fmt.Fprintf(&data, "\n  %s: %q", key, value)
	}
	err := world.cluster.ApplyYAML(r.t.Context(), fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {namespace: %[1]s, name: %[2]s}
stringData:%[3]s
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: {namespace: %[1]s, name: %[2]s}
spec:
  secretTargetRef:%[4]s
`, r.namespace, name, data.String(), refs.String()))
	if err != nil {
		r.t.Fatal(err)
	}
}

// rabbitMQSecret fills in the article's Secret, user and password apart.
func rabbitMQSecret(t *testing.T) map[string]string {
	t.Helper()
	host, err := url.Parse(world.rabbitmq.AMQPURL("/"))
	if err != nil {
		t.Fatal(err)
	}
	username := host.User.Username()
	password, _ := host.User.Password()
	host.User = nil
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	return map[string]string{
		"<base64 host>": encode(host.String()), "<base64 username>": encode(username), "<base64 password>": encode(password),
	}
}

// busyPrometheus is a Prometheus that scrapes very many requests.
func busyPrometheus(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(world.cluster.Address(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	target := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "api_requests_total %d\n", time.Since(begun).Milliseconds()*10_000)
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = target.Serve(l) // until it is closed
	}()
	t.Cleanup(func() {
		_ = target.Close()
		<-ended
	})
	return servers.Prometheus(t, servers.PrometheusOptions{Address: world.cluster.Address(), Targets: []string{l.Addr().String()}}).URL()
}

func inNewYork(t *testing.T) time.Time {
	t.Helper()
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	return time.Now().In(zone)
}
