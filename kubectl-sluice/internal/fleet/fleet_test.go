package fleet

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/apitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFamilies: each is in the state of the worst that somebody needs of it.
func TestFamilies(t *testing.T) {
	up := federation.SurveyedInstance{Address: "10.0.0.1:9090", State: federation.InstanceReady, Version: "v2"}
	down := federation.SurveyedInstance{Address: "10.0.0.2:9090", State: federation.InstanceDown, Reason: "does not\nanswer", Version: "v1"}
	report := Of(&Facts{
		Namespace: "sluice-system", ByController: true,
		Needed: map[string]int{"kafka": 3, "redis": 2, "prometheus": 1, "kafak": 1, "own": 4, "mysql": 1},
		Told: account.Families{Version: "v2", Types: []federation.Surveyed{
			{Type: "apache-kafka", Family: "kafka", Instances: []federation.SurveyedInstance{up, down}},
			{Type: "cron", Instances: []federation.SurveyedInstance{up}},
			{Type: "kafka", Family: "kafka", Instances: []federation.SurveyedInstance{up, down}},
			{Type: "own", Instances: []federation.SurveyedInstance{up}},
			{Type: "prometheus", Instances: []federation.SurveyedInstance{down}, Problem: "no instance of it is ready"},
		}},
		Missing: []string{"who\nknows"},
	})
	want := map[string]State{
		"kafak": Unserved, "redis": Missing, "sql": Missing, "prometheus": Down, "kafka": Degraded, "cron": Ready, "own": Ready,
	}
	have := map[string]Family{}
	for _, f := range report.Families {
		have[f.Name] = f
	}
	for name, state := range want {
		if have[name].State != state || have[name].Needed != (name != "cron") {
			t.Errorf("%s: %+v", name, have[name])
		}
	}
	if len(have) != len(want) || !report.Failed() || len(have["kafka"].Instances) != 2 || len(have["kafka"].Versions) != 2 {
		t.Errorf("%+v", report)
	}
	var text bytes.Buffer
	if err := report.Print(&text); err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{
		"controller v2\n", "\nkafak        unserved   -", "kafka        degraded   v1, v2    1/2         3          kafka 3\n",
		"kafak: type: unknown, did you mean kafka?", "families.redis.enabled=true", "add deploy/scalers/redis",
		"prometheus: no instance of it is ready\n", "kafka: 10.0.0.2:9090 is down: does not answer\n", "\nWhat could not be found out\n  who knows\n",
	} {
		if !strings.Contains(text.String(), says) {
			t.Errorf("%q is not in\n%s", says, &text)
		}
	}
	needed := Of(&Facts{Needed: map[string]int{"own": 1}, Told: account.Families{Types: []federation.Surveyed{{Type: "own", Instances: []federation.SurveyedInstance{up, down}}}}})
	if needed.Failed() || needed.Source != "API server" {
		t.Errorf("%+v", needed)
	}
}

// TestRowsAreBounded: tenants write any number of types, of any length.
func TestRowsAreBounded(t *testing.T) {
	needed := map[string]int{}
	for i := range 10 * mostRows {
		needed[fmt.Sprintf("none-%d-%s", i, strings.Repeat("\nx", 1000))] = 1
	}
	var text bytes.Buffer
	if err := Of(&Facts{Needed: needed}).Print(&text); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(text.String(), "\n"); lines > 2*mostRows+10 || text.Len() > 500_000 || !strings.Contains(text.String(), "and 1800 more") {
		t.Errorf("%d lines, %d bytes", lines, text.Len())
	}
}

// TestWithoutAController: Services say what is installed, and Pods how it is.
func TestWithoutAController(t *testing.T) {
	const services, pods = "/api/v1/namespaces/sluice-system/services", "/api/v1/namespaces/sluice-system/pods"
	pod := func(name, phase, ready, more string) string {
		return fmt.Sprintf(`{"metadata": {"name": %q, "labels": {"app": "redis"}%s}, "spec": {"containers": [{"image": "ghcr.io:443/x/scaler-redis:v3@sha256:0"}]},
			"status": {"phase": %q, "conditions": [{"type": "Ready", "status": %q}]}}`, name, more, phase, ready)
	}
	for name, tt := range map[string]struct {
		forbidden     string
		states        map[string]string
		missing, fail string
	}{
		"all": {states: map[string]string{
			"Pod a": federation.InstanceReady, "Pod b": federation.InstanceDown, "Pod c": federation.InstanceStarting, "Pod d": federation.InstanceLeaving,
		}},
		"no Pods":     {forbidden: pods, missing: "the instances of families"},
		"no Services": {forbidden: services, fail: "you may not list Services in namespace sluice-system"},
	} {
		t.Run(name, func(t *testing.T) {
			a := &apitest.API{T: t, Forbidden: map[string]bool{tt.forbidden: true}, Objects: map[string]string{
				services: `{"apiVersion": "v1", "kind": "ServiceList", "items": [{"metadata": {"name": "controller"}},
					{"metadata": {"name": "scaler-redis"}, "spec": {"selector": {"app": "redis"}}}]}`,
				pods: `{"apiVersion": "v1", "kind": "PodList", "items": [` + strings.Join([]string{
					pod("a", "Running", "True", ""), pod("b", "Running", "False", ""), pod("c", "Pending", "False", ""),
					pod("d", "Running", "True", `, "deletionTimestamp": "2026-05-01T12:00:00Z"`),
				}, ",") + `]}`,
			}}
			all, missing, err := Look(t.Context(), a.Start(), "sluice-system")
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) {
					t.Error(err)
				}
				return
			}
			if err != nil || len(all) != 1 || all[0].Type != "redis" || len(all[0].Instances) != len(tt.states) {
				t.Fatalf("%+v, %v", all, err)
			}
			for _, i := range all[0].Instances {
				if i.State != tt.states[i.Address] || i.Version != "v3" {
					t.Errorf("%+v", i)
				}
			}
			if have := strings.Join(missing, ""); !strings.Contains(have, tt.missing) || (have == "") != (tt.missing == "") {
				t.Error(have)
			}
		})
	}
}
