package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// scaledByPods are a Deployment that is scaled by the Pods of another, and an object
// that nobody serves: its family is not installed.
const scaledByPods = `
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---` + scaledByCron + `---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: shop, name: backlog}
spec:
  replicas: 0
  selector: {matchLabels: {app: backlog}}
  template: {metadata: {labels: {app: backlog}}, spec: {containers: [{name: app, image: app}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: shop, name: worker}
spec:
  replicas: 0
  selector: {matchLabels: {app: worker}}
  template: {metadata: {labels: {app: worker}}, spec: {containers: [{name: app, image: app}]}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {namespace: shop, name: worker}
spec:
  scaleTargetRef: {name: worker}
  pollingInterval: 1
  cooldownPeriod: 1
  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 0}}}}
  triggers: [{type: kubernetes-workload, metadata: {podSelector: app=backlog, value: "2"}}]
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {namespace: shop, name: later}
spec:
  scaleTargetRef: {name: backlog}
  triggers: [{type: redis, metadata: {address: "redis.shop:6379", listName: jobs}}]
`

// slips is a manifest with what only the cluster's family finds, and what everybody
// does.
const slips = `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {namespace: shop, name: next}
spec:
  scaleTargetRef: {name: next}
  triggers:
    - type: cron
      metadata:
        timezone: Mars/Phobos
        start: 0 6 * * *
        end: 0 8 * * *
        desiredReplica: "2"
        desiredReplicas: "2"
`

// users are two who are not the cluster's administrator: one looks after the objects
// of a namespace, and may look into no other; one may do nothing.
const users = `
{apiVersion: v1, kind: ServiceAccount, metadata: {name: dev, namespace: shop}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: dev, namespace: shop}
rules:
  - {apiGroups: [keda.sh], resources: [scaledobjects, scaledjobs], verbs: [get, list, patch]}
  - {apiGroups: [autoscaling], resources: [horizontalpodautoscalers], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: dev, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: dev}
subjects: [{kind: ServiceAccount, name: dev, namespace: shop}]
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: nobody, namespace: shop}}
`

// forwards lets a user ask Pods of Sluice.
const forwards = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: ask, namespace: sluice-system}
rules:
  - {apiGroups: [""], resources: [services], verbs: [get, list]}
  - {apiGroups: [""], resources: [pods], verbs: [list]}
  - {apiGroups: [""], resources: [pods/portforward], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: ask, namespace: sluice-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: ask}
