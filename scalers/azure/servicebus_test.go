package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

var _ = cases.Add("azure-servicebus", func(t testing.TB) scalertest.Case {
	n := newNamespace(t)
	n.queues["contract"], n.queues["stalled"] = 3, 4
	return scalertest.Case{
		Metadata: map[string]string{"queueName": "contract", "connectionFromEnv": "C"},
		Env:      map[string]string{"C": n.connection(), "DEAD": n.connectionAt(scalertest.DeadAddress(t)), "STALLED": n.connectionAt(scalertest.StalledAddress(t))},
		Dead: func(testing.TB) map[string]string {
			return map[string]string{"queueName": "contract", "connectionFromEnv": "DEAD"}
		},
		Stalled: func(testing.TB) map[string]string {
			return map[string]string{"queueName": "contract", "connectionFromEnv": "STALLED"}
		},
		Parts: func(testing.TB) (healthy, stalled map[string]string, stall func()) {
			return map[string]string{"queueName": "contract", "connectionFromEnv": "C"},
				map[string]string{"queueName": "stalled", "connectionFromEnv": "C"},
				func() { n.stall("/stalled") }
		},
	}
})

// The right of a key in the tests, and what is not enough.
const (
	busKeyName = "Root"
	busKey     = "hush-hush-manage"
	listenName = "Listen"
	listenKey  = "hush-hush-listen"
)

// namespace stands in for Service Bus, of which there is no server that a test
// can run: it checks signatures and tokens as Azure does, pages its lists, and
// says that something is missing with an empty feed.
type namespace struct {
	testing.TB
	address     string // host:port
	connections atomic.Int64

	mu      sync.Mutex
	queues  map[string]int64
	topics  map[string]map[string]int64
	kind    string              // what $namespaceinfo says; "" for a namespace without
	refuse  map[string]int      // by path, the status of the answer
	stalled map[string]struct{} // by path
	asked   []string            // paths
	release chan struct{}
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	n := &namespace{TB: t, queues: map[string]int64{}, topics: map[string]map[string]int64{}, refuse: map[string]int{}, stalled: map[string]struct{}{}, release: make(chan struct{})}
	n.address = overTLS(t, n, func(s *httptest.Server) {
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				n.connections.Add(1)
			}
		}
	})
	t.Cleanup(func() { close(n.release) })
	return n
}

// overTLS is the host:port of a server whose certificate this process trusts.
func overTLS(t testing.TB, h http.Handler, change ...func(*httptest.Server)) string {
	t.Helper()
	certificate, key, err := trusted.Server("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	for _, change := range change {
		change(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func (n *namespace) stall(path string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stalled[path] = struct{}{}
}

func (n *namespace) requests() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.asked)
}

func (n *namespace) connection() string { return n.connectionAt(n.address) }

func (n *namespace) connectionAt(address string) string {
	return "Endpoint=sb://" + address + "/;SharedAccessKeyName=" + busKeyName + ";SharedAccessKey=" + busKey
}

// ServeHTTP implements http.Handler.
func (n *namespace) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	n.asked = append(n.asked, r.URL.Path)
	_, stalled := n.stalled[r.URL.Path]
	refusal := n.refuse[r.URL.Path]
	n.mu.Unlock()
	if stalled {
		select {
		case <-r.Context().Done():
		case <-n.release:
		}
		return
	}
	if problem := n.check(r); problem != "" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, "<Error><Code>401</Code><Detail>%s hush-hush</Detail></Error>", problem)
		return
	}
	if refusal != 0 {
		w.WriteHeader(refusal)
		fmt.Fprint(w, "<Error><Detail>hush-hush</Detail></Error>")
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	w.Header().Set("Content-Type", "application/atom+xml;type=entry;charset=utf-8")
	topic, subscription, ofTopic := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/Subscriptions")
	switch {
	case r.URL.Path == "/$namespaceinfo" && n.kind != "":
		fmt.Fprintf(w, `<entry xmlns="http://www.w3.org/2005/Atom"><content type="application/xml"><NamespaceInfo><MessagingSKU>Standard</MessagingSKU><NamespaceType>%s</NamespaceType></NamespaceInfo></content></entry>`, n.kind)
	case r.URL.Path == "/$Resources/Queues":
		feed(w, r, "Queue", n.queues)
	case ofTopic && n.topics[topic] == nil:
		w.WriteHeader(http.StatusNotFound)
	case ofTopic && subscription == "":
		feed(w, r, "Subscription", n.topics[topic])
	case ofTopic:
		one(w, "Subscription", strings.TrimPrefix(subscription, "/"), n.topics[topic])
	default:
		one(w, "Queue", topic, n.queues)
	}
}

