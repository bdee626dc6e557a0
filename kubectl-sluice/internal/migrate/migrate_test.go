package migrate

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/families"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/output"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options() Options {
	return Options{Namespace: "sluice-system", ClusterObjects: "keda", KEDANamespace: "keda", KEDAAccount: "keda-operator"}
}

// TestGrantsOfNamespacesAreThoseOfTheComponents: --roles=namespace has what
// deploy/components/grant-namespace has, and the names in it are those of the
// installation.
func TestGrantsOfNamespacesAreThoseOfTheComponents(t *testing.T) {
	for _, f := range families.All() {
		file := filepath.Join("../../../deploy/components/grant-namespace", f.Name, "rolebinding.yaml")
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) && !f.Credentials {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var want rbacv1.RoleBinding
		if err := yaml.UnmarshalStrict(text, &want); err != nil {
			t.Fatal(err)
		}
		want.Namespace = "shop"
		c := &check{Options: options()}
		c.ByNamespace = true
		roles := c.Roles([]Grant{{Namespace: "shop", Family: f.Name, Secrets: []string{"login"}}}, nil)
		if len(roles) != 1 || !reflect.DeepEqual(roles[0], &want) {
			t.Errorf("%s: %+v, want %+v", f.Name, roles, want)
		}
	}
}

// TestNoRoleIsAboutEverything: a rule without names would be about all of a
// namespace.
func TestNoRoleIsAboutEverything(t *testing.T) {
	c := &check{Options: options()}
	for _, g := range []Grant{
		{Namespace: "shop", Family: "redis", Secrets: []string{"a"}},
		{Namespace: "shop", Family: "redis", ConfigMaps: []string{"a"}},
		{Namespace: "shop", Family: "redis", ServiceAccounts: []string{"a"}},
		{Namespace: "shop", Family: "redis", Tokens: []string{"a"}},
		{Namespace: "shop", Family: "redis", Incomplete: []string{"a target is not known"}},
	} {
		for _, object := range c.Roles([]Grant{g}, nil) {
			role, is := object.(*rbacv1.Role)
			if !is {
				continue
			}
			if len(role.Rules) != 1 || len(role.Rules[0].ResourceNames) != 1 {
				t.Errorf("%+v: %+v", g, role.Rules)
			}
		}
	}
}

// TestKindsThatCannotBeGuessed: no role is printed for what names everything, or
// what has no replicas.
func TestKindsThatCannotBeGuessed(t *testing.T) {
	for _, target := range []string{
		`{apiVersion: "*/v1", kind: Secret, name: a}`, `{apiVersion: v1, kind: Secret, name: a}`, `{apiVersion: v1, kind: Pod, name: a}`,
		`{apiVersion: "a b/v1", kind: Thing, name: a}`, `{apiVersion: example.com/v1, kind: "*", name: a}`, `{apiVersion: example.com/v1, kind: things/status, name: a}`,
	} {
		manifest := "{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: one, namespace: shop}, spec: {scaleTargetRef: " + target +
			", triggers: [{type: cron, metadata: {timezone: UTC, start: 0 8 * * *, end: 0 18 * * *, desiredReplicas: '5'}}]}}"
		set, err := objects.Files([]string{"-"}, strings.NewReader(manifest), "default")
		if err != nil {
			t.Fatal(err)
		}
		report := Check(t.Context(), set, nil, options())
		if len(report.TargetKinds) > 0 || len(report.Roles) > 0 || report.Outcome != CannotServe {
			t.Errorf("%s: %v, %+v, roles %v", target, report.Outcome, report.TargetKinds, report.Roles)
		}
	}
}

// FuzzManifests: whatever is in a file, it is judged, and all formats can be
// written.
func FuzzManifests(f *testing.F) {
	seeds, err := filepath.Glob("../command/testdata/*.yaml")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("%d seeds, %v", len(seeds), err)
	}
	for _, seed := range seeds {
		text, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := objects.Files([]string{"-"}, bytes.NewReader(text), "default")
		if err != nil {
			return
		}
		report := Check(context.Background(), set, nil, options())
		var out bytes.Buffer
		for _, err := range []error{report.Print(&out), report.PrintRoles(&out), (&output.Format{Name: "json"}).Encode(&out, report), (&output.Format{Name: "yaml"}).Encode(&out, report)} {
			if err != nil {
				t.Error(err)
			}
		}
		if at := strings.IndexFunc(out.String(), func(r rune) bool { return r < ' ' && r != '\n' }); at >= 0 {
			t.Errorf("a control character: %q", fmt.Sprintf("%.40s", out.String()[at:]))
		}
	})
}
