package main

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// subject is a trigger of one type.
type subject struct {
	scaler.Trigger

	metadata map[string]string // less the place
	value    float64
	what     string // how its errors begin
}

// openAt opens a source whose service answers at address. It ends with the test.
func (s subject) openAt(t testing.TB, address string) scaler.Source {
	t.Helper()
	family := scalertest.Serve(t, s.Trigger).WithAuth(keys)
	bound, err := s.Bind(family.Ref(s.Type, at(address, s.metadata)), &scaler.Credentials{Parameters: keys})
	if err != nil {
		t.Fatal(err)
	}
	opening, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	source, err := bound.Open(opening)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// everyType is a trigger of each type, on things of this name that it makes.
func everyType(t testing.TB, m *servers.MotoServer, name string) []subject {
	t.Helper()
	queue(t, m, name, 3, 0, 0)
	stream(t, m, name, 3)
	put(t, table(t, m, name, true), name, "waiting", 3, 1)
	datapoint(t, m, name, 3)
	return typesOn(name)
}

// typesOn is a trigger of each type, on things of this name.
func typesOn(name string) []subject {
	return []subject{
		{sqsQueue, map[string]string{"queueURL": name}, 3, "queue " + name + ": SQS GetQueueAttributes: "},
		{kinesisStream, map[string]string{"streamName": name}, 3, "stream " + name + ": Kinesis DescribeStreamSummary: "},
		{dynamoDBStreams, map[string]string{"tableName": name}, 1, "table " + name + ": DynamoDB DescribeTable: "},
		{dynamoDB, map[string]string{"tableName": name, "targetValue": "1", "keyConditionExpression": "#s = :s",
			"expressionAttributeNames": `{"#s":"state"}`, "expressionAttributeValues": `{":s":{"S":"waiting"}}`}, 3, "table " + name + ": DynamoDB Query: "},
		{cloudWatch, map[string]string{"namespace": "shop", "metricName": name, "targetMetricValue": "1", "minMetricValue": "0",
			"metricCollectionTime": "3600", "metricStatPeriod": "60"}, 3, "metric shop/" + name + ": CloudWatch GetMetricData: "},
	}
}

func TestContract(t *testing.T) {
	m := servers.SharedMoto(t)
	for _, s := range everyType(t, m, "contract") {
		t.Run(s.Type, func(t *testing.T) {
			elsewhere := func(address func(testing.TB) string) func(testing.TB) map[string]string {
				return func(t testing.TB) map[string]string { return at("http://"+address(t), s.metadata) }
			}
			scalertest.Contract(t, scalertest.Case{
				Trigger:  s.Trigger,
				Metadata: at(m.URL(), s.metadata),
				Auth:     keys,
				Dead:     elsewhere(scalertest.DeadAddress),
				Stalled:  elsewhere(scalertest.StalledAddress),
				OnePart:  "all metrics are asked of one endpoint; tests of the family have one of the requests stall",
			})
		})
	}
}

// TestEnvironment has every parameter that can be taken from a variable.
func TestEnvironment(t *testing.T) {
	for _, s := range everyType(t, servers.SharedMoto(t), "environment") {
		want := []string{"awsAccessKeyID", "awsSecretAccessKey"}
		if s.Type == "aws-sqs-queue" {
			want = append(want, "queueURL")
		}
		// With the family's identity, one key alone is no mistake.
		metadata := at("http://localhost", s.metadata, map[string]string{"identityOwner": "operator"})
		if got := scalertest.FromEnv(s.Trigger, metadata); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", s.Type, got, want)
		}
	}
}

// TestTemporaryKeys sends all three parts of keys that end.
func TestTemporaryKeys(t *testing.T) {
	var token atomic.Value
	token.Store("")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token.Store(r.Header.Get("X-Amz-Security-Token"))
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer s.Close()
	temporary := maps.Clone(keys)
	temporary["awsSessionToken"] = "of-a-session"
	for _, subject := range everyType(t, servers.SharedMoto(t), "temporary") {
		_, _ = scalertest.Serve(t, triggers...).WithAuth(temporary).Observe(t.Context(), subject.Type, at(s.URL, subject.metadata))
		if got := token.Swap(""); got != "of-a-session" {
			t.Errorf("%s: the session token is %q", subject.Type, got)
		}
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
	var sources []scaler.Source
	for range 1000 {
		source, err := openSQS(ctx, sqsParams{awsParams: params(h), QueueURL: "orders"})
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, source)
	}
	for _, got := range scalertest.ReadAtOnce(t, sources) {
		if got[0].Value != 3 {
			t.Errorf("read %v", got)
		}
	}
	// One for each read at once. net/http gives up a connection now and then
	// when the machine is too busy to tell that its request was written.
	if n := h.connections.Load(); h.requests() != 1000 || n > 300 {
		t.Errorf("%d requests over %d connections", h.requests(), n)
	}
}
