package e2e

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/identity"
	"github.com/sluice-autoscaler/sluice/test/brokers"
)

// TestChangeOfAuthority replaces the authority of the installation while every
// process is at work. Streams go on, each instance takes its new key while it
// runs, what the old authority signed is refused in the end, and no replica
// moves.
func TestChangeOfAuthority(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	o := scale(t, ns, "worker", 0, quick(brokers.Trigger{Type: "cron", Metadata: map[string]string{
		"timezone": "UTC", "start": "0 0 1 1 *", "end": "59 23 31 12 *", "desiredReplicas": "3",
	}}))
	o.waitReplicas(3)
	api := world.cluster.Client()
	moves := o.moves()
	old := coreKeys(t)
	before := authorities(t)

	ca := &corev1.Secret{}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: "sluice-pki", Name: "sluice-ca"}, ca); err != nil {
		t.Fatal(err)
	}
	patch := client.MergeFrom(ca.DeepCopy())
	ca.Annotations = map[string]string{"sluice.dev/rotate": "now"}
	if err := api.Patch(t.Context(), ca, patch); err != nil {
		t.Fatal(err)
	}
	// The controller looks at its keys when a Service changes, too: not to wait
	// for its next round.
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "sluice-system", Name: "scaler-cron"}}
	touch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"sluice.dev/touched":"rotation"}}}`))
	if err := api.Patch(t.Context(), service, touch); err != nil {
		t.Fatal(err)
	}
	wait(t, "the new authority alone", func() (bool, string) {
		now := authorities(t)
		return bytes.Count(now, []byte("BEGIN")) == 1 && !bytes.Equal(now, before), string(now)
	})
	// Whoever knows the new authority alone reaches every instance, which shows
	// that it has its new key; whoever has an old key does not.
	for _, family := range []string{"cron", "external", "http", "kafka", "rabbitmq"} {
		for _, i := range world.cluster.Instances("scaler-" + family) {
			at := net.JoinHostPort(i.Address(), "9090")
			wait(t, i.Name()+" with its new key", func() (bool, string) {
				err := health(t, coreKeys(t), family, at)
				return err == nil, fmt.Sprint(err)
			})
			if err := health(t, old, family, at); err == nil {
				t.Errorf("%s answers who has a key of the old authority", i.Name())
			}
		}
	}
	// The API server believes the adapter, and the HPA has its metric.
	since := time.Now()
	wait(t, "the HPA reading its metric after the change", func() (bool, string) {
		hpa := &autoscalingv2.HorizontalPodAutoscaler{}
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "keda-hpa-worker"}, hpa); err != nil {
			return false, err.Error()
		}
		for _, c := range hpa.Status.Conditions {
			if c.Type == autoscalingv2.ScalingActive {
				return c.Status == corev1.ConditionTrue && time.Since(since) > 16*time.Second, c.Message
			}
		}
		return false, "no condition"
	})
	if have := o.moves(); have != moves {
		t.Errorf("the Deployment was scaled: generation %d, then %d", moves, have)
	}
	o.waitCondition("Ready", "True", "")
}

// moves counts the changes of the target's spec.
func (o object) moves() int64 {
	o.t.Helper()
	d := &appsv1.Deployment{}
	if err := world.cluster.Client().Get(o.t.Context(), o.key(), d); err != nil {
		o.t.Fatal(err)
	}
	return d.Generation
}

// authorities are those that the controller tells everybody to trust.
func authorities(t *testing.T) []byte {
	t.Helper()
	secret := &corev1.Secret{}
	if err := world.cluster.Client().Get(t.Context(), client.ObjectKey{Namespace: "sluice-pki", Name: "sluice-ca"}, secret); err != nil {
		t.Fatal(err)
	}
	return secret.Data[identity.AuthoritiesKey]
}

// coreKeys are the controller's, as they are now.
func coreKeys(t *testing.T) *identity.Holder {
	t.Helper()
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: "sluice-system", Name: identity.Controller.Secret()}
	if err := world.cluster.Client().Get(t.Context(), key, secret); err != nil {
		t.Fatal(err)
	}
	keys, err := identity.Parse(secret.Data, identity.Controller.In("sluice-system"))
	if err != nil {
		t.Fatal(err)
	}
	h := &identity.Holder{}
	h.Set(keys)
	return h
}

// health asks an instance of a family over a connection of its own.
func health(t *testing.T, keys *identity.Holder, family, address string) error {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(keys.Client(identity.Scaler(family).In("sluice-system"))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	return err
}
