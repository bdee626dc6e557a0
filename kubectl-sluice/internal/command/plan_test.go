package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const planFolder = "testdata/plan/"

// TestPlanOfThePage runs what docs/plan.md shows: its manifest, and its command,
// which prints what stands there.
func TestPlanOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/plan.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(planFolder)
	manifest, err := os.ReadFile("orders.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "```yaml\n"+string(manifest)+"```\n") {
		t.Error("docs/plan.md has another orders.yaml")
	}
	examples := 0
	for _, block := range strings.Split(string(page), "```")[1:] {
		line, want, found := strings.Cut(strings.TrimPrefix(block, "\n"), "\n")
		args, is := strings.CutPrefix(line, "$ kubectl sluice ")
		if !found || !is {
			continue
		}
		examples++
		if out, errs, code := run(t, "", strings.Fields(args)...); out != want || errs != "" || code != OK {
			t.Errorf("%s: exit code %d, %s\n%s\nthe page has\n%s", line, code, errs, out, want)
		}
	}
	if examples != 2 {
		t.Errorf("%d examples", examples)
	}
}

// TestPlanOfALiveObject has today's spec from the cluster, and the names of metrics
// that it has there.
func TestPlanOfALiveObject(t *testing.T) {
	const live = `{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "orders", "namespace": "shop"},
		"spec": {"scaleTargetRef": {"name": "orders"}, "triggers": [{"type": "rabbitmq", "metadata": {"queueName": "orders", "value": "100"}}]},
		"status": {"externalMetricNames": ["s0-rabbitmq-orders"]}}`
	answer, code := live, http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/apis/keda.sh/v1alpha1/namespaces/shop/scaledobjects/orders" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprint(w, answer)
	}))
	defer server.Close()
	kubeconfig := filepath.Join(t.TempDir(), "config")
	config := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
		"clusters": [{"name": "a", "cluster": {"server": %q}}], "users": [{"name": "a", "user": {}}]}`, server.URL)
	if err := os.WriteFile(kubeconfig, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"plan", "--kubeconfig", kubeconfig, "-f", planFolder + "orders.yaml", "--values", planFolder + "orders.csv", "-o", "json"}
	planned := func() (report struct {
		Notes         []string
		Before, After *struct{ MaxReplicas int }
	}) {
		t.Helper()
		out, errs, code := run(t, "", args...)
		if err := json.Unmarshal([]byte(out), &report); err != nil || code != OK {
			t.Fatalf("%d, %v, %s", code, err, errs)
		}
		if strings.Contains(out, "s0-rabbitmq ") {
			t.Error("the metric is not called as in the cluster")
		}
		return report
	}
	if r := planned(); r.Before == nil || r.Before.MaxReplicas != 3 || r.After.MaxReplicas != 29 || len(r.Notes) != 1 || !strings.HasPrefix(r.Notes[0], "trigger 0 (rabbitmq): hostFromEnv, mode, protocol differs") {
		t.Errorf("%+v", r)
	}
	answer, code = `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "message": "you may not", "code": 403}`, http.StatusForbidden
	if out, errs, code := run(t, "", args...); code != Failed || !strings.Contains(errs, "you may not; --before names a file with it") {
		t.Errorf("%d, %s%s", code, out, errs)
	}
	answer, code = `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "message": "none", "code": 404}`, http.StatusNotFound
	args = append(args[:len(args)-1], "yaml")
	if out, errs, code := run(t, "", args...); code != OK || strings.Contains(out, "before:") || !strings.Contains(out, "there is no spec of today") {
		t.Errorf("%d, %s%s", code, out, errs)
	}
}

// TestPlanFromPrometheus asks with the token, and for the time that is named.
func TestPlanFromPrometheus(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer swordfish-1" || r.FormValue("start") != "1777888800.000" || r.FormValue("end") != "1777896000.000" || r.FormValue("step") != "30" {
			t.Errorf("%v, %v", r.Header, r.Form)
		}
		fmt.Fprint(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"triggerIndex":"0","metric":"s0-rabbitmq-orders"},"values":[[1777888800,"0"],[1777888830,"40"],[1777888860,"0"]]}]}}`)
	}))
	defer server.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("swordfish-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	picture := filepath.Join(t.TempDir(), "orders.svg")
	out, errs, code := run(t, "", "plan", "-f", planFolder+"orders.yaml", "--before", planFolder+"today.yaml", "--prometheus", server.URL,
		"--prometheus-token-file", token, "--since", "2h", "--until", "2026-05-04T12:00:00Z", "--picture", picture)
	if code != OK || errs != "" || !strings.Contains(out, "most replicas               2           4") {
		t.Errorf("%d, %s%s", code, out, errs)
	}
	if svg, err := os.ReadFile(picture); err != nil || !strings.HasPrefix(string(svg), "<svg ") {
		t.Error(err)
	}
}

// TestWordsOfThePlan: what is wrong with a command line or with files is told, all
// of it.
func TestWordsOfThePlan(t *testing.T) {
	both := []string{"plan", "-f", planFolder + "orders.yaml", "--before", planFolder + "today.yaml"}
	for name, tt := range map[string]struct {
		args  []string
		stdin string
		want  []string
	}{
		"nothing": {args: []string{"plan"}, want: []string{"-f: names the file", "--values or --prometheus: one of them"}},
		"all at once": {
			args: append(both, "--values", "a", "--prometheus", "b", "-o", "xml", "--sync-period", "1ms", "--start-time", "-1s", "--drain-rate", "-1", "--replicas", "1000000", "--since", "0s"),
			want: []string{"--values or --prometheus", `--output: "xml"`, "--sync-period: 1ms", "--start-time: -1s", "--drain-rate: -1", "--replicas: 1000000", "--since: 0s"},
		},
		"no values":     {args: append(both, "--values", "none.csv"), want: []string{"none.csv: no such file"}},
		"a target":      {args: append(both, "--values", planFolder+"orders.csv", "--target", "a"), want: []string{`--target: "a" is not <trigger index>=<target>`}},
		"until":         {args: append(both, "--prometheus", "http://localhost:1", "--until", "noon"), want: []string{`--until: "noon" is no time`}},
		"two objects":   {args: []string{"plan", "-f", "../../../test/e2e/testdata/articles", "--before", planFolder + "today.yaml", "--values", "a"}, want: []string{"ScaledObjects, and a plan is of one"}},
		"unknown field": {args: []string{"plan", "-f", "-", "--before", planFolder + "today.yaml", "--values", "a"}, stdin: "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: orders}\nspec: {scaleTargetRef: {name: a}, maxReplicas: 5, triggers: []}\n", want: []string{"-: ScaledObject default/orders: has no field spec.maxReplicas"}},
		"no cluster":    {args: []string{"plan", "-f", planFolder + "orders.yaml", "--values", "a", "--kubeconfig", "none"}, want: []string{"today's spec: ", "--before names a file with it"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, code := run(t, tt.stdin, tt.args...)
			for _, want := range tt.want {
				if code != Failed || out != "" || !strings.Contains(errs, want) {
					t.Errorf("exit code %d, %s%s\nwant %s", code, out, errs, want)
				}
			}
		})
	}
}
