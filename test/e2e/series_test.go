package e2e

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// ofTrigger are the labels that the page calls L.
const ofTrigger = "metric namespace scaledObject scaler triggerIndex type"

// series are those of KEDA, and what is ours: what each kind of process has.
// Where there is a value, one of the series must have it as a label's. Those of
// process_* come from /proc, which a Pod here has not; waitMeasured is about
// sluice_event_to_replicas_seconds.
var series = []struct {
	component, name string
	kind            dto.MetricType
	labels          string
	value           string
}{
	{"controller", "keda_build_info", dto.MetricType_GAUGE, "git_commit goarch goos goversion version", ""},
	{"controller", "keda_scaler_metrics_value", dto.MetricType_GAUGE, ofTrigger, "composite-metric"},
	{"controller", "keda_scaler_metrics_value", dto.MetricType_GAUGE, ofTrigger, "scaledjob"},
	{"controller", "keda_scaler_metrics_latency_seconds", dto.MetricType_GAUGE, ofTrigger, "s0-count"},
	{"controller", "keda_scaler_active", dto.MetricType_GAUGE, ofTrigger, "cpuMemoryScaler"},
	{"controller", "keda_scaler_active", dto.MetricType_GAUGE, ofTrigger, "externalPushScaler"},
	{"controller", "keda_scaler_detail_errors_total", dto.MetricType_COUNTER, ofTrigger, "scaledobject"},
	{"controller", "keda_scaler_detail_errors_total", dto.MetricType_COUNTER, ofTrigger, "scaledjob"},
	{"controller", "keda_scaled_object_errors_total", dto.MetricType_COUNTER, "namespace scaledObject", "series-empty"},
	{"controller", "keda_scaled_object_paused", dto.MetricType_GAUGE, "namespace scaledObject", "series"},
	{"controller", "keda_scaled_job_errors_total", dto.MetricType_COUNTER, "namespace scaledJob", "series-job"},
	{"controller", "keda_scaler_empty_upstream_responses_total", dto.MetricType_COUNTER,
		"ignoreNullValues metricName namespace resourceType scaledResource triggerName", "series-empty"},
	{"controller", "keda_trigger_registered_total", dto.MetricType_GAUGE, "type", "external-push"},
	{"controller", "keda_resource_registered_total", dto.MetricType_GAUGE, "namespace type", "scaled_object"},
	{"controller", "keda_resource_registered_total", dto.MetricType_GAUGE, "namespace type", "scaled_job"},
	{"controller", "keda_resource_registered_total", dto.MetricType_GAUGE, "namespace type", "trigger_authentication"},
	{"controller", "keda_resource_registered_total", dto.MetricType_GAUGE, "namespace type", "cluster_trigger_authentication"},
	{"controller", "keda_resource_registered_total", dto.MetricType_GAUGE, "namespace type", "cloudevent_source"},
	{"controller", "keda_internal_scale_loop_latency_seconds", dto.MetricType_GAUGE, "namespace resource type", "series"},
	{"controller", "keda_cloudeventsource_events_emitted_total", dto.MetricType_COUNTER, "cloudeventsource eventsink namespace state", "emitted"},
	{"controller", "keda_cloudeventsource_events_queued", dto.MetricType_GAUGE, "namespace", ""},
	{"controller", "keda_webhook_scaled_object_validations_total", dto.MetricType_COUNTER, "action namespace", "create"},
	{"controller", "keda_webhook_scaled_object_validation_errors_total", dto.MetricType_COUNTER, "action namespace reason", "incorrect-triggers"},
	{"controller", "sluice_trigger_overdue_seconds", dto.MetricType_GAUGE, "namespace scaledObject scaler triggerIndex type", "externalPushScaler"},
	{"controller", "sluice_trigger_overdue_seconds", dto.MetricType_GAUGE, "namespace scaledObject scaler triggerIndex type", "scaledjob"},
	{"controller", "sluice_scaled_object_at_maximum", dto.MetricType_GAUGE, "namespace scaledObject", "series"},
	{"controller", "sluice_scaled_object_wake_objective_seconds", dto.MetricType_GAUGE, "namespace scaledObject", "series"},
	{"controller", "sluice_scaled_object_wakes_total", dto.MetricType_COUNTER, "namespace objective scaledObject", "unknown"},
	{"controller", "sluice_scaled_object_cold_start_seconds", dto.MetricType_GAUGE, "namespace scaledObject", "series"},
	{"controller", "sluice_scaled_job_failures_in_a_row", dto.MetricType_GAUGE, "namespace scaledJob", "series-job"},
	{"controller", "sluice_certificate_life_left_ratio", dto.MetricType_GAUGE, "", ""},
	{"controller", "sluice_family_instances", dto.MetricType_GAUGE, "family state type", "ready"},
	{"controller", "sluice_family_subscriptions", dto.MetricType_GAUGE, "type", "external-push"},
	{"controller", "sluice_keda_leads", dto.MetricType_GAUGE, "", ""},
	{"controller", "sluice_registered", dto.MetricType_GAUGE, "what", "metrics"},
	{"controller", "sluice_registered", dto.MetricType_GAUGE, "what", "webhook"},
	{"controller", "controller_runtime_reconcile_total", dto.MetricType_COUNTER, "controller result", "scaledobject"},
	{"controller", "workqueue_depth", dto.MetricType_GAUGE, "controller name priority", "activation"},
	{"controller", "rest_client_requests_total", dto.MetricType_COUNTER, "code host method", ""},
	{"controller", "leader_election_master_status", dto.MetricType_GAUGE, "name", "operator.keda.sh"},
	{"controller", "go_goroutines", dto.MetricType_GAUGE, "", ""},
	{"controller", "go_memstats_heap_inuse_bytes", dto.MetricType_GAUGE, "", ""},

	{"metrics-adapter", "keda_internal_metricsservice_grpc_client_started_total", dto.MetricType_COUNTER, "grpc_method grpc_service grpc_type", "GetMetrics"},
	{"metrics-adapter", "keda_internal_metricsservice_grpc_client_handled_total", dto.MetricType_COUNTER, "grpc_code grpc_method grpc_service grpc_type", "GetMetrics"},
	{"metrics-adapter", "keda_internal_metricsservice_grpc_client_msg_received_total", dto.MetricType_COUNTER, "grpc_method grpc_service grpc_type", "GetMetrics"},
	{"metrics-adapter", "keda_internal_metricsservice_grpc_client_msg_sent_total", dto.MetricType_COUNTER, "grpc_method grpc_service grpc_type", "GetMetrics"},
	{"metrics-adapter", "keda_internal_metricsservice_grpc_client_handling_seconds", dto.MetricType_HISTOGRAM, "grpc_method grpc_service grpc_type", "GetMetrics"},
	{"metrics-adapter", "metrics_apiserver_metric_freshness_seconds", dto.MetricType_HISTOGRAM, "group", "external.metrics.k8s.io"},
	{"metrics-adapter", "apiserver_request_total", dto.MetricType_COUNTER, "code component dry_run group resource scope subresource verb version", "external.metrics.k8s.io"},
	{"metrics-adapter", "sluice_family_instances", dto.MetricType_GAUGE, "family state type", "ready"},
	{"metrics-adapter", "go_goroutines", dto.MetricType_GAUGE, "", ""},

	{"scaler-external", "keda_internal_metricsservice_grpc_server_started_total", dto.MetricType_COUNTER, "grpc_method grpc_service grpc_type", "GetMetrics"},
	{"scaler-external", "keda_internal_metricsservice_grpc_server_handled_total", dto.MetricType_COUNTER, "grpc_code grpc_method grpc_service grpc_type", "GetMetrics"},
	{"scaler-external", "keda_internal_metricsservice_grpc_server_msg_received_total", dto.MetricType_COUNTER, "grpc_method grpc_service grpc_type", "Watch"},
	{"scaler-external", "keda_internal_metricsservice_grpc_server_msg_sent_total", dto.MetricType_COUNTER, "grpc_method grpc_service grpc_type", "Watch"},
	{"scaler-external", "keda_internal_metricsservice_grpc_server_handling_seconds", dto.MetricType_HISTOGRAM, "grpc_method grpc_service grpc_type", "GetMetrics"},
	{"scaler-http", "keda_scaler_http_requests_total", dto.MetricType_COUNTER, "scaler status_code", "200"},
	{"scaler-http", "keda_scaler_http_request_duration_seconds", dto.MetricType_HISTOGRAM, "scaler status_code", "metrics-api"},
}

