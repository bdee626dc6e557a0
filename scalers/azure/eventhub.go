package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// azureEventHub scales on the events of one event hub that a consumer group has
// yet to process, by the checkpoints that it keeps in blobs.
var azureEventHub = scaler.Define("azure-eventhub", openEventHub, hubRings)

// eventHubParams is the metadata of an azure-eventhub trigger.
type eventHubParams struct {
	identityParams
	cloudParams

	// UnprocessedEventThreshold is the target: events one replica is expected to
	// carry.
	UnprocessedEventThreshold int64 `param:"unprocessedEventThreshold" default:"64" role:"target" unit:"events"`
	// ActivationUnprocessedEventThreshold is the activation threshold.
	ActivationUnprocessedEventThreshold int64 `param:"activationUnprocessedEventThreshold" default:"0" role:"activation" unit:"events"`
	// StalePartitionInfoThreshold is by how much a checkpoint may be ahead of
	// what the hub says of a partition, which is then taken for old and counts as
	// none.
	StalePartitionInfoThreshold int64 `param:"stalePartitionInfoThreshold" default:"10000" unit:"events"`
	// Connection is the connection string of the event hub, or of its namespace.
	// Pod identity azure-workload ignores it.
	Connection string `param:"connection" from:"auth,env"`
	// StorageConnection is the connection string of the storage account with the
	// checkpoints.
	StorageConnection string `param:"storageConnection" from:"auth,env"`
	// ConsumerGroup is the consumer group.
	ConsumerGroup string `param:"consumerGroup" default:"$Default"`
	// EventHubName is the event hub. It is needed with pod identity, and where
	// connection has no EntityPath.
	EventHubName string `param:"eventHubName" from:"trigger,env"`
	// EventHubNamespace is the short name of the namespace. It counts with pod
	// identity alone, which needs it.
	EventHubNamespace string `param:"eventHubNamespace" from:"trigger,env"`
	// StorageAccountName is the storage account with the checkpoints, which pod
	// identity opens.
	StorageAccountName string `param:"storageAccountName"`
	// BlobContainer is the container with the checkpoints. Those of
	// azureFunction are always in azure-webjobs-eventhub.
	BlobContainer string `param:"blobContainer"`
	// CheckpointStrategy says how the group keeps its checkpoints: azureFunction,
	// blobMetadata (the present clients of Azure), goSdk, dapr, or nothing for
	// older clients, and for azureFunction without blobContainer.
	CheckpointStrategy string `param:"checkpointStrategy"`
	// StorageEndpointSuffix is what names of storage accounts end with, behind
	// ".blob.". It counts with cloud Private alone, which needs it with
	// storageAccountName.
	StorageEndpointSuffix string `param:"storageEndpointSuffix"`
	// DoorbellConsumerGroup is a consumer group of the event hub that nobody else
	// reads, other than consumerGroup. With it events are noticed as they arrive;
	// without, when the next reading is due. KEDA has no such parameter.
	DoorbellConsumerGroup string `param:"doorbellConsumerGroup"`
}

// Silent keeps the doorbell off unless it has a consumer group.
func (p eventHubParams) Silent() string {
	if p.DoorbellConsumerGroup == "" {
		return "doorbellConsumerGroup is not set"
	}
	return ""
}

// Validate checks that there is a way to the hub and to the checkpoints.
func (p eventHubParams) Validate() error {
	var problems []error
	if p.UnprocessedEventThreshold <= 0 { // as the source of a formula, too: it caps the value
		problems = append(problems, fmt.Errorf("unprocessedEventThreshold: target %d is not greater than 0", p.UnprocessedEventThreshold))
	}
	switch group := p.DoorbellConsumerGroup; {
	case group == "":
	case strings.EqualFold(group, p.ConsumerGroup):
		problems = append(problems, errors.New("doorbellConsumerGroup: is consumerGroup, whose five readers are for those who work: give it another one"))
	case !groupName.MatchString(group):
		problems = append(problems, errors.New("doorbellConsumerGroup: is not the name of a consumer group"))
	}
	switch {
	case p.entra():
		problems = append(problems, p.checkIdentity()...)
	case p.Provider == "" || p.Provider == "none":
		problems = append(problems, p.checkConnections()...)
	}
	return errors.Join(problems...)
}

