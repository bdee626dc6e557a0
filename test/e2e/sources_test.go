package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// sourceOfArticles is a source that an article names: what a reader makes of it
// is admitted, the HPA has its metric, and Ready says what the source said.
type sourceOfArticles struct {
	family  string
	metric  string                        // of the HPA; "" for Jobs
	rewrite func(r row) map[string]string // of the text; nil for a source that nobody reaches here
	check   func(r row, target object)    // nil for Ready=False, by the trigger, and no replica
}

// TestSourcesOfArticles applies a manifest for each source that the articles name
// and show none for.
func TestSourcesOfArticles(t *testing.T) {
	t.Parallel()
	scaledTo := func(count int32) func(row, object) {
		return func(r row, target object) {
			r.waitScaled(target, count)
			r.waitCondition("Ready", "True", "")
		}
	}
	sources := map[string]sourceOfArticles{
		"azure-eventhub":   {family: "azure", metric: "s0-azure-eventhub-workers"},
		"azure-servicebus": {family: "azure", metric: "s0-azure-servicebus-orders"},
		"datadog":          {family: "datadog", metric: "s0-datadog-sum-trace-http-request-hits"},
		"azure-queue":      {family: "azure", metric: "s0-azure-queue-orders", rewrite: azureQueue(50), check: scaledTo(10)},
		"azure-queue-jobs": {family: "azure", rewrite: azureQueue(3), check: func(r row, _ object) {
			r.wait("a Job for each message", func() (bool, string) {
				jobs := &batchv1.JobList{}
				if err := world.cluster.Client().List(r.t.Context(), jobs, client.InNamespace(r.namespace)); err != nil {
					r.t.Fatal(err)
				}
				return len(jobs.Items) == 3, fmt.Sprintf("%d Jobs", len(jobs.Items))
			})
		}},
		"gcp-pubsub": {family: "gcp", metric: "s0-gcp-ps-projects-shop-subscriptions-orders", rewrite: googleKey},
		"nats-jetstream": {family: "nats", metric: "s0-nats-jetstream-orders", rewrite: func(r row) map[string]string {
			server, err := brokers.StartNATS(world.cluster.Address(), r.t.TempDir())
			if err != nil {
				r.t.Fatal(err)
			}
			r.t.Cleanup(func() { _ = server.Close() })
			stream, err := brokers.NewNATSStream(r.t.Context(), server, "orders")
			if err != nil {
				r.t.Fatal(err)
			}
			r.t.Cleanup(stream.Close)
			if err := stream.Produce(r.t.Context(), 50); err != nil {
				r.t.Fatal(err)
			}
			return map[string]string{"nats.nats:8222": server.Monitoring()}
		}, check: scaledTo(10)},
		"redis": {family: "redis", metric: "s0-redis-orders", rewrite: func(r row) map[string]string {
			server := servers.Redis(r.t, servers.RedisOptions{Address: world.cluster.Address(), Password: "change-me"})
			for range 50 {
				if _, err := server.Do(r.t.Context(), "RPUSH", "orders", "x"); err != nil {
					r.t.Fatal(err)
				}
			}
			return map[string]string{"redis.shop:6379": server.Addr()}
		}, check: scaledTo(10)},
		"postgresql": {family: "sql", metric: "s0-postgresql"},
		"mysql":      {family: "sql", metric: "s0-mysql-shop"},
		"shared-broker": {family: "rabbitmq", metric: "s0-rabbitmq-queue002", rewrite: func(r row) map[string]string {
			queue := rabbitMQQueue(r.t, "queue002", world.rabbitmq.AMQPURL("/"))
			if err := queue.Produce(r.t.Context(), 50); err != nil {
				r.t.Fatal(err)
			}
			return rabbitMQSecret(r.t)
		}, check: scaledTo(10)},
	}
	files, err := filepath.Glob("testdata/sources/*.yaml")
	if err != nil || len(files) != len(sources) {
		t.Fatalf("%d manifests, %d sources, %v", len(files), len(sources), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		s, known := sources[name]
		if !known {
			t.Fatalf("%s: nothing is said of it", file)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := row{object: object{t, namespace(t), name}}
			target := object{t, r.namespace, "consumer"}
			target.deployment(0)
			grant(t, r.namespace, s.family, "sluice-scaler-credentials")
			var rewrite map[string]string
			if s.rewrite != nil {
				rewrite = s.rewrite(r)
			}
			r.admit(file, rewrite)
			if s.metric != "" {
				r.waitHPA("with metric "+s.metric, func(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
					return hpa != nil && hpa.Spec.MaxReplicas == 20 && len(hpa.Spec.Metrics) == 1 &&
						hpa.Spec.Metrics[0].External != nil && hpa.Spec.Metrics[0].External.Metric.Name == s.metric
				})
			}
			if s.check != nil {
				s.check(r, target)
				return
			}
			r.waitCondition("Ready", "False", "trigger 0 ("+name+"): ")
			target.wantReplicas(0)
		})
	}
}

// admit creates what a manifest has, which nobody may refuse or warn of.
func (r row) admit(file string, rewrite map[string]string) {
	r.t.Helper()
	for _, o := range objectsOf(r.t, file, rewrite) {
		if !strings.HasPrefix(o.GetKind(), "Cluster") {
			o.SetNamespace(r.namespace)
		}
		text, err := json.Marshal(o)
		if err != nil {
			r.t.Fatal(err)
		}
		if said := ask(r.t, string(text)); said.refused != "" || len(said.warnings) > 0 {
			r.t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), said)
		}
	}
}

// azureQueue is a storage account with one queue, of which it says how many
// messages there are.
func azureQueue(messages int) func(row) map[string]string {
	return func(r row) map[string]string {
		l, err := new(net.ListenConfig).Listen(r.t.Context(), "tcp", net.JoinHostPort(world.cluster.Address(), "0"))
		if err != nil {
			r.t.Fatal(err)
		}
		server := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			known := request.URL.Path == "/shop/orders" && request.URL.Query().Get("comp") == "metadata"
			switch {
			case !strings.HasPrefix(request.Header.Get("Authorization"), "SharedKey shop:"):
				w.WriteHeader(http.StatusForbidden)
			case !known:
				w.WriteHeader(http.StatusNotFound)
			default:
				w.Header().Set("x-ms-approximate-messages-count", fmt.Sprint(messages))
			}
		})}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = server.Serve(l) // until it is closed
		}()
		r.t.Cleanup(func() {
			_ = server.Close()
			<-ended
		})
		return map[string]string{"EndpointSuffix=core.windows.net": "QueueEndpoint=http://" + l.Addr().String() + "/shop"}
	}
}

// googleKey is the key of a service account that nobody knows.
func googleKey(r row) map[string]string {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		r.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		r.t.Fatal(err)
	}
	key, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "shop", "private_key_id": "1", "client_email": "scaler@shop.iam.gserviceaccount.com",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":   "https://oauth2.googleapis.com/token",
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return map[string]string{"<key.json>": string(key)}
}
