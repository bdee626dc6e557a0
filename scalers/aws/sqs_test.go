package main

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

var _ = contract("aws-sqs-queue", kind{
	make:     func(t testing.TB, m *servers.MotoServer, name string) { queue(t, m, name, 3, 0, 0) },
	metadata: func(name string) map[string]string { return map[string]string{"queueURL": name} },
	value:    3,
	what:     "queue NAME: SQS GetQueueAttributes: ",
	lacking:  "queue NAME: the answer lacks the attribute ApproximateNumberOfMessages",
})

// queue makes a queue with messages that wait, that were received, and that are
// delayed. It returns its URL.
func queue(t testing.TB, m *servers.MotoServer, name string, waiting, received, delayed int) string {
	t.Helper()
	ctx := within(t)
	client := sqs.NewFromConfig(owner(m))
	made, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name})
	if err != nil {
		t.Fatal(err)
	}
	send := func(n int, delay int32) {
		for i := range n {
			if _, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: made.QueueUrl, MessageBody: aws.String(strconv.Itoa(i)), DelaySeconds: delay}); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(received, 0)
	for got := 0; got < received; {
		out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: made.QueueUrl, MaxNumberOfMessages: int32(received), VisibilityTimeout: 3600})
		if err != nil {
			t.Fatal(err)
		}
		got += len(out.Messages)
	}
	send(waiting, 0)
	send(delayed, 900)
	return *made.QueueUrl
}

func TestSQSQueue(t *testing.T) {
	m := servers.SharedMoto(t)
	url := queue(t, m, "orders", 4, 3, 2)
	queue(t, m, "idle", 0, 0, 0)
	family := scalertest.Serve(t, triggers...).WithAuth(keys)
	tests := map[string]struct {
		metadata map[string]string // on top of queue orders
		env      map[string]string
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"in-flight messages count by default": {want: scalertest.Observation{Value: 7, Active: true}},
		"without those in flight":             {metadata: map[string]string{"scaleOnInFlight": "false"}, want: scalertest.Observation{Value: 4, Active: true}},
		"with delayed ones":                   {metadata: map[string]string{"scaleOnDelayed": "true"}, want: scalertest.Observation{Value: 9, Active: true}},
		"at the activation threshold":         {metadata: map[string]string{"activationQueueLength": "7"}, want: scalertest.Observation{Value: 7}},
		"an empty queue":                      {metadata: map[string]string{"queueURL": "idle"}},
		"a bare name":                         {metadata: map[string]string{"queueURL": "orders"}, want: scalertest.Observation{Value: 7, Active: true}},
		"from the environment": {
			metadata: map[string]string{"queueURL": "", "queueURLFromEnv": "QUEUE"}, env: map[string]string{"QUEUE": url},
			want: scalertest.Observation{Value: 7, Active: true}},
		"keys of the environment": {
			metadata: map[string]string{"awsAccessKeyIDFromEnv": "ID", "awsSecretAccessKeyFromEnv": "SECRET"},
			env:      map[string]string{"ID": "AKIAENV", "SECRET": "hush-hush"}, want: scalertest.Observation{Value: 7, Active: true}},
		"a missing queue": {metadata: map[string]string{"queueURL": "bills"}, code: codes.NotFound,
			message: "queue bills: SQS GetQueueAttributes: AWS.SimpleQueueService.NonExistentQueue"},
		"a variable without value": {
			metadata: map[string]string{"queueURL": "", "queueURLFromEnv": "QUEUE"}, code: codes.InvalidArgument,
			message: "queueURL: is required (looked in metadata, queueURLFromEnv: variable QUEUE has no value)"},
		"texts that are none": {
			metadata: map[string]string{"queueLength": "many", "scaleOnInFlight": "yes", "identityOwner": "me"}, code: codes.InvalidArgument,
			message: `queueLength: "many" is not an integer; scaleOnInFlight: "yes" is neither true nor false; identityOwner: "me" is not one of pod, operator`},
		"rules that are broken": {
			metadata: map[string]string{"queueURL": "https://sqs.example.com/orders", "awsRegion": "", "awsEndpoint": "moto"}, code: codes.InvalidArgument,
			message: "awsRegion: is required (looked in metadata, authentication); awsEndpoint: is not an http or https URL; " +
				"queueURL: the name of the queue cannot be taken from the queue URL, whose path is not /<account>/<name>"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			metadata := at(m.URL(), map[string]string{"queueURL": url}, tt.metadata)
			got, err := family.WithEnv(tt.env).Observe(t.Context(), "aws-sqs-queue", metadata)
			checkError(t, "aws-sqs-queue", err, tt.code, tt.message)
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

// checkError wants the parts of message, in any order.
func checkError(t *testing.T, trigger string, err error, code codes.Code, message string) {
	t.Helper()
	got := status.Convert(err).Message()
	matches := err == nil && message == "" || message != "" && strings.HasPrefix(got, trigger+": ")
	for part := range strings.SplitSeq(message, "; ") {
		matches = matches && strings.Contains(got, part)
	}
	if status.Code(err) != code || !matches {
		t.Fatalf("error = %v\nwant %v %s: %s", err, code, trigger, message)
	}
}

func TestSQSMetric(t *testing.T) {
	family := scalertest.Serve(t, sqsQueue).WithAuth(keys)
	for queueURL, want := range map[string]string{
		"https://sqs.eu-west-1.amazonaws.com/123456789012/orders":      "aws-sqs-orders",
		"https://sqs.eu-west-1.amazonaws.com/123456789012/orders.fifo": "aws-sqs-orders-fifo",
		"http://localhost:4566/queue/eu-west-1/000000000000/orders":    "aws-sqs-orders",
		"/123456789012/orders": "aws-sqs-orders",
		"orders":               "aws-sqs-orders",
	} {
		specs, err := family.Specs(t.Context(), "aws-sqs-queue", map[string]string{"awsRegion": region, "queueURL": queueURL})
		if err != nil {
			t.Fatal(err)
		}
		if got := specs[0].GetMetricName(); got != want || specs[0].GetTargetSizeFloat() != 5 {
			t.Errorf("%s: metric %s with target %v, want %s with 5", queueURL, got, specs[0].GetTargetSizeFloat(), want)
		}
	}
}

// TestSQSAnswersThatAreNoNumber needs answers that no server gives, so a
// handler gives them.
func TestSQSAnswersThatAreNoNumber(t *testing.T) {
	family := scalertest.Serve(t, triggers...).WithAuth(keys)
	for name, tt := range map[string]struct{ answer, message string }{
		"no attribute":    {`{"Attributes":{"ApproximateNumberOfMessages":"3"}}`, "queue orders: the answer lacks the attribute ApproximateNumberOfMessagesNotVisible"},
		"not an integer":  {`{"Attributes":{"ApproximateNumberOfMessages":"3","ApproximateNumberOfMessagesNotVisible":"few"}}`, "queue orders: the attribute ApproximateNumberOfMessagesNotVisible is not an integer"},
		"an empty answer": {`{}`, "queue orders: the answer lacks the attribute ApproximateNumberOfMessages"},
	} {
		t.Run(name, func(t *testing.T) {
			s := answering(t, http.StatusOK, tt.answer, false)
			_, err := family.Observe(t.Context(), "aws-sqs-queue", at(s, map[string]string{"queueURL": "orders"}))
			checkError(t, "aws-sqs-queue", err, codes.Unavailable, tt.message)
		})
	}
}
