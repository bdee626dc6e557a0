// Package deploy proves that the manifests in this folder say what they mean:
// they render, every object decodes strictly into its API type, and the rules
// that hold for all of them hold.
package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const all = "overlays/all"

// render builds one kustomization and decodes each object strictly: an unknown
// or repeated field is an error.
func render(t *testing.T, dir string) []runtime.Object {
	t.Helper()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	var objects []runtime.Object
	for _, resource := range rendered.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatalf("%s: %s: %v", dir, resource.CurId(), err)
		}
		objects = append(objects, strict(t, dir+": "+resource.CurId().String(), text))
	}
	return objects
}

// strict decodes an object.
func strict(t *testing.T, name string, text []byte) runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, apiregistrationv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	object, _, err := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer().Decode(text, nil, nil)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return object
}

// of returns the objects of one type.
func of[T any](objects []runtime.Object) []*T {
	var found []*T
	for _, object := range objects {
		if typed, ok := any(object).(*T); ok {
			found = append(found, typed)
		}
	}
	return found
}

// families returns the names of all families, which are the folders under
// ../scalers that have a main.go.
func families(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("../scalers/*/main.go")
	if err != nil || len(found) == 0 {
		t.Fatalf("families = %v, %v", found, err)
	}
	var names []string
	for _, file := range found {
		names = append(names, filepath.Base(filepath.Dir(file)))
	}
	return names
}

func TestEveryFamilyHasAFolder(t *testing.T) {
	entries, err := os.ReadDir("scalers")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if want := families(t); !slices.Equal(got, want) {
		t.Errorf("folders in scalers = %v, want %v: make generate writes them", got, want)
	}
}

func TestEveryKustomizationRendersStrictly(t *testing.T) {
	var dirs []string
	for _, pattern := range []string{"crds", "core", "scalers/*", "overlays/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, found...)
	}
	if len(dirs) < 8 {
		t.Fatalf("only %v found", dirs)
	}
	for _, dir := range dirs {
		t.Run(dir, func(t *testing.T) {
			if len(render(t, dir)) == 0 {
				t.Error("no objects")
			}
		})
	}
}

func TestOverlayAllHasEveryFamily(t *testing.T) {
	var want, got []string
	for _, family := range families(t) {
		want = append(want, "scaler-"+family)
	}
	for _, deployment := range of[appsv1.Deployment](render(t, all)) {
		if strings.HasPrefix(deployment.Name, "scaler-") {
			got = append(got, deployment.Name)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("families = %v, want %v", got, want)
	}
}

func TestPodsAreRestricted(t *testing.T) {
	for _, deployment := range of[appsv1.Deployment](render(t, all)) {
		t.Run(deployment.Name, func(t *testing.T) {
			pod := deployment.Spec.Template.Spec
			if s := pod.SecurityContext; s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot ||
				s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Errorf("pod security context = %+v", s)
			}
			if pod.HostNetwork || pod.HostPID || pod.HostIPC {
				t.Error("shares a namespace of the node")
			}
			if pod.ServiceAccountName != deployment.Name {
				t.Errorf("service account = %q, want one of its own", pod.ServiceAccountName)
			}
			if *deployment.Spec.Replicas != 2 {
				t.Errorf("replicas = %d, want 2", *deployment.Spec.Replicas)
			}
			for _, container := range pod.Containers {
				s := container.SecurityContext
				if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation ||
					s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
					s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
					t.Errorf("%s: security context = %+v", container.Name, s)
				}
				if container.Resources.Requests.Cpu().IsZero() || container.Resources.Requests.Memory().IsZero() ||
					container.Resources.Limits.Memory().IsZero() {
					t.Errorf("%s: resources = %+v", container.Name, container.Resources)
				}
				for name, probe := range map[string]*corev1.Probe{"liveness": container.LivenessProbe, "readiness": container.ReadinessProbe} {
					if probe == nil || probe.HTTPGet == nil || !hasPort(container, probe.HTTPGet.Port.StrVal) {
						t.Errorf("%s: %s probe = %+v, want HTTP on a named port", container.Name, name, probe)
					}
				}
			}
		})
	}
}

