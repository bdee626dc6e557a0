package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// TestSwitchFromKEDAInPlace turns a release of KEDA's into Sluice by an upgrade
// with this chart, and back by a rollback. There are 50 objects as KEDA leaves
// them: at zero, at N, paused, in fallback, with an HPA that was somebody else's,
// and ScaledJobs whose Jobs run. A watch sees that no replica changes on the way
// there or back; no object is lost, no HPA is made again, no Job is started twice.
func TestSwitchFromKEDAInPlace(t *testing.T) {
	t.Parallel()
	c := anotherCluster(t)
	h := newHelm(c, "keda", "keda")
	keda := h.keda()

	h.runWith(keda, "install", "--create-namespace")
	before, record := c.filled()

	notes := h.run("upgrade", "--reuse-values")
	if !strings.Contains(notes, "goes on under KEDA's names") || !strings.Contains(notes, "run as keda-operator") {
		t.Errorf("notes = %s", notes)
	}
	for name, image := range h.images() {
		if strings.Contains(image, "kedacore") {
			t.Errorf("Deployment %s still runs %s", name, image)
		}
	}
	if images := h.images(); images["keda-operator"] == "" || images["keda-operator-metrics-apiserver"] == "" || images["controller"] != "" {
		t.Errorf("Deployments = %v", images)
	}
	c.checkServed(before)
	c.checkIdentities(before)

	h.run("rollback", "1")
	if image := h.images()["keda-operator"]; !strings.Contains(image, "kedacore") {
		t.Errorf("after the rollback keda-operator runs %s", image)
	}
	c.checkIdentities(before)
	c.checkReplicas(record)
}

