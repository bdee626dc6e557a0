package deploy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// layer writes a kustomization of paths in this folder, as a user would, and
// returns where it is.
func layer(t *testing.T, resources, components []string) string {
	t.Helper()
	// A resource of a kustomization must not be outside of a volume; a relative
	// path from anywhere else leads there.
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for name, paths := range map[string][]string{"resources": resources, "components": components} {
		text += name + ":\n"
		for _, path := range paths {
			absolute, err := filepath.Abs(path)
			if err != nil {
				t.Fatal(err)
			}
			relative, err := filepath.Rel(dir, absolute)
			if err != nil {
				t.Fatal(err)
			}
			text += "  - " + relative + "\n"
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestShadow holds what is applied beside a KEDA against what a KEDA has under the
// same names: nothing of the whole cluster but Sluice's own.
func TestShadow(t *testing.T) {
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).
		Run(filesys.MakeFsOnDisk(), layer(t, []string{all}, []string{"components/shadow"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rendered.Resources() {
		switch r.GetKind() {
		case "Namespace", "ClusterRole", "ClusterRoleBinding":
			if !strings.HasPrefix(r.GetName(), "sluice-") && !strings.HasPrefix(r.GetName(), "scaler-") {
				t.Errorf("%s %s may be KEDA's", r.GetKind(), r.GetName())
			}
		default:
			if r.GetNamespace() != "sluice-system" && r.GetNamespace() != "sluice-pki" && r.GetNamespace() != "kube-system" {
				t.Errorf("%s %s/%s may be KEDA's", r.GetKind(), r.GetNamespace(), r.GetName())
			}
		}
	}
	for _, d := range of[appsv1.Deployment](render(t, layer(t, []string{all}, []string{"components/shadow"}))) {
		switch d.Name {
		case "controller":
			if !slices.Contains(d.Spec.Template.Spec.Containers[0].Args, "--shadow") {
				t.Error("the controller would lead")
			}
		case "metrics-adapter":
			if *d.Spec.Replicas != 0 {
				t.Errorf("%d metrics adapters that nobody asks", *d.Spec.Replicas)
			}
		}
	}
}

// TestRestoreRegistration: the controller may create what it puts back, and update
// no more than what it may anyway.
func TestRestoreRegistration(t *testing.T) {
	objects := render(t, layer(t, []string{all}, []string{"components/restore-registration"}))
	for _, d := range of[appsv1.Deployment](objects) {
		if restores := slices.Contains(d.Spec.Template.Spec.Containers[0].Args, "--restore-registration"); restores != (d.Name == "controller") {
			t.Errorf("%s restores: %v", d.Name, restores)
		}
	}
	found := false
	for _, r := range of[rbacv1.ClusterRole](objects) {
		if r.Name != "sluice-controller-registration" {
			continue
		}
		found = true
		for _, rule := range r.Rules {
			if !slices.Equal(rule.Verbs, []string{"create"}) {
				t.Errorf("%v of %v", rule.Verbs, rule.Resources)
			}
		}
	}
	if !found {
		t.Error("no role")
	}
}

// TestCertManager holds the component against what the controller would sign:
// the same Secrets for the same names, and nothing left of the controller's own
// authority.
func TestCertManager(t *testing.T) {
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).
		Run(filesys.MakeFsOnDisk(), layer(t, []string{all}, []string{"components/cert-manager"}))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, family := range families(t) {
		names["scaler-"+family+"-tls"] = family + ".scaler.sluice-system"
	}
	names["controller-tls"] = "controller.core.sluice-system"
	names["metrics-adapter-tls"] = "metrics-adapter.core.sluice-system"
	for _, r := range rendered.Resources() {
		switch {
		case r.GetKind() == "Certificate" && r.GetNamespace() == "sluice-system":
			if secret, err := r.GetString("spec.secretName"); err != nil || secret != r.GetName() {
				t.Errorf("Certificate %s: Secret %q, %v", r.GetName(), secret, err)
			}
			if dns, err := r.GetSlice("spec.dnsNames"); err != nil || dns[0] != names[r.GetName()] {
				t.Errorf("Certificate %s: names %v, %v, want first %s", r.GetName(), dns, err, names[r.GetName()])
			}
			delete(names, r.GetName())
		case r.GetKind() == "Secret", r.GetName() == "sluice-pki", r.GetNamespace() == "sluice-pki",
			strings.HasSuffix(r.GetName(), "-signer"), r.GetName() == "sluice-controller-trust":
			t.Errorf("%s %s is left", r.GetKind(), r.GetName())
		case r.GetKind() == "Deployment" && r.GetName() == "controller":
			if text := r.MustYaml(); !strings.Contains(text, "--enable-cert-rotation=false") {
				t.Errorf("the controller still signs: %s", text)
			}
		case r.GetKind() == "APIService", r.GetKind() == "ValidatingWebhookConfiguration":
			checkInjection(t, r)
		}
	}
	if len(names) > 0 {
		t.Errorf("no Certificate for %v", names)
	}
}

func checkInjection(t *testing.T, r *resource.Resource) {
	t.Helper()
	if from := r.GetAnnotations()["cert-manager.io/inject-ca-from"]; !strings.HasPrefix(from, "sluice-system/") || !strings.HasSuffix(from, "-tls") {
		t.Errorf("%s %s: authority from %q", r.GetKind(), r.GetName(), from)
	}
}

// TestKEDAIdentity has each family run as KEDA did: its Pods in namespace keda,
// its types known in sluice-system, its key readable by the account alone.
func TestKEDAIdentity(t *testing.T) {
	for _, family := range families(t) {
		t.Run(family, func(t *testing.T) {
			objects := render(t, layer(t, []string{"scalers/" + family, "components/keda-identity/account"}, []string{"components/keda-identity"}))
			name := "scaler-" + family
			deployments := of[appsv1.Deployment](objects)
			if len(deployments) != 1 || deployments[0].Namespace != "keda" || deployments[0].Spec.Template.Spec.ServiceAccountName != "keda-operator" ||
				!slices.Contains(deployments[0].Spec.Template.Spec.Containers[0].Args, "--installation=sluice-system") {
				t.Fatalf("Deployments = %+v", deployments)
			}
			for _, service := range of[corev1.Service](objects) {
				switch service.Namespace {
				case "keda":
					if service.Name != name || !selects(service.Spec.Selector, deployments[0]) {
						t.Errorf("Service %s selects %v", service.Name, service.Spec.Selector)
					}
				default:
					if service.Spec.ExternalName != name+".keda.svc.cluster.local" || len(service.Spec.Selector) > 0 {
						t.Errorf("Service %s = %+v", service.Name, service.Spec)
					}
				}
			}
			policies := of[networkingv1.NetworkPolicy](objects)
			if len(policies) != 1 || policies[0].Namespace != "keda" || !selects(policies[0].Spec.PodSelector.MatchLabels, deployments[0]) {
				t.Fatalf("policies = %+v", policies)
			}
			for _, peer := range policies[0].Spec.Ingress[0].From {
				if peer.NamespaceSelector == nil || peer.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"] != "sluice-system" {
					t.Errorf("%v may call", peer)
				}
			}
			for _, b := range of[rbacv1.ClusterRoleBinding](objects) {
				if len(b.Subjects) != 1 || b.Subjects[0].Namespace != "keda" || b.Subjects[0].Name != "keda-operator" {
					t.Errorf("ClusterRoleBinding %s = %+v", b.Name, b.Subjects)
				}
			}
			for _, b := range of[rbacv1.RoleBinding](objects) {
				if want := (rbacv1.Subject{Kind: "ServiceAccount", Name: "keda-operator", Namespace: "keda"}); b.Name == name+"-tls" && !slices.Equal(b.Subjects, []rbacv1.Subject{want}) {
					t.Errorf("RoleBinding %s = %+v", b.Name, b.Subjects)
				}
			}
		})
	}
}

// TestUnderKEDA has each family alone, as the external scaler of another KEDA: its
// certificate is for the addresses that KEDA dials, KEDA's key opens it, nothing
// refers to a core, and all roles that are bound are there.
func TestUnderKEDA(t *testing.T) {
	for _, family := range families(t) {
		t.Run(family, func(t *testing.T) {
			objects := kustomized(t, "under-keda/"+family)
			names := fmt.Sprint(objects["Certificate sluice-system/scaler-"+family+"-tls"].at("spec", "dnsNames"))
			if !strings.HasPrefix(names, "["+family+".scaler.sluice-system") {
				t.Errorf("names = %s", names)
			}
			services := 0
			for id, o := range objects {
				switch o["kind"] {
				case "Service":
					services++
					if !strings.Contains(names, o.at("metadata", "name").(string)+".sluice-system.svc ") {
						t.Errorf("%s is not among %s", id, names)
					}
				case "RoleBinding", "ClusterRoleBinding":
					role := object(o["roleRef"].(map[string]any))
					where := fmt.Sprint(role["kind"], " ", role["name"])
					if role["kind"] == "Role" {
						where = fmt.Sprint("Role sluice-system/", role["name"])
					}
					if account := o.at("subjects", 0, "name"); objects[where] == nil || account != "scaler-"+family {
						t.Errorf("%s binds %s, which is there: %v, to %v", id, where, objects[where] != nil, account)
					}
				case "Secret", "Role":
					if id != "Role sluice-system/scaler-"+family+"-tls" {
						t.Errorf("%s is left", id)
					}
				}
			}
			if services == 0 {
				t.Error("there is no Service")
			}
			checkUnderKEDA(t, objects, family)
		})
	}
}

// checkUnderKEDA holds both sides of one connection against each other, and both
// other ways to have it.
func checkUnderKEDA(t *testing.T, objects map[string]object, family string) {
	t.Helper()
	if names := fmt.Sprint(objects["Certificate keda/sluice-client"].at("spec", "dnsNames")); names != "[keda.client.sluice-system]" {
		t.Errorf("KEDA's names = %s", names)
	}
	deployment := objects["Deployment sluice-system/scaler-"+family]
	if args := deployment.at("spec", "template", "spec", "containers", 0, "args").([]any); !slices.Contains(args, any("--allow-client=keda")) {
		t.Errorf("arguments = %v", args)
	}
	for _, entry := range objects["ClusterTriggerAuthentication sluice"].at("spec", "secretTargetRef").([]any) {
		if secret := entry.(map[string]any)["name"]; secret != objects["Certificate keda/sluice-client"].at("spec", "secretName") {
			t.Errorf("KEDA reads Secret %v", secret)
		}
	}
	from := fmt.Sprint(objects["NetworkPolicy sluice-system/scaler-"+family].at("spec", "ingress", 0, "from"))
	if !strings.Contains(from, "keda-operator") || strings.Contains(from, "metrics-adapter") {
		t.Errorf("%s may call", from)
	}
	for component, want := range map[string]string{"own-keys": "--allow-client=keda", "plaintext": "--plaintext"} {
		for id, o := range kustomized(t, layer(t, []string{"under-keda/" + family}, []string{"components/under-keda/" + component})) {
			text := asYAML(t, o)
			switch {
			case strings.HasPrefix(o["apiVersion"].(string), "cert-manager.io/"), component == "plaintext" && strings.Contains(text, "-tls"):
				t.Errorf("%s: %s is left", component, id)
			case o["kind"] == "Deployment" && !strings.Contains(text, want):
				t.Errorf("%s: %s", component, text)
			case o["kind"] == "Service" && strings.Contains(text, "grpcs") != (component == "own-keys"):
				t.Errorf("%s: %s", component, text)
			}
		}
	}
}

// TestUnderKEDAAsThePageSays renders the layer of docs/under-keda.md.
func TestUnderKEDAAsThePageSays(t *testing.T) {
	page, err := os.ReadFile("../docs/under-keda.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "# sluice-kafka/kustomization.yaml")
	text, _, found := strings.Cut(text[strings.IndexByte(text, '\n'):], "```")
	dir := layer(t, []string{"under-keda/kafka"}, nil)
	deploy, err := filepath.Abs(".")
	if err != nil || !found {
		t.Fatalf("no layer in the page, %v", err)
	}
	relative, err := filepath.Rel(dir, deploy)
	if err != nil {
		t.Fatal(err)
	}
	text = strings.Replace(text, "../deploy", relative, 1)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	objects := kustomized(t, dir)
	if objects["Certificate kube-system/sluice-client"] == nil || objects["Certificate keda/sluice-client"] != nil {
		t.Errorf("KEDA's certificate is elsewhere: %v", slices.Sorted(maps.Keys(objects)))
	}
	container := asYAML(t, objects["Deployment sluice-system/scaler-kafka"])
	for _, want := range []string{"--allow-client=keda=shop,billing", "value: kube-system"} {
		if !strings.Contains(container, want) {
			t.Errorf("no %s: %s", want, container)
		}
	}
}

// The webhook's clients are known by the ConfigMap that the documentation makes.
func TestWebhookClientCA(t *testing.T) {
	for _, d := range of[appsv1.Deployment](render(t, layer(t, []string{all}, []string{"components/webhook-client-ca"}))) {
		if d.Name != "controller" {
			continue
		}
		pod := d.Spec.Template.Spec
		container := pod.Containers[0]
		if n := len(pod.Volumes); n != 1 || pod.Volumes[0].ConfigMap == nil || pod.Volumes[0].ConfigMap.Name != "webhook-client-ca" {
			t.Fatalf("volumes = %+v", pod.Volumes)
		}
		mounted := container.VolumeMounts[0]
		if mounted.Name != pod.Volumes[0].Name || !slices.Contains(container.Args, "--webhook-client-ca="+mounted.MountPath+"/ca.crt") {
			t.Errorf("mounted %+v, arguments %v", mounted, container.Args)
		}
		return
	}
	t.Error("there is no controller")
}

// What reads every Secret says so in its name, and never includes the core.
func TestReadEverySecretIsForFamilies(t *testing.T) {
	var got, want []string
	for _, b := range of[rbacv1.ClusterRoleBinding](render(t, layer(t, nil, []string{"components/read-every-secret"}))) {
		for _, subject := range b.Subjects {
			got = append(got, subject.Kind+" "+subject.Namespace+"/"+subject.Name)
		}
	}
	for _, family := range families(t) {
		want = append(want, "ServiceAccount sluice-system/scaler-"+family)
	}
	if !slices.Equal(got, want) {
		t.Errorf("subjects = %v, want %v", got, want)
	}
}

// TestNetworkPolicies holds the policy of each family, and of each part of the
// core, against the Pods that there are: what selects nobody closes nothing.
func TestNetworkPolicies(t *testing.T) {
	core := map[string][]string{"controller": {"webhook", "metrics", "health"}, "metrics-adapter": {"https", "metrics"}}
	for _, closed := range []bool{false, true} {
		var components []string
		if closed {
			components = []string{"components/closed-egress"}
		}
		objects := render(t, layer(t, []string{all}, components))
		policies := map[string]*networkingv1.NetworkPolicy{}
		for _, policy := range of[networkingv1.NetworkPolicy](objects) {
			policies[policy.Name] = policy
		}
		deployments := of[appsv1.Deployment](objects)
		for _, d := range deployments {
			policy := policies[d.Name]
			if policy == nil || policy.Namespace != d.Namespace || !selects(policy.Spec.PodSelector.MatchLabels, d) {
				t.Errorf("%s has no policy: %+v", d.Name, policy)
				continue
			}
			delete(policies, d.Name)
			if ports, ok := core[d.Name]; ok {
				if len(policy.Spec.Ingress) != 1 || !slices.Equal(portsOf(policy.Spec.Ingress[0].Ports), ports) {
					t.Errorf("%s: in %+v", d.Name, policy.Spec.Ingress)
				}
			} else {
				checkFromTheCoreAlone(t, policy, deployments)
			}
			checkEgress(t, policy, closed, core[d.Name] != nil)
		}
		for name := range policies {
			t.Errorf("policy %s is about nobody", name)
		}
	}
}

func portsOf(ports []networkingv1.NetworkPolicyPort) []string {
	var names []string
	for _, port := range ports {
		names = append(names, port.Port.String())
	}
	return names
}

func checkFromTheCoreAlone(t *testing.T, policy *networkingv1.NetworkPolicy, deployments []*appsv1.Deployment) {
	t.Helper()
	in := policy.Spec.Ingress
	if len(in) != 2 || !slices.Equal(portsOf(in[0].Ports), []string{"grpc"}) || !slices.Equal(portsOf(in[1].Ports), []string{"metrics"}) {
		t.Fatalf("%s: in %+v", policy.Name, in)
	}
	var callers []string
	for _, peer := range in[0].From {
		for _, d := range deployments {
			if peer.NamespaceSelector == nil && peer.IPBlock == nil && selects(peer.PodSelector.MatchLabels, d) {
				callers = append(callers, d.Name)
			}
		}
	}
	if !slices.Equal(callers, []string{"controller", "metrics-adapter"}) {
		t.Errorf("%s: %v may call", policy.Name, callers)
	}
}

func checkEgress(t *testing.T, policy *networkingv1.NetworkPolicy, closed, core bool) {
	t.Helper()
	if slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) != closed || !slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
		t.Errorf("%s: types %v, closed %t", policy.Name, policy.Spec.PolicyTypes, closed)
	}
	var out, want []string
	for _, rule := range policy.Spec.Egress {
		if len(rule.To) == 0 {
			t.Errorf("%s: out to everybody at %v", policy.Name, portsOf(rule.Ports))
		}
		out = append(out, strings.Join(portsOf(rule.Ports), " "))
	}
	if closed {
		want = []string{"53 53", "443 6443"}
	}
	if closed && core {
		want = append(want, "grpc")
	}
	if !slices.Equal(out, want) {
		t.Errorf("%s: out %v, want %v", policy.Name, out, want)
	}
}

// TestWhatTheUserAdds patches the policy of one family as the component says.
func TestWhatTheUserAdds(t *testing.T) {
	dir := layer(t, []string{all}, []string{"components/closed-egress"})
	path := filepath.Join(dir, "kustomization.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("components/closed-egress/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(example)) {
		if comment, is := strings.CutPrefix(line, "#   "); is && !strings.HasPrefix(comment, "components:") {
			text = append(text, comment...)
		}
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, policy := range of[networkingv1.NetworkPolicy](render(t, dir)) {
		rules := 2 // DNS and the API server
		if !strings.HasPrefix(policy.Name, "scaler-") || policy.Name == "scaler-kafka" {
			rules = 3
		}
		if len(policy.Spec.Egress) != rules {
			t.Errorf("%s: out %+v, want %d rules", policy.Name, policy.Spec.Egress, rules)
		}
	}
}
