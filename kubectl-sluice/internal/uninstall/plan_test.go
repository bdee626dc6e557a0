package uninstall

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	k8stesting "k8s.io/client-go/testing"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// cluster has the objects of a text. It stands in for an API server: it knows no
// field selectors and no rights. TestUninstall of the end-to-end tests has a real
// one.
func cluster(t *testing.T, text string) *Cluster {
	t.Helper()
	var whole, parts []runtime.Object
	reader := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		o := &unstructured.Unstructured{}
		if err := reader.Decode(&o.Object); err != nil {
			break
		}
		if len(o.Object) == 0 {
			continue
		}
		o.SetUID(types.UID(o.GetKind() + o.GetNamespace() + o.GetName()))
		whole = append(whole, o)
		part := &metav1.PartialObjectMetadata{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, part); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part)
	}
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	kinds := map[schema.GroupVersionResource]string{}
	for _, k := range slices.Concat(inNamespace, ofCluster, ofOthers, ofUsers, []kind{namespaces, pods, apiServices, webhooks, autoscalers, definitions}) {
		kinds[k.gvr()] = k.name + "List"
	}
	return &Cluster{
		objects: metadatafake.NewSimpleMetadataClient(scheme, parts...), server: "https://example",
		whole: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, whole...), now: func() time.Time { return noon },
	}
}

const (
	home = `
{apiVersion: v1, kind: Namespace, metadata: {name: sluice-system, labels: {app.kubernetes.io/part-of: sluice}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: sluice-pki, labels: {app.kubernetes.io/part-of: sluice}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: controller, namespace: sluice-system, labels: {app.kubernetes.io/part-of: sluice, app.kubernetes.io/name: controller}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: scaler-cron, namespace: sluice-system, labels: {app.kubernetes.io/part-of: sluice, app.kubernetes.io/name: scaler-cron}}}
---
{apiVersion: v1, kind: Service, metadata: {name: metrics-adapter, namespace: sluice-system, labels: {app.kubernetes.io/part-of: sluice}}}
---
{apiVersion: v1, kind: Service, metadata: {name: keda-admission-webhooks, namespace: sluice-system, labels: {app.kubernetes.io/part-of: sluice}}}
---
`
	metricsOfSluice = `
{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1beta1.external.metrics.k8s.io, labels: {app.kubernetes.io/part-of: sluice}}, spec: {service: {namespace: sluice-system, name: metrics-adapter}}}
---
`
	admissionOfSluice = `
{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: keda-admission, labels: {app.kubernetes.io/part-of: sluice}}, webhooks: [{name: a, clientConfig: {service: {namespace: sluice-system, name: keda-admission-webhooks}}}]}
---
`
	rolesOfSluice = `
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: sluice-controller, labels: {app.kubernetes.io/part-of: sluice}}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: reader, namespace: kube-system, labels: {app.kubernetes.io/part-of: sluice, app.kubernetes.io/name: metrics-adapter}}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: scaler-sql, namespace: shop, labels: {app.kubernetes.io/part-of: sluice, app.kubernetes.io/name: scaler-sql}}}
---
`
	restored = `
{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: orders, namespace: shop, finalizers: [other.example/kept, finalizer.keda.sh]}}
---
`
	all = home + metricsOfSluice + admissionOfSluice + rolesOfSluice + restored
)

// steps are what a plan does, in words.
func steps(p *Plan) []string {
	all := []string{}
	for _, s := range p.Steps {
		all = append(all, s.Action+" "+s.object())
	}
	return all
}

