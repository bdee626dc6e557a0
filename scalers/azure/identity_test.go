package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// workload is the identity that Entra knows in tests.
var workload = scaler.PodIdentity{Provider: "azure-workload", IdentityID: servers.EntraIdentity, TenantID: servers.EntraTenant}

// storageToken is what Azurite takes for a token of Entra: it looks at all of it
// but the signature.
func storageToken(scope string) string {
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	now := time.Now()
	signature := make([]byte, 64)
	_, _ = rand.Read(signature)
	return part(map[string]string{"alg": "RS256", "typ": "JWT"}) + "." + part(map[string]any{
		"aud": strings.TrimSuffix(scope, "/.default"), "iss": "https://sts.windows.net/" + servers.EntraTenant + "/",
		"iat": now.Add(-time.Minute).Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(),
	}) + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// plainToken is what the stand-ins take.
func plainToken(scope string) string { return "for " + strings.TrimSuffix(scope, "/.default") }

// split makes a name and the suffix of a private cloud out of an address.
func split(address string) (name, suffix string) {
	name, suffix, _ = strings.Cut(address, ".")
	return name, suffix
}

// pathless is Azurite behind an address without the account in its path, as
// Azure's own are.
func pathless(t testing.TB, base string) string {
	return overTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := http.NewRequestWithContext(r.Context(), r.Method, base+r.URL.RequestURI(), nil)
		if err != nil {
			t.Error(err)
			return
		}
		request.Header = r.Header.Clone()
		answer, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.StatusCode)
		buffer := make([]byte, 1<<20)
		n, _ := answer.Body.Read(buffer)
		_, _ = w.Write(buffer[:n])
	}))
}

// TestIdentities shows tokens of Entra to Azurite, which checks them, and to what
// stands in for Service Bus and Event Hubs.
func TestIdentities(t *testing.T) {
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	scalertest.LendTo(t, "127.0.0.1")
	a := servers.Azurite(t, servers.AzuriteOptions{Authority: trusted})
	of := owner(t, a.QueueURL())
	of.queue("orders", 3, 0)
	blobs := owner(t, a.BlobURL())
	blobs.container("files", "a", "b")
	n := newNamespace(t)
	n.queues["orders"] = 4
	e := hubsOf(t, map[string][][2]int64{"orders": {{0, 9}}})
	name, queueSuffix := split(pathless(t, a.QueueURL()))
	_, blobSuffix := split(pathless(t, a.BlobURL()))
	_, busSuffix := split(n.address)
	_, hubSuffix := split(e.Addr())
	private := func(suffix string, more ...map[string]string) map[string]string {
		return joined(append(more, map[string]string{"cloud": "Private", "endpointSuffix": suffix})...)
	}
	other := workload
	other.IdentityID = "other"
	for triggerType, tt := range map[string]struct {
		token    func(string) string
		metadata map[string]string
		auth     map[string]string
		want     float64
	}{
		"azure-queue":      {storageToken, private(queueSuffix, map[string]string{"accountName": name, "queueName": "orders"}), nil, 3},
		"azure-blob":       {storageToken, private(blobSuffix, map[string]string{"accountName": name, "blobContainerName": "files"}), nil, 2},
		"azure-servicebus": {plainToken, private(busSuffix, map[string]string{"namespace": name, "queueName": "orders"}), nil, 4},
		"azure-eventhub": {plainToken, private(hubSuffix, map[string]string{"eventHubNamespace": name, "eventHubName": "orders", "blobContainer": "nothing"}),
			map[string]string{"storageConnection": a.Connection()}, 10},
	} {
		t.Run(triggerType, func(t *testing.T) {
			servers.Entra(t, trusted, tt.token)
			family := scalertest.Serve(t, triggers...).WithAuth(tt.auth)
			got, err := family.WithPodIdentity(workload).Observe(t.Context(), triggerType, tt.metadata)
			if err != nil || got.Value != tt.want {
				t.Errorf("read %v, %v, want %v", got, err, tt.want)
			}
			_, err = family.WithPodIdentity(other).Observe(t.Context(), triggerType, tt.metadata)
			if status.Code(err) != codes.Unauthenticated || strings.Contains(err.Error(), "hush-hush") {
				t.Errorf("another identity: %v", err)
			}
		})
		t.Run(triggerType+", a token of another service", func(t *testing.T) {
			servers.Entra(t, trusted, func(string) string { return "for https://vault.azure.net" })
			_, err := scalertest.Serve(t, triggers...).WithAuth(tt.auth).WithPodIdentity(workload).Observe(t.Context(), triggerType, tt.metadata)
			if code := status.Code(err); code != codes.Unauthenticated && code != codes.PermissionDenied && code != codes.FailedPrecondition {
				t.Errorf("error = %v", err)
			}
		})
	}
}

