package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// opened are sources of consumers of one stream of the global account.
func opened(t testing.TB, endpoint, stream string, consumers ...string) []scaler.Source {
	t.Helper()
	ctx, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	var all []scaler.Source
	for _, consumer := range consumers {
		s, err := openJetStream(ctx, jetStreamParams{
			monitoringParams: monitoringParams{Endpoint: endpoint, Account: "$G"}, Stream: stream, Consumer: consumer,
		})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// batch reads sources together.
func batch(ctx context.Context, sources []scaler.Source) []scaler.Result {
	return scaler.ReadTogether(ctx, sources[0].(scaler.Batched).Batch(), sources...)
}

// read expects a value or the code of an error. A server counts what it was sent a
// moment later.
func read(t *testing.T, source scaler.Source, value float64, code codes.Code) {
	t.Helper()
	eventually(t, fmt.Sprintf("value %v", value), func() bool {
		readings, err := source.Read(within(t))
		if status.Code(err) != code {
			t.Fatalf("error = %v, want %v", err, code)
		}
		return err != nil || readings[0].Value == value
	})
}

func names(prefix string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%s-%d", prefix, i))
	}
	return all
}

// all expects every source to have a value, as read does.
func all(t *testing.T, sources []scaler.Source, value float64) {
	t.Helper()
	eventually(t, fmt.Sprintf("value %v of all", value), func() bool {
		for i, r := range batch(within(t), sources) {
			if r.Err != nil {
				t.Fatalf("source %d: %v", i, r.Err)
			}
			if r.Readings[0].Value != value {
				return false
			}
		}
		return true
	})
}

// TestLeaders reads consumers that different servers lead, follows a leader that
// changes, and one that is killed and comes back.
func TestLeaders(t *testing.T) {
	c := clustered(t)
	o := operate(t, c.urls())
	consumers := names("workers", 6)
	o.stream(jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders"}, Replicas: clusterSize}, consumers...)
	o.publish("orders", 5)
	sources := opened(t, c.endpoint(0), "orders", consumers...)
	all(t, sources, 5)

	before := c.listings()
	all(t, sources, 5)
	if n := c.listings() - before; n > clusterSize {
		t.Errorf("%d listings for one reading of all, want one of each server at most", n)
	}

	one := sources[:1]
	all(t, one, 5)
	before = c.listings()
	all(t, one, 5)
	if n := c.listings() - before; n != 1 {
		t.Errorf("%d listings for one consumer whose leader is known, want 1", n)
	}

	old := o.leader("orders", consumers[0])
	if _, err := o.nc.RequestWithContext(within(t), "$JS.API.CONSUMER.LEADER.STEPDOWN.orders."+consumers[0], nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another leader", func() bool { return o.leader("orders", consumers[0]) != old })
	o.take("orders", consumers[0], 2, 2) // which the new leader alone knows of
	eventually(t, "the new leader's number", func() bool {
		r := batch(within(t), one)[0]
		if r.Err != nil && status.Code(r.Err) != codes.Unavailable {
			t.Fatal(r.Err)
		}
		return r.Err == nil && r.Readings[0].Value == 3
	})

	// The endpoint's own server is killed, or whichever leads: others answer.
	for _, name := range []string{o.leader("orders", consumers[0]), "nats-0"} {
		killed := c.index(name)
		c.kill(killed)
		var last error
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(last)
			}
		})
		eventually(t, "numbers without "+name, func() bool {
			for i, r := range batch(within(t), sources) {
				last = r.Err
				if r.Err != nil && status.Code(r.Err) != codes.Unavailable && status.Code(r.Err) != codes.DeadlineExceeded {
					t.Fatal(r.Err) // never "not found", and never a number of who does not lead
				}
				if want := 5.0; r.Err == nil && r.Readings[0].Value != want && i > 0 {
					t.Fatalf("source %d: %v, want %v", i, r.Readings[0].Value, want)
				}
				if r.Err != nil {
					return false
				}
			}
			return true
		})
		c.start(killed)
		eventually(t, name+" to be back", func() bool {
			return c.servers[killed].JetStreamIsCurrent() && c.servers[killed].JetStreamIsStreamCurrent("$G", "orders")
		})
	}
	o.publish("orders", 1)
	eventually(t, "numbers of all", func() bool {
		for i, r := range batch(within(t), sources) {
			if r.Err != nil || i > 0 && r.Readings[0].Value != 6 {
				return false
			}
		}
		return true
	})
}

// TestStreamOfOneServer has a stream that only one server has heard of, which
// is not the one that the endpoint leads to.
func TestStreamOfOneServer(t *testing.T) {
	c := clustered(t)
	o := operate(t, c.urls())
	o.stream(jetstream.StreamConfig{Name: "lonely", Subjects: []string{"lonely"}, Replicas: 1}, "workers")
	o.publish("lonely", 4)
	at := c.index(o.leader("lonely", "workers"))
	for i := range clusterSize {
		source := opened(t, c.endpoint((at+i)%clusterSize), "lonely", "workers")[0]
		read(t, source, 4, codes.OK)
	}
	read(t, opened(t, c.endpoint(0), "lonely", "missing")[0], 0, codes.NotFound)
	read(t, opened(t, c.endpoint(0), "missing", "workers")[0], 0, codes.NotFound)
	c.kill(at)
	endpoint := c.endpoint((at + 1) % clusterSize)
	if _, err := opened(t, endpoint, "lonely", "workers")[0].Read(within(t)); err == nil {
		t.Error("a consumer that nobody has is read")
	}
}

