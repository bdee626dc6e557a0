package servers_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/sluice-autoscaler/sluice/test/servers"
)

func TestRabbitMQKeepsMessages(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	for _, vhost := range []string{"/", "team/orders"} {
		t.Run(vhost, func(t *testing.T) {
			if vhost != "/" {
				if err := r.AddVhost(within(t), vhost); err != nil {
					t.Fatal(err)
				}
			}
			channel := amqpChannel(t, r.AMQPURL(vhost), amqp.Config{})
			publish(t, channel, "work", 3)
			queue, err := channel.QueueDeclarePassive("work", true, false, false, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			if queue.Messages != 3 {
				t.Errorf("messages = %d, want 3", queue.Messages)
			}
			awaitListing(t, r, r.HTTPURL(vhost), 3)
		})
	}
}

func TestRabbitMQNodesRunSideBySide(t *testing.T) {
	a, b := servers.SharedRabbitMQ(t), servers.RabbitMQ(t)
	if a.AMQPAddr() == b.AMQPAddr() || a.HTTPAddr() == b.HTTPAddr() {
		t.Errorf("both at %s and %s", a.AMQPAddr(), a.HTTPAddr())
	}
	publish(t, amqpChannel(t, b.AMQPURL("/"), amqp.Config{}), "only-here", 1)
	_, err := amqpChannel(t, a.AMQPURL("/"), amqp.Config{}).
		QueueDeclarePassive("only-here", true, false, false, false, nil)
	var missing *amqp.Error
	if !errors.As(err, &missing) || missing.Code != amqp.NotFound {
		t.Errorf("the queue of the other node: %v, want %d", err, amqp.NotFound)
	}
}

func TestRabbitMQRestartKeepsPortsAndData(t *testing.T) {
	r := servers.RabbitMQ(t)
	url := r.AMQPURL("/")
	publish(t, amqpChannel(t, url, amqp.Config{}), "work", 2)
	for _, end := range []func() error{r.Kill, r.Shutdown} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if r.Running() {
			t.Error("the node still runs")
		}
		if err := r.Restart(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	queue, err := amqpChannel(t, url, amqp.Config{}).QueueDeclarePassive("work", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if queue.Messages != 2 {
		t.Errorf("messages = %d, want the 2 from before", queue.Messages)
	}
}

func TestRabbitMQStoppedAcceptsButDoesNotAnswer(t *testing.T) {
	r := servers.RabbitMQ(t)
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(within(t), "tcp", r.AMQPAddr())
	if err != nil {
		t.Fatalf("a stopped node must accept connections: %v", err)
	}
	conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := r.Manage(ctx, http.MethodGet, "/api/overview", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("overview = %v, want the deadline", err)
	}
	if err := r.Continue(); err != nil {
		t.Fatal(err)
	}
	if err := r.Manage(within(t), http.MethodGet, "/api/overview", nil); err != nil {
		t.Errorf("overview after Continue: %v", err)
	}
}

func TestRabbitMQLogins(t *testing.T) {
	r := servers.RabbitMQ(t, servers.RabbitMQOptions{TLS: true, ClientAuth: true})
	for name, password := range map[string]string{"worker": "", "alice": "wonderland"} {
		if err := r.AddUser(within(t), name, password, "monitoring"); err != nil {
			t.Fatal(err)
		}
		if err := r.Grant(within(t), "/", name, ".*", ".*", ".*"); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("a certificate alone", func(t *testing.T) {
		publish(t, amqpChannel(t, r.AMQPSURL("/"), amqp.Config{
			TLSClientConfig: clientConfig(t, r.Authority, "worker"),
			SASL:            []amqp.Authentication{&amqp.ExternalAuth{}},
		}), "by-certificate", 1)
	})
	t.Run("a password", func(t *testing.T) {
		publish(t, amqpChannel(t, r.AMQPURL("/"), amqp.Config{
			SASL: []amqp.Authentication{&amqp.PlainAuth{Username: "alice", Password: "wonderland"}},
		}), "by-password", 1)
	})
	t.Run("a certificate of an unknown user is refused", func(t *testing.T) {
		_, err := amqp.DialConfig(r.AMQPSURL("/"), amqp.Config{
			TLSClientConfig: clientConfig(t, r.Authority, "nobody"),
			SASL:            []amqp.Authentication{&amqp.ExternalAuth{}},
		})
		var refused *amqp.Error
		if !errors.As(err, &refused) || refused.Code != amqp.AccessRefused {
			t.Errorf("dial = %v, want %d", err, amqp.AccessRefused)
		}
	})
	t.Run("no certificate is refused", func(t *testing.T) {
		conn, err := amqp.DialTLS(r.AMQPSURL("/"), clientConfig(t, r.Authority, ""))
		if err == nil {
			conn.Close()
			t.Error("dial succeeded")
		}
	})
	t.Run("the management API over TLS", func(t *testing.T) {
		transport := &http.Transport{TLSClientConfig: clientConfig(t, r.Authority, ""), DisableKeepAlives: true}
		request, err := http.NewRequestWithContext(within(t), http.MethodGet,
			strings.TrimSuffix(r.HTTPSURL("/"), "/%2F")+"/api/overview", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := (&http.Client{Transport: transport}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("status = %s, want 200", response.Status)
		}
	})
}

// awaitListing waits until the management API reports the messages of queue
// "work" in the vhost that ends the URL, as its counters lag behind.
func awaitListing(t *testing.T, r *servers.RabbitMQServer, vhostURL string, want int) {
	t.Helper()
	vhost := vhostURL[strings.LastIndex(vhostURL, "/")+1:]
	ctx := within(t)
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		var queue struct{ Messages int }
		if err := r.Ask(ctx, "/api/queues/"+vhost+"/work", &queue); err != nil {
			t.Fatal(err)
		}
		if queue.Messages == want {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("listing has %d messages, want %d", queue.Messages, want)
		case <-ticker.C:
		}
	}
}

func amqpChannel(t *testing.T, url string, config amqp.Config) *amqp.Channel {
	t.Helper()
	conn, err := amqp.DialConfig(url, config)
	if err != nil {
		t.Fatal(err)
	}
	// The server may have gone first; then there is nothing to close.
	t.Cleanup(func() { _ = conn.Close() })
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return channel
}

// publish puts n persistent messages into a durable queue and waits until the
// broker has them.
func publish(t *testing.T, channel *amqp.Channel, queue string, n int) {
	t.Helper()
	if _, err := channel.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := channel.Confirm(false); err != nil {
		t.Fatal(err)
	}
	for range n {
		confirmed, err := channel.PublishWithDeferredConfirmWithContext(within(t), "", queue, true, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("work")})
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := confirmed.WaitContext(within(t)); err != nil || !ok {
			t.Fatalf("confirmed = %v, %v", ok, err)
		}
	}
}
