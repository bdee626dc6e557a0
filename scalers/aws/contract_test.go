package main

import (
	"sync"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

func TestContract(t *testing.T) {
	m := servers.SharedMoto(t)
	queue(t, m, "contract", 1, 0, 0)
	stream(t, m, "contract", 1)
	put(t, table(t, m, "contract", true), "contract", "waiting", 1, 1)
	datapoint(t, m, "contract", 3)
	for _, tt := range []struct {
		trigger  scaler.Trigger
		metadata map[string]string
	}{
		{sqsQueue, map[string]string{"queueURL": "contract"}},
		{kinesisStream, map[string]string{"streamName": "contract"}},
		{dynamoDBStreams, map[string]string{"tableName": "contract"}},
		{dynamoDB, map[string]string{"tableName": "contract", "targetValue": "1", "keyConditionExpression": "#s = :s",
			"expressionAttributeNames": `{"#s":"state"}`, "expressionAttributeValues": `{":s":{"S":"waiting"}}`}},
		{cloudWatch, map[string]string{"namespace": "shop", "metricName": "contract", "targetMetricValue": "1", "minMetricValue": "0",
			"metricCollectionTime": "3600", "metricStatPeriod": "60"}},
	} {
		t.Run(tt.trigger.Type, func(t *testing.T) {
			elsewhere := func(address func(testing.TB) string) func(testing.TB) map[string]string {
				return func(t testing.TB) map[string]string { return at("http://"+address(t), tt.metadata) }
			}
			scalertest.Contract(t, scalertest.Case{
				Trigger:  tt.trigger,
				Metadata: at(m.URL(), tt.metadata),
				Auth:     keys,
				Dead:     elsewhere(scalertest.DeadAddress),
				Stalled:  elsewhere(scalertest.StalledAddress),
			})
		})
	}
}

// TestAThousandQueuesShareConnections reads queues as the sampler does, 32 at
// once. A handler stands in for SQS, to count connections.
func TestAThousandQueuesShareConnections(t *testing.T) {
	h := newHandler(t, func(string, map[string]any) (int, string) {
		return 200, `{"Attributes":{"ApproximateNumberOfMessages":"3"}}`
	})
	ctx, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	sources := make(chan scaler.Source, 1000)
	for range cap(sources) {
		source, err := openSQS(ctx, sqsParams{awsParams: params(h), QueueURL: "orders"})
		if err != nil {
			t.Fatal(err)
		}
		sources <- source
	}
	close(sources)
	var readers sync.WaitGroup
	for range 32 {
		readers.Go(func() {
			for source := range sources {
				if got, err := source.Read(within(t)); err != nil || got[0].Value != 3 {
					t.Errorf("read %v, %v", got, err)
				}
			}
		})
	}
	readers.Wait()
	// One for each read at once. net/http gives up a connection now and then
	// when the machine is too busy to tell that its request was written.
	if n := h.connections.Load(); h.requests() != 1000 || n > 300 {
		t.Errorf("%d requests over %d connections", h.requests(), n)
	}
}
