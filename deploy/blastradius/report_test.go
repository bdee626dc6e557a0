package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// objects are what a user's cluster adds to what we ship.
const objects = `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: scaler-kafka, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sluice-scaler-credentials}
subjects: [{kind: ServiceAccount, name: scaler-kafka, namespace: sluice-system}]
---
apiVersion: v1
kind: List
items:
  - apiVersion: keda.sh/v1alpha1
    kind: TriggerAuthentication
    metadata: {name: brokers, namespace: shop}
    spec:
      secretTargetRef: [{parameter: password, name: kafka, key: password}, {parameter: username, name: kafka, key: username}]
      azureKeyVault: {vaultUri: "https://v", credentials: {clientSecret: {valueFrom: {secretKeyRef: {name: azure, key: secret}}}}}
  - apiVersion: keda.sh/v1alpha1
    kind: ClusterTriggerAuthentication
    metadata: {name: shared}
    spec: {secretTargetRef: [{parameter: password, name: shared, key: password}]}
  - apiVersion: keda.sh/v1alpha1
    kind: ClusterTriggerAuthentication
    metadata: {name: each, annotations: {sluice.dev/secret-namespace: object}}
    spec: {secretTargetRef: [{parameter: password, name: broker, key: password}]}
  - apiVersion: keda.sh/v1alpha1
    kind: ScaledObject
    metadata: {name: orders, namespace: shop}
    spec:
      triggers:
        - {type: kafka, authenticationRef: {name: brokers}}
        - {type: apache-kafka, authenticationRef: {name: shared, kind: ClusterTriggerAuthentication}}
        - {type: rabbitmq, secretKeyRef: [{parameter: password, name: rabbit, key: p}]}
        - {type: of-a-third-party, authenticationRef: {name: absent}}
        - {type: cron}
        - {type: kafka, authenticationRef: {name: each, kind: ClusterTriggerAuthentication}}
`

func reported(t *testing.T, args ...string) string {
	t.Helper()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../overlays/all")
	if err != nil {
		t.Fatal(err)
	}
	text, err := rendered.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(args, strings.NewReader(string(text)+"\n---"+objects), &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestReport(t *testing.T) {
	var report Report
	if err := json.Unmarshal([]byte(reported(t, "-json")), &report); err != nil {
		t.Fatal(err)
	}
	may := map[string][]string{}
	for _, a := range report.Access {
		for _, name := range a.Names {
			may[a.Account] = append(may[a.Account], strings.Join(a.Verbs, ",")+" "+a.Resource+" "+a.Namespace+"/"+name)
		}
	}
	for account, want := range map[string][]string{
		"sluice-system/metrics-adapter": {"get,watch secrets sluice-system/metrics-adapter-tls"},
		"sluice-system/scaler-kafka":    {"get secrets shop/*", "get,watch secrets sluice-system/scaler-kafka-tls"},
		"sluice-system/scaler-rabbitmq": {"get,watch secrets sluice-system/scaler-rabbitmq-tls"},
	} {
		if !slices.Equal(may[account], want) {
			t.Errorf("%s: %v, want %v", account, may[account], want)
		}
	}
	if !slices.Contains(may["sluice-system/controller"], "get,update secrets sluice-pki/sluice-ca") {
		t.Errorf("controller: %v", may["sluice-system/controller"])
	}
	want := []Use{
		{"kafka", "ScaledObject shop/orders trigger 0 (kafka)", "TriggerAuthentication brokers", []string{"shop/azure", "shop/kafka"}},
		{"kafka", "ScaledObject shop/orders trigger 1 (apache-kafka)", "ClusterTriggerAuthentication shared", []string{"keda/shared"}},
		{"kafka", "ScaledObject shop/orders trigger 5 (kafka)", "ClusterTriggerAuthentication each", []string{"shop/broker"}},
		{"rabbitmq", "ScaledObject shop/orders trigger 2 (rabbitmq)", "", []string{"shop/rabbit"}},
		{"type of-a-third-party", "ScaledObject shop/orders trigger 3 (of-a-third-party)", "TriggerAuthentication absent", nil},
	}
	if !slices.EqualFunc(report.Uses, want, func(a, b Use) bool {
		return a.Family == b.Family && a.Trigger == b.Trigger && a.Authentication == b.Authentication && slices.Equal(a.Secrets, b.Secrets)
	}) {
		t.Errorf("uses %+v, want %+v", report.Uses, want)
	}
}

func TestTable(t *testing.T) {
	text := strings.Join(strings.Fields(reported(t)), " ")
	for _, want := range []string{
		"sluice-system/scaler-kafka get secrets shop * RoleBinding shop/scaler-kafka",
		"kafka ScaledObject shop/orders trigger 0 (kafka) TriggerAuthentication brokers shop/azure,shop/kafka",
		"rabbitmq ScaledObject shop/orders trigger 2 (rabbitmq) - shop/rabbit",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, text)
		}
	}
}

// TestIdentitiesOfFamilies: whose objects may use a family's identity, and the
// warning where everybody's may.
func TestIdentitiesOfFamilies(t *testing.T) {
	const deployment = `
{kind: Deployment, metadata: {name: scaler-%s, namespace: sluice-system}, spec: {template: {spec: {serviceAccountName: scaler-%[1]s, containers: [{args: [%s]}]}}}}
---`
	var out bytes.Buffer
	err := run(nil, strings.NewReader(fmt.Sprintf(deployment, "aws", `"--log-level=info"`)+
		fmt.Sprintf(deployment, "sql", `"--identity-namespaces=shop, orders", "--identity-hosts=db.example"`)+
		fmt.Sprintf(deployment, "kafka", `"--identity-namespaces="`)), &out)
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"sluice-system/scaler-aws every namespace: --identity-namespaces limits it -",
		"sluice-system/scaler-sql shop,orders db.example",
		"sluice-system/scaler-kafka - -",
	} {
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("the table lacks %q: %v\n%s", want, err, out.String())
		}
	}
}

func TestWildcardsCount(t *testing.T) {
	for name, rule := range map[string]string{
		"everything":     `{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}`,
		"all tokens":     `{apiGroups: [""], resources: ["*/token"], verbs: [create]}`,
		"all of a group": `{apiGroups: [""], resources: ["*"], verbs: [get]}`,
	} {
		var out bytes.Buffer
		err := run(nil, strings.NewReader(`
{kind: ClusterRole, metadata: {name: r}, rules: [`+rule+`]}
---
{kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: r}, subjects: [{kind: Group, name: g}]}
`), &out)
		if err != nil || !strings.Contains(out.String(), "group g") {
			t.Errorf("%s: %v, %s", name, err, out.String())
		}
	}
}

func TestMalformedInput(t *testing.T) {
	err := run(nil, strings.NewReader("kind: Role\n---\n{kind: Service, spec: 5}\n"), &bytes.Buffer{})
	if err == nil || !strings.HasPrefix(err.Error(), "document 2: ") {
		t.Errorf("error %v", err)
	}
}
