package main

import (
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers/gcloud"
)

// TestCloudTasks has what the depth of a queue may come to.
func TestCloudTasks(t *testing.T) {
	c := newCloud(t)
	depth := func(project, id, location string, ago time.Duration, value *monitoringpb.TypedValue) gcloud.Series {
		return gcloud.Series{Project: project, Metric: "cloudtasks.googleapis.com/queue/depth", Resource: "cloud_tasks_queue",
			ID: map[string]string{"queue_id": id, "location": location}, Points: []gcloud.Point{{Ago: ago, Value: value}}}
	}
	c.Set(depth("other", "orders", "eu", 0, gcloud.Int(99)), depth("shop", "orders", "eu", 0, gcloud.Int(7)), depth("shop", "orders", "us", 0, gcloud.Int(5)),
		depth("shop", "empty", "eu", 0, gcloud.Int(0)), depth("shop", "fraction", "eu", 0, gcloud.Double(2.5)), depth("shop", "late", "eu", 4*time.Minute, gcloud.Int(9)),
		depth("shop", "text", "eu", 0, gcloud.Text("much")), depth("shop", `a"b\c`, "eu", 0, gcloud.Int(3)))
	const late = `gcp-cloudtasks: queue late of project shop: no metric was found within 2m0s by the filter metric.type="cloudtasks.googleapis.com/queue/depth"` +
		` AND resource.labels.queue_id="late" AND resource.labels.project_id="shop" (values come up to 3 minutes late: filterDuration 5 finds more; a queue that never had a task has none): no data`
	for name, tt := range map[string]struct {
		metadata map[string]string
		value    float64
		active   bool
		code     codes.Code
		message  string
	}{
		"the first of several locations": {value: 7, active: true},
		"of another project":             {metadata: map[string]string{"projectID": "other"}, value: 99, active: true},
		"none waits":                     {metadata: map[string]string{"queueName": "empty"}},
		"a fraction":                     {metadata: map[string]string{"queueName": "fraction"}, value: 2.5, active: true},
		"an odd name":                    {metadata: map[string]string{"queueName": `a"b\c`}, value: 3, active: true},
		"a threshold that is reached":    {metadata: map[string]string{"activationValue": "7"}, value: 7},
		"a threshold that is exceeded":   {metadata: map[string]string{"activationValue": "6.5"}, value: 7, active: true},
		"nothing within":                 {metadata: map[string]string{"queueName": "late"}, code: codes.NotFound, message: late},
		"what other types have":          {metadata: map[string]string{"queueName": "late", "valueIfNull": "3"}, code: codes.NotFound, message: late},
		"a longer window":                {metadata: map[string]string{"queueName": "late", "filterDuration": "5"}, value: 9, active: true},
		"a window below nothing":         {metadata: map[string]string{"filterDuration": "-1"}, value: 7, active: true},
		"a text":                         {metadata: map[string]string{"queueName": "text"}, code: codes.FailedPrecondition, message: "gcp-cloudtasks: queue text of project shop: could not extract value: the metric is not a number"},
		"nothing named":                  {metadata: map[string]string{"queueName": "", "projectID": " "}, code: codes.InvalidArgument, message: "gcp-cloudtasks: queueName: is required (looked in metadata); projectID: is required (looked in metadata)"},
		"the project of other types":     {metadata: map[string]string{"projectID": "", "projectId": "shop"}, code: codes.InvalidArgument},
		"no target":                      {metadata: map[string]string{"value": "0"}, code: codes.InvalidArgument},
		"a window of words":              {metadata: map[string]string{"filterDuration": "2m"}, code: codes.InvalidArgument},
	} {
		got, err := scalertest.Serve(t, triggers...).WithAuth(c.auth()).Observe(within(t), "gcp-cloudtasks", with(map[string]string{"queueName": "orders", "projectID": "shop"}, tt.metadata))
		if status.Code(err) != tt.code || err == nil && (got.Value != tt.value || got.Active != tt.active) {
			t.Errorf("%s: %+v, %v, want %v, %v, %v", name, got, err, tt.value, tt.active, tt.code)
		}
		if tt.message != "" && status.Convert(err).Message() != tt.message {
			t.Errorf("%s: %v, want %s", name, err, tt.message)
		}
	}
	specs, err := scalertest.Serve(t, triggers...).WithAuth(c.auth()).Specs(within(t), "gcp-cloudtasks", map[string]string{"queueName": "a.b/c", "projectID": "shop"})
	if err != nil || specs[0].GetMetricName() != "gcp-ct-a-b-c" || specs[0].GetTargetSizeFloat() != 100 {
		t.Errorf("%v, %v", specs, err)
	}
}
