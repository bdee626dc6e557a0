package main

import (
	"maps"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers/gcloud"
)

// undelivered is the series of a subscription's backlog, newest value first.
func undelivered(id string, values ...int64) gcloud.Series {
	s := gcloud.Series{
		Project: "shop", Metric: "pubsub.googleapis.com/subscription/num_undelivered_messages", Kind: metric.MetricDescriptor_GAUGE,
		Resource: "pubsub_subscription", ID: map[string]string{"subscription_id": id},
	}
	for i, v := range values {
		s.Points = append(s.Points, gcloud.Point{Ago: time.Duration(i) * time.Minute, Value: gcloud.Int(v)})
	}
	return s
}

// sizes are the sizes of a topic's messages, as a distribution.
func sizes(id, region string, count int64, mean float64) gcloud.Series {
	return gcloud.Series{
		Project: "shop", Metric: "pubsub.googleapis.com/topic/message_sizes", Kind: metric.MetricDescriptor_DELTA,
		Resource: "pubsub_topic", ID: map[string]string{"topic_id": id}, Labels: map[string]string{"region": region},
		Points: []gcloud.Point{{Value: gcloud.Distribution(count, mean)}},
	}
}

func with(metadata ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range metadata {
		maps.Copy(all, m)
	}
	return all
}

