package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers/gcloud"
)

// subscription is a trigger on a subscription of project shop.
func subscription(id string, more ...map[string]string) subject {
	return subject{Trigger: pubSub, metadata: with(append(more, map[string]string{"subscriptionName": id})...)}
}

// readTogether reads sources of one batch.
func readTogether(t testing.TB, sources []scaler.Source) []scaler.Result {
	t.Helper()
	batch := sources[0].(scaler.Batched).Batch()
	for i, s := range sources {
		if s.(scaler.Batched).Batch() != batch {
			t.Fatalf("source %d is of another batch", i)
		}
	}
	return scaler.ReadTogether(within(t), batch, sources...)
}

// TestAThousandSubscriptions are read by few requests over one connection, each
// with the value that it has alone, those without one included.
func TestAThousandSubscriptions(t *testing.T) {
	c := newCloud(t)
	open := c.opener(t)
	var series []gcloud.Series
	var sources []scaler.Source
	for i := range 1000 {
		id := fmt.Sprintf("orders-%03d", i)
		if i%10 != 9 {
			series = append(series, undelivered(id, int64(i), 5000))
		}
		sources = append(sources, open(subscription(id)))
	}
	c.Set(series...)
	for at := 0; at < len(sources); at += 500 {
		for i, r := range readTogether(t, sources[at:at+500]) {
			switch n := at + i; {
			case n%10 == 9:
				if status.Code(r.Err) == codes.OK {
					t.Errorf("%d: %v, want no data", n, r.Readings)
				}
			case r.Err != nil || r.Readings[0].Value != float64(n):
				t.Errorf("%d: %+v", n, r)
			}
		}
	}
	if n := len(c.Requests()); n > 24 {
		t.Errorf("%d requests", n)
	}
	if n := c.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	if n := c.issuer.Given(); n != 1 {
		t.Errorf("%d tokens", n)
	}
	for _, r := range c.Requests() {
		if len(r.GetFilter()) > 2048 {
			t.Errorf("a filter of %d bytes", len(r.GetFilter()))
		}
	}
}

// TestTogetherAsAlone has what is aggregated, and what has several series, come to
// the same together and alone.
func TestTogetherAsAlone(t *testing.T) {
	c := newCloud(t)
	eu, us := undelivered("several", 1), undelivered("several", 2)
	eu.Labels, us.Labels = map[string]string{"region": "eu"}, map[string]string{"region": "us"}
	text := undelivered("text")
	text.Points = []gcloud.Point{{Value: gcloud.Text("much")}}
	c.Set(sizes("a-a", "eu", 1, 10), sizes("b-b", "eu", 4, 7), sizes("a-a", "us", 3, 2), eu, undelivered("one", 9), us, text)
	for id, sum := range map[string]float64{"a-a": 16, "b-b": 28} { // of distributions, which a list has as one
		c.Answer(fmt.Sprintf("fetch pubsub_topic | metric 'pubsub.googleapis.com/topic/message_sizes' | filter (resource.project_id == 'shop' && resource.topic_id == '%s')"+
			" | within 5m0s | align delta(3m0s) | every 3m0s | group_by [], sum(value)", id), gcloud.Double(sum))
	}
	open := c.opener(t)
	topic := func(id, aggregation string) subject {
		return subject{Trigger: pubSub, metadata: map[string]string{"topicName": id, "mode": "MessageSizes", "aggregation": aggregation}}
	}
	groups := [][]subject{{subscription("several"), subscription("one"), subscription("text"), subscription("none")}}
	for _, aggregation := range []string{"mean", "median", "variance", "stddev", "sum", "count", "percentile99", "percentile5"} {
		groups = append(groups, []subject{topic("a-a", aggregation), topic("b-b", aggregation), topic("c-c", aggregation)})
	}
	for _, group := range groups {
		var sources []scaler.Source
		for _, s := range group {
			sources = append(sources, open(s))
		}
		for i, together := range readTogether(t, sources) {
			alone, err := sources[i].Read(within(t))
			if group[i].metadata["aggregation"] == "sum" && i < 2 && err != nil {
				t.Errorf("%v: %v", group[i].metadata, err)
			}
			if fmt.Sprint(alone, err) != fmt.Sprint(together.Readings, together.Err) {
				t.Errorf("%v: alone %v, %v, together %+v", group[i].metadata, alone, err, together)
			}
		}
	}
}

