package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/test/servers"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

// limit bounds what is expected to happen soon.
const limit = 30 * time.Second

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ctx := within(t)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s did not come about", what)
		case <-ticker.C:
		}
	}
}

// operator is somebody at work on a broker.
type operator struct {
	t       testing.TB
	channel *amqp.Channel
}

func operate(t testing.TB, address string) operator {
	t.Helper()
	conn, err := amqp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the broker may have gone first
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := channel.Confirm(false); err != nil {
		t.Fatal(err)
	}
	return operator{t, channel}
}

// queue makes a durable queue with so many messages.
func (o operator) queue(name string, messages int) {
	o.t.Helper()
	if _, err := o.channel.QueueDeclare(name, true, false, false, false, nil); err != nil {
		o.t.Fatal(err)
	}
	for range messages {
		confirmed, err := o.channel.PublishWithDeferredConfirmWithContext(within(o.t), "", name, true, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("work")})
		if err != nil {
			o.t.Fatal(err)
		}
		if ok, err := confirmed.WaitContext(within(o.t)); err != nil || !ok {
			o.t.Fatalf("confirmed = %v, %v", ok, err)
		}
	}
}

// take receives so many messages and keeps them unacknowledged.
func (o operator) take(name string, messages int) {
	o.t.Helper()
	for range messages {
		if _, ok, err := o.channel.Get(name, false); err != nil || !ok {
			o.t.Fatalf("get = %v, %v", ok, err)
		}
	}
}

func (o operator) remove(name string) {
	o.t.Helper()
	if _, err := o.channel.QueueDelete(name, false, false, false); err != nil {
		o.t.Fatal(err)
	}
}

// vhost makes a vhost named after the test, so that tests do not see each
// other's queues.
func vhost(t testing.TB, r *servers.RabbitMQServer) string {
	t.Helper()
	name := strings.ReplaceAll(t.Name(), "/", "-")
	addVhost(t, r, name)
	return name
}

// addVhost makes a vhost that goes with the test.
func addVhost(t testing.TB, r *servers.RabbitMQServer, name string) {
	t.Helper()
	if err := r.AddVhost(within(t), name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit) // the test's own has ended
		defer cancel()
		if err := r.Manage(ctx, http.MethodDelete, "/api/vhosts/"+url.PathEscape(name), nil); err != nil {
			t.Error(err)
		}
	})
}

// listed waits until the management API knows of so many messages in a queue.
func listed(t testing.TB, r *servers.RabbitMQServer, vhost, queue string, messages int64) {
	t.Helper()
	path := "/api/queues/" + url.PathEscape(vhost) + "/" + url.PathEscape(queue)
	eventually(t, fmt.Sprintf("%d messages in the listing of %s", messages, queue), func() bool {
		var seen struct{ Messages *int64 }
		err := r.Ask(within(t), path, &seen)
		return err == nil && seen.Messages != nil && *seen.Messages == messages
	})
}

// proxied puts a proxy between the broker's AMQP port and the tests, and
// returns the address of a vhost through it.
func proxied(t testing.TB, r *servers.RabbitMQServer, vhost string) (*fault.Proxy, string) {
	t.Helper()
	p, err := fault.Listen(r.AMQPAddr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, strings.Replace(r.AMQPURL(vhost), r.AMQPAddr(), p.Addr(), 1)
}

// counted puts a reverse proxy before the management API that keeps the paths
// and queries it was asked for, and returns the address of a vhost through it.
func counted(t testing.TB, r *servers.RabbitMQServer, vhost string) (requests func() []string, address string) {
	t.Helper()
	return intercepted(t, r, vhost, nil)
}

// intercepted is counted with an answer of the test's own to some requests: it
// is true for those that were answered.
func intercepted(t testing.TB, r *servers.RabbitMQServer, vhost string, own func(http.ResponseWriter, *http.Request) bool) (requests func() []string, address string) {
	t.Helper()
	var mu sync.Mutex
	var seen []string
	target := &url.URL{Scheme: "http", Host: r.HTTPAddr()}
	relay := &httputil.ReverseProxy{
		Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(target) },
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		mu.Lock()
		seen = append(seen, request.RequestURI)
		mu.Unlock()
		if own == nil || !own(w, request) {
			relay.ServeHTTP(w, request)
		}
	}))
	t.Cleanup(server.Close)
	requests = func() []string {
		mu.Lock()
		defer mu.Unlock()
		all := seen
		seen = nil
		return all
	}
	return requests, strings.Replace(r.HTTPURL(vhost), r.HTTPAddr(), server.Listener.Addr().String(), 1)
}

// stall answers nothing for as long as the client waits.
func stall(_ http.ResponseWriter, request *http.Request) { <-request.Context().Done() }

// opened opens sources as one family does, and closes them with the test.
func opened(t testing.TB, host string, queues ...string) []scaler.Source {
	t.Helper()
	ctx, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	var sources []scaler.Source
	for _, queue := range queues {
		source, err := openRabbitMQ(ctx, rabbitmqParams{
			hostParams: hostParams{Host: host, Protocol: protocolAuto}, QueueName: queue, PageSize: 100,
		})
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, source)
	}
	return sources
}

// batch reads sources of one batch.
func batch(t testing.TB, ctx context.Context, sources []scaler.Source) []scaler.Result { //nolint:revive // t comes first in tests
	t.Helper()
	return scaler.ReadTogether(ctx, sources[0].(scaler.Batched).Batch(), sources...)
}

// names are so many names with a prefix.
func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return all
}