func TestPubSub(t *testing.T) {
	c := newCloud(t)
	lateOnly := undelivered("late", 9)
	lateOnly.Points[0].Ago = 3 * time.Minute
	elsewhere := undelivered("orders", 99)
	elsewhere.Project = "other"
	text := undelivered("text")
	text.Points = []gcloud.Point{{Value: gcloud.Text("much")}}
	gauge := undelivered("fraction")
	gauge.Points = []gcloud.Point{{Value: gcloud.Double(2.5)}}
	c.Set(elsewhere, undelivered("orders", 7, 50), undelivered("empty", 0), lateOnly, text, gauge,
		sizes("events", "eu", 1, 10), sizes("events", "us", 3, 2), sizes("one", "eu", 2, 5), sizes("two", "eu", 1, 10), sizes("two", "us", 1, 2))
	c.Answer("fetch pubsub_topic | metric 'pubsub.googleapis.com/topic/message_sizes' | filter (resource.project_id == 'shop' && resource.topic_id == 'events')"+
		" | within 5m0s | align delta(3m0s) | every 3m0s | group_by [], percentile(value, 37)", gcloud.Double(3.7))
	c.Answer("fetch pubsub_subscription | metric 'pubsub.googleapis.com/subscription/num_undelivered_messages' | filter (resource.project_id == 'shop' && resource.subscription_id == 'orders')"+
		" | within 10m0s | align delta(3m0s) | every 3m0s | group_by [], sum(value)", gcloud.Int(-43))
	c.Answer("fetch pubsub_topic | metric 'pubsub.googleapis.com/topic/message_sizes' | filter (resource.project_id == 'shop' && resource.topic_id == 'events')"+
		" | within 5m0s | align delta(3m0s) | every 3m0s | group_by [], sum(value)", gcloud.Double(16))
	c.Answer("fetch pubsub_topic | metric 'pubsub.googleapis.com/topic/message_sizes' | filter (resource.project_id == 'shop' && resource.topic_id == 'two')"+
		" | within 5m0s | align delta(3m0s) | every 3m0s | group_by [], sum(value)", gcloud.Distribution(2, 6))
	const noSeries = " (values come up to 4 minutes late, and a new subscription has none: see timeHorizon and valueIfNull): no data"
	tests := map[string]struct {
		metadata map[string]string
		value    float64
		code     codes.Code
		message  string
	}{
		"a subscription":                {metadata: map[string]string{"subscriptionName": "orders"}, value: 7},
		"with its path":                 {metadata: map[string]string{"subscriptionName": "projects/other/subscriptions/orders"}, value: 99},
		"of a variable":                 {metadata: map[string]string{"subscriptionNameFromEnv": "SUBSCRIPTION"}, value: 2.5},
		"a topic of a variable":         {metadata: map[string]string{"topicNameFromEnv": "TOPIC", "mode": "MessageSizes", "aggregation": "count"}, value: 2},
		"an empty one":                  {metadata: map[string]string{"subscriptionName": "empty"}},
		"a fraction":                    {metadata: map[string]string{"subscriptionName": "fraction"}, value: 2.5},
		"another mode":                  {metadata: map[string]string{"subscriptionName": "orders", "mode": "NumUndeliveredMessages"}, value: 7},
		"a longer horizon":              {metadata: map[string]string{"subscriptionName": "late", "timeHorizon": "5m"}, value: 9},
		"a horizon of nothing":          {metadata: map[string]string{"subscriptionName": "orders", "timeHorizon": "0s"}, value: 7},
		"a new one":                     {metadata: map[string]string{"subscriptionName": "new-one"}, code: codes.NotFound, message: "gcp-pubsub: pubsub.googleapis.com/subscription/num_undelivered_messages of subscription new-one of project shop: no metric was found within 2m0s" + noSeries},
		"a new one with a value":        {metadata: map[string]string{"subscriptionName": "new-one", "valueIfNull": "3"}, value: 3},
		"nothing within":                {metadata: map[string]string{"subscriptionName": "late", "valueIfNull": "0"}},
		"a text":                        {metadata: map[string]string{"subscriptionName": "text", "valueIfNull": "0"}, code: codes.FailedPrecondition},
		"a distribution":                {metadata: map[string]string{"topicName": "events", "mode": "MessageSizes"}, code: codes.FailedPrecondition, message: "gcp-pubsub: pubsub.googleapis.com/topic/message_sizes of topic events of project shop: could not extract value: the metric is a distribution, which needs an aggregation"},
		"mean":                          {metadata: map[string]string{"topicName": "events", "mode": "MessageSizes", "aggregation": "mean"}, value: 4},
		"median":                        {metadata: map[string]string{"topicName": "events", "mode": "MessageSizes", "aggregation": "median"}, value: 2},
		"variance":                      {metadata: map[string]string{"topicName": "two", "mode": "MessageSizes", "aggregation": "variance"}, value: 16},
		"stddev":                        {metadata: map[string]string{"topicName": "two", "mode": "MessageSizes", "aggregation": "stddev"}, value: 4},
		"count":                         {metadata: map[string]string{"topicName": "events", "mode": "MessageSizes", "aggregation": "count"}, value: 2},
		"percentile99":                  {metadata: map[string]string{"topicName": "events", "mode": "MessageSizes", "aggregation": "percentile99"}, value: 10},
		"percentile5":                   {metadata: map[string]string{"topicName": "events", "mode": "MessageSizes", "aggregation": "percentile5"}, value: 2},
		"percentile05":                  {metadata: map[string]string{"topicName": "events", "mode": "MessageSizes", "aggregation": "percentile05"}, value: 2},
		"a signed percentile":           {metadata: map[string]string{"subscriptionName": "orders", "aggregation": "percentile+5"}, code: codes.InvalidArgument},
		"a percentile without reducer":  {metadata: map[string]string{"topicName": "events", "mode": "MessageSizes", "aggregation": "percentile37"}, value: 3.7},
		"the sum of distributions":      {metadata: map[string]string{"topicName": "events", "mode": "MessageSizes", "aggregation": "sum"}, value: 16},
		"a sum that stays one":          {metadata: map[string]string{"topicName": "two", "mode": "MessageSizes", "aggregation": "sum"}, code: codes.FailedPrecondition, message: "gcp-pubsub: pubsub.googleapis.com/topic/message_sizes of topic two of project shop: could not extract value: the aggregation of distributions is a distribution; mean, median, stddev, variance, count and percentile<0-100> are numbers"},
		"a project with a space":        {metadata: map[string]string{"subscriptionName": "projects/a b/subscriptions/orders"}, code: codes.InvalidArgument, message: `gcp-pubsub: subscriptionName: "a b" is not an id: it has a space, a slash or another character that ids do not have, or is too long`},
		"a gauge's change":              {metadata: map[string]string{"subscriptionName": "orders", "aggregation": "sum", "timeHorizon": "10m"}, value: 0},
		"a gauge's change, not known":   {metadata: map[string]string{"subscriptionName": "orders", "aggregation": "mean"}, code: codes.InvalidArgument},
		"a metric that never existed":   {metadata: map[string]string{"subscriptionName": "orders", "mode": "Nothing"}, code: codes.NotFound},
		"no resource":                   {code: codes.InvalidArgument, message: "gcp-pubsub: subscriptionName: either it or topicName is required"},
		"two resources":                 {metadata: map[string]string{"subscriptionName": "orders", "topicName": "events"}, code: codes.InvalidArgument, message: "gcp-pubsub: subscriptionName: cannot be combined with topicName"},
		"an id with something else":     {metadata: map[string]string{"subscriptionName": "a' || true"}, code: codes.InvalidArgument, message: `gcp-pubsub: subscriptionName: "a' || true" is not the id of a subscription: 3 to 255 letters, digits and -_.~+%, a letter first, and not goog`},
		"an id of Google":               {metadata: map[string]string{"topicName": "GooGle-topic"}, code: codes.InvalidArgument},
		"an id that is too short":       {metadata: map[string]string{"topicName": "ab"}, code: codes.InvalidArgument},
		"an aggregation of nobody":      {metadata: map[string]string{"subscriptionName": "orders", "aggregation": "mode"}, code: codes.InvalidArgument, message: `gcp-pubsub: aggregation: "mode" is not one of mean, median, variance, stddev, sum, count, percentile<0-100>`},
		"a percentile above all":        {metadata: map[string]string{"subscriptionName": "orders", "aggregation": "percentile101"}, code: codes.InvalidArgument},
		"a percentile without a number": {metadata: map[string]string{"subscriptionName": "orders", "aggregation": "percentile"}, code: codes.InvalidArgument},
		"the size of a subscription":    {metadata: map[string]string{"subscriptionName": "orders", "subscriptionSize": "5"}, code: codes.InvalidArgument, message: "gcp-pubsub: subscriptionSize: was removed: use mode: SubscriptionSize and value: <target>"},
		"several mistakes":              {metadata: map[string]string{"timeHorizon": "soon", "value": "x"}, code: codes.InvalidArgument},
	}
	family := scalertest.Serve(t, triggers...).WithAuth(c.auth()).WithEnv(map[string]string{"SUBSCRIPTION": "fraction", "TOPIC": "two"})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := family.Observe(within(t), "gcp-pubsub", tt.metadata)
			if status.Code(err) != tt.code || err == nil && got.Value != tt.value {
				t.Errorf("observation = %+v, %v, want %v, %v", got, err, tt.value, tt.code)
			}
			if tt.message != "" && status.Convert(err).Message() != tt.message {
				t.Errorf("error = %v, want %s", err, tt.message)
			}
		})
	}
}

