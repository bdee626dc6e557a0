package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// What make test-node builds, and what it is upgraded to: the same bytes.
	version, nextVersion = "v0.0.0-node", "v0.0.1-node"
	images               = "localhost/sluice-node/"
	system               = "sluice-system"
	// work is where workloads are.
	work = "work"
	// Longer than anything here takes, with the HPA's 15 s in it.
	patience = 90 * time.Second
)

// TestChart is a user's way with Helm.
func TestChart(t *testing.T) {
	before := objects(t)
	kubectl(t, "", "create", "namespace", work)
	chart := released(t, "sluice-*.tgz")
	helm(t, "install", "sluice", chart, "--namespace", system, "--create-namespace",
		"--set", "sluice.families.replicaCount=1", "--set", "sluice.grants.namespaces={"+work+"}", "--wait", "--timeout", "4m")
	kubectl(t, "", "label", "namespace", system, "pod-security.kubernetes.io/enforce=restricted")

	night := startCron(t, "clock")
	families := releasedFamilies(t)
	checkRunning(t, version, families)
	checkPolicies(t, families)

	kubectl(t, workload("checkout")+workload("worker")+scaled("worker", "kubernetes-workload", map[string]string{
		"podSelector": "app=checkout", "value": "1",
	}), "apply", "-f", "-")
	kubectl(t, "", "--namespace", work, "scale", "deployment/checkout", "--replicas=3")
	waitReplicas(t, "worker", 3)
	checkCompare(t)
	generation := deployment(t, "worker").Generation

	// As a node gets images: another name for the same ones.
	for _, process := range append([]string{"controller", "metrics-adapter"}, families...) {
		retag(t, process)
	}
	helm(t, "upgrade", "sluice", chart, "--namespace", system, "--reuse-values",
		"--set", "sluice.image.tag="+nextVersion, "--wait", "--timeout", "4m")
	checkRunning(t, nextVersion, []string{"scaler-cron", "scaler-kubernetes"})
	if got := deployment(t, "worker"); got.Generation != generation || got.Status.ReadyReplicas != 3 {
		t.Errorf("the upgrade changed worker: generation %d, was %d; %d Ready", got.Generation, generation, got.Status.ReadyReplicas)
	}

	night()
	kubectl(t, "", "--namespace", work, "scale", "deployment/checkout", "--replicas=0")
	waitReplicas(t, "worker", 0)
	kubectl(t, "", "--namespace", work, "scale", "deployment/checkout", "--replicas=3")
	waitReplicas(t, "worker", 3)

	helm(t, "uninstall", "sluice", "--namespace", system, "--wait", "--timeout", "4m")
	if got := deployment(t, "worker"); got.Status.ReadyReplicas != 3 {
		t.Errorf("uninstalling changed worker: %d Ready", got.Status.ReadyReplicas)
	}
	kubectl(t, "", "--namespace", work, "get", "scaledobject", "worker")
	checkGone(t)
	kubectl(t, "", "delete", "namespace", work, system)
	kubectl(t, "", "delete", "--filename", released(t, "crds.yaml"))
	checkObjects(t, before)
}

// TestFiles is the way without Helm: the core and one family.
func TestFiles(t *testing.T) {
	before := objects(t)
	kubectl(t, "", "create", "namespace", work)
	kubectl(t, "", "apply", "--server-side", "--filename", released(t, "core.yaml"), "--filename", released(t, "scaler-cron.yaml"))
	kubectl(t, "", "--namespace", system, "rollout", "status", "deployment", "--timeout", "4m")
	checkRunning(t, version, []string{"scaler-cron"})

	// No name of another test: HPA controllers remember for some minutes how many
	// replicas one of that name had.
	kubectl(t, workload("clock")+scaled("clock", "cron", map[string]string{
		"timezone": "UTC", "start": "0 0 * * *", "end": "59 23 * * *", "desiredReplicas": "2",
	}), "apply", "-f", "-")
	waitReplicas(t, "clock", 2)

	kubectl(t, "", "delete", "--ignore-not-found", "--filename", released(t, "sluice-uninstall.yaml"))
	checkGone(t)
	if got := deployment(t, "clock"); got.Status.ReadyReplicas != 2 {
		t.Errorf("uninstalling changed clock: %d Ready", got.Status.ReadyReplicas)
	}
	kubectl(t, "", "delete", "namespace", work)
	kubectl(t, "", "delete", "--filename", released(t, "crds.yaml"))
	checkObjects(t, before)
}

