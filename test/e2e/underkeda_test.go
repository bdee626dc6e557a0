package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	transport "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/identity"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	"github.com/sluice-autoscaler/sluice/test/localcluster"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// TestUnderAnotherKEDA runs families alone, without a core, and asks them as the
// scalers external and external-push of another KEDA do: with the rpcs of the
// common contract and no others, by the address of a Service, with KEDA's key and
// what KEDA sends of a trigger. The sources are real ones.
func TestUnderAnotherKEDA(t *testing.T) {
	t.Parallel()
	c := anotherCluster(t)
	const password = "correct-horse-battery"
	queue := rabbitMQQueue(t, "under-keda", world.rabbitmq.AMQPURL("/"))
	db, err := servers.StartRedis(t.Context(), servers.RedisOptions{Address: c.Address(), Password: password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })

	c.apply(certManager)
	c.kubectlApply(filepath.Join(c.repo(), "deploy/crds"))
	c.apply("{apiVersion: v1, kind: Namespace, metadata: {name: keda}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
	c.alone("redis", "--allow-client=keda=shop")
	c.alone("rabbitmq", "")
	c.alone("cron", "", "plaintext")
	authority := newIssuer(t, c)
	authority.signIn("sluice-system", "keda")
	for _, family := range []string{"redis", "rabbitmq", "cron"} {
		if _, err := c.WaitInstances(t.Context(), "scaler-"+family, 1); err != nil {
			t.Fatal(err)
		}
	}
	c.apply(fmt.Sprintf(redisOfAShop, password))

	t.Run("a reference, in the namespaces that are KEDA's to name", func(t *testing.T) {
		trigger := map[string]string{
			"address": db.Addr(), "listName": "jobs", "listLength": "5",
			"sluice.dev/authenticationRef": "TriggerAuthentication/redis", "sluice.dev/pollingInterval": "1s",
		}
		asked := c.kedaAsks(t, "redis", "shop", trigger)
		asked.expect("s0-redis-jobs", 5, 0)
		active := asked.stream()
		if <-active {
			t.Error("active without work")
		}
		if _, err := db.Do(t.Context(), append([]string{"RPUSH", "jobs"}, slices.Repeat([]string{"job"}, 12)...)...); err != nil {
			t.Fatal(err)
		}
		if !<-active {
			t.Error("inactive with work")
		}
		asked.expect("s0-redis-jobs", 5, 12)

		elsewhere := c.kedaAsks(t, "redis", "billing", trigger)
		_, err := elsewhere.IsActive(t.Context(), elsewhere.ref)
		if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "--allow-client") {
			t.Errorf("in another namespace: %v", err)
		}
	})
	t.Run("a variable, whose value KEDA sends", func(t *testing.T) {
		trigger := maps.Clone(queue.Trigger(5).Metadata)
		delete(trigger, "host")
		trigger["hostFromEnv"] = world.rabbitmq.AMQPURL("/")
		asked := c.kedaAsks(t, "rabbitmq", "shop", trigger)
		asked.expect("s0-rabbitmq-"+trigger["queueName"], 5, 0)
		if err := queue.Produce(t.Context(), 20); err != nil {
			t.Fatal(err)
		}
		asked.expect("s0-rabbitmq-"+trigger["queueName"], 5, 20)

		trigger["hostFromEnv"] = strings.Replace(trigger["hostFromEnv"], "://", "://nobody:"+password+"@", 1)
		wrong := c.kedaAsks(t, "rabbitmq", "shop", trigger)
		if _, err := wrong.IsActive(t.Context(), wrong.ref); err == nil || strings.Contains(err.Error(), password) {
			t.Errorf("with a wrong address: %v", err)
		}
	})
	t.Run("without TLS", func(t *testing.T) {
		trigger := map[string]string{"timezone": "UTC", "start": "0 0 1 1 *", "end": "59 23 31 12 *", "desiredReplicas": "3"}
		asked := c.kedaAsks(t, "cron", "shop", trigger)
		asked.expect("s0-cron-UTC-0011x-59233112x", 1, 3)
		trigger["sluice.dev/authenticationRef"] = "TriggerAuthentication/redis"
		if _, err := asked.IsActive(t.Context(), c.kedaAsks(t, "cron", "shop", trigger).ref); status.Code(err) != codes.PermissionDenied {
			t.Errorf("a reference: %v", err)
		}
	})
	t.Run("nobody but KEDA is answered", func(t *testing.T) {
		asked := c.kedaAsks(t, "redis", "shop", map[string]string{"address": db.Addr(), "listName": "jobs"})
		conn, err := grpc.NewClient(asked.target, grpc.WithAuthority(asked.authority), grpc.WithTransportCredentials(transport.NewTLS(&tls.Config{RootCAs: asked.authorities})))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := externalscaler.NewExternalScalerClient(conn).IsActive(t.Context(), asked.ref); status.Code(err) != codes.Unavailable {
			t.Errorf("without a key: %v", err)
		}
	})
}

const redisOfAShop = `
{apiVersion: v1, kind: Secret, metadata: {namespace: shop, name: redis}, stringData: {password: %q}}
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: {namespace: shop, name: redis}
spec: {secretTargetRef: [{parameter: password, name: redis, key: password}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {namespace: shop, name: scaler-redis}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sluice-scaler-credentials}
subjects: [{kind: ServiceAccount, name: scaler-redis, namespace: sluice-system}]
`