// TestSwitchFromKEDAsFileInPlace does the same to a KEDA that its one YAML file
// installed, with the commands of docs/migrate.md: there, and back.
func TestSwitchFromKEDAsFileInPlace(t *testing.T) {
	t.Parallel()
	c := anotherCluster(t)
	const keda = "testdata/keda-file/keda.yaml"

	c.kubectlApply(filepath.Join(c.repo(), "deploy/crds"))
	c.kubectl("label", "crd", "--all", kedasLabel)
	c.kubectl("apply", "--server-side", "-f", keda)
	c.kedaSigns()
	before, record := c.filled()

	sluice := c.processes("deploy/components/keda-in-place", "cron", "http")
	c.kubectl("delete", "validatingwebhookconfiguration", "keda-admission")
	c.kubectl("apply", "--server-side", "--force-conflicts", "-f", sluice)
	c.kubectl("-n", "keda", "rollout", "status", "deployment", "--timeout=2m")
	c.deleteLabelled(kedasLabel)
	c.checkServed(before)
	c.checkIdentities(before)
	for kind, want := range map[string]string{
		"deployment -n keda":                          "keda-metrics-apiserver keda-operator scaler-cron scaler-http",
		"service -n keda":                             "keda-admission-webhooks keda-metrics-apiserver scaler-cron scaler-metrics-api",
		"serviceaccount -n keda":                      "default keda-metrics-server keda-operator keda-webhook sluice-controller",
		"clusterrolebinding -l " + kedasLabel:         "",
		"rolebinding -n kube-system -l " + kedasLabel: "",
		"crd -l " + kedasLabel:                        "cloudeventsources.eventing.keda.sh clustercloudeventsources.eventing.keda.sh clustertriggerauthentications.keda.sh scaledjobs.keda.sh scaledobjects.keda.sh triggerauthentications.keda.sh",
	} {
		if got := c.names(kind); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
	if got := c.kubectl("get", "deployment", "-n", "keda", "-o", "jsonpath={.items[*].spec.template.spec.containers[*].image}"); strings.Contains(got, "kedacore") {
		t.Errorf("images: %s", got)
	}
	if got := c.webhooks(); strings.Contains(got, "cloudeventsource") || !strings.Contains(got, "vscaledobject.kb.io") {
		t.Errorf("webhooks: %s", got)
	}
	// Clouds go on trusting the account.
	if got := c.kubectl("get", "serviceaccount", "keda-operator", "-n", "keda", "-o", "jsonpath={.metadata.annotations}"); !strings.Contains(got, "role/keda") {
		t.Errorf("annotations of the account: %s", got)
	}

	c.kubectl("delete", "validatingwebhookconfiguration", "keda-admission")
	c.kubectl("apply", "--server-side", "--force-conflicts", "-f", keda)
	c.kubectl("-n", "keda", "rollout", "status", "deployment/keda-operator", "deployment/keda-metrics-apiserver", "--timeout=2m")
	c.deleteLabelled(sluicesLabel)
	// No namespace goes before the metrics server answers, and KEDA's runs nothing
	// here.
	c.kubectl("delete", "apiservice", "v1beta1.external.metrics.k8s.io")
	c.kubectl("delete", "namespace", "sluice-pki")
	if got := c.names("deployment -n keda"); got != "keda-admission keda-metrics-apiserver keda-operator" {
		t.Errorf("Deployments after the way back: %s", got)
	}
	if got := c.kubectl("get", "deployment", "-n", "keda", "-o", "jsonpath={.items[*].spec.template.spec.containers[*].image}"); strings.Contains(got, "sluice") || strings.Count(got, "kedacore") != 3 {
		t.Errorf("images after the way back: %s", got)
	}
	if got := c.webhooks(); !strings.Contains(got, "vcloudeventsource.kb.io") || strings.Contains(got, "triggerauthentication") {
		t.Errorf("webhooks after the way back: %s", got)
	}
	c.checkNothingIsLeft()
	c.checkIdentities(before)
	c.checkReplicas(record)
}

const (
	kedasLabel   = "app.kubernetes.io/part-of=keda-operator"
	sluicesLabel = "app.kubernetes.io/part-of=sluice"
)

// kedaSigns writes authorities as KEDA's operator does, and one more webhook by
// another tool: fields that are somebody else's from then on.
func (c another) kedaSigns() {
	c.t.Helper()
	bundle := base64.StdEncoding.EncodeToString(c.Config().CAData)
	for kind, patch := range map[string]string{
		"apiservice v1beta1.external.metrics.k8s.io": `[{"op": "add", "path": "/spec/caBundle", "value": "` + bundle + `"}]`,
		"validatingwebhookconfiguration keda-admission": `[{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "` + bundle + `"},
			{"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": "` + bundle + `"},
			{"op": "add", "path": "/webhooks/-", "value": {"name": "vclustercloudeventsource.kb.io", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
				"clientConfig": {"service": {"name": "keda-admission-webhooks", "namespace": "keda", "path": "/validate-eventing-keda-sh-v1alpha1-clustercloudeventsource"}},
				"rules": [{"apiGroups": ["eventing.keda.sh"], "apiVersions": ["v1alpha1"], "operations": ["CREATE", "UPDATE"], "resources": ["clustercloudeventsources"]}]}}]`,
	} {
		c.kubectl(append(append([]string{"patch"}, strings.Fields(kind)...), "--type=json", "--field-manager=keda", "-p", patch)...)
	}
}

// deleteLabelled deletes what docs/migrate.md says is left over: never a CRD.
func (c another) deleteLabelled(label string) {
	c.t.Helper()
	c.kubectl("delete", "-n", "keda", "-l", label, "deployment,service,role,rolebinding,secret,networkpolicy,poddisruptionbudget")
	if label == sluicesLabel { // clouds may know KEDA's
		c.kubectl("delete", "-n", "keda", "-l", label, "serviceaccount")
	}
	c.kubectl("delete", "-n", "kube-system", "-l", label, "rolebinding")
	c.kubectl("delete", "-l", label, "clusterrole,clusterrolebinding")
}

// processes is a file with the core, some families and a component of
// kustomize's, whose Pods run as processes.
func (c another) processes(component string, families ...string) string {
	c.t.Helper()
	dir, err := filepath.EvalSymlinks(c.t.TempDir())
	if err != nil {
		c.t.Fatal(err)
	}
	deploy, err := filepath.Rel(dir, filepath.Join(c.repo(), "deploy"))
	if err != nil {
		c.t.Fatal(err)
	}
	layer, few := "resources:\n- "+deploy+"/core\n", map[string]int32{"controller": 1, "metrics-adapter": 1}
	for _, family := range families {
		layer += "- " + deploy + "/scalers/" + family + "\n"
		few["scaler-"+family] = 1
	}
	layer += "components:\n- " + deploy + "/images\n- " + filepath.Join(deploy, "..", component) + "\n"
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(layer), 0o600); err != nil {
		c.t.Fatal(err)
	}
	objects, err := c.Processes(c.t.Context(), localcluster.Installation{Overlay: dir, Replicas: few})
	if err != nil {
		c.t.Fatal(err)
	}
	var text strings.Builder
	for _, o := range objects {
		one, err := json.Marshal(o)
		if err != nil {
			c.t.Fatal(err)
		}
		fmt.Fprintf(&text, "---\n%s\n", one)
	}
	file := filepath.Join(dir, "sluice.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return file
}

func (c another) repo() string {
	c.t.Helper()
	repo, err := localcluster.FindRepo(".")
	if err != nil {
		c.t.Fatal(err)
	}
	return repo
}

// names are those of the objects that kubectl get lists.
func (c another) names(what string) string {
	c.t.Helper()
	return c.kubectl(append(append([]string{"get"}, strings.Fields(what)...), "-o", "jsonpath={.items[*].metadata.name}")...)
}

func (c another) webhooks() string {
	c.t.Helper()
	return c.kubectl("get", "validatingwebhookconfiguration", "keda-admission", "-o", "jsonpath={.webhooks[*].name}")
}

// kedasWord is what KEDA says of an object that is ready.
const kedasWord = "is defined correctly"

// filled makes 50 objects as KEDA leaves them in namespace shop, and returns who
// they are and what watches their replicas from now on.
func (c another) filled() (map[string]types.UID, *localcluster.ReplicaRecorder) {
	c.t.Helper()
	c.apply("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
	const always, never = `{timezone: UTC, start: 0 0 1 1 *, end: 59 23 31 12 *, desiredReplicas: "%d"}`, `{timezone: UTC, start: 0 0 29 2 *, end: 1 0 29 2 *, desiredReplicas: "%d"}`
	for i := range 18 {
		c.kedas(fmt.Sprintf("resting-%02d", i), 0, fmt.Sprintf("triggers: [{type: cron, metadata: "+never+"}]", 3), "")
		c.kedas(fmt.Sprintf("working-%02d", i), 3, fmt.Sprintf("triggers: [{type: cron, metadata: "+always+"}]", 3), "")
	}
	for i := range 3 {
		c.kedas(fmt.Sprintf("paused-%02d", i), 2, fmt.Sprintf("triggers: [{type: cron, metadata: "+always+"}]", 5), `autoscaling.keda.sh/paused-replicas: "2"`)
		c.kedas(fmt.Sprintf("fallen-%02d", i), 4, `
  fallback: {failureThreshold: 1, replicas: 4}
  triggers: [{type: metrics-api, metadata: {url: "http://192.0.2.1/queue", valueLocation: waiting, targetValue: "5"}}]`, "")
		c.kedas(fmt.Sprintf("handed-%02d", i), 3, fmt.Sprintf(`
  advanced: {horizontalPodAutoscalerConfig: {name: of-the-user-%02d}}
  triggers: [{type: cron, metadata: `+always+`}]`, i, 3), `scaledobject.keda.sh/transfer-hpa-ownership: "true"`)
	}
	for i := range 5 {
		c.runningJob(fmt.Sprintf("job-%02d", i))
	}

	record, err := c.RecordReplicas(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(record.Stop)
	before := c.identities()
	if len(before) != 45+45+42+5+5 {
		c.t.Fatalf("%d objects of KEDA's: %v", len(before), slices.Sorted(maps.Keys(before)))
	}
	return before, record
}

// checkServed waits until Sluice has a word of its own on every object.
func (c another) checkServed(before map[string]types.UID) {
	c.t.Helper()
	for name := range before {
		if object, is := strings.CutPrefix(name, "ScaledObject "); is && !strings.HasPrefix(object, "fallen") {
			c.wait(object+" to be served by Sluice", func() (bool, string) {
				text := c.condition(object, "Ready")
				served := strings.Contains(text, "ready") || strings.HasPrefix(object, "paused") && strings.Contains(text, "paused")
				return served && !strings.Contains(text, kedasWord), text
			})
		}
	}
	c.wait("the HPA of an object at work to have its metric", func() (bool, string) {
		hpa := c.hpa("working-00")
		return len(hpa.Status.CurrentMetrics) == 1, fmt.Sprint(hpa.Status)
	})
}

// checkReplicas checks that nobody changed a replica count.
func (c another) checkReplicas(record *localcluster.ReplicaRecorder) {
	c.t.Helper()
	for _, change := range record.Changes() {
		if change.Namespace == "shop" {
			c.t.Errorf("replicas: %v", change)
		}
	}
}

// keda is the folder of a chart that stands in for KEDA's.
func (h helm) keda() string {
	h.t.Helper()
	repo, dir := filepath.Dir(filepath.Dir(filepath.Dir(h.chart))), h.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/keda")); err != nil {
		h.t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "crds-of-keda"), os.DirFS(filepath.Join(h.chart, "files/crds"))); err != nil {
		h.t.Fatal(err)
	}
	values, err := os.ReadFile(filepath.Join(repo, "deploy/testdata/keda-defaults.yaml"))
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "values.yaml"), values, 0o600); err != nil {
		h.t.Fatal(err)
	}
	return dir
}

