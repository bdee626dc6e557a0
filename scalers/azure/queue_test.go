package main

import (
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

var _ = cases.Add("azure-queue", func(t testing.TB) scalertest.Case {
	a := servers.SharedAzurite(t)
	owner(t, a.QueueURL()).queue("contract", 3, 0)
	return scalertest.Case{Address: a.QueueAddr(), At: func(address string) map[string]string {
		return joined(map[string]string{"queueName": "contract"}, storageAuth(address))
	}}
})

const storageOfBus = "Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=aHVzaC1odXNo"

func TestQueue(t *testing.T) {
	a := servers.SharedAzurite(t)
	of := owner(t, a.QueueURL())
	of.queue("orders", 4, 3)
	of.queue("idle", 0, 0)
	of.queue("many", 32, 5)
	of.queue("few", 31, 5)
	auth := map[string]string{"connection": a.Connection()}
	family := scalertest.Serve(t, triggers...)
	tests := map[string]struct {
		metadata map[string]string // on top of queue orders
		auth     map[string]string
		env      map[string]string
		identity scaler.PodIdentity
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"received messages count by default":   {auth: auth, want: scalertest.Observation{Value: 7, Active: true}},
		"those that wait":                      {auth: auth, metadata: map[string]string{"queueLengthStrategy": "visibleonly"}, want: scalertest.Observation{Value: 4, Active: true}},
		"31 of them":                           {auth: auth, metadata: map[string]string{"queueName": "few", "queueLengthStrategy": "visibleonly"}, want: scalertest.Observation{Value: 31, Active: true}},
		"more than can be looked at":           {auth: auth, metadata: map[string]string{"queueName": "many", "queueLengthStrategy": "visibleonly"}, want: scalertest.Observation{Value: 37, Active: true}},
		"at the activation threshold":          {auth: auth, metadata: map[string]string{"activationQueueLength": "7"}, want: scalertest.Observation{Value: 7}},
		"an empty queue":                       {auth: auth, metadata: map[string]string{"queueName": "idle"}},
		"an empty queue, those that wait":      {auth: auth, metadata: map[string]string{"queueName": "idle", "queueLengthStrategy": "visibleonly"}},
		"a literal connection":                 {metadata: map[string]string{"connection": a.Connection()}, want: scalertest.Observation{Value: 7, Active: true}},
		"a connection of the environment":      {metadata: map[string]string{"connectionFromEnv": "C"}, env: map[string]string{"C": a.Connection()}, want: scalertest.Observation{Value: 7, Active: true}},
		"the authentication before a literal":  {auth: auth, metadata: map[string]string{"connection": storageOfBus}, want: scalertest.Observation{Value: 7, Active: true}},
		"a missing queue":                      {auth: auth, metadata: map[string]string{"queueName": "bills"}, code: codes.NotFound, message: "queue bills: ; 404 Not Found (it does not exist in this storage account)"},
		"a missing queue, those that wait":     {auth: auth, metadata: map[string]string{"queueName": "bills", "queueLengthStrategy": "visibleonly"}, code: codes.NotFound, message: "queue bills: "},
		"a wrong key":                          {auth: map[string]string{"connection": "AccountName=devstoreaccount1;AccountKey=aHVzaC1odXNo;QueueEndpoint=" + a.QueueURL()}, code: codes.PermissionDenied, message: "queue orders: ; 403 Forbidden (the account does not take the AccountKey"},
		"no connection":                        {code: codes.InvalidArgument, message: "connection: is required without pod identity azure-workload"},
		"a variable without value":             {metadata: map[string]string{"connectionFromEnv": "C"}, code: codes.InvalidArgument, message: "connection: "},
		"one of Service Bus":                   {auth: map[string]string{"connection": storageOfBus}, code: codes.InvalidArgument, message: "connection: is a connection string of Service Bus or Event Hubs (Endpoint=sb://...); one of a storage account has AccountName and AccountKey, or a shared access signature"},
		"no connection string":                 {auth: map[string]string{"connection": "hush-hush"}, code: codes.InvalidArgument, message: "connection: is not a connection string"},
		"a connection string of nobody":        {auth: map[string]string{"connection": "AccountKey=hush-hush"}, code: codes.InvalidArgument, message: "connection: is not a connection string of a storage account: it has neither AccountName nor QueueEndpoint"},
		"without a key":                        {auth: map[string]string{"connection": "AccountName=shop"}, code: codes.InvalidArgument, message: "connection: has neither AccountKey nor SharedAccessSignature"},
		"a key that is none":                   {auth: map[string]string{"connection": "AccountName=shop;AccountKey=hush-hush"}, code: codes.InvalidArgument, message: "connection: has an AccountKey that is not base64"},
		"another cloud's identity":             {identity: scaler.PodIdentity{Provider: "aws"}, code: codes.InvalidArgument, message: "podIdentity: provider aws is not supported here, only azure-workload is"},
		"an identity without an account":       {identity: scaler.PodIdentity{Provider: "azure-workload"}, code: codes.InvalidArgument, message: "accountName: is required with pod identity azure-workload"},
		"an account that is a URL":             {identity: scaler.PodIdentity{Provider: "azure-workload"}, metadata: map[string]string{"accountName": "evil.example/"}, code: codes.InvalidArgument, message: "accountName: is the short name alone"},
		"all problems":                         {metadata: map[string]string{"queueName": "", "queueLength": "many", "queueLengthStrategy": "VisibleOnly", "cloud": "Mars"}, code: codes.InvalidArgument, message: `queueName: is required; queueLength: "many" is not an integer; queueLengthStrategy: "VisibleOnly" is not one of all, visibleonly`},
		"all rules that are broken":            {metadata: map[string]string{"cloud": "Mars"}, code: codes.InvalidArgument, message: `cloud: "Mars" is not one of AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, AzureGermanCloud, AzureStackCloud, Private; connection: is required`},
		"a private cloud without a suffix":     {auth: auth, metadata: map[string]string{"cloud": "private"}, code: codes.InvalidArgument, message: "endpointSuffix: is required with cloud Private"},
		"a suffix without a cloud":             {auth: auth, metadata: map[string]string{"endpointSuffix": "queue.core.example"}, want: scalertest.Observation{Value: 7, Active: true}},
		"a cloud in other letters":             {auth: auth, metadata: map[string]string{"cloud": "AZUREUSGOVERNMENT"}, want: scalertest.Observation{Value: 7, Active: true}},
		"a suffix that is a URL":               {auth: auth, metadata: map[string]string{"cloud": "Private", "endpointSuffix": "evil.example/?"}, code: codes.InvalidArgument, message: "endpointSuffix: is not what a host ends with"},
		"an environment that nobody has given": {identity: scaler.PodIdentity{Provider: "azure-workload"}, metadata: map[string]string{"accountName": "shop", "cloud": "AzureStackCloud"}, code: codes.FailedPrecondition, message: "cloud: AzureStackCloud needs a file with its addresses, which AZURE_ENVIRONMENT_FILEPATH of this family names"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			metadata := joined(map[string]string{"queueName": "orders"}, tt.metadata)
			got, err := family.WithAuth(tt.auth).WithEnv(tt.env).WithPodIdentity(tt.identity).Observe(t.Context(), "azure-queue", metadata)
			checkError(t, "azure-queue", err, tt.code, tt.message)
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestQueueMetric(t *testing.T) {
	family := scalertest.Serve(t, azureQueue).WithAuth(map[string]string{"connection": "UseDevelopmentStorage=true"})
	for name, want := range map[string]string{"orders": "azure-queue-orders", "a.b": "azure-queue-a-b"} {
		specs, err := family.Specs(t.Context(), "azure-queue", map[string]string{"queueName": name})
		if err != nil {
			t.Fatal(err)
		}
		if got := specs[0].GetMetricName(); got != want || specs[0].GetTargetSizeFloat() != 5 {
			t.Errorf("%s: metric %s with target %v, want %s with 5", name, got, specs[0].GetTargetSizeFloat(), want)
		}
	}
}
