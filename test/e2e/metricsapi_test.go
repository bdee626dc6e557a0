package e2e

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// TestMetricsAPI asks the API server what `kubectl get --raw` asks it.
func TestMetricsAPI(t *testing.T) {
	t.Parallel()
	r := row{object: object{t, namespace(t), "asked"}, script: startScript(t)}
	r.start(0, nil)
	r.set(50)
	r.waitReplicas(10)

	const group = "/apis/external.metrics.k8s.io/v1beta1"
	of := func(namespace, metric, selector string) string {
		return group + "/namespaces/" + namespace + "/" + metric + "?labelSelector=" + url.QueryEscape(selector)
	}
	const name = "scaledobject.keda.sh/name="
	asked := func(selector string) string { return of(r.namespace, "s0-count", selector) }
	const unnamed = "does not name a ScaledObject: scaledobject.keda.sh/name=<name> is required"
	const noPairs = "only pairs of key=value can be answered"
	for what, tt := range map[string]struct {
		path string
		as   string // another user
		verb string // GET unless given
		code int32
		says string
	}{
		"name":                              {path: asked(name + "asked"), code: 200, says: `"value":"50"`},
		"name and other pairs":              {path: asked(name + "asked,other=x"), code: 200, says: `"value":"50"`},
		"name written with ==":              {path: asked("scaledobject.keda.sh/name==asked"), code: 200, says: `"value":"50"`},
		"metric in capitals":                {path: of(r.namespace, "S0-COUNT", name+"asked"), code: 200, says: `"value":"50"`},
		"selector absent":                   {path: group + "/namespaces/" + r.namespace + "/s0-count", code: 400, says: unnamed},
		"key missing":                       {path: asked("other=x"), code: 400, says: unnamed},
		"empty value":                       {path: asked(name), code: 400, says: unnamed},
		"set-based: in":                     {path: asked("scaledobject.keda.sh/name in (asked)"), code: 400, says: noPairs},
		"set-based: !=":                     {path: asked("scaledobject.keda.sh/name!=asked"), code: 400, says: noPairs},
		"set-based: !key":                   {path: asked("!scaledobject.keda.sh/name"), code: 400, says: noPairs},
		"malformed":                         {path: asked("a=b=c"), code: 400, says: "found '='"},
		"watch":                             {path: asked(name+"asked") + "&watch=true", code: 405},
		"unknown ScaledObject":              {path: asked(name + "nobody"), code: 404, says: `"nobody" not found`},
		"unknown namespace":                 {path: of("nowhere", "s0-count", name+"asked"), code: 404, says: `"asked" not found`},
		"unknown trigger":                   {path: of(r.namespace, "s7-count", name+"asked"), code: 500, says: "metric s7-count: there is no trigger 7"},
		"unknown metric of a known trigger": {path: of(r.namespace, "s0-size", name+"asked"), code: 500, says: "metric s0-size: trigger 0 (external-push): "},
		"metric without an index":           {path: of(r.namespace, "count", name+"asked"), code: 500, says: "the name has no s<trigger index>- prefix"},
		"composite metric without formula":  {path: of(r.namespace, "composite-metric", name+"asked"), code: 500, says: "composite-metric"},
		"no metric named":                   {path: group + "/namespaces/" + r.namespace + "/", code: 404},
		"all namespaces":                    {path: group + "/s0-count?labelSelector=" + url.QueryEscape(name+"asked"), code: 404},
		"POST":                              {path: asked(name + "asked"), verb: http.MethodPost, code: 405},
		"DELETE":                            {path: asked(name + "asked"), verb: http.MethodDelete, code: 405},
		"somebody without the role":         {path: asked(name + "asked"), as: "system:serviceaccount:" + r.namespace + ":default", code: 403, says: "is forbidden"},
		"no custom metrics":                 {path: "/apis/custom.metrics.k8s.io/v1beta2", code: 404},
		"OpenAPI v3":                        {path: "/openapi/v3" + group, code: 200, says: group},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			wait(t, what, func() (bool, string) { // an answer may come too late for its budget on a busy machine
				code, answer := raw(t, tt.verb, tt.path, tt.as)
				return code == tt.code && strings.Contains(answer, tt.says), answer
			})
		})
	}
	t.Run("discovery names one resource", func(t *testing.T) {
		_, answer := raw(t, "", group, "")
		var have metav1.APIResourceList
		if err := json.Unmarshal([]byte(answer), &have); err != nil {
			t.Fatal(err)
		}
		if len(have.APIResources) != 1 {
			t.Fatalf("resources %+v", have.APIResources)
		}
		one := have.APIResources[0]
		if one.Name != "externalmetrics" || !one.Namespaced || one.Kind != "ExternalMetricValueList" || strings.Join(one.Verbs, " ") != "get" {
			t.Errorf("resource %+v", one)
		}
	})
	t.Run("an answer's fields", func(t *testing.T) {
		wait(t, "an answer", func() (bool, string) {
			code, answer := raw(t, "", asked(name+"asked"), "")
			if code != http.StatusOK {
				return false, answer
			}
			var have struct {
				Kind, APIVersion string
				Items            []map[string]any
			}
			if err := json.Unmarshal([]byte(answer), &have); err != nil || have.Kind != "ExternalMetricValueList" ||
				have.APIVersion != "external.metrics.k8s.io/v1beta1" || len(have.Items) != 1 {
				t.Fatalf("%v, %s", err, answer)
			}
			item := have.Items[0]
			at, err := time.Parse(time.RFC3339, item["timestamp"].(string))
			if err != nil || at.Nanosecond() != 0 || item["metricName"] != "s0-count" || item["metricLabels"] != nil || item["value"] != "50" || item["windowSeconds"] != nil {
				t.Errorf("%v, %s", err, answer)
			}
			return true, ""
		})
	})
}