// TestFamiliesRememberWhatTheyCrashedOn: the folder that --state-dir names is
// written to, and outlives the container.
func TestFamiliesRememberWhatTheyCrashedOn(t *testing.T) {
	found := 0
	for _, d := range of[appsv1.Deployment](render(t, all)) {
		if d.Labels["sluice.dev/family"] == "" {
			continue
		}
		found++
		spec := d.Spec.Template.Spec
		dir := ""
		for _, arg := range spec.Containers[0].Args {
			if value, ok := strings.CutPrefix(arg, "--state-dir="); ok {
				dir = value
			}
		}
		mounts, volumes := spec.Containers[0].VolumeMounts, spec.Volumes
		mount := slices.IndexFunc(mounts, func(m corev1.VolumeMount) bool { return m.MountPath == dir && !m.ReadOnly })
		if mount < 0 || !slices.ContainsFunc(volumes, func(v corev1.Volume) bool { return v.Name == mounts[mount].Name && v.EmptyDir != nil }) {
			t.Errorf("%s: --state-dir=%s is no emptyDir", d.Name, dir)
		}
	}
	if want := len(families(t)); found != want {
		t.Errorf("%d families, want %d", found, want)
	}
}

func TestEveryDeploymentHasABudget(t *testing.T) {
	objects := render(t, all)
	for _, deployment := range of[appsv1.Deployment](objects) {
		selected := slices.ContainsFunc(of[policyv1.PodDisruptionBudget](objects), func(b *policyv1.PodDisruptionBudget) bool {
			return b.Namespace == deployment.Namespace && selects(b.Spec.Selector.MatchLabels, deployment)
		})
		if !selected {
			t.Errorf("%s: no PodDisruptionBudget selects it", deployment.Name)
		}
	}
}

func TestServicesReachAPort(t *testing.T) {
	objects := render(t, all)
	deployments := of[appsv1.Deployment](objects)
	for _, service := range of[corev1.Service](objects) {
		i := slices.IndexFunc(deployments, func(d *appsv1.Deployment) bool { return selects(service.Spec.Selector, d) })
		if i < 0 {
			t.Errorf("%s selects nothing", service.Name)
			continue
		}
		for _, port := range service.Spec.Ports {
			if !hasPort(deployments[i].Spec.Template.Spec.Containers[0], port.TargetPort.StrVal) {
				t.Errorf("%s: port %s leads to %q, which %s does not have", service.Name, port.Name, port.TargetPort.StrVal, deployments[i].Name)
			}
		}
	}
}

