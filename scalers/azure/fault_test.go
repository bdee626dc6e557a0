package main

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

// TestNetwork cuts, stalls and slows the network to each source.
func TestNetwork(t *testing.T) {
	a := servers.SharedAzurite(t)
	owner(t, a.QueueURL()).queue("network", 3, 0)
	owner(t, a.BlobURL()).container("network", "a", "b", "c")
	n := newNamespace(t)
	n.queues["network"] = 3
	e := hubsOf(t, map[string][][2]int64{"network": {{0, 2}}})
	for _, tt := range []struct {
		triggerType, address string
		metadata             map[string]string
		auth                 func(address string) map[string]string
	}{
		{"azure-queue", a.QueueAddr(), map[string]string{"queueName": "network"}, storageAuth},
		{"azure-blob", a.BlobAddr(), map[string]string{"blobContainerName": "network"}, storageAuth},
		{"azure-servicebus", n.address, map[string]string{"queueName": "network"}, func(address string) map[string]string {
			return map[string]string{"connection": n.connectionAt(address)}
		}},
		{"azure-eventhub", e.Addr(), map[string]string{"eventHubName": "network", "blobContainer": "nothing"}, func(address string) map[string]string {
			return map[string]string{"connection": hubConnection(address), "storageConnection": a.Connection()}
		}},
	} {
		t.Run(tt.triggerType, func(t *testing.T) {
			proxy, err := fault.Listen(tt.address)
			if err != nil {
				t.Fatal(err)
			}
			defer proxy.Close()
			for _, trigger := range triggers {
				if trigger.Type != tt.triggerType {
					continue
				}
				source := openAll(t, trigger, tt.auth(proxy.Addr()), tt.metadata)[0]
				read := func(ctx context.Context, when string, want codes.Code) {
					t.Helper()
					got, err := source.Read(ctx)
					if status.Code(err) != want || err == nil && got[0].Value != 3 {
						t.Fatalf("%s: read %v, %v, want 3 or %v", when, got, err, want)
					}
				}
				read(within(t), "at first", codes.OK)
				proxy.Cut()
				read(within(t), "cut", codes.Unavailable)
				proxy.Heal()
				read(within(t), "after the cut", codes.OK)
				proxy.Stall()
				impatient, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				read(impatient, "stalled", codes.DeadlineExceeded)
				cancel()
				proxy.Heal()
				read(within(t), "after the stall", codes.OK)
				proxy.Delay(20 * time.Millisecond)
				read(within(t), "slow", codes.OK)
			}
		})
	}
}

// TestAKilledServerComesBack with the messages that it had written.
func TestAKilledServerComesBack(t *testing.T) {
	a := servers.Azurite(t, servers.AzuriteOptions{})
	owner(t, a.QueueURL()).queue("orders", 3, 0)
	source := openAll(t, azureQueue, map[string]string{"connection": a.Connection()}, map[string]string{"queueName": "orders"})[0]
	read := func(when string, want codes.Code) {
		t.Helper()
		got, err := source.Read(within(t))
		if status.Code(err) != want || err == nil && got[0].Value != 3 {
			t.Errorf("%s: read %v, %v, want 3 or %v", when, got, err, want)
		}
	}
	read("at first", codes.OK)
	if err := a.MessagesWritten(within(t), 3); err != nil {
		t.Fatal(err)
	}
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	read("killed", codes.Unavailable)
	if err := a.Restart(within(t)); err != nil {
		t.Fatal(err)
	}
	read("back", codes.OK)
}

