package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// sqs asks Moto's SQS, unsigned: the scope alone says which service is meant.
func sqs(t *testing.T, m *servers.MotoServer, action, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.URL(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	request.Header.Set("X-Amz-Target", "AmazonSQS."+action)
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/sqs/aws4_request, SignedHeaders=host, Signature=0")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s %v", action, answer.Status, text, err)
	}
}

// TestSQSScales follows a queue with keys from a Secret: 0 -> N, held while the
// service is dead and while it has lost the queue, and back to 0.
func TestSQSScales(t *testing.T) {
	t.Parallel()
	m := servers.Moto(t, servers.MotoOptions{Address: world.cluster.Address()})
	sqs(t, m, "CreateQueue", `{"QueueName":"orders"}`)

	c := credentials{t, namespace(t)}
	c.secret("aws", map[string]string{"awsAccessKeyID": "AKIAEXAMPLE", "awsSecretAccessKey": planted + "-aws"})
	c.authentication("aws", "awsAccessKeyID", "awsSecretAccessKey")
	o := scale(t, c.namespace, "worker", 0, authenticated(brokers.Trigger{Type: "aws-sqs-queue", Metadata: map[string]string{
		"awsRegion": "eu-west-1", "awsEndpoint": m.URL(), "queueURL": "orders", "queueLength": "5",
	}}, nil, authenticationRef("aws")))
	o.grant()
	o.waitCondition("Ready", "True", "")
	for range 20 {
		sqs(t, m, "SendMessage", `{"QueueUrl":"orders","MessageBody":"work"}`)
	}
	o.waitReplicas(4)
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	o.waitCondition("Ready", "False", "queue orders: SQS GetQueueAttributes")
	if err := m.Restart(t.Context()); err != nil { // with nothing in it
		t.Fatal(err)
	}
	o.waitCondition("Ready", "False", "NonExistentQueue")
	if have := o.replicas(); have != 4 {
		t.Errorf("%d replicas while nobody can tell, want 4", have)
	}
	sqs(t, m, "CreateQueue", `{"QueueName":"orders"}`)
	o.waitCondition("Ready", "True", "")
	o.waitReplicas(0)
}
