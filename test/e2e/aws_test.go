package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// sqs asks Moto's SQS, or ends the test.
func sqs(t *testing.T, m *servers.MotoServer, action, body string) {
	t.Helper()
	if err := askSQS(t.Context(), m, action, body, nil); err != nil {
		t.Fatal(err)
	}
}

// askSQS asks Moto's SQS, unsigned: the scope alone says which service is meant.
func askSQS(ctx context.Context, m *servers.MotoServer, action, body string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL(), strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	request.Header.Set("X-Amz-Target", "AmazonSQS."+action)
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/sqs/aws4_request, SignedHeaders=host, Signature=0")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", action, answer.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// sqsQueue is the queue "batch" of a Moto of its own.
type sqsQueue struct{ moto *servers.MotoServer }

func newSQSQueue(t *testing.T) sqsQueue {
	t.Helper()
	m := servers.Moto(t, servers.MotoOptions{Address: world.cluster.Address()})
	sqs(t, m, "CreateQueue", `{"QueueName":"batch"}`)
	return sqsQueue{m}
}

// Produce implements brokers.Queue.
func (q sqsQueue) Produce(ctx context.Context, n int) error {
	for range n {
		if err := askSQS(ctx, q.moto, "SendMessage", `{"QueueUrl":"batch","MessageBody":"work"}`, nil); err != nil {
			return err
		}
	}
	return nil
}

// Consume implements brokers.Queue.
func (q sqsQueue) Consume(ctx context.Context, n int) error {
	for range n {
		var got struct {
			Messages []struct{ ReceiptHandle string }
		}
		if err := askSQS(ctx, q.moto, "ReceiveMessage", `{"QueueUrl":"batch","MaxNumberOfMessages":1}`, &got); err != nil {
			return err
		}
		for _, message := range got.Messages {
			body := fmt.Sprintf(`{"QueueUrl":"batch","ReceiptHandle":%q}`, message.ReceiptHandle)
			if err := askSQS(ctx, q.moto, "DeleteMessage", body, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// Backlog implements brokers.Queue.
func (q sqsQueue) Backlog(ctx context.Context) (int64, error) {
	var got struct{ Attributes map[string]string }
	err := askSQS(ctx, q.moto, "GetQueueAttributes", `{"QueueUrl":"batch","AttributeNames":["ApproximateNumberOfMessages"]}`, &got)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(got.Attributes["ApproximateNumberOfMessages"], 10, 64)
}

// Trigger implements brokers.Queue. It needs the authentication "aws".
func (q sqsQueue) Trigger(perReplica int) brokers.Trigger {
	return brokers.Trigger{Type: "aws-sqs-queue", Metadata: map[string]string{
		"awsRegion": "eu-west-1", "awsEndpoint": q.moto.URL(), "queueURL": "batch", "queueLength": strconv.Itoa(perReplica),
	}}
}

// Close implements brokers.Queue. Moto ends with the test.
func (q sqsQueue) Close() {}

// awsKeys makes the authentication "aws", with keys from a Secret.
func awsKeys(t *testing.T, namespace string) credentials {
	t.Helper()
	c := credentials{t, namespace}
	c.secret("aws", map[string]string{"awsAccessKeyID": "AKIAEXAMPLE", "awsSecretAccessKey": planted + "-aws"})
	c.authentication("aws", "awsAccessKeyID", "awsSecretAccessKey")
	return c
}

// authenticated are the queue's triggers in a namespace, with keys that the
// family may read there.
func (q sqsQueue) authenticated(t *testing.T, namespace string) []map[string]any {
	t.Helper()
	awsKeys(t, namespace)
	grant(t, namespace, "aws", "sluice-scaler-credentials")
	list := triggers(q.Trigger(1))
	list[0]["authenticationRef"] = authenticationRef("aws")["authenticationRef"]
	return list
}

// TestSQSMessagesHaveTheirJobs is TestEachMessageHasItsJob with keys, which
// tell who uses them.
func TestSQSMessagesHaveTheirJobs(t *testing.T) {
	t.Parallel()
	const messages, limit = 40, 10
	ns, queue := namespace(t), newSQSQueue(t)
	crew := newCrew(t, ns, queue)
	o := scaleJobs(t, ns, "batch", spec{"maxReplicaCount": limit, "triggers": queue.authenticated(t, ns)})
	o.waitCondition("Active", "False", "")
	if err := queue.Produce(t.Context(), messages); err != nil {
		t.Fatal(err)
	}
	crew.waitAllDone(o, messages, limit)
	keys := &unstructured.Unstructured{}
	keys.SetAPIVersion("keda.sh/v1alpha1")
	keys.SetKind("TriggerAuthentication")
	o.wait("status.scaledjobs of the authentication", func() (bool, string) {
		if err := world.cluster.Client().Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "aws"}, keys); err != nil {
			t.Fatal(err)
		}
		users, _, _ := unstructured.NestedString(keys.Object, "status", "scaledjobs")
		return users == o.name, fmt.Sprint(keys.Object["status"])
	})
}

// TestSQSScales follows a queue with keys from a Secret: 0 -> N, held while the
// service is dead and while it has lost the queue, and back to 0.
func TestSQSScales(t *testing.T) {
	t.Parallel()
	m := servers.Moto(t, servers.MotoOptions{Address: world.cluster.Address()})
	sqs(t, m, "CreateQueue", `{"QueueName":"orders"}`)

	c := awsKeys(t, namespace(t))
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