func (p eventHubParams) checkIdentity() []error {
	var problems []error
	for _, needed := range [][2]string{{"eventHubNamespace", p.EventHubNamespace}, {"eventHubName", p.EventHubName}} {
		if needed[1] == "" {
			problems = append(problems, fmt.Errorf("%s: is required with pod identity azure-workload", needed[0]))
		}
	}
	problems = append(problems, checkLabel("eventHubNamespace", p.EventHubNamespace), checkLabel("storageAccountName", p.StorageAccountName))
	switch {
	case p.StorageAccountName != "":
		problems = append(problems, checkSuffix(p.Cloud, "storageEndpointSuffix", p.StorageEndpointSuffix, true))
	case p.StorageConnection != "":
		_, err := parseStorage(p.StorageConnection, "blob")
		problems = append(problems, of("storageConnection", err))
	default:
		problems = append(problems, errors.New("storageAccountName: is required with pod identity azure-workload, or storageConnection"))
	}
	return problems
}

func (p eventHubParams) checkConnections() []error {
	var problems []error
	if p.StorageConnection == "" {
		problems = append(problems, errors.New("storageConnection: is required without pod identity azure-workload"))
	} else {
		_, err := parseStorage(p.StorageConnection, "blob")
		problems = append(problems, of("storageConnection", err))
	}
	if p.Connection == "" {
		return append(problems, errors.New("connection: is required without pod identity azure-workload"))
	}
	access, err := parseMessaging(p.Connection)
	if err == nil && access.Entity == "" && p.EventHubName == "" {
		err = nil
		problems = append(problems, errors.New("eventHubName: is required, since connection has no EntityPath"))
	}
	return append(problems, of("connection", err))
}

// groupName is what a consumer group may be called: it becomes part of an address.
var groupName = regexp.MustCompile(`^(\$Default|[A-Za-z0-9]([A-Za-z0-9._-]{0,48}[A-Za-z0-9])?)$`)

// strategies are ways to keep checkpoints. Any other text is none of them.
const (
	azureFunction = "azureFunction"
	blobMetadata  = "blobMetadata"
	goSDK         = "goSdk"
	dapr          = "dapr"
)

// Warnings are about what is given in vain.
func (p eventHubParams) Warnings() []string {
	var warnings []string
	switch p.CheckpointStrategy {
	case "", azureFunction, blobMetadata, goSDK, dapr:
	default:
		warnings = append(warnings, fmt.Sprintf("checkpointStrategy: %q is not one of azureFunction, blobMetadata, goSdk, dapr, and counts as none", p.CheckpointStrategy))
	}
	if p.BlobContainer == "" && (p.CheckpointStrategy == blobMetadata || p.CheckpointStrategy == goSDK || p.CheckpointStrategy == dapr) {
		warnings = append(warnings, "blobContainer: is missing, so that no checkpoint will be found and all events count")
	}
	if access, err := parseMessaging(p.Connection); !p.entra() && err == nil && access.Entity != "" && p.EventHubName != "" && !strings.EqualFold(access.Entity, p.EventHubName) {
		warnings = append(warnings, "eventHubName: is ignored, since connection has an EntityPath")
	}
	if p.entra() && p.Connection != "" {
		warnings = append(warnings, "connection: is ignored, since the authentication has pod identity azure-workload")
	}
	return warnings
}

// Name is that of the consumer group.
func (p eventHubParams) Name() string { return scaler.MetricName("azure-eventhub", p.ConsumerGroup) }

// backlog is what a Read knows beside the number.
type backlog struct {
	events     int64
	partitions int64
}

// Shape caps the metric at as many replicas as there are partitions.
func (p eventHubParams) Shape(raw []scaler.Reading) []scaler.Reading {
	b, ok := raw[0].Detail.(backlog)
	if !ok || b.events/p.UnprocessedEventThreshold <= b.partitions {
		return raw
	}
	capped := raw[0]
	capped.Value = float64(b.partitions) * float64(p.UnprocessedEventThreshold)
	return []scaler.Reading{capped}
}

