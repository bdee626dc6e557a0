package brokers

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-autoscaler/sluice/test/servers"
)

// AzureQueue is a queue of Azure Storage, in Azurite.
type AzureQueue struct {
	server *servers.AzuriteServer
	client *http.Client
	name   string
}

// NewAzureQueue makes a queue.
func NewAzureQueue(ctx context.Context, s *servers.AzuriteServer, name string) (*AzureQueue, error) {
	q := &AzureQueue{server: s, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, name: name}
	_, _, err := q.do(ctx, http.MethodPut, "", nil, "")
	return q, err
}

// do asks for a path below the queue, with a signature of the account.
//
// Source: https://learn.microsoft.com/rest/api/storageservices/create-account-sas
func (q *AzureQueue) do(ctx context.Context, method, path string, query url.Values, body string) (string, http.Header, error) {
	const version, permissions, types = "2018-11-09", "rwdlacup", "sco"
	end := time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05Z")
	key, err := base64.StdEncoding.DecodeString(servers.AzuriteKey)
	if err != nil {
		return "", nil, err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(strings.Join([]string{servers.AzuriteAccount, permissions, "q", types, "", end, "", "https,http", version, ""}, "\n")))
	all := url.Values{
		"sv": {version}, "ss": {"q"}, "srt": {types}, "sp": {permissions}, "se": {end}, "spr": {"https,http"},
		"sig": {base64.StdEncoding.EncodeToString(mac.Sum(nil))},
	}
	for name, values := range query {
		all[name] = values
	}
	request, err := http.NewRequestWithContext(ctx, method, q.server.QueueURL()+"/"+q.name+path+"?"+all.Encode(), strings.NewReader(body))
	if err != nil {
		return "", nil, err
	}
	answer, err := q.client.Do(request)
	if err != nil {
		return "", nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode > 299 {
		err = fmt.Errorf("azurite: %s %s%s: %s: %s", method, q.name, path, answer.Status, text)
	}
	return string(text), answer.Header, err
}

// Produce implements Queue.
func (q *AzureQueue) Produce(ctx context.Context, n int) error {
	for i := range n {
		body := fmt.Sprintf("<QueueMessage><MessageText>message %d</MessageText></QueueMessage>", i)
		if _, _, err := q.do(ctx, http.MethodPost, "/messages", nil, body); err != nil {
			return err
		}
	}
	return nil
}

// Consume implements Queue.
func (q *AzureQueue) Consume(ctx context.Context, n int) error {
	for n > 0 {
		text, _, err := q.do(ctx, http.MethodGet, "/messages", url.Values{"numofmessages": {strconv.Itoa(min(n, 32))}}, "")
		if err != nil {
			return err
		}
		var got struct {
			Messages []struct {
				ID      string `xml:"MessageId"`
				Receipt string `xml:"PopReceipt"`
			} `xml:"QueueMessage"`
		}
		if err := xml.Unmarshal([]byte(strings.TrimPrefix(text, "\ufeff")), &got); err != nil {
			return err
		}
		if len(got.Messages) == 0 {
			return nil
		}
		for _, m := range got.Messages {
			if _, _, err := q.do(ctx, http.MethodDelete, "/messages/"+m.ID, url.Values{"popreceipt": {m.Receipt}}, ""); err != nil {
				return err
			}
		}
		n -= len(got.Messages)
	}
	return nil
}

// Backlog implements Queue.
func (q *AzureQueue) Backlog(ctx context.Context) (int64, error) {
	_, header, err := q.do(ctx, http.MethodGet, "", url.Values{"comp": {"metadata"}}, "")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(header.Get("x-ms-approximate-messages-count"), 10, 64)
}

// Trigger implements Queue.
func (q *AzureQueue) Trigger(perReplica int) Trigger {
	return Trigger{Type: "azure-queue", Metadata: map[string]string{
		"queueName":   q.name,
		"queueLength": strconv.Itoa(perReplica),
		"connection":  q.server.Connection(),
	}}
}

// Close implements Queue.
func (q *AzureQueue) Close() { q.client.CloseIdleConnections() }
