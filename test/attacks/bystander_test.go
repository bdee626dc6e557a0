package attacks

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"google.golang.org/grpc"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// bystander is an object of somebody who does nothing wrong.
type bystander struct {
	scaled
	// work says how much is waiting.
	work func(int)
}

// standBy makes an object at rest for each family, all in one namespace.
func standBy(t *testing.T, families ...string) (all bystanders) {
	t.Helper()
	h := newHouse(t, nil)
	for _, family := range families {
		source, known := sources[family]
		if !known {
			t.Fatalf("family %s has no source here", family)
		}
		h.grant(family)
		trigger, work := source(h)
		all = append(all, bystander{h.scale("bystander-"+family, nil, trigger), work})
	}
	for _, b := range all {
		b.waitReady("True", "")
	}
	return all
}

type bystanders []bystander

// goOn has work come and go for each, and waits until their replicas did.
func (all bystanders) goOn() {
	for _, b := range all {
		b.t.Helper()
		b.work(50)
	}
	for _, b := range all {
		b.waitReplicas("work is noticed", func(n int32) bool { return n > 0 })
		b.work(0)
	}
	for _, b := range all {
		b.waitReplicas("rest", func(n int32) bool { return n == 0 })
	}
}

// sources make, by family, what a bystander scales on.
var sources = map[string]func(house) (trigger, func(int)){
	"external":   scalerSource,
	"http":       apiSource,
	"kafka":      kafkaSource,
	"nats":       natsSource,
	"prometheus": prometheusSource,
	"rabbitmq":   rabbitMQSource,
	"redis":      redisSource,
	"sql":        postgreSQLSource,
}

// apiSource is a server that tells how much there is to do.
func apiSource(h house) (trigger, func(int)) {
	var waiting atomic.Int64
	s := web(h.t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"waiting": %d}`, waiting.Load()) })
	return triggerOf("metrics-api", map[string]string{"url": s.url(), "valueLocation": "waiting", "targetValue": "5"}),
		func(n int) { waiting.Store(int64(n)) }
}

// natsSource answers as a monitoring port of NATS does.
func natsSource(h house) (trigger, func(int)) {
	var waiting atomic.Int64
	s := web(h.t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, natsListing, waiting.Load()) })
	return triggerOf("nats-jetstream", map[string]string{
		"natsServerMonitoringEndpoint": s.address(), "account": "$G", "stream": "orders", "consumer": "workers", "lagThreshold": "5",
	}), func(n int) { waiting.Store(int64(n)) }
}

// natsListing is a listing with so many messages for the only consumer.
const natsListing = `{"server_id": "A", "account_details": [{"name": "$G", "id": "$G", "stream_detail": [{"name": "orders", "config": {"subjects": ["orders"]},
	"consumer_detail": [{"name": "workers", "num_pending": %d, "num_ack_pending": 0}]}]}]}`

// prometheusSource answers as Prometheus does.
func prometheusSource(h house) (trigger, func(int)) {
	var waiting atomic.Int64
	s := web(h.t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}}`, waiting.Load())
	})
	return triggerOf("prometheus", map[string]string{"serverAddress": s.url(), "query": "waiting", "threshold": "5"}),
		func(n int) { waiting.Store(int64(n)) }
}

// scaler is a well-behaved external scaler.
type scaler struct {
	externalscaler.UnimplementedExternalScalerServer
	waiting atomic.Int64
}

func scalerSource(h house) (trigger, func(int)) {
	s := &scaler{}
	l := listen(h.t)
	g := grpc.NewServer()
	externalscaler.RegisterExternalScalerServer(g, s)
	l.wg.Go(func() { _ = g.Serve(l) }) // until it is closed
	h.t.Cleanup(g.Stop)
	return triggerOf("external", map[string]string{"scalerAddress": l.address()}), func(n int) { s.waiting.Store(int64(n)) }
}

func (s *scaler) IsActive(context.Context, *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	return &externalscaler.IsActiveResponse{Result: s.waiting.Load() > 0}, nil
}

func (s *scaler) GetMetricSpec(context.Context, *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	return &externalscaler.GetMetricSpecResponse{MetricSpecs: []*externalscaler.MetricSpec{{MetricName: "waiting", TargetSizeFloat: 5}}}, nil
}

func (s *scaler) GetMetrics(_ context.Context, r *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	value := &externalscaler.MetricValue{MetricName: r.GetMetricName(), MetricValueFloat: float64(s.waiting.Load())}
	return &externalscaler.GetMetricsResponse{MetricValues: []*externalscaler.MetricValue{value}}, nil
}

// redisSource is a list on the server that all share, which wants to know who
// asks.
func redisSource(h house) (trigger, func(int)) {
	h.t.Helper()
	h.authentication("redis", map[string]string{"password": marked + "-redis"})
	list := h.namespace
	return triggerOf("redis", map[string]string{"address": world.redis.Addr(), "listName": list, "listLength": "5"}).with("redis"), func(n int) {
		h.t.Helper()
		command := []string{"DEL", list}
		if n > 0 {
			command = []string{"EVAL", "for i = 1, ARGV[1] do redis.call('RPUSH', KEYS[1], i) end", "1", list, strconv.Itoa(n)}
		}
		if _, err := world.redis.Do(h.t.Context(), command...); err != nil {
			h.t.Fatal(err)
		}
	}
}

func postgreSQLSource(h house) (trigger, func(int)) {
	h.t.Helper()
	p := servers.PostgreSQL(h.t, servers.PostgreSQLOptions{Address: world.cluster.Address()})
	exec := func(statements string) {
		h.t.Helper()
		if err := p.Exec(h.t.Context(), statements); err != nil {
			h.t.Fatal(err)
		}
	}
	exec("CREATE TABLE jobs (id int)")
	h.authentication("postgresql", map[string]string{"connection": p.URL()})
	return triggerOf("postgresql", map[string]string{"query": "SELECT count(*) FROM jobs", "targetQueryValue": "5"}).with("postgresql"), func(n int) {
		h.t.Helper()
		exec(fmt.Sprintf("DELETE FROM jobs; INSERT INTO jobs SELECT generate_series(1, %d)", n))
	}
}

func rabbitMQSource(h house) (trigger, func(int)) {
	h.t.Helper()
	r := servers.RabbitMQ(h.t, servers.RabbitMQOptions{Address: world.cluster.Address()})
	queue, err := brokers.NewRabbitMQQueue(r.AMQPURL("/"), r.AMQPURL("/"), "jobs")
	return queueSource(h, queue, err)
}

func kafkaSource(h house) (trigger, func(int)) {
	h.t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(func(network, _ string) (net.Listener, error) {
		return new(net.ListenConfig).Listen(h.t.Context(), network, net.JoinHostPort(world.cluster.Address(), "0"))
	}))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(cluster.Close)
	topic, err := brokers.NewKafkaTopic(h.t.Context(), cluster.ListenAddrs()[0], "jobs", "workers", 3)
	return queueSource(h, topic, err)
}

// queueSource is a queue that somebody just opened.
func queueSource(h house, queue brokers.Queue, err error) (trigger, func(int)) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(queue.Close)
	t, waiting := queue.Trigger(5), 0
	return triggerOf(t.Type, t.Metadata), func(n int) {
		h.t.Helper()
		change, by := queue.Produce, n-waiting
		if n < waiting {
			change, by = queue.Consume, waiting-n
		}
		if err := change(h.t.Context(), by); err != nil {
			h.t.Fatal(err)
		}
		waiting = n
	}
}