// TestTriggerTypesAreServices holds the Services against the reference pages,
// which name the family and the Service of each type.
func TestTriggerTypesAreServices(t *testing.T) {
	want := documented(t)
	for _, service := range of[corev1.Service](render(t, all)) {
		if !strings.HasPrefix(service.Name, "scaler-") {
			continue
		}
		family, known := want[service.Name]
		if !known || service.Labels["sluice.dev/family"] != family || service.Namespace != "sluice-system" {
			t.Errorf("Service %s/%s, family %q, is not expected", service.Namespace, service.Name, service.Labels["sluice.dev/family"])
		}
		if len(service.Spec.Ports) != 1 || service.Spec.Ports[0].Name != "grpc" {
			t.Errorf("%s: ports = %+v, want one named grpc", service.Name, service.Spec.Ports)
		}
		delete(want, service.Name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// documented returns the family of each Service that a reference page names.
func documented(t *testing.T) map[string]string {
	t.Helper()
	pages, err := filepath.Glob("../docs/triggers/*.md")
	if err != nil || len(pages) < len(families(t)) {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	found := map[string]string{}
	for _, page := range pages {
		if filepath.Base(page) == "README.md" {
			continue
		}
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile("(?m)^Family `(.+)`, found as the Service `(.+)`").FindSubmatch(text)
		if names == nil {
			t.Fatalf("%s names no family", page)
		}
		found[string(names[2])] = string(names[1])
	}
	return found
}

// Each process may read its own key, the controller may sign those of others,
// and that is all that any role we ship says about Secrets. A wildcard would
// include them.
func TestSecretsAreNamedOneByOne(t *testing.T) {
	objects := render(t, all)
	type role struct{ namespace, name string }
	rules := map[role][]rbacv1.PolicyRule{}
	for _, r := range of[rbacv1.ClusterRole](objects) {
		rules[role{"", r.Name}] = r.Rules
	}
	for _, r := range of[rbacv1.Role](objects) {
		rules[role{r.Namespace, r.Name}] = r.Rules
	}
	if len(rules) < 8 {
		t.Fatalf("only %d roles found", len(rules))
	}
	secrets := map[string]bool{}
	for _, secret := range of[corev1.Secret](objects) {
		secrets[secret.Namespace+"/"+secret.Name] = true
		if len(secret.Data)+len(secret.StringData) > 0 {
			// What a manifest says it would take back each time it is applied.
			t.Errorf("Secret %s has data", secret.Name)
		}
	}
	// Roles that a namespace may be granted with are bound by nobody here.
	bound := map[role]bool{}
	for _, b := range of[rbacv1.ClusterRoleBinding](objects) {
		bound[role{"", b.RoleRef.Name}] = true
	}
	for _, b := range of[rbacv1.RoleBinding](objects) {
		if b.RoleRef.Kind == "ClusterRole" {
			bound[role{"", b.RoleRef.Name}] = true
		} else {
			bound[role{b.Namespace, b.RoleRef.Name}] = true
		}
	}
	for where, list := range rules {
		if !bound[where] {
			continue
		}
		for _, rule := range list {
			if slices.Contains(rule.APIGroups, "*") {
				t.Errorf("%+v: %+v", where, rule)
			}
			if !slices.Contains(rule.APIGroups, "") || !slices.ContainsFunc(rule.Resources, func(r string) bool {
				return r == "*" || r == "secrets" || r == "configmaps" || strings.HasPrefix(r, "serviceaccounts")
			}) {
				continue
			}
			named := len(rule.ResourceNames) > 0 && !slices.ContainsFunc(rule.ResourceNames, func(name string) bool {
				return !secrets[where.namespace+"/"+name]
			})
			if where.namespace == "" || !named || !slices.Equal(rule.Resources, []string{"secrets"}) ||
				slices.ContainsFunc(rule.Verbs, func(v string) bool { return v != "get" && v != "watch" && v != "update" }) {
				t.Errorf("%+v: %+v", where, rule)
			}
		}
	}
}

// A family's key has its own Secret, which the family may read and the
// controller fill.
func TestEveryFamilyHasAKey(t *testing.T) {
	for _, family := range families(t) {
		objects := render(t, "scalers/"+family)
		name := "scaler-" + family + "-tls"
		if !slices.ContainsFunc(of[corev1.Secret](objects), func(s *corev1.Secret) bool { return s.Name == name && s.Namespace == "sluice-system" }) {
			t.Errorf("no Secret %s", name)
		}
		for account, verbs := range map[string][]string{"scaler-" + family: {"get", "watch"}, "controller": {"get", "update"}} {
			if got := verbsOn(objects, name, account); !slices.Equal(got, verbs) {
				t.Errorf("%s on Secret %s: %v, want %v", account, name, got, verbs)
			}
		}
		for _, service := range of[corev1.Service](objects) {
			if p := service.Spec.Ports[0].AppProtocol; p == nil || *p != "grpcs" {
				t.Errorf("Service %s: appProtocol is not grpcs", service.Name)
			}
		}
	}
}

// verbsOn are what the RoleBindings among objects let an account do with one
// Secret.
func verbsOn(objects []runtime.Object, secret, account string) (verbs []string) {
	for _, binding := range of[rbacv1.RoleBinding](objects) {
		if !slices.ContainsFunc(binding.Subjects, func(s rbacv1.Subject) bool { return s.Name == account }) {
			continue
		}
		for _, role := range of[rbacv1.Role](objects) {
			if role.Name != binding.RoleRef.Name {
				continue
			}
			for _, rule := range role.Rules {
				if slices.Contains(rule.ResourceNames, secret) {
					verbs = append(verbs, rule.Verbs...)
				}
			}
		}
	}
	return verbs
}

func TestRolesAreBoundToAccountsThatExist(t *testing.T) {
	objects := render(t, all)
	accounts := map[string]bool{"kube-system/horizontal-pod-autoscaler": true}
	for _, account := range of[corev1.ServiceAccount](objects) {
		accounts[account.Namespace+"/"+account.Name] = true
	}
	roles := map[string]bool{
		"ClusterRole/system:auth-delegator":              true,
		"Role/extension-apiserver-authentication-reader": true,
	}
	for _, role := range of[rbacv1.ClusterRole](objects) {
		roles["ClusterRole/"+role.Name] = true
	}
	for _, role := range of[rbacv1.Role](objects) {
		roles["Role/"+role.Name] = true
	}
	check := func(binding string, role rbacv1.RoleRef, subjects []rbacv1.Subject) {
		if !roles[role.Kind+"/"+role.Name] {
			t.Errorf("%s: no %s %s", binding, role.Kind, role.Name)
		}
		for _, subject := range subjects {
			if !accounts[subject.Namespace+"/"+subject.Name] {
				t.Errorf("%s: no ServiceAccount %s/%s", binding, subject.Namespace, subject.Name)
			}
		}
	}
	for _, b := range of[rbacv1.ClusterRoleBinding](objects) {
		check(b.Name, b.RoleRef, b.Subjects)
	}
	for _, b := range of[rbacv1.RoleBinding](objects) {
		check(b.Name, b.RoleRef, b.Subjects)
	}
}

// A namespace is granted to a family in three lines: a kustomization with that
// namespace and the family's component.
func TestNamespacesAreGrantedFamilyByFamily(t *testing.T) {
	granted, err := filepath.Glob("components/grant-namespace/*")
	if err != nil || len(granted) < 3 {
		t.Fatalf("components = %v, %v", granted, err)
	}
	for _, component := range granted {
		family := filepath.Base(component)
		t.Run(family, func(t *testing.T) {
			fs := filesys.MakeFsOnDisk()
			overlay, err := filesys.NewTmpConfirmedDir()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = fs.RemoveAll(overlay.String()) })
			absolute, err := filepath.Abs(component)
			if err != nil {
				t.Fatal(err)
			}
			relative, err := filepath.Rel(overlay.String(), absolute)
			if err != nil {
				t.Fatal(err)
			}
			text := "namespace: shop\ncomponents: [" + relative + "]\n"
			if err := fs.WriteFile(overlay.Join("kustomization.yaml"), []byte(text)); err != nil {
				t.Fatal(err)
			}
			objects := render(t, overlay.String())
			bindings := of[rbacv1.RoleBinding](objects)
			if len(objects) != 1 || len(bindings) != 1 {
				t.Fatalf("%d objects, want one RoleBinding", len(objects))
			}
			b := bindings[0]
			want := rbacv1.Subject{Kind: "ServiceAccount", Name: "scaler-" + family, Namespace: "sluice-system"}
			if b.Namespace != "shop" || b.RoleRef.Kind != "ClusterRole" || b.RoleRef.Name != "sluice-scaler-credentials" ||
				len(b.Subjects) != 1 || b.Subjects[0] != want {
				t.Errorf("binding = %+v", b)
			}
		})
	}
}

// Images are named in images/kustomization.yaml and nowhere else: an image
// that it does not know would be rendered without a tag.
func TestImagesAreNamedInOneFile(t *testing.T) {
	for _, deployment := range of[appsv1.Deployment](render(t, all)) {
		for _, container := range deployment.Spec.Template.Spec.Containers {
			if want := "localhost/sluice/" + deployment.Name + ":dev"; container.Image != want {
				t.Errorf("%s: image = %q, want %q", deployment.Name, container.Image, want)
			}
		}
	}
}

// TestReplicasAreSpreadOverNodes proves that a node which goes takes no process
// away altogether, and that a cluster of one node runs all of them.
func TestReplicasAreSpreadOverNodes(t *testing.T) {
	for _, deployment := range of[appsv1.Deployment](render(t, all)) {
		spread := slices.ContainsFunc(deployment.Spec.Template.Spec.TopologySpreadConstraints, func(c corev1.TopologySpreadConstraint) bool {
			return c.TopologyKey == corev1.LabelHostname && c.MaxSkew == 1 && c.WhenUnsatisfiable == corev1.ScheduleAnyway &&
				c.LabelSelector != nil && selects(c.LabelSelector.MatchLabels, deployment) && slices.Contains(c.MatchLabelKeys, "app.kubernetes.io/name")
		})
		if !spread {
			t.Errorf("%s: %+v", deployment.Name, deployment.Spec.Template.Spec.TopologySpreadConstraints)
		}
	}
}

// selects reports whether a selector matches a Deployment's Pods.
func selects(selector map[string]string, deployment *appsv1.Deployment) bool {
	return labels.SelectorFromSet(selector).Matches(labels.Set(deployment.Spec.Template.Labels))
}

// hasPort reports whether a container names this port.
func hasPort(container corev1.Container, name string) bool {
	return slices.ContainsFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.Name == name })
}