// TestPlan: what is removed of what there is, in which order, and what is refused.
func TestPlan(t *testing.T) {
	whole := []string{
		"delete Deployment sluice-system/controller",
		"delete APIService v1beta1.external.metrics.k8s.io", "delete ValidatingWebhookConfiguration keda-admission",
		"release ScaledObject shop/orders",
		"delete Namespace sluice-system", "delete Namespace sluice-pki",
		"delete RoleBinding kube-system/reader", "delete ClusterRole sluice-controller",
	}
	without := func(names ...string) []string {
		return slices.DeleteFunc(slices.Clone(whole), func(s string) bool { return slices.Contains(names, s) })
	}
	lease := func(namespace, holder, renewed string) string {
		return "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: operator.keda.sh, namespace: " + namespace + "}, spec: {holderIdentity: " + holder + ", renewTime: '" + renewed + "'}}\n---\n"
	}
	for name, tt := range map[string]struct {
		objects string
		Options
		want    []string
		refused string // part of why
		note    string
	}{
		"all of it": {objects: all, want: whole, note: "deleted before a Sluice or KEDA is back, ScaledObject shop/orders"},
		"grants, too": {
			objects: all, Options: Options{Grants: true},
			want: slices.Insert(slices.Clone(whole), 7, "delete RoleBinding shop/scaler-sql"),
		},
		"grants stay":            {objects: all, want: whole, note: "1 Roles and RoleBindings that let families read"},
		"the controller is gone": {objects: strings.ReplaceAll(all, "name: controller,", "name: elsewhere,")[:0] + strings.Replace(all, home, "", 1), want: without("delete Deployment sluice-system/controller", "delete Namespace sluice-system", "delete Namespace sluice-pki")},
		"finalizers alone are left": {
			objects: restored, want: []string{"release ScaledObject shop/orders"},
		},
		"nothing is left": {objects: "", want: []string{}},
		"it is ending": {
			objects: strings.Replace(all, "name: sluice-system,", "name: sluice-system, finalizers: [kubernetes], deletionTimestamp: '2026-05-01T11:00:00Z',", 1),
			want:    whole,
		},
		"a namespace with others' things": {
			objects: all + "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db, namespace: sluice-system}}",
			want: append(append(slices.Clone(whole[:4]),
				"delete Deployment sluice-system/scaler-cron", "delete Service sluice-system/keda-admission-webhooks", "delete Service sluice-system/metrics-adapter"), whole[5:]...),
			note: "namespace sluice-system stays, since it has StatefulSet db",
		},
		"a namespace with others' Secrets": {
			objects: all + "{apiVersion: v1, kind: Secret, metadata: {name: broker, namespace: sluice-system}}",
			want: append(append(slices.Clone(whole[:4]),
				"delete Deployment sluice-system/scaler-cron", "delete Service sluice-system/keda-admission-webhooks", "delete Service sluice-system/metrics-adapter"), whole[5:]...),
			note: "namespace sluice-system stays, since it has Secret broker",
		},
		"a namespace with users' objects": {
			objects: all + "{apiVersion: keda.sh/v1alpha1, kind: ScaledJob, metadata: {name: own, namespace: sluice-system, labels: {app.kubernetes.io/part-of: sluice}}}",
			want: append(append(slices.Clone(whole[:4]),
				"delete Deployment sluice-system/scaler-cron", "delete Service sluice-system/keda-admission-webhooks", "delete Service sluice-system/metrics-adapter"), whole[5:]...),
			note: "namespace sluice-system stays, since it has ScaledJob own",
		},
		"another adapter's": {
			objects: home + strings.ReplaceAll(metricsOfSluice, "sluice-system, name: metrics-adapter", "monitoring, name: prometheus-adapter") + "{apiVersion: v1, kind: Service, metadata: {name: prometheus-adapter, namespace: monitoring}}\n---\n",
			refused: "APIService v1beta1.external.metrics.k8s.io leads to Service monitoring/prometheus-adapter, which is not Sluice's",
		},
		"another adapter's that is not there": {
			objects: home + strings.ReplaceAll(strings.ReplaceAll(metricsOfSluice, "part-of: sluice", "part-of: other"), "sluice-system, name: metrics-adapter", "monitoring, name: prometheus-adapter"),
			refused: "leads to Service monitoring/prometheus-adapter",
		},
		"KEDA's webhooks that lead nowhere, beside ours": {
			objects: strings.Replace(all, "webhooks: [{", "webhooks: [{name: v, clientConfig: {service: {namespace: keda, name: gone}}}, {", 1), want: whole,
		},
		"KEDA's webhooks": {
			objects: home + strings.ReplaceAll(strings.ReplaceAll(admissionOfSluice, "part-of: sluice", "part-of: keda-operator"), "namespace: sluice-system", "namespace: keda") + "{apiVersion: v1, kind: Service, metadata: {name: keda-admission-webhooks, namespace: keda}}\n---\n",
			refused: "ValidatingWebhookConfiguration keda-admission leads to Service keda/keda-admission-webhooks",
		},
		"a KEDA": {
			objects: all + "{apiVersion: apps/v1, kind: Deployment, metadata: {name: keda-operator, namespace: keda}}", refused: "KEDA is in namespace keda",
		},
		"a KEDA by its lease":                       {objects: all + lease("aks", "keda-operator-5d_1", "2026-05-01T11:59:50.000000Z"), refused: "KEDA is in namespace aks"},
		"a KEDA that was":                           {objects: all + lease("aks", "keda-operator-5d_1", "2026-05-01T11:00:00.000000Z"), want: whole},
		"our own lease":                             {objects: all + lease("sluice-system", "controller_sluice-1", "2026-05-01T11:59:50.000000Z"), want: whole},
		"the lease of a Sluice that has just ended": {objects: restored + lease("two", "controller_sluice-1", "2026-05-01T11:59:50.000000Z"), want: []string{"release ScaledObject shop/orders"}},
		"a family alone": {
			objects: "{apiVersion: apps/v1, kind: Deployment, metadata: {name: scaler-cron, namespace: of-keda, labels: {app.kubernetes.io/part-of: sluice, app.kubernetes.io/name: scaler-cron}}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: of-keda}}",
			want:    []string{"delete Deployment of-keda/scaler-cron"},
		},
		"KEDA's objects are left": {objects: all + lease("aks", "keda-operator-5d_1", "2026-05-01T11:59:50.000000Z"), Options: Options{LeaveShared: true}, want: without("release ScaledObject shop/orders"), note: "left: KEDA is in namespace aks"},
		"and CRDs with them": {
			objects: all + lease("aks", "keda-operator-5d_1", "2026-05-01T11:59:50.000000Z"), Options: Options{LeaveShared: true, CRDs: true}, refused: "--crds would delete the objects of who else is there",
		},
		"two Sluices": {
			objects: all + strings.Split(strings.ReplaceAll(home, "sluice-system", "two"), "---")[2], refused: "Sluice is in the namespaces sluice-system, two",
		},
		"one of two": {
			objects: all + strings.Split(strings.ReplaceAll(home, "sluice-system", "two"), "---")[2], Options: Options{Namespace: "two", LeaveShared: true},
			want: []string{"delete Deployment two/controller"}, note: "left: another Sluice is in namespace sluice-system",
		},
		"a release of Helm's": {
			objects: strings.Replace(all, "metadata: {name: controller,", "metadata: {name: controller, annotations: {meta.helm.sh/release-name: s, meta.helm.sh/release-namespace: sluice-system},", 1) +
				"{apiVersion: v1, kind: Secret, metadata: {name: sh.helm.release.v1.s.v1, namespace: sluice-system, labels: {owner: helm, name: s}}}",
			refused: "helm uninstall s --namespace sluice-system",
		},
		"a release that Helm lost": {
			objects: strings.Replace(all, "metadata: {name: controller,", "metadata: {name: controller, annotations: {meta.helm.sh/release-name: s, meta.helm.sh/release-namespace: sluice-system},", 1),
			want:    whole,
		},
		"CRDs": {
			objects: all + "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: scaledobjects.keda.sh}}", Options: Options{CRDs: true},
			want: append(slices.Clone(whole), "delete CustomResourceDefinition scaledobjects.keda.sh"), note: "with ScaledObjects go their HPAs",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Look(t.Context(), cluster(t, tt.objects), tt.Options)
			if err != nil {
				t.Fatal(err)
			}
			if refused := strings.Join(p.Refused, "\n"); (tt.refused == "") != (refused == "") || !strings.Contains(refused, tt.refused) {
				t.Errorf("refused %q, want %q", refused, tt.refused)
			}
			if tt.refused != "" {
				tt.want = []string{}
			}
			if have := steps(p); !slices.Equal(have, tt.want) {
				t.Errorf("steps\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(tt.want, "\n"))
			}
			if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, tt.note) {
				t.Errorf("notes %q, want %q", notes, tt.note)
			}
		})
	}
}