// startCron has a clock open for a minute, and returns what waits for its end.
func startCron(t *testing.T, name string) (wait func()) {
	t.Helper()
	start := time.Now().UTC().Add(10 * time.Second).Truncate(time.Minute).Add(time.Minute) // not just now
	end := start.Add(time.Minute)
	kubectl(t, workload(name)+scaled(name, "cron", map[string]string{
		"timezone": "UTC", "start": start.Format("4 15 * * *"), "end": end.Format("4 15 * * *"), "desiredReplicas": "2",
	}), "apply", "-f", "-")
	var up, down error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if up = untilReplicas(t.Context(), name, 2); up == nil {
			down = untilReplicas(t.Context(), name, 0)
		}
	}()
	return func() {
		t.Helper()
		<-ended
		if err := errors.Join(up, down); err != nil {
			t.Errorf("cron from %s to %s: %v", start.Format(time.TimeOnly), end.Format(time.TimeOnly), err)
		}
	}
}

// workload is a Deployment at 0 whose Pods wait.
func workload(name string) string {
	return fmt.Sprintf(`---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  replicas: 0
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: work, image: %[3]q, imagePullPolicy: Never}]
`, name, work, PauseImage)
}

func scaled(target, trigger string, metadata map[string]string) string {
	var text strings.Builder
	for key, value := range metadata {
		fmt.Fprintf(&text, "%s: %q, ", key, value)
	}
	return fmt.Sprintf(`---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: %s, namespace: %s}
spec:
  scaleTargetRef: {name: %s}
  pollingInterval: 1
  cooldownPeriod: 1
  triggers: [{type: %s, metadata: {%s}}]
`, target, work, target, trigger, text.String())
}

func deployment(t *testing.T, name string) *appsv1.Deployment {
	t.Helper()
	var found appsv1.Deployment
	if err := world.cluster.Client().Get(t.Context(), client.ObjectKey{Namespace: work, Name: name}, &found); err != nil {
		t.Fatal(err)
	}
	return &found
}

func waitReplicas(t *testing.T, name string, want int) {
	t.Helper()
	if err := untilReplicas(t.Context(), name, want); err != nil {
		t.Fatal(err)
	}
}

// untilReplicas waits for Pods that the kubelet says are Ready, and for no other
// ones of the workload.
func untilReplicas(ctx context.Context, name string, want int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	return waitFor(ctx, fmt.Sprintf("%d Pods of %s", want, name), func(ctx context.Context) error {
		var pods corev1.PodList
		if err := world.cluster.Client().List(ctx, &pods, client.InNamespace(work), client.MatchingLabels{"app": name}); err != nil {
			return err
		}
		var ready int
		for _, pod := range pods.Items {
			if podReady(&pod) && pod.Spec.NodeName == Name {
				ready++
			}
		}
		if ready != want || len(pods.Items) != want {
			return fmt.Errorf("%d Pods, %d Ready", len(pods.Items), ready)
		}
		return nil
	})
}

func podReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// released is the one file of the release with a name like that.
func released(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(world.repo, "bin/node/release", pattern))
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %v, %v: make test-node builds the release", pattern, files, err)
	}
	return files[0]
}

// releasedFamilies are the names of their Deployments.
func releasedFamilies(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(world.repo, "bin/node/release/scaler-*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("families: %v, %v", files, err)
	}
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	return names
}

