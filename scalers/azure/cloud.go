package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// cloud is one of Azure's clouds: where its services are, and what the family's
// own identity is lent for there. What is empty, or has no hosts, the cloud has
// not.
type cloud struct {
	authority  string // of Entra, with a "/" at its end
	storage    string // what follows "queue." and "blob." in names of storage accounts
	serviceBus string // what names of namespaces of Service Bus and Event Hubs end with
	services
}

// services are what tokens are for. In a cloud whose addresses the trigger
// gives, hosts have to be among --identity-hosts.
type services struct {
	storageTokens, serviceBusTokens, eventHubsTokens lending.Service
	resourceManager, metrics, logs, insights         lending.Service
	dataExplorer                                     lending.Service
}

var (
	publicCloud = cloud{
		authority: "https://login.microsoftonline.com/", storage: "core.windows.net", serviceBus: "servicebus.windows.net",
		services: services{
			storageTokens: lending.AzureStorage, serviceBusTokens: lending.AzureServiceBus, eventHubsTokens: lending.AzureEventHubs,
			resourceManager: lending.AzureResourceManager, metrics: lending.AzureMonitorMetrics, logs: lending.AzureLogAnalytics,
			insights: lending.AzureApplicationInsights, dataExplorer: lending.AzureDataExplorer,
		},
	}
	governmentCloud = cloud{
		authority: "https://login.microsoftonline.us/", storage: "core.usgovcloudapi.net", serviceBus: "servicebus.usgovcloudapi.net",
		services: services{
			storageTokens: lending.AzureStorageUSGovernment, serviceBusTokens: lending.AzureServiceBusUSGovernment, eventHubsTokens: lending.AzureEventHubsUSGovernment,
			resourceManager: lending.AzureResourceManagerUSGovernment, metrics: lending.AzureMonitorMetricsUSGovernment, logs: lending.AzureLogAnalyticsUSGovernment,
			insights: lending.AzureApplicationInsightsUSGovernment, dataExplorer: lending.AzureDataExplorerUSGovernment,
		},
	}
	chinaCloud = cloud{
		authority: "https://login.chinacloudapi.cn/", storage: "core.chinacloudapi.cn", serviceBus: "servicebus.chinacloudapi.cn",
		services: services{
			storageTokens: lending.AzureStorageChina, serviceBusTokens: lending.AzureServiceBusChina, eventHubsTokens: lending.AzureEventHubsChina,
			resourceManager: lending.AzureResourceManagerChina, metrics: lending.AzureMonitorMetricsChina, logs: lending.AzureLogAnalyticsChina,
			insights: lending.AzureApplicationInsightsChina, dataExplorer: lending.AzureDataExplorerChina,
		},
	}
	// germanCloud has no Azure Monitor.
	germanCloud = cloud{
		authority: "https://login.microsoftonline.de/", storage: "core.cloudapi.de", serviceBus: "servicebus.cloudapi.de",
		services: services{
			storageTokens: lending.AzureStorageGermany, serviceBusTokens: lending.AzureServiceBusGermany, eventHubsTokens: lending.AzureEventHubsGermany,
			dataExplorer: lending.AzureDataExplorerGermany,
		},
	}
)

// privateName and stackName are clouds whose addresses the trigger gives, and
// the family's environment. Names of clouds are compared in small letters.
const (
	privateName = "private"
	stackName   = "azurestackcloud"
)

// clouds are those with addresses that everybody knows, as KEDA spells them.
var clouds = map[string]cloud{
	"azurepubliccloud": publicCloud, "azurecloud": publicCloud,
	"azureusgovernmentcloud": governmentCloud, "azureusgovernment": governmentCloud,
	"azurechinacloud": chinaCloud, "azuregermancloud": germanCloud,
}

// Names that a trigger may use: those of storage, Service Bus, Event Hubs and
// Data Explorer, and those of Azure Monitor.
var (
	allClouds     = []string{"AzurePublicCloud", "AzureUSGovernmentCloud", "AzureChinaCloud", "AzureGermanCloud", "AzureStackCloud", "Private"}
	monitorClouds = []string{"AzurePublicCloud", "AzureUSGovernmentCloud", "AzureChinaCloud", "Private"}
)

// isPrivate reports whether the trigger gives the addresses.
func isPrivate(name string) bool { return strings.EqualFold(name, privateName) }

// checkCloud refuses a name that is none of known.
func checkCloud(name string, known []string) error {
	lower := strings.ToLower(name)
	_, other := clouds[lower]
	if slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) }) || other && len(known) == len(allClouds) {
		return nil
	}
	return fmt.Errorf("cloud: %q is not one of %s", name, strings.Join(known, ", "))
}

