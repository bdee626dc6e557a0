package localcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// installFixture runs the fixture with two instances.
func installFixture(t *testing.T, c *Cluster) []*Instance {
	t.Helper()
	manifests, err := os.ReadFile("testdata/fixture.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := Decode(manifests)
	if err != nil {
		t.Fatal(err)
	}
	ctx := deadline(t, time.Minute)
	if err := c.Install(ctx, Installation{Objects: objects, Args: map[string][]string{"fixture": {"added"}}}); err != nil {
		t.Fatal(err)
	}
	instances, err := c.WaitInstances(ctx, "fixture", 2)
	if err != nil {
		t.Fatal(err)
	}
	return instances
}

// TestTwoClusters runs everything on two clusters side by side, which is also
// the proof that they do not meet.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	binaries := fixtureBinaries(t)
	var clusters [2]*Cluster
	t.Run("start side by side", func(t *testing.T) {
		var both sync.WaitGroup
		for i := range clusters {
			both.Go(func() {
				c, err := Start(deadline(t, 2*time.Minute), Options{BinDir: binaries})
				if err != nil {
					t.Error(err)
				}
				clusters[i] = c
			})
		}
		both.Wait()
	})
	for i, c := range clusters {
		if c == nil {
			t.FailNow()
		}
		t.Cleanup(func() {
			pids := pidsOf(c)
			if err := c.Stop(); err != nil {
				t.Errorf("stop cluster %d: %v", i, err)
			}
			for name, pid := range pids {
				if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
					t.Errorf("cluster %d: %s (%d) outlived Stop", i, name, pid)
				}
			}
			if _, err := os.Stat(c.Dir()); err == nil {
				t.Errorf("cluster %d: %s outlived Stop", i, c.Dir())
			}
		})
	}
	t.Run("work", func(t *testing.T) {
		t.Run("an HPA becomes active", func(t *testing.T) {
			t.Parallel()
			testHPA(t, clusters[1])
			testReplicas(t, clusters[1])
		})
		t.Run("Pods are processes", func(t *testing.T) {
			t.Parallel()
			testProcesses(t, clusters[0])
		})
	})
}

func testProcesses(t *testing.T, c *Cluster) {
	instances := installFixture(t, c)
	t.Run("a process is what its Pod says", func(t *testing.T) { testPod(t, c, instances) })
	t.Run("ports of a process are forwarded", func(t *testing.T) { testPortForward(t, c, instances[0]) })
	t.Run("the aggregation layer reaches a process", func(t *testing.T) { testAggregation(t, c) })
	t.Run("a killed instance leaves the endpoints and returns", func(t *testing.T) { testKill(t, c, instances[0]) })
	t.Run("a crashed program is started again", func(t *testing.T) { testCrash(t, instances[0]) })
	t.Run("a stalled instance accepts and never answers", func(t *testing.T) { testStall(t, instances[0]) })
	t.Run("a cut instance is Ready and unreachable", func(t *testing.T) { testCut(t, instances[0]) })
	testCutBetween(t, c, instances)
	t.Run("a terminated instance is replaced", func(t *testing.T) { testTerminate(t, c, instances[1]) })
	t.Run("every request was made under its own account", func(t *testing.T) { testIdentities(t, c) })
}

// pidsOf are the processes of a cluster, by name.
func pidsOf(c *Cluster) map[string]int {
	pids := map[string]int{}
	for _, role := range c.roles {
		pids[role.Name()] = role.PID()
	}
	for _, instance := range c.Instances("") {
		pids[instance.Name()] = instance.PID()
	}
	return pids
}

const workload = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: default}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec: {containers: [{name: app, image: app.invalid/app}]}
`

// testHPA proves that the real HPA controller is at work: it finds the target
// and counts the Pods that kwok plays.
func testHPA(t *testing.T, c *Cluster) {
	ctx := deadline(t, time.Minute)
	must(t, c.ApplyYAML(ctx, fmt.Sprintf(workload, "app", 2)+`
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: app, namespace: default}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: app}
  minReplicas: 3
  maxReplicas: 5
  metrics:
    - type: External
      external: {metric: {name: nobody-serves-it}, target: {type: AverageValue, averageValue: "1"}}