// check is what is wrong with a request.
func (n *namespace) check(r *http.Request) string {
	if r.URL.Query().Get("api-version") == "" || r.Method != http.MethodGet {
		return "no request of this interface"
	}
	if token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); bearer {
		if token != "for https://servicebus.azure.net" {
			return "InvalidAudience"
		}
		return ""
	}
	text, found := strings.CutPrefix(r.Header.Get("Authorization"), "SharedAccessSignature ")
	parts := map[string]string{}
	for part := range strings.SplitSeq(text, "&") {
		key, value, _ := strings.Cut(part, "=")
		parts[key] = value
	}
	resource, err := url.QueryUnescape(parts["sr"])
	end, endErr := strconv.ParseInt(parts["se"], 10, 64)
	signature, sigErr := url.QueryUnescape(parts["sig"])
	if !found || err != nil || endErr != nil || sigErr != nil || time.Now().Unix() > end {
		return "MalformedToken"
	}
	if !strings.HasPrefix(strings.ToLower("https://"+r.Host+r.URL.Path), resource) {
		return "the token is for something else"
	}
	key := map[string]string{busKeyName: busKey, listenName: listenKey}[parts["skn"]]
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(parts["sr"] + "\n" + parts["se"]))
	switch {
	case key == "" || signature != base64.StdEncoding.EncodeToString(mac.Sum(nil)):
		return "InvalidSignature"
	case parts["skn"] == listenName:
		return "Manage,EntityRead claims required for this operation."
	default:
		return ""
	}
}

func entry(kind, name string, active int64) string {
	var text strings.Builder
	_ = xml.EscapeText(&text, []byte(name))
	return fmt.Sprintf(`<entry xmlns="http://www.w3.org/2005/Atom"><id>https://x/%[2]s</id><title type="text">%[2]s</title><author><name>shop</name></author><content type="application/xml">`+
		`<%[1]sDescription xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"><LockDuration>PT1M</LockDuration><MessageCount>99</MessageCount>`+
		`<CountDetails xmlns:d2p1="http://schemas.microsoft.com/netservices/2011/06/servicebus"><d2p1:ActiveMessageCount>%[3]d</d2p1:ActiveMessageCount><d2p1:DeadLetterMessageCount>7</d2p1:DeadLetterMessageCount>`+
		`<d2p1:ScheduledMessageCount>8</d2p1:ScheduledMessageCount></CountDetails></%[1]sDescription></content></entry>`, kind, text.String(), active)
}

// one answers about one thing, or with the empty feed that stands for none.
func one(w http.ResponseWriter, kind, name string, all map[string]int64) {
	active, there := all[strings.ToLower(name)]
	if !there {
		fmt.Fprint(w, `<feed xmlns="http://www.w3.org/2005/Atom"><title type="text">Publicly Listed Services</title><subtitle type="text">hush-hush</subtitle></feed>`)
		return
	}
	fmt.Fprint(w, entry(kind, name, active))
}

func feed(w http.ResponseWriter, r *http.Request, kind string, all map[string]int64) {
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	skip, _ := strconv.Atoi(r.URL.Query().Get("$skip"))
	top, _ := strconv.Atoi(r.URL.Query().Get("$top"))
	fmt.Fprint(w, `<?xml version="1.0" encoding="utf-8"?><feed xmlns="http://www.w3.org/2005/Atom"><title type="text">`+kind+`</title>`)
	for _, name := range names[min(skip, len(names)):min(skip+top, len(names))] {
		fmt.Fprint(w, entry(kind, name, all[name]))
	}
	fmt.Fprint(w, `</feed>`)
}

