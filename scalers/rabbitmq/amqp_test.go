package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// TestManyTriggersShareAConnection proves that connections do not grow with
// triggers, and that a thousand queues, some of them missing, answer over one.
func TestManyTriggersShareAConnection(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	o := operate(t, r.AMQPURL(v))
	queues := names("q", 20)
	for i, name := range queues {
		o.queue(name, i%3)
	}
	asked := make([]string, 1000)
	for i := range asked {
		asked[i] = queues[i%len(queues)]
		if i%100 == 99 { // slow: the broker closes the channel over it
			asked[i] = fmt.Sprintf("missing-%d", i)
		}
	}
	p, address := proxied(t, r, v)
	sources := opened(t, address, asked...)
	for range 2 {
		for first := 0; first < len(sources); first += 500 {
			for i, result := range batch(t, within(t), sources[first:first+500]) {
				i += first
				if i%100 == 99 {
					if codeOf(result.Err) != codes.NotFound || !strings.HasPrefix(result.Err.Error(), "queue "+asked[i]+":") {
						t.Fatalf("error = %v, want NotFound with the queue's name", result.Err)
					}
					continue
				}
				if result.Err != nil || result.Readings[0].Value != float64(i%len(queues)%3) {
					t.Fatalf("%s: %v, %v", asked[i], result.Readings, result.Err)
				}
			}
		}
	}
	if stats := p.Stats(); stats.Accepted != 1 {
		t.Errorf("%d connections, want 1", stats.Accepted)
	}
}

// TestConnectionIsNamed proves that the broker's overview shows whose the
// connection is, and that it has few channels.
func TestConnectionIsNamed(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	o := operate(t, r.AMQPURL(v))
	asked := names("q", 50)
	for _, name := range asked {
		o.queue(name, 0)
	}
	batch(t, within(t), opened(t, r.AMQPURL(v), asked...))
	eventually(t, "one connection with a name and few channels", func() bool {
		var connections []struct {
			Channels   int
			Vhost      string
			Properties struct {
				Name    string `json:"connection_name"`
				Product string
			} `json:"client_properties"`
		}
		if err := r.Ask(within(t), "/api/connections", &connections); err != nil {
			t.Fatal(err)
		}
		ours := 0
		for _, c := range connections {
			if c.Vhost == v && c.Properties.Name == "keda-"+v && c.Properties.Product == "Sluice" &&
				c.Channels > 0 && c.Channels <= channels {
				ours++
			}
		}
		return ours == 1
	})
}

// TestIdentitiesHaveTheirOwnConnections proves what is shared and what is not.
func TestIdentitiesHaveTheirOwnConnections(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	operate(t, r.AMQPURL(v)).queue("jobs", 1)
	if err := r.AddUser(within(t), "second", "second-password", ""); err != nil {
		t.Fatal(err)
	}
	if err := r.Grant(within(t), v, "second", ".*", ".*", ".*"); err != nil {
		t.Fatal(err)
	}
	p, address := proxied(t, r, v)
	family := scalertest.Serve(t, rabbitmq)
	second := family.WithAuth(map[string]string{"username": "second", "password": "second-password"})
	apart := family.WithAuth(map[string]string{"username": "guest", "password": "guest"})
	steps := []struct {
		family *scalertest.Family
		more   map[string]string
		want   int64 // connections by then
	}{
		{family, nil, 1},
		{family, map[string]string{"queueLength": "3", "activationValue": "2"}, 1},
		{family, map[string]string{"vhostName": v}, 1}, // the same one, said twice
		{apart, nil, 1}, // the same user, named apart
		{second, nil, 2},
	}
	for i, step := range steps {
		if _, err := step.family.Observe(t.Context(), "rabbitmq",
			onTop(map[string]string{"queueName": "jobs", "host": address}, step.more)); err != nil {
			t.Fatal(err)
		}
		if got := p.Stats().Accepted; got != step.want {
			t.Errorf("after step %d: %d connections, want %d", i, got, step.want)
		}
	}
}

func TestQueueDeletedAndMadeAgain(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	o := operate(t, r.AMQPURL(v))
	o.queue("jobs", 2)
	p, address := proxied(t, r, v)
	source := opened(t, address, "jobs")[0]
	read := func(value float64, code codes.Code) {
		t.Helper()
		readings, err := source.Read(within(t))
		if codeOf(err) != code {
			t.Fatalf("error = %v, want %v", err, code)
		}
		if err == nil && readings[0].Value != value {
			t.Errorf("value = %v, want %v", readings[0].Value, value)
		}
	}
	read(2, codes.OK)
	o.remove("jobs")
	for range 20 { // more often than there are channels
		read(0, codes.NotFound)
	}
	o.queue("jobs", 1)
	read(1, codes.OK)
	if got := p.Stats().Accepted; got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
}

// TestBrokerGoesAndComes proves that a dead broker is an error for as long as
// it is dead, and that its return heals everything at the next read.
func TestBrokerGoesAndComes(t *testing.T) {
	r := servers.RabbitMQ(t)
	o := operate(t, r.AMQPURL("/"))
	o.queue("jobs", 3)
	sources := opened(t, r.AMQPURL("/"), "jobs", "jobs", "missing")
	check := func(code codes.Code) {
		t.Helper()
		for i, result := range batch(t, within(t), sources) {
			switch {
			case i == 2 && code == codes.OK:
				if codeOf(result.Err) != codes.NotFound {
					t.Errorf("the missing queue: %v", result.Err)
				}
			case codeOf(result.Err) != code:
				t.Errorf("error = %v, want %v", result.Err, code)
			case code == codes.OK && result.Readings[0].Value != 3:
				t.Errorf("value = %v, want 3", result.Readings[0].Value)
			}
		}
	}
	check(codes.OK)
	// In good order first: what a broker has not written yet, a kill loses.
	for _, end := range []func() error{r.Shutdown, r.Kill} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		check(codes.Unavailable)
		check(codes.Unavailable)
		if err := r.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		check(codes.OK)
	}
}