// alone begins one family without a core, with another argument and components of
// components/under-keda over it.
func (c another) alone(family, arg string, components ...string) {
	c.t.Helper()
	dir, err := filepath.EvalSymlinks(c.t.TempDir())
	if err != nil {
		c.t.Fatal(err)
	}
	deploy, err := filepath.Rel(dir, filepath.Join(c.repo(), "deploy"))
	if err != nil {
		c.t.Fatal(err)
	}
	layer := "resources: [" + deploy + "/under-keda/" + family + "]\ncomponents:\n"
	for _, component := range components {
		layer += "- " + deploy + "/components/under-keda/" + component + "\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(layer), 0o600); err != nil {
		c.t.Fatal(err)
	}
	what := localcluster.Installation{Overlay: dir, Replicas: map[string]int32{"scaler-" + family: 1}}
	if arg != "" {
		what.Args = map[string][]string{"scaler-" + family: {arg}}
	}
	if err := c.Begin(c.t.Context(), what); err != nil {
		c.t.Fatal(err)
	}
}

// signIn makes the keys that are asked for in some namespaces.
func (s *issuer) signIn(namespaces ...string) {
	s.c.t.Helper()
	for _, namespace := range namespaces {
		all := &unstructured.UnstructuredList{}
		all.SetGroupVersionKind(schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "CertificateList"})
		if err := s.c.Client().List(s.c.t.Context(), all, client.InNamespace(namespace)); err != nil {
			s.c.t.Fatal(err)
		}
		if len(all.Items) == 0 {
			s.c.t.Fatalf("no Certificate in namespace %s", namespace)
		}
		for i := range all.Items {
			s.signOne(&all.Items[i])
		}
	}
}

// kedasTrigger is a trigger of type external as KEDA has it.
type kedasTrigger struct {
	externalscaler.ExternalScalerClient
	t                 *testing.T
	ref               *externalscaler.ScaledObjectRef
	target, authority string
	authorities       *x509.CertPool
}

// kedaAsks connects to a family as KEDA does: by the Service of the trigger type,
// which is the family's here, with what ClusterTriggerAuthentication sluice says.
// All metadata goes along.
func (c another) kedaAsks(t *testing.T, family, namespace string, metadata map[string]string) kedasTrigger {
	t.Helper()
	address := "scaler-" + family + ".sluice-system.svc:9090"
	instances := c.Instances("scaler-" + family)
	if len(instances) != 1 {
		t.Fatalf("%d instances of %s", len(instances), family)
	}
	k := kedasTrigger{
		t: t, authority: address, target: net.JoinHostPort(instances[0].Address(), "9090"), authorities: x509.NewCertPool(),
		ref: &externalscaler.ScaledObjectRef{Name: "worker", Namespace: namespace, ScalerMetadata: maps.Clone(metadata)},
	}
	k.ref.ScalerMetadata["scalerAddress"] = address
	how := insecure.NewCredentials()
	if family != "cron" {
		var key corev1.Secret
		if err := c.Client().Get(t.Context(), client.ObjectKey{Namespace: "keda", Name: "sluice-client"}, &key); err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(key.Data[identity.CertificateKey], key.Data[identity.PrivateKeyKey])
		if err != nil {
			t.Fatal(err)
		}
		k.authorities.AppendCertsFromPEM(key.Data[identity.AuthoritiesKey])
		how = transport.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: k.authorities})
	}
	conn, err := grpc.NewClient(k.target, grpc.WithAuthority(k.authority), grpc.WithTransportCredentials(how))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	k.ExternalScalerClient = externalscaler.NewExternalScalerClient(conn)
	return k
}

// expect polls as KEDA does until the value is as it should be: the specs, then the
// value by the name that they have, and whether there is work.
func (k kedasTrigger) expect(name string, target, value float64) {
	k.t.Helper()
	specs, err := k.GetMetricSpec(k.t.Context(), k.ref)
	if err != nil {
		k.t.Fatal(err)
	}
	spec := specs.GetMetricSpecs()[0]
	if got := "s0-" + spec.GetMetricName(); len(specs.GetMetricSpecs()) != 1 || got != name || spec.GetTargetSizeFloat() != target || spec.GetTargetSize() != int64(target) { //nolint:staticcheck // which a KEDA of old reads
		k.t.Errorf("specs = %v, want %s with target %v", specs, name, target)
	}
	wait(k.t, fmt.Sprintf("%s at %v", name, value), func() (bool, string) {
		metrics, err := k.GetMetrics(k.t.Context(), &externalscaler.GetMetricsRequest{ScaledObjectRef: k.ref, MetricName: spec.GetMetricName()})
		if err != nil {
			return false, err.Error()
		}
		active, err := k.IsActive(k.t.Context(), k.ref)
		if err != nil {
			return false, err.Error()
		}
		got := metrics.GetMetricValues()[0]
		return got.GetMetricValueFloat() == value && got.GetMetricValue() == int64(value) && active.GetResult() == (value > 0), fmt.Sprint(metrics, active) //nolint:staticcheck // as above
	})
}

// stream is what external-push is told.
func (k kedasTrigger) stream() <-chan bool {
	k.t.Helper()
	ctx, stop := context.WithCancel(k.t.Context())
	stream, err := k.StreamIsActive(ctx, k.ref)
	if err != nil {
		k.t.Fatal(err)
	}
	told, ended := make(chan bool), make(chan struct{})
	k.t.Cleanup(func() {
		stop()
		<-ended
	})
	go func() {
		defer close(ended)
		defer close(told)
		for {
			active, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case told <- active.GetResult():
			case <-ctx.Done():
				return
			}
		}
	}()
	return told
}
