package deploy

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/sluice-autoscaler/sluice/deploy/chart"
	known "github.com/sluice-autoscaler/sluice/deploy/families"
)

const helmChart = "helm/sluice"

// helm runs Helm and returns what it prints, and what it complains of.
func helm(t *testing.T, args ...string) (string, string, error) {
	t.Helper()
	program, err := filepath.Abs("../bin/tools/helm")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: make bin/tools/helm builds it", err)
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG="+os.DevNull)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err = cmd.Run()
	return out.String(), complaints.String(), err
}

// object is one of the rendered ones.
type object map[string]any

// id tells it from the others.
func (o object) id() string {
	name, _ := o.at("metadata", "name").(string)
	namespace, _ := o.at("metadata", "namespace").(string)
	kind, _ := o["kind"].(string)
	if namespace != "" {
		name = namespace + "/" + name
	}
	return kind + " " + name
}

// at follows a path of keys and numbers, nil where it leads nowhere.
func (o object) at(path ...any) any {
	var here any = map[string]any(o)
	for _, step := range path {
		switch step := step.(type) {
		case string:
			inside, _ := here.(map[string]any)
			here = inside[step]
		case int:
			list, _ := here.([]any)
			if step >= len(list) {
				return nil
			}
			here = list[step]
		}
	}
	return here
}

// template renders the chart with values, as YAML, without a cluster.
func template(t *testing.T, chart, values string, args ...string) map[string]object {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	out, complaints, err := helm(t, append([]string{"template", "sluice", chart, "--namespace", "sluice-system", "--values", file}, args...)...)
	if err != nil {
		t.Fatalf("helm template: %v: %s\n%s", err, complaints, values)
	}
	return documents(t, out)
}

func documents(t *testing.T, text string) map[string]object {
	t.Helper()
	objects := map[string]object{}
	for document := range strings.SplitSeq("\n"+text, "\n---\n") {
		o := object{}
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		if len(o) == 0 {
			continue
		}
		if objects[o.id()] != nil {
			t.Errorf("%s is there twice", o.id())
		}
		objects[o.id()] = o
	}
	return objects
}

// kustomized are the objects that a kustomization renders.
func kustomized(t *testing.T, dir string) map[string]object {
	t.Helper()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := rendered.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return documents(t, string(text))
}

// different compares what two sets have, object by object.
func different(t *testing.T, got, want map[string]object) {
	t.Helper()
	for id, o := range want {
		if got[id] == nil {
			t.Errorf("%s is missing", id)
		} else if !reflect.DeepEqual(got[id], o) {
			t.Errorf("%s is\n%s, want\n%s", id, asYAML(t, got[id]), asYAML(t, o))
		}
	}
	for id := range got {
		if want[id] == nil {
			t.Errorf("%s is there and should not be", id)
		}
	}
}

