package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// pythonScaler is test/thirdparty/scaler.py as a process.
type pythonScaler struct {
	t          *testing.T
	grpc, http string
	process    *os.Process
	end        func() // without warning; waits
}

// startPython runs the scaler until the test ends.
func startPython(t *testing.T) pythonScaler {
	t.Helper()
	return startPythonAt(t, freeAddress(t))
}

// startPythonAt runs the scaler at an address until the test ends.
func startPythonAt(t *testing.T, address string) pythonScaler {
	t.Helper()
	repo, err := localcluster.FindRepo(".")
	if err != nil {
		t.Fatal(err)
	}
	python := filepath.Join(repo, "bin/python/bin/python")
	if _, err := os.Stat(python); err != nil {
		t.Fatal("Python with grpcio is not installed: run make test-servers")
	}
	p := pythonScaler{t: t, grpc: address, http: freeAddress(t)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, python, filepath.Join(repo, "test/thirdparty/scaler.py"),
		"--grpc", p.grpc, "--http", p.http, "--proto", filepath.Join(repo, "proto/externalscaler"))
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is always killed
		close(ended)
	}()
	p.process = cmd.Process
	p.end = func() {
		cancel()
		<-ended
	}
	t.Cleanup(func() {
		p.end()
		if t.Failed() {
			t.Logf("scaler.py: %s", output.Bytes())
		}
	})
	wait(t, "the Python scaler", func() (bool, string) {
		err := p.get()
		return err == nil, fmt.Sprint(err)
	})
	return p
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(world.cluster.Address(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (p pythonScaler) get() error {
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+p.http, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// set gives a counter a value.
func (p pythonScaler) set(counter string, value int) {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodPut, fmt.Sprintf("http://%s/%s/%d", p.http, counter, value), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	if answer.StatusCode != http.StatusNoContent {
		p.t.Fatalf("set %s: %s", counter, answer.Status)
	}
	if err := answer.Body.Close(); err != nil {
		p.t.Fatal(err)
	}
}

// TestThirdParty scales by a scaler that knows nothing of Sluice: through both
// external triggers, and as a trigger type of its own that a Service makes
// known while the object already waits for it.
func TestThirdParty(t *testing.T) {
	t.Parallel()
	python := startPython(t)
	ns := namespace(t)
	for _, tt := range []struct {
		triggerType string
		service     bool // the type's Service is created after the object
	}{
		{triggerType: "external"},
		{triggerType: "external-push"},
		{triggerType: "counter", service: true},
	} {
		t.Run(tt.triggerType, func(t *testing.T) {
			t.Parallel()
			counter := tt.triggerType
			metadata := map[string]string{"counter": counter, "perReplica": "2.5"}
			if !tt.service {
				metadata["scalerAddress"] = python.grpc
			}
			s := quick(brokers.Trigger{Type: tt.triggerType, Metadata: metadata})
			if tt.triggerType != "external-push" {
				s["pollingInterval"] = 1
			}
			o := scale(t, ns, tt.triggerType, 0, s)
			if tt.service {
				o.waitCondition("Ready", "False", "Service scaler-counter not found")
				if o.hpa() != nil {
					t.Error("there is an HPA before the Service")
				}
				serve(t, "scaler-counter", python.grpc)
			}
			o.waitCondition("Ready", "True", "")
			python.set(counter, 10)
			o.waitReplicas(4)
			python.set(counter, 0)
			if tt.triggerType == "external-push" {
				// Its default interval is long; what was proven is the push.
				s["pollingInterval"] = 1
				o.apply(s)
			}
			o.waitReplicas(0)
		})
	}
}

// TestThirdPartyStartsJobs starts Jobs by the same scaler: what it pushes at
// once, though the next poll is an hour away.
func TestThirdPartyStartsJobs(t *testing.T) {
	t.Parallel()
	python := startPython(t)
	for triggerType, interval := range map[string]int{"external": 1, "external-push": 3600} {
		t.Run(triggerType, func(t *testing.T) {
			t.Parallel()
			queue := &counted{
				trigger: brokers.Trigger{Type: triggerType, Metadata: map[string]string{
					"scalerAddress": python.grpc, "counter": triggerType, "perReplica": "1",
				}},
				set: func(value int) { python.set(triggerType, value) },
			}
			ns := namespace(t)
			crew := newCrew(t, ns, queue)
			o := scaleJobs(t, ns, "batch", spec{
				"pollingInterval": interval, "rollout": map[string]any{"strategy": "gradual"}, "triggers": triggers(queue.Trigger(1)),
			})
			o.waitCondition("Active", "False", "")
			began := time.Now()
			if err := queue.Produce(t.Context(), 3); err != nil {
				t.Fatal(err)
			}
			o.wait("the Jobs", func() (bool, string) {
				done, _, _, _, _ := crew.report()
				return done == 3, fmt.Sprintf("%s; %s", crew, o.describe())
			})
			t.Logf("number set to all Jobs at work: %v", time.Since(began))
			// That there is no more to do is learnt by polling alone.
			o.patch(`{"spec":{"pollingInterval":1}}`)
			crew.waitAllDone(o, 3, 100)
		})
	}
}

// counted is a queue that is a number of an external scaler.
type counted struct {
	trigger brokers.Trigger
	set     func(value int)

	mu   sync.Mutex
	left int
}

// Produce implements brokers.Queue.
func (q *counted) Produce(_ context.Context, n int) error {
	q.add(n)
	return nil
}

// Consume implements brokers.Queue.
func (q *counted) Consume(_ context.Context, n int) error {
	q.add(-n)
	return nil
}

func (q *counted) add(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.left += n
	q.set(q.left)
}

// Backlog implements brokers.Queue.
func (q *counted) Backlog(context.Context) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int64(q.left), nil
}

// Trigger implements brokers.Queue. Its target is the scaler's business.
func (q *counted) Trigger(int) brokers.Trigger { return q.trigger }

// Close implements brokers.Queue.
func (q *counted) Close() {}

// serve makes a Service of the installation that leads to address.
func serve(t *testing.T, name, address string) {
	t.Helper()
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		t.Fatal(err)
	}
	meta := metav1.ObjectMeta{Namespace: "sluice-system", Name: name}
	plaintext, portName, number, ready := "kubernetes.io/h2c", "grpc", int32(port), true
	service := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
		Ports: []corev1.ServicePort{{Name: portName, Port: number, AppProtocol: &plaintext}},
	}}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  meta,
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &portName, Port: &number, AppProtocol: &plaintext}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: name}
	if err := world.cluster.Client().Create(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := world.cluster.Client().Delete(context.WithoutCancel(t.Context()), service); err != nil {
			t.Error(err)
		}
	})
	if err := world.cluster.Client().Create(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
}
