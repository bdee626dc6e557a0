package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// TestApplyAgain applies every overlay as a user does, with kubectl and its own
// field manager: for the first time, again, with the images of another version
// and with those of the first one. Nobody else may have taken a field that the
// manifests set, or kubectl refuses the second time.
func TestApplyAgain(t *testing.T) {
	t.Parallel()
	c := anotherCluster(t)
	repo, err := localcluster.FindRepo(".")
	if err != nil {
		t.Fatal(err)
	}
	overlays, err := filepath.Glob(filepath.Join(repo, "deploy/overlays/*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(overlays) < 2 {
		t.Fatalf("overlays = %q", overlays)
	}
	c.apply("{apiVersion: v1, kind: Namespace, metadata: {name: keda}}") // which a KEDA has
	for _, overlay := range overlays {
		t.Run(filepath.Base(overlay), func(t *testing.T) {
			c := another{c.Cluster, t}
			c.kubectlApply(overlay)
			c.waitAggregated()
			c.kubectlApply(overlay)
			c.kubectlApply(withTag(t, overlay, "v2"))
			c.checkImages(overlay, "v2")
			c.kubectlApply(overlay)
			c.checkImages(overlay, "dev")
		})
	}
}

// TestApplyOverWhatRuns is the second kubectl apply of an installation at
// work, whose processes have written into objects of the manifests.
func TestApplyOverWhatRuns(t *testing.T) {
	t.Parallel()
	repo, err := localcluster.FindRepo(".")
	if err != nil {
		t.Fatal(err)
	}
	another{world.cluster, t}.kubectlApply(filepath.Join(repo, "deploy/overlays/all"),
		"--dry-run=server", "--field-manager="+localcluster.FieldManager)
}

// kubectlApply applies a kustomization as the README says.
func (c another) kubectlApply(dir string, more ...string) {
	c.t.Helper()
	c.kubectl(append([]string{"apply", "--server-side", "-k", dir}, more...)...)
}

// kubectl runs kubectl, which must succeed, and returns what it prints.
func (c another) kubectl(args ...string) string {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), c.Kubectl(), append(args, "--kubeconfig", c.Kubeconfig())...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// waitAggregated waits until Kubernetes has filled in the roles that gather
// the rules of others.
func (c another) waitAggregated() {
	c.t.Helper()
	for _, role := range []string{"sluice-controller-targets", "sluice-metrics-adapter-targets"} {
		c.kubectl("wait", "--timeout=60s", "--for=jsonpath={.rules[0].verbs}", "clusterrole/"+role)
	}
}

// checkImages checks that the Deployments of a kustomization name images of a
// tag.
func (c another) checkImages(dir, tag string) {
	c.t.Helper()
	images := strings.Fields(c.kubectl("get", "-k", dir, "-o",
		`jsonpath={range .items[?(@.kind=="Deployment")]}{.spec.template.spec.containers[0].image}{"\n"}{end}`))
	if len(images) < 2 {
		c.t.Errorf("images = %q, want one for each Deployment", images)
	}
	for _, image := range images {
		if !strings.HasSuffix(image, ":"+tag) {
			c.t.Errorf("image = %s, want tag %s", image, tag)
		}
	}
}

// withTag is a kustomization on top of an overlay with another tag for every
// image, as an upgrade is written.
func withTag(t *testing.T, overlay, tag string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	base, err := filepath.Rel(dir, overlay)
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(overlay)), "scalers/*"))
	if err != nil {
		t.Fatal(err)
	}
	text := "resources: [" + base + "]\nimages:\n"
	for _, component := range append(names, "controller", "metrics-adapter") {
		name := filepath.Base(component)
		if name != component {
			name = "scaler-" + name
		}
		text += fmt.Sprintf("- {name: localhost/sluice/%s, newTag: %s}\n", name, tag)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
