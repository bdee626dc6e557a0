package localcluster

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kedasObjects are as KEDA leaves them: with its finalizer, its status, and an
// HPA of its own.
const kedasObjects = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: keda}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: keda-operator, namespace: keda, annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/keda"}}
---
apiVersion: v1
kind: Secret
metadata: {name: broker, namespace: shop}
stringData: {host: "amqp://shop:swordfish@rabbitmq.shop"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker, namespace: shop}
spec:
  replicas: 0
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec:
      containers:
        - {name: app, image: app, env: [{name: ADDRESS, valueFrom: {secretKeyRef: {name: redis, key: address}}}]}
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: {name: broker, namespace: shop, finalizers: [finalizer.keda.sh]}
spec: {secretTargetRef: [{parameter: host, name: broker, key: host}]}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: orders, namespace: shop, finalizers: [finalizer.keda.sh], labels: {scaledobject.keda.sh/name: orders}}
spec:
  scaleTargetRef: {name: worker}
  triggers:
    - {type: rabbitmq, metadata: {queueName: orders, mode: QueueLength, value: "5"}, authenticationRef: {name: broker}}
    - {type: redis, metadata: {addressFromEnv: ADDRESS, listName: orders}}
    - {type: aws-sqs-queue, metadata: {queueURL: "https://sqs.eu-west-1.amazonaws.com/1/orders", awsRegion: eu-west-1, identityOwner: operator}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: keda-hpa-orders
  namespace: shop
  ownerReferences: [{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: orders, uid: 11111111-2222-3333-4444-555555555555, controller: true}]
spec:
  maxReplicas: 100
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: worker}
  metrics: [{type: External, external: {metric: {name: s0-rabbitmq-orders}, target: {type: AverageValue, averageValue: "5"}}}]
`

// TestMigrateCheck asks a real API server that has the CRDs and objects of KEDA
// and nothing of Sluice: as its administrator, who applies the roles that are
// printed, and as somebody who may read one namespace and no Secret.
func TestMigrateCheck(t *testing.T) {
	t.Parallel()
	c, err := Start(deadline(t, 2*time.Minute), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	ctx := deadline(t, time.Minute)
	crds, err := c.Render(ctx, "deploy/crds")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Apply(ctx, crds...), c.ApplyYAML(ctx, kedasObjects)); err != nil {
		t.Fatal(err)
	}
	text, code := migrateCheck(ctx, t, c)
	for _, want := range []string{
		"family rabbitmq has to be let read Secret shop/broker", "family redis has to be let read Secret shop/redis",
		"system:serviceaccount:sluice-system:scaler-aws", "eks.amazonaws.com/role-arn: arn:aws:iam::111122223333:role/keda",
		"1 of 2 objects work unchanged, 1 need something.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("does not say %q", want)
		}
	}
	if code != 1 || strings.Contains(text, "swordfish") || strings.Contains(text, "already scaled") {
		t.Errorf("exit code %d\n%s", code, text)
	}
	roles, _ := migrateCheck(ctx, t, c, "--roles")
	if err := c.ApplyYAML(ctx, roles); err != nil {
		t.Errorf("%v\n%s", err, roles)
	}
	for account, secret := range map[string]string{"scaler-rabbitmq": "broker", "scaler-redis": "redis"} {
		if !may(ctx, c, "system:serviceaccount:sluice-system:"+account, "secret/"+secret) || may(ctx, c, "system:serviceaccount:sluice-system:"+account, "secret/other") {
			t.Errorf("%s may not read %s, or other Secrets too", account, secret)
		}
	}
	if err := c.ApplyYAML(ctx, `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: shop}
rules:
  - {apiGroups: [keda.sh, eventing.keda.sh], resources: ["*"], verbs: [get, list]}
  - {apiGroups: [apps, autoscaling], resources: ["*"], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: User, name: reader, apiGroup: rbac.authorization.k8s.io}]
`); err != nil {
		t.Fatal(err)
	}
	if text, code := migrateCheck(ctx, t, c, "--as=reader"); code != 2 || !strings.Contains(text, "-n checks one") {
		t.Errorf("exit code %d\n%s", code, text)
	}
	if text, code := migrateCheck(ctx, t, c, "--as=reader", "-n", "shop"); code != 2 ||
		!strings.Contains(text, "you may not list clustertriggerauthentications.keda.sh") || !strings.Contains(text, "Secret shop/redis") {
		t.Errorf("exit code %d\n%s", code, text)
	}
}

// migrateCheck runs the plugin that was built, by kubectl.
func migrateCheck(ctx context.Context, t *testing.T, c *Cluster, args ...string) (text string, code int) {
	t.Helper()
	cmd := exec.CommandContext(ctx, c.Kubectl(), append([]string{"sluice", "migrate", "check", "--kubeconfig", c.Kubeconfig()}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(c.options.Repo, "bin")+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// may is whether somebody may get an object of namespace shop.
func may(ctx context.Context, c *Cluster, user, object string) bool {
	return exec.CommandContext(ctx, c.Kubectl(), "--kubeconfig", c.Kubeconfig(), "auth", "can-i", "get", object, "-n", "shop", "--as", user).Run() == nil
}