// kedas makes a Deployment, and a ScaledObject of it with label, finalizer, HPA
// and status as KEDA leaves them.
func (c another) kedas(name string, replicas int32, spec, annotation string) {
	c.t.Helper()
	c.apply(fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: shop, name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template: {metadata: {labels: {app: %[1]s}}, spec: {containers: [{name: app, image: app}]}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {namespace: shop, name: %[1]s, labels: {scaledobject.keda.sh/name: %[1]s}, finalizers: [finalizer.keda.sh], annotations: {%[4]s}}
spec:
  scaleTargetRef: {name: %[1]s}
  cooldownPeriod: 3600
  maxReplicaCount: 20
  %[3]s`, name, replicas, strings.TrimSpace(spec), annotation))
	so := object{c.t, "shop", name}.scaledObject()
	if err := c.Client().Get(c.t.Context(), client.ObjectKeyFromObject(so), so); err != nil {
		c.t.Fatal(err)
	}
	triggers, _, _ := unstructured.NestedSlice(so.Object, "spec", "triggers")
	metric, target, active := "s0-cron-UTC-001xx-59233112x", "1", "True"
	if triggers[0].(map[string]any)["type"] != "cron" {
		metric, target = "s0-metric-api-waiting", "5"
	}
	if replicas == 0 {
		metric, active = "s0-cron-UTC-00292x-10292x", "False"
	}
	hpaName, given, _ := unstructured.NestedString(so.Object, "spec", "advanced", "horizontalPodAutoscalerConfig", "name")
	if !given {
		hpaName = "keda-hpa-" + name
	}
	status, err := json.Marshal(map[string]any{"status": map[string]any{
		"hpaName": hpaName, "externalMetricNames": []string{metric}, "lastActiveTime": metav1.Now(), "originalReplicaCount": 1,
		"scaleTargetKind": "apps/v1.Deployment",
		"scaleTargetGVKR": map[string]any{"group": "apps", "version": "v1", "kind": "Deployment", "resource": "deployments"},
		"health":          map[string]any{metric: map[string]any{"numberOfFailures": 0, "status": "Happy"}},
		"conditions": []any{
			map[string]any{"type": "Ready", "status": "True", "reason": "ScaledObjectReady", "message": "ScaledObject " + kedasWord + " and is ready for scaling"},
			map[string]any{"type": "Active", "status": active, "reason": "ScalerActive", "message": ""},
			map[string]any{"type": "Fallback", "status": "False", "reason": "NoFallbackFound", "message": ""},
			map[string]any{"type": "Paused", "status": "Unknown"},
		},
	}})
	if err != nil {
		c.t.Fatal(err)
	}
	if strings.HasPrefix(name, "fallen") {
		status = []byte(strings.NewReplacer(`"numberOfFailures":0`, `"numberOfFailures":7`, `"Happy"`, `"Failing"`).Replace(string(status)))
	}
	if err := c.Client().Status().Patch(c.t.Context(), so, client.RawPatch(types.MergePatchType, status)); err != nil {
		c.t.Fatal(err)
	}
	if strings.Contains(annotation, "paused") {
		return // KEDA deletes the HPA of what is paused
	}
	hpa := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: hpaName,
			Labels: map[string]string{
				"app.kubernetes.io/name": hpaName, "app.kubernetes.io/version": "2.20.1", "app.kubernetes.io/part-of": name,
				"app.kubernetes.io/managed-by": "keda-operator", "scaledobject.keda.sh/name": name,
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "keda.sh/v1alpha1", Kind: "ScaledObject", Name: name, UID: so.GetUID(), Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
			}},
		},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			MinReplicas:    ptr.To[int32](1), MaxReplicas: 20,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
				Metric: autoscalingv2.MetricIdentifier{Name: metric, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"scaledobject.keda.sh/name": name}}},
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr.To(resource.MustParse(target))},
			}}},
		},
	}
	if err := c.Client().Create(c.t.Context(), hpa); err != nil {
		c.t.Fatal(err)
	}
}

// runningJob makes a ScaledJob as KEDA leaves it, with the one Job that its
// trigger asks for.
func (c another) runningJob(name string) {
	c.t.Helper()
	c.apply(fmt.Sprintf(`
apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata: {namespace: shop, name: %[1]s, finalizers: [finalizer.keda.sh], labels: {scaledjob.keda.sh/name: %[1]s}}
spec:
  pollingInterval: 1
  maxReplicaCount: 1
  jobTargetRef: {template: {spec: {restartPolicy: Never, containers: [{name: app, image: app}]}}}
  triggers: [{type: cron, metadata: {timezone: UTC, start: 0 0 1 1 *, end: 59 23 31 12 *, desiredReplicas: "1"}}]`, name))
	sj := &unstructured.Unstructured{}
	sj.SetAPIVersion("keda.sh/v1alpha1")
	sj.SetKind("ScaledJob")
	if err := c.Client().Get(c.t.Context(), client.ObjectKey{Namespace: "shop", Name: name}, sj); err != nil {
		c.t.Fatal(err)
	}
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name + "-abcde",
			Labels: map[string]string{
				"app.kubernetes.io/name": name + "-abcde", "app.kubernetes.io/part-of": name,
				"app.kubernetes.io/managed-by": "keda-operator", "scaledjob.keda.sh/name": name,
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "keda.sh/v1alpha1", Kind: "ScaledJob", Name: name, UID: sj.GetUID(), Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
			}},
		},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{byHand: "true"}}, Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "app", Image: "app"}},
		}}},
	}
	if err := c.Client().Create(c.t.Context(), job); err != nil {
		c.t.Fatal(err)
	}
}

// identities are the UIDs of all that is scaled in namespace shop, and of what
// scales it, by kind and name.
func (c another) identities() map[string]types.UID {
	c.t.Helper()
	all := map[string]types.UID{}
	for kind, version := range map[string]string{
		"Deployment": "apps/v1", "ScaledObject": "keda.sh/v1alpha1", "ScaledJob": "keda.sh/v1alpha1",
		"HorizontalPodAutoscaler": "autoscaling/v2", "Job": "batch/v1",
	} {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion(version)
		list.SetKind(kind + "List")
		if err := c.Client().List(c.t.Context(), list, client.InNamespace("shop")); err != nil {
			c.t.Fatal(err)
		}
		for _, o := range list.Items {
			all[kind+" "+o.GetName()] = o.GetUID()
		}
	}
	return all
}

func (c another) checkIdentities(before map[string]types.UID) {
	c.t.Helper()
	now := c.identities()
	for name, uid := range before {
		if now[name] != uid {
			c.t.Errorf("%s is %q, before %q", name, now[name], uid)
		}
	}
	for name := range now {
		if _, was := before[name]; !was {
			c.t.Errorf("%s is new", name)
		}
	}
}