func TestPubSubAsks(t *testing.T) {
	c := newCloud(t)
	c.Set(undelivered("orders", 7))
	family := scalertest.Serve(t, triggers...).WithAuth(c.auth())
	if _, err := family.Observe(within(t), "gcp-pubsub", map[string]string{"subscriptionName": "orders"}); err != nil {
		t.Fatal(err)
	}
	got := c.Requests()[0]
	want := `metric.type="pubsub.googleapis.com/subscription/num_undelivered_messages" AND resource.type="pubsub_subscription"` +
		` AND resource.labels.subscription_id="orders" AND resource.labels.project_id="shop"`
	if got.GetFilter() != want || got.GetName() != "projects/shop" || got.GetAggregation() != nil || got.GetView() != monitoringpb.ListTimeSeriesRequest_FULL ||
		got.GetInterval().GetEndTime().AsTime().Sub(got.GetInterval().GetStartTime().AsTime()) != 2*time.Minute {
		t.Errorf("asked %v", got)
	}
}

func TestPubSubMetric(t *testing.T) {
	family := scalertest.Serve(t, triggers...).WithAuth(map[string]string{"GoogleApplicationCredentials": "k"}).WithEnv(map[string]string{"NAME": "of-env"})
	for name, metadata := range map[string]map[string]string{
		"gcp-ps-orders":                          {"subscriptionName": "orders"},
		"gcp-ps-projects-shop-subscriptions-a-b": {"subscriptionName": "projects/shop/subscriptions/a.b"},
		"gcp-ps-events":                          {"topicName": "events"},
	} {
		specs, err := family.Specs(within(t), "gcp-pubsub", metadata)
		if err != nil || len(specs) != 1 || specs[0].GetMetricName() != name || specs[0].GetTargetSizeFloat() != 10 {
			t.Errorf("%v: %v, %v", name, specs, err)
		}
	}
	for text, want := range map[string]string{
		"NumUndeliveredMessages": "num_undelivered_messages", "OldestUnackedMessageAge": "oldest_unacked_message_age",
		"ByteCost": "byte_cost", "AckLatencies": "ack_latencies", "already_snake": "already_snake", "ABCDef": "abc_def", "StreamingPullV2Count": "streaming_pull_v2_count", "": "",
	} {
		if got := snakeCase(text); got != want {
			t.Errorf("snakeCase(%q) = %q, want %q", text, got, want)
		}
	}
}