// TestAccountsOfATenantGetNoIdentity: whoever names an account, a namespace, a
// cloud or a suffix gets nothing of the family's identity.
func TestAccountsOfATenantGetNoIdentity(t *testing.T) {
	servers.Entra(t, trusted, plainToken)
	thief := scalertest.NewThief(t)
	name, suffix := split(thief.Addr())
	family := scalertest.Serve(t, triggers...).WithAuth(map[string]string{"storageConnection": "UseDevelopmentStorage=true"})
	private := map[string]string{"cloud": "Private", "endpointSuffix": suffix}
	for triggerType, metadata := range map[string]map[string]string{
		"azure-queue":      {"accountName": name, "queueName": "orders"},
		"azure-blob":       {"accountName": name, "blobContainerName": "files"},
		"azure-servicebus": {"namespace": name, "queueName": "orders"},
		"azure-eventhub":   {"eventHubNamespace": name, "eventHubName": "orders"},
	} {
		family.KeepsItsIdentity(t, triggerType, workload, joined(private, metadata))
	}
	family.KeepsItsIdentity(t, "azure-eventhub", workload, joined(map[string]string{"cloud": "Private", "endpointSuffix": "servicebus.windows.net",
		"storageEndpointSuffix": suffix, "eventHubNamespace": "shop", "eventHubName": "orders", "storageAccountName": name}))
}

// TestARelayGetsNoIdentity: a relay has its host in the same domain as Service
// Bus, and hands requests to whom it belongs to. The paths that are Azure's own
// say which of them a namespace is.
func TestARelayGetsNoIdentity(t *testing.T) {
	for kind, want := range map[string]codes.Code{"Messaging": codes.OK, "Relay": codes.PermissionDenied, "Mixed": codes.PermissionDenied, "": codes.PermissionDenied} {
		n := newNamespace(t)
		n.queues["orders"], n.kind = 4, kind
		b := dialled(t, n)
		_, err := b.read(within(t), "queue orders", "orders")
		if status.Code(err) != want {
			t.Errorf("%q: %v, want %v", kind, err, want)
		}
		if asked := fmt.Sprint(n.requests()); strings.Contains(asked, "/orders") != (want == codes.OK) {
			t.Errorf("%q: asked %s", kind, asked)
		}
		if want != codes.OK {
			continue
		}
		if _, err := b.read(within(t), "queue orders", "orders"); err != nil || len(n.requests()) != 3 {
			t.Errorf("read again: %v, %v", err, n.requests())
		}
	}
}

// dialled is a namespace that a token of the family opens.
func dialled(t testing.TB, n *namespace) *bus {
	t.Helper()
	ctx, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	b, err := connectBus(ctx, n.address, "https://"+n.address+"/", "own", func(r *http.Request) error {
		r.Header.Set("Authorization", "Bearer for https://servicebus.azure.net")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b.own = true
	return b
}

// TestClouds: each cloud has hosts of its own, and what is shown to them is for
// them.
func TestClouds(t *testing.T) {
	for name, want := range map[string][2]string{
		"AzurePublicCloud": {"shop.queue.core.windows.net", "shop.servicebus.windows.net"}, "azurecloud": {"shop.queue.core.windows.net", "shop.servicebus.windows.net"},
		"AzureUSGovernment":      {"shop.queue.core.usgovcloudapi.net", "shop.servicebus.usgovcloudapi.net"},
		"AzureUSGovernmentCloud": {"shop.queue.core.usgovcloudapi.net", "shop.servicebus.usgovcloudapi.net"},
		"AzureChinaCloud":        {"shop.queue.core.chinacloudapi.cn", "shop.servicebus.chinacloudapi.cn"},
		"AzureGermanCloud":       {"shop.queue.core.cloudapi.de", "shop.servicebus.cloudapi.de"},
	} {
		p := cloudParams{Cloud: name, EndpointSuffix: "evil.example"} // which does not count
		queues, in, err := p.host("shop", "queue.", func(c cloud) string { return c.storage })
		if err != nil || queues != want[0] || in.storageTokens.Check("x", queues, true) != nil {
			t.Errorf("%s: %s, %v, want %s", name, queues, err, want[0])
		}
		bus, in, err := p.host("shop", "", func(c cloud) string { return c.serviceBus })
		if err != nil || bus != want[1] || in.serviceBusTokens.Check("x", bus, true) != nil || in.eventHubsTokens.Check("x", bus, true) != nil {
			t.Errorf("%s: %s, %v, want %s", name, bus, err, want[1])
		}
	}
}