// raw asks as kubectl get --raw does, and returns the HTTP status with what was
// answered or why it was refused.
func raw(t *testing.T, verb, path, as string) (code int32, answer string) {
	t.Helper()
	config := rest.CopyConfig(world.cluster.Config())
	config.Impersonate.UserName = as
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if verb == "" {
		verb = http.MethodGet
	}
	body, err := clientset.RESTClient().Verb(verb).RequestURI(path).DoRaw(t.Context())
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		var told metav1.Status // in full, which the client shortens
		if json.Unmarshal(body, &told) == nil && told.Message != "" {
			return told.Code, told.Message
		}
		return status.Status().Code, status.Status().Message
	}
	if err != nil {
		return 0, err.Error()
	}
	return http.StatusOK, string(body)
}

// TestMetricReadsCostNoAPIRequest asks for a metric of an object that was just
// woken, whose answer depends on its HPA: what the adapter needs it watches.
func TestMetricReadsCostNoAPIRequest(t *testing.T) {
	t.Parallel()
	r := row{object: object{t, namespace(t), "woken"}, script: startScript(t)}
	r.start(0, nil)
	r.set(50)
	r.waitReplicas(10)
	path := "/apis/external.metrics.k8s.io/v1beta1/namespaces/" + r.namespace + "/s0-count?labelSelector=" +
		url.QueryEscape("scaledobject.keda.sh/name=woken")
	for range 20 {
		wait(t, "an answer", func() (bool, string) {
			code, answer := raw(t, "", path, "")
			return code == http.StatusOK, answer
		})
	}
	asked, err := world.cluster.AuditAbout(r.namespace, func(q *localcluster.Request) bool { return q.Object.APIGroup == "external.metrics.k8s.io" })
	if err != nil || len(asked) < 20 {
		t.Fatalf("%d questions in the audit log, %v", len(asked), err)
	}
	requests, err := world.cluster.AuditAbout(r.namespace, func(q *localcluster.Request) bool {
		return q.User.Username == "system:serviceaccount:sluice-system:metrics-adapter"
	})
	if err != nil || len(requests) > 0 {
		t.Errorf("%v: the adapter asked %v", err, uris(requests))
	}
}
