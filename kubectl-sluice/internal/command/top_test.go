package command

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/apitest"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/forward"
)

// scaledShop is an API server with two ScaledObjects, and a kubeconfig for it.
func scaledShop(t *testing.T) (kubeconfig string) {
	t.Helper()
	const objects, autoscalers = "/apis/keda.sh/v1alpha1/", "/apis/autoscaling/v2/horizontalpodautoscalers"
	a := &apitest.API{T: t, Objects: map[string]string{
		objects + "scaledobjects": `{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObjectList", "items": [
			{"metadata": {"namespace": "shop", "name": "orders"}, "spec": {"scaleTargetRef": {"name": "worker"}}},
			{"metadata": {"namespace": "shop", "name": "later"}, "spec": {"scaleTargetRef": {"name": "other"}}}]}`,
		objects + "scaledjobs": `{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJobList", "items": []}`,
		autoscalers:            `{"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscalerList", "items": []}`,
	}}
	file := filepath.Join(t.TempDir(), "config")
	writeKubeconfig(t, file, a.Start().Host)
	return file
}

// TestColdStartsOfTop: what a controller measured, and that it measured none; without
// one what is scaled is listed all the same, and said what is not known.
func TestColdStartsOfTop(t *testing.T) {
	kubeconfig := scaledShop(t)
	answering := func(text string, err error) func(context.Context) (asking, error) {
		return func(context.Context) (asking, error) {
			return hasPage(func(context.Context, string) ([]byte, error) { return []byte(text), err }), nil
		}
	}
	const measured = `{"now": "2026-05-01T12:00:00Z", "objects": [{"namespace": "shop", "name": "orders", "coldStart": {"told": true, "seconds": 13}}]}`
	for name, tt := range map[string]struct {
		ask    func(context.Context) (asking, error)
		format string
		says   []string
		not    string
	}{
		"measured":  {answering(measured, nil), "", []string{"COLD START", "orders   unknown   -         -      -          0     100   -             13s ", "none yet"}, "What could not"},
		"as JSON":   {answering(measured, nil), "json", []string{`"seconds": 13`, `"outcome": "measured"`, `"outcome": "none measured yet"`}, `"missing"`},
		"as YAML":   {answering(measured, nil), "yaml", []string{"seconds: 13", "outcome: none measured yet"}, "missing:"},
		"no rights": {func(context.Context) (asking, error) { return nil, errors.New("pods is forbidden") }, "", []string{"orders", "What could not be found out\n  cold starts: pods is forbidden"}, "none yet"},
		"an older one": {
			answering("", forward.NewStatusError(http.StatusNotFound, "404 page not found\n")), "json",
			[]string{`"outcome": "not known"`, "older version of Sluice, which has no page /cold-starts"}, `"seconds"`,
		},
		"nonsense": {answering("<html>", nil), "", []string{"cold starts: its answer makes no sense"}, "none yet"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &topping{controllers: controllers{cluster: genericclioptions.NewConfigFlags(true)}, ask: tt.ask}
			command := c.command()
			args := []string{"-A", "--kubeconfig", kubeconfig}
			if tt.format != "" {
				args = append(args, "-o", tt.format)
			}
			text, err := executeAs(t, command, args)
			if err != nil {
				t.Fatal(err)
			}
			for _, says := range tt.says {
				if !strings.Contains(text, says) {
					t.Errorf("%q is not in\n%s", says, text)
				}
			}
			if strings.Contains(text, tt.not) {
				t.Errorf("%q is in\n%s", tt.not, text)
			}
		})
	}
}

// TestColdStartsAreAskedForNowAndThen: a list that stays on the screen opens no way
// through the API server at every look, whether or not it leads anywhere.
func TestColdStartsAreAskedForNowAndThen(t *testing.T) {
	asked := 0
	cold := (&topping{ask: func(context.Context) (asking, error) {
		asked++
		return nil, errors.New("forbidden")
	}}).coldStarts()
	for range 3 {
		if _, err := cold(t.Context()); err == nil || err.Error() != "forbidden" {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}