// codeOf is the code that a user sees of an error.
func codeOf(err error) codes.Code {
	code := codes.OK
	if err != nil {
		code = codes.Unknown
		if st, ok := status.FromError(err); ok {
			code = st.Code()
		}
	}
	return code
}

// TestBrokerStalls proves that a broker which accepts and never answers costs a
// read its deadline and no more, that its connection is given up, and that a
// new one is made once it is back.
func TestBrokerStalls(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	o := operate(t, r.AMQPURL(v))
	asked := names("q", 30)
	for _, name := range asked {
		o.queue(name, 1)
	}
	p, address := proxied(t, r, v)
	sources := opened(t, address, asked...)
	stalled := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		for _, result := range batch(t, ctx, sources) {
			if codeOf(result.Err) != codes.DeadlineExceeded {
				t.Fatalf("error = %v, want DeadlineExceeded", result.Err)
			}
		}
	}
	healthy := func() {
		t.Helper()
		for _, result := range batch(t, within(t), sources) {
			if result.Err != nil || result.Readings[0].Value != 1 {
				t.Fatalf("result = %v, %v, want 1", result.Readings, result.Err)
			}
		}
	}
	p.Stall() // before there is a connection
	stalled()
	p.Heal()
	healthy()
	p.Stall() // with one at work
	stalled()
	eventually(t, "the end of the stalled connection", func() bool { return p.Stats().Open == 0 })
	stalled() // and while dialling anew
	p.Heal()
	healthy()
	p.Cut() // the network goes
	for _, result := range batch(t, within(t), sources) {
		if codeOf(result.Err) != codes.Unavailable {
			t.Fatalf("error = %v, want Unavailable", result.Err)
		}
	}
	p.Heal()
	healthy()
	if open := p.Stats().Open; open != 1 {
		t.Errorf("%d connections are open, want 1", open)
	}
}

// TestIdleConnectionIsRenewed proves that a connection which ended between two
// reads costs no read.
func TestIdleConnectionIsRenewed(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	operate(t, r.AMQPURL(v)).queue("jobs", 1)
	p, address := proxied(t, r, v)
	source := opened(t, address, "jobs")[0]
	for range 5 {
		if _, err := source.Read(within(t)); err != nil {
			t.Fatal(err)
		}
		p.Cut()
		p.Heal()
	}
}

// TestCancelledReadLeavesTheConnection proves that somebody who loses interest
// takes nothing away from the others.
func TestCancelledReadLeavesTheConnection(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	operate(t, r.AMQPURL(v)).queue("jobs", 1)
	p, address := proxied(t, r, v)
	source := opened(t, address, "jobs")[0]
	if _, err := source.Read(within(t)); err != nil {
		t.Fatal(err)
	}
	p.Stall()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := source.Read(ctx)
		done <- err
	}()
	cancel()
	if err := <-done; err == nil {
		t.Error("a cancelled read has a value")
	}
	p.Heal()
	if _, err := source.Read(within(t)); err != nil {
		t.Fatal(err)
	}
	if stats := p.Stats(); stats.Accepted != 1 {
		t.Errorf("%+v, want one connection that goes on", stats)
	}
}

// TestPasswordIsRotated proves that a running connection outlives its password,
// that the next login is refused with the old one, and that the new one is
// taken up without a restart.
func TestPasswordIsRotated(t *testing.T) {
	r := servers.SharedRabbitMQ(t)
	v := vhost(t, r)
	operate(t, r.AMQPURL(v)).queue("jobs", 3)
	listed(t, r, v, "jobs", 3)
	p, address := proxied(t, r, v)
	for scheme, host := range map[string]string{"amqp": address, "http": r.HTTPURL(v)} {
		t.Run(scheme, func(t *testing.T) {
			user := "rotating-" + scheme
			set := func(password string) {
				t.Helper()
				if err := r.AddUser(within(t), user, password, "monitoring"); err != nil {
					t.Fatal(err)
				}
			}
			set("first-password")
			if err := r.Grant(within(t), v, user, ".*", ".*", ".*"); err != nil {
				t.Fatal(err)
			}
			auth := func(password string) map[string]string {
				return map[string]string{"username": user, "password": password}
			}
			family := scalertest.Serve(t, rabbitmq).WithAuth(auth("first-password"))
			metadata := map[string]string{"queueName": "jobs", "host": host}
			w := family.Watch(t, "rabbitmq", metadata, scalerv1.Mode_MODE_ACTIVE, time.Second)
			if _, err := w.Until(within(t), "a value", scalertest.Active); err != nil {
				t.Fatal(err)
			}
			set("second-password")
			p.Cut()
			p.Heal()
			if _, err := w.Until(within(t), "a refused login", func(o *scalerv1.Observation) bool {
				return codes.Code(o.GetStatus().GetCode()) == codes.Unauthenticated
			}); err != nil {
				t.Fatal(err)
			}
			family.Rotate(auth("second-password"))
			if _, err := w.Until(within(t), "a value again", scalertest.Active); err != nil {
				t.Fatal(err)
			}
		})
	}
}
