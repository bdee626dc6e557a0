package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
)

// api is a user's server that tells how much work there is.
type api struct {
	address string // host:port
	waiting atomic.Int64
	page    string // in place of how much work there is
	server  *http.Server
	ended   chan struct{}
}

func (a *api) start(t *testing.T) {
	t.Helper()
	if a.address == "" {
		a.address = net.JoinHostPort(world.cluster.Address(), "0")
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", a.address)
	if err != nil {
		t.Fatal(err)
	}
	a.address, a.ended = l.Addr().String(), make(chan struct{})
	a.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if a.page != "" {
			fmt.Fprint(w, a.page)
			return
		}
		fmt.Fprintf(w, `{"waiting": %d}`, a.waiting.Load())
	})}
	go func() {
		defer close(a.ended)
		_ = a.server.Serve(l) // until it is closed
	}()
}

func (a *api) stop() {
	_ = a.server.Close()
	<-a.ended
}

// TestServiceScales reads a number from every endpoint of a Service: 0 -> N,
// held while the endpoint is gone, and back to 0.
func TestServiceScales(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	a := &api{}
	a.start(t)
	defer func() { a.stop() }()
	at, err := netip.ParseAddrPort(a.address)
	if err != nil {
		t.Fatal(err)
	}
	port, name := int32(at.Port()), "web"
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "api"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: name, Port: 80}}},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: ns, Name: "api-own", Labels: map[string]string{discoveryv1.LabelServiceName: "api"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{at.Addr().String()}}},
	}
	for _, object := range []client.Object{service, slice} {
		if err := world.cluster.Client().Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	s := quick(brokers.Trigger{Type: "metrics-api", Metadata: map[string]string{
		"url": "http://api." + ns + "/stats", "valueLocation": "waiting", "targetValue": "5",
		"aggregateFromKubeServiceEndpoints": "true", "aggregationType": "sum",
	}})
	s["pollingInterval"] = 1
	o := scale(t, ns, "worker", 0, s)
	o.waitCondition("Ready", "True", "")
	a.waiting.Store(20)
	o.waitReplicas(4)
	a.stop()
	o.waitCondition("Ready", "False", "connection refused")
	if have := o.replicas(); have != 4 {
		t.Errorf("%d replicas while nobody can tell, want 4", have)
	}
	a.start(t)
	o.waitCondition("Ready", "True", "")
	a.waiting.Store(0)
	o.waitReplicas(0)
}