`))
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	must(t, waitFor(ctx, "the HPA to raise the Deployment to its minimum", func(ctx context.Context) (bool, error) {
		if err := c.Client().Get(ctx, client.ObjectKey{Namespace: "default", Name: "app"}, hpa); err != nil {
			return false, err
		}
		return hpa.Status.CurrentReplicas == 3, nil
	}))
	must(t, waitFor(ctx, "Ready Pods", func(ctx context.Context) (bool, error) {
		pods, err := ready(ctx, c, "default")
		return pods == 3, err
	}))
	metrics, err := c.ControllerManagerMetrics(ctx)
	must(t, err)
	if metrics["horizontal_pod_autoscaler_controller_reconciliations_total"] == nil {
		t.Error("kube-controller-manager does not count the HPA controller's syncs")
	}
}

func ready(ctx context.Context, c *Cluster, namespace string) (count int, err error) {
	pods := &corev1.PodList{}
	err = c.Client().List(ctx, pods, client.InNamespace(namespace))
	for _, pod := range pods.Items {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				count++
			}
		}
	}
	return count, err
}

// self is what the fixture tells about itself.
type self struct {
	User, Error, Name, Address, Greeting string
	UID                                  int
	Args                                 []string
}

func ask(ctx context.Context, i *Instance) (self, error) { return askAt(ctx, i.Address()+":8080") }

func askAt(ctx context.Context, address string) (answer self, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/self", nil)
	if err != nil {
		return self{}, err
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return self{}, err
	}
	defer response.Body.Close()
	return answer, json.NewDecoder(response.Body).Decode(&answer)
}

func testPod(t *testing.T, c *Cluster, instances []*Instance) {
	ctx := deadline(t, 20*time.Second)
	for _, instance := range instances {
		got, err := ask(ctx, instance)
		must(t, err)
		want := self{
			User: "system:serviceaccount:fixture:fixture", Error: "<nil>", Name: instance.Name(),
			Address: instance.Address(), Greeting: "hello", UID: 4711, Args: []string{"--address=:8080", "--tls-address=:8443", "--settings=/settings", "added"},
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s says %+v, want %+v", instance.Name(), got, want)
		}
	}
	must(t, waitEndpoints(ctx, c, instances...))
	must(t, c.ApplyYAML(ctx, `{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: fixture}, data: {greeting: goodbye}}`))
	must(t, waitFor(ctx, "the new ConfigMap in the volume", func(ctx context.Context) (bool, error) {
		got, err := ask(ctx, instances[0])
		return got.Greeting == "goodbye", err
	}))
}

// waitEndpoints waits until exactly these instances are ready behind the
// Service.
func waitEndpoints(ctx context.Context, c *Cluster, instances ...*Instance) error {
	var want []string
	for _, instance := range instances {
		want = append(want, instance.Address())
	}
	slices.Sort(want)
	return waitFor(ctx, "endpoints "+strings.Join(want, " "), func(ctx context.Context) (bool, error) {
		found := &discoveryv1.EndpointSliceList{}
		err := c.Client().List(ctx, found, client.InNamespace("fixture"), client.MatchingLabels{discoveryv1.LabelServiceName: "fixture"})
		var got []string
		for _, slice := range found.Items {
			for _, endpoint := range slice.Endpoints {
				if endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready {
					got = append(got, endpoint.Addresses...)
				}
			}
		}
		slices.Sort(got)
		return err == nil && slices.Equal(got, want), fmt.Errorf("got %v, %w", got, err)
	})
}

// testAggregation proves that the API server reaches an extension server that
// is a process, by way of its Service.
func testAggregation(t *testing.T, c *Cluster) {
	ctx := deadline(t, 30*time.Second)
	objects, err := Decode([]byte(`
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.fixture.sluice.dev}
spec:
  group: fixture.sluice.dev
  version: v1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {namespace: fixture, name: fixture, port: 443}