func TestServiceBus(t *testing.T) {
	n := newNamespace(t)
	n.queues = map[string]int64{"orders": 7, "orders-eu": 2, "old-orders": 40, "idle": 0, "shop/bills": 6}
	n.topics["events"] = map[string]int64{"mail": 4, "mail-eu": 9, "audit": 100}
	for i := range 250 {
		n.queues[fmt.Sprint("many-", i)] = 1
	}
	auth := map[string]string{"connection": n.connection()}
	tests := map[string]struct {
		metadata map[string]string
		auth     map[string]string
		env      map[string]string
		identity scaler.PodIdentity
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"a queue":                             {auth: auth, metadata: map[string]string{"queueName": "orders"}, want: scalertest.Observation{Value: 7, Active: true}},
		"a queue in a folder":                 {auth: auth, metadata: map[string]string{"queueName": "shop/bills"}, want: scalertest.Observation{Value: 6, Active: true}},
		"an idle queue":                       {auth: auth, metadata: map[string]string{"queueName": "idle"}},
		"at the activation threshold":         {auth: auth, metadata: map[string]string{"queueName": "orders", "activationMessageCount": "7"}, want: scalertest.Observation{Value: 7}},
		"a subscription":                      {auth: auth, metadata: map[string]string{"topicName": "events", "subscriptionName": "mail"}, want: scalertest.Observation{Value: 4, Active: true}},
		"queues by their whole names":         {auth: auth, metadata: map[string]string{"queueName": "orders|orders-.*", "useRegex": "true"}, want: scalertest.Observation{Value: 9, Active: true}},
		"the largest":                         {auth: auth, metadata: map[string]string{"queueName": ".*orders.*", "useRegex": "true", "operation": "max"}, want: scalertest.Observation{Value: 40, Active: true}},
		"the average, rounded down":           {auth: auth, metadata: map[string]string{"queueName": "orders.*", "useRegex": "true", "operation": "avg"}, want: scalertest.Observation{Value: 4, Active: true}},
		"several pages":                       {auth: auth, metadata: map[string]string{"queueName": "many-.*", "useRegex": "true"}, want: scalertest.Observation{Value: 250, Active: true}},
		"nothing that matches":                {auth: auth, metadata: map[string]string{"queueName": "rders", "useRegex": "true"}},
		"subscriptions":                       {auth: auth, metadata: map[string]string{"topicName": "events", "subscriptionName": "mail.*", "useRegex": "true"}, want: scalertest.Observation{Value: 13, Active: true}},
		"of the environment":                  {metadata: map[string]string{"queueName": "orders", "connectionFromEnv": "C"}, env: map[string]string{"C": n.connection()}, want: scalertest.Observation{Value: 7, Active: true}},
		"with EntityPath":                     {auth: map[string]string{"connection": n.connection() + ";EntityPath=idle"}, metadata: map[string]string{"queueName": "orders"}, want: scalertest.Observation{Value: 7, Active: true}},
		"a signature made before":             {auth: map[string]string{"connection": "Endpoint=sb://" + n.address + "/;SharedAccessSignature=" + messagingAccess{KeyName: busKeyName, Key: busKey}.token("https://"+n.address+"/", time.Now().Add(time.Hour))}, metadata: map[string]string{"queueName": "orders"}, want: scalertest.Observation{Value: 7, Active: true}},
		"a missing queue":                     {auth: auth, metadata: map[string]string{"queueName": "nothing"}, code: codes.NotFound, message: "queue nothing does not exist in namespace " + n.address},
		"a missing subscription":              {auth: auth, metadata: map[string]string{"topicName": "events", "subscriptionName": "nothing"}, code: codes.NotFound, message: "subscription nothing of topic events does not exist in namespace"},
		"a missing topic":                     {auth: auth, metadata: map[string]string{"topicName": "nothing", "subscriptionName": "mail"}, code: codes.NotFound, message: "subscription mail of topic nothing does not exist"},
		"subscriptions of a missing topic":    {auth: auth, metadata: map[string]string{"topicName": "nothing", "subscriptionName": "mail", "useRegex": "true"}, code: codes.NotFound, message: "the list of subscriptions of topic nothing: "},
		"without the right Manage":            {auth: map[string]string{"connection": "Endpoint=sb://" + n.address + "/;SharedAccessKeyName=Listen;SharedAccessKey=" + listenKey}, metadata: map[string]string{"queueName": "orders"}, code: codes.Unauthenticated, message: "queue orders: ; 401 Unauthorized (the connection string needs the right Manage: Listen and Send do not do to count messages)"},
		"a wrong key":                         {auth: map[string]string{"connection": "Endpoint=sb://" + n.address + "/;SharedAccessKeyName=Root;SharedAccessKey=hush-hush"}, metadata: map[string]string{"queueName": "orders"}, code: codes.Unauthenticated, message: "queue orders: ; 401 Unauthorized"},
		"one of a storage account":            {auth: map[string]string{"connection": servers.AzuriteConnection("http://a", "http://b")}, metadata: map[string]string{"queueName": "orders"}, code: codes.InvalidArgument, message: "connection: is a connection string of a storage account; one of Service Bus or Event Hubs has Endpoint=sb://<namespace>..., SharedAccessKeyName and SharedAccessKey"},
		"without a key":                       {auth: map[string]string{"connection": "Endpoint=sb://shop.servicebus.windows.net/"}, metadata: map[string]string{"queueName": "orders"}, code: codes.InvalidArgument, message: "connection: has neither SharedAccessKeyName and SharedAccessKey nor SharedAccessSignature"},
		"a literal connection does not count": {metadata: map[string]string{"queueName": "orders", "connection": n.connection()}, code: codes.InvalidArgument, message: "connection: is required"},
		"both entities":                       {auth: auth, metadata: map[string]string{"queueName": "orders", "topicName": "events", "subscriptionName": "mail"}, code: codes.InvalidArgument, message: "queueName: cannot be given beside topicName"},
		"a subscription of a queue":           {auth: auth, metadata: map[string]string{"queueName": "orders", "subscriptionName": "mail"}, code: codes.InvalidArgument, message: "subscriptionName: is of a topic, and cannot be given beside queueName"},
		"no entity":                           {auth: auth, code: codes.InvalidArgument, message: "queueName: is required, or topicName and subscriptionName: there is no entity type"},
		"a topic alone":                       {auth: auth, metadata: map[string]string{"topicName": "events"}, code: codes.InvalidArgument, message: "subscriptionName: is required with topicName"},
		"no regular expression":               {auth: auth, metadata: map[string]string{"queueName": "(", "useRegex": "true"}, code: codes.InvalidArgument, message: "queueName: is not a regular expression: "},
		"a pattern that stands for much":      {auth: auth, metadata: map[string]string{"queueName": strings.Repeat(".{1000}", 100), "useRegex": "true"}, code: codes.InvalidArgument, message: "queueName: is not a regular expression: its repetitions and classes stand for too much"},
		"a pattern of many classes":           {auth: auth, metadata: map[string]string{"queueName": strings.Repeat(`\pL`, 300), "useRegex": "true"}, code: codes.InvalidArgument, message: "queueName: is not a regular expression: its repetitions and classes stand for too much"},
		"a long pattern":                      {auth: auth, metadata: map[string]string{"queueName": strings.Repeat("a", 1025), "useRegex": "true"}, code: codes.InvalidArgument, message: "queueName: is not a regular expression: it has more than 1024 bytes"},
		"another operation":                   {auth: auth, metadata: map[string]string{"queueName": "o", "operation": "median"}, code: codes.InvalidArgument, message: `operation: "median" is not one of sum, max, avg`},
		"an identity without a namespace":     {identity: scaler.PodIdentity{Provider: "azure-workload"}, metadata: map[string]string{"queueName": "orders"}, code: codes.InvalidArgument, message: "namespace: is required with pod identity azure-workload"},
		"another cloud's identity":            {identity: scaler.PodIdentity{Provider: "aws-eks"}, metadata: map[string]string{"queueName": "orders"}, code: codes.InvalidArgument, message: "podIdentity: provider aws-eks is not supported here"},
		"a private cloud without a suffix":    {auth: auth, metadata: map[string]string{"queueName": "orders", "cloud": "Private"}, code: codes.InvalidArgument, message: "endpointSuffix: is required with cloud Private"},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := family.WithAuth(tt.auth).WithEnv(tt.env).WithPodIdentity(tt.identity).Observe(t.Context(), "azure-servicebus", joined(tt.metadata))
			checkError(t, "azure-servicebus", err, tt.code, tt.message)
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestServiceBusMetric(t *testing.T) {
	family := scalertest.Serve(t, azureServiceBus).WithAuth(map[string]string{"connection": storageOfBus})
	for want, metadata := range map[string]map[string]string{
		"azure-servicebus-shop-orders": {"queueName": "shop/orders"},
		"azure-servicebus-events":      {"topicName": "events", "subscriptionName": "mail"},
		"azure-servicebus-queue-regex": {"queueName": "a.*", "useRegex": "true"},
		"azure-servicebus-topic-regex": {"topicName": "events", "subscriptionName": "a.*", "useRegex": "true"},
	} {
		specs, err := family.Specs(t.Context(), "azure-servicebus", metadata)
		if err != nil {
			t.Fatal(err)
		}
		if got := specs[0].GetMetricName(); got != want || specs[0].GetTargetSizeFloat() != 5 {
			t.Errorf("metric %s with target %v, want %s with 5", got, specs[0].GetTargetSizeFloat(), want)
		}
	}
}

// TestServiceBusAnswers has what Azure does not say, and what it says when it
// has had enough.
func TestServiceBusAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		answer string
		header map[string]string
		code   codes.Code
		text   string
	}{
		"no count":        {answer: `<entry><title>orders</title><content/></entry>`, code: codes.Unavailable, text: "the answer lacks ActiveMessageCount"},
		"no number":       {answer: `<entry><content><QueueDescription><CountDetails><ActiveMessageCount>few</ActiveMessageCount></CountDetails></QueueDescription></content></entry>`, code: codes.Unavailable, text: "ActiveMessageCount in the answer is not a number of messages"},
		"half an answer":  {answer: `<entry><title>ord`, code: codes.Unavailable, text: "the answer cannot be understood"},
		"something else":  {answer: `<html><body>hush-hush</body></html>`, code: codes.Unavailable, text: "the answer cannot be understood"},
		"no XML":          {answer: `hush-hush`, code: codes.Unavailable, text: "the answer cannot be understood"},
		"a deep answer":   {answer: strings.Repeat("<entry>", 1000), code: codes.Unavailable, text: "the answer cannot be understood"},
		"a long tag":      {answer: "<entry " + strings.Repeat(`a="" `, 10_000) + "></entry>", code: codes.Unavailable, text: "the answer cannot be understood"},
		"throttled":       {status: 429, header: map[string]string{"Retry-After": "30"}, code: codes.ResourceExhausted, text: "the service throttles the account: 429 Too Many Requests"},
		"a busy server":   {status: 503, code: codes.ResourceExhausted, text: "the service throttles the account: 503 Service Unavailable"},
		"an error":        {status: 500, answer: "hush-hush", code: codes.Unavailable, text: "500 Internal Server Error"},
		"without a right": {status: 403, answer: "hush-hush", code: codes.PermissionDenied, text: "needs the right Manage"},
	} {
		t.Run(name, func(t *testing.T) {
			address := overTLS(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for name, value := range tt.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(max(tt.status, http.StatusOK))
				_, _ = w.Write([]byte(tt.answer))
			}))
			family := scalertest.Serve(t, triggers...).WithAuth(map[string]string{"connection": new(namespace).connectionAt(address)})
			_, err := family.Observe(t.Context(), "azure-servicebus", map[string]string{"queueName": "orders"})
			checkError(t, "azure-servicebus", err, tt.code, "queue orders: ; "+tt.text)
		})
	}
}

