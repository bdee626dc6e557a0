package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// TestHelm has the real Helm install the chart, upgrade it, roll it back,
// uninstall it and install it again, while an object has replicas and another
// lacks its family. A watch sees that nothing of all that changes the replicas,
// and the HPA stays the same one.
func TestHelm(t *testing.T) {
	t.Parallel()
	c := anotherCluster(t)
	h := newHelm(c, "sluice", "sluice-system")

	// What is somebody else's, and who may not, is refused in plain words, and
	// nothing is installed.
	for name, tt := range map[string]struct {
		there  string
		delete []string
		args   []string
		want   string
	}{
		"another adapter": {anotherAdapter, []string{"apiservice", "v1beta1.external.metrics.k8s.io"}, nil, "APIService v1beta1.external.metrics.k8s.io leads to Service elsewhere/another"},
		"another Sluice":  {anotherSluice, []string{"clusterrolebinding", "sluice-controller"}, nil, "Sluice is in namespace other already, and a cluster has one: helm uninstall s -n other"},
		"KEDA":            {kedasDeployment, []string{"namespace", "keda"}, nil, "KEDA runs in namespace keda, and a cluster has one of both: helm upgrade k <this chart> --reuse-values -n keda"},
		"nobody's rights": {"", nil, []string{"--kube-as-user=nobody"}, "forbidden"},
		"no right to roles": {
			installers(""), []string{"clusterrole,clusterrolebinding", "installer"}, []string{"--kube-as-user=installer"},
			`User "installer" cannot delete resource "clusterroles"`,
		},
		"rights to less": {
			installers("rbac.authorization.k8s.io"), []string{"clusterrole,clusterrolebinding", "installer"}, []string{"--kube-as-user=installer"},
			"attempting to grant RBAC permissions not currently held",
		},
	} {
		if tt.there != "" {
			c.apply(tt.there)
		}
		if text, err := h.try("install", append([]string{"--create-namespace"}, tt.args...)...); err == nil || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %v, %s", name, err, text)
		}
		if images := h.images(); len(images) > 0 {
			t.Errorf("%s: half installed: %v", name, images)
		}
		c.checkNoRoles()
		_, _ = h.try("uninstall") // which is there where a hook was refused
		if tt.delete != nil {
			c.kubectl(append([]string{"delete"}, tt.delete...)...)
		}
	}

	// CRDs that somebody applied are nobody's until they are said to be the release's.
	c.kubectlApply(filepath.Join(c.repo(), "deploy/crds"))
	if text, err := h.try("install", "--create-namespace"); err == nil || !strings.Contains(text, `CustomResourceDefinition "`) || len(h.images()) > 0 {
		t.Errorf("CRDs of others: %v, %s, installed: %v", err, text, h.images())
	}
	h.run("install", "--create-namespace", "--take-ownership", "--set", "families.select=none", "--set", "families.cron.enabled=true")
	h.checkFamilies("cron")
	c.apply("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n---" + scaledByCron)
	c.apply(scaledByWorkload)
	c.waitReplicas("always", 3)
	c.wait("the family that is missing", func() (bool, string) {
		text := c.condition("follower", "Ready")
		return strings.Contains(text, "Service scaler-kubernetes-workload not found"), text
	})
	hpa := c.hpa("always")
	replicas := c.watchReplicas("always")

	notes := h.run("upgrade", "--set", "sluice.image.tag=v2", "--set", "sluice.grants.namespaces={shop}")
	if !strings.Contains(notes, "cron, kubernetes, which the cluster's ScaledObjects and ScaledJobs need") {
		t.Errorf("notes = %s", notes)
	}
	h.checkFamilies("cron", "kubernetes")
	c.waitReplicas("follower", 2)
	for name, image := range h.images() {
		if !strings.HasSuffix(image, ":v2") {
			t.Errorf("image of %s = %s", name, image)
		}
	}

	// What is wrong is refused by its name, and nothing is installed of it.
	if text, err := h.try("upgrade", "--set", "operator.replicas=2"); err == nil || !strings.Contains(text, "replicas") {
		t.Errorf("wrong key: %v, %s", err, text)
	}
	h.checkFamilies("cron", "kubernetes")

	h.run("rollback", "1")
	h.checkFamilies("cron")
	c.checkHPA("always", hpa)

	// It stays as it was while there is no Sluice.
	c.apply(doomed)
	for _, name := range []string{"plain", "restored"} {
		c.wait("the HPA of "+name, func() (bool, string) {
			err := c.Client().Get(t.Context(), client.ObjectKey{Namespace: "doomed", Name: "keda-hpa-" + name}, &autoscalingv2.HorizontalPodAutoscaler{})
			return err == nil, fmt.Sprint(err)
		})
	}
	finalizers := c.kubectl("get", "scaledobjects,scaledjobs,triggerauthentications", "-n", "doomed", "-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.finalizers}{"\n"}{end}`)
	if want := []string{"plain", "restored", `["finalizer.keda.sh"]`, "plain", "plain"}; !slices.Equal(strings.Fields(finalizers), want) {
		t.Errorf("finalizers = %s, want one on what is to be restored alone", finalizers)
	}
	if text, code := c.sluice("", "uninstall", "--yes"); code != 1 || !strings.Contains(text, "helm uninstall sluice --namespace sluice-system") {
		t.Errorf("the plugin takes a release of Helm's apart: %d, %s", code, text)
	}
	h.run("uninstall")
	c.checkNothingIsLeft()
	// As the guide says, where the controller is gone.
	if text, code := c.sluice("", "uninstall", "--yes"); code != 0 || !strings.Contains(text, "take the finalizer off ScaledObject doomed/restored") {
		t.Errorf("%d, %s", code, text)
	}
	c.kubectl("delete", "namespace", "doomed", "--timeout=60s")
	c.checkHPA("always", hpa)
	c.waitReplicas("always", 3)

	h.run("install", "--set", "families.kubernetes.enabled=false")
	h.checkFamilies("cron")
	c.wait("the object to be looked after again", func() (bool, string) {
		text := c.condition("follower", "Ready")
		return strings.Contains(text, "Service scaler-kubernetes-workload not found"), text
	})
	c.checkHPA("always", hpa)
	if seen := replicas(); !slices.Equal(seen, []int32{3}) {
		t.Errorf("replicas = %v, want 3 throughout", seen)
	}
}

