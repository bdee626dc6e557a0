package federation

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

const (
	namespace = "sluice-system"
	patience  = 20 * time.Second // of a test that waits for an event
)

// world is a namespace with families in it and a Federation that looks at it.
type world struct {
	t      *testing.T
	client *fake.Clientset
	events *events
	*Federation
}

// events lets a test wait for whatever happens.
type events struct {
	mu   sync.Mutex
	next chan struct{} // closed at the next event
}

func newEvents() *events { return &events{next: make(chan struct{})} }

func (e *events) happened() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.next)
	e.next = make(chan struct{})
}

func (e *events) after() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.next
}

// until returns once condition holds, which is looked at after each event, and
// every now and then for what is no event.
func (w *world) until(what string, condition func() bool) {
	w.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		next := w.events.after()
		if condition() {
			return
		}
		select {
		case <-next:
		case <-again.C:
		case <-deadline.C:
			w.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// newWorld starts a Federation. Plaintext is allowed unless change says
// otherwise.
func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	return newWorldWith(t, newEvents(), change...)
}

func newWorldWith(t *testing.T, e *events, change ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, client: fake.NewClientset(), events: e}
	config := Config{
		Namespace:      namespace,
		Client:         w.client,
		AllowPlaintext: true,
		Log:            slog.New(slog.NewTextHandler(io.Discard, nil)),
		Changed:        func(ID) { e.happened() },
	}
	for _, c := range change {
		c(&config)
	}
	w.Federation = New(config)
	// The fake API server loses what happens between a list and its watch.
	watching := make(chan struct{}, 100)
	w.client = config.Client.(*fake.Clientset)
	w.client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		followed, err := w.client.Tracker().Watch(action.GetResource(), action.GetNamespace())
		watching <- struct{}{}
		return true, followed, err
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Start = %v", err)
		}
	})
	<-w.synced
	<-watching
	<-watching
	return w
}

// service makes the Service of a type over instances, or replaces it.
func (w *world) service(triggerType string, instances ...*family) {
	w.t.Helper()
	w.put(plainService(triggerType))
	w.addresses(triggerType, instances...)
}

// addresses makes instances those of a type's Service.
func (w *world) addresses(triggerType string, instances ...*family) {
	w.t.Helper()
	for n := range 4 { // one slice each, since each has a port of its own
		name := servicePrefix + triggerType + "-" + strconv.Itoa(n)
		if n < len(instances) {
			w.put(slice(triggerType, name, instances[n].address()))
			continue
		}
		err := w.client.DiscoveryV1().EndpointSlices(namespace).Delete(w.t.Context(), name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			w.t.Fatal(err)
		}
	}
}

func (w *world) deleteService(triggerType string) {
	w.t.Helper()
	if err := w.client.CoreV1().Services(namespace).Delete(w.t.Context(), servicePrefix+triggerType, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// put creates an object or replaces it.
func (w *world) put(object runtime.Object) {
	w.t.Helper()
	var err error
	switch o := object.(type) {
	case *corev1.Service:
		api := w.client.CoreV1().Services(namespace)
		if _, err = api.Update(w.t.Context(), o, metav1.UpdateOptions{}); apierrors.IsNotFound(err) {
			_, err = api.Create(w.t.Context(), o, metav1.CreateOptions{})
		}
	case *discoveryv1.EndpointSlice:
		api := w.client.DiscoveryV1().EndpointSlices(namespace)
		if _, err = api.Update(w.t.Context(), o, metav1.UpdateOptions{}); apierrors.IsNotFound(err) {
			_, err = api.Create(w.t.Context(), o, metav1.CreateOptions{})
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func plainService(triggerType string) *corev1.Service {
	protocol := plaintextHTTP
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: servicePrefix + triggerType},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "grpc", Port: 9090, AppProtocol: &protocol}}},
	}
}

func slice(triggerType, name, address string) *discoveryv1.EndpointSlice {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		panic(err)
	}
	number, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		panic(err)
	}
	port, grpcName := int32(number), "grpc"
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name,
			Labels: map[string]string{discoveryv1.LabelServiceName: servicePrefix + triggerType},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &grpcName, Port: &port}},
	}
}

// trigger returns the n-th trigger of a type, each with a question of its own.
func trigger(triggerType string, n int) Trigger {
	return Trigger{
		ID:         ID{Kind: "ScaledObject", Namespace: "shop", Name: fmt.Sprintf("worker-%d", n)},
		Generation: 1,
		Type:       triggerType,
		Metadata:   map[string]string{"queue": fmt.Sprintf("orders-%d", n)},
	}
}

func (w *world) state(t Trigger) State {
	w.t.Helper()
	state, ok := w.State(t.ID)
	if !ok {
		w.t.Fatalf("%s is not subscribed", t.ID)
	}
	return state
}

// observed reports whether a trigger has this value as its last outcome.
func (w *world) observed(t Trigger, value float64) func() bool {
	return func() bool {
		s := w.state(t)
		return s.Outcome == scaling.Value && s.Generation == t.Generation && s.Values[0].Value == value
	}
}