func asYAML(t *testing.T, o object) string {
	t.Helper()
	text, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestHelmRendersWhatKustomizeDoes holds the chart against the kustomizations:
// by default everything, and with cert-manager what the component makes of it.
// The one difference is that Helm never deletes a CRD.
func TestHelmRendersWhatKustomizeDoes(t *testing.T) {
	certified := layer(t, []string{all}, []string{"components/cert-manager"})
	for name, compare := range map[string]struct{ kustomization, values string }{
		"default":      {all, ""},
		"cert-manager": {certified, "certificates: {certManager: {enabled: true}}"},
	} {
		t.Run(name, func(t *testing.T) {
			want := kustomized(t, compare.kustomization)
			for _, o := range want {
				if o["kind"] == "CustomResourceDefinition" {
					o.at("metadata", "annotations").(map[string]any)["helm.sh/resource-policy"] = "keep"
				}
			}
			// Where the component adds an argument that says otherwise, the chart
			// takes the first one out.
			container := want["Deployment sluice-system/controller"].at("spec", "template", "spec", "containers", 0).(map[string]any)
			if args := container["args"].([]any); slices.Contains(args, any("--enable-cert-rotation=false")) {
				container["args"] = slices.DeleteFunc(args, func(arg any) bool { return arg == "--enable-cert-rotation" })
			}
			different(t, template(t, helmChart, compare.values), want)
		})
	}
}

// TestInPlaceOfKEDAsFile holds the overlay that goes over KEDA's YAML file against
// the chart's profile for KEDA's release, under the names of the file. What belongs
// to KEDA's namespace is left alone there.
func TestInPlaceOfKEDAsFile(t *testing.T) {
	want := template(t, helmChart, "{sluice: {profile: keda}, metricsServer: {name: keda-metrics-apiserver}}", "--namespace", "keda")
	for _, theirs := range []string{"Namespace keda", "ServiceAccount keda/keda-operator"} {
		if want[theirs] == nil {
			t.Errorf("the chart has no %s", theirs)
		}
		delete(want, theirs)
	}
	for _, o := range want {
		switch o["kind"] {
		case "CustomResourceDefinition":
			delete(o.at("metadata", "annotations").(map[string]any), "helm.sh/resource-policy")
		case "Deployment":
			container := o.at("spec", "template", "spec", "containers", 0).(map[string]any)
			container["env"] = slices.DeleteFunc(container["env"].([]any), func(v any) bool { // which is the default
				return reflect.DeepEqual(v, map[string]any{"name": "KEDA_CLUSTER_OBJECT_NAMESPACE", "value": "keda"})
			})
		}
	}
	different(t, kustomized(t, "overlays/keda"), want)

	for id, o := range kustomized(t, layer(t, []string{"core", "scalers/kafka"}, []string{"components/keda-in-place"})) {
		if strings.Contains(asYAML(t, o), "sluice-system") {
			t.Errorf("%s with one family: %s", id, asYAML(t, o))
		}
	}
}

// bare is the chart without the defaults of its values: --reuse-values brings
// those of the chart before, which may be KEDA's.
func bare(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sluice")
	if err := os.CopyFS(dir, os.DirFS(helmChart)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "values.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestValuesHaveTheirDefaultsInTheTemplates renders without any.
func TestValuesHaveTheirDefaultsInTheTemplates(t *testing.T) {
	different(t, template(t, bare(t), ""), template(t, helmChart, ""))
}

// TestHelmLints has Helm look at the chart, and every object decode strictly.
func TestHelmLints(t *testing.T) {
	if out, complaints, err := helm(t, "lint", "--strict", helmChart); err != nil {
		t.Errorf("helm lint: %v\n%s%s", err, out, complaints)
	}
	var objects []runtime.Object
	for _, o := range template(t, helmChart, "") {
		objects = append(objects, strict(t, o.id(), []byte(asYAML(t, o))))
	}
	if len(objects) < 100 {
		t.Errorf("%d objects", len(objects))
	}
}

// TestTheReleaseHasAnyNamespace renders into another.
func TestTheReleaseHasAnyNamespace(t *testing.T) {
	for id, o := range template(t, helmChart, "", "--namespace", "elsewhere") {
		if text := asYAML(t, o); strings.Contains(text, "sluice-system") {
			t.Errorf("%s names sluice-system:\n%s", id, text)
		}
	}
}

// TestTheProfileOfKEDA renders under KEDA's names: every account, role and Service
// that an object names is there, and no name stands twice.
func TestTheProfileOfKEDA(t *testing.T) {
	for name, values := range map[string]string{
		"by its name":      "sluice: {profile: keda}",
		"KEDA's own names": "{sluice: {profile: keda}, operator: {name: keda-operator}, metricsServer: {name: keda-operator-metrics-apiserver}, webhooks: {name: keda-admission-webhooks}, serviceAccount: {operator: {name: keda-operator}, metricServer: {name: keda-metrics-server}}}",
		"other names":      "{sluice: {profile: keda}, operator: {name: boss}, metricsServer: {name: numbers}, webhooks: {name: hooks}, serviceAccount: {operator: {name: the-account}, metricServer: {name: numbers-account}}}",
		"each its own":     "sluice: {profile: keda, identity: perFamily}",
	} {
		t.Run(name, func(t *testing.T) {
			objects := template(t, helmChart, values, "--namespace", "keda")
			there := func(kind string, name any) {
				t.Helper()
				if _, ok := objects[kind+" keda/"+name.(string)]; !ok {
					t.Errorf("%s %s is named, and not there", kind, name)
				}
			}
			for id, o := range objects {
				if strings.Contains(asYAML(t, o), "sluice-system") {
					t.Errorf("%s names sluice-system", id)
				}
				switch o.at("kind") {
				case "Deployment":
					there("ServiceAccount", o.at("spec", "template", "spec", "serviceAccountName"))
					labels := o.at("spec", "template", "metadata", "labels").(map[string]any)
					for key, value := range o.at("spec", "selector", "matchLabels").(map[string]any) {
						if labels[key] != value {
							t.Errorf("%s selects %s=%v, and has %v", id, key, value, labels)
						}
					}
				case "APIService":
					there("Service", o.at("spec", "service", "name"))
				case "RoleBinding", "ClusterRoleBinding":
					seen := map[any]bool{}
					for _, subject := range o.at("subjects").([]any) {
						s := object(subject.(map[string]any))
						if s.at("namespace") == "keda" {
							there("ServiceAccount", s.at("name"))
						}
						if seen[s.at("name")] {
							t.Errorf("%s names %s twice", id, s.at("name"))
						}
						seen[s.at("name")] = true
					}
				}
			}
		})
	}
}

// notes are what Helm prints after the installation, which it renders for
// nobody else: here they become a manifest.
func notes(t *testing.T, values string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sluice")
	if err := os.CopyFS(dir, os.DirFS(helmChart)); err != nil {
		t.Fatal(err)
	}
	text := `{{ dict "kind" "Notes" "metadata" (dict "name" "notes") "text" (include "sluice.notes" .) | toYaml }}`
	if err := os.WriteFile(filepath.Join(dir, "templates/notes.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return template(t, dir, values)["Notes notes"].at("text").(string)
}

func TestNotes(t *testing.T) {
	const forgotten = "These values do nothing here"
	for name, check := range map[string]struct {
		values    string
		say, hush []string
	}{
		"default": {"", []string{"cron", "kafka", "no cluster to ask", "none yet (sluice.grants.namespaces)"}, []string{forgotten, "every Secret", "NOT SERVED"}},
		"some families": {
			"families: {select: none, kafka: {enabled: true}}", []string{"the families kafka (families.select: none)"}, []string{"redis"},
		},
		"what does nothing": {
			"{image: {keda: {tag: '2.17'}}, extraArgs: {keda: {zap-devel: true, foo: 1}}, asciiArt: false, webhooks: {revisionHistoryLimit: 3}}",
			[]string{forgotten, "\n  image.keda.tag", "\n  extraArgs.keda.foo", "\n  asciiArt", "\n  webhooks.revisionHistoryLimit"},
			[]string{"zap-devel"},
		},
		"KEDA's own defaults": {
			"{image: {keda: {tag: '', registry: ghcr.io}}, asciiArt: true, resources: {webhooks: {limits: {cpu: 1, memory: 1000Mi}, requests: {cpu: 100m, memory: 100Mi}}}}",
			nil, []string{forgotten},
		},
		"every Secret":      {"{permissions: {operator: {restrict: {secret: false}}}}", []string{"may read every Secret"}, []string{"none yet"}},
		"namespaces":        {"{sluice: {grants: {namespaces: [shop, bar]}}}", []string{"granted: shop, bar"}, []string{"none yet"}},
		"a cloud's trust":   {"{podIdentity: {aws: {irsa: {enabled: true, roleArn: 'arn:x'}}}}", []string{"system:serviceaccount:sluice-system:scaler-aws\n"}, []string{"scaler-cron\n"}},
		"keys of one's own": {"{certificates: {autoGenerated: false}}", []string{"scaler-kafka-tls: kafka.scaler.sluice-system"}, nil},
		"KEDA's release":    {"{sluice: {profile: keda}}", []string{"helm rollback", "run as keda-operator", "may read every Secret"}, []string{"none yet"}},
		"no roles":          {"{rbac: {create: false}}", []string{"yours to make"}, nil},
		"every kind":        {"{rbac: {scaledRefKinds: [{apiGroup: '*', kind: '*'}]}}", []string{"nothing is granted"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			text := notes(t, check.values)
			for _, want := range check.say {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
			for _, no := range check.hush {
				if strings.Contains(text, no) {
					t.Errorf("%q in\n%s", no, text)
				}
			}
		})
	}
}

// TestAlertsAreThereWhereTheyCanBe: by default where the cluster knows the kind, and
// as the component has them.
func TestAlertsAreThereWhereTheyCanBe(t *testing.T) {
	const kind = "PrometheusRule sluice-system/sluice-alerts"
	for name, c := range map[string]struct {
		values string
		known  bool
		there  bool
	}{
		"no such kind":           {"", false, false},
		"the kind":               {"", true, true},
		"the kind is not wanted": {"prometheus: {alerts: {enabled: false}}", true, false},
		"wanted":                 {"prometheus: {alerts: {enabled: true}}", false, true},
		"null is not given":      {"prometheus: {alerts: {enabled: null}}", true, true},
		"labels leave the rule":  {"prometheus: {alerts: {additionalLabels: {}}}", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			var args []string
			if c.known {
				args = []string{"--api-versions", "monitoring.coreos.com/v1"}
			}
			rule := template(t, helmChart, c.values, args...)[kind]
			if (rule != nil) != c.there {
				t.Fatalf("there: %v", rule != nil)
			}
			want := kustomized(t, layer(t, []string{all}, []string{"components/alerts"}))[kind]
			if want == nil || c.there && !reflect.DeepEqual(rule, want) {
				t.Errorf("%v, want %v", rule, want)
			}
		})
	}
}

// TestDashboardsAreThoseOfTheComponent where they are wanted, and not there where
// they are not.
func TestDashboardsAreThoseOfTheComponent(t *testing.T) {
	without, with := template(t, helmChart, ""), template(t, helmChart, "sluice: {dashboards: {enabled: true}}")
	component := kustomized(t, layer(t, []string{all}, []string{"components/dashboards"}))
	for _, name := range []string{"keda", "sluice"} {
		id := "ConfigMap sluice-system/sluice-dashboard-" + name
		if without[id] != nil {
			t.Errorf("%s is there by default", id)
		}
		if component[id] == nil || !reflect.DeepEqual(with[id], component[id]) {
			t.Errorf("%s of the chart is not that of the component", id)
		}
	}
}

// TestWrongValuesAreRefusedByName gives keys that are not there and values of a
// wrong type.
func TestWrongValuesAreRefusedByName(t *testing.T) {
	for values, names := range map[string][]string{
		"operater: {replicaCount: 2}":                           {"operater"},
		"operator: {replicas: 2}":                               {"/operator", "replicas"},
		"operator: {replicaCount: two}":                         {"/operator/replicaCount", "integer"},
		"operator: {replicaCount: -1}":                          {"/operator/replicaCount", "minimum"},
		"families: {kafak: {enabled: true}}":                    {"/families", "kafak"},
		"families: {kafka: {enable: true}}":                     {"/families/kafka", "enable"},
		"families: {kafka: {enabled: 'yes'}}":                   {"/families/kafka/enabled", "boolean"},
		"families: {select: some}":                              {"/families/select", "inUse", "all", "none"},
		"sluice: {replicaCount: 2}":                             {"/sluice", "replicaCount"},
		"watchNamespace: [shop]":                                {"/watchNamespace", "string"},
		"webhooks: {failurePolicy: Retry}":                      {"/webhooks/failurePolicy", "Ignore", "Fail"},
		"prometheus: {operator: {podMonitor: {intervall: 1s}}}": {"/prometheus/operator/podMonitor", "intervall"},
		"nodeSelector: {a: [b]}":                                {"/nodeSelector/a"},
	} {
		t.Run(values, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
				t.Fatal(err)
			}
			_, complaints, err := helm(t, "template", "sluice", helmChart, "--values", file)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, name := range names {
				if !strings.Contains(complaints, name) {
					t.Errorf("no %q in %s", name, complaints)
				}
			}
		})
	}
}

// TestANewFamilyTouchesNoTemplate generates for a family that nobody has heard
// of, and has the templates of the chart install it.
func TestANewFamilyTouchesNoTemplate(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"core", "crds", "components/cert-manager", "images", "helm"} {
		if err := os.CopyFS(filepath.Join(root, "deploy", dir), os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(root, "docs"), os.DirFS("../docs")); err != nil {
		t.Fatal(err)
	}
	generate(t, root)
	list, err := known.Read(strings.NewReader(toys), filepath.Join(root, "deploy/scalers"))
	if err != nil {
		t.Fatal(err)
	}
	if err := chart.Write(root, list); err != nil {
		t.Fatal(err)
	}
	objects := template(t, filepath.Join(root, "deploy", helmChart), "families: {select: none, toy: {enabled: true, replicaCount: 1}}")
	if deployment := named(objects, "Deployment/scaler-toy"); deployment == nil || place(t, deployment, "spec.replicas") != "1" {
		t.Errorf("Deployment = %v", deployment)
	}
	for _, service := range []string{"Service/scaler-toy-car", "Service/scaler-toy-train"} {
		if named(objects, service) == nil {
			t.Errorf("no %s", service)
		}
	}
	if named(objects, "Deployment/scaler-plain") != nil {
		t.Error("the other family is there, too")
	}
	if _, err := os.Stat(filepath.Join(root, "deploy", helmChart, "files/families/kafka.yaml")); err == nil {
		t.Error("a family that is gone is in the chart")
	}
}

// TestAnOlderClusterIsRefused renders for one.
func TestAnOlderClusterIsRefused(t *testing.T) {
	if _, complaints, err := helm(t, "template", "sluice", helmChart, "--kube-version", "v1.33.9"); err == nil || !strings.Contains(complaints, "requires kubeVersion: >=1.34") {
		t.Errorf("%v, %s", err, complaints)
	}
}

// TestRestoringIsGrantedWhereItIsAskedFor: the flag brings the rights that the
// component has, to the controller alone, and nothing else does.
func TestRestoringIsGrantedWhereItIsAskedFor(t *testing.T) {
	const role, binding = "ClusterRole/sluice-controller-registration", "ClusterRoleBinding/sluice-controller-registration"
	text, err := os.ReadFile("components/restore-registration/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := named(documents(t, string(text)), role)
	for values, granted := range map[string]bool{
		"{}": false, "{extraArgs: {keda: {restore-registration: false}}}": false, "{extraArgs: {keda: {restore-registration: true}}}": true,
		"{extraArgs: {keda: {restore-registration: true}}, rbac: {create: false}}": false,
	} {
		objects := template(t, helmChart, values)
		have, bound := named(objects, role), named(objects, binding)
		if (have != nil) != granted || (bound != nil) != granted {
			t.Errorf("%s: %v, %v", values, have, bound)
		}
		if !granted {
			continue
		}
		if got, want := rulesOf(t, have), rulesOf(t, want); !slices.Equal(got, want) || len(want) == 0 {
			t.Errorf("rules %s, want %s", got, want)
		}
		if subjects := place(t, bound, "subjects"); !strings.Contains(subjects, `"name":"controller"`) || strings.Count(subjects, "ServiceAccount") != 1 {
			t.Errorf("bound to %s", subjects)
		}
	}
}

// rulesOf are the rules of a role, in an order of their own.
func rulesOf(t *testing.T, role object) []string {
	t.Helper()
	list, _ := role["rules"].([]any)
	var rules []string
	for _, rule := range list {
		text, err := json.Marshal(rule)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, string(text))
	}
	slices.Sort(rules)
	return rules
}