// TestWebhooksAreServed holds the configuration of admission against KEDA's
// names and against what stands behind it.
func TestWebhooksAreServed(t *testing.T) {
	objects := render(t, all)
	configurations := of[admissionregistrationv1.ValidatingWebhookConfiguration](objects)
	if len(configurations) != 1 || configurations[0].Name != "keda-admission" {
		t.Fatalf("%d configurations, want keda-admission", len(configurations))
	}
	want := map[string]string{ // name: resource
		"vscaledobject.kb.io": "scaledobjects", "vscaledjob.kb.io": "scaledjobs",
		"vstriggerauthentication.kb.io": "triggerauthentications", "vsclustertriggerauthentication.kb.io": "clustertriggerauthentications",
	}
	for _, webhook := range configurations[0].Webhooks {
		resource, known := want[webhook.Name]
		delete(want, webhook.Name)
		service, rule := webhook.ClientConfig.Service, webhook.Rules[0]
		if !known || len(webhook.Rules) != 1 || !slices.Equal(rule.Resources, []string{resource}) ||
			*service.Path != "/validate-keda-sh-v1alpha1-"+strings.TrimSuffix(resource, "s") {
			t.Errorf("%s: rules %+v, path %s", webhook.Name, webhook.Rules, *service.Path)
		}
		if *webhook.FailurePolicy != admissionregistrationv1.Ignore || *webhook.MatchPolicy != admissionregistrationv1.Equivalent ||
			*webhook.SideEffects != admissionregistrationv1.SideEffectClassNone || *webhook.TimeoutSeconds != 10 {
			t.Errorf("%s: not as KEDA's: %+v", webhook.Name, webhook)
		}
		served := slices.ContainsFunc(of[corev1.Service](objects), func(s *corev1.Service) bool {
			return s.Name == service.Name && s.Namespace == service.Namespace && s.Spec.Ports[0].Port == *service.Port
		})
		if !served {
			t.Errorf("%s: no Service %s/%s with port %d", webhook.Name, service.Namespace, service.Name, *service.Port)
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// TestUsersMayReadAndWriteTheirObjects holds KEDA's two roles for users against
// the CRDs: each group that has one is in both.
func TestUsersMayReadAndWriteTheirObjects(t *testing.T) {
	objects := render(t, all)
	var groups []string
	for _, crd := range of[apiextensionsv1.CustomResourceDefinition](objects) {
		groups = append(groups, crd.Spec.Group)
	}
	slices.Sort(groups)
	groups = slices.Compact(groups)
	for name, want := range map[string]struct {
		verb string
		into []string
	}{
		"keda:view": {"list", []string{"view", "edit", "admin"}},
		"keda:edit": {"create", []string{"edit", "admin"}},
	} {
		found := of[rbacv1.ClusterRole](objects)
		i := slices.IndexFunc(found, func(r *rbacv1.ClusterRole) bool { return r.Name == name })
		if i < 0 {
			t.Errorf("no ClusterRole %s", name)
			continue
		}
		for _, role := range want.into {
			if found[i].Labels["rbac.authorization.k8s.io/aggregate-to-"+role] != "true" {
				t.Errorf("%s is not a part of %s", name, role)
			}
		}
		for _, group := range groups {
			if !slices.ContainsFunc(found[i].Rules, func(r rbacv1.PolicyRule) bool {
				return slices.Contains(r.APIGroups, group) && slices.Contains(r.Resources, "*") && slices.Contains(r.Verbs, want.verb)
			}) {
				t.Errorf("%s may not %s the objects of %s", name, want.verb, group)
			}
		}
	}
}
