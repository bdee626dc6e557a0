package main

import (
	"context"
	"fmt"
	"net"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// TestMessagesOfOthers has a server take up listening and then send what is no
// message: it ends in an error.
func TestMessagesOfOthers(t *testing.T) {
	for name, message := range map[string]string{
		"an empty list":            "*0\r\n",
		"a list of one":            "*1\r\n$7\r\nmessage\r\n",
		"no text in it":            "*3\r\n:1\r\n:2\r\n:3\r\n",
		"no text as a channel":     "*3\r\n$7\r\nmessage\r\n:1\r\n$1\r\nx\r\n",
		"a list with a number":     "*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n*1\r\n:1\r\n",
		"a subscription half told": "*1\r\n$9\r\nsubscribe\r\n",
		"an endless list":          "*9223372036854775807\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			address := standIn(t, func(command string) string {
				switch {
				case strings.HasPrefix(command, "SUBSCRIBE"):
					return "*3\r\n$9\r\nsubscribe\r\n$20\r\n" + invalidations + "\r\n:1\r\n" + message
				case strings.HasPrefix(command, "CLIENT ID"):
					return ":1\r\n"
				case strings.HasPrefix(command, "CLIENT TRACKING"):
					return "+OK\r\n"
				case strings.HasPrefix(command, "EXISTS"):
					return ":0\r\n"
				}
				return "-ERR no\r\n"
			})
			opening, release := scaler.Opening(t.Context())
			defer release()
			s := subject{triggerType: "redis", metadata: map[string]string{"address": address, "listName": "jobs"}}.open(opening, t, nil)
			ctx := within(t)
			err := s.(scaler.Ringer).Listen(ctx, func() {}, func() {})
			if err == nil || ctx.Err() != nil {
				t.Errorf("listening ended with %v", err)
			}
		})
	}
}

// TestSentinelsThatLie answer all that a Sentinel is asked alike.
func TestSentinelsThatLie(t *testing.T) {
	for name, answer := range map[string]string{
		"an empty list":    "*0\r\n",
		"one element":      "*1\r\n$9\r\n127.0.0.1\r\n",
		"three elements":   "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
		"a number":         ":1\r\n",
		"an endless list":  "*9223372036854775807\r\n",
		"an endless name":  "*2\r\n$9223372036854775807\r\n",
		"nobody's address": "*2\r\n$0\r\n\r\n$0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			address := standIn(t, func(command string) string {
				if strings.HasPrefix(command, "SENTINEL") {
					return answer
				}
				return "-ERR no\r\n"
			})
			opening, release := scaler.Opening(t.Context())
			defer release()
			metadata := map[string]string{"address": address, "sentinelMaster": servers.RedisMaster, "listName": "jobs"}
			got, err := subject{triggerType: "redis-sentinel", metadata: metadata}.open(opening, t, nil).Read(within(t))
			if err == nil {
				t.Errorf("read %v", got)
			}
		})
	}
}

// TestSentinelsNameAnotherMaster while the old one lives on and keeps its
// connections.
func TestSentinelsNameAnotherMaster(t *testing.T) {
	master := func(length int) string {
		return standIn(t, func(command string) string {
			if strings.HasPrefix(command, "EVAL") {
				return fmt.Sprintf(":%d\r\n", length)
			}
			return "-ERR no\r\n"
		})
	}
	masters := make(chan string, 1)
	masters <- master(1)
	sentinel := standIn(t, func(command string) string {
		if !strings.HasPrefix(command, "SENTINEL GET-MASTER") {
			return "*0\r\n"
		}
		address := <-masters
		masters <- address
		host, port, _ := net.SplitHostPort(address)
		return fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(host), host, len(port), port)
	})
	opening, release := scaler.Opening(t.Context())
	defer release()
	metadata := map[string]string{"address": sentinel, "sentinelMaster": servers.RedisMaster, "listName": "jobs"}
	s := subject{triggerType: "redis-sentinel", metadata: metadata}.open(opening, t, nil)
	s.(*source).server.sentinels.every = time.Millisecond
	read := func(ctx context.Context) float64 {
		got, err := s.Read(ctx)
		if err != nil {
			return -1 // the connection to the old one has just ended
		}
		return got[0].Value
	}
	if got := read(within(t)); got != 1 {
		t.Fatalf("read %v of the first master", got)
	}
	<-masters
	masters <- master(2)
	ctx := within(t)
	for read(ctx) != 2 {
		if ctx.Err() != nil {
			t.Fatal("the old master is still read")
		}
	}
}

// TestSentinelsNameOthers: those that the trigger does not name are asked when
// those that it does are gone.
func TestSentinelsNameOthers(t *testing.T) {
	s := &sentinels{addresses: []string{"a:1", "b:1"}}
	s.learn(word{from: "b:1", others: []string{"a:1", "c:1"}})
	if got := strings.Join(s.addresses, " "); got != "b:1 a:1 c:1" {
		t.Errorf("they are asked as %s", got)
	}
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprint("liar:", i))
	}
	s.learn(word{from: "b:1", others: many})
	if len(s.addresses) != mostSentinels {
		t.Errorf("%d are asked, want %d", len(s.addresses), mostSentinels)
	}
}