subjects: [{kind: ServiceAccount, name: dev, namespace: shop}]
`

// plugin is kubectl sluice as somebody runs it.
type plugin struct {
	another
	flags []string
}

// as returns the plugin of a ServiceAccount in namespace shop, with its token and
// nothing of the administrator's.
func (c another) as(account string) plugin {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "config")
	token := strings.TrimSpace(c.kubectl("create", "token", account, "-n", "shop"))
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: c.Config().Host, CertificateAuthorityData: c.Config().CAData}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u", Namespace: "shop"}
	config.CurrentContext = "c"
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		c.t.Fatal(err)
	}
	return plugin{c, []string{"--kubeconfig", file}}
}

// asks runs the plugin until it says all of this, with this exit code.
func (p plugin) asks(code int, says []string, args ...string) string {
	p.t.Helper()
	var text string
	p.wait("kubectl sluice "+strings.Join(args, " "), func() (bool, string) {
		var got int
		text, got = p.says("", args...)
		for _, part := range says {
			if !strings.Contains(text, part) {
				return false, fmt.Sprintf("exit code %d, without %q: %s", got, part, text)
			}
		}
		return got == code, fmt.Sprintf("exit code %d: %s", got, text)
	})
	return text
}

// says is what it says once, and its exit code.
func (p plugin) says(stdin string, args ...string) (string, int) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), filepath.Join(p.repo(), "bin", "kubectl-sluice"), append(slices.Clone(args), p.flags...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// checks is what check --cluster says of the slips.
func (p plugin) checks(says ...string) {
	p.t.Helper()
	text, code := p.says(slips, "check", "-f", "-", "--cluster")
	for _, part := range says {
		if !strings.Contains(text, part) || code != 1 {
			p.t.Errorf("%d, without %q: %s", code, part, text)
		}
	}
}

// TestPlugin does what users of kubectl sluice do: they find out which family is
// missing and what is to be granted, grant it, look at a value, ask why, and override
// the autoscaler by hand; as the administrator, and with a token and rights of their
// own, where each right that is missing is named.
func TestPlugin(t *testing.T) {
	t.Parallel()
	c := anotherCluster(t)
	c.install(c.layer(map[string]string{"kustomization.yaml": "resources: [DEPLOY/core, DEPLOY/scalers/cron, DEPLOY/scalers/kubernetes]\n"}))
	c.apply(scaledByPods + "---" + users)
	c.waitReplicas("always", 3)
	admin := plugin{c, []string{"--kubeconfig", c.Kubeconfig()}}
	dev, nobody := c.as("dev"), c.as("nobody")

	admin.asks(1, []string{"redis        missing   -", "cron         ready", "kubernetes   ready", "1/1", "add deploy/scalers/redis"}, "families")
	admin.asks(0, []string{"source: controller", "state: ready"}, "families", "-n", "sluice-system", "-o", "yaml")

	admin.asks(1, []string{"kubernetes may read nothing of users", "MISSING what ClusterRole sluice-scaler-kubernetes has"}, "grants", "-n", "shop")
	admin.asks(0, []string{"condition Ready is False, TriggerError", "what helps: The message names trigger"}, "why", "so/worker", "-n", "shop")
	roles, code := admin.says("", "grants", "-n", "shop", "--roles")
	if code != 1 || !strings.Contains(roles, "kind: RoleBinding") {
		t.Fatalf("%d, %s", code, roles)
	}
	c.apply(roles)
	admin.asks(0, []string{"Nothing is missing."}, "grants", "-n", "shop")

	admin.asks(0, []string{
		"ScaledObject shop/worker: 0 replicas of Deployment worker, at rest", "1 more of s0-workload-shop wakes it", "none measured yet since this controller leads",
	}, "why", "so/worker", "-n", "shop")
	admin.asks(0, []string{"none yet"}, "top", "-n", "shop")
	admin.asks(0, []string{"trigger 0 (cron), asked of Pod sluice-system/scaler-cron", "active: yes"}, "probe", "so/always", "-n", "shop")
	admin.asks(0, []string{"trigger 0 (kubernetes-workload), asked of the metrics adapter", "--loopback-credentials"}, "probe", "so/worker", "-n", "shop")
	admin.asks(1, []string{"family redis, which serves the type, is not installed"}, "probe", "so/later", "-n", "shop", "-o", "json")
	admin.checks("standard input:9: error: ScaledObject shop/next: trigger 0 (cron): timezone: ", "desiredReplica: unknown parameter, did you mean desiredReplicas?")

	// Without rights to Sluice's namespace it is what the API server has; what is
	// missing is named.
	portforward := `cannot list resource "pods" in API group "" in the namespace "sluice-system"`
	dev.asks(0, []string{"ScaledObject shop/worker: 0 replicas of Deployment worker", "What is missing", portforward, `cannot list resource "events"`}, "why", "so/worker")
	dev.asks(0, []string{"worker   idle", "What could not be found out\n  cold starts: ", portforward}, "top")
	dev.asks(2, []string{"you may not list scaledobjects.keda.sh in all namespaces; -n asks for one"}, "top", "-A")
	dev.asks(2, []string{"you may not list Services in namespace sluice-system"}, "families", "-n", "shop")
	dev.asks(2, []string{`cannot list resource "triggerauthentications"`}, "grants", "-n", "shop")
	dev.asks(1, []string{"you may not get Service scaler-cron in namespace sluice-system", `in API group "external.metrics.k8s.io" in the namespace "shop"`}, "probe", "so/always")
	nobody.asks(2, []string{`cannot get resource "scaledobjects" in API group "keda.sh" in the namespace "shop"`}, "why", "so/worker")
	dev.asks(2, []string{"there is no ScaledObject shop/wroker, did you mean so/worker?"}, "why", "so/wroker")
	nobody.asks(2, []string{`cannot patch resource "scaledobjects"`}, "pause", "so/worker")

	// With them everything is told, and what is overridden is read by all.
	c.apply(forwards)
	dev.asks(1, []string{"cron         ready", "controller "}, "families", "-n", "shop")
	c.kubectl("scale", "deployment", "backlog", "-n", "shop", "--replicas=6")
	c.waitReplicas("worker", 3)
	dev.asks(0, []string{
		"3 replicas of Deployment worker", "s0-workload-shop: 6 at a target of 2 each", ", active; read ", "from work to the first ready replica",
	}, "why", "so/worker")
	dev.asks(0, []string{`"name": "worker"`, `"state": "active"`, `"backlog": 6`, `"outcome": "measured"`, `"outcome": "none measured yet"`}, "top", "-o", "json")
	dev.asks(0, []string{"later", "failing", "worker"}, "top", "--sort-by", "failures")
	dev.asks(0, []string{"trigger 0 (cron), asked of Pod sluice-system/scaler-cron"}, "probe", "so/always")
	dev.checks("timezone: ")

	dev.asks(0, []string{"ScaledObject shop/worker is pinned to 5 replicas"}, "pin", "so/worker", "5", "--reason", "load test")
	c.waitReplicas("worker", 5)
	admin.asks(0, []string{"5 replicas of Deployment worker, paused", "the reason given: load test"}, "why", "so/worker", "-n", "shop")
	dev.asks(0, []string{"is paused"}, "pause", "so/worker", "--reason", "the broker moves")
	admin.asks(0, []string{"5 replicas of Deployment worker, paused", "the reason given: the broker moves"}, "why", "so/worker", "-n", "shop")
	dev.asks(0, []string{"scales again; it had autoscaling.keda.sh/paused: true"}, "resume", "so/worker")
	c.waitReplicas("worker", 3)

	// A family is in the place of a controller that is too old to have these pages:
	// its port answers as that would.
	older := []string{"-n", "shop", "--controller-selector", "app.kubernetes.io/name=scaler-cron"}
	for page, command := range map[string][]string{"/decisions": {"why", "so/worker"}, "/cold-starts": {"top"}} {
		admin.asks(0, []string{"worker", "the controller is of an older version of Sluice, which has no page " + page}, append(command, older...)...)
	}
	admin.asks(1, []string{"redis", "the controller is of an older version of Sluice, which has no page /families"}, append([]string{"families"}, older...)...)
}