// eventHubSource reads one hub for one consumer group.
type eventHubSource struct {
	hubs        *hubs
	storage     *storage
	hub         string
	stale       int64
	checkpoints checkpoints

	group    string       // that listens
	doorbell *hubDoorbell // nil for none
	heard    *client.Holding

	mu         sync.Mutex
	partitions []string // as of the last read
	changed    func()   // nil while nobody listens
}

// partitionsAtOnce bounds how many partitions of one hub are read at once.
const partitionsAtOnce = 8

func openEventHub(ctx context.Context, p eventHubParams) (scaler.Source, error) {
	s := &eventHubSource{stale: p.StalePartitionInfoThreshold, hub: p.EventHubName, group: p.DoorbellConsumerGroup, heard: heard.Of(ctx)}
	var err error
	var host string
	if p.entra() {
		host, err = s.lend(ctx, p)
	} else {
		host, err = s.connect(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	s.checkpoints = checkpoints{strategy: p.CheckpointStrategy, container: p.BlobContainer, namespace: host, hub: s.hub, group: p.ConsumerGroup}
	return s, nil
}

// connect opens hub and checkpoints by connection strings.
func (s *eventHubSource) connect(ctx context.Context, p eventHubParams) (host string, err error) {
	access, err := parseMessaging(p.Connection)
	if err != nil {
		return "", of("connection", err)
	}
	s.hub, host = cmp.Or(access.Entity, p.EventHubName), access.Host // checkpoints go by their spelling
	access.Entity, access.Host = "", strings.ToLower(access.Host)
	connection := func(ctx context.Context) (*hubs, error) {
		return newHubs(ctx, access.Host, access.Emulator, func(_ context.Context, resource string) (string, string, error) {
			return access.token(resource, time.Now().Add(signatureLife)), "servicebus.windows.net:sastoken", nil
		}), nil
	}
	if s.hubs, err = client.Shared(ctx, access, connection); err != nil {
		return "", err
	}
	if s.doorbell, err = shareDoorbell(ctx, s.group, access, connection); err != nil {
		return "", err
	}
	s.storage, err = openCheckpoints(ctx, p.StorageConnection)
	return host, err
}

func openCheckpoints(ctx context.Context, connection string) (*storage, error) {
	access, err := parseStorage(connection, "blob")
	if err != nil {
		return nil, of("storageConnection", err)
	}
	return openStorage(ctx, access)
}

// lend opens hub and checkpoints by the family's own identity.
func (s *eventHubSource) lend(ctx context.Context, p eventHubParams) (host string, err error) {
	host, in, err := p.host(p.EventHubNamespace, "", func(c cloud) string { return c.serviceBus })
	if err != nil {
		return "", err
	}
	parameter := cmp.Or(p.suffixParameter(), "eventHubNamespace")
	loan, err := in.eventHubsTokens.Lend(parameter, true, (&url.URL{Host: host}).Hostname())
	if err != nil {
		return "", err
	}
	connection := func(ctx context.Context) (*hubs, error) {
		token, err := p.tokens(ctx, loan)
		if err != nil {
			return nil, err
		}
		h := newHubs(ctx, host, false, func(ctx context.Context, _ string) (string, string, error) {
			text, err := token(ctx)
			return text, "jwt", err
		})
		h.dialer = h.dialer.Lending(in.eventHubsTokens, parameter, true)
		return h, nil
	}
	who := []any{host, p.PodIdentity}
	if s.hubs, err = client.Shared(ctx, who, connection); err != nil {
		return "", err
	}
	if s.doorbell, err = shareDoorbell(ctx, s.group, who, connection); err != nil {
		return "", err
	}
	if p.StorageAccountName == "" {
		s.storage, err = openCheckpoints(ctx, p.StorageConnection)
		return host, err
	}
	parameter = "storageAccountName"
	own := ""
	if isPrivate(p.Cloud) {
		parameter, own = "storageEndpointSuffix", "blob."+strings.TrimPrefix(p.StorageEndpointSuffix, ".")
	}
	blobs, in, err := hostOf(p.Cloud, p.StorageAccountName, "blob.", func(c cloud) string { return c.storage }, own)
	if err != nil {
		return "", err
	}
	s.storage, err = lendStorage(ctx, p.identityParams, in, parameter, blobs, p.StorageAccountName)
	return host, err
}

// newHubs returns a connection that is made with the first request. It is called
// with the ctx of a dial.
func newHubs(ctx context.Context, host string, plain bool, token func(context.Context, string) (string, string, error)) *hubs {
	port := "5671"
	if plain {
		port = "5672"
	}
	u := url.URL{Host: host}
	h := &hubs{host: u.Hostname(), address: u.Hostname() + ":" + cmp.Or(u.Port(), port), plain: plain, dialer: client.DialerOf(ctx), token: token, held: client.FurtherServers(ctx), turn: make(chan struct{}, 1)}
	h.turn <- struct{}{}
	return h
}

// mostPartitions is how many partitions a hub may have; Azure's have 2,000 at
// most.
const mostPartitions = 4096

// longName is true for what is no number of a partition.
func longName(partition string) bool { return len(partition) > 32 }

// Read returns the events that the group has yet to process.
func (s *eventHubSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	what := "event hub " + s.hub
	properties, err := s.hubs.ask(ctx, s.hub, map[string]any{"operation": "READ", "name": s.hub, "type": "com.microsoft:eventhub"})
	if err != nil {
		return nil, scaler.Errorf(status.Code(err), "%s: %w", what, err)
	}
	partitions, ok := properties["partition_ids"].([]string)
	if !ok || len(partitions) == 0 || len(partitions) > mostPartitions || slices.ContainsFunc(partitions, longName) {
		return nil, scaler.Errorf(codes.Unavailable, "%s: the answer does not list its partitions", what)
	}
	var all tally
	// What fails first ends the others.
	ctx, end := context.WithCancel(ctx)
	defer end()
	work := make(chan string, len(partitions))
	for _, id := range partitions {
		work <- id
	}
	close(work)
	var running sync.WaitGroup
	for range min(partitionsAtOnce, len(partitions)) {
		running.Go(func() {
			for id := range work {
				var n int64
				err := scaler.Safely("reading "+what, func() (err error) {
					n, err = s.partition(ctx, id)
					return err
				})
				if err != nil {
					all.fail(scaler.Errorf(status.Code(err), "%s: partition %s: %w", what, id, err))
					end()
					return
				}
				all.add(n)
			}
		})
	}
	running.Wait()
	if all.err != nil {
		return nil, all.err
	}
	s.found(partitions)
	total := all.total()
	return []scaler.Reading{{Value: float64(total), Activity: float64(total), Detail: backlog{total, int64(len(partitions))}}}, nil
}

// found notes the partitions, for who listens to them: no more than tell that they are
// too many, since a server says how many there are.
func (s *eventHubSource) found(partitions []string) {
	if s.doorbell == nil {
		return
	}
	partitions = slices.Clone(partitions[:min(len(partitions), mostHeardOfHub+1)])
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(s.partitions, partitions) {
		return
	}
	s.partitions = partitions
	if s.changed != nil {
		s.changed()
	}
}

// tally adds up partitions, of which one may have less than none.
type tally struct {
	mu     sync.Mutex
	events big.Int
	err    error
}

func (t *tally) add(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events.Add(&t.events, big.NewInt(n))
}

// total is the sum. One that is less than none, or more than a number may be, is
// the most that there can be.
func (t *tally) total() int64 {
	if t.events.Sign() < 0 || !t.events.IsInt64() {
		return math.MaxInt64
	}
	return t.events.Int64()
}

func (t *tally) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
}

// partition is how many events of one the group has yet to process.
func (s *eventHubSource) partition(ctx context.Context, id string) (int64, error) {
	properties, err := s.hubs.ask(ctx, s.hub, map[string]any{"operation": "READ", "name": s.hub, "type": "com.microsoft:partition", "partition": id})
	if err != nil {
		return 0, err
	}
	first, okFirst := integer(properties["begin_sequence_number"])
	last, okLast := integer(properties["last_enqueued_sequence_number"])
	switch {
	case !okFirst || !okLast:
		return 0, scaler.Errorf(codes.Unavailable, "the answer lacks sequence numbers")
	case last == -1:
		return 0, nil // it never had an event
	}
	checkpoint, there, err := s.checkpoints.read(ctx, s.storage, id)
	if err != nil {
		return 0, err
	}
	return unprocessed(first, last, checkpoint, there, s.stale), nil
}

func integer(value any) (int64, bool) {
	switch n := value.(type) {
	case int64:
		return n, true
	case int32:
		return int64(n), true
	case int:
		return int64(n), true
	}
	return 0, false
}

// unprocessed is how many events follow a checkpoint. Sequence numbers begin
// again behind the largest; one that is a little behind its checkpoint is from an
// old answer, and says nothing.
func unprocessed(first, last, checkpoint int64, there bool, stale int64) int64 {
	if !there {
		if first == last && first != 0 {
			return 0
		}
		return last - first + 1
	}
	if last >= checkpoint {
		return last - checkpoint
	}
	n := math.MaxInt64 - checkpoint + last
	if n > math.MaxInt64-stale {
		return 0
	}
	return n
}

// checkpoints are where a group keeps them.
type checkpoints struct {
	strategy, container, namespace, hub, group string
}

// place is the container and the path of a partition's.
func (c checkpoints) place(partition string) (container, path string) {
	switch c.strategy {
	case azureFunction:
		return "azure-webjobs-eventhub", c.namespace + "/" + c.hub + "/" + c.group + "/" + partition
	case blobMetadata:
		return c.container, c.namespace + "/" + c.hub + "/" + strings.ToLower(c.group) + "/checkpoint/" + partition
	case goSDK:
		return c.container, partition
	case dapr:
		return c.container, "dapr-" + c.hub + "-" + c.group + "-" + partition
	}
	if c.container == "" {
		c.strategy = azureFunction
		return c.place(partition)
	}
	return c.container, c.group + "/" + partition
}

// read is the sequence number of a partition's checkpoint; there is false for a
// partition without.
func (c checkpoints) read(ctx context.Context, s *storage, partition string) (number int64, there bool, err error) {
	container, path := c.place(partition)
	what := "checkpoint " + path + " in container " + container
	method := http.MethodGet
	if c.strategy == blobMetadata {
		method = http.MethodHead
	}
	held, release := client.Held(ctx)
	defer release()
	answer, err := s.ask(held, method, url.PathEscape(container)+"/"+escaped(path), nil)
	switch {
	case client.NotFound(err):
		return 0, false, nil
	case err != nil:
		return 0, false, s.failure(what, err)
	}
	if c.strategy == blobMetadata {
		number, err = strconv.ParseInt(strings.TrimSpace(answer.Header.Get("x-ms-meta-sequencenumber")), 10, 64)
		if err != nil {
			return 0, false, scaler.Errorf(codes.Unavailable, "%s: its metadata sequencenumber is missing or not an integer", what)
		}
		return number, true, nil
	}
	_, err = client.Understand(held, answer.Body, func(func() error) (any, error) {
		if number, there, err = c.parse(answer.Body); err != nil {
			return nil, scaler.Errorf(codes.Unavailable, "is not JSON of the kind that checkpointStrategy says")
		}
		return nil, nil //nolint:nilnil // both are returned
	})
	if err != nil {
		return 0, false, scaler.Errorf(status.Code(err), "%s: %w", what, err)
	}
	return number, there, nil
}

// parse finds the sequence number in a checkpoint. One that has none yet is of a
// partition that is owned and was not read.
func (c checkpoints) parse(text []byte) (number int64, there bool, err error) {
	var body struct {
		SequenceNumber *int64 `json:"SequenceNumber"`
		Older          *int64 `json:"sequence_number"`
		Checkpoint     *struct {
			SequenceNumber *int64 `json:"sequenceNumber"`
		} `json:"checkpoint"`
	}
	if err := json.Unmarshal(text, &body); err != nil {
		return 0, false, err
	}
	found := body.SequenceNumber
	switch c.strategy {
	case goSDK, dapr:
		if found = nil; body.Checkpoint != nil {
			found = body.Checkpoint.SequenceNumber
		}
	case azureFunction:
	default:
		if found == nil && c.container != "" {
			found = body.Older
		}
	}
	if found == nil {
		return 0, false, nil
	}
	return *found, true, nil
}
