package command

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/apitest"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/forward"
)

const (
	scaledObjectsOfAll  = "/apis/keda.sh/v1alpha1/scaledobjects"
	scaledJobsOfAll     = "/apis/keda.sh/v1alpha1/scaledjobs"
	scaledObjectsOfShop = "/apis/keda.sh/v1alpha1/namespaces/shop/scaledobjects"
	scaledJobsOfShop    = "/apis/keda.sh/v1alpha1/namespaces/shop/scaledjobs"
)

// flagsOf are those of a user of an API server.
func flagsOf(a *apitest.API) *genericclioptions.ConfigFlags {
	host := a.Start().Host
	flags := genericclioptions.NewConfigFlags(true)
	flags.APIServer = &host
	return flags
}

// TestFamiliesOfAController: a controller tells how families are; one of an older
// version, or none, leaves it to what the API server has, and that is said.
func TestFamiliesOfAController(t *testing.T) {
	answers := func(text string, err error) func(context.Context) (asking, error) {
		return func(context.Context) (asking, error) {
			return hasPage(func(context.Context, string) ([]byte, error) { return []byte(text), err }), nil
		}
	}
	ready, err := json.Marshal(account.Families{Version: "v2", Types: []federation.Surveyed{
		{Type: "redis", Family: "redis", Instances: []federation.SurveyedInstance{{Address: "10.0.0.1:9090", State: federation.InstanceReady, Version: "v2"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		ask  func(context.Context) (asking, error)
		args []string
		code int
		says string
	}{
		"told":      {answers(string(ready), nil), nil, 0, "redis    ready   v2        1/1         1          redis 1\n"},
		"as JSON":   {answers(string(ready), nil), []string{"-o", "json"}, 0, `"source": "controller"`},
		"as YAML":   {answers(string(ready), nil), []string{"-o", "yaml"}, 0, "source: controller"},
		"an older":  {answers("", forward.NewStatusError(http.StatusNotFound, "Pod a: 404 Not Found: 404 page not found\n")), nil, Needs, "of an older version of Sluice, which has no page /families"},
		"nonsense":  {answers("<html>", nil), nil, Needs, "its answer makes no sense"},
		"nobody":    {func(context.Context) (asking, error) { return nil, errors.New("no controller is ready") }, nil, Needs, "no controller is ready"},
		"no format": {answers("", nil), []string{"-o", "wide"}, Failed, "neither json nor yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			a := &apitest.API{T: t, Objects: map[string]string{
				scaledObjectsOfShop: `{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObjectList", "items": [{"metadata": {"namespace": "shop", "name": "worker"},
					"spec": {"scaleTargetRef": {"name": "worker"}, "triggers": [{"type": "redis", "metadata": {}}, {"type": "cpu", "metadata": {"value": "60"}}]}}]}`,
				scaledJobsOfShop: `{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJobList", "items": []}`,
				"/api/v1/namespaces/sluice-system/services": `{"apiVersion": "v1", "kind": "ServiceList", "items": []}`,
				"/api/v1/namespaces/sluice-system/pods":     `{"apiVersion": "v1", "kind": "PodList", "items": []}`,
			}}
			s := &surveying{controllers: controllers{cluster: flagsOf(a)}, ask: tt.ask}
			text, err := execute(t, s.command(), tt.args)
			code := OK
			var verdict verdictError
			if errors.As(err, &verdict) {
				code = int(verdict)
			} else if err != nil {
				code = Failed
			}
			if code != tt.code || !strings.Contains(text, tt.says) {
				t.Errorf("%d, want %d and %q: %s", code, tt.code, tt.says, text)
			}
		})
	}
}