`))
	must(t, err)
	must(t, c.Apply(ctx, objects...))
	must(t, c.waitCondition(ctx, objects[0], "Available"))
	must(t, c.Delete(ctx, objects...))
}

func testKill(t *testing.T, c *Cluster, instance *Instance) {
	ctx := deadline(t, 20*time.Second)
	must(t, instance.Kill())
	if pid := instance.PID(); pid != 0 {
		t.Errorf("killed instance still has pid %d", pid)
	}
	var other []*Instance
	for _, candidate := range c.Instances("fixture") {
		if candidate != instance {
			other = append(other, candidate)
		}
	}
	must(t, waitEndpoints(ctx, c, other...))
	instance.Start()
	must(t, waitEndpoints(ctx, c, append(other, instance)...))
}

func testCrash(t *testing.T, instance *Instance) {
	before := instance.Restarts()
	must(t, instance.Crash())
	must(t, waitFor(deadline(t, 20*time.Second), "a restart", func(context.Context) (bool, error) {
		return instance.Restarts() == before+1 && instance.Ready(), nil
	}))
	if !strings.Contains(instance.LogTail(10), "listening on :8080") {
		t.Errorf("log = %q", instance.LogTail(10))
	}
}

func testStall(t *testing.T, instance *Instance) {
	ctx := deadline(t, 20*time.Second)
	must(t, instance.Stall())
	silent(t, instance)
	must(t, waitFor(ctx, "the probe to fail", func(context.Context) (bool, error) { return !instance.Ready(), nil }))
	must(t, instance.Resume())
	must(t, waitFor(ctx, "the probe to succeed", func(context.Context) (bool, error) { return instance.Ready(), nil }))
}

func testCut(t *testing.T, instance *Instance) {
	must(t, instance.Cut())
	silent(t, instance)
	if !instance.Ready() {
		t.Error("a cut instance must stay Ready: its node still reaches it")
	}
	must(t, instance.Heal())
	if _, err := ask(deadline(t, 20*time.Second), instance); err != nil {
		t.Errorf("after the cut: %v", err)
	}
}

// silent proves that an instance does not answer, and does not refuse either.
func silent(t *testing.T, instance *Instance) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := ask(ctx, instance); err == nil || ctx.Err() == nil {
		t.Errorf("%s: %v, want no answer", instance.Name(), err)
	}
}

// line is a way from one party to another, over which a web server answers.
type line struct {
	from *Instance // nil is the control plane's address
	to   string
}

func (l line) dial(ctx context.Context) (net.Conn, error) {
	if l.from == nil {
		return (&net.Dialer{}).DialContext(ctx, "tcp", l.to)
	}
	return l.from.box.dial(ctx, "tcp", l.to)
}

func (l line) open(t *testing.T, within time.Duration) (net.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	conn, err := l.dial(ctx)
	if err == nil {
		t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

// askOver asks over a connection; to a port with TLS that is a bad request,
// which is answered, too.
func askOver(conn net.Conn, within time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return err
	}
	return answer(conn, within)
}

func answer(conn net.Conn, within time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, len("HTTP/1.")))
	return err
}

// testCutBetween cuts each kind of pair under an open connection. Everybody
// else still reaches both.
func testCutBetween(t *testing.T, c *Cluster, instances []*Instance) {
	const moment, enough = 300 * time.Millisecond, 20 * time.Second
	one, other := instances[0], instances[1]
	port := func(i *Instance, name string) string {
		address, err := i.PortAddress(name)
		must(t, err)
		return address
	}
	api, etcd := c.RoleAddress(APIServer), c.RoleAddress(Etcd)
	for name, pair := range map[string]struct {
		a, b   string
		cut    line
		others []line
	}{
		"two Pods": {
			one.Address(), other.Address(), line{one, port(other, "http")},
			[]line{{one, api}, {nil, port(one, "http")}, {nil, port(other, "http")}},
		},
		"a Pod and the API server": {
			one.Address(), api, line{one, api},
			[]line{{other, api}, {one, etcd}, {one, port(other, "http")}, {nil, port(one, "http")}},
		},
		"the API server and a port of a Pod": {
			c.Address(), port(one, "http"), line{nil, port(one, "http")},
			[]line{{one, api}, {nil, port(one, "https")}, {other, port(one, "http")}},
		},
		"the API server and etcd": {
			c.Address(), etcd, line{nil, etcd},
			[]line{{one, etcd}, {nil, port(one, "http")}},
		},
	} {
		t.Run("a cut between "+name, func(t *testing.T) {
			conn, err := pair.cut.open(t, enough)
			must(t, err)
			heal, err := c.CutBetween(pair.a, pair.b)
			must(t, err)
			defer func() { must(t, heal()) }()
			if _, err := pair.cut.open(t, moment); !os.IsTimeout(err) {
				t.Errorf("a new connection: %v, want silence", err)
			}
			if err := askOver(conn, moment); !os.IsTimeout(err) {
				t.Errorf("the connection there was: %v, want silence", err)
			}
			for _, line := range pair.others {
				conn, err := line.open(t, enough)
				must(t, err)
				must(t, askOver(conn, enough))
			}
			if _, err := c.CutBetween(pair.b, pair.a); err == nil {
				t.Error("the same two were cut again")
			}
			must(t, heal())
			must(t, answer(conn, enough))
		})
	}
	for name, party := range map[string]string{"no address": "kafka:9092", "no port": c.Address() + ":", "nobody": ""} {
		if _, err := c.CutBetween(party, c.Address()); err == nil {
			t.Errorf("%s: cut", name)
		}
	}
	// The rest is the end of the cluster's to heal.
	_, err := c.CutBetween(one.Address(), other.Address())
	must(t, err)
}

func testTerminate(t *testing.T, c *Cluster, instance *Instance) {
	ctx := deadline(t, 30*time.Second)
	must(t, instance.Terminate(ctx))
	if !strings.Contains(instance.LogTail(10), "told to stop") {
		t.Errorf("no SIGTERM arrived: %q", instance.LogTail(10))
	}
	now, err := c.WaitInstances(ctx, "fixture", 2)
	must(t, err)
	if slices.Contains(now, instance) {
		t.Error("the terminated instance is still among the instances")
	}
	must(t, waitEndpoints(ctx, c, now...))
}

func testIdentities(t *testing.T, c *Cluster) {
	requests, err := c.CheckIdentities()
	must(t, err)
	if requests["system:serviceaccount:fixture:fixture"] == 0 {
		t.Errorf("requests = %v, want some of the fixture", requests)
	}
	writes, err := c.Audit(func(r *Request) bool { return r.Object.Name == "settings" && r.Write() })
	must(t, err)
	if len(writes) == 0 || writes[0].User.Username != "sluice-test-runner" {
		t.Errorf("audit of the ConfigMap's writes = %+v", writes)
	}
}

func testReplicas(t *testing.T, c *Cluster) {
	ctx := deadline(t, 30*time.Second)
	must(t, c.ApplyYAML(ctx, fmt.Sprintf(workload, "one", 1)+"\n---\n"+fmt.Sprintf(workload, "two", 1)))
	recorder, err := c.RecordReplicas(ctx)
	must(t, err)
	defer recorder.Stop()
	must(t, c.ApplyYAML(ctx, fmt.Sprintf(workload, "one", 4)))
	must(t, recorder.CheckOnly(ctx, "default/one"))
	err = recorder.CheckOnly(ctx)
	if err == nil || !strings.Contains(err.Error(), "Deployment default/one: 1 -> 4") {
		t.Errorf("CheckOnly = %v, want the change named", err)
	}
}

// TestSharedNetwork proves that without networks one instance of a Deployment
// still runs under its own account, reached through an ExternalName Service.
func TestSharedNetwork(t *testing.T) {
	t.Parallel()
	c, err := Start(deadline(t, 2*time.Minute), Options{BinDir: fixtureBinaries(t), Shared: true})
	must(t, err)
	defer func() { must(t, c.Stop()) }()
	manifests, err := os.ReadFile("testdata/fixture.yaml")
	must(t, err)
	objects, err := Decode(manifests)
	must(t, err)
	ctx := deadline(t, time.Minute)
	must(t, c.Install(ctx, Installation{Objects: objects}))
	instances, err := c.WaitInstances(ctx, "fixture", 1)
	must(t, err)
	service := &corev1.Service{}
	must(t, c.Client().Get(ctx, client.ObjectKey{Namespace: "fixture", Name: "fixture"}, service))
	if service.Spec.Type != corev1.ServiceTypeExternalName || service.Spec.ExternalName != "localhost" {
		t.Errorf("Service = %+v, want an ExternalName of localhost", service.Spec)
	}
	if err := instances[0].Cut(); !errors.Is(err, errShared) {
		t.Errorf("Cut = %v, want %v", err, errShared)
	}
	if _, err := c.CutBetween(instances[0].Address(), c.RoleAddress(APIServer)); !errors.Is(err, errShared) {
		t.Errorf("CutBetween = %v, want %v", err, errShared)
	}
	got, err := askAt(ctx, fmt.Sprintf("localhost:%d", service.Spec.Ports[0].Port))
	must(t, err)
	if got.Name != instances[0].Name() || got.Greeting != "hello" || got.User != instances[0].User() {
		t.Errorf("the process says %+v", got)
	}
}

// TestKilledOwner proves that nothing survives the process that started a
// cluster, and that the next start removes the folder it left.
func TestKilledOwner(t *testing.T) {
	t.Parallel()
	if os.Getenv("SLUICE_TEST_OWNER") != "" {
		ownClusterUntilKilled(t)
	}
	parent := t.TempDir()
	owner := ownerProcess(t, parent)
	pids, err := readPIDs(deadline(t, time.Minute), owner.stdout)
	if err != nil {
		t.Fatal(err)
	}
	must(t, owner.cmd.Process.Kill())
	_ = owner.cmd.Wait() // killed
	for _, pid := range pids {
		must(t, waitFor(deadline(t, 10*time.Second), "the end of process "+strconv.Itoa(pid), func(context.Context) (bool, error) {
			return ended(pid), nil
		}))
	}
	left, err := filepath.Glob(filepath.Join(parent, dirPattern+"*"))
	if err != nil || len(left) != 1 {
		t.Fatalf("folders left = %v (%v), want one", left, err)
	}
	must(t, reapDirs(parent))
	if _, err := os.Stat(left[0]); err == nil {
		t.Errorf("%s was not reaped", left[0])
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
