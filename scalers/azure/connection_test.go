package main

import (
	"net/url"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// TestStorageConnections has what no request can be made of refused by its name,
// and nothing of the text repeated.
func TestStorageConnections(t *testing.T) {
	const key = ";AccountKey=aHVzaC1odXNo"
	for text, want := range map[string]string{
		"AccountName=shop" + key: "",
		"AccountName=shop;DefaultEndpointsProtocol=HTTPS;EndpointSuffix=core.chinacloudapi.cn" + key: "",
		"AccountName=shop;BlobEndpoint=https://files.example/shop" + key:                             "",
		"BlobEndpoint=https://shop.blob.core.windows.net/;SharedAccessSignature=?sv=1&sig=hush-hush": "",
		"UseDevelopmentStorage=true": "",
		"UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite": "",
		"AccountName=evil/#" + key:                                                  "has an AccountName that is none",
		"AccountName=evil.example/" + key:                                           "has an AccountName that is none",
		"AccountName=evil?" + key:                                                   "has an AccountName that is none",
		"AccountName=me@evil" + key:                                                 "has an AccountName that is none",
		"AccountName=shop:80" + key:                                                 "has an AccountName that is none",
		"AccountName=evil\nx-ms-date" + key:                                         "has an AccountName that is none",
		"AccountName=evil/;BlobEndpoint=https://files.example" + key:                "has an AccountName that is none",
		"AccountName=shop;EndpointSuffix=evil.example/#" + key:                      "has an EndpointSuffix that is not what a host ends with",
		"AccountName=shop;EndpointSuffix=x@evil.example" + key:                      "has an EndpointSuffix that is not what a host ends with",
		"AccountName=shop;DefaultEndpointsProtocol=file" + key:                      "leads to no http or https URL",
		"BlobEndpoint=https://me:hush-hush@files.example;SharedAccessSignature=s=1": "leads to no http or https URL",
		"UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://evil/?a=":     "leads to no http or https URL",
		"AccountName=shop":                                                          "has neither AccountKey nor SharedAccessSignature",
		"hush-hush":                                                                 "is not a connection string: one of its parts",
	} {
		access, err := parseStorage(text, "blob")
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush-hush")):
			t.Errorf("%q leads to %q, %v; want %q", text, access.Base, err, want)
		}
	}
}

func TestMessagingConnections(t *testing.T) {
	const key = ";SharedAccessKeyName=Root;SharedAccessKey=hush-hush"
	for text, want := range map[string]string{
		"Endpoint=sb://Shop.ServiceBus.windows.net/" + key: "Shop.ServiceBus.windows.net",
		"Endpoint=sb://shop.servicebus.windows.net" + key:  "shop.servicebus.windows.net",
		"Endpoint=sb://shop:5671/;EntityPath=a/b" + key:    "shop:5671",
		"Endpoint=sb://:5671/" + key:                       "",
		"Endpoint=sb://evil example/" + key:                "",
		"Endpoint=sb://me@shop/" + key:                     "",
		"Endpoint=file:///etc/passwd" + key:                "",
		"Endpoint=sb://shop/;SharedAccessKeyName=Root":     "",
	} {
		access, err := parseMessaging(text)
		if (err != nil) != (want == "") || err == nil && access.Host != want || err != nil && strings.Contains(err.Error(), "hush-hush") {
			t.Errorf("%q leads to %q, %v; want %q", text, access.Host, err, want)
		}
	}
}

// TestCheckpointsKeepTheirSpelling: their paths have the host as the connection
// string spells it, and what is asked is one connection all the same.
func TestCheckpointsKeepTheirSpelling(t *testing.T) {
	hub := func(host string) *eventHubSource {
		auth := map[string]string{"connection": "Endpoint=sb://" + host + "/;SharedAccessKeyName=Root;SharedAccessKey=hush-hush", "storageConnection": "UseDevelopmentStorage=true"}
		return openAll(t, azureEventHub, auth, map[string]string{"eventHubName": "Orders", "consumerGroup": "Group"})[0].(*eventHubSource)
	}
	upper := hub("Shop.ServiceBus.windows.net")
	for strategy, want := range map[string]string{
		azureFunction: "Shop.ServiceBus.windows.net/Orders/Group/7",
		blobMetadata:  "Shop.ServiceBus.windows.net/Orders/group/checkpoint/7",
	} {
		upper.checkpoints.strategy = strategy
		if _, path := upper.checkpoints.place("7"); path != want {
			t.Errorf("%s: %s, want %s", strategy, path, want)
		}
	}
	if upper.hubs.host != "shop.servicebus.windows.net" {
		t.Errorf("connects to %s", upper.hubs.host)
	}
}

// TestATargetIsNeeded where the value is capped by it: for a formula, too.
func TestATargetIsNeeded(t *testing.T) {
	family := scalertest.Serve(t, azureEventHub).WithAuth(map[string]string{"connection": storageOfBus, "storageConnection": "UseDevelopmentStorage=true"})
	for _, threshold := range []string{"0", "-1"} {
		for _, formula := range []string{"false", "true"} {
			_, err := family.Observe(t.Context(), "azure-eventhub", map[string]string{"eventHubName": "orders", "unprocessedEventThreshold": threshold, "sluice.dev/metricSource": formula})
			if err == nil || strings.Count(err.Error(), "unprocessedEventThreshold: target "+threshold+" is not greater than 0") != 1 {
				t.Errorf("threshold %s, formula %s: %v", threshold, formula, err)
			}
		}
	}
}

func FuzzConnections(f *testing.F) {
	for _, text := range []string{"AccountName=shop;AccountKey=aHVzaA==", "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://a", "Endpoint=sb://a/;SharedAccessKeyName=r;SharedAccessKey=k", ";=;a", storageOfBus} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if access, err := parseStorage(text, "blob"); err == nil {
			if u, err := url.Parse(access.Base + "/container"); err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
				t.Errorf("%q leads to %q", text, access.Base)
			}
		}
		if access, err := parseMessaging(text); err == nil {
			if u, err := url.Parse("https://" + access.Host + "/"); err != nil || u.Hostname() == "" || u.Path != "/" {
				t.Errorf("%q leads to %q", text, access.Host)
			}
		}
	})
}
