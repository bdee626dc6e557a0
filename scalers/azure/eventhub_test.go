package main

import (
	"fmt"
	"math"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

var _ = cases.Add("azure-eventhub", func(t testing.TB) scalertest.Case {
	e, _ := hubsThatRing(t, map[string][][2]int64{"contract": {{0, 9}, {0, -1}}})
	storage := servers.SharedAzurite(t).Connection()
	at := func(address string) map[string]string { return map[string]string{"C": hubConnection(address)} }
	env := at(e.Addr())
	env["DEAD"], env["STALLED"], env["S"] = hubConnection(scalertest.DeadAddress(t)), hubConnection(scalertest.StalledAddress(t)), storage
	metadata := func(variable string) map[string]string {
		return map[string]string{"eventHubName": "contract", "connectionFromEnv": variable, "storageConnectionFromEnv": "S", "doorbellConsumerGroup": doorbellGroup}
	}
	return scalertest.Case{
		Metadata: metadata("C"), Env: env,
		Dead:    func(testing.TB) map[string]string { return metadata("DEAD") },
		Stalled: func(testing.TB) map[string]string { return metadata("STALLED") },
	}
})

// hubsOf is a namespace with hubs, over TLS.
func hubsOf(t testing.TB, hubs map[string][][2]int64) *servers.EventHubsServer {
	t.Helper()
	e := servers.EventHubs(t, servers.EventHubsOptions{Authority: trusted})
	answer(t, e, servers.EventHubsState{Hubs: hubs})
	return e
}

func answer(t testing.TB, e *servers.EventHubsServer, state servers.EventHubsState) {
	t.Helper()
	state.Keys, state.Tokens = map[string]string{busKeyName: busKey}, []string{"for https://eventhubs.azure.net"}
	if err := e.Answer(state); err != nil {
		t.Fatal(err)
	}
}

func hubConnection(address string) string {
	return "Endpoint=sb://" + address + "/;SharedAccessKeyName=" + busKeyName + ";SharedAccessKey=" + busKey
}

func TestEventHub(t *testing.T) {
	e := hubsOf(t, map[string][][2]int64{"orders": {{0, 9}, {5, 104}, {0, -1}, {7, 7}}, "one": {{0, 0}}, "bills": {{0, 99}}})
	a := servers.SharedAzurite(t)
	of := owner(t, a.BlobURL())
	of.container("checkpoints")
	of.container("azure-webjobs-eventhub")
	of.container("broken", "Group/0")
	of.blob("azure-webjobs-eventhub", e.Addr()+"/orders/Group/0", nil, `{"SequenceNumber":4,"Offset":"x"}`)
	of.blob("azure-webjobs-eventhub", e.Addr()+"/orders/Group/1", nil, `{"Owner":"somebody"}`)
	of.blob("checkpoints", e.Addr()+"/orders/group/checkpoint/0", map[string]string{"x-ms-meta-sequencenumber": "6"}, "")
	of.blob("checkpoints", e.Addr()+"/orders/group/checkpoint/1", map[string]string{"x-ms-meta-Sequencenumber": "100"}, "")
	of.blob("checkpoints", e.Addr()+"/bills/group/checkpoint/0", map[string]string{"x-ms-meta-sequencenumber": "many"}, "")
	of.blob("checkpoints", "0", nil, `{"checkpoint":{"sequenceNumber":8}}`)
	of.blob("checkpoints", "dapr-orders-Group-1", nil, `{"checkpoint":{"sequenceNumber":103}}`)
	of.blob("checkpoints", "Group/0", nil, `{"SequenceNumber":1}`)
	of.blob("checkpoints", "Group/1", nil, `{"sequence_number":4}`)
	both := map[string]string{"connection": hubConnection(e.Addr()), "storageConnection": a.Connection()}
	orders := map[string]string{"eventHubName": "orders", "consumerGroup": "Group", "unprocessedEventThreshold": "64"}
	tests := map[string]struct {
		metadata map[string]string // on top of orders
		auth     map[string]string // on top of both
		identity scaler.PodIdentity
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		// Partition 0 has 10 events, 1 has 100, 2 none, and 3 counts as none.
		"without checkpoints":               {metadata: map[string]string{"blobContainer": "nothing"}, want: scalertest.Observation{Value: 110, Active: true}},
		"azureFunction by default":          {want: scalertest.Observation{Value: 5 + 100, Active: true}},
		"azureFunction":                     {metadata: map[string]string{"checkpointStrategy": "azureFunction", "blobContainer": "nothing"}, want: scalertest.Observation{Value: 5 + 100, Active: true}},
		"blobMetadata":                      {metadata: map[string]string{"checkpointStrategy": "blobMetadata", "blobContainer": "checkpoints"}, want: scalertest.Observation{Value: 3 + 4, Active: true}},
		"goSdk":                             {metadata: map[string]string{"checkpointStrategy": "goSdk", "blobContainer": "checkpoints"}, want: scalertest.Observation{Value: 1 + 100, Active: true}},
		"dapr":                              {metadata: map[string]string{"checkpointStrategy": "dapr", "blobContainer": "checkpoints"}, want: scalertest.Observation{Value: 10 + 1, Active: true}},
		"older clients":                     {metadata: map[string]string{"blobContainer": "checkpoints"}, want: scalertest.Observation{Value: 8 + 100, Active: true}},
		"a strategy that nobody knows":      {metadata: map[string]string{"blobContainer": "checkpoints", "checkpointStrategy": "Dapr"}, want: scalertest.Observation{Value: 8 + 100, Active: true}},
		"one event, no checkpoint":          {metadata: map[string]string{"eventHubName": "one", "blobContainer": "nothing"}, want: scalertest.Observation{Value: 1, Active: true}},
		"a cap at the partitions":           {metadata: map[string]string{"blobContainer": "nothing", "unprocessedEventThreshold": "10"}, want: scalertest.Observation{Value: 40, Active: true}},
		"activity is not capped":            {metadata: map[string]string{"blobContainer": "nothing", "unprocessedEventThreshold": "10", "activationUnprocessedEventThreshold": "109"}, want: scalertest.Observation{Value: 40, Active: true}},
		"at the activation threshold":       {metadata: map[string]string{"blobContainer": "nothing", "activationUnprocessedEventThreshold": "110"}, want: scalertest.Observation{Value: 110}},
		"the hub of the connection":         {auth: map[string]string{"connection": hubConnection(e.Addr()) + ";entitypath=orders"}, metadata: map[string]string{"eventHubName": "bills"}, want: scalertest.Observation{Value: 105, Active: true}},
		"a missing hub":                     {metadata: map[string]string{"eventHubName": "nothing"}, code: codes.NotFound, message: "event hub nothing: does not exist in this namespace"},
		"a wrong key":                       {auth: map[string]string{"connection": "Endpoint=sb://" + e.Addr() + "/;SharedAccessKeyName=Root;SharedAccessKey=hush-hush"}, code: codes.Unauthenticated, message: "event hub orders: the namespace refuses the login (401)"},
		"a checkpoint that is no number":    {metadata: map[string]string{"eventHubName": "bills", "checkpointStrategy": "blobMetadata", "blobContainer": "checkpoints"}, code: codes.Unavailable, message: "event hub bills: partition 0: checkpoint ; its metadata sequencenumber is missing or not an integer"},
		"a checkpoint that is no JSON":      {metadata: map[string]string{"blobContainer": "broken"}, code: codes.Unavailable, message: "partition 0: checkpoint Group/0 in container broken: is not JSON"},
		"a storage account without a key":   {auth: map[string]string{"storageConnection": "AccountName=devstoreaccount1;AccountKey=aHVzaC1odXNo;BlobEndpoint=" + a.BlobURL()}, code: codes.PermissionDenied, message: "event hub orders: partition ; 403 Forbidden"},
		"storage given for the hub":         {auth: map[string]string{"connection": a.Connection()}, code: codes.InvalidArgument, message: "connection: is a connection string of a storage account"},
		"the hub given for storage":         {auth: map[string]string{"storageConnection": hubConnection(e.Addr())}, code: codes.InvalidArgument, message: "storageConnection: is a connection string of Service Bus or Event Hubs"},
		"no hub":                            {metadata: map[string]string{"eventHubName": ""}, code: codes.InvalidArgument, message: "eventHubName: is required, since connection has no EntityPath"},
		"a threshold of 0":                  {metadata: map[string]string{"unprocessedEventThreshold": "0"}, code: codes.InvalidArgument, message: "unprocessedEventThreshold: target 0 is not greater than 0"},
		"an identity without anything else": {identity: scaler.PodIdentity{Provider: "azure-workload"}, auth: map[string]string{"storageConnection": ""}, metadata: map[string]string{"eventHubName": ""}, code: codes.InvalidArgument, message: "eventHubNamespace: is required with pod identity azure-workload; eventHubName: is required with pod identity azure-workload; storageAccountName: is required with pod identity azure-workload, or storageConnection"},
		"a private cloud without suffixes":  {identity: scaler.PodIdentity{Provider: "azure-workload"}, metadata: map[string]string{"eventHubNamespace": "shop", "storageAccountName": "shop", "cloud": "Private"}, code: codes.InvalidArgument, message: "endpointSuffix: is required with cloud Private; storageEndpointSuffix: is required with cloud Private"},
		"another cloud's identity":          {identity: scaler.PodIdentity{Provider: "gcp"}, code: codes.InvalidArgument, message: "podIdentity: provider gcp is not supported here"},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := family.WithAuth(joined(both, tt.auth)).WithPodIdentity(tt.identity).Observe(t.Context(), "azure-eventhub", joined(orders, tt.metadata))
			checkError(t, "azure-eventhub", err, tt.code, tt.message)
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestEventHubMetric(t *testing.T) {
	family := scalertest.Serve(t, azureEventHub).WithAuth(map[string]string{"connection": storageOfBus, "storageConnection": "UseDevelopmentStorage=true"})
	for group, want := range map[string]string{"": "azure-eventhub-$Default", "a.b": "azure-eventhub-a-b"} {
		specs, err := family.Specs(t.Context(), "azure-eventhub", joined(map[string]string{"eventHubName": "orders", "consumerGroup": group}))
		if err != nil {
			t.Fatal(err)
		}
		if got := specs[0].GetMetricName(); got != want || specs[0].GetTargetSizeFloat() != 64 {
			t.Errorf("%s: metric %s with target %v, want %s with 64", group, got, specs[0].GetTargetSizeFloat(), want)
		}
	}
}

func TestUnprocessed(t *testing.T) {
	const last = math.MaxInt64
	for name, tt := range map[string]struct {
		first, last, checkpoint int64
		there                   bool
		want                    int64
	}{
		"behind":                           {first: 0, last: 10, checkpoint: 4, there: true, want: 6},
		"level":                            {first: 0, last: 10, checkpoint: 10, there: true},
		"no checkpoint":                    {first: 3, last: 10, want: 8},
		"no checkpoint, one event":         {want: 1},
		"no checkpoint, one later event":   {first: 5, last: 5},
		"begun again":                      {first: 0, last: 5, checkpoint: last - 10, there: true, want: 15},
		"an old answer":                    {first: 0, last: 95, checkpoint: 100, there: true},
		"an old answer, not by very much":  {first: 0, last: 100, checkpoint: 10_099, there: true},
		"behind by as much as is possible": {first: 0, last: 100, checkpoint: 10_100, there: true, want: last - 10_000},
	} {
		if got := unprocessed(tt.first, tt.last, tt.checkpoint, tt.there, 10_000); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
	for name, tt := range map[string]struct {
		partitions []int64
		want       int64
	}{
		"more than can be counted":       {[]int64{last, 5}, last},
		"one that is behind, and others": {[]int64{-9, 20}, 11},
		"less than none":                 {[]int64{-9, 5}, last},
	} {
		var sum tally
		for _, n := range tt.partitions {
			sum.add(n)
		}
		if got := sum.total(); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

// TestHubsOfNobodyKeepNoPlace: what one tenant invents leaves room for the hubs
// of others, on the connection that they share.
func TestHubsOfNobodyKeepNoPlace(t *testing.T) {
	e := hubsOf(t, map[string][][2]int64{"orders": {{0, 4}}})
	auth := map[string]string{"connection": hubConnection(e.Addr()), "storageConnection": servers.SharedAzurite(t).Connection()}
	var all []map[string]string
	for i := range 20 {
		all = append(all, map[string]string{"eventHubName": fmt.Sprint("invented-", i), "blobContainer": "nothing"})
	}
	sources := openAll(t, azureEventHub, auth, append(all, map[string]string{"eventHubName": "orders", "blobContainer": "nothing"})...)
	for _, source := range sources[:20] {
		for range 2 {
			if _, err := source.Read(within(t)); status.Code(err) != codes.NotFound {
				t.Errorf("error = %v, want NotFound", err)
			}
		}
	}
	if got, err := sources[20].Read(within(t)); err != nil || got[0].Value != 5 {
		t.Errorf("another hub: %v, %v", got, err)
	}
	if n, err := e.Said("connection"); err != nil || n != 1 {
		t.Errorf("%d connections, %v", n, err)
	}
	now := sources[20].(*eventHubSource).hubs.now
	now.mu.Lock()
	defer now.mu.Unlock()
	if len(now.links) != 1 {
		t.Errorf("%d hubs keep a place, want 1", len(now.links))
	}
}

// TestHubsShareAConnection, and a namespace that is silent for a while is asked
// over a new one.
func TestHubsShareAConnection(t *testing.T) {
	state := servers.EventHubsState{Hubs: map[string][][2]int64{}}
	var all []map[string]string
	for i := range 20 {
		hub := fmt.Sprint("hub-", i)
		state.Hubs[hub] = [][2]int64{{0, int64(i)}, {0, -1}}
		all = append(all, map[string]string{"eventHubName": hub, "blobContainer": "nothing"})
	}
	e := hubsOf(t, state.Hubs)
	auth := map[string]string{"connection": hubConnection(e.Addr()), "storageConnection": servers.SharedAzurite(t).Connection()}
	sources := openAll(t, azureEventHub, auth, all...)
	for i, got := range scalertest.ReadAtOnce(t, sources) {
		if got[0].Value != float64(i+1) {
			t.Errorf("hub %d: %v", i, got)
		}
	}
	said := func(what string, want int) {
		t.Helper()
		if n, err := e.Said(what); err != nil || n != want {
			t.Errorf("%s: %d, %v, want %d", what, n, err, want)
		}
	}
	said("connection", 1)
	said("asked", 3*len(sources))

	if err := e.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := sources[0].Read(within(t)); err == nil {
		t.Error("a dead namespace answers")
	}
	if err := e.Restart(within(t)); err != nil {
		t.Fatal(err)
	}
	answer(t, e, state)
	if got, err := sources[0].Read(within(t)); err != nil || got[0].Value != 1 {
		t.Errorf("after a restart: %v, %v", got, err)
	}
}

// TestServersOfAMQP has a server send what nobody asked for.
func TestServersOfAMQP(t *testing.T) {
	for name, text := range map[string]string{
		"a frame without measure": "AMQP\x03\x01\x00\x00\x7f\xff\xff\xff\x02\x01\x00\x00",
		"a frame without a head":  "AMQP\x03\x01\x00\x00\x00\x00\x00\x04\x02\x01\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			a := &allowance{most: mostReply}
			a.grant()
			if err := a.Check([]byte(text)); err == nil {
				t.Error("it is taken")
			}
		})
	}
	a := &allowance{most: mostReply}
	a.grant()
	frame := append([]byte{0, 0, 0xff, 0, 2, 0, 0, 0, 0xb0, 0, 0, 0xfe, 0xf3}, make([]byte, 0xff00-13)...)
	for range 2 {
		if err := a.Check(frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Check(frame); err == nil {
		t.Error("more than was asked for is taken")
	}
	if err := a.Check([]byte{0, 0, 0, 8, 2, 0, 0, 0}); err != nil {
		t.Errorf("a sign of life: %v", err)
	}
}