// slots is what a cluster says that has n servers.
func slots(n int, address func(i int) string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "*%d\r\n", n)
	for i := range n {
		host, port, _ := net.SplitHostPort(address(i))
		fmt.Fprintf(&text, "*3\r\n:%d\r\n:%d\r\n*2\r\n$%d\r\n%s\r\n:%s\r\n", i, i, len(host), host, port)
	}
	return text.String()
}

// TestClustersOfTooManyServers name them in their slots, or send keys to a new
// one each time.
func TestClustersOfTooManyServers(t *testing.T) {
	t.Run("in its slots", func(t *testing.T) {
		address := standIn(t, func(command string) string {
			if strings.HasPrefix(command, "CLUSTER SLOTS") {
				return slots(2000, func(i int) string { return fmt.Sprintf("10.0.%d.%d:6379", i/256, i%256) })
			}
			return "-ERR no\r\n"
		})
		opening, release := scaler.Opening(t.Context())
		defer release()
		s := subject{triggerType: "redis-cluster", metadata: map[string]string{"address": address, "listName": "jobs"}}.open(opening, t, nil)
		_, err := s.Read(within(t))
		if err == nil || !strings.Contains(err.Error(), "the cluster names more than 1000 servers") {
			t.Errorf("error = %v", err)
		}
		if n := len(s.(*source).server.nodes.known); n > mostNodes {
			t.Errorf("%d servers are known", n)
		}
	})
	t.Run("in redirects", func(t *testing.T) {
		var address string
		elsewhere := 0
		address = standIn(t, func(command string) string {
			switch {
			case strings.HasPrefix(command, "CLUSTER SLOTS"):
				return "*1\r\n*3\r\n:0\r\n:16383\r\n" + strings.TrimPrefix(slots(1, func(int) string { return address }), "*1\r\n*3\r\n:0\r\n:0\r\n")
			case strings.HasPrefix(command, "EVAL"):
				elsewhere++
				// Nobody listens there.
				return fmt.Sprintf("-MOVED 1 127.0.0.1:%d\r\n", 1+elsewhere%60000)
			}
			return "-ERR no\r\n"
		})
		opening, release := scaler.Opening(t.Context())
		defer release()
		first := subject{triggerType: "redis-cluster", metadata: map[string]string{"address": address, "listName": "jobs"}}.open(opening, t, nil).(*source)
		sources := make([]scaler.Source, 500)
		for i := range sources {
			sources[i] = sibling(first, fmt.Sprint("key", i))
		}
		for range 3 {
			for i, r := range scaler.ReadTogether(within(t), first.server, sources...) {
				if r.Err == nil {
					t.Fatalf("key %d is read as %v", i, r.Readings)
				}
			}
		}
		if n := len(first.server.nodes.known); n > mostNodes {
			t.Errorf("%d servers are known", n)
		}
	})
}

// TestClustersTogetherNameTooManyServers: each of them keeps within what one may
// name, and those that come when there is no more room are refused by themselves.
func TestClustersTogetherNameTooManyServers(t *testing.T) {
	before := debug.SetMemoryLimit(4 * 2500 * nodeCost) // a quarter is one namespace's
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	opening, release := scaler.Opening(t.Context())
	defer release()
	cluster := func() *source {
		address := standIn(t, func(command string) string { //nolint:contextcheck // it ends with the test
			if strings.HasPrefix(command, "CLUSTER SLOTS") {
				return slots(990, func(i int) string { return fmt.Sprintf("192.0.%d.%d:6379", i/256, i%256) })
			}
			return "-ERR no\r\n"
		})
		return subject{triggerType: "redis-cluster", metadata: map[string]string{"address": address, "listName": "jobs"}}.open(opening, t, nil).(*source)
	}
	refused := func(s *source, wait time.Duration) bool {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		_, err := s.Read(ctx)
		return err != nil && strings.Contains(err.Error(), "of connections, see --connection-memory")
	}
	first, second, third := cluster(), cluster(), cluster()
	const unanswered = time.Second // nobody answers at what they name
	if refused(first, unanswered) || refused(second, unanswered) {
		t.Error("refused within the share")
	}
	if !refused(third, patience) {
		t.Error("not refused beyond the share")
	}
	first.server.nodes.close()
	// The library may have asked before, and be answered only now.
	if err := first.server.nodes.remember([]string{"192.0.2.1:6379"}, time.Now()); err == nil {
		t.Error("servers are held for a cluster that nobody reads any more")
	}
	if refused(third, unanswered) {
		t.Error("refused when there is room again")
	}
}

func TestLongAddressesAreRefused(t *testing.T) {
	host := strings.Repeat("a", 300)
	address := standIn(t, func(command string) string {
		if strings.HasPrefix(command, "CLUSTER SLOTS") {
			return slots(1, func(int) string { return host + ":6379" })
		}
		return "-ERR no\r\n"
	})
	opening, release := scaler.Opening(t.Context())
	defer release()
	s := subject{triggerType: "redis-cluster", metadata: map[string]string{"address": address, "listName": "jobs"}}.open(opening, t, nil)
	_, err := s.Read(within(t))
	if err == nil || !strings.Contains(err.Error(), "an address of more than 264 bytes") {
		t.Errorf("error = %v", err)
	}
}
