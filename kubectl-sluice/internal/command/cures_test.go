package command

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/apitest"
)

// TestCuresOfWhatIsInTheCluster: how the objects of files are there now is noted, with
// what helps, and is no error of the files. What is well, and what is not there, is
// not noted; who may not read it is told.
func TestCuresOfWhatIsInTheCluster(t *testing.T) {
	const objects, jobs = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects", "/apis/keda.sh/v1alpha1/namespaces/default/scaledjobs"
	item := func(name, conditions string) string {
		return fmt.Sprintf(`{"metadata": {"namespace": "default", "name": %q}, "spec": {"scaleTargetRef": {"name": %q}, "triggers": []}, "status": {"conditions": [%s]}}`, name, name, conditions)
	}
	a := &apitest.API{T: t, Forbidden: map[string]bool{}, Objects: map[string]string{
		objects: `{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObjectList", "items": [` + strings.Join([]string{
			item("ill", `{"type": "Ready", "status": "False", "reason": "TriggerError", "message": "trigger 0 (cron): no\nway."}, {"type": "Active", "status": "Unknown", "reason": "UnknownState"}`),
			item("well", `{"type": "Ready", "status": "True", "reason": "ScaledObjectReady"}, {"type": "Active", "status": "False", "reason": "ScalerNotActive"}`),
			item("theirs", `{"type": "Ready", "status": "False", "reason": "TriggerError"}`),
		}, ",") + `]}`,
		jobs: `{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJobList", "items": [` +
			item("import", `{"type": "Ready", "status": "False", "reason": "KEDAJobCreateFailed", "message": "quota"}`) + `]}`,
		"/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers": `{"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscalerList", "items": []}`,
	}}
	kubeconfig := filepath.Join(t.TempDir(), "config")
	writeKubeconfig(t, kubeconfig, a.Start().Host)
	var files strings.Builder
	for _, name := range []string{"ill", "well", "new"} {
		fmt.Fprintf(&files, "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: %s}\nspec: {scaleTargetRef: {name: %s}, triggers: [{type: cron, metadata: {timezone: UTC, start: 0 6 * * *, end: 0 8 * * *, desiredReplicas: \"1\"}}]}\n---\n", name, name)
	}
	files.WriteString("apiVersion: keda.sh/v1alpha1\nkind: ScaledJob\nmetadata: {name: import}\nspec: {jobTargetRef: {template: {spec: {containers: [{name: a, image: a}], restartPolicy: Never}}}, triggers: [{type: cron, metadata: {timezone: UTC, start: 0 6 * * *, end: 0 8 * * *, desiredReplicas: \"1\"}}]}\n")
	out, errs, code := run(t, files.String(), "check", "-f", "-", "--cluster", "--strict", "--kubeconfig", kubeconfig)
	for _, says := range []string{
		"standard input:1: note: ScaledObject default/ill: in the cluster condition Ready is False, TriggerError: trigger 0 (cron): no way. What helps: The message names trigger,",
		"note: ScaledJob default/import: in the cluster condition Ready is False, KEDAJobCreateFailed: quota. What helps: The message has the API server's words.",
		"4 objects, 0 errors, 0 warnings",
	} {
		if !strings.Contains(out, says) {
			t.Errorf("%q is not in\n%s%s", says, out, errs)
		}
	}
	if code != OK || strings.Count(out, "in the cluster") != 2 {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	out, _, _ = run(t, files.String(), "check", "-f", "-", "--cluster", "-o", "json", "--kubeconfig", kubeconfig)
	if !strings.Contains(out, `"reason": "TriggerError"`) || !strings.Contains(out, `"cure": "The message names trigger`) {
		t.Error(out)
	}
	out, _, _ = run(t, files.String(), "check", "-f", "-", "--cluster", "-o", "github", "--kubeconfig", kubeconfig)
	if !strings.Contains(out, "::notice file=standard input,line=1,title=kubectl sluice check::ScaledObject default/ill: in the cluster") {
		t.Error(out)
	}
	a.Forbidden[jobs] = true
	out, _, code = run(t, files.String(), "check", "-f", "-", "--cluster", "--kubeconfig", kubeconfig)
	if code != OK || !strings.Contains(out, "note: how the ScaledJobs of namespace default are in the cluster: ") || !strings.Contains(out, "default/ill: in the cluster") {
		t.Errorf("%d\n%s", code, out)
	}
}

// writeKubeconfig writes one for a server.
func writeKubeconfig(t *testing.T, file, server string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(`{"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
		"users": [{"name": "u", "user": {}}], "clusters": [{"name": "c", "cluster": {"server": "`+server+`"}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestClearWords: how a cluster is not reached, and what is not in it, comes with
// what there is to do.
func TestClearWords(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	const objects, jobs = "/apis/keda.sh/v1alpha1/namespaces/shop/scaledobjects", "/apis/keda.sh/v1alpha1/namespaces/shop/scaledjobs"
	gone := `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": "the server could not find the requested resource", "details": {}}`
	a := &apitest.API{T: t, Forbidden: map[string]bool{}, Objects: map[string]string{
		objects: `{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObjectList", "items": [{"metadata": {"namespace": "shop", "name": "orders"}}]}`,
		jobs:    `{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJobList", "items": []}`,
	}, NotFound: map[string]string{"/apis/keda.sh/v1alpha1/namespaces/other/scaledobjects/orders": gone}}
	file := filepath.Join(t.TempDir(), "config")
	writeKubeconfig(t, file, a.Start().Host)
	dead := filepath.Join(t.TempDir(), "dead")
	writeKubeconfig(t, dead, "https://127.0.0.1:1")
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"a slip":           {[]string{"why", "so/order", "-n", "shop", "--kubeconfig", file}, "there is no ScaledObject shop/order, did you mean so/orders?"},
		"a slip of probe":  {[]string{"probe", "so/order", "-n", "shop", "--kubeconfig", file}, "there is no ScaledObject shop/order, did you mean so/orders?"},
		"a slip of resume": {[]string{"resume", "so/order", "-n", "shop", "--kubeconfig", file}, "did you mean so/orders?"},
		"none there":       {[]string{"why", "sj/import", "-n", "shop", "--kubeconfig", file}, "there is no ScaledJob shop/import: namespace shop has none; -n names another"},
		"no KEDA":          {[]string{"why", "so/orders", "-n", "other", "--kubeconfig", file}, "this cluster has no scaledobjects.keda.sh: it has neither Sluice nor KEDA"},
		"nobody answers":   {[]string{"top", "--kubeconfig", dead}, "the API server cannot be reached; kubectl config view --minify says which it is: "},
	} {
		t.Run(name, func(t *testing.T) {
			if out, errs, code := run(t, "", tt.args...); code != Failed || !strings.Contains(errs, tt.says) || out != "" {
				t.Errorf("%d, %s%s", code, out, errs)
			}
		})
	}
}

// TestWhereAClusterIsNot: what client-go asks where nobody named one is no API server
// that is down, and a Prometheus is neither.
func TestWhereAClusterIsNot(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for address, says := range map[string]string{
		"http://localhost:8080/apis/keda.sh/v1alpha1/scaledobjects": "no cluster is named, neither by --kubeconfig,",
		"https://10.0.0.1/prefix/api/v1/namespaces/shop/pods":       "the API server cannot be reached; ",
		"http://prometheus:9090/api/v1/query_range?query=up":        "Get ",
	} {
		if have := helped(fmt.Errorf("%w", &url.Error{Op: "Get", URL: address, Err: refused})).Error(); !strings.HasPrefix(have, says) || !strings.HasSuffix(have, "connection refused") {
			t.Errorf("%s: %s", address, have)
		}
	}
	if have := helped(apierrors.NewUnauthorized("Unauthorized")).Error(); !strings.Contains(have, "kubectl auth whoami") {
		t.Error(have)
	}
}