// TestSeries scrapes every kind of process as Prometheus does and holds what it
// has against the list, one row each.
func TestSeries(t *testing.T) {
	t.Parallel()
	ns, script := namespace(t), startScript(t)
	sink := &api{}
	sink.waiting.Store(1)
	sink.start(t)
	t.Cleanup(sink.stop)
	r := row{object: object{t, ns, "series"}, script: script}
	measured(t, r, sink)

	for _, s := range series {
		t.Run(strings.TrimSpace(s.component+" "+s.name+" "+s.value), func(t *testing.T) {
			wait(t, s.name, func() (bool, string) {
				var saw []string
				for _, i := range world.cluster.Instances(s.component) {
					families, err := world.cluster.InstanceMetrics(t.Context(), i, "metrics")
					if err != nil {
						saw = append(saw, err.Error())
						continue
					}
					f := families[s.name]
					for _, m := range f.GetMetric() {
						names, values := labelsOf(m)
						if f.GetType() != s.kind || strings.Join(names, " ") != s.labels {
							t.Fatalf("%s of %s is a %s by %v, want a %s by %s", s.name, i.Name(), f.GetType(), names, s.kind, s.labels)
						}
						if s.value == "" || slices.Contains(values, s.value) {
							return true, ""
						}
						saw = append(saw, strings.Join(values, ","))
					}
				}
				return false, strings.Join(saw, " | ")
			})
		})
	}
	t.Run("standbys have no series of objects", func(t *testing.T) {
		wait(t, "a standby's series", func() (bool, string) {
			first := leader(t)
			for _, i := range world.cluster.Instances("controller") {
				families, err := world.cluster.InstanceMetrics(t.Context(), i, "metrics")
				if i == first || err != nil {
					continue
				}
				of := ofObject(families, ns, r.name)
				return len(of) == 0, fmt.Sprintf("%s, which does not lead: %v", i.Name(), of)
			}
			return false, "no standby"
		})
	})
}