// TestRun: the finalizers of others stay on an object, and so does the object.
func TestRun(t *testing.T) {
	c := cluster(t, restored)
	p, err := Look(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context(), c, func(*Step) {}); err != nil {
		t.Fatal(err)
	}
	o, err := c.get(t.Context(), ofUsers[0], "shop", "orders")
	if err != nil || o == nil || !slices.Equal(o.Finalizers, []string{"other.example/kept"}) {
		t.Errorf("%v, %v", o, err)
	}
	if p.Steps[0].State != Done {
		t.Errorf("%+v", p.Steps[0])
	}
}

// TestAStepThatFails: those behind it are not done, and all that may not be done
// is told before the first.
func TestAStepThatFails(t *testing.T) {
	c := cluster(t, all)
	refuse := func(fake *metadatafake.FakeMetadataClient, resource string) {
		fake.PrependReactor("delete", resource, func(k8stesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "x", errors.New("no role"))
		})
	}
	fake := c.objects.(*metadatafake.FakeMetadataClient) //nolint:forcetypeassert // it was made above
	refuse(fake, "apiservices")
	refuse(fake, "clusterroles")
	p, err := Look(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Try(t.Context(), c); err == nil || !strings.Contains(err.Error(), "APIService v1beta1.external.metrics.k8s.io: ") || !strings.Contains(err.Error(), "ClusterRole sluice-controller: ") {
		t.Errorf("%v", err)
	}
	var done []string
	c.whole = dynamicfake.NewSimpleDynamicClient(runtime.NewScheme()) // nothing is waited for
	err = p.Run(t.Context(), c, func(s *Step) { done = append(done, s.object()) })
	if err == nil || !slices.Equal(done, []string{"Deployment sluice-system/controller"}) || p.Steps[1].State != Failed || p.Steps[3].State != Planned {
		t.Errorf("%v after %v", err, done)
	}
}

// TestWhatDoesNotEnd: it is told with what keeps it.
func TestWhatDoesNotEnd(t *testing.T) {
	c := cluster(t, strings.Replace(home, "name: sluice-system,", "name: sluice-system, finalizers: [kubernetes], deletionTimestamp: '2026-05-01T11:00:00Z',", 1)+`
{apiVersion: v1, kind: Pod, metadata: {name: controller-1, namespace: sluice-system, labels: {app.kubernetes.io/part-of: sluice, app.kubernetes.io/name: controller}}}`)
	p, err := Look(t.Context(), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Run(ctx, c, func(*Step) {}); err == nil || !strings.Contains(err.Error(), "a controller has not ended, and nothing else was removed: Pod controller-1") {
		t.Errorf("%v", err)
	}
}

// TestPrint: many of a kind are one line.
func TestPrint(t *testing.T) {
	p, err := Look(t.Context(), cluster(t, all+strings.ReplaceAll(restored, "orders", "carts")), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := p.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Sluice in namespace sluice-system of https://example\n", "  take the finalizer off 2 of ScaledObject in shop\n", "\nKept\n  ScaledObject 2\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