// TestOneServerFails has one server of three stall, refuse, hang up in the middle
// of an answer or be slow: consumers that others lead are read as ever.
func TestOneServerFails(t *testing.T) {
	c := clustered(t)
	o := operate(t, c.urls())
	consumers := names("workers", 12)
	o.stream(jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders"}, Replicas: clusterSize}, consumers...)
	o.publish("orders", 5)
	leaders := map[string][]string{}
	for _, name := range consumers {
		leader := o.leader("orders", name)
		leaders[leader] = append(leaders[leader], name)
	}
	if len(leaders) < 2 {
		t.Fatalf("all consumers are led by one server: %v", leaders)
	}
	var bad string
	for name := range leaders {
		bad = name
	}
	at := c.index(bad)
	for name, fail := range map[string]func(){
		"stalls":  func() { c.proxies[at].Stall() },
		"is gone": func() { c.proxies[at].Cut() },
		"hangs up in an answer": func() {
			c.proxies[at].Cut() // what is open has been let through
			c.proxies[at].Heal()
			c.proxies[at].CutAfter(700)
		},
		"is slow": func() { c.proxies[at].Delay(time.Minute) },
	} {
		for _, first := range []bool{false, true} { // whether it fails before anything is known of the cluster
			t.Run(fmt.Sprintf("%s, from the start %v", name, first), func(t *testing.T) {
				sources := opened(t, c.endpoint((at+1)%clusterSize), "orders", consumers...)
				if !first {
					all(t, sources, 5)
				}
				fail()
				defer c.proxies[at].Heal()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				for i, r := range batch(ctx, sources) {
					ledByBad := slices.Contains(leaders[bad], consumers[i])
					switch code := status.Code(r.Err); {
					case ledByBad && code != codes.Unavailable && code != codes.DeadlineExceeded:
						t.Errorf("%s, which %s leads: %v, %v", consumers[i], bad, r.Readings, r.Err)
					case ledByBad && !strings.Contains(r.Err.Error(), bad) && !strings.Contains(r.Err.Error(), "it has no leader"): // a slow machine elects anew
						t.Errorf("error = %v, want the leader's name", r.Err)
					case !ledByBad && (r.Err != nil || r.Readings[0].Value != 5):
						t.Errorf("%s: %v, %v", consumers[i], r.Readings, r.Err)
					}
				}
				c.proxies[at].Heal()
				eventually(t, "all numbers again", func() bool {
					return !slices.ContainsFunc(batch(within(t), sources), func(r scaler.Result) bool { return r.Err != nil || r.Readings[0].Value != 5 })
				})
			})
		}
	}
}

func TestOthers(t *testing.T) {
	tests := map[string]struct {
		base    string
		clients []string
		routes  []string
		want    []string
	}{
		"addresses of clients": {
			base: "http://nats.svc:8222", clients: []string{"10.0.0.1:4222", "[2001:db8::1]:4222", "nats-2:4222", "no port", ":4222"}, routes: []string{"nats-9:6222"},
			want: []string{"http://10.0.0.1:8222", "http://[2001:db8::1]:8222", "http://nats-2:8222"}},
		"routes": {
			base: "https://nats.svc:8222/x", routes: []string{"nats-0.nats.svc.cluster.local:6222", "10.0.0.2:6222", "[2001:db8::2]:6222", "bad"},
			want: []string{"https://nats-0.nats.svc:8222/x", "https://10.0.0.2:8222/x", "https://[2001:db8::2]:8222/x"}},
		"without a port": {
			base: "http://nats.svc", clients: []string{"10.0.0.1:4222", "[2001:db8::1]:4222"},
			want: []string{"http://10.0.0.1", "http://[2001:db8::1]"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			base, err := url.Parse(tt.base)
			if err != nil {
				t.Fatal(err)
			}
			v := varz{Clients: addresses{first: tt.clients}}
			v.Cluster.Routes.first = tt.routes
			var got []string
			for _, u := range (&monitoring{base: base}).others(v) {
				got = append(got, u.String())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("others = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestLongAddressesAreReadInTurn: others compute between pieces of what a server says
// of where others are.
func TestLongAddressesAreReadInTurn(t *testing.T) {
	body := []byte(`{"connect_urls":[` + strings.Repeat(`"",`, 100_000) + `""]}`)
	turns := 0
	v := varz{Clients: addresses{turn: func() error { turns++; return nil }}}
	if err := json.Unmarshal(body, &v); err != nil || len(v.Clients.first) != mostServers || turns < len(body)>>15 {
		t.Errorf("%d turns for %d addresses in %d bytes, %v", turns, len(v.Clients.first), len(body), err)
	}
}