// openAll opens a source for each metadata, in one pool of connections.
func openAll(t testing.TB, trigger scaler.Trigger, auth map[string]string, all ...map[string]string) []scaler.Source {
	t.Helper()
	ctx, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	sources := make([]scaler.Source, 0, len(all))
	for _, metadata := range all {
		bound, err := trigger.Bind(scalertest.Serve(t, trigger).Ref(trigger.Type, metadata), &scaler.Credentials{Parameters: auth})
		if err != nil {
			t.Fatal(err)
		}
		source, err := bound.Open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, source)
	}
	return sources
}

// TestAThousandQueuesAreRead by ten requests, over a few connections; what the
// list does not name is asked for by itself.
func TestAThousandQueuesAreRead(t *testing.T) {
	n := newNamespace(t)
	p := serviceBusParams{Connection: n.connection(), Operation: "sum"}
	ctx, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	var sources []scaler.Source
	for i := range 1000 {
		p.QueueName = fmt.Sprintf("Q-%d", i)
		n.queues[strings.ToLower(p.QueueName)] = int64(i)
		source, err := openServiceBus(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, source)
	}
	p.QueueName = "missing"
	missing, err := openServiceBus(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	results := scaler.ReadTogether(within(t), missing.(scaler.Batched).Batch(), append(sources, missing)...)
	for i, r := range results[:1000] {
		if r.Err != nil || r.Readings[0].Value != float64(i) {
			t.Fatalf("queue %d: %v, %v", i, r.Readings, r.Err)
		}
	}
	if code := status.Code(results[1000].Err); code != codes.NotFound {
		t.Errorf("the missing queue: %v", results[1000].Err)
	}
	// Ten pages, an empty one behind them, and the missing queue.
	if asked := n.requests(); len(asked) != 12 || n.connections.Load() > 3 {
		t.Errorf("%d requests over %d connections: %v", len(asked), n.connections.Load(), asked)
	}
}

// TestServiceBusParts: what cannot be listed is asked for one by one, and what
// stalls or fails does so alone.
func TestServiceBusParts(t *testing.T) {
	n := newNamespace(t)
	var all []map[string]string
	for i := range 12 {
		name := fmt.Sprint("q-", i)
		n.queues[name] = int64(i)
		all = append(all, map[string]string{"queueName": name})
	}
	n.topics["events"] = map[string]int64{"mail": 5}
	all = append(all, map[string]string{"topicName": "events", "subscriptionName": "mail"}, map[string]string{"queueName": "q-1.*", "useRegex": "true"})
	n.refuse["/$Resources/Queues"] = http.StatusInternalServerError
	n.refuse["/q-3"] = http.StatusForbidden
	sources := openAll(t, azureServiceBus, map[string]string{"connection": n.connection()}, all...)
	results := scaler.ReadTogether(within(t), sources[0].(scaler.Batched).Batch(), sources...)
	for i, r := range results {
		want, code := float64(i), codes.OK
		switch i {
		case 3:
			code = codes.PermissionDenied
		case 12:
			want = 5
		case 13:
			code = codes.Unavailable // the pattern needs the list
		}
		if status.Code(r.Err) != code || r.Err == nil && r.Readings[0].Value != want {
			t.Errorf("%v: %v, %v, want %v or %v", all[i], r.Readings, r.Err, want, code)
		}
	}
}

// TestServiceBusThrottles one namespace, while another is asked as before.
func TestServiceBusThrottles(t *testing.T) {
	busy, calm := newNamespace(t), newNamespace(t)
	busy.queues["orders"], calm.queues["orders"] = 1, 2
	busy.refuse["/orders"] = http.StatusTooManyRequests
	metadata := map[string]string{"queueName": "orders"}
	family := scalertest.Serve(t, triggers...)
	at := func(n *namespace) *scalertest.Family {
		return family.WithAuth(map[string]string{"connection": n.connection()})
	}
	_, err := at(busy).Observe(t.Context(), "azure-servicebus", metadata)
	checkError(t, "azure-servicebus", err, codes.ResourceExhausted, "queue orders: ; the service throttles the account: 429 Too Many Requests; it is not asked again before")
	asked := len(busy.requests())
	_, err = at(busy).Observe(t.Context(), "azure-servicebus", map[string]string{"queueName": "orders", "useRegex": "true"})
	checkError(t, "azure-servicebus", err, codes.ResourceExhausted, "the service throttles the account")
	if got := len(busy.requests()); got != asked {
		t.Errorf("%d more requests while it rests", got-asked)
	}
	if got, err := at(calm).Observe(t.Context(), "azure-servicebus", metadata); err != nil || got.Value != 2 {
		t.Errorf("the other namespace: %v, %v", got, err)
	}
}

// TestPatternsAreBounded by what they may be for one list, by the length of names
// and by the time of the read.
func TestPatternsAreBounded(t *testing.T) {
	of := func(text string) *combination {
		p := serviceBusParams{QueueName: text, UseRegex: true}
		pattern, size, err := p.pattern()
		if err != nil {
			t.Fatal(err)
		}
		return &combination{source: &serviceBusSource{pattern: pattern, size: size, within: "the list of queues"}}
	}
	small, large := of("orders-.*"), of("x.{400}")
	for range 10_000 {
		small.add(entity{name: "orders-" + strings.Repeat("a", 43), active: 1})
		large.add(entity{name: strings.Repeat("a", 1000), active: 1})
	}
	if n, err := small.value(); err != nil || n != 10_000 {
		t.Errorf("a usual pattern: %d, %v", n, err)
	}
	if _, err := large.value(); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "the list of queues: its names are too many for so large a regular expression") {
		t.Errorf("a large pattern and long names: %v", err)
	}
	for text, least := range map[string]int{strings.Repeat("a", 500): 500, ".{490}": 490, "[a-z0-9-]{1,63}": 63} {
		if size := of(text).source.size; size < least {
			t.Errorf("%.10s...: %d instructions, which are %d", text, size, least)
		}
	}
	long := of(".*")
	long.add(entity{name: strings.Repeat("a", longestEntity+1), active: 1})
	if n, err := long.value(); err != nil || n != 0 {
		t.Errorf("a name that is none: %d, %v", n, err)
	}

	n := newNamespace(t)
	n.queues["a"], n.queues["b"] = 1, 1
	s := openAll(t, azureServiceBus, map[string]string{"connection": n.connection()}, map[string]string{"queueName": ".*", "useRegex": "true"})[0].(*serviceBusSource)
	ctx, cancel := context.WithCancel(within(t))
	seen := 0
	err := s.list(ctx, s.within, s.listing, func(page []entity) error {
		cancel()
		all := newCombinations(ctx, s)
		err := all.add(ctx, page)
		seen += int(all.of[0].matches)
		return err
	})
	if seen != 0 || status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%d names after the end, %v", seen, err)
	}
}

