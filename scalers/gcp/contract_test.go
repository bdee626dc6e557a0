package main

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"cloud.google.com/go/spanner/apiv1/spannerpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers/gcloud"
)

// subject is a trigger of one type.
type subject struct {
	scaler.Trigger

	metadata map[string]string
	other    map[string]string // makes another question of it
	value    float64
	what     string // how its errors begin
}

// everyType is a trigger of each type that Cloud Monitoring answers.
func everyType(c *cloud) []subject {
	depth := gcloud.Series{
		Project: "shop", Metric: "cloudtasks.googleapis.com/queue/depth", Resource: "cloud_tasks_queue", ID: map[string]string{"queue_id": "orders"},
		Points: []gcloud.Point{{Value: gcloud.Int(3)}},
	}
	c.Set(undelivered("orders", 3), depth)
	longer := map[string]string{"filterDuration": "7"}
	return []subject{
		{cloudTasks, map[string]string{"queueName": "orders", "projectID": "shop"}, longer, 3, "queue orders of project shop: "},
		{pubSub, map[string]string{"subscriptionName": "orders"}, map[string]string{"timeHorizon": "7m"}, 3, "pubsub.googleapis.com/subscription/num_undelivered_messages of subscription orders of project shop: "},
		{stackdriver, map[string]string{"projectId": "shop", "filter": `metric.type="cloudtasks.googleapis.com/queue/depth"`}, longer, 3, "metrics of project shop: "},
	}
}

// contracted is a type, and the service that it asks.
type contracted struct {
	subject
	service *endpoint
}

// contractedTypes are all of the family, with something to answer them.
func contractedTypes(t testing.TB, c *cloud) []contracted {
	t.Helper()
	var all []contracted
	for _, s := range everyType(c) {
		all = append(all, contracted{s, &monitoringAt})
	}
	c.stored(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"items":[{"size":"5"},{"size":"5"},{"size":"5"}]}`)
	})
	answers := newSpanner(t, c.issuer).answers
	answers["count"] = result(spannerpb.TypeCode_INT64, structpb.NewStringValue("3"))
	return append(all,
		contracted{subject{storage, map[string]string{"bucketName": "orders"}, map[string]string{"blobPrefix": "x"}, 3, "bucket orders: "}, &storageAt},
		contracted{subject{spanner, with(ordersAt, map[string]string{"query": "count"}), map[string]string{"query": "other"}, 3, "database "}, &spannerAt})
}

// cases has the contract's case of every type.
var cases = scalertest.Cases{}

func TestContract(t *testing.T) { cases.Contract(t, triggers) }

var _ = cases.Add("gcp-cloudtasks", answered("gcp-cloudtasks"))
var _ = cases.Add("gcp-pubsub", answered("gcp-pubsub"))
var _ = cases.Add("gcp-stackdriver", answered("gcp-stackdriver"))
var _ = cases.Add("gcp-storage", answered("gcp-storage"))
var _ = cases.Add("gcp-spanner", answered("gcp-spanner"))

// answered is the case of one of contractedTypes.
func answered(triggerType string) func(testing.TB) scalertest.Case {
	return func(t testing.TB) scalertest.Case {
		t.Helper()
		c := newCloud(t)
		types := contractedTypes(t, c)
		s := types[slices.IndexFunc(types, func(s contracted) bool { return s.Type == triggerType })]
		elsewhere := func(address func(testing.TB) string) func(testing.TB) map[string]string {
			return func(t testing.TB) map[string]string {
				askAt(t, s.service, address(t))
				return with(s.metadata, s.other) // another question, since the endpoint is no part of it
			}
		}
		return scalertest.Case{
			Metadata: s.metadata,
			Auth:     c.auth(),
			Dead:     elsewhere(scalertest.DeadAddress),
			Stalled:  elsewhere(scalertest.StalledAddress),
			OnePart:  "all series are asked of one endpoint; TestARequestThatStallsFailsAlone has one of the requests stall",
		}
	}
}

// TestEnvironment has every parameter that can be taken from a variable.
func TestEnvironment(t *testing.T) {
	for _, s := range contractedTypes(t, newCloud(t)) {
		want := []string{"credentials"} // the others need a value of a kind: see TestIdentities and TestPubSub
		if got := scalertest.FromEnv(s.Trigger, s.metadata); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", s.Type, got, want)
		}
	}
}
