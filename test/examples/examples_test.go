package examples_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sluice-autoscaler/sluice/test/examples"
)

func TestTriggers(t *testing.T) {
	all, err := examples.Triggers("../..")
	if err != nil {
		t.Fatal(err)
	}
	led := map[string]map[string]string{}
	for _, trigger := range all {
		if trigger.Family == "" || len(trigger.Metadata) == 0 {
			t.Errorf("%+v lacks something", trigger)
		}
		if there, leads := trigger.LedTo("h:1"); leads {
			led[trigger.Family+"/"+trigger.Type] = there
		}
	}
	for name, want := range map[string]map[string]string{
		"redis/redis":           {"address": "h:1", "listName": "orders", "listLength": "10"},
		"prometheus/prometheus": {"serverAddress": "http://h:1/", "query": `sum(rate(http_requests_total{app="orders"}[2m]))`, "threshold": "100", "ignoreNullValues": "false"},
	} {
		if !maps.Equal(led[name], want) {
			t.Errorf("%s: %v, want %v", name, led[name], want)
		}
	}
	if led["cron/cron"] != nil {
		t.Errorf("cron leads to %v", led["cron/cron"])
	}
}

// TestEveryFamilyTriesTheContract: a family whose tests compare its cases with
// what it serves cannot forget one.
func TestEveryFamilyTriesTheContract(t *testing.T) {
	families, err := filepath.Glob("../../scalers/*/main.go")
	if err != nil || len(families) == 0 {
		t.Fatalf("%d families, %v", len(families), err)
	}
	for _, family := range families {
		tests, err := filepath.Glob(filepath.Join(filepath.Dir(family), "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(tests, func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && bytes.Contains(text, []byte("cases.Contract(t, triggers)"))
		}) {
			t.Errorf("no test of %s calls cases.Contract(t, triggers): CONTRIBUTING.md, Add a family", filepath.Dir(family))
		}
	}
}
