package servers_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/test/servers"
)

// sqs sends one unsigned request, whose scope names the service.
func sqs(t *testing.T, m *servers.MotoServer, action, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t), http.MethodPost, m.URL(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	request.Header.Set("X-Amz-Target", "AmazonSQS."+action)
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0")
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestMotoSpeaksAWS(t *testing.T) {
	m := servers.SharedMoto(t)
	if code, text := sqs(t, m, "CreateQueue", `{"QueueName":"jobs"}`); code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	if code, text := sqs(t, m, "GetQueueUrl", `{"QueueName":"jobs"}`); code != http.StatusOK || !strings.Contains(text, "/jobs") {
		t.Errorf("%d %s", code, text)
	}
}

func TestMotoChecksLogins(t *testing.T) {
	m := servers.Moto(t)
	id, secret, err := m.AddUser(within(t), "reader", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sqs:*","Resource":"*"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if id == "" || secret == "" {
		t.Fatal("the key is empty")
	}
	if err := m.CheckLogins(within(t)); err != nil {
		t.Fatal(err)
	}
	if code, text := sqs(t, m, "ListQueues", `{}`); code != http.StatusForbidden {
		t.Errorf("an unknown key: %d %s", code, text)
	}
}