// measured makes objects of which there is something to measure.
func measured(t *testing.T, r row, sink *api) {
	t.Helper()
	for _, text := range []string{
		manifest(t, "CloudEventSource", r.namespace, "audit", map[string]any{
			"destination": map[string]any{"http": map[string]any{"uri": "http://" + sink.address}},
		}, nil),
		manifest(t, "TriggerAuthentication", r.namespace, "login", map[string]any{}, nil),
		manifest(t, "ClusterTriggerAuthentication", "", r.namespace, map[string]any{}, nil),
	} {
		if err := world.cluster.ApplyYAML(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	cpu := map[string]any{"type": "cpu", "metricType": "AverageValue", "metadata": map[string]any{"value": "500m"}}
	in := func(name string) row { return row{object: object{t, r.namespace, r.name + name}, script: r.script} }

	r.set(50)
	r.deployment(0)
	r.change(spec{"triggers": append(triggers(r.trigger()), cpu)})
	r.annotate("sluice.dev/wake-objective", "2s")
	composed := in("-formula")
	two := triggers(composed.trigger(), composed.script.trigger("other", nil))
	two[0]["name"], two[1]["name"] = "a", "b"
	composed.deployment(0)
	composed.change(spec{"triggers": two, "advanced": map[string]any{"scalingModifiers": map[string]any{"formula": "a + b", "target": "5"}}})
	empty := in("-empty")
	empty.set(math.NaN())
	empty.deployment(0)
	empty.change(nil)
	page := in("-page")
	page.deployment(0)
	page.change(spec{"triggers": triggers(brokers.Trigger{Type: "metrics-api", Metadata: map[string]string{
		"url": "http://" + sink.address, "valueLocation": "waiting", "targetValue": "5",
	}})})
	scaleJobs(t, r.namespace, r.name+"-job", spec{"triggers": triggers(r.script.trigger("job", nil))})

	twice := []any{map[string]any{"type": "cron", "name": "a", "metadata": map[string]any{}}, map[string]any{"type": "cron", "name": "a", "metadata": map[string]any{}}}
	wait(t, "a refusal", func() (bool, string) {
		have := ask(t, manifest(t, "ScaledObject", r.namespace, "refused", spec{"scaleTargetRef": map[string]any{"name": "x"}, "triggers": twice}, nil), client.DryRunAll)
		return strings.Contains(have.refused, "is already the name of trigger 0"), have.String()
	})
	r.waitReplicas(10)
	r.wait("the adapter to answer", func() (bool, string) {
		value, err := r.metricValue()
		return err == nil && value == 50, fmt.Sprint(value, err)
	})
}

// labelsOf are the sorted names and the values of a series' labels.
func labelsOf(m *dto.Metric) (names, values []string) {
	labels := map[string]string{}
	for _, l := range m.GetLabel() {
		labels[l.GetName()] = l.GetValue()
	}
	return slices.Sorted(maps.Keys(labels)), slices.Collect(maps.Values(labels))
}

// ofObject are the names of KEDA's metrics that tell of an object.
func ofObject(families map[string]*dto.MetricFamily, namespace, name string) []string {
	var found []string
	for metric, f := range families {
		if !strings.HasPrefix(metric, "keda_scale") && !strings.HasPrefix(metric, "keda_internal_scale") {
			continue
		}
		if slices.ContainsFunc(f.GetMetric(), func(m *dto.Metric) bool {
			_, values := labelsOf(m)
			return slices.Contains(values, namespace) && slices.Contains(values, name)
		}) {
			found = append(found, metric)
		}
	}
	slices.Sort(found)
	return found
}

// TestSeriesEndWithTheObject deletes an object of which the leader tells.
func TestSeriesEndWithTheObject(t *testing.T) {
	t.Parallel()
	r := row{object: object{t, namespace(t), "short"}, script: startScript(t)}
	r.start(0, nil)
	of := func(i *localcluster.Instance) []string {
		families, err := world.cluster.InstanceMetrics(t.Context(), i, "metrics")
		if err != nil {
			return []string{err.Error()}
		}
		return ofObject(families, r.namespace, r.name)
	}
	want := []string{
		"keda_internal_scale_loop_latency_seconds", "keda_scaled_object_errors_total", "keda_scaled_object_paused", "keda_scaler_active",
		"keda_scaler_detail_errors_total", "keda_scaler_metrics_latency_seconds", "keda_scaler_metrics_value",
	}
	r.wait("its series", func() (bool, string) { have := of(leader(t)); return slices.Equal(have, want), strings.Join(have, " ") })
	r.remove()
	r.wait("no series", func() (bool, string) { have := of(leader(t)); return len(have) == 0, strings.Join(have, " ") })
}