// installers may do what installing takes, but for roles; group is a further one.
func installers(group string) string {
	groups := []string{"", "apps", "policy", "networking.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "admissionregistration.k8s.io", "scheduling.k8s.io"}
	if group != "" {
		groups = append(groups, group)
	}
	text, _ := json.Marshal(groups) // of texts
	return `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: installer}
rules:
- {apiGroups: ["*"], resources: ["*"], verbs: [get, list, watch]}
- {apiGroups: ` + string(text) + `, resources: ["*"], verbs: [create, update, patch, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: installer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: installer}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: installer}]
`
}

const scaledByWorkload = `
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: shop, name: follower}
spec:
  replicas: 0
  selector: {matchLabels: {app: follower}}
  template: {metadata: {labels: {app: follower}}, spec: {containers: [{name: app, image: app}]}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {namespace: shop, name: follower}
spec:
  scaleTargetRef: {name: follower}
  pollingInterval: 1
  maxReplicaCount: 2
  triggers: [{type: kubernetes-workload, metadata: {podSelector: app=always, value: "1"}}]
`

// doomed is a namespace that goes while there is no controller.
const doomed = `
{apiVersion: v1, kind: Namespace, metadata: {name: doomed}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: doomed, name: plain}
spec:
  selector: {matchLabels: {app: plain}}
  template: {metadata: {labels: {app: plain}}, spec: {containers: [{name: app, image: app}]}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {namespace: doomed, name: plain}
spec:
  scaleTargetRef: {name: plain}
  triggers: [{type: cron, metadata: {timezone: UTC, start: 0 0 1 1 *, end: 59 23 31 12 *, desiredReplicas: "2"}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: doomed, name: restored}
spec:
  selector: {matchLabels: {app: restored}}
  template: {metadata: {labels: {app: restored}}, spec: {containers: [{name: app, image: app}]}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {namespace: doomed, name: restored}
spec:
  scaleTargetRef: {name: restored}
  advanced: {restoreToOriginalReplicaCount: true}
  triggers: [{type: cron, metadata: {timezone: UTC, start: 0 0 1 1 *, end: 59 23 31 12 *, desiredReplicas: "2"}}]
---
apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata: {namespace: doomed, name: plain}
spec:
  jobTargetRef: {template: {spec: {restartPolicy: Never, containers: [{name: app, image: app}]}}}
  maxReplicaCount: 1
  triggers: [{type: cron, metadata: {timezone: UTC, start: 0 0 1 1 *, end: 59 23 31 12 *, desiredReplicas: "1"}}]
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: {namespace: doomed, name: plain}
spec: {secretTargetRef: [{parameter: host, name: none, key: host}]}
`

const anotherAdapter = `
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.external.metrics.k8s.io}
spec:
  group: external.metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  service: {name: another, namespace: elsewhere, port: 443}
`

// anotherSluice is what says where one is, and kedasDeployment a KEDA that Helm
// installed.
const (
	anotherSluice = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: sluice-controller, annotations: {meta.helm.sh/release-name: s, meta.helm.sh/release-namespace: other}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sluice-controller}
subjects: [{kind: ServiceAccount, name: controller, namespace: other}]
`
	kedasDeployment = `
{apiVersion: v1, kind: Namespace, metadata: {name: keda}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: keda, name: keda-operator, annotations: {meta.helm.sh/release-name: k, meta.helm.sh/release-namespace: keda}}
spec:
  replicas: 0
  selector: {matchLabels: {app: keda-operator}}
  template: {metadata: {labels: {app: keda-operator}}, spec: {containers: [{name: app, image: app}]}}
`
)

// checkNoRoles checks that no role of Sluice was made.
func (c another) checkNoRoles() {
	c.t.Helper()
	if roles := c.kubectl("get", "clusterroles,serviceaccounts,crds", "-A", "-l", "app.kubernetes.io/part-of=sluice", "-o", "name"); roles != "" {
		c.t.Errorf("half installed: %s", roles)
	}
}

// helm runs Helm against a cluster whose Pods are processes.
type helm struct {
	another
	release, namespace   string
	program, chart, home string
}

func newHelm(c another, release, namespace string) helm {
	c.t.Helper()
	repo, err := localcluster.FindRepo(".")
	if err != nil {
		c.t.Fatal(err)
	}
	return helm{
		another: c, release: release, namespace: namespace,
		program: filepath.Join(repo, "bin/tools/helm"), chart: filepath.Join(repo, "deploy/helm/sluice"), home: c.t.TempDir(),
	}
}

// few is what a small machine has.
const few = `
operator: {replicaCount: 1}
metricsServer: {replicaCount: 1}
sluice: {families: {replicaCount: 1}}
`

func (h helm) run(command string, more ...string) string {
	h.t.Helper()
	text, err := h.try(command, more...)
	if err != nil {
		h.t.Fatalf("helm %s %s: %v\n%s", command, more, err, text)
	}
	return text
}

// runWith runs a command with another chart, whose Pods run nothing.
func (h helm) runWith(chart, command string, more ...string) {
	h.t.Helper()
	args := append([]string{command, h.release, chart, "--namespace", h.namespace, "--kubeconfig", h.Kubeconfig()}, more...)
	cmd := exec.CommandContext(h.t.Context(), h.program, args...) //nolint:gosec // a program of this repository
	cmd.Env = h.environment()
	if text, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("helm %s: %v\n%s", args, err, text)
	}
}

// environment has Helm keep what it keeps in a folder of the test's.
func (h helm) environment() []string {
	return append(os.Environ(), "HELM_CACHE_HOME="+h.home, "HELM_CONFIG_HOME="+h.home, "HELM_DATA_HOME="+h.home)
}

// renderer is a program that Helm gives its manifests and that returns what the
// test made of them, by way of two files.
const renderer = `#!/bin/sh
set -e
cat >"$0.asked.part"
mv "$0.asked.part" "$0.asked"
for _ in $(seq 600); do
	[ ! -e "$0.answer" ] || exec cat "$0.answer"
	sleep 0.1
done
exit 1
`

// try runs a command of Helm's on the release, and waits until what it changed
// is ready or gone. Pods become processes on their way to the API server.
func (h helm) try(command string, more ...string) (string, error) {
	h.t.Helper()
	dir := h.t.TempDir()
	program, values := filepath.Join(dir, "render"), filepath.Join(dir, "values.yaml")
	args := []string{command, h.release}
	if command == "install" || command == "upgrade" {
		for file, text := range map[string]string{program: renderer, values: few} {
			if err := os.WriteFile(file, []byte(text), 0o700); err != nil { //nolint:gosec // one of them is a program
				h.t.Fatal(err)
			}
		}
		args = append(args, h.chart, "--values", values, "--post-renderer", program)
	}
	args = append(args, more...)
	args = append(args, "--namespace", h.namespace, "--kubeconfig", h.Kubeconfig(), "--wait", "--timeout", "2m")
	cmd := exec.CommandContext(h.t.Context(), h.program, args...)
	cmd.Env = h.environment()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return out.String(), err
		case <-tick.C:
		}
		if err := h.answer(program); err != nil {
			_ = cmd.Process.Kill()
			return out.String(), errors.Join(err, <-ended)
		}
	}
}

// answer makes processes of what the renderer was asked, if it was.
func (h helm) answer(program string) error {
	asked, err := os.ReadFile(program + ".asked")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	objects, err := localcluster.Decode(asked)
	if err != nil {
		return err
	}
	objects, err = h.Processes(h.t.Context(), localcluster.Installation{Objects: objects})
	if err != nil {
		return err
	}
	var text bytes.Buffer
	for _, o := range objects {
		one, err := json.Marshal(o)
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "---\n%s\n", one)
	}
	if err := os.WriteFile(program+".part", text.Bytes(), 0o600); err != nil {
		return err
	}
	if err := os.Remove(program + ".asked"); err != nil {
		return err
	}
	return os.Rename(program+".part", program+".answer")
}

// checkFamilies checks which families there are, and that all that runs is
// ready.
func (h helm) checkFamilies(want ...string) {
	h.t.Helper()
	var got []string
	for name := range h.images() {
		if family, is := strings.CutPrefix(name, "scaler-"); is {
			got = append(got, family)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		h.t.Errorf("families = %v, want %v", got, want)
	}
}

// images are those of the release's Deployments.
func (h helm) images() map[string]string {
	h.t.Helper()
	var all appsv1.DeploymentList
	if err := h.Client().List(h.t.Context(), &all, client.InNamespace(h.namespace)); err != nil {
		h.t.Fatal(err)
	}
	images := map[string]string{}
	for _, d := range all.Items {
		images[d.Name] = d.Spec.Template.Spec.Containers[0].Image
	}
	return images
}

// hpa returns the HPA of an object in namespace shop.
func (c another) hpa(name string) *autoscalingv2.HorizontalPodAutoscaler {
	c.t.Helper()
	hpa := &autoscalingv2.HorizontalPodAutoscaler{}
	c.wait("the HPA of "+name, func() (bool, string) {
		err := c.Client().Get(c.t.Context(), client.ObjectKey{Namespace: "shop", Name: "keda-hpa-" + name}, hpa)
		return err == nil, fmt.Sprint(err)
	})
	return hpa
}

// checkHPA checks that an HPA is the one that it was.
func (c another) checkHPA(name string, before *autoscalingv2.HorizontalPodAutoscaler) {
	c.t.Helper()
	if now := c.hpa(name); now.UID != before.UID {
		c.t.Errorf("HPA of %s was made again: %s, before %s", name, now.UID, before.UID)
	}
}

// watchReplicas sees every replica count that a Deployment in namespace shop is
// given, and returns what tells the different ones in their order.
func (c another) watchReplicas(name string) func() []int32 {
	t := c.t
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	watching, err := clients.AppsV1().Deployments("shop").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	var seen []int32
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for event := range watching.ResultChan() {
			if d, is := event.Object.(*appsv1.Deployment); is && (len(seen) == 0 || seen[len(seen)-1] != *d.Spec.Replicas) {
				seen = append(seen, *d.Spec.Replicas)
			}
		}
	}()
	stop := sync.OnceFunc(func() {
		watching.Stop()
		cancel()
		<-ended
	})
	t.Cleanup(stop)
	return func() []int32 {
		stop()
		return seen
	}
}

// checkNothingIsLeft looks for what the release had, after it is gone: the kinds
// of users' objects alone stay.
func (c another) checkNothingIsLeft() {
	c.t.Helper()
	ours := client.MatchingLabels{"app.kubernetes.io/part-of": "sluice"}
	for _, kind := range []schema.GroupVersionKind{
		{Group: "apps", Version: "v1", Kind: "DeploymentList"},
		{Version: "v1", Kind: "ServiceList"},
		{Version: "v1", Kind: "ServiceAccountList"},
		{Version: "v1", Kind: "SecretList"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRoleList"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRoleBindingList"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleList"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBindingList"},
		{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicyList"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfigurationList"},
		{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIServiceList"},
	} {
		left := &unstructured.UnstructuredList{}
		left.SetGroupVersionKind(kind)
		if err := c.Client().List(c.t.Context(), left, ours); err != nil {
			c.t.Fatal(err)
		}
		for _, o := range left.Items {
			c.t.Errorf("%s %s/%s is left", o.GetKind(), o.GetNamespace(), o.GetName())
		}
	}
	crds := c.kubectl("get", "crds", "-o", "name")
	for _, name := range []string{"scaledobjects", "scaledjobs", "triggerauthentications", "clustertriggerauthentications"} {
		if !strings.Contains(crds, "/"+name+".keda.sh") {
			c.t.Errorf("CRD of %s is gone: %s", name, crds)
		}
	}
	c.wait("the namespace of keys to go", func() (bool, string) {
		err := c.Client().Get(c.t.Context(), client.ObjectKey{Name: "sluice-pki"}, &corev1.Namespace{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
}

// TestTheChartKnowsTheFlags asks the processes for the flags that the chart lets
// extraArgs give them.
func TestTheChartKnowsTheFlags(t *testing.T) {
	t.Parallel()
	repo, err := localcluster.FindRepo(".")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(repo, "deploy/helm/sluice/files/flags.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	lists, err := localcluster.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	for values, process := range map[string]string{"keda": "controller", "metricsAdapter": "metrics-adapter"} {
		flags, _, err := unstructured.NestedStringSlice(lists[0].Object, values)
		if err != nil || len(flags) == 0 {
			t.Fatalf("flags of %s = %v, %v", values, flags, err)
		}
		help, _ := exec.CommandContext(t.Context(), filepath.Join(repo, "bin", process), "--help").CombinedOutput() //nolint:gosec // one of ours
		for _, name := range flags {
			if !regexp.MustCompile(`(?m)^ +--?` + regexp.QuoteMeta(name) + `\b`).Match(help) {
				t.Errorf("%s has no flag %s:\n%s", process, name, help)
			}
		}
	}
}

// TestTheChartGivesArgumentsThatAreFlags has the chart render values that set
// every argument that it knows of, and each process read its own.
func TestTheChartGivesArgumentsThatAreFlags(t *testing.T) {
	t.Parallel()
	repo, err := localcluster.FindRepo(".")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(repo, "deploy/testdata/helm-values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Values json.RawMessage `json:"values"`
	}
	if err := yaml.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		values := filepath.Join(t.TempDir(), "values.json")
		if err := os.WriteFile(values, c.Values, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), filepath.Join(repo, "bin/tools/helm"), "template", "sluice", filepath.Join(repo, "deploy/helm/sluice"), "--values", values) //nolint:gosec // a program of this repository
		rendered, err := cmd.Output()
		if err != nil {
			t.Fatalf("values %d: %v", i, err)
		}
		objects, err := localcluster.Decode(rendered)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
			if len(containers) == 0 {
				continue
			}
			container, _ := containers[0].(map[string]any)
			args, _, _ := unstructured.NestedStringSlice(container, "args")
			process, _, _ := strings.Cut(path.Base(fmt.Sprint(container["image"])), ":")
			// It reads its arguments, says its version and ends.
			out, err := exec.CommandContext(t.Context(), filepath.Join(repo, "bin", process), append(args, "--version")...).CombinedOutput() //nolint:gosec // one of ours
			if err != nil {
				t.Errorf("%s %q: %v\n%s", process, args, err, out)
			}
		}
	}
}
