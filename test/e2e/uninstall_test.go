package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// TestUninstall has kubectl sluice uninstall remove an installation that works,
// and one whose namespace was deleted first, so that it and a namespace of a user
// never end. Whatever the order, every object stays, and no replica changes; what
// is installed next goes on with them.
func TestUninstall(t *testing.T) {
	t.Parallel()
	c := anotherCluster(t)
	objects := c.coreAndCron("components: [DEPLOY/components/restore-registration]")

	c.apply(anotherAdapter + "---\n{apiVersion: v1, kind: Namespace, metadata: {name: elsewhere}}\n---\n" +
		"{apiVersion: v1, kind: Service, metadata: {name: another, namespace: elsewhere}, spec: {ports: [{port: 443}]}}")
	if text, code := c.sluice("", "uninstall", "--yes"); code != 1 || !strings.Contains(text, "leads to Service elsewhere/another, which is not Sluice's") {
		t.Errorf("another adapter's: %d, %s", code, text)
	}
	c.kubectl("delete", "apiservice", "v1beta1.external.metrics.k8s.io")

	c.install(objects)
	c.apply("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n---" + scaledByCron)
	c.apply(doomed)
	c.waitReplicas("always", 3)
	hpa := c.hpa("always")
	c.waitFinalizer("restored")

	// It is put back, as was asked for, which an uninstallation is not to fight.
	for _, kindName := range []string{"apiservice/v1beta1.external.metrics.k8s.io", "validatingwebhookconfiguration/keda-admission"} {
		uid := c.kubectl("get", kindName, "-o", "jsonpath={.metadata.uid}")
		c.kubectl("delete", kindName)
		c.wait(kindName+" to be put back", func() (bool, string) {
			now := c.kubectl("get", kindName, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")
			return now != "" && now != uid, now
		})
	}

	record, err := c.RecordReplicas(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(record.Stop)
	before := c.ofUsers()

	// Who is asked and says no has changed nothing, and neither has who may not.
	for name, tt := range map[string]struct {
		answer string
		args   []string
		code   int
		says   string
	}{
		"a look":      {args: []string{"--dry-run"}, says: "delete Deployment sluice-system/controller (first of all, since it writes)"},
		"no":          {answer: "no\n", code: 1, says: "not confirmed, nothing was removed"},
		"no answer":   {code: 1, says: "not confirmed, nothing was removed"},
		"a wrong sum": {answer: "yes\n", args: []string{"--crds"}, code: 1, says: "Type how many (5): "},
		"no rights":   {args: []string{"--yes", "--as=reader", "--as-group=readers"}, code: 2, says: "not all of it can be"},
	} {
		if name == "no rights" {
			c.apply(mayLook)
		}
		if text, code := c.sluice(tt.answer, append([]string{"uninstall"}, tt.args...)...); code != tt.code || !strings.Contains(text, tt.says) {
			t.Errorf("%s: %d, want %d and %q: %s", name, code, tt.code, tt.says, text)
		}
	}
	c.only("controller")

	if text, code := c.sluice("yes\n", "uninstall"); code != 0 || !strings.Contains(text, "Sluice is removed.") {
		t.Fatalf("%d, %s", code, text)
	}
	c.checkUninstalled(before)
	c.kubectl("delete", "namespace", "doomed", "--timeout=60s")
	if text, code := c.sluice("", "uninstall"); code != 0 || !strings.Contains(text, "Nothing of Sluice is left to remove.") {
		t.Errorf("a second time: %d, %s", code, text)
	}

	// In the order in which nothing of it ends.
	c.install(objects)
	c.apply(doomed)
	c.waitFinalizer("restored")
	before = c.ofUsers()
	c.kubectl("delete", "namespace", "sluice-system", "--wait=false")
	c.wait("a namespace that does not end", func() (bool, string) {
		var ns corev1.Namespace
		err := c.Client().Get(t.Context(), client.ObjectKey{Name: "sluice-system"}, &ns)
		return slices.ContainsFunc(ns.Status.Conditions, func(c corev1.NamespaceCondition) bool {
			return c.Type == corev1.NamespaceDeletionDiscoveryFailure && c.Status == corev1.ConditionTrue
		}), fmt.Sprint(err, ns.Status)
	})
	c.kubectl("delete", "namespace", "doomed", "--wait=false")
	text, code := c.sluice("", "uninstall", "--yes", "-o", "json")
	if code != 0 || !strings.Contains(text, `"action": "release"`) || strings.Contains(text, `"planned"`) {
		t.Fatalf("%d, %s", code, text)
	}
	c.wait("the user's namespace to end", func() (bool, string) {
		err := c.Client().Get(t.Context(), client.ObjectKey{Name: "doomed"}, &corev1.Namespace{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
	for name := range before {
		if strings.Contains(name, " doomed/") {
			delete(before, name)
		}
	}
	c.checkUninstalled(before)

	// It goes on with what is there.
	c.install(objects)
	c.wait("the object to be looked after again", func() (bool, string) {
		text := c.condition("always", "Ready")
		return strings.Contains(text, "ready"), text
	})
	c.checkHPA("always", hpa)
	for _, change := range record.Changes() {
		if change.Namespace == "shop" {
			t.Errorf("replicas: %v", change)
		}
	}

	// What is KEDA's, too, is left.
	c.apply(strings.ReplaceAll("{apiVersion: v1, kind: Namespace, metadata: {name: keda}}\n---"+scaledByCron[:strings.Index(scaledByCron, "---")], "shop, name: always", "keda, name: keda-operator"))
	if text, code := c.sluice("", "uninstall", "--yes"); code != 1 || !strings.Contains(text, "KEDA is in namespace keda") {
		t.Errorf("beside KEDA: %d, %s", code, text)
	}
	c.kubectl("delete", "deployment", "-n", "keda", "keda-operator")

	if text, code := c.sluice("1\n", "uninstall", "--crds"); code != 0 || !strings.Contains(text, "DELETED for good") {
		t.Errorf("with CRDs: %d, %s", code, text)
	}
	if crds := c.kubectl("get", "crds", "-o", "name"); strings.Contains(crds, "keda.sh") {
		t.Errorf("CRDs are left: %s", crds)
	}
	c.waitAlways3()
}

// mayLook lets somebody see everything and remove nothing.
const mayLook = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules: [{apiGroups: ["*"], resources: ["*"], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: User, name: reader, apiGroup: rbac.authorization.k8s.io}]
`

// coreAndCron are the objects of the smallest installation.
func (c another) coreAndCron(more string) manifests {
	c.t.Helper()
	return c.layer(map[string]string{"kustomization.yaml": "resources: [DEPLOY/core, DEPLOY/scalers/cron]\n" + more})
}

// sluice runs the plugin by kubectl, with what its user answers.
func (c another) sluice(answer string, args ...string) (string, int) {
	c.t.Helper()
	repo, err := localcluster.FindRepo(".")
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.CommandContext(c.t.Context(), c.Kubectl(), append(append([]string{"sluice"}, args...), "--kubeconfig", c.Kubeconfig())...)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(repo, "bin")+":"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(answer)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (c another) waitFinalizer(name string) {
	c.t.Helper()
	c.wait("the finalizer of "+name, func() (bool, string) {
		so := object{c.t, "doomed", name}.scaledObject()
		err := c.Client().Get(c.t.Context(), client.ObjectKeyFromObject(so), so)
		return len(so.GetFinalizers()) > 0, fmt.Sprint(err)
	})
}

// waitAlways3 checks that a workload has what it had, with nobody to scale it.
func (c another) waitAlways3() {
	c.t.Helper()
	if have := c.kubectl("get", "deployment", "-n", "shop", "always", "-o", "jsonpath={.spec.replicas}"); have != "3" {
		c.t.Errorf("replicas = %s, want 3", have)
	}
}

// ofUsers are the objects of users with their UIDs, HPAs among them.
func (c another) ofUsers() map[string]string {
	c.t.Helper()
	all := map[string]string{}
	for _, kind := range []string{"ScaledObject", "ScaledJob", "TriggerAuthentication", "HorizontalPodAutoscaler"} {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion("keda.sh/v1alpha1")
		if kind == "HorizontalPodAutoscaler" {
			list.SetAPIVersion("autoscaling/v2")
		}
		list.SetKind(kind + "List")
		if err := c.Client().List(c.t.Context(), list); err != nil {
			c.t.Fatal(err)
		}
		for _, o := range list.Items {
			all[kind+" "+o.GetNamespace()+"/"+o.GetName()] = string(o.GetUID())
		}
	}
	return all
}

// checkUninstalled checks that nothing of an installation is left, and all of its
// users is.
func (c another) checkUninstalled(before map[string]string) {
	c.t.Helper()
	c.checkNothingIsLeft()
	c.wait("the namespace of the installation to go", func() (bool, string) {
		err := c.Client().Get(c.t.Context(), client.ObjectKey{Name: "sluice-system"}, &corev1.Namespace{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
	for name, uid := range before {
		if now := c.ofUsers()[name]; now != uid {
			c.t.Errorf("%s has UID %q, before %s", name, now, uid)
		}
	}
	c.waitAlways3()
}