// TestWhoTakesLongFailsForItself: of patterns that are held against one list, the
// one that takes the most fails when they take too long together, and no other.
func TestWhoTakesLongFailsForItself(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	all := newCombinations(ctx, &serviceBusSource{}, &serviceBusSource{}, &serviceBusSource{})
	if all.most <= 0 || all.most > time.Minute/partOfTime {
		t.Fatalf("patterns may take %v of a minute", all.most)
	}
	all.most = 10 * time.Second
	for _, spent := range []struct {
		by   int
		took time.Duration
		fail []bool
	}{
		{0, 2 * time.Second, []bool{false, false, false}},
		{1, 7 * time.Second, []bool{false, false, false}},
		{2, time.Second, []bool{false, false, false}},
		{2, time.Second, []bool{false, true, false}},
		{0, 5 * time.Second, []bool{false, true, false}},
		{2, 2 * time.Second, []bool{true, true, false}},
	} {
		all.spent(all.of[spent.by], spent.took)
		for i, c := range all.of {
			if failed := errors.Is(c.err, errTakesLong); failed != spent.fail[i] {
				t.Fatalf("after %v by %d: pattern %d fails: %v", spent.took, spent.by, i, failed)
			}
		}
	}
	if _, err := all.of[1].value(); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("who took long: %v", err)
	}
}

