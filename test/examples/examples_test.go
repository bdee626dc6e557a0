package examples_test

import (
	"maps"
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
		if there, any := trigger.LedTo("h:1"); any {
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