// TestRotatedKeys goes from a key that is refused to one that is good.
func TestRotatedKeys(t *testing.T) {
	a := servers.SharedAzurite(t)
	owner(t, a.QueueURL()).queue("rotated", 3, 0)
	n := newNamespace(t)
	n.queues["rotated"] = 3
	e := hubsOf(t, map[string][][2]int64{"rotated": {{0, 2}}})
	all := scalertest.Serve(t, triggers...)
	for triggerType, tt := range map[string]struct{ metadata, right, wrong map[string]string }{
		"azure-queue": {map[string]string{"queueName": "rotated"}, storageAuth(a.QueueAddr()),
			map[string]string{"connection": strings.ReplaceAll(storageAuth(a.QueueAddr())["connection"], servers.AzuriteKey, "aHVzaC1odXNo")}},
		"azure-servicebus": {map[string]string{"queueName": "rotated"}, map[string]string{"connection": n.connection()},
			map[string]string{"connection": strings.ReplaceAll(n.connection(), busKey, "hush-hush-old")}},
		"azure-eventhub": {map[string]string{"eventHubName": "rotated", "blobContainer": "nothing"},
			map[string]string{"connection": hubConnection(e.Addr()), "storageConnection": a.Connection()},
			map[string]string{"connection": strings.ReplaceAll(hubConnection(e.Addr()), busKey, "hush-hush-old"), "storageConnection": a.Connection()}},
	} {
		t.Run(triggerType, func(t *testing.T) {
			family := all.WithAuth(maps.Clone(tt.wrong))
			w := family.Watch(t, triggerType, tt.metadata, scalerv1.Mode_MODE_ACTIVE, time.Second)
			refused := func(o *scalerv1.Observation) bool {
				code := codes.Code(o.GetStatus().GetCode())
				return code == codes.Unauthenticated || code == codes.PermissionDenied
			}
			if _, err := w.Until(within(t), "a refused login", refused); err != nil {
				t.Fatal(err)
			}
			family.Rotate(tt.right)
			if _, err := w.Until(within(t), "a value", scalertest.Active); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestStorageAnswers has what Azurite never says.
func TestStorageAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		status   int
		body     string
		metadata map[string]string
		code     codes.Code
		text     string
	}{
		"no count":              {code: codes.Unavailable, text: "the answer lacks the header x-ms-approximate-messages-count"},
		"a busy server":         {status: http.StatusServiceUnavailable, code: codes.ResourceExhausted, text: "the service throttles the account"},
		"an error":              {status: http.StatusInternalServerError, body: "hush-hush", code: codes.Unavailable, text: "500 Internal Server Error"},
		"no messages":           {body: "hush-hush", metadata: map[string]string{"queueLengthStrategy": "visibleonly"}, code: codes.Unavailable, text: "the answer cannot be understood"},
		"half of them":          {body: "<QueueMessagesList><QueueMessage>", metadata: map[string]string{"queueLengthStrategy": "visibleonly"}, code: codes.Unavailable, text: "the answer cannot be understood"},
		"more than 32 messages": {body: "<QueueMessagesList>" + strings.Repeat("<QueueMessage/>", 40) + "</QueueMessagesList>", metadata: map[string]string{"queueLengthStrategy": "visibleonly"}, code: codes.Unavailable, text: "the answer lacks the header"},
	} {
		t.Run(name, func(t *testing.T) {
			address := handler(t, func(*http.Request) (int, string) { return max(tt.status, http.StatusOK), tt.body })
			family := scalertest.Serve(t, triggers...).WithAuth(storageAuth(address))
			_, err := family.Observe(t.Context(), "azure-queue", joined(map[string]string{"queueName": "orders"}, tt.metadata))
			checkError(t, "azure-queue", err, tt.code, "queue orders: ; "+tt.text)
		})
	}
}

// TestSignatures opens a queue by a shared access signature, which Azurite
// checks.
func TestSignatures(t *testing.T) {
	a := servers.SharedAzurite(t)
	owner(t, a.QueueURL()).queue("signed", 3, 0)
	family := scalertest.Serve(t, triggers...)
	for name, tt := range map[string]struct {
		signature string
		code      codes.Code
	}{
		"one that is good":      {accountSignature(t, "rl", time.Now().Add(time.Hour)), codes.OK},
		"one that has ended":    {accountSignature(t, "rl", time.Now().Add(-time.Hour)), codes.PermissionDenied},
		"one that may not read": {accountSignature(t, "w", time.Now().Add(time.Hour)), codes.PermissionDenied},
	} {
		auth := map[string]string{"connection": "QueueEndpoint=" + a.QueueURL() + ";SharedAccessSignature=" + tt.signature}
		got, err := family.WithAuth(auth).Observe(t.Context(), "azure-queue", map[string]string{"queueName": "signed"})
		if status.Code(err) != tt.code || err == nil && got.Value != 3 || err != nil && strings.Contains(err.Error(), "sig=") {
			t.Errorf("%s: %v, %v, want %v", name, got, err, tt.code)
		}
	}
}
