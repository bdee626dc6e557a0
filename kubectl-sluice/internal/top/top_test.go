package top

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/objects"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// read makes objects of texts.
func read[T any](t *testing.T, texts ...string) (all []*T) {
	t.Helper()
	for _, text := range texts {
		object := new(T)
		if err := json.Unmarshal([]byte(text), object); err != nil {
			t.Fatal(err)
		}
		all = append(all, object)
	}
	return all
}

func cluster(t *testing.T) *objects.Scaled {
	t.Helper()
	return &objects.Scaled{
		ScaledObjects: read[v1alpha1.ScaledObject](t,
			`{"metadata": {"namespace": "shop", "name": "busy"}, "spec": {"scaleTargetRef": {"name": "a"}, "maxReplicaCount": 8},
				"status": {"hpaName": "own", "lastActiveTime": "2026-05-01T11:59:00Z", "conditions": [{"type": "Ready", "status": "True"}, {"type": "Active", "status": "True"}]}}`,
			`{"metadata": {"namespace": "shop", "name": "idle"}, "spec": {"scaleTargetRef": {"name": "b"}},
				"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Active", "status": "False"}]}}`,
			`{"metadata": {"namespace": "other", "name": "fails"}, "spec": {"scaleTargetRef": {"name": "c"}, "minReplicaCount": 1},
				"status": {"health": {"s0-a": {"numberOfFailures": 2}, "s1-a": {"numberOfFailures": 7}}, "conditions": [{"type": "Ready", "status": "False", "message": "redis:\n6379: connection\trefused"}]}}`,
			`{"metadata": {"namespace": "shop", "name": "new"}, "spec": {"scaleTargetRef": {"name": "d"}}}`),
		ScaledJobs: read[v1alpha1.ScaledJob](t,
			`{"metadata": {"namespace": "shop", "name": "import"}, "spec": {},
				"status": {"jobs": {"queueLength": 40, "wanted": 8, "running": 2}, "conditions": [{"type": "Active", "status": "True"}, {"type": "Paused", "status": "True"}]}}`),
		HPAs: read[autoscalingv2.HorizontalPodAutoscaler](t,
			`{"metadata": {"namespace": "shop", "name": "own"}, "spec": {"metrics": [
				{"type": "External", "external": {"metric": {"name": "s0-jobs"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
				{"type": "External", "external": {"metric": {"name": "s1-lag"}, "target": {"type": "Value", "value": "100"}}}]},
				"status": {"currentReplicas": 3, "desiredReplicas": 4, "currentMetrics": [
				{"type": "External", "external": {"metric": {"name": "s0-jobs"}, "current": {"averageValue": "7500m"}}},
				{"type": "External", "external": {"metric": {"name": "s1-lag"}, "current": {"value": "40"}}}, {"type": ""}]}}`,
			`{"metadata": {"namespace": "shop", "name": "keda-hpa-idle"}, "spec": {"metrics": [
				{"type": "External", "external": {"metric": {"name": "s0-jobs"}, "target": {"type": "AverageValue", "averageValue": "5"}}}]},
				"status": {"currentReplicas": 0, "desiredReplicas": 0, "currentMetrics": [
				{"type": "External", "external": {"metric": {"name": "s0-jobs"}, "current": {"averageValue": "9"}}}]}}`),
	}
}

// TestAnHPAThatHasNotDecidedWantsNothing: it says 0 until then.
func TestAnHPAThatHasNotDecidedWantsNothing(t *testing.T) {
	s := &objects.Scaled{
		ScaledObjects: read[v1alpha1.ScaledObject](t, `{"metadata": {"namespace": "shop", "name": "new"}, "spec": {"scaleTargetRef": {"name": "a"}}}`),
		HPAs:          read[autoscalingv2.HorizontalPodAutoscaler](t, `{"metadata": {"namespace": "shop", "name": "keda-hpa-new"}, "status": {"currentReplicas": 1, "desiredReplicas": 0}}`),
	}
	if row := Rows(s)[0]; row.Replicas == nil || *row.Replicas != 1 || row.Desired != nil {
		t.Errorf("%+v", row)
	}
}

// TestTable: what is known of each object, and a dash for what is not; a text of
// somebody else's is in its cell.
func TestTable(t *testing.T) {
	list := List{Objects: Rows(cluster(t)), Missing: []string{"what\nnobody tells"}}
	if err := Sort(list.Objects, "load"); err != nil {
		t.Fatal(err)
	}
	Measured(list.Objects, &account.ColdStarts{Objects: []account.ObjectColdStart{
		{Namespace: "shop", Name: "busy", ColdStart: account.ColdStart{Seconds: 13}}, {Namespace: "other", Name: "busy"},
	}})
	var text bytes.Buffer
	if err := list.Print(&text, now); err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, line := range strings.Split(strings.TrimSpace(text.String()), "\n") {
		have = append(have, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"NAMESPACE NAME STATE BACKLOG LOAD REPLICAS MIN MAX LAST ACTIVE COLD START FAILURES PROBLEM",
		"shop sj/import paused 40 400% 2->8 0 100 - - 0",
		"shop busy active 22.50 150% 3->4 0 8 1m0s 13s 0",
		"other fails failing - - - 1 100 - none 7 redis: 6379: connection refused",
		"shop idle idle - - 0 0 100 - none yet 0",
		"shop new unknown - - - 0 100 - none yet 0",
		"", "What could not be found out", "what nobody tells",
	}
	if strings.Join(have, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
}

// TestSort: what stands out is first, what is not known last, and equals by name.
func TestSort(t *testing.T) {
	for by, want := range map[string]string{
		"load":       "import busy fails idle new",
		"backlog":    "import busy fails idle new",
		"replicas":   "busy import idle fails new",
		"failures":   "fails busy idle import new",
		"active":     "busy fails idle import new",
		"cold-start": "idle busy fails import new",
		"name":       "fails busy idle import new",
	} {
		rows := Rows(cluster(t))
		Measured(rows, &account.ColdStarts{Objects: []account.ObjectColdStart{
			{Namespace: "shop", Name: "busy", ColdStart: account.ColdStart{Seconds: 2}}, {Namespace: "shop", Name: "idle", ColdStart: account.ColdStart{Seconds: 9}},
		}})
		if err := Sort(rows, by); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, r := range rows {
			names = append(names, r.Name)
		}
		if have := strings.Join(names, " "); have != want {
			t.Errorf("by %s: %s, want %s", by, have, want)
		}
	}
	if err := Sort(nil, "age"); err == nil || !strings.Contains(err.Error(), `"age" is none of`) {
		t.Error(err)
	}
}

// TestUnknownIsNotZero: what nobody knows is absent for programs, too.
func TestUnknownIsNotZero(t *testing.T) {
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(List{Objects: Rows(&objects.Scaled{ScaledObjects: cluster(t).ScaledObjects[3:]})}); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"backlog", "load", "replicas", "desired", "lastActive", "seconds"} {
		if strings.Contains(text.String(), `"`+field+`"`) {
			t.Errorf("%s: %s", field, &text)
		}
	}
	text.Reset()
	if err := Print(&text, nil, now); err != nil || text.String() != "nothing is scaled here\n" {
		t.Errorf("%q, %v", text.String(), err)
	}
}