// checkRunning waits until core and families run with images of one version,
// and nothing else does. None may have needed a second start.
func checkRunning(t *testing.T, version string, families []string) {
	t.Helper()
	want := append([]string{"controller", "metrics-adapter"}, families...)
	slices.Sort(want)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var pods corev1.PodList
	err := waitFor(ctx, "Pods of Sluice", func(ctx context.Context) error {
		if err := world.cluster.Client().List(ctx, &pods, client.InNamespace(system)); err != nil {
			return err
		}
		var got []string
		for _, pod := range pods.Items {
			process, image := pod.Labels["app.kubernetes.io/name"], pod.Spec.Containers[0].Image
			if !podReady(&pod) || pod.DeletionTimestamp != nil {
				return fmt.Errorf("Pod %s is not Ready, or ends", pod.Name)
			}
			if image != images+process+":"+version {
				return fmt.Errorf("Pod %s has image %s", pod.Name, image)
			}
			got = append(got, process)
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			return fmt.Errorf("processes %v, want %v", got, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err, describe(&pods))
	}
	for _, pod := range pods.Items {
		for _, status := range pod.Status.ContainerStatuses {
			if status.RestartCount != 0 {
				t.Errorf("%s began %d times: %+v", pod.Name, status.RestartCount+1, status.LastTerminationState)
			}
		}
	}
}

func describe(pods *corev1.PodList) string {
	var text strings.Builder
	for _, pod := range pods.Items {
		fmt.Fprintf(&text, "\n%s %s", pod.Name, pod.Status.Phase)
		for _, status := range pod.Status.ContainerStatuses {
			fmt.Fprintf(&text, " %+v %+v", status.State, status.LastTerminationState)
		}
	}
	return text.String()
}

// checkPolicies: the API server has a policy for each process.
func checkPolicies(t *testing.T, families []string) {
	t.Helper()
	var policies networkingv1.NetworkPolicyList
	if err := world.cluster.Client().List(t.Context(), &policies, client.InNamespace(system)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, policy := range policies.Items {
		got = append(got, policy.Name)
	}
	for _, family := range families {
		if !slices.Contains(got, family) {
			t.Errorf("no NetworkPolicy %s among %v", family, got)
		}
	}
}

// checkCompare has the plugin reach the controllers' Pods by way of the API
// server and the kubelet. There is no KEDA to compare with, and it says so.
func checkCompare(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(world.repo, "bin/kubectl-sluice"), "compare")
	cmd.Env = environment()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "there is nobody to compare it with") {
		t.Errorf("kubectl sluice compare: %v\n%s", err, out)
	}
}

func retag(t *testing.T, process string) {
	t.Helper()
	if _, err := world.node.Ctr(t.Context(), "images", "tag", "--force", images+process+":"+version, images+process+":"+nextVersion); err != nil {
		t.Fatal(err)
	}
}

// checkGone: no container of Sluice's is left on the node.
func checkGone(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := waitFor(ctx, "the end of all containers", func(ctx context.Context) error {
		list, err := world.node.Ctr(ctx, "containers", "list")
		if err == nil && strings.Contains(list, images) {
			err = errors.New(list)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// objects are all of the cluster's, but what comes and goes by itself.
func objects(t *testing.T) []string {
	t.Helper()
	var kinds []string
	for _, kind := range strings.Fields(kubectl(t, "", "api-resources", "--verbs=list", "--output=name")) {
		if !strings.HasPrefix(kind, "events") {
			kinds = append(kinds, kind)
		}
	}
	all := strings.Split(kubectl(t, "", "get", strings.Join(kinds, ","), "--all-namespaces", "--no-headers",
		"--output=custom-columns=:.kind,:.metadata.namespace,:.metadata.name"), "\n")
	slices.Sort(all)
	return slices.Compact(all)
}

// checkObjects: there is no object that was not there before.
func checkObjects(t *testing.T, before []string) {
	t.Helper()
	var left []string
	for _, object := range objects(t) {
		// The node's own lease may not have been there yet.
		if !slices.Contains(before, object) && !strings.Contains(object, corev1.NamespaceNodeLease) {
			left = append(left, strings.Join(strings.Fields(object), " "))
		}
	}
	if len(left) > 0 {
		t.Errorf("left after uninstalling:\n%s", strings.Join(left, "\n"))
	}
}

func environment() []string { return append(os.Environ(), "KUBECONFIG="+world.cluster.Kubeconfig()) }

func kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	return run(t, world.cluster.Kubectl(), stdin, args...)
}

func helm(t *testing.T, args ...string) {
	t.Helper()
	run(t, filepath.Join(world.repo, "bin/tools/helm"), "", args...)
}

// run runs a program as a user of the cluster, and returns what it prints.
func run(t *testing.T, program, stdin string, args ...string) string {
	t.Helper()
	began := time.Now()
	cmd := exec.CommandContext(t.Context(), program, args...) //nolint:gosec // of this repository
	cmd.Env = append(environment(), "HELM_CACHE_HOME="+Folder(), "HELM_CONFIG_HOME="+Folder(), "HELM_DATA_HOME="+Folder())
	cmd.Stdin = strings.NewReader(stdin)
	var said, wrong bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &wrong
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(program), strings.Join(args, " "), err, &said, &wrong)
	}
	t.Logf("%s %s: %.1fs", filepath.Base(program), strings.Join(args[:min(3, len(args))], " "), time.Since(began).Seconds())
	return said.String()
}