// TestQueuesTogether reads queues of a project by one request, whatever their names
// hold.
func TestQueuesTogether(t *testing.T) {
	c := newCloud(t)
	depth := func(project, id string, n int64) gcloud.Series {
		return gcloud.Series{Project: project, Metric: "cloudtasks.googleapis.com/queue/depth", Resource: "cloud_tasks_queue", ID: map[string]string{"queue_id": id},
			Points: []gcloud.Point{{Value: gcloud.Int(n)}}}
	}
	c.Set(depth("shop", `a" OR "b`, 1), depth("shop", `c\`, 2), depth("shop", "d", 3), depth("other", "d", 4))
	open := c.opener(t)
	queue := func(project, id string) scaler.Source {
		return open(subject{Trigger: cloudTasks, metadata: map[string]string{"projectID": project, "queueName": id}})
	}
	for i, r := range readTogether(t, []scaler.Source{queue("shop", `a" OR "b`), queue("shop", `c\`), queue("shop", "d")}) {
		if r.Err != nil || r.Readings[0].Value != float64(i+1) {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if n := len(c.Requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
	if queue("shop", "d").(scaler.Batched).Batch() == queue("other", "d").(scaler.Batched).Batch() {
		t.Error("queues of two projects are asked together")
	}
}

// subscriptions are sources of orders-000 and so on, each with its number of
// messages.
func (c *cloud) subscriptions(t testing.TB, n int) []scaler.Source {
	t.Helper()
	open := c.opener(t)
	series := make([]gcloud.Series, n)
	sources := make([]scaler.Source, n)
	for i := range n {
		id := fmt.Sprintf("orders-%03d", i)
		series[i], sources[i] = undelivered(id, int64(i)), open(subscription(id))
	}
	c.Set(series...)
	return sources
}

// TestARequestThatStallsFailsAlone has one request of a batch stall: the members of
// the others are answered.
func TestARequestThatStallsFailsAlone(t *testing.T) {
	c := newCloud(t)
	sources := c.subscriptions(t, 300)
	var stalled atomic.Bool
	c.Before(func(ctx context.Context, _ *monitoringpb.ListTimeSeriesRequest) error {
		if !stalled.Swap(true) {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	answered := 0
	for _, r := range scaler.ReadTogether(ctx, sources[0].(scaler.Batched).Batch(), sources...) {
		if r.Err == nil {
			answered++
		}
	}
	if answered < 200 || answered == 300 {
		t.Errorf("%d of 300 are answered", answered)
	}
}

// TestAPartThatIsRefused: a request that Google finds wrong is made again as halves
// of it, and only who is wrong fails.
func TestAPartThatIsRefused(t *testing.T) {
	c := newCloud(t)
	sources := c.subscriptions(t, 8)
	c.Before(func(_ context.Context, r *monitoringpb.ListTimeSeriesRequest) error {
		if asks(r, "orders-005") {
			return status.Error(codes.InvalidArgument, "Field filter had an invalid value")
		}
		return nil
	})
	for range 2 { // the second time it is known which one is wrong
		var answered atomic.Int64
		err := sources[0].(scaler.Batched).Batch().ReadBatch(within(t), sources, func(i int, r scaler.Result) {
			answered.Add(1)
			if (r.Err != nil) != (i == 5) {
				t.Errorf("%d: %+v", i, r)
			}
		})
		if n := int(answered.Load()); err != nil || n != len(sources) {
			t.Errorf("%d answers, %v", n, err)
		}
	}
	watched := scalertest.Serve(t, triggers...).WithAuth(c.auth())
	for i := range 8 {
		got, err := watched.Observe(within(t), "gcp-pubsub", map[string]string{"subscriptionName": fmt.Sprintf("orders-%03d", i)})
		if (err != nil) != (i == 5) || err == nil && got.Value != float64(i) {
			t.Errorf("%d: %+v, %v", i, got, err)
		}
	}
}

func asks(r *monitoringpb.ListTimeSeriesRequest, id string) bool {
	return strings.Contains(r.GetFilter(), quoted(id))
}