// TestPatternsTakeTurns: names are neither read nor held against patterns while
// others compute.
func TestPatternsTakeTurns(t *testing.T) {
	source := openAll(t, azureServiceBus, map[string]string{"connection": newNamespace(t).connection()}, map[string]string{"queueName": ".*", "useRegex": "true"})[0].(*serviceBusSource)
	scalertest.NobodyComputes(t, func(ctx context.Context) error {
		return newCombinations(ctx, source).add(ctx, []entity{{name: "a", active: 1}})
	})
	scalertest.NobodyComputes(t, func(ctx context.Context) error {
		_, _, err := entries(ctx, []byte(entry("Queue", "orders", 3)))
		return err
	})
	scalertest.NobodyComputes(t, func(ctx context.Context) error {
		_, _, err := (&blobSource{}).count(ctx, []byte("<EnumerationResults><Blobs/></EnumerationResults>"))
		return err
	})
}

func FuzzEntries(f *testing.F) {
	f.Add([]byte(entry("Queue", "orders", 3)))
	f.Add([]byte(`<feed><entry><title>a</title></entry><link rel="next" href="x"/></feed>`))
	f.Add([]byte(`<?xml version="1.0"?><EnumerationResults><Blobs><Blob><Name>a</Name></Blob></Blobs><NextMarker/></EnumerationResults>`))
	f.Fuzz(func(t *testing.T, text []byte) {
		entities, _, err := entries(t.Context(), text)
		for _, e := range entities {
			if err == nil && e.active < -1 {
				t.Errorf("%q: %+v", text, e)
			}
		}
		_, _, _ = (&blobSource{}).count(t.Context(), text)
	})
}