// cloudOf is the cloud of that name, which checkCloud accepts. That of a
// private one has tokens as the public one, and no addresses.
func cloudOf(name string) (cloud, error) {
	lower := strings.ToLower(name)
	if known, there := clouds[lower]; there {
		return known, nil
	}
	c := cloud{authority: publicCloud.authority, services: publicCloud.services}
	if lower != stackName {
		return c, nil
	}
	return c, c.readEnvironment(os.Getenv("AZURE_ENVIRONMENT_FILEPATH"))
}

// readEnvironment takes the addresses of Azure Stack from the file that the
// family was started with.
func (c *cloud) readEnvironment(file string) error {
	if file == "" {
		return scaler.Errorf(codes.FailedPrecondition, "cloud: AzureStackCloud needs a file with its addresses, which AZURE_ENVIRONMENT_FILEPATH of this family names")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return scaler.Errorf(codes.FailedPrecondition, "cloud: the file that AZURE_ENVIRONMENT_FILEPATH of this family names cannot be read")
	}
	var environment struct {
		Authority  string `json:"activeDirectoryEndpoint"`
		Storage    string `json:"storageEndpointSuffix"`
		ServiceBus string `json:"serviceBusEndpointSuffix"`
	}
	if err := json.Unmarshal(text, &environment); err != nil {
		return scaler.Errorf(codes.FailedPrecondition, "cloud: the file that AZURE_ENVIRONMENT_FILEPATH of this family names is not JSON")
	}
	c.storage, c.serviceBus = environment.Storage, environment.ServiceBus
	if environment.Authority != "" {
		c.authority = strings.TrimSuffix(environment.Authority, "/") + "/"
	}
	return nil
}

// cloudParams are where services are whose hosts are made of a name and a
// suffix.
type cloudParams struct {
	// Cloud is the cloud of Azure: AzurePublicCloud, AzureUSGovernmentCloud,
	// AzureChinaCloud, AzureGermanCloud, AzureStackCloud, whose addresses the
	// family was started with, or Private, whose suffix the trigger gives.
	Cloud string `param:"cloud" default:"AzurePublicCloud"`
	// EndpointSuffix is what the service's host ends with, behind the name of
	// the account or namespace. It counts with cloud Private alone, which needs it.
	EndpointSuffix string `param:"endpointSuffix"`
}

// Validate checks the cloud.
func (p cloudParams) Validate() error {
	return errors.Join(checkCloud(p.Cloud, allClouds), checkSuffix(p.Cloud, "endpointSuffix", p.EndpointSuffix, true))
}

// checkSuffix checks the suffix of a private cloud; needed says that there has
// to be one.
func checkSuffix(cloud, parameter, suffix string, needed bool) error {
	switch {
	case !isPrivate(cloud), suffix == "" && !needed:
		return nil
	case suffix == "":
		return fmt.Errorf("%s: is required with cloud Private", parameter)
	case !hostSuffix.MatchString(suffix):
		return fmt.Errorf("%s: is not what a host ends with, such as queue.core.example", parameter)
	}
	return nil
}

var (
	// hostSuffix is what may follow a name in a host. Private clouds may have
	// ports of their own.
	hostSuffix = regexp.MustCompile(`^\.?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)
	// hostLabel is the name of an account or namespace.
	hostLabel = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
)

// checkLabel checks the name of an account or namespace.
func checkLabel(parameter, name string) error {
	if name == "" || hostLabel.MatchString(name) {
		return nil
	}
	return fmt.Errorf("%s: is the short name alone, of letters, digits and hyphens", parameter)
}

// host is where name is, with the suffix of a known cloud or the trigger's own.
func (p cloudParams) host(name, prefix string, suffix func(cloud) string) (string, cloud, error) {
	return hostOf(p.Cloud, name, prefix, suffix, p.EndpointSuffix)
}

// hostOf joins a name, a prefix such as "queue.", and the suffix of the cloud.
// own is the suffix, prefix included, that a private cloud has.
func hostOf(cloudName, name, prefix string, suffix func(cloud) string, own string) (string, cloud, error) {
	c, err := cloudOf(cloudName)
	if err != nil {
		return "", c, err
	}
	if isPrivate(cloudName) {
		return name + "." + strings.TrimPrefix(own, "."), c, nil
	}
	if suffix(c) == "" {
		return "", c, scaler.Errorf(codes.FailedPrecondition, "cloud: %s has no such service: its addresses lack the suffix", cloudName)
	}
	return name + "." + prefix + strings.TrimPrefix(suffix(c), "."), c, nil
}
